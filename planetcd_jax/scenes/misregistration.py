"""How far apart two registered dates of a scene still lie: at one place, and over the whole scene.

It is told of each place and of the run, and whole pixels of it are undone before the scene is scored, where many places
agree. How images are brought together in the first place is the matter of `coregister`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from planetcd_jax.images.pair_quality import correlation
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import GreyDates, Samples

# Correlation from which two squares count as the same ground.
_CLOSE = 0.5


def residual_shift(before: np.ndarray, after: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Rows and columns by which the after-image's content lies further down and right, by phase correlation.

    Args:
        before, after: [H, W] float.
        valid: [H, W] bool; the rest is put to the mean.

    Returns:
        Rows and columns, pixels, to a tenth; NaN if an image is constant.
    """
    from skimage.registration import phase_cross_correlation  # slow to import, and only scenes need it

    images = [_tapered(image, valid) for image in (before, after)]
    if min(np.abs(image).max() for image in images) < 1e-6:
        return float("nan"), float("nan")
    plain = cast(Any, None)  # scikit-image does not annotate it, and its default is a str
    shift, _, _ = phase_cross_correlation(*images, upsample_factor=10, normalization=plain)
    return -float(shift[0]), -float(shift[1])


def _tapered(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The image less its mean, fading to 0 at its edges, so that opposite edges do not correlate."""
    if not valid.any():
        return np.zeros(image.shape)
    centred = np.where(valid, image - image[valid].mean(), 0.0)
    return centred * np.hanning(image.shape[0] + 2)[1:-1, None] * np.hanning(image.shape[1] + 2)[None, 1:-1]


class Undone(NamedTuple):
    """What is known of a place once the misregistration there is undone in whole pixels.

    Attributes:
        rows, cols: Displacement of the after-image's content, pixels; NaN where not measured, or where undoing it does
            not bring the images closer.
        whole: The whole rows and columns that were undone.
        correlation: Of the two images after that.
    """

    rows: float
    cols: float
    whole: tuple[int, int]
    correlation: float


def undone(dates: GreyDates, moved: Callable[[int, int], GreyDates]) -> Undone:
    """The residual shift of a place, if it is one.

    Args:
        dates: Of the place.
        moved: The same, the second date read so many rows and columns further on.
    """
    rows, cols = residual_shift(*dates)
    still = correlation(*dates)
    if not np.isfinite(rows) or (round(rows), round(cols)) == (0, 0):
        return Undone(rows, cols, (0, 0), still)
    closer = correlation(*moved(round(rows), round(cols)))
    if closer > still:
        return Undone(rows, cols, (round(rows), round(cols)), closer)
    return Undone(float("nan"), float("nan"), (0, 0), still)


def typical_shift(pair: AlignedPair, samples: Samples) -> dict[str, Any] | None:
    """Misregistration of the scene: median over sampled squares, rows and columns, in pixels.

    Returns:
        None if it cannot be told (fewer than 3 squares whose images a shift brings close), else "rows", "cols",
        "squares" (how many it rests on) and "spread" (median distance of theirs from it).
    """
    shifts = []
    for row, col in samples.squares.tolist():
        corner, side = (row, col), samples.side
        rows, cols = residual_shift(*samples.grey_dates(pair, corner, side))
        if not np.isfinite(rows):
            continue
        if correlation(*samples.grey_dates(pair, corner, side, (round(rows), round(cols)))) > _CLOSE:
            shifts.append((rows, cols))
    if len(shifts) < 3:
        return None
    middle = np.median(np.asarray(shifts), axis=0)
    spread = float(np.median(np.hypot(*(np.asarray(shifts) - middle).T)))
    return {"rows": float(middle[0]), "cols": float(middle[1]), "squares": len(shifts), "spread": spread}
