"""The ground of a pair that changed: a map of sizes, the level that chance keeps below, and what lies above it.

Axes: H rows, W columns.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.regions import highest_reached, reached
from planetcd_jax.records import check_above_zero
from planetcd_jax.types import Array


class PixelChange(NamedTuple):
    """Where a pair changed.

    Attributes:
        size: [H, W] float32 >= 0, size of the change in standard deviations of what unchanged ground shows.
        level: Scalar float32: unchanged ground has `size` above it anywhere in a patch in a share
            `PixelLevel.rate` of the pairs.
        changed: [H, W] bool, the changed ground: what is above the level, grown to where the change ends.
        signed: [H, W] float32, brightness of the second date less the first, in the same standard deviations where the
            score measures it, else 0.
        known: [H, W] bool, pixels that were compared.
    """

    size: Array
    level: Array
    changed: Array
    signed: Array
    known: Array


def family_wise_level(largest: Array, rate: float) -> Array:
    """Quantile 1 - rate of the largest value of a map, from that of several null maps; [K] float32 to a scalar.

    That of a Gumbel distribution of their mean and standard deviation, since K draws show no quantile of 0.95.

    Source: Gumbel 1958, "Statistics of Extremes", section 5.2; moments as in Johnson, Kotz & Balakrishnan 1995, ch. 22.
    """
    scale = jnp.std(largest, ddof=1) * jnp.sqrt(6.0) / jnp.pi
    middle = largest.mean() - jnp.euler_gamma * scale
    return middle - scale * jnp.log(-jnp.log1p(-rate))


def above_half(size: Array, level: Array, known: Array) -> Array:
    """Ground above a level, grown to where the size falls half-way from its peak to what is usual; [H, W] bool."""
    usual = masked.median(size, known)
    domain = known & (size > usual)
    peak = highest_reached(size, size >= level, domain & (size >= (level + usual) / 2))
    return reached(size >= level, known & (peak > 0) & (size >= (peak + usual) / 2))


@dataclasses.dataclass(frozen=True)
class PixelLevel:
    """How a score tells changed pixels: the level that chance keeps below, from pseudo-unchanged pairs.

    Attributes:
        draws: Pseudo-unchanged pairs that the level is made of.
        rate: Share of unchanged pairs that may show any contour: the family-wise rate over the patch.
        rise: How much higher the level lies where chance is to exceed it e times less often. The largest sizes of 211
            unchanged development pairs: 1.80, 2.15 and 2.30 at 75, 90 and 95 %.
    """

    draws: int = 3
    rate: float = 0.05
    rise: float = 0.3

    kind: ClassVar[str] = "drawn"

    def __post_init__(self):
        check_above_zero(self, "draws", "rate", "rise")

    def level(self, largest: Array) -> Array:
        """The level, from the largest size of each pseudo-unchanged pair, [K]."""
        return family_wise_level(largest, self.rate)

    def from_draws(
        self, key: Array, evidence: Callable[[Array, Array], Array], pair: tuple[Array, Array], null: Any, known: Array
    ) -> PixelChange:
        """Where a pair changed, for a score of which nothing more is known than its evidence and its null.

        Args:
            key: Key of the pair.
            evidence: Of two dates, [H, W] float32 >= 0.
            pair: Both dates.
            null: As in `scores.base.Score`.
            known: [H, W] bool, pixels whose evidence is to be believed.

        Returns:
            `PixelChange` whose unit is the root mean square of the evidence of pseudo-unchanged pairs.
        """
        heat = evidence(*pair)
        nulls = jax.lax.map(lambda k: evidence(*null.pair(k, pair[0])), jax.random.split(key, self.draws))
        nulls = jnp.where(extents.inside(heat.shape), nulls, 0)
        unit = jnp.sqrt(extents.mean(jnp.square(nulls), axis=(1, 2)).mean()) + 1e-12
        size, level = heat / unit, self.level((nulls / unit).max(axis=(1, 2)))
        size = jnp.where(known, size, 0)
        return PixelChange(size, level, above_half(size, level, known), jnp.zeros_like(size), known)
