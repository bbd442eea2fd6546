"""h(x) matched to a pair: the first date plus the pair's own differences, taken from other places.

Axes: H rows, W columns.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.errors import ConfigError
from planetcd_jax.ops import masked
from planetcd_jax.records import MAIN, check_above_zero, check_pixels
from planetcd_jax.scores.registered.brightness import Brightness, BrightnessDetail, differences
from planetcd_jax.types import Array


@dataclasses.dataclass(frozen=True)
class ResidualNull:
    """The first date as it might look again, if nothing had changed: `draw`.

    Attributes:
        residual_clip: Robust standard deviations at which differences are cut.
        outlier: Robust standard deviations from where on a difference is taken for a change, which the null must not
            repeat.
        change_margin_px: Ground around such a difference that is left out with it, pixels.
        steps_px: Least and largest step in each axis from where a difference comes: far enough that what is
            independent stays so, near enough that it lands on ground of the same kind.
        least_likeness: Least correlation of the dates that the null is matched to.
        tries: Places that a difference may come from before none is put there.
    """

    residual_clip: float = dataclasses.field(default=constants.RESIDUAL_CLIP, metadata=MAIN)
    outlier: float = 12.0
    change_margin_px: int = 3
    steps_px: tuple[int, int] = (4, 16)
    least_likeness: float = 0.5
    tries: int = 3

    kind: ClassVar[str] = "residual"
    margin_px: ClassVar[int] = 0
    least_side_px: ClassVar[int] = 1

    def __post_init__(self):
        check_above_zero(self, "residual_clip", "outlier", "least_likeness", "tries")
        check_pixels("change_margin_px", self.change_margin_px)

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
    ) -> Array:
        """The first date as it might look again, if nothing had changed.

        The differences (noise, blur, light, misalignment that is left) are divided by their expected spread and cut at
        `residual_clip` robust standard deviations, moved by a random step of `steps_px`, mirrored at the edges of the
        common area so that no seam comes in, negated at random, and multiplied by the spread of where they land. Places
        that stand out as a change does are left out, with the ground around them: what another step brings takes their
        place. Several bands share the step and the sign, and each has its own differences, so noise of single bands
        stays as independent as it is.

        The first date is in h(x) with its own noise, so x and x + d are more alike than two dates with the same d
        between them. With r the correlation of the dates, Var(d) = 2 (1 - r) in units of theirs, and x + k d correlates
        with x by r for k^2 = (1 + r) / (2 r^2).

        Args:
            key: Key of the pair.
            before, after: [H, W] or [H, W, C] float32, registered.
            seen_before, seen_after: `Brightness` of both.
            keep: [H, W] bool, pixels that are compared.
            detail: How brightness is compared.

        Returns:
            The shape of `before`. Source: this package's; a bootstrap of residuals (Davison & Hinkley 1997, section
            6.2).
        """
        found = differences(seen_before, seen_after, keep)
        expected = detail.expected_difference(found, keep)
        _, usual = masked.spread(found.fine / expected, keep)
        left_out = (
            masked.dilate(keep & (jnp.abs(found.fine) > self.outlier * usual * expected), self.change_margin_px) | ~keep
        )
        places = [self._moved_places(k, keep) for k in jax.random.split(key, self.tries)]
        sign = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 0)), -1.0, 1.0)

        def added(one: Array, two: Array) -> Array:
            """What is added to one band [H, W]."""
            unit, size = self._unit_difference(one, two, expected, keep)
            drawn, done = jnp.zeros_like(unit), jnp.zeros_like(keep)
            for rows, columns in places:
                good = ~left_out[rows][:, columns]
                drawn = jnp.where(~done & good, unit[rows][:, columns], drawn)
                done |= good
            return sign * size * expected * drawn

        if before.ndim == 2:
            return before + added(seen_before.level, seen_after.level)

        def band(x: Array, y: Array) -> Array:
            limits = detail.common_limits(x, y, keep)
            return x + added(*(jnp.clip(z, *limit) for z, limit in zip((x, y), limits, strict=True)))

        return jax.vmap(band, in_axes=-1, out_axes=-1)(before, after)

    def _unit_difference(self, one: Array, two: Array, expected: Array, keep: Array) -> tuple[Array, Array]:
        """The difference of two maps of brightness [H, W] over the expected one, cut; and what a unit of it is worth.

        The second is in the brightness of the first date, a scalar, and made larger as `draw` says.
        """
        (mean_a, contrast), (mean_b, contrast_b) = (masked.moments(x, keep) for x in (one, two))
        a, b = (one - mean_a) / contrast, (two - mean_b) / contrast_b
        likeness = jnp.clip(masked.mean(a * b, keep.astype(jnp.float32)), self.least_likeness, 1.0)
        more = jnp.sqrt((1 + likeness) / 2) / likeness
        unit = jnp.where(keep, (b - a) / expected, 0)
        middle, deviation = masked.spread(unit, keep)
        return jnp.clip(
            unit, middle - self.residual_clip * deviation, middle + self.residual_clip * deviation
        ), more * contrast

    def _moved_places(self, key: Array, keep: Array) -> tuple[Array, Array]:
        """For each row and column of the box around `keep` another of it: a random step away, mirrored at its edges."""
        key_size, key_sign = jax.random.split(key)
        low, high = self.steps_px
        step = jax.random.randint(key_size, (2,), low, high + 1) * jnp.where(
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
