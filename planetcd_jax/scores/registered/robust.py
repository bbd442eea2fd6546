"""A change score that looks at places, not at maxima: both dates are laid on each other first.

    rho = detail^0.9 * texture^0.1

`detail` is how far the largest differences of brightness stand out from those of the rest of the patch, each divided by
what the pair's own noise and misalignment make of the slope of brightness there. `texture` is the largest difference of
deep features, divided by how much they vary from place to place. The null, h(x), is the first date plus the pair's own
differences at other places (`residual_null`).

Axes: H rows, W columns, h and w the same in cells of the feature map, D features, G groups of bands.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.networks.extraction import check_pair, extract
from planetcd_jax.ops import masked
from planetcd_jax.ops.filters import blur, grey
from planetcd_jax.ops.resampling import Registration
from planetcd_jax.scores.registered import registration
from planetcd_jax.scores.registered.brightness import Brightness, Limits, brightness, common_limits, detail_map
from planetcd_jax.scores.registered.residual_null import residual_null
from planetcd_jax.types import ApplyFn, Array, Params

# All chosen on the development split of `scripts/evaluate.py`; the README has the ablation.
NETWORK_BLUR_PX = 1.2
"""Standard deviation of the blur before the network, which takes noise for texture."""
BORDER_PX = 8
"""Ground this near to missing ground or to the edge is not compared: resampling and blurs are one-sided there."""
USUAL_CAP = 1.0
"""Largest interquartile range of `detail` that is put down to the patch: where more of it differs, the patch as a whole
has changed. Nineteen of twenty unchanged development pairs are below."""
USUAL_LEAST = 0.1
"""Least interquartile range of `detail`: where nearly all pixels of both dates are equal, one grey level in a few of
the others is no change. Noise alone gives about 0.8."""
EQUAL = 1e-6
"""Largest difference of brightness, of full scale, of ground that is the same in both dates: rho is 0 there."""
DETAIL_TOP = 0.004
TEXTURE_TOP = 0.01
"""Share of the places whose mean is taken: the size of the smallest change that counts in full."""
TEXTURE_POWER = 0.1


class View(NamedTuple):
    """What the comparison needs of one date on the common grid.

    Attributes:
        brightness: Maps of brightness.
        direction: [G, h, w, D] float32, features as unit vectors.
        varies: [h, w] float32, mean squared distance of each direction from its neighbours'.
    """

    brightness: Brightness
    direction: Array
    varies: Array


class Evidence(NamedTuple):
    """A registered pair as maps, from which any window is scored.

    Attributes:
        before, after: `Brightness` of each date.
        keep: [H, W] bool, pixels that are compared.
        texture: [h, w] float32, difference of features over how much they vary from place to place.
        seen: [h, w] bool, cells that are compared.
    """

    before: Brightness
    after: Brightness
    keep: Array
    texture: Array
    seen: Array


def stand_out(values: Array, keep: Array) -> Array:
    """(mean of the largest - median) / interquartile range, which is kept within its bounds; 0 where nothing counts.

    Gradients hold the median and the range fixed, as they do shifts and spreads.
    """
    usual = masked.quartiles(masked.thin(jax.lax.stop_gradient(values)), masked.thin(keep))
    reach = jnp.clip(usual[2] - usual[0], USUAL_LEAST, USUAL_CAP)
    return jnp.maximum(masked.top_mean(values, keep, DETAIL_TOP) - usual[1], 0) / (reach + 1e-3)


def _over_features(x: Array) -> Array:
    """Sum over the last axis, as a product with ones: a plain sum over it is slow on CPUs. [..., D] to [...]."""
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision=jax.lax.Precision.HIGHEST)


def _varies(x: Array) -> Array:
    """Mean squared distance of each unit vector from its four neighbours, [h, w, D] to [h, w].

    Of the distances between neighbours each is computed once; beyond the border a vector is its own neighbour.
    """
    down = _over_features(jnp.square(x[1:] - x[:-1]))
    right = _over_features(jnp.square(x[:, 1:] - x[:, :-1]))
    by_row = jnp.pad(down, ((1, 0), (0, 0))) + jnp.pad(down, ((0, 1), (0, 0)))
    by_column = jnp.pad(right, ((0, 0), (1, 0))) + jnp.pad(right, ((0, 0), (0, 1)))
    return (by_row + by_column) / 4


def seen_cells(keep: Array, cells: tuple[int, int]) -> Array:
    """Cells of the feature map of which every pixel is compared. [H, W] bool to `cells` bool."""
    step = max(1, keep.shape[0] // cells[0])
    cut = keep[: cells[0] * step, : cells[1] * step]
    return cut.reshape(cells[0], step, cells[1], step).all(axis=(1, 3))


def features(params: Params, x: Array, config: ChangeConfig, apply: ApplyFn | None = None) -> Array:
    """Features of one patch, blurred first: [H, W(, C)] to [G, h, w, D]."""
    planes = x[None] if x.ndim == 2 else jnp.moveaxis(x, -1, 0)
    soft = blur(planes.astype(jnp.float32), NETWORK_BLUR_PX)
    return extract(params, soft[0] if x.ndim == 2 else jnp.moveaxis(soft, 0, -1), config, apply=apply)


def view(
    params: Params, x: Array, valid: Array, limits: Limits, config: ChangeConfig, apply: ApplyFn | None = None
) -> View:
    """One date, [H, W] or [H, W, C] float32 on the common grid, as it is compared; valid: [H, W] bool."""
    found = features(params, x, config, apply)
    direction = found * jax.lax.rsqrt(_over_features(jnp.square(found))[..., None] + 1e-12)
    return View(brightness(grey(x), valid, limits), direction, jax.vmap(_varies)(direction).mean(axis=0))


def gather(before: View, after: View, keep: Array) -> Evidence:
    """The maps that scores are made of; keep: [H, W] bool, pixels that are compared."""
    distance = _over_features(jnp.square(after.direction - before.direction)).mean(axis=0)
    varies = (before.varies + after.varies) / 2
    seen = seen_cells(keep, distance.shape)
    usual = masked.mean(varies, seen.astype(jnp.float32))
    return Evidence(before.brightness, after.brightness, keep, distance / (varies + usual + 1e-6), seen)


def weigh(evidence: Evidence) -> Array:
    """rho of the ground that the maps show. Scalar float32 >= 0; 0 where both dates are the same."""
    detail = stand_out(detail_map(evidence.before, evidence.after, evidence.keep), evidence.keep)
    texture = masked.top_mean(evidence.texture, evidence.seen, TEXTURE_TOP)
    rho = _combine(detail, texture) - _combine(jnp.float32(0), jnp.float32(0))
    apart = jnp.where(evidence.keep, jnp.abs(evidence.after.level - evidence.before.level), 0).max()
    return jnp.where(apart > EQUAL, rho, 0.0)


def _combine(detail: Array, texture: Array) -> Array:
    # The small numbers keep the gradient finite where there is no difference at all.
    return (detail + 0.1) ** (1 - TEXTURE_POWER) * (texture + 1e-3) ** TEXTURE_POWER


def registered_views(
    params: Params, before: Array, laid: Registration, config: ChangeConfig, apply: ApplyFn | None = None
) -> tuple[View, View, Array]:
    """Both dates of a registered pair, as they are compared, and [H, W] bool, the pixels that are."""
    keep = masked.erode(laid.valid, BORDER_PX)
    limits = common_limits(grey(before), grey(laid.after), keep)
    dates = zip((before, laid.after), limits, strict=True)
    return *(view(params, x, laid.valid, limit, config, apply) for x, limit in dates), keep


def null_view(
    key: Array,
    params: Params,
    before: Array,
    laid: Registration,
    views: tuple[View, View, Array],
    config: ChangeConfig,
    apply: ApplyFn | None = None,
) -> View:
    """h(x) of the first date, as it is compared with it.

    Args:
        key: Key of the pair.
        params, config, apply: As in `change_score`.
        before, laid: The dates.
        views: As `registered_views` gives them.
    """
    first, second, keep = views
    drawn = residual_null(key, before, laid.after, first.brightness, second.brightness, keep, config.residual_clip)
    limits, _ = common_limits(grey(before), grey(laid.after), keep)
    return view(params, drawn, laid.valid, limits, config, apply)


def registered_score(
    params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> Array:
    """rho of one pair after registration. Scalar float32 >= 0; NaN if a pixel is NaN. See `change_score`."""
    check_pair(before, after, config)
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)
    laid = registration.register(before, after, config.max_misalignment)
    rho = weigh(gather(*registered_views(params, before, laid, config, apply)))
    return jnp.where(_missing(before, laid), jnp.nan, rho)


def _missing(before: Array, laid: Registration) -> Array:
    return jnp.isnan(before).any() | jnp.isnan(laid.after).any()


def robust_pair_scores(
    key: Array, params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> tuple[Array, Array]:
    """rho and rho' of one pair with its matched null; `before` goes through the network once, and registration too."""
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)
    laid = registration.register(before, after, config.max_misalignment)
    views = first, second, keep = registered_views(params, before, laid, config, apply)
    third = null_view(key, params, before, laid, views, config, apply)
    scores = (weigh(gather(first, other, keep)) for other in (second, third))
    return tuple(jnp.where(_missing(before, laid), jnp.nan, score) for score in scores)
