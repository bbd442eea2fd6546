"""Differences of brightness of two registered dates, over what the pair's own noise and misalignment explain.

Pure, for one pair. Axes: H rows, W columns.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur_over, grey
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
    """

    level: Array
    fine: Array
    slope: Array


class Differences(NamedTuple):
    """How two registered dates differ, in standard deviations of each; 0 where not compared.

    Attributes:
        fine: [H, W] float32, difference of fine brightness, after minus before.
        dates: Fine brightness of before and after, [H, W] float32 each, also where not compared.
        slope: [H, W] float32, mean squared slope of brightness, per pixel squared.
        pixel_noise: Scalar float32, standard deviation of the noise of single pixels of the difference of brightness.
    """

    fine: Array
    dates: tuple[Array, Array]
    slope: Array
    pixel_noise: Array


class Spread(NamedTuple):
    """The expected squared difference: noise + misalignment * squared slope. Scalars, float32."""

    noise: Array
    misalignment: Array


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
    _, middle, _ = masked.quartiles(masked.thin(jnp.abs(d)), masked.thin(keep[:-1, :-1]))
    return middle / (0.6745 * 2)


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
    a, b = contrast(before.level, ground), contrast(after.level, ground)
    dates = before.fine / a, after.fine / b
    slope = (before.slope / jnp.square(a) + after.slope / jnp.square(b)) / 2
    noise = pixel_noise(jax.lax.stop_gradient(after.level / b - before.level / a), ground)
    return Differences(jnp.where(keep, dates[1] - dates[0], 0), dates, jnp.where(keep, slope, 0), noise)


@dataclasses.dataclass(frozen=True)
class BrightnessDetail:
    """How differences of brightness are compared with what a pair explains; its methods do it.

    Attributes:
        fine_px: Standard deviation of the blur that removes noise: finer differences are not looked at.
        coarse_px: Standard deviation of the blur that holds slow changes of light: coarser ones are not looked at.
        slope_px: Standard deviation of the blur of the squared slope of brightness.
        spread_floor: Least expected difference, in standard deviations of the patch.
        spread_cap: Largest noise beyond that of single pixels, in the same, that is put down to the pair: a change that
            covers much of a patch must not pass for its noise. Six of seven unchanged development pairs are below.
        slope_cap: Largest misalignment, pixels, that is put down to the pair; likewise.
        outlier: Differences of more expected ones than this do not count towards what is expected.
        fit_steps: Rounds of reweighting.
        dark, bright: Brightness from where on an 8-bit image shows nothing but black, or white.
        overshoot: How far beyond 0 and 1 resampling alone may bring values.
        allow_pixel_noise: Whether noise of single pixels is measured and allowed for beyond `spread_cap`.

    Chosen on the development split of `scripts/evaluate.py`; docs/evaluation.md has the ablation.
    """

    fine_px: float = 1.0
    coarse_px: float = 14.0
    slope_px: float = 2.0
    spread_floor: float = 0.04
    spread_cap: float = 0.057
    slope_cap: float = 0.25
    outlier: float = 5.0
    fit_steps: int = 4
    dark: float = 0.004
    bright: float = 0.996
    overshoot: float = 0.1
    allow_pixel_noise: bool = True

    def __post_init__(self):
        check_above_zero(self, "fine_px", "coarse_px", "slope_px", "spread_floor", "outlier", "fit_steps")

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

        return Brightness(
            x, around(x, self.fine_px) - around(x, self.coarse_px), around(_slope_power(x), self.slope_px)
        )

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

    def fit_spread(self, found: Differences, keep: Array) -> Spread:
        """Noise and misalignment that explain most squared differences; outliers count as `outlier` expected ones.

        Reweighted least squares of fine^2 = noise + misalignment * slope, each weighted by the inverse of its variance,
        which for a squared normal variable grows as its mean squared. Neither is below 0, nor above its cap; that of
        noise leaves room for what single pixels show of it. Every second row and column is looked at.

        Source: Carroll & Ruppert 1988, "Transformation and weighting in regression", chapter 3, with Huber's clipping.
        """
        fine, slope, inside = masked.thin(found.fine), masked.thin(found.slope), masked.thin(keep).astype(jnp.float32)
        power = jnp.square(fine)
        expected = jnp.full_like(power, 1e-9) + masked.mean(power, inside)
        noise = misalignment = jnp.float32(0)
        for _ in range(self.fit_steps):
            weight = inside / jnp.square(expected)
            y = jnp.minimum(power, self.outlier**2 * expected)
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
            expected = jnp.maximum(noise + misalignment * slope, 0.1 * self.spread_floor**2)
        cap = self.spread_cap**2 + self.pixel_noise_power * jnp.square(found.pixel_noise)
        return Spread(jnp.minimum(noise, cap), jnp.minimum(misalignment, self.slope_cap**2))

    def expected_difference(self, found: Differences, keep: Array) -> Array:
        """What noise and misalignment of the pair make of `Differences.fine` at each pixel, [H, W]."""
        spread = self.fit_spread(jax.lax.stop_gradient(found), keep)
        return jnp.sqrt(spread.noise + spread.misalignment * found.slope + self.spread_floor**2)

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
