"""Models by correlation over all turns and scales: for light that moves features, but not what the whole looks like.

Where the sun turned by 50 degrees no feature of a shaded relief is left as it was, while the two images as a whole
still correlate by about the cosine of that angle.
"""

from typing import cast

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from planetcd_jax.extras import brought_by
from planetcd_jax.scenes.coregister.frames import Frame, View
from planetcd_jax.scenes.coregister.models import scaling
from planetcd_jax.scenes.coregister.squares import local_contrast, whole_view

# Longest side of the images that are compared, pixels.
_SIDE = 80

# The same for scales above `_FINE_FROM`, where the second image shows only a part of the first.
_FINE_SIDE = 128
_FINE_FROM = 1.3

# Standard deviation of the blur of local contrast, pixels: peaks are then wider than the steps of turn and scale.
_BLUR = 0.8

# Scale of local contrast, pixels (see `local_contrast`).
_CONTRAST = 5.0

# Step of the turns that are tried, degrees.
_TURN = 4.0

# Scales that are tried, 0.45 to 2.2.
_SCALES = tuple(2.0 ** (k / 12) for k in range(-14, 15))

# Least share of the smaller image that both must show.
_LEAST_COMMON = 0.12

# Guesses that are looked at closer, no two of which are nearly one.
GUESSES = 12


def _turned(
    image: np.ndarray, mask: np.ndarray, turn: float, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image and its mask turned and scaled, and [3, 3] from the result's pixels to its own."""
    height, width = image.shape
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    wide = int(np.ceil((abs(cos) * width + abs(sin) * height) / scale**2))
    high = int(np.ceil((abs(sin) * width + abs(cos) * height) / scale**2))
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])  # of (column, row)
    centre = matrix[:2, :2] @ (wide / 2, high / 2)
    matrix[:2, 2] = width / 2 - centre[0], height / 2 - centre[1]
    with brought_by("register"):
        import cv2
    lead = matrix[:2].copy()
    lead[:, 2] += lead[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the middle of the first pixel
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = [cv2.warpAffine(x.astype(np.float32), lead, (wide, high), flags=how) for x in (image, mask)]
    return turned[0], turned[1], matrix


def _prepared(view: View) -> tuple[np.ndarray, np.ndarray]:
    image, valid = view
    weight = valid.astype(np.float32)
    return gaussian_filter(local_contrast(image, valid, _CONTRAST), _BLUR) * weight, weight


def guesses(frame: Frame, *, turns: bool = True) -> list[np.ndarray]:
    """Models [3, 3] to be looked at closer, the most promising first.

    Args:
        frame: The two images.
        turns: Whether turns and scales are looked through; else only shifts.
    """
    extent = frame.extent()
    if min(extent.height, extent.width) < 16:
        return []
    found = []
    for size, scales in _looks(turns):
        one, step = whole_view(frame, None, frame.whole, size)
        other, other_step = whole_view(frame, np.eye(3), extent, size)
        lead, back = scaling(other_step, extent.col, extent.row), np.linalg.inv(scaling(step))
        here, there, spectra = _prepared(one), _prepared(other), {}
        for scale in scales:
            for angle in np.deg2rad(np.arange(0.0, 360.0, _TURN)) if turns else (0.0,):
                turned = _turned(*there, angle, scale * step / other_step)
                found += [(sure, lead @ matrix @ back) for sure, matrix in _shifts(here, turned, spectra)]
    found.sort(key=lambda one: -one[0])
    kept: list[np.ndarray] = []
    centre = np.array([frame.whole.width / 2, frame.whole.height / 2, 1.0])
    for _, model in found:
        if all(_unlike(model, other, centre, frame.whole.longest) for other in kept):
            kept.append(model)
        if len(kept) == GUESSES:
            break
    return kept


def _looks(turns: bool) -> list[tuple[int, tuple[float, ...]]]:
    """Sizes of the images, and the scales that are looked through with each."""
    if not turns:
        return [(_FINE_SIDE, (1.0,))]
    coarse = tuple(scale for scale in _SCALES if scale <= _FINE_FROM)
    return [(_SIDE, coarse), (_FINE_SIDE, _SCALES[len(coarse) :])]


def _unlike(one: np.ndarray, other: np.ndarray, centre: np.ndarray, size: float) -> bool:
    apart = np.hypot(*(one @ centre - other @ centre)[:2]) / size
    turned = np.linalg.norm(one[:2, :2] - other[:2, :2]) / np.linalg.norm(other[:2, :2])
    return bool(apart > 0.03 or turned > 0.08)


def _shifts(here, turned, spectra) -> list[tuple[float, np.ndarray]]:
    """The two best shifts of a turned image, as (how sure, matrix from the first image's pixels to the second's)."""
    (a, known_a), (b, known_b, matrix) = here, turned
    if min(b.shape) < 8 or max(b.shape) > 4 * _SIDE:
        return []
    size = tuple(-(-(n + m) // 32) * 32 for n, m in zip(a.shape, b.shape, strict=True))
    if size not in spectra:
        spectra[size] = [np.conj(cast(np.ndarray, scipy.fft.rfft2(x.astype(np.float32), s=size))) for x in (a, known_a)]
    parts = [*spectra[size], *(cast(np.ndarray, scipy.fft.rfft2(x.astype(np.float32), s=size)) for x in (b, known_b))]
    product = cast(np.ndarray, scipy.fft.irfft2(parts[0] * parts[2], s=size))
    common = cast(np.ndarray, scipy.fft.irfft2(parts[1] * parts[3], s=size))
    least = _LEAST_COMMON * min(known_a.sum(), known_b.sum())
    spread = float(np.sqrt((a**2).sum() / known_a.sum() * (b**2).sum() / max(known_b.sum(), 1.0))) + 1e-9
    # Correlation times the root of the common ground: how unlikely it is, in units that do not depend on either.
    score = np.where(common > least, product / (np.sqrt(np.maximum(common, 1.0)) * spread), -np.inf)
    found = []
    for _ in range(2):
        row, col = np.unravel_index(int(np.argmax(score)), score.shape)
        if not np.isfinite(score[row, col]):
            break
        down, along = (int(k) - n if k >= m else int(k) for k, n, m in zip((row, col), size, b.shape, strict=True))
        shift = np.array([[1.0, 0.0, along], [0.0, 1.0, down], [0.0, 0.0, 1.0]])
        found.append((float(score[row, col]), matrix @ shift))
        near = np.ix_(*(np.arange(k - 3, k + 4) % n for k, n in zip((row, col), size, strict=True)))
        score[near] = -np.inf
    return found
