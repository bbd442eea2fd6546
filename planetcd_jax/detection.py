"""The whole method as one pure function: pairs in, scores, threshold and decisions out.

Axes: N pairs, H rows, W columns, C bands, D features, G groups of bands (see `networks.backbone`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import PatchError
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.ops.extents import extent
from planetcd_jax.scores.null import patch_key
from planetcd_jax.scores.pixel_level import PixelChange
from planetcd_jax.thresholds import counted_nulls, p_values, threshold
from planetcd_jax.types import Array, Detection, Params

CPU_MICRO_BATCH = 4
"""On CPUs, activations of more pairs than this leave the cache: batches of 4 to 8 were the fastest of 1 ... 64 on two
AVX-512 cores (100 px and 150 px, float32)."""

AUTO = "auto"
"""As a micro-batch: what suits the device that JAX compiles for by default."""


def change_score(params: Params, before: Array, after: Array, config: ChangeConfig) -> Array:
    """rho, the change score of one pair; for `PAPER` || pool(phi(after)) - pool(phi(before)) ||_1.

    Pure: works under `jit` (with `config` static), `vmap` and `grad`.

    Args:
        params: As `load_vgg16` returns them, or whatever the backbone takes.
        before, after: [H, W] or [H, W, C] float in [0, 1], of one shape.
        config: How; `PAPER`, `AUTHORS_CODE`, `ROBUST`, or any other.

    Returns:
        Scalar float32, >= 0; 0 for identical patches (to rounding, with mean pooling). NaN if a pixel is NaN.

    Raises:
        PatchError: if the arrays are not two patches of one shape, large enough for the layer.
        ConfigError, WeightsError: if network, parameters and configuration do not fit.

    Source: Saha & Zhu, sections III-A to III-C, equation 1.

    Example:
        >>> rho = jax.jit(change_score, static_argnums=3)(params, before[0], after[0], PAPER)
    """
    config.score.check_pair(config.backbone, before, after)
    return config.score.rho(prepared(config.backbone, params), before, after)


def change_scores(params: Params, before: Array, after: Array, config: ChangeConfig) -> Array:
    """rho of each pair of a batch: `vmap` of `change_score`. [N, H, W(, C)] twice to [N] float32.

    Raises:
        PatchError: if the batches do not hold the same number of pairs; else as `change_score`.
    """
    if before.ndim not in (3, 4) or before.shape[:1] != after.shape[:1]:
        raise PatchError(f"before has shape {before.shape} and after {after.shape}; give two [N, H, W(, C)] batches.")
    return jax.vmap(lambda x, y: change_score(params, x, y, config))(before, after)


def extract(params: Params, x: Array, config: ChangeConfig) -> Array:
    """Feature map of one patch as the score uses it: phi, then clip and standardise if asked for.

    [H, W] or [H, W, C] float in [0, 1] to [G, h, w, D] float32; G = 1 for one band or RGB, h = H // stride.

    Raises:
        PatchError: if `x` is no patch.
        ConfigError, WeightsError: if network, parameters and configuration do not fit.
    """
    return config.score.features(prepared(config.backbone, params), x)


def pixel_change(
    key: Array, params: Params, before: Array, after: Array, config: ChangeConfig, *, valid: Array | None = None
) -> PixelChange:
    """Where one pair changed: size of the change at each pixel, the level of chance, and the ground above it.

    Args:
        key: Key of the pair: the level comes from pseudo-unchanged pairs.
        params, before, after, config: As in `change_score`.
        valid: [H, W] bool, pixels to believe; the others may hold any value. None: all.

    Returns:
        `PixelChange`, on the grid of `before`.

    Raises:
        PatchError, ConfigError, WeightsError: as `pixel_change_map`.

    Example:
        >>> found = jax.jit(pixel_change, static_argnums=4)(jax.random.key(0), params, before[0], after[0], ROBUST)
        >>> bool(found.changed.any() <= (found.size >= found.level).any())
        True
    """
    config.score.check_pair(config.backbone, before, after)
    return config.score.pixel_change(key, prepared(config.backbone, params), before, after, valid)


def pixel_change_map(params: Params, before: Array, after: Array, config: ChangeConfig, **dcva: Any) -> Array:
    """Size of the change at each pixel of one pair, [H, W] float32 >= 0: `Score.evidence`.

    For `PAPER` that is DCVA, for `ROBUST` standard deviations (`scores.registered.pixel_evidence`); fields of `Dcva`
    ask for DCVA whatever the score. `pixel_change` gives the level of chance and the contour too.

    The images must be aligned to a few pixels; unlike rho, nothing here is pooled over positions.

    Args:
        params, before, after, config: As in `change_score`.
        dcva: Other values for fields of `scores.dcva.Dcva`, such as `layers=("conv3_2",)` or `scaling="none"`.

    Raises:
        PatchError: if the arrays are not two patches of one shape, large enough for the layers.
        ConfigError, WeightsError: if a setting is out of its domain, or the network does not fit.

    Source: Saha & Zhu, section III-E.

    Example:
        >>> heat = jax.jit(pixel_change_map, static_argnums=3)(params, before[0], after[0], PAPER)
        >>> mask = change_mask(heat)  # [H, W] bool
    """
    network = prepared(config.backbone, params)
    if dcva:
        return dataclasses.replace(config.score.dcva(), **dcva).change(network, before, after)
    return config.score.evidence(network, before, after)


def pair_scores(
    key: Array, params: Params, before: Array, after: Array, config: ChangeConfig, *, context: Array | None = None
) -> tuple[Array, Array]:
    """rho of one pair and rho' of its pseudo-unchanged pair; `before` goes through the network once.

    Args:
        key: Key of this pair (see `scores.null.patch_key`).
        params, before, after, config: As in `change_score`.
        context: None, or `before` with `config.score.null.margin_px` true pixels on each side.

    Returns:
        rho and rho', two float32 scalars.

    Raises:
        PatchError, ConfigError, WeightsError: as `change_score`.
    """
    config.score.check_pair(config.backbone, before, after)
    return config.score.pair_rhos(key, prepared(config.backbone, params), before, after, context)


def _mapped(one: Callable[[Any], Any], batch: Any, micro_batch: int | str | None) -> Any:
    """`vmap`, so many pairs at a time, in one compiled loop; the last of them padded, so that only one is compiled."""
    count = jax.tree.leaves(batch)[0].shape[0]
    if micro_batch == AUTO:
        micro_batch = CPU_MICRO_BATCH if jax.default_backend() == "cpu" else None
    if micro_batch is None or micro_batch >= count:
        return jax.vmap(one)(batch)
    loops = -(-count // micro_batch)
    places = np.minimum(np.arange(loops * micro_batch), count - 1)

    def parts(x: Array) -> Array:
        whole = x if places.size == count else x[places]
        return whole.reshape(loops, micro_batch, *x.shape[1:])

    found = jax.lax.map(jax.vmap(one), jax.tree.map(parts, batch))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)


def batch_scores(
    key: Array,
    params: Params,
    before: Array,
    after: Array,
    index: Array,
    config: ChangeConfig,
    *,
    context: Array | None = None,
    size: Array | None = None,
    micro_batch: int | str | None = AUTO,
) -> tuple[Array, Array]:
    """rho and rho' of each pair of a batch, [N] float32 each: `pair_scores`, mapped.

    Args:
        key: Key of the run; pair n draws from `fold_in(key, index[n])`.
        params, config: As in `pair_scores`.
        before, after: [N, H, W] or [N, H, W, C] float in [0, 1].
        index: [N] integers, each pair's own number in its data set.
        context: None, or [N, H + 2m, W + 2m(, C)].
        size: None, or [N, 2] int32, rows and columns of each pair, which lies in the upper left corner of its array;
            what stands beyond is finite. Where `config.score.pads(config.backbone)`.
        micro_batch: Pairs that go through the network together; the micro-batches follow each other in one compiled
            loop. "auto": what suits the device; None: all at once. Changes speed and memory, not results.
    """
    if before.ndim not in (3, 4) or not before.shape[0] == after.shape[0] == index.shape[0]:
        raise PatchError(
            f"before has shape {before.shape}, after {after.shape} and index {index.shape}; give two [N, H, W(, C)] "
            "batches and [N] numbers."
        )
    network = prepared(config.backbone, params)

    def one(pair):
        x, y, i, around, inner = pair
        config.score.check_pair(config.backbone, x, y)
        with extent(x.shape[:2], inner):
            return config.score.pair_rhos(patch_key(key, i), network, x, y, around)

    return _mapped(one, (before, after, index, context, size), micro_batch)


def detect(
    key: Array,
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    context: Array | None = None,
    valid: Array | None = None,
    micro_batch: int | str | None = AUTO,
) -> Detection:
    """Scores, threshold, decisions and p-values of N pairs.

    Pure: `jax.jit(detect, static_argnames=("config", "micro_batch"))` compiles once for each shape.

    Args:
        key: Key of the run. Pair n draws from `fold_in(key, n)`, so padding and batch size change nothing.
        params: As `load_vgg16` returns them, or whatever the backbone takes.
        before, after: [N, H, W] or [N, H, W, C] float in [0, 1].
        config: How; `PAPER`, `AUTHORS_CODE`, `ROBUST`, or any other. `networks.winograd.with_engine(config)` computes
            the network in C++ on CPUs, about twice as fast.
        context: None, or `before` with `config.score.null.margin_px` true pixels on each side.
        valid: [N] bool; False marks padding, whose results are NaN, False and NaN. None: all are valid.
        micro_batch: Pairs that go through the network together; "auto": what suits the device; None: all.

    Returns:
        `Detection` with rho, rho_null, tau, changed and p_value.

    Raises:
        PatchError, ConfigError, WeightsError: as `change_score`.

    Source: Saha & Zhu, section III.
    """
    index = jnp.arange(before.shape[0], dtype=jnp.uint32)
    rho, rho_null = batch_scores(
        key, params, before, after, index, config, context=context, micro_batch=micro_batch
    )  # fmt: skip
    if valid is not None:
        rho = jnp.where(valid, rho, jnp.nan)
        rho_null = jnp.where(valid, rho_null, jnp.nan)
    return decide(rho, rho_null, config, valid=valid)


def decide(rho: Array, rho_null: Array, config: ChangeConfig, *, valid: Array | None = None) -> Detection:
    """Threshold, decisions and p-values from scores that are there already.

    Args:
        rho, rho_null: [N] float32.
        config: Its `decision` is used.
        valid: [N] bool, False marks padding. None: all are valid.

    Returns:
        `Detection`; `changed` is False where rho is NaN.

    Raises:
        PatchError: if the scores are not vectors of at least one.
    """
    counted = counted_nulls(rho, rho_null, config.decision, valid=valid)
    tau = threshold(rho_null, config.decision, valid=counted)
    return Detection(rho, rho_null, tau, rho > tau, p_values(rho, rho_null, valid=counted))
