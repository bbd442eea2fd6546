"""A change score that looks at places, not at maxima: both dates are laid on each other first.

    rho = (detail^2 * texture)^(1/3)

`detail` is how far the largest differences of brightness stand out from those of the rest of the patch, each divided by
what a small misalignment would do there. `texture` is the difference of deep features, each divided by how much they
vary from place to place. The null, h(x), is the first date plus the pair's own differences at other places.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax import registration
from planetcd_jax.config import ChangeConfig
from planetcd_jax.registration import Registration, blur
from planetcd_jax.score import check_pair, extract
from planetcd_jax.types import ApplyFn, Array, Params

# All chosen on the development split of `scripts/evaluate.py`; the README has the ablation.
NETWORK_BLUR_PX = 1.2
"""Standard deviation of the blur before the network, which takes noise for texture."""
BORDER_PX = 5
"""Pixels at the border that are not compared: resampling and blurs are one-sided there."""
DETAIL_BLUR_PX = 1.0
SLOW_PX = 8.0
"""Differences slower than this (standard deviation) are taken for light."""
SLOPE_BLUR_PX = 3.0
SPREAD_FLOOR = 0.1
"""Least expected difference, in standard deviations of the patch."""
SLOPE_SHARE = 0.5
"""Expected misalignment, pixels."""
DETAIL_TOP = 0.005
TEXTURE_TOP = 0.01
"""Share of the places whose mean is taken: the size of the smallest change that counts in full."""


class Matched(NamedTuple):
    """A registered pair with equal brightness and contrast.

    Attributes:
        difference: [H, W] float32, second date minus first in standard deviations; 0 where not valid.
        spread: [H, W] float32, the difference that is to be expected.
        valid: [H, W] bool.
    """

    difference: Array
    spread: Array
    valid: Array


def _grey(x: Array) -> Array:
    return x if x.ndim == 2 else x.mean(axis=-1)


def _slope_power(x: Array) -> Array:
    """Square of the gradient, per pixel squared; 0 at the border. [H, W] to the same."""
    by_row = jnp.zeros_like(x).at[1:-1].set((x[2:] - x[:-2]) / 2)
    by_column = jnp.zeros_like(x).at[:, 1:-1].set((x[:, 2:] - x[:, :-2]) / 2)
    return jnp.square(by_row) + jnp.square(by_column)


def _moments(x: Array, valid: Array) -> tuple[Array, Array]:
    count = jnp.maximum(valid.sum(dtype=jnp.float32), 1.0)
    mean = jnp.where(valid, x, 0).sum() / count
    return mean, jnp.sqrt(jnp.where(valid, jnp.square(x - mean), 0).sum() / count + 1e-8)


def _interior(valid: Array, border: int) -> Array:
    rows, columns = (jnp.arange(n) for n in valid.shape)
    keep = [(k >= border) & (k < n - border) for k, n in zip((rows, columns), valid.shape, strict=True)]
    return valid & keep[0][:, None] & keep[1][None]


def match(before: Array, after: Array, valid: Array) -> Matched:
    """Differences of two registered patches [H, W] after brightness and contrast are made equal."""
    valid = _interior(valid, min(BORDER_PX, min(valid.shape) // 4))
    a, b = ((x - m) / s for x in (before, after) for m, s in [_moments(x, valid)])
    slopes = blur((_slope_power(a) + _slope_power(b)) / 2, SLOPE_BLUR_PX)
    spread = jnp.sqrt(SPREAD_FLOOR**2 + SLOPE_SHARE**2 * slopes)
    return Matched(jnp.where(valid, b - a, 0), spread, valid)


def _ordered(x: Array, valid: Array) -> tuple[Array, Array]:
    """Values in falling order, those that are not valid last, and how many are valid."""
    return -jnp.sort(jnp.where(valid, -x, jnp.inf).ravel()), valid.sum(dtype=jnp.int32)


def top_mean(ordered: Array, count: Array, share: float) -> Array:
    """Mean of the largest `share` of `count` values that stand first in falling order; at least one."""
    kept = jnp.maximum(jnp.round(share * count.astype(jnp.float32)), 1.0)
    first = jnp.arange(ordered.size).astype(jnp.float32) < kept
    return jnp.where(first, jnp.where(jnp.isfinite(ordered), ordered, 0), 0).sum() / kept


def detail(matched: Matched) -> Array:
    """(mean of the largest differences - median) / interquartile range, of differences over their spread."""
    difference, spread, valid = matched
    share = blur(valid.astype(jnp.float32), SLOW_PX) + 1e-3
    fast = jnp.where(valid, difference - blur(difference, SLOW_PX) / share, 0)
    ordered, count = _ordered(jnp.abs(blur(fast, DETAIL_BLUR_PX)) / spread, valid)
    q1, q2, q3 = (jnp.where(count > 0, ordered[(k * count) // 4], 0.0) for k in (1, 2, 3))
    return jnp.maximum(top_mean(ordered, count, DETAIL_TOP) - q2, 0) / (q1 - q3 + 1e-3)


def _neighbours(x: Array) -> Array:
    """Mean squared distance of each unit vector from its four neighbours, [H', W', D] to [H', W']."""
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = x.shape[:2]
    views = [padded[i : i + height, j : j + width] for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))]
    return sum(jnp.square(x - view).sum(axis=-1) for view in views) / 4


def texture_map(f_before: Array, f_after: Array, valid: Array) -> tuple[Array, Array]:
    """Distance of the two directions in feature space over how much direction varies from place to place.

    Args:
        f_before, f_after: [H', W', D] float32 features on one grid.
        valid: [H, W] bool, pixels.

    Returns:
        [H', W'] float32 >= 0 and [H', W'] bool, where it can be trusted.
    """
    height, width = f_before.shape[:2]
    step = max(1, valid.shape[0] // height)
    seen = valid[: height * step, : width * step].reshape(height, step, width, step).all(axis=(1, 3))
    seen = _interior(seen, 1 if min(height, width) > 4 else 0)
    a, b = (x * jax.lax.rsqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-12) for x in (f_before, f_after))
    vary = (_neighbours(a) + _neighbours(b)) / 2
    mean = jnp.where(seen, vary, 0).sum() / jnp.maximum(seen.sum(dtype=jnp.float32), 1.0)
    return jnp.square(a - b).sum(axis=-1) / (vary + mean + 1e-6), seen


def texture(f_before: Array, f_after: Array, valid: Array) -> Array:
    """Mean of the largest values of `texture_map`, averaged over the groups of bands. [G, H', W', D] twice."""

    def one(a, b):
        values, seen = texture_map(a, b, valid)
        return top_mean(*_ordered(values, seen), TEXTURE_TOP)

    return jax.vmap(one)(f_before, f_after).mean()


def combine(detail_score: Array, texture_score: Array) -> Array:
    """rho = (detail^2 * texture)^(1/3); a small number keeps the gradient finite at 0, and rho(x, x) = 0."""
    tiny = 1e-6
    return jnp.cbrt(jnp.square(detail_score) * texture_score + tiny) - jnp.cbrt(jnp.float32(tiny))


def features(params: Params, x: Array, config: ChangeConfig, apply: ApplyFn | None = None) -> Array:
    """Features of one patch, blurred first: [H, W(, C)] to [G, H', W', D]."""
    planes = x[None] if x.ndim == 2 else jnp.moveaxis(x, -1, 0)
    soft = blur(planes, NETWORK_BLUR_PX)
    return extract(params, soft[0] if x.ndim == 2 else jnp.moveaxis(soft, 0, -1), config, apply=apply)


def registered_score(
    params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> Array:
    """rho of one pair after registration. Scalar float32 >= 0; NaN if a pixel is NaN. See `change_score`."""
    check_pair(before, after, config)
    laid = registration.register(before.astype(jnp.float32), after.astype(jnp.float32), config.max_misalignment)
    f_before = features(params, before, config, apply)
    return _score(params, before, laid, f_before, config, apply)


def _score(params, before, laid: Registration, f_before: Array, config: ChangeConfig, apply) -> Array:
    matched = match(_grey(before).astype(jnp.float32), _grey(laid.after), laid.valid)
    rho = combine(detail(matched), texture(f_before, features(params, laid.after, config, apply), laid.valid))
    bad = jnp.isnan(before).any() | jnp.isnan(laid.after).any()
    return jnp.where(bad, jnp.nan, rho)


def residual_null(key: Array, before: Array, laid: Registration, config: ChangeConfig) -> Array:
    """h(x) matched to a pair: the first date plus the pair's own differences, taken from other places.

    The differences (noise, blur, light, misalignment that is left) are divided by their expected spread, cut at
    `config.residual_clip` robust standard deviations so that a change does not come along, moved around within the
    common area by a random step, mirrored and negated at random, and multiplied by the spread of where they land.

    Args:
        key: Key of the pair.
        before: [H, W] or [H, W, C] float32.
        laid: The registered second date.
        config: Its `residual_clip` is used.

    Returns:
        The shape of `before`. Source: this package's; a bootstrap of residuals (Davison & Hinkley 1997, section 6.2).
    """
    grey = _grey(before)
    matched = match(grey, _grey(laid.after), laid.valid)
    unit = matched.difference / matched.spread
    ordered, count = _ordered(unit, matched.valid)
    middle = ordered[count // 2]
    deviation, _ = _ordered(jnp.abs(unit - middle), matched.valid)
    bound = config.residual_clip * 1.4826 * deviation[count // 2]
    unit = jnp.clip(unit, middle - bound, middle + bound)
    key_step, key_flip = jax.random.split(key)
    start, length = _common_area(matched.valid.shape, laid.shift)
    step = jax.random.uniform(key_step, (2,))
    flips = jax.random.bernoulli(key_flip, 0.5, (3,))
    places = []
    for axis in range(2):
        k = jnp.mod(jnp.arange(grey.shape[axis]) - start[axis], length[axis])
        moved = jnp.mod(k + (step[axis] * length[axis].astype(jnp.float32)).astype(jnp.int32), length[axis])
        places.append(start[axis] + jnp.where(flips[axis], length[axis] - 1 - moved, moved))
    drawn = unit[places[0]][:, places[1]] * jnp.where(flips[2], -1.0, 1.0)
    _, contrast = _moments(grey, matched.valid)
    added = contrast * matched.spread * drawn
    return before + (added if before.ndim == 2 else added[..., None])


def _common_area(shape: tuple[int, int], shift: Array) -> tuple[Array, Array]:
    """Corner and size of the rectangle that both dates show, without the border; [2] int32 each."""
    size = jnp.asarray(shape, jnp.int32)
    border = min(BORDER_PX, min(shape) // 4)
    start = jnp.maximum(-shift, border)
    end = jnp.minimum(size - shift, size - border)
    return start, jnp.maximum(end - start, 1)


def robust_pair_scores(
    key: Array, params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> tuple[Array, Array]:
    """rho and rho' of one pair with its matched null; `before` goes through the network once, and registration too."""
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)
    laid = registration.register(before, after, config.max_misalignment)
    f_before = features(params, before, config, apply)
    null = laid._replace(after=residual_null(key, before, laid, config))
    return tuple(_score(params, before, seen, f_before, config, apply) for seen in (laid, null))
