"""Robust change vector analysis (RCVA), made patch-level as the paper made it: maximum of the robust magnitude.

What was found. Thonfeld et al. 2016 compare each pixel of one image with a (2w+1)^2 neighbourhood of the other, band
by band, keep the least difference, do the same with the images exchanged, and take the root of the sum of squares over
the bands. The article itself could not be read here; the two directions and the clamping of negative differences at 0
were taken from an R implementation that cites it, and agree with the article's symbols x_diffa and x_diffb. That
implementation centres the window on the other image than `robust_differences` does, which amounts to inverting the
grey scale of both images. Saha & Zhu say that their RCVA follows the strategies of the proposed method.

What was assumed. The window half-width (2 px; neither source states one that would fit these images), that windows are
cut at the border of the image, that the patch-level score is the global maximum, and that tau comes from the same
pseudo-unchanged pairs as the proposed method's.
"""

import chex
import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import ConfigError
from planetcd_jax.types import Array, Params

DEFAULT_WINDOW = 2
"""Half-width w of the neighbourhood, pixels: 5x5. Assumed, see the module's text."""

COMPARISONS = ("signed", "absolute")


def _check(before: Array, after: Array, window: int, comparison: str) -> None:
    chex.assert_rank([before, after], {2, 3})
    chex.assert_equal_shape([before, after])
    chex.assert_type([before, after], float)
    if not isinstance(window, int) or window < 0:
        raise ConfigError(f"window is {window!r}; give the half-width of the neighbourhood, 0 or more whole pixels.")
    if comparison not in COMPARISONS:
        raise ConfigError(f"comparison is {comparison!r}; choose one of {', '.join(COMPARISONS)}.")


def _local_max(x: Array, window: int) -> Array:
    """Maximum over the part of the (2w+1)^2 window that lies in the image; [H, W, C] to [H, W, C]."""
    side = 2 * window + 1
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, (side, side, 1), (1, 1, 1), "SAME")


def _nearest(centre: Array, other: Array, window: int) -> Array:
    """min over q in the window of |centre(p) - other(q)|; [H, W, C] each."""
    side, (rows, columns, bands) = 2 * window + 1, centre.shape
    padded = jnp.pad(other, ((window, window), (window, window), (0, 0)), constant_values=jnp.inf)

    def closer(least, offset):
        start = (offset // side, offset % side, jnp.int32(0))
        shifted = jax.lax.dynamic_slice(padded, start, (rows, columns, bands))
        return jnp.minimum(least, jnp.abs(centre - shifted)), None

    offsets = jnp.arange(side * side, dtype=jnp.int32)
    return jax.lax.scan(closer, jnp.full(centre.shape, jnp.inf, centre.dtype), offsets)[0]


def robust_differences(
    before: Array, after: Array, *, window: int = DEFAULT_WINDOW, comparison: str = "signed"
) -> tuple[Array, Array]:
    """Least difference of each pixel to a neighbourhood in the other image, in both directions.

    With p a pixel, q the pixels of its window, and each band by itself:
    "signed":   a(p) = min_q max(0, after(p) - before(q)),  b(p) = min_q max(0, before(p) - after(q));
    "absolute": a(p) = min_q |after(p) - before(q)|,        b(p) = min_q |before(p) - after(q)|.

    Args:
        before, after: [H, W] or [H, W, C] float.
        window: Half-width w of the window, pixels, >= 0.
        comparison: "signed" (as found; at most one of a and b is above 0 at a pixel) or "absolute" (differs: a pixel
            that is darker than all its surroundings counts too).

    Returns:
        a and b, [H, W, C] float, >= 0; C is 1 for [H, W].

    Raises:
        ConfigError: if `window` or `comparison` is out of its domain.
    """
    _check(before, after, window, comparison)
    one, two = (x[..., None] if x.ndim == 2 else x for x in (before, after))  # [H, W, C]
    if comparison == "absolute":
        return _nearest(two, one, window), _nearest(one, two, window)
    zero = jnp.zeros((), one.dtype)
    return jnp.maximum(two - _local_max(one, window), zero), jnp.maximum(one - _local_max(two, window), zero)


def rcva_magnitude(before: Array, after: Array, *, window: int = DEFAULT_WINDOW, comparison: str = "signed") -> Array:
    """Robust change magnitude of each pixel: sqrt(sum over bands of max(a, b)^2).

    Args:
        before, after: [H, W] or [H, W, C] float.
        window: Half-width of the window, pixels.
        comparison: See `robust_differences`.

    Returns:
        [H, W] float, >= 0. NaN spreads to every pixel whose window holds one.
    """
    a, b = robust_differences(before, after, window=window, comparison=comparison)  # [H, W, C]
    return jnp.sqrt(jnp.square(jnp.maximum(a, b)).sum(axis=-1))  # [H, W]


def rcva_score(
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    window: int = DEFAULT_WINDOW,
    comparison: str = "signed",
) -> Array:
    """rho of RCVA: the largest robust magnitude of one pair of patches.

    It has the form that `detect(..., score=rcva_score)` takes, so one path serves the proposed method and this one.

    Args:
        params: Not used; RCVA has none.
        before, after: [H, W] or [H, W, C] float in [0, 1].
        config: Not used by the score itself; `detect` uses its noise, shift and quantile.
        window: Half-width of the window, pixels.
        comparison: See `robust_differences`.

    Returns:
        Scalar float, >= 0; 0 for identical patches.

    Example:
        >>> out = detect(key, None, before, after, PAPER, score=rcva_score, micro_batch=16)
    """
    del params, config
    return rcva_magnitude(before, after, window=window, comparison=comparison).max()
