"""h(x) matched to a pair: the first date plus the pair's own differences, taken from other places.

Axes: H rows, W columns.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.errors import ConfigError
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur_over
from planetcd_jax.records import MAIN, check_above_zero, check_pixels
from planetcd_jax.scores.brightness import Brightness, BrightnessDetail, differences
from planetcd_jax.types import Array


@dataclasses.dataclass(frozen=True)
class ResidualNull:
    """The first date as it might look again, if nothing had changed: `draw`.

    Attributes:
        residual_clip: Robust standard deviations at which differences are cut.
        outlier: Size from where on a difference is taken for a change, which the null must not repeat: in robust
            standard deviations of the patch, or in `usual_cap` where those are larger.
        broad_outlier: The same for the mean difference over a Gaussian of `broad_px`, in expected differences: what is
            left of misalignment and noise cancels there, a change larger than that does not.
        broad_px: See `broad_outlier`.
        near_outlier: As `outlier`, for ground within `near_px` of such a place: the flanks of a soft change are lower.
        near_px: Ground around an outlier that is looked at again, pixels.
        change_margin_px: Ground around all that which is left out with it, pixels.
        usual_least, usual_cap: Least and largest robust standard deviation, in expected differences, that is put down
            to the patch: a change that covers much of it must not pass for its noise. Below the least, where most
            pixels of both dates are equal, differences are cut at `residual_clip` plain standard deviations.
        steps_px: Least and largest step in each axis from where a difference comes: far enough that what is
            independent stays so, near enough that it lands on ground of the same kind.
        far_steps_px: The same where nothing so near may be taken.
        least_likeness: Least correlation of the dates that ground without a change is thought to have: the null of a
            pair that is less alike shows its differences as much smaller as brings it to this. All unchanged
            simulated pairs whose sun had moved by up to 50 degrees are more alike once that is taken out, and 19 of 20
            real ones of 48 px (CTX, years apart).
        most_changed: Largest share of the compared ground that may stand out so; with more, nothing is left out, unless
            it is brighter, or darker, nearly everywhere: differences of both signs nearly everywhere are light, frost
            or haze, which the null has to know.
        one_way: Excess of the brighter over the darker of what stands out, or the reverse, as a share of both, from
            where on it is one large change.
        least_clean: Share of the compared ground that must be left; with less, all differences are noise of the
            expected spread, since nothing else is known of ground that did not change.
        least_clean_again: The same for a second look, in which what is usual is that of the ground that the first one
            left: a strong change hides a weaker one. With less, the first decides.
        tries, far_tries: Near and far places that a difference may come from before noise of the same spread is put
            there.
    """

    residual_clip: float = dataclasses.field(default=constants.RESIDUAL_CLIP, metadata=MAIN)
    outlier: float = 12.0
    broad_outlier: float = 5.0
    broad_px: float = 5.0
    near_outlier: float = 1.5
    near_px: int = 20
    change_margin_px: int = 6
    usual_least: float = 0.1
    usual_cap: float = 1.0
    steps_px: tuple[int, int] = (4, 16)
    far_steps_px: tuple[int, int] = (16, 48)
    least_likeness: float = 0.8
    most_changed: float = 0.15
    one_way: float = 0.5
    least_clean: float = 0.1
    least_clean_again: float = 0.5
    tries: int = 3
    far_tries: int = 4

    kind: ClassVar[str] = "residual"
    margin_px: ClassVar[int] = 0
    least_side_px: ClassVar[int] = 1

    def __post_init__(self):
        check_above_zero(self, "residual_clip", "outlier", "near_outlier", "usual_cap")
        check_above_zero(self, "broad_outlier", "broad_px")
        check_above_zero(self, "most_changed", "one_way", "least_likeness", "tries", "far_tries")
        check_pixels("change_margin_px", self.change_margin_px)
        check_pixels("near_px", self.near_px)

    def describe(self) -> str:
        """In words."""
        return "the pair's own differences at other places"

    def pair(self, key: Array, before: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Not possible: see `draw`."""
        raise ConfigError(
            "this null is made of the differences of both dates, and only one is given; use NoiseAndShift, or the "
            "score's own pair_rhos."
        )

    def draw(
        self,
        key: Array,
        before: Array,
        after: Array,
        seen_before: Brightness,
        seen_after: Brightness,
        keep: Array,
        detail: BrightnessDetail,
        shade: Array | float = 0.0,
    ) -> Array:
        """The first date as it might look again, if nothing had changed.

        The differences (noise, blur, light, misalignment that is left) are divided by their expected spread and cut at
        `residual_clip` robust standard deviations, moved by a random step of `steps_px`, mirrored at the edges of the
        common area so that no seam comes in, negated at random, and multiplied by the spread of where they land. Places
        that stand out as a change does are left out, with the ground around them (`changed`), and have no say in how
        bright and how contrasted the dates are: what another step brings takes their place. Several bands share the
        step and the sign, and each has its own differences, so noise of single bands stays as independent as it is.

        The first date is in h(x) with its own noise, so x and x + d are more alike than two dates with the same d
        between them. With r the correlation of what is compared, the dates' fine brightness, Var(d) = 2 (1 - r) in
        units of theirs, and x + k d correlates with x by r for k^2 = (1 + r) / (2 r^2).

        Args:
            key: Key of the pair.
            before, after: [H, W] or [H, W, C] float32, registered.
            seen_before, seen_after: `Brightness` of both, the first in the light of the second.
            keep: [H, W] bool, pixels that are compared.
            detail: How brightness is compared.
            shade: [H, W] float32, what that light adds to the brightness of the first; 0: nothing.

        Returns:
            The shape of `before`. Source: this package's; a bootstrap of residuals (Davison & Hinkley 1997, section
            6.2).
        """
        found = detail.differences(seen_before, seen_after, keep)
        left_out = self.changed(found.fine / detail.expected_difference(found, keep), keep)
        clean = keep & ~left_out
        clean &= _share(clean, keep) >= self.least_clean
        # A strong change adds to the contrast, and so to the differences, of all ground: once more without it.
        rest = jnp.where(clean.any(), clean, keep)
        found = differences(seen_before, seen_after, keep, rest)
        expected = detail.expected_difference(found, rest)
        cleaner = clean & ~self.changed(found.fine / expected, keep)
        clean = jnp.where(_share(cleaner, keep) >= self.least_clean_again, cleaner, clean)
        likeness = _correlation(seen_before.fine, seen_after.fine, clean)
        places = self._places(key, keep)
        sign = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 0)), -1.0, 1.0)

        noise = extents.normal(jax.random.fold_in(key, 1), before.shape)

        def added(one: Array, two: Array, noise: Array) -> Array:
            """What is added to one band [H, W]."""
            unit, deviation, size = self._unit_difference(one, two, expected, likeness, clean, keep)
            drawn, done = jnp.where(keep, deviation * noise, 0), jnp.zeros_like(keep)

            def tried(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
                drawn, done = state
                rows, columns = places[0][k], places[1][k]
                good = ~done & clean[rows][:, columns]
                return jnp.where(good, unit[rows][:, columns], drawn), done | good

            drawn, _ = jax.lax.fori_loop(0, self.tries + self.far_tries, tried, (drawn, done))
            return sign * size * expected * drawn

        if before.ndim == 2:
            return before + added(seen_before.level, seen_after.level, noise)

        relief = masked.moments(seen_before.level - shade, keep)[1] + 1e-6

        def band(x: Array, y: Array, noise: Array) -> Array:
            limits = detail.common_limits(x, y, keep)
            one, two = (jnp.clip(z, *limit) for z, limit in zip((x, y), limits, strict=True))
            one += shade * masked.moments(one, keep)[1] / relief  # the sun shades every band alike
            return x + added(one, two, noise)

        return jax.vmap(band, in_axes=-1, out_axes=-1)(before, after, noise)

    def changed(self, units: Array, keep: Array) -> Array:
        """Ground that stands out as a change does.

        Args:
            units: [H, W] float32, differences over the expected ones.
            keep: [H, W] bool, pixels that are compared.

        Returns:
            [H, W] bool.
        """
        _, usual = masked.spread(units, keep)
        size = jnp.abs(units) / jnp.clip(usual, self.usual_least, self.usual_cap)
        broad = blur_over(units, keep.astype(jnp.float32), self.broad_px)
        sure = keep & ((size > self.outlier) | (jnp.abs(broad) > self.broad_outlier))
        flanks = masked.dilate(sure, self.near_px) & keep & (size > self.near_outlier)
        count = sure.sum(dtype=jnp.float32)
        few = count <= self.most_changed * keep.sum(dtype=jnp.float32)
        one_way = jnp.abs(jnp.where(sure, jnp.sign(broad), 0).sum()) >= self.one_way * count
        return masked.dilate(sure | flanks, self.change_margin_px) & (few | one_way)

    def _places(self, key: Array, keep: Array) -> tuple[Array, Array]:
        """Rows [K, H] and columns [K, W] that the differences come from in each of K tries."""
        keys = jax.random.split(key, self.tries + self.far_tries)
        steps = jnp.asarray([self.steps_px] * self.tries + [self.far_steps_px] * self.far_tries, jnp.int32)
        return jax.vmap(_moved_places, in_axes=(0, None, 0))(keys, keep, steps)

    def _unit_difference(
        self, one: Array, two: Array, expected: Array, likeness: Array, clean: Array, keep: Array
    ) -> tuple[Array, Array, Array]:
        """The difference of two maps of brightness [H, W] over the expected one, about 0 and cut.

        With its robust standard deviation, and what a unit of it is worth in the brightness of the first date, made
        larger as `draw` says for dates of that `likeness`; two scalars. Only what is `clean`, [H, W] bool, has a say in
        them; where nothing is, the spread is the expected one.
        """
        known = clean.any()
        counted = jnp.where(known, clean, keep)
        (mean_a, contrast), (mean_b, contrast_b) = (masked.moments(x, counted) for x in (one, two))
        a, b = (one - mean_a) / contrast, (two - mean_b) / contrast_b
        apart = jnp.where(known, jnp.maximum(1 - likeness, 1 - self.least_likeness), 1 - self.least_likeness)
        less = jnp.sqrt((1 - self.least_likeness) / apart)
        likeness = jnp.where(known, jnp.clip(likeness, self.least_likeness, 1.0), 1.0)
        more = jnp.sqrt((1 + likeness) / 2) / likeness
        unit = (b - a) / expected
        middle, deviation = masked.spread(unit, clean)
        # Where most pixels are equal, as in two releases of one mosaic, the median tells of these alone.
        deviation = jnp.where(deviation < self.usual_least, masked.moments(unit, clean)[1], deviation)
        deviation = jnp.where(known, deviation, 1.0)
        most = self.residual_clip * deviation
        return jnp.where(clean, jnp.clip(unit - middle, -most, most), 0), deviation, less * more * contrast


def _correlation(one: Array, two: Array, ground: Array) -> Array:
    """Of two maps [H, W] where `ground`; 0 where there is none."""
    (mean_a, a), (mean_b, b) = (masked.moments(x, ground) for x in (one, two))
    return masked.mean((one - mean_a) * (two - mean_b), ground.astype(jnp.float32)) / (a * b)


def _share(part: Array, whole: Array) -> Array:
    """How much of the pixels of one mask another one holds; 0 where there are none."""
    return part.sum(dtype=jnp.float32) / jnp.maximum(whole.sum(dtype=jnp.float32), 1.0)


def _moved_places(key: Array, keep: Array, steps_px: Array) -> tuple[Array, Array]:
    """For each row and column of the box around `keep` another of it: a random step away, mirrored at its edges."""
    key_size, key_sign = jax.random.split(key)
    step = jax.random.randint(key_size, (2,), steps_px[0], steps_px[1] + 1) * jnp.where(
        jax.random.bernoulli(key_sign, 0.5, (2,)), 1, -1
    )
    places = []
    for axis in range(2):
        inside = keep.any(axis=1 - axis)
        start = jnp.argmax(inside).astype(jnp.int32)
        length = jnp.maximum(inside.size - jnp.argmax(inside[::-1]).astype(jnp.int32) - start, 1)
        k = jnp.arange(inside.size, dtype=jnp.int32) - start
        # There and back again is a period of twice the length.
        moved = jnp.mod(k + step[axis], 2 * length)
        places.append(start + jnp.where(moved < length, moved, 2 * length - 1 - moved))
    return places[0], places[1]
