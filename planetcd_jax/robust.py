"""A change score that looks at places, not at maxima: both dates are laid on each other first.

    rho = detail^0.8 * texture^0.2

`detail` is how far the largest differences of brightness stand out from those of the rest of the patch, each divided by
what the pair's own noise and misalignment make of the slope of brightness there. `texture` is the largest difference of
deep features, divided by how much they vary from place to place. The null, h(x), is the first date plus the pair's own
differences at other places.

Axes: H rows, W columns, h and w the same in cells of the feature map, D features, G groups of bands.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax import registration
from planetcd_jax.config import ChangeConfig
from planetcd_jax.extraction import check_pair, extract
from planetcd_jax.registration import Registration, blur, grey
from planetcd_jax.types import ApplyFn, Array, Params

# All chosen on the development split of `scripts/evaluate.py`; the README has the ablation.
NETWORK_BLUR_PX = 1.2
"""Standard deviation of the blur before the network, which takes noise for texture."""
BORDER_PX = 8
"""Ground this near to missing ground or to the edge is not compared: resampling and blurs are one-sided there."""
FINE_PX = 1.0
COARSE_PX = 8.0
"""Differences finer than the one are taken for noise, coarser than the other for light (standard deviations)."""
SLOPE_PX = 2.0
"""Standard deviation of the blur of the squared slope of brightness."""
SPREAD_FLOOR = 0.02
"""Least expected difference, in standard deviations of the patch."""
SPREAD_CAP = 0.057
SLOPE_CAP = 0.25
"""Largest noise, in the same, and misalignment, in pixels, that are put down to the pair: a change that covers much of
a patch must not pass for its noise. Three quarters of the unchanged development pairs are below."""
OUTLIER = 5.0
"""Differences of more expected ones than this do not count towards what is expected."""
FIT_STEPS = 8
DETAIL_TOP = 0.004
TEXTURE_TOP = 0.01
"""Share of the places whose mean is taken: the size of the smallest change that counts in full."""
TEXTURE_POWER = 0.2
DARK, BRIGHT = 0.004, 0.996
"""Brightness from where on an 8-bit image shows nothing but black, or white."""


class Brightness(NamedTuple):
    """What the comparison of brightness needs of one date, all [H, W] float32.

    Attributes:
        level: Brightness in [0, 1], within what both dates can show.
        fine: What is left without noise and light.
        slope: Squared slope of brightness, per pixel squared.
    """

    level: Array
    fine: Array
    slope: Array


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


class Spread(NamedTuple):
    """The expected squared difference: noise + misalignment * squared slope. Scalars, float32."""

    noise: Array
    misalignment: Array


def _mean(x: Array, weight: Array) -> Array:
    return (x * weight).sum() / jnp.maximum(weight.sum(), 1.0)


def _moments(x: Array, keep: Array) -> tuple[Array, Array]:
    weight = keep.astype(jnp.float32)
    mean = _mean(x, weight)
    return mean, jnp.sqrt(_mean(jnp.square(x - mean), weight) + 1e-8)


def erode(valid: Array, reach: int) -> Array:
    """Pixels all of whose neighbours up to `reach` away exist and are valid; [H, W] bool to the same."""
    x = jnp.pad(valid, reach).astype(jnp.float32)
    for size in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        x = jax.lax.reduce_window(x, 1.0, jax.lax.min, size, (1, 1), "VALID")
    return x > 0


def dilate(mask: Array, reach: int) -> Array:
    """Pixels with a True one up to `reach` away; [H, W] bool to the same."""
    around = jnp.pad(~mask, reach, constant_values=True)
    return ~erode(around, reach)[reach : reach + mask.shape[0], reach : reach + mask.shape[1]]


def common_range(before: Array, after: Array, keep: Array) -> tuple[Array, Array]:
    """Both dates [H, W] clipped to the brightness that both can show, so that saturation of one is no difference."""
    moments = _moments(before, keep), _moments(after, keep)
    low = jnp.stack([(DARK - mean) / deviation for mean, deviation in moments]).max()
    high = jnp.stack([(BRIGHT - mean) / deviation for mean, deviation in moments]).min()
    pairs = zip((before, after), moments, strict=True)
    return tuple(jnp.clip(x, mean + deviation * low, mean + deviation * high) for x, (mean, deviation) in pairs)


def _slope_power(x: Array) -> Array:
    """Square of the gradient, per pixel squared; 0 at the border. [H, W] to the same."""
    by_row = jnp.zeros_like(x).at[1:-1].set((x[2:] - x[:-2]) / 2)
    by_column = jnp.zeros_like(x).at[:, 1:-1].set((x[:, 2:] - x[:, :-2]) / 2)
    return jnp.square(by_row) + jnp.square(by_column)


def brightness(x: Array, valid: Array) -> Brightness:
    """Maps of one date, blurred over valid ground only. [H, W] float32 and bool."""
    weight = erode(valid, 2).astype(jnp.float32)

    def around(y: Array, sigma: float) -> Array:
        return blur(y * weight, sigma) / (blur(weight, sigma) + 1e-3)

    return Brightness(x, around(x, FINE_PX) - around(x, COARSE_PX), around(_slope_power(x), SLOPE_PX))


def differences(before: Brightness, after: Brightness, keep: Array) -> tuple[Array, Array]:
    """Difference of fine brightness and mean squared slope, in standard deviations of each date. [H, W] each."""
    (_, a), (_, b) = _moments(before.level, keep), _moments(after.level, keep)
    fine = after.fine / b - before.fine / a
    slope = (before.slope / jnp.square(a) + after.slope / jnp.square(b)) / 2
    return jnp.where(keep, fine, 0), jnp.where(keep, slope, 0)


def fit_spread(fine: Array, slope: Array, keep: Array) -> Spread:
    """Noise and misalignment that explain most squared differences; outliers count as `OUTLIER` expected ones.

    Reweighted least squares of fine^2 = noise + misalignment * slope, each weighted by the inverse of its variance,
    which for a squared normal variable grows as its mean squared. Neither is below 0.

    Source: Carroll & Ruppert 1988, "Transformation and weighting in regression", chapter 3, with Huber's clipping.
    """
    inside = keep.astype(jnp.float32)
    power = jnp.square(fine)
    expected = jnp.full_like(power, 1e-9) + _mean(power, inside)
    noise = misalignment = jnp.float32(0)
    for _ in range(FIT_STEPS):
        weight = inside / jnp.square(expected)
        y = jnp.minimum(power, OUTLIER**2 * expected)
        w, ws, wss = weight.sum(), (weight * slope).sum(), (weight * jnp.square(slope)).sum()
        wy, wsy = (weight * y).sum(), (weight * slope * y).sum()
        alone_noise, alone_slope = wy / jnp.maximum(w, 1e-20), wsy / jnp.maximum(wss, 1e-20)
        rank = w * wss - jnp.square(ws)
        solvable = rank > 1e-6 * w * wss
        safe = jnp.where(solvable, rank, 1.0)
        noise = jnp.where(solvable, (wy * wss - wsy * ws) / safe, alone_noise)
        misalignment = jnp.where(solvable, (w * wsy - ws * wy) / safe, 0.0)
        no_noise, no_slope = noise < 0, misalignment < 0
        noise = jnp.where(no_noise, 0.0, jnp.where(no_slope, alone_noise, noise))
        misalignment = jnp.where(no_slope, 0.0, jnp.where(no_noise, alone_slope, misalignment))
        expected = jnp.maximum(noise + misalignment * slope, 0.1 * SPREAD_FLOOR**2)
    return Spread(jnp.minimum(noise, SPREAD_CAP**2), jnp.minimum(misalignment, SLOPE_CAP**2))


def spread_map(spread: Spread, slope: Array) -> Array:
    """The expected difference at each pixel, in standard deviations of a date. [H, W]."""
    return jnp.sqrt(spread.noise + spread.misalignment * slope + SPREAD_FLOOR**2)


def detail_map(before: Brightness, after: Brightness, keep: Array) -> Array:
    """Size of the difference at each pixel over the expected one, [H, W] float32; 0 where not compared."""
    fine, slope = differences(before, after, keep)
    fixed = jax.lax.stop_gradient((fine, slope))
    return jnp.abs(fine) / spread_map(fit_spread(*map(thin, fixed), thin(keep)), slope)


def thin(x: Array) -> Array:
    """Every second row and column: enough to say what is usual, for a quarter of the work."""
    return x[::2, ::2]


def _quartiles(x: Array, keep: Array) -> tuple[Array, Array, Array]:
    """Lower quartile, median and upper quartile of the values that count; 0 where none does."""
    ordered, count = jnp.sort(jnp.where(keep, x, jnp.inf).ravel()), keep.sum(dtype=jnp.int32)
    return tuple(jnp.where(count > 0, ordered[(k * count) // 4], 0.0) for k in (1, 2, 3))


def _top_mean(x: Array, keep: Array, share: float) -> Array:
    """Mean of the largest `share` of the values that count, at least one of them; 0 where none counts."""
    kept = jnp.maximum(jnp.round(share * keep.sum(dtype=jnp.float32)), 1.0)
    largest, _ = jax.lax.top_k(jnp.where(keep, x, -jnp.inf).ravel(), max(1, round(share * x.size)))
    first = jnp.arange(largest.size).astype(jnp.float32) < kept
    return jnp.where(first & jnp.isfinite(largest), largest, 0).sum() / kept


def stand_out(values: Array, keep: Array) -> Array:
    """(mean of the largest - median) / interquartile range; 0 where nothing counts. Scalar.

    Gradients hold the median and the range fixed, as they do shifts and spreads: what measures is not what is measured.
    """
    q1, q2, q3 = _quartiles(thin(jax.lax.stop_gradient(values)), thin(keep))
    return jnp.maximum(_top_mean(values, keep, DETAIL_TOP) - q2, 0) / (q3 - q1 + 1e-3)


def _over_features(x: Array) -> Array:
    """Sum over the last axis, as a product with ones: a plain sum over it is slow on CPUs. [..., D] to [...]."""
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision=jax.lax.Precision.HIGHEST)


def _neighbours(x: Array) -> Array:
    """Mean squared distance of each unit vector from its four neighbours, [h, w, D] to [h, w]."""
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = x.shape[:2]
    views = [padded[i : i + height, j : j + width] for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))]
    return _over_features(sum(jnp.square(x - view) for view in views)) / 4


def texture_map(f_before: Array, f_after: Array) -> tuple[Array, Array]:
    """Squared distance of directions in feature space, and how much they vary from place to place.

    Args:
        f_before, f_after: [G, h, w, D] float32 features on one grid.

    Returns:
        [h, w] float32 each, >= 0, averaged over the groups.
    """

    def one(a, b):
        a, b = (x * jax.lax.rsqrt(_over_features(jnp.square(x))[..., None] + 1e-12) for x in (a, b))
        return _over_features(jnp.square(a - b)), (_neighbours(a) + _neighbours(b)) / 2

    return tuple(x.mean(axis=0) for x in jax.vmap(one)(f_before, f_after))


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


def gather(before: Array, laid: Registration, f_before: Array, f_after: Array) -> Evidence:
    """The maps that scores are made of.

    Args:
        before: [H, W] or [H, W, C] float32.
        laid: The registered second date.
        f_before, f_after: [G, h, w, D] features of both.
    """
    keep = erode(laid.valid, BORDER_PX)
    a, b = common_range(grey(before), grey(laid.after), keep)
    distance, vary = texture_map(f_before, f_after)
    seen = seen_cells(keep, distance.shape)
    usual = _mean(vary, seen.astype(jnp.float32))
    maps = brightness(a, laid.valid), brightness(b, laid.valid)
    return Evidence(*maps, keep, distance / (vary + usual + 1e-6), seen)


def weigh(evidence: Evidence) -> Array:
    """rho of the ground that the maps show. Scalar float32 >= 0."""
    detail = stand_out(detail_map(evidence.before, evidence.after, evidence.keep), evidence.keep)
    texture = _top_mean(evidence.texture, evidence.seen, TEXTURE_TOP)
    return _combine(detail, texture) - _combine(jnp.float32(0), jnp.float32(0))


def _combine(detail: Array, texture: Array) -> Array:
    # The small numbers keep the gradient finite where there is no difference at all.
    return (detail + 0.1) ** (1 - TEXTURE_POWER) * (texture + 1e-3) ** TEXTURE_POWER


def registered_score(
    params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> Array:
    """rho of one pair after registration. Scalar float32 >= 0; NaN if a pixel is NaN. See `change_score`."""
    check_pair(before, after, config)
    laid = registration.register(before.astype(jnp.float32), after.astype(jnp.float32), config.max_misalignment)
    return _score(params, before, laid, features(params, before, config, apply), config, apply)


def _score(params, before, laid: Registration, f_before: Array, config: ChangeConfig, apply) -> Array:
    rho = weigh(gather(before, laid, f_before, features(params, laid.after, config, apply)))
    bad = jnp.isnan(before).any() | jnp.isnan(laid.after).any()
    return jnp.where(bad, jnp.nan, rho)


NULL_OUTLIER = 8.0
"""Robust standard deviations from where on a difference is taken for a change, which the null must not repeat."""
NULL_MARGIN_PX = 3
NULL_TRIES = 3
"""Places that a difference may come from before none is put there."""


def residual_null(key: Array, before: Array, laid: Registration, config: ChangeConfig) -> Array:
    """h(x) matched to a pair: the first date plus the pair's own differences, taken from other places.

    The differences (noise, blur, light, misalignment that is left) are divided by their expected spread and cut at
    `config.residual_clip` robust standard deviations, moved around within the common area by a random step, mirrored
    and negated at random, and multiplied by the spread of where they land. Places that stand out as a change does are
    left out, with the ground around them: what another step brings takes their place.

    Args:
        key: Key of the pair.
        before: [H, W] or [H, W, C] float32.
        laid: The registered second date.
        config: Its `residual_clip` is used.

    Returns:
        The shape of `before`. Source: this package's; a bootstrap of residuals (Davison & Hinkley 1997, section 6.2).
    """
    keep = erode(laid.valid, BORDER_PX)
    a, b = common_range(grey(before), grey(laid.after), keep)
    maps = brightness(a, laid.valid), brightness(b, laid.valid)
    fine, slope = differences(*maps, keep)
    spread = spread_map(fit_spread(thin(fine), thin(slope), thin(keep)), slope)
    (mean_a, contrast), (mean_b, contrast_b) = _moments(a, keep), _moments(b, keep)
    unit = jnp.where(keep, ((b - mean_b) / contrast_b - (a - mean_a) / contrast) / spread, 0)
    middle, deviation = _robust(unit, keep)
    unit = jnp.clip(unit, middle - config.residual_clip * deviation, middle + config.residual_clip * deviation)
    _, usual = _robust(fine / spread, keep)
    left_out = dilate(keep & (jnp.abs(fine) > NULL_OUTLIER * usual * spread), NULL_MARGIN_PX) | ~keep
    drawn, found = jnp.zeros_like(unit), jnp.zeros_like(keep)
    for k in jax.random.split(key, NULL_TRIES):
        rows, columns = _moved_places(k, keep)
        good = ~left_out[rows][:, columns]
        drawn = jnp.where(~found & good, unit[rows][:, columns], drawn)
        found |= good
    sign = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 0)), -1.0, 1.0)
    added = sign * contrast * spread * drawn
    return before + (added if before.ndim == 2 else added[..., None])


def _robust(x: Array, keep: Array) -> tuple[Array, Array]:
    """Median, and median absolute deviation times 1.4826."""
    x, keep = thin(x), thin(keep)
    _, middle, _ = _quartiles(x, keep)
    _, away, _ = _quartiles(jnp.abs(x - middle), keep)
    return middle, 1.4826 * away


def _moved_places(key: Array, keep: Array) -> tuple[Array, Array]:
    """For each row and column of the box around `keep`, one of the box: moved round by a random step, or mirrored."""
    key_step, key_flip = jax.random.split(key)
    step, flip = jax.random.uniform(key_step, (2,)), jax.random.bernoulli(key_flip, 0.5, (2,))
    places = []
    for axis in range(2):
        inside = keep.any(axis=1 - axis)
        start = jnp.argmax(inside).astype(jnp.int32)
        length = jnp.maximum(inside.size - jnp.argmax(inside[::-1]).astype(jnp.int32) - start, 1)
        k = jnp.mod(jnp.arange(inside.size, dtype=jnp.int32) - start, length)
        moved = jnp.mod(k + (step[axis] * length.astype(jnp.float32)).astype(jnp.int32), length)
        places.append(start + jnp.where(flip[axis], length - 1 - moved, moved))
    return places[0], places[1]


def robust_pair_scores(
    key: Array, params: Params, before: Array, after: Array, config: ChangeConfig, *, apply: ApplyFn | None = None
) -> tuple[Array, Array]:
    """rho and rho' of one pair with its matched null; `before` goes through the network once, and registration too."""
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)
    laid = registration.register(before, after, config.max_misalignment)
    f_before = features(params, before, config, apply)
    null = laid._replace(after=residual_null(key, before, laid, config))
    return tuple(_score(params, before, seen, f_before, config, apply) for seen in (laid, null))
