"""Stored values to [0, 1], by one rule for both dates of a pair, so that the stretch makes no change of its own."""

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.images.reading import Image

STRETCHES = ("auto", "dtype", "percentile", "none")

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
"""Percentiles that become 0 and 1."""


def describe(stretch: str) -> str:
    """The rule in words, for provenance.

    Raises:
        DataError: if there is no such stretch.
    """
    joint = f"percentiles {LOW_PERCENT} and {HIGH_PERCENT} of both dates together, all bands alike, to 0 and 1, clipped"
    words = {
        "auto": f"8-bit: value / 255; other types: {joint}",
        "dtype": "integers: value over the largest of the type, from its smallest",
        "percentile": joint,
        "none": "none: values are in [0, 1] as stored",
    }
    if stretch not in words:
        raise DataError(f"stretch is {stretch!r}; choose one of {', '.join(STRETCHES)}.")
    return words[stretch]


def stretched(before: Image, after: Image, stretch: str) -> tuple[np.ndarray, np.ndarray]:
    """Both dates in [0, 1] by the same transform.

    Args:
        before, after: Whole images, before any cutting, so that neighbouring patches share one stretch.
        stretch: "auto", "dtype", "percentile" or "none" (see `describe`).

    Returns:
        Two float32 arrays of the images' shapes. Pixels without data are 0.

    Raises:
        BadPairError: if there are no valid pixels, or "dtype" is asked of floats, or the two dates' types differ so
            that no common transform is known.
    """
    if stretch not in STRETCHES:
        describe(stretch)
    if stretch == "none":
        return _masked(before, 0.0).astype(np.float32), _masked(after, 0.0).astype(np.float32)
    low, high = _bounds(before, after, stretch)
    return _scaled(before, low, high), _scaled(after, low, high)


def _bounds(before: Image, after: Image, stretch: str) -> tuple[float, float]:
    """Values that become 0 and 1."""
    types = {before.dtype, after.dtype}
    if stretch == "dtype":
        return _type_bounds(types)
    if stretch == "auto" and types == {np.dtype(np.uint8)}:
        return 0.0, 255.0
    data = np.concatenate([image.values[image.valid].ravel() for image in (before, after)])
    if data.size == 0:
        raise BadPairError("no pixel has data on either date; check the no-data value, or leave this pair out.")
    low, high = np.percentile(data.astype(np.float64), [LOW_PERCENT, HIGH_PERCENT])
    if low == high:  # nearly all values are the same: the percentiles say nothing, the extremes may
        low, high = float(data.min()), float(data.max())
    return float(low), float(high)


def _type_bounds(types: set[np.dtype]) -> tuple[float, float]:
    if len(types) > 1 or not all(np.issubdtype(t, np.integer) for t in types):
        raise BadPairError(
            f"stretch 'dtype' needs one integer type for both dates, got {', '.join(sorted(map(str, types)))}; "
            "choose 'percentile'."
        )
    info = np.iinfo(next(iter(types)))
    return float(info.min), float(info.max)


def _masked(image: Image, fill: float) -> np.ndarray:
    """Values as float64, with `fill` where there is no data."""
    mask = image.valid if image.values.ndim == 2 else image.valid[..., None]
    return np.where(mask, image.values, fill).astype(np.float64)


def _scaled(image: Image, low: float, high: float) -> np.ndarray:
    values = _masked(image, low)
    if high > low:
        values = (values - low) / (high - low)
    else:
        values = np.zeros_like(values)
    return np.clip(values, 0.0, 1.0).astype(np.float32)
