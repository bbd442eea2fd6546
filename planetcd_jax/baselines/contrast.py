"""Local contrast normalisation: each pixel in units of the mean and spread of its surroundings.

What was found: Kerner et al. 2019 prepared their difference images with a local contrast normalisation (the authors'
labels of Saha & Zhu lie in a folder named "..._signdiff_lcn"); the general form is (x - local mean) / local standard
deviation, and Jarrett et al. 2009 ("What is the best multi-stage architecture for object recognition?") weight the
surroundings by a Gaussian and put a floor under the divisor. What was assumed: the size of the window, the floor, that
each image is normalised before the difference is taken, and that windows are cut at the border of the image.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.errors import ConfigError
from planetcd_jax.types import Array

WINDOWS = ("gaussian", "box")

DEFAULT_RADIUS = 8
"""Half-width of the window, pixels: 17x17. Assumed."""

DEFAULT_FLOOR = 0.01
"""Least divisor, for images in [0, 1]: 2.5 grey levels of 255. Assumed."""


def _weights(size: int, radius: int, window: str) -> np.ndarray:
    """[size, size] matrix whose row i averages the surroundings of i that lie in the image."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    if window == "gaussian":
        weight = np.exp(-0.5 * (distance / (radius / 2)) ** 2) if radius else np.ones_like(distance, float)
    else:
        weight = np.ones_like(distance, float)
    weight = weight * (np.abs(distance) <= radius)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def local_contrast_normalize(
    x: Array, *, radius: int = DEFAULT_RADIUS, window: str = "gaussian", floor: float = DEFAULT_FLOOR
) -> Array:
    """(x - m) / max(s, floor), m and s the weighted mean and standard deviation of each pixel's window.

    Args:
        x: [H, W] or [H, W, C] float; bands are normalised each by itself.
        radius: Half-width r of the square window of (2r+1)^2 pixels, >= 1.
        window: "gaussian" (standard deviation r / 2, cut at r) or "box".
        floor: Least divisor, in units of `x`, > 0.

    Returns:
        The same shape, without unit; 0 for a constant image.

    Raises:
        ConfigError: if a setting is out of its domain.
    """
    chex.assert_rank(x, {2, 3})
    chex.assert_type(x, float)
    if not isinstance(radius, int) or radius < 1:
        raise ConfigError(f"radius is {radius!r}; give the half-width of the window, 1 or more whole pixels.")
    if window not in WINDOWS:
        raise ConfigError(f"window is {window!r}; choose one of {', '.join(WINDOWS)}.")
    if not floor > 0:
        raise ConfigError(f"floor is {floor!r}; give the least divisor, above 0.")
    rows = jnp.asarray(_weights(x.shape[0], radius, window), x.dtype)  # [H, H]
    columns = jnp.asarray(_weights(x.shape[1], radius, window), x.dtype)  # [W, W]

    def average(image):
        return jnp.einsum("ij,jk...,lk->il...", rows, image, columns, precision=jax.lax.Precision.HIGHEST)

    centred = x - x.mean(axis=(0, 1))  # against cancellation in the variance
    mean = average(centred)  # [H, W(, C)]
    variance = average(jnp.square(centred)) - jnp.square(mean)  # [H, W(, C)]
    spread = jnp.sqrt(jnp.maximum(variance, jnp.square(jnp.asarray(floor, x.dtype))))
    return (centred - mean) / spread
