"""Linear filters of maps as products of matrices. Axes: H rows, W columns, C bands."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft

from planetcd_jax.ops import extents
from planetcd_jax.types import Array

Image = TypeVar("Image", Array, np.ndarray)

_HIGH = jax.lax.Precision.HIGHEST

_WIDE = 160
"""Least side of a map that is blurred by a sum of shifted copies. There it is two to thirty times as fast as a product
of matrices; below it is slower, and takes longer to compile."""


def fast_length(length: int) -> int:
    """The least length from `length` on whose Fourier transform is quick."""
    return int(fft.next_fast_len(length, real=True))  # pyright: ignore[reportArgumentType]  (SciPy gives no type)


def _gaussian(sigma: float) -> np.ndarray:
    """Weights of a Gaussian out to 2.5 standard deviations, which add up to 1; [2 reach + 1] float32."""
    reach = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


def blur_matrix(length: int, sigma: float) -> np.ndarray:
    """Gaussian blur of a vector, mirrored at its ends, as a matrix [length, length] float32 whose rows add up to 1."""
    weights = _gaussian(sigma)
    reach = len(weights) // 2
    made = np.zeros((length, length))
    period = max(2 * (length - 1), 1)
    for step, weight in zip(range(-reach, reach + 1), weights, strict=True):
        at = np.abs((np.arange(length) + step + length - 1) % period - (length - 1)) if length > 1 else np.zeros(1, int)
        made[np.arange(length), at] += weight
    return made.astype(np.float32)


def blur_weights(length: int, sigma: float, inner: Any) -> Any:
    """`blur_matrix`, or one for the first `inner` values alone where that is an array's scalar, as `lengths` gives it.

    Value i of a mirrored vector is made of value j through each of its mirror images, at j + m P and -j + m P with P =
    2 (inner - 1); the ends are mirror images of themselves.
    """
    if isinstance(inner, int):
        return blur_matrix(inner, sigma)
    weights = _gaussian(sigma)
    reach = len(weights) // 2
    table = np.append(weights[reach:], np.float32(0))
    i, j = (np.arange(length, dtype=np.int32).reshape(shape) for shape in ((-1, 1), (1, -1)))
    periods = np.array([-1, 0, 1], np.int32)[:, None, None] * (2 * (inner - 1))
    # All images at once: a program blurs dozens of times, and it is compiled in the time of its many operations.
    distance = jnp.minimum(jnp.abs(np.stack([j - i, j + i])[:, None] + periods), reach + 1)
    weights = jnp.asarray(table).at[distance].get(mode="promise_in_bounds")  # [2, 3, length, length]
    here, mirrored = weights[:, 0] + weights[:, 1] + weights[:, 2]
    inward = (j > 0) & (j < inner - 1)
    return jnp.where(j < inner, here, 0) + jnp.where(inward, mirrored, 0)


def both_axes(by_row: Any, by_column: Any, x: Array) -> Array:
    """One matrix over rows, another over columns: [a, H], [b, W] and [..., H, W] to [..., a, b].

    Products of matrices, because a convolution of one channel by a long kernel is slow on every device.
    """
    return jnp.einsum("ah,...hw,bw->...ab", by_row, x, by_column, precision=_HIGH)


def blur(x: Array, sigma: float, step: int = 1) -> Array:
    """Gaussian blur over the last two axes, mirrored at the border; [..., H, W] float32 to the same.

    Args:
        x: In cells of `step` pixels; finite, also beyond the image (`extents`).
        sigma: Standard deviation, cells.
        step: Pixels in a cell.
    """
    if extents.is_set(x.shape[-2:], step) or min(x.shape[-2:]) < _WIDE:
        return both_axes(*_blur_weights(x.shape[-2:], sigma, step), x)
    return _by_taps(_by_taps(x, sigma, x.ndim - 2), sigma, x.ndim - 1)


def _by_taps(x: Array, sigma: float, axis: int) -> Array:
    """Blur over one axis, mirrored at its ends: the sum of shifted copies, each times its weight."""
    weights = _gaussian(sigma)
    reach, length = len(weights) // 2, x.shape[axis]
    rim = [(0, 0)] * x.ndim
    rim[axis] = (reach, reach)
    # Written out once: pulled into the sum, the mirror would be worked out for each copy.
    around = jax.lax.optimization_barrier(jnp.pad(x, rim, mode="reflect"))
    copies = (jax.lax.slice_in_dim(around, k, k + length, axis=axis) for k in range(len(weights)))
    return sum((weight * copy for weight, copy in zip(weights, copies, strict=True)), start=jnp.zeros((), x.dtype))


def _blur_weights(shape: tuple[int, ...], sigma: float, step: int = 1) -> tuple[Any, Any]:
    """`blur_weights` for rows and columns of a map [H, W]."""
    rows, columns = extents.lengths(shape, step, up=True)
    return blur_weights(shape[0], sigma, rows), blur_weights(shape[1], sigma, columns)


def blur_over(x: Array, weight: Array, sigma: float) -> Array:
    """Gaussian blur of [H, W] over what has weight alone; both float32. Near 0 where nothing around has."""
    return blur(x * weight, sigma) / (blur(weight, sigma) + 1e-3)


def grey(x: Image) -> Image:
    """Mean over the bands, float32: [H, W] or [H, W, C] to [H, W]. What is a NumPy array stays one."""
    plain: Any = x.astype(jnp.float32)
    return plain if plain.ndim == 2 else plain.mean(axis=-1)
