"""rho: from one pair of patches to a change score. Written for one pair; `change_scores` is its `vmap`.

    rho = || maxpool(phi(after)) - maxpool(phi(before)) ||_1

Axes: H rows, W columns, C bands, D features, G groups of bands that are scored by themselves (1 for one band or RGB).
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import PatchError
from planetcd_jax.networks.extraction import check_pair, extract
from planetcd_jax.scores.registered import robust
from planetcd_jax.types import ApplyFn, Array, Params


def describe(params: Params, x: Array, config: ChangeConfig, *, apply: ApplyFn | None = None) -> Array:
    """The global descriptor f of one patch: its features, pooled over all positions. [H, W(, C)] to [G, D].

    NaN throughout if a pixel is NaN.
    """
    features = extract(params, x, config, apply=apply)  # [G, H', W', D]
    pooled = features.max(axis=(1, 2)) if config.pooling == "max" else features.mean(axis=(1, 2))  # [G, D]
    # A maximum may or may not let NaN through, by device: say it here.
    return jnp.where(jnp.isnan(x).any(), jnp.nan, pooled)


def compare(f_before: Array, f_after: Array, config: ChangeConfig) -> Array:
    """rho of two descriptors [G, D]: L1 norm (or mean) over D, averaged over G. Scalar."""
    chex.assert_rank([f_before, f_after], 2)
    chex.assert_equal_shape([f_before, f_after])
    difference = jnp.abs(f_after - f_before)  # [G, D]
    reduced = difference.sum(axis=-1) if config.reduction == "sum" else difference.mean(axis=-1)  # [G]
    return reduced.mean()


def change_score(
    params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> Array:
    """rho, the change score of one pair: || pool(phi(after)) - pool(phi(before)) ||_1.

    Pure: works under `jit` (with `config` static), `vmap` and `grad`.

    Args:
        params: As `load_vgg16` returns them, or whatever `apply` takes.
        before, after: [H, W] or [H, W, C] float in [0, 1], of one shape.
        config: How; `PAPER` or `AUTHORS_CODE`, or any other.
        apply: None for the network of `config`, or `apply(params, [N, H, W, 3]) -> dict of named activations`.

    Returns:
        Scalar float32, >= 0; 0 for identical patches (to rounding, with mean pooling). NaN if a pixel is NaN.

    Raises:
        PatchError: if the arrays are not two patches of one shape, large enough for the layer.
        ConfigError, WeightsError: if network, parameters and configuration do not fit.

    Source: Saha & Zhu, sections III-A to III-C, equation 1.

    Example:
        >>> rho = jax.jit(change_score, static_argnums=3)(params, before, after, PAPER)
    """
    if config.comparison == "registered":
        return robust.registered_score(params, before, after, config, apply=apply)
    check_pair(before, after, config)
    f_before = describe(params, before, config, apply=apply)
    f_after = describe(params, after, config, apply=apply)
    return compare(f_before, f_after, config)


def change_scores(
    params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> Array:
    """rho of each pair of a batch: `vmap` of `change_score`. [N, H, W(, C)] twice to [N] float32.

    Raises:
        PatchError: if the batches do not hold the same number of pairs; else as `change_score`.
    """
    if before.ndim not in (3, 4) or before.shape[:1] != after.shape[:1]:
        raise PatchError(f"before has shape {before.shape} and after {after.shape}; give two [N, H, W(, C)] batches.")
    return jax.vmap(partial(change_score, params, config=config, apply=apply))(before, after)
