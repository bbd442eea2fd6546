"""Rho of every window of an image pair that is registered first; see `robust` for the score of one pair.

Registration, network and the maps of brightness are shared by all windows of an array; what a window makes of them
(its noise, its spread, its largest differences) is its own.

Axes: H rows, W columns, R rows and S columns of windows.
"""

import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.ops.resampling import Registration
from planetcd_jax.scores.registered import registration, robust
from planetcd_jax.scores.registered.robust import Evidence
from planetcd_jax.types import ApplyFn, Array, Params

MARGIN_PX = 48
"""Ground around the windows that registration and blurs look at."""

TILE_PX = 384
"""Side of the ground whose windows are best scored from one array: registration sees enough, and memory is small."""


def _lay(before: Array, after: Array, valid: Array, config: ChangeConfig) -> tuple[Array, Registration]:
    """The first date and the registered second; missing pixels have the mean of the others."""
    mask = valid.reshape(valid.shape + (1,) * (before.ndim - 2))
    weight = mask.astype(jnp.float32)
    filled = []
    for x in (before.astype(jnp.float32), after.astype(jnp.float32)):
        known = jnp.where(mask, x, 0.0)
        mean = known.sum(axis=(0, 1), keepdims=True) / jnp.maximum(weight.sum(), 1.0)
        filled.append(jnp.where(mask, x, mean))
    laid = registration.register_parts(*filled, config.max_misalignment, valid=(valid, valid))
    return filled[0], laid


def _windows(evidence: Evidence, shape: tuple[int, int], window: int, stride: int, min_valid: float, margin: int):
    """Rho of each window, [R, S]; NaN where less than `min_valid` of one is compared."""
    rows, cols = ((n - 2 * margin - window) // stride + 1 for n in shape)
    step = max(1, shape[0] // evidence.texture.shape[0])
    corners = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(cols), indexing="ij"), axis=-1).reshape(-1, 2)

    def one(corner: Array) -> Array:
        def cut(x: Array) -> Array:
            fine = x.shape == shape
            side = window if fine else window // step
            return jax.lax.dynamic_slice(x, corner if fine else corner // step, (side, side))

        part = jax.tree.map(cut, evidence)
        share = part.keep.mean(dtype=jnp.float32)
        return jnp.where((share > 0) & (share >= min_valid), robust.weigh(part), jnp.nan)

    return jax.lax.map(one, margin + corners * stride).reshape(rows, cols)


def score_map(
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    window: int,
    stride: int,
    valid: Array,
    min_valid: float,
    margin: int,
    apply: ApplyFn | None = None,
    null_key: Array | None = None,
) -> Array:
    """Rho of each window of one array, [R, S].

    Arguments as in `scoremap.score_map`, which calls this. With `null_key`, the second date is a pseudo-unchanged one,
    whose differences are the array's own (`residual_null`).
    """
    filled, laid = _lay(before, after, valid, config)
    views = first, second, keep = robust.registered_views(params, filled, laid, config, apply)
    if null_key is not None:
        second = robust.null_view(null_key, params, filled, laid, views, config, apply)
    evidence = robust.gather(first, second, keep)
    return _windows(evidence, before.shape[:2], window, stride, min_valid, margin)
