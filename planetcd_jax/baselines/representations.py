"""What Kerner et al.'s classifiers see of a pair: differences, a composite, or a bottleneck.

What was found: the names of the representations (Saha & Zhu, table I) and that the red channel alone is used, so the
patches are grey (section IV-A). The article of Kerner et al. 2019 could not be read here. What was assumed:
"pixel difference" and "signed difference" are after - before, "absolute difference" its absolute value; "composite
grayscale" stacks before, after and their signed difference as three channels; patches with several bands are averaged
to grey; patches of another size than those trained on are resampled to it (bilinear, with anti-aliasing).
"""

import chex
import jax
import jax.numpy as jnp

from planetcd_jax.baselines import autoencoder
from planetcd_jax.baselines.contrast import local_contrast_normalize
from planetcd_jax.errors import ConfigError
from planetcd_jax.types import Array, Params

REPRESENTATIONS = ("difference", "absolute", "signed", "composite", "bottleneck")

_CONTRAST_RANGE = 3.0
"""Local standard deviations at which a contrast-normalised image is cut, so that it too lies in [0, 1]."""


def grey_patch(x: Array, size: tuple[int, int], *, contrast: bool = False) -> Array:
    """One patch as the representations take it: grey, of the wanted size, in [0, 1].

    Args:
        x: [H, W] or [H, W, C] float in [0, 1].
        size: Rows and columns wanted.
        contrast: Whether to apply `local_contrast_normalize`, cut at 3 local standard deviations.

    Returns:
        [size[0], size[1]] float32 in [0, 1].
    """
    chex.assert_rank(x, {2, 3})
    chex.assert_type(x, float)
    x = x.astype(jnp.float32)
    if x.ndim == 3:
        x = x.mean(axis=-1)  # [H, W]
    if x.shape != tuple(size):
        x = jax.image.resize(x, size, "linear", antialias=True)
    if contrast:
        x = jnp.clip(local_contrast_normalize(x), -_CONTRAST_RANGE, _CONTRAST_RANGE)
        x = 0.5 + x / (2 * _CONTRAST_RANGE)
    return x


def represent(name: str, before: Array, after: Array) -> Array:
    """Input of Inception-v3 for one pair, each channel in [-1, 1].

    With d = after - before: "absolute" is 2 |d| - 1 and "signed" (or "difference") is d, three times each;
    "composite" is (2 before - 1, 2 after - 1, d).

    Args:
        name: One of `REPRESENTATIONS` but "bottleneck", which needs an encoder (`bottleneck`).
        before, after: [H, W] float in [0, 1].

    Returns:
        [H, W, 3] float.

    Raises:
        ConfigError: if there is no such representation.
    """
    chex.assert_rank([before, after], 2)
    chex.assert_equal_shape([before, after])
    difference = after - before
    if name == "absolute":
        plane = 2 * jnp.abs(difference) - 1
        return jnp.stack([plane] * 3, axis=-1)
    if name in ("signed", "difference"):
        return jnp.stack([difference] * 3, axis=-1)
    if name == "composite":
        return jnp.stack([2 * before - 1, 2 * after - 1, difference], axis=-1)
    raise ConfigError(f"representation is {name!r}; choose one of absolute, signed, difference, composite.")


def bottleneck(params: Params, before: Array, after: Array) -> Array:
    """Difference of the two bottlenecks of an autoencoder, enlarged to the patch: [H, W] twice to [H, W, 3].

    Args:
        params: Of `autoencoder.Autoencoder`.
        before, after: [H, W] float.

    Returns:
        [H, W, 3] float, without bound.
    """
    chex.assert_rank([before, after], 2)
    pair = jnp.stack([autoencoder.standardized(x[..., None]) for x in (before, after)])  # [2, H, W, 1]
    codes = jnp.asarray(autoencoder.Autoencoder().apply({"params": params}, pair, method="encode"))  # [2, H/4, W/4, 3]
    return jax.image.resize(codes[1] - codes[0], (*before.shape, codes.shape[-1]), "linear")


def pixel_vector(name: str, before: Array, after: Array) -> Array:
    """The pixels of a difference image as one vector, for naive Bayes and the SVM: [H, W] twice to [H * W].

    Args:
        name: "difference" or "signed" (after - before), or "absolute".
        before, after: [H, W] float in [0, 1].

    Raises:
        ConfigError: if there is no such difference.
    """
    chex.assert_rank([before, after], 2)
    difference = (after - before).ravel()
    if name == "absolute":
        return jnp.abs(difference)
    if name in ("difference", "signed"):
        return difference
    raise ConfigError(f"representation is {name!r}; choose difference, signed or absolute for a pixel vector.")
