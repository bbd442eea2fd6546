"""Differences of brightness of two registered dates, over what the pair's noise, misalignment and light explain.

Pure, for one pair. Axes: H rows, W columns.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur_over, grey
from planetcd_jax.ops.fitting import non_negative
from planetcd_jax.records import check_above_zero
from planetcd_jax.types import Array

Limits = tuple[Array, Array]
"""Least and largest brightness of a date that count, scalars."""


class Brightness(NamedTuple):
    """What the comparison of brightness needs of one date, all [H, W] float32.

    Attributes:
        level: Brightness in [0, 1], within what both dates can show.
        fine: What is left without noise and light.
        slope: Squared slope of brightness, per pixel squared.
        relief: Mean square of `fine` around.
    """

    level: Array
    fine: Array
    slope: Array
    relief: Array


class Differences(NamedTuple):
    """How two registered dates differ, in standard deviations of each; 0 where not compared.

    Attributes:
        fine: [H, W] float32, difference of fine brightness, after minus before.
        dates: Fine brightness of before and after, [H, W] float32 each, also where not compared.
        slope: [H, W] float32, squared slope of brightness, per pixel squared, of the date that has less there: a change
            adds slopes to one date alone, and must not be explained by them.
        relief: [H, W] float32, mean square of fine brightness around, likewise of the date that has less.
        pixel_noise: Scalar float32, standard deviation of the noise of single pixels of the difference of brightness.
    """

    fine: Array
    dates: tuple[Array, Array]
    slope: Array
    relief: Array
    pixel_noise: Array


class Spread(NamedTuple):
    """The expected squared difference: noise + misalignment * squared slope + light * relief. Scalars, float32."""

    noise: Array
    misalignment: Array
    light: Array


def _slope_power(x: Array) -> Array:
    """Square of the gradient, per pixel squared; 0 at the border. [H, W] to the same."""
    by_row = jnp.zeros_like(x).at[1:-1].set((x[2:] - x[:-2]) / 2)
    by_column = jnp.zeros_like(x).at[:, 1:-1].set((x[:, 2:] - x[:, :-2]) / 2)
    power = jnp.square(by_row) + jnp.square(by_column)
    if not extents.is_set(x.shape):
        return power
    rows, columns = extents.lengths(x.shape)
    across, along = jnp.arange(x.shape[0])[:, None] < rows - 1, jnp.arange(x.shape[1])[None] < columns - 1
    return jnp.where(across, jnp.square(by_row), 0) + jnp.where(along, jnp.square(by_column), 0)


def pixel_noise(x: Array, keep: Array) -> Array:
    """Standard deviation of the noise of single pixels of [H, W], from diagonal differences: median |d| / 0.6745 / 2.

    The difference a - b - c + d of four neighbours is blind to planes and to straight edges along the axes; every
    second one in each direction is looked at, and those count whose first pixel does. Scalar float32.

    Source: the robust estimate of Donoho & Johnstone 1994, Biometrika 81, 425, on the finest diagonal Haar
    coefficients.
    """
    d = x[:-1, :-1] - x[1:, :-1] - x[:-1, 1:] + x[1:, 1:]
    return masked.median(masked.thin(jnp.abs(d)), masked.thin(keep[:-1, :-1])) / (0.6745 * 2)


def contrast(x: Array, keep: Array) -> Array:
    """Standard deviation of the ground of [H, W], without the noise of single pixels. Scalar float32.

    With it, a noisier date would seem to show more contrast, and its ground another. At least half of the whole.
    """
    _, deviation = masked.moments(x, keep)
    ground = jnp.square(deviation) - jnp.square(pixel_noise(jax.lax.stop_gradient(x), keep))
    return jnp.sqrt(jnp.maximum(ground, jnp.square(deviation) / 4))


def differences(before: Brightness, after: Brightness, keep: Array, ground: Array | None = None) -> Differences:
    """How the dates differ where `keep`, [H, W] bool, is True.

    Args:
        before, after: `Brightness` of both dates.
        keep: Pixels that are compared.
        ground: [H, W] bool, what says how contrasted and how noisy the dates are; None: all that is compared.
    """
    ground = keep if ground is None else ground
    a, b = jax.vmap(contrast, in_axes=(0, None))(jnp.stack([before.level, after.level]), ground)
    dates = before.fine / a, after.fine / b
    slope, relief = (
        jnp.minimum(one / jnp.square(a), two / jnp.square(b))
        for one, two in ((before.slope, after.slope), (before.relief, after.relief))
    )
    noise = pixel_noise(jax.lax.stop_gradient(after.level / b - before.level / a), ground)
    fine, slope, relief = (jnp.where(keep, x, 0) for x in (dates[1] - dates[0], slope, relief))
    return Differences(fine, dates, slope, relief, noise)


@dataclasses.dataclass(frozen=True)
class BrightnessDetail:
    """How differences of brightness are compared with what a pair explains; its methods do it.

    Attributes:
        fine_px: Standard deviation of the blur that removes noise: finer differences are not looked at.
        coarse_px: Standard deviation of the blur that holds slow changes of light: coarser ones are not looked at.
        slope_px: Standard deviation of the blur of the squared slope of brightness.
        relief_px: Standard deviation of the blur of the squared fine brightness.
        spread_floor: Least expected difference, in standard deviations of the patch.
        spread_cap: Largest noise beyond that of single pixels, in the same, that is put down to the pair: a change that
            covers much of a patch must not pass for its noise. Six of seven unchanged development pairs are below.
        slope_cap: Largest misalignment, pixels, that is put down to the pair; likewise.
        light_cap: Largest share of the relief that is put down to another light; likewise. A sun that turned by t makes
            waves of relief differ by 2 (1 - cos t) of their mean square: 0.02 is a turn by 8 degrees beyond what
            `Relighting` takes out. With more, frost on relief hides a block that fell.
        outlier: Differences of more expected ones than this do not count towards what is expected.
        fit_steps: Rounds of reweighting.
        dark, bright: Brightness from where on an 8-bit image shows nothing but black, or white.
        overshoot: How far beyond 0 and 1 resampling alone may bring values.
        allow_pixel_noise: Whether noise of single pixels is measured and allowed for beyond `spread_cap`.
        alike_outlier: Robust standard deviations of the difference of brightness up to which ground is the same in both
            dates, and tells how contrasted they are: a change adds to the contrast of one date alone, and with it all
            of its ground would seem to differ.
        alike_floor: Least such standard deviation, in standard deviations of the patch.
        alike_least: Least share of the compared ground that must be alike; with less, all of it tells.
        alike_steps: Rounds, each from the contrast of the ground that the last one left.

    Chosen on the development split of `scripts/evaluate.py`; docs/evaluation.md has the ablation.
    """

    fine_px: float = 1.0
    coarse_px: float = 14.0
    slope_px: float = 2.0
    relief_px: float = 3.0
    spread_floor: float = 0.04
    spread_cap: float = 0.057
    slope_cap: float = 0.25
    light_cap: float = 0.02
    outlier: float = 5.0
    fit_steps: int = 4
    dark: float = 0.004
    bright: float = 0.996
    overshoot: float = 0.1
    allow_pixel_noise: bool = True
    alike_outlier: float = 3.0
    alike_floor: float = 0.05
    alike_least: float = 0.3
    alike_steps: int = 2

    def __post_init__(self):
        check_above_zero(self, "fine_px", "coarse_px", "slope_px", "relief_px", "spread_floor", "outlier", "fit_steps")
        check_above_zero(self, "alike_outlier", "alike_floor", "alike_least")

    @property
    def pixel_noise_power(self) -> float:
        """What is left in `Brightness.fine` of the variance of noise that is independent from pixel to pixel: the
        integral of the squared difference of two Gaussians. 0 where it is not allowed for."""
        a, b = self.fine_px**2, self.coarse_px**2
        return (1 / a + 1 / b - 4 / (a + b)) / (4 * math.pi) if self.allow_pixel_noise else 0.0

    def common_limits(self, before: Array, after: Array, keep: Array) -> tuple[Limits, Limits]:
        """For each date [H, W] the brightness that both can show, so that saturation of one is no difference.

        A date whose values go beyond 0 or 1, by more than resampling does, shows as much as they say.
        """
        moments = masked.moments(before, keep), masked.moments(after, keep)
        lows, highs = [], []
        for x, (mean, deviation) in zip((before, after), moments, strict=True):
            least, most = jnp.where(keep, x, 0.0).min(), jnp.where(keep, x, 1.0).max()
            black = self.dark + jnp.where(least < -self.overshoot, least, 0.0)
            white = self.bright + jnp.where(most > 1.0 + self.overshoot, most - 1.0, 0.0)
            lows.append((black - mean) / deviation)
            highs.append((white - mean) / deviation)
        low, high = jnp.maximum(*lows), jnp.minimum(*highs)
        first, second = ((mean + deviation * low, mean + deviation * high) for mean, deviation in moments)
        return first, second

    def brightness(self, x: Array, valid: Array, limits: Limits) -> Brightness:
        """Maps of one date, blurred over valid ground only. [H, W] float32 and bool."""
        x = jnp.clip(x, *limits)
        weight = masked.erode(valid, 2).astype(jnp.float32)

        def around(y: Array, sigma: float) -> Array:
            return blur_over(y, weight, sigma)

        fine = around(x, self.fine_px) - around(x, self.coarse_px)
        return Brightness(x, fine, around(_slope_power(x), self.slope_px), around(jnp.square(fine), self.relief_px))

    def of_dates(self, before: Array, after: Array, valid: Array, keep: Array) -> tuple[Brightness, Brightness]:
        """Maps of both dates, each within what both can show.

        Args:
            before, after: [H, W] or [H, W, C] float32, registered.
            valid: [H, W] bool, what is blurred over.
            keep: [H, W] bool, what says which brightness both can show.
        """
        dates = grey(before), grey(after)
        limits = self.common_limits(*dates, keep)
        first, second = (self.brightness(x, valid, limit) for x, limit in zip(dates, limits, strict=True))
        return first, second

    def difference(self, before: Brightness, after: Brightness, ground: Array) -> Array:
        """Fine brightness of `after` less that of `before`, each over its contrast on `ground`, [H, W] bool; [H, W].

        With its sign and without a unit, so that differences of several dates from one are of one scale.
        """
        return after.fine / contrast(after.level, ground) - before.fine / contrast(before.level, ground)

    def alike(self, before: Brightness, after: Brightness, keep: Array) -> Array:
        """Ground that one gain and one offset make the same in both dates, within what most of the ground differs by.

        A sixteenth of the pixels tell how much that is. [H, W] bool, all of `keep` where too little is alike.

        Source: sigma clipping, for a relative radiometric normalisation. Du, Teillet & Cihlar 2002, Remote Sensing of
        Environment 82, 123, take the pixels near the principal axis of both dates for it.
        """
        dates = jax.lax.stop_gradient((before.level, after.level))
        thinned = [masked.thin(x) for x in (*dates, keep)]

        def clipped(_, ground: Array) -> Array:
            moments = [masked.moments(x, ground) for x in dates]

            def apart(one: Array, two: Array) -> Array:
                (mean_a, a), (mean_b, b) = moments
                return (two - mean_b) / b - (one - mean_a) / a

            middle, usual = masked.spread(apart(*thinned[:2]), thinned[2])
            most = self.alike_outlier * jnp.maximum(usual, self.alike_floor)
            return keep & (jnp.abs(apart(*dates) - middle) < most)

        ground = jax.lax.fori_loop(0, self.alike_steps, clipped, keep)
        enough = ground.sum(dtype=jnp.float32) >= self.alike_least * keep.sum(dtype=jnp.float32)
        return jnp.where(enough, ground, keep)

    def differences(self, before: Brightness, after: Brightness, keep: Array) -> Differences:
        """How the dates differ where `keep`, [H, W] bool, is True, with the contrast of what is alike in both."""
        return differences(before, after, keep, self.alike(before, after, keep))

    def fit_spread(self, found: Differences, keep: Array) -> Spread:
        """Noise, misalignment and light that explain most squared differences; outliers count as `outlier` expected
        ones.

        Reweighted least squares of fine^2 = noise + misalignment * slope + light * relief, each weighted by the inverse
        of its variance, which for a squared normal variable grows as its mean squared. None is below 0, nor above its
        cap; that of noise leaves room for what single pixels show of it. Relief has slopes: what misalignment would
        explain beyond its cap is left to the others. Every second row and column is looked at.

        Source: Carroll & Ruppert 1988, "Transformation and weighting in regression", chapter 3, with Huber's clipping.
        """
        slope, relief, power = (masked.thin(x).ravel() for x in (found.slope, found.relief, jnp.square(found.fine)))
        inside = masked.thin(keep).ravel().astype(jnp.float32)
        terms = jnp.stack([jnp.ones_like(power), slope, relief])
        both_terms, most_slope = jnp.stack([terms, terms.at[1].set(0)]), self.slope_cap**2
        expected = jnp.full_like(power, 1e-9) + masked.mean(power, inside)

        def reweighted(_, state: tuple[Array, Array]) -> tuple[Array, Array]:
            expected, _ = state
            y, weight = jnp.minimum(power, self.outlier**2 * expected), inside / jnp.square(expected)
            rest = jnp.maximum(y - most_slope * slope, 0)
            free, bound = jax.vmap(non_negative, in_axes=(0, 0, None))(both_terms, jnp.stack([y, rest]), weight)
            fitted = jnp.where(free[1] > most_slope, bound.at[1].set(most_slope), free)
            return jnp.maximum(fitted @ terms, 0.1 * self.spread_floor**2), fitted

        # A loop and not a row of steps: a program holds this many times, and each step is as long to compile.
        _, fitted = jax.lax.fori_loop(0, self.fit_steps, reweighted, (expected, jnp.zeros(3)))
        cap = self.spread_cap**2 + self.pixel_noise_power * jnp.square(found.pixel_noise)
        most = jnp.stack([cap, jnp.float32(self.slope_cap**2), jnp.float32(self.light_cap)])
        return Spread(*jnp.minimum(fitted, most))

    def expected_difference(self, found: Differences, keep: Array) -> Array:
        """What noise, misalignment and light of the pair make of `Differences.fine` at each pixel, [H, W]."""
        spread = self.fit_spread(jax.lax.stop_gradient(found), keep)
        explained = spread.noise + spread.misalignment * found.slope + spread.light * found.relief
        return jnp.sqrt(explained + self.spread_floor**2)

    def unlikeness(self, found: Differences, keep: Array) -> Array:
        """How unlike the fine brightness of both dates is: sqrt(2 (1 - correlation)), noise of single pixels apart.

        Blind to gain and offset. 0 where noise explains what differs, about 1.4 where nothing agrees. Scalar float32.
        """
        inside = keep.astype(jnp.float32)
        one, two = (x - masked.mean(x, inside) for x in found.dates)
        power = jnp.sqrt(masked.mean(jnp.square(one), inside) * masked.mean(jnp.square(two), inside) + 1e-12)
        noise = self.pixel_noise_power * jnp.square(found.pixel_noise)
        apart = power - masked.mean(one * two, inside) - noise / 2
        return jnp.sqrt(2 * jnp.maximum(apart, 0) / power + 1e-8)

    def detail_map(self, found: Differences, keep: Array) -> Array:
        """Size of the difference at each pixel over the expected one, [H, W] float32; 0 where not compared."""
        return jnp.abs(found.fine) / self.expected_difference(found, keep)
