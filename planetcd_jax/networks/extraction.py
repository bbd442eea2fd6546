"""From one patch to its features: checks, normalisation, the network, clip and standardisation.

Axes: H rows, W columns, C bands, D features, G groups of bands that go through the network by themselves (1 for one
band or RGB).
"""

import chex
import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.networks import vgg16
from planetcd_jax.types import ApplyFn, Array, Params


def check_patch(name: str, x: Array, config: ChangeConfig) -> None:
    """Raises PatchError unless `x` is a float patch [H, W] or [H, W, C] large enough for the layer."""
    shape = tuple(x.shape)
    if x.ndim not in (2, 3):
        raise PatchError(f"{name} has shape {shape}; give one patch, [H, W] or [H, W, C] (batches: change_scores).")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise PatchError(f"{name} has dtype {x.dtype}; give floats in [0, 1] (divide 8-bit images by 255).")
    if x.ndim == 3 and x.shape[-1] == 0:
        raise PatchError(f"{name} has shape {shape}, so no band; give at least one.")
    if config.bands is not None and (x.ndim == 2 or max(config.bands) >= x.shape[-1]):
        raise PatchError(f"{name} has shape {shape}, without all of the bands {config.bands} (counted from 0).")
    smallest = 1 if config.backbone == "custom" else vgg16.stride(config.layer)
    if min(shape[:2]) < smallest:
        raise PatchError(
            f"{name} is {shape[0]}x{shape[1]} px, and {config.layer} needs at least {smallest} px in each axis; "
            "use larger patches or an earlier layer."
        )


def check_pair(before: Array, after: Array, config: ChangeConfig) -> None:
    """Raises PatchError unless both are patches of one shape."""
    check_patch("before", before, config)
    check_patch("after", after, config)
    if before.shape != after.shape:
        raise PatchError(f"before has shape {before.shape} and after {after.shape}; crop or resample to one grid.")


def _standardize(x: Array, epsilon: float) -> Array:
    """Zero mean and unit standard deviation over rows and columns, each channel by itself; 0 where constant."""
    centred = x - x.mean(axis=(0, 1), keepdims=True)
    variance = jnp.square(centred).mean(axis=(0, 1), keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


def band_groups(x: Array, config: ChangeConfig) -> Array:
    """A patch as [G, H, W] (equal channels, G scored one by one) or [1, H, W, 3] (colour).

    One band is repeated in all three channels; three are RGB; of another number, `config.bands` picks three, or else
    each is scored by itself.
    """
    if x.ndim == 2:
        return x[None]
    if config.bands is not None:
        return x[None, :, :, jnp.asarray(config.bands)]
    if x.shape[-1] == 3:
        return x[None]
    return jnp.moveaxis(x, -1, 0)


def network_input(x: Array, config: ChangeConfig, *, fold: bool) -> Array:
    """What the network is given for one group of bands.

    Args:
        x: [H, W] (three equal channels) or [H, W, 3], float in [0, 1].
        config: Normalisation is used.
        fold: For [H, W], give the planes that `vgg16.fold_equal_channels` expects instead of three equal ones.

    Returns:
        [H, W, 3], or [H, W, 2] if folded, float32.
    """
    x = x.astype(jnp.float32)
    mean, std = config.input_mean, config.input_std
    if config.patch_standardize:
        # Over all channels together, so that the ratios between the bands of a colour image stay.
        centred = x - x.mean()
        x = centred * jax.lax.rsqrt(jnp.square(centred).mean() + constants.STANDARDIZE_EPSILON)
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if x.ndim == 2 and fold:
        return jnp.stack([x - sum(mean) / 3, jnp.ones_like(x)], axis=-1)  # [H, W, 2]
    if x.ndim == 2:
        x = jnp.stack([x, x, x], axis=-1)  # [H, W, 3]
    return (x - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def _activation(params: Params, x: Array, config: ChangeConfig, apply: ApplyFn | None) -> Array:
    """The chosen activation of one group of bands: [H, W] or [H, W, 3] to [H', W', D] float32."""
    if apply is None:
        if config.backbone == "custom":
            raise ConfigError("backbone is 'custom', so the network must be given: pass apply=.")
        vgg16.check_parameters(params, config)
        fold = x.ndim == 2
        if fold:
            plain = config.patch_standardize
            mean = (0.0, 0.0, 0.0) if plain else config.input_mean
            std = (1.0, 1.0, 1.0) if plain else config.input_std
            params = vgg16.fold_equal_channels(params, mean, std)
        acts = vgg16.network(config).apply({"params": params}, network_input(x, config, fold=fold)[None])
    else:
        acts = apply(params, network_input(x, config, fold=False)[None])
    name = config.activation_name()
    if name not in acts:
        raise ConfigError(f"the network returns no activation named {name!r}; it has {', '.join(acts)}.")
    chex.assert_rank(acts[name], 4)
    return acts[name][0].astype(jnp.float32)  # [H', W', D]


def extract(params: Params, x: Array, config: ChangeConfig, *, apply: ApplyFn | None = None) -> Array:
    """Feature map of one patch, as it goes into the pooling: phi, then clip and standardise if asked for.

    Args:
        params: As `load_vgg16` returns them, or whatever `apply` takes.
        x: [H, W] or [H, W, C] float in [0, 1].
        config: How.
        apply: None for the network of `config`, or `apply(params, [N, H, W, 3]) -> dict of named activations`.

    Returns:
        [G, H', W', D] float32; G = 1 for one band or RGB. H' = H // stride.

    Raises:
        PatchError: if `x` is no patch.
        ConfigError, WeightsError: if network, parameters and configuration do not fit.
    """
    check_patch("patch", x, config)

    def one(group: Array) -> Array:
        features = _activation(params, group, config, apply)  # [H', W', D]
        if config.feature_clip is not None:
            features = jnp.clip(features, -config.feature_clip, config.feature_clip)
        if config.feature_standardize:
            features = _standardize(features, constants.STANDARDIZE_EPSILON)
        return features

    return jax.vmap(one)(band_groups(x, config))  # [G, H', W', D]
