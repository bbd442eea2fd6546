"""Linear filters of maps as products of matrices. Axes: H rows, W columns, C bands."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft

from planetcd_jax.types import Array

_HIGH = jax.lax.Precision.HIGHEST


def fast_length(length: int) -> int:
    """The least length from `length` on whose Fourier transform is quick."""
    return int(fft.next_fast_len(length, real=True))  # pyright: ignore[reportArgumentType]  (SciPy gives no type)


def blur_matrix(length: int, sigma: float) -> np.ndarray:
    """Gaussian blur of a vector, mirrored at its ends, as a matrix [length, length] float32 whose rows add up to 1."""
    reach = int(np.ceil(2.5 * sigma))
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    made = np.zeros((length, length))
    period = max(2 * (length - 1), 1)
    for step, weight in zip(steps, kernel / kernel.sum(), strict=True):
        at = np.abs((np.arange(length) + step + length - 1) % period - (length - 1)) if length > 1 else np.zeros(1, int)
        made[np.arange(length), at] += weight
    return made.astype(np.float32)


def both_axes(by_row: np.ndarray, by_column: np.ndarray, x: Array) -> Array:
    """One matrix over rows, another over columns: [a, H], [b, W] and [..., H, W] to [..., a, b].

    Products of matrices, because a convolution of one channel by a long kernel is slow on every device.
    """
    return jnp.einsum("ah,...hw,bw->...ab", by_row, x, by_column, precision=_HIGH)


def blur(x: Array, sigma: float) -> Array:
    """Gaussian blur over the last two axes, mirrored at the border; [..., H, W] float32 to the same."""
    rows, columns = (blur_matrix(n, sigma) for n in x.shape[-2:])
    return both_axes(rows, columns, x)


def grey(x: Array) -> Array:
    """Mean over the bands, float32: [H, W] or [H, W, C] to [H, W]."""
    x = x.astype(jnp.float32)
    return x if x.ndim == 2 else x.mean(axis=-1)
