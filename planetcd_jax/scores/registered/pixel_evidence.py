"""Pixel by pixel, where a registered pair changed. Pure, for one pair. Axes: H rows, W columns, h and w cells.

Two things must come together around a pixel: brightness that stands out from the pair's usual differences, and
features that differ. The size of the change is their geometric mean, each in units of what is usual in the pair. The
level is the one that pseudo-unchanged pairs stay below, anywhere in the patch, in 95 of 100; from what exceeds it, the
contour grows over the difference of brightness to where the change ends.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from planetcd_jax.networks.backbone import Backbone, Network
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur_over
from planetcd_jax.ops.regions import highest_reached, reached, widened, without_holes
from planetcd_jax.records import check_above_zero, check_pixels
from planetcd_jax.scores.brightness import Brightness, BrightnessDetail
from planetcd_jax.scores.dcva import Dcva, enlarged
from planetcd_jax.scores.features import block_means
from planetcd_jax.scores.pixel_level import PixelChange, PixelLevel
from planetcd_jax.types import Array

FOLDED_RANGE, FOLDED_MEDIAN = 0.8317, 0.6745
"""Interquartile range and median of the size of a standard normal variable."""


class Maps(NamedTuple):
    """What a contour is made of, [H, W] float32 each.

    Attributes:
        size: As in `PixelChange`.
        signed: Difference of fine brightness, in standard deviations of the pair's usual one.
    """

    size: Array
    signed: Array


def _plain(network: Network) -> tuple[Network, tuple[str, ...]]:
    """The network as the paper uses it, and the layers that are compared: its first and its middle one for maps."""
    names = network.backbone.map_layers
    layers = tuple(dict.fromkeys((names[0], names[len(names) // 2])))
    as_in_paper: dict[str, Any] = {"layer": layers[-1], "activation": "pre", "patch_standardize": False}
    known = {field.name for field in dataclasses.fields(network.backbone)}
    settings = {name: value for name, value in as_in_paper.items() if name in known}
    return Network(dataclasses.replace(network.backbone, **settings), network.params), layers


@dataclasses.dataclass(frozen=True)
class PixelEvidence(PixelLevel):
    """How a registered score shows pixel by pixel what changed; its methods do it.

    Attributes:
        coarse_px, border_px: As in `BrightnessDetail` and `Registered`, for maps: with the wider surroundings of rho,
            unchanged pairs show contours too often.
        reach_px: Standard deviation of the window in which brightness that stands out is gathered, as root mean
            square: so the inside of a change counts with its rim.
        network_step_px: Side of the blocks of pixels whose means the network sees.
        features_px: Standard deviation of the blur of the difference of features.
        usual_least, usual_cap: Least and largest interquartile range of the differences that is put down to the pair.
        draws, rate, rise: As in `PixelLevel`.
        least_level: Least level: 95 of 100 unchanged development pairs are below.
        stands_out: Standard deviations of brightness from where on a pixel above the level begins a contour.
        beside: Share of the strongest difference of the ground above the level that such a pixel has at least.
        null_outlier, null_margin_px: `outlier` and `change_margin_px` of the `ResidualNull` that the level comes from:
            a change is to leave its own level altogether.
        outline_px: Standard deviation of the blur of brightness before contours are drawn.
        differs: Robust standard deviations of the difference of brightness that ground must differ by to belong to a
            contour.
        end: Share of its peak that the difference of brightness falls to at the end of a change.
        widening: Share of its half-thickness by which a contour is moved outwards: the larger a change, the softer its
            edge.
        thickest_px: Largest half-thickness that is measured, pixels.

    Chosen on development pairs; docs/pixel_map.md has the measures.
    """

    coarse_px: float = 8.0
    border_px: int = 8
    reach_px: float = 8.0
    network_step_px: int = 2
    features_px: float = 2.0
    usual_least: float = 0.1
    usual_cap: float = 1.0
    draws: int = 4
    least_level: float = 2.4
    stands_out: float = 3.5
    beside: float = 0.4
    null_outlier: float = 4.0
    null_margin_px: int = 8
    outline_px: float = 1.0
    differs: float = 1.0
    end: float = 0.2
    widening: float = 0.25
    thickest_px: int = 16

    kind: ClassVar[str] = "registered"

    def __post_init__(self):
        super().__post_init__()
        check_above_zero(self, "coarse_px", "reach_px", "features_px", "usual_cap", "least_level")
        check_above_zero(self, "outline_px", "end", "thickest_px", "network_step_px")
        check_pixels("network_step_px", self.network_step_px)

    def standardized(self, before: Brightness, after: Brightness, keep: Array, detail: BrightnessDetail) -> Array:
        """Difference of fine brightness in standard deviations of the pair's usual one, with its sign; 0 outside.

        Args:
            before, after: `Brightness` of both dates.
            keep: [H, W] bool, pixels that are compared.
            detail: How brightness is compared.
        """
        found = detail.differences(before, after, keep)
        ratio = found.fine / detail.expected_difference(found, keep)
        low, middle, high = masked.quartiles(masked.thin(jnp.abs(ratio)), masked.thin(keep))
        reach = jnp.clip(high - low, self.usual_least, self.usual_cap)
        size = (jnp.abs(ratio) - middle) * (FOLDED_RANGE / reach) + FOLDED_MEDIAN
        return jnp.where(keep, jnp.sign(ratio) * jnp.maximum(size, 0), 0)

    def cells_px(self, backbone: Backbone) -> tuple[int, ...]:
        """Pixels in a cell of each of `features`."""
        network, layers = _plain(Network(backbone, {}))
        return tuple(self.network_step_px * network.step_px(layer) for layer in layers)

    def features(self, network: Network, x: Array) -> tuple[Array, ...]:
        """Features of one date that are compared, [H, W] or [H, W, C] float32 to [h, w, D] for each layer.

        They are the paper's: before the ReLU, of images as they are, in blocks of `network_step_px`, and of two of the
        network's layers for maps, conv1_2 and conv2_2 of VGG-16; each from 0 at its minimum to 1 at its 95th
        percentile, for which a quarter of the cells is enough.
        """
        with extents.of_blocks(self.network_step_px):
            plain, layers = _plain(network)
            seen = block_means(x, self.network_step_px)
            return Dcva(keep=1.0, percentile_every=2).scaled_maps(plain, seen, layers)

    def feature_change(
        self, first: Sequence[Array], second: Sequence[Array], keep: Array, steps: Sequence[int]
    ) -> Array:
        """Difference of the `features` of both dates over its median, [H, W] float32; 0 where not `keep`.

        The geometric mean over the layers.

        Args:
            first, second: [h, w, D] float32 for each layer, in cells of so many pixels.
            keep: [H, W] bool.
            steps: Those pixels.
        """
        made = jnp.ones(keep.shape, jnp.float32)
        for one, other, step in zip(first, second, steps, strict=True):
            size = jnp.sqrt(jnp.square(other - one).sum(axis=-1, keepdims=True))  # [h, w, 1]
            soft = self._around(enlarged(size, keep.shape, step)[..., 0], keep, self.features_px)
            made *= soft / (masked.median(soft, keep) + 1e-6)
        return jnp.where(keep, made ** (1 / len(steps)), 0)

    def _around(self, x: Array, keep: Array, sigma: float) -> Array:
        return jnp.where(keep, blur_over(x, keep.astype(jnp.float32), sigma), 0)

    def size(self, signed: Array, features: Array, keep: Array) -> Array:
        """Size of the change at each pixel: geometric mean of what brightness and features show. [H, W]."""
        energy = jnp.sqrt(self._around(jnp.square(signed), keep, self.reach_px))
        return jnp.sqrt(energy * features)

    def outline(self, maps: Maps, level: Array, difference: Array, keep: Array) -> Array:
        """The changed ground, [H, W] bool.

        Args:
            maps: Of the pair.
            level: From where on a size begins a contour.
            difference: [H, W] float32, from `brightness_difference`.
            keep: [H, W] bool.
        """
        above, apart = keep & (maps.size >= level), jnp.abs(maps.signed)
        # Not the ring that the filter leaves around a strong change, and not what else differs a little beside it.
        strongest = highest_reached(apart, above, above)
        seed = above & (apart >= jnp.maximum(self.stands_out, self.beside * strongest))
        made = jnp.zeros(keep.shape, bool)
        for rise in (difference, -difference):
            domain = keep & (rise >= self.differs)
            peak = highest_reached(rise, seed, domain)
            made |= reached(seed & domain, domain & (rise >= self.end * peak))
        return widened(without_holes(made), self.widening, self.thickest_px) & keep

    def may_begin(self, maps: Maps, keep: Array) -> Array:
        """Whether `outline` can find anything at all at any level that `level` can give. Scalar bool."""
        return (keep & (maps.size >= self.least_level) & (jnp.abs(maps.signed) >= self.stands_out)).any()

    def unchanged(self, maps: Maps, keep: Array) -> PixelChange:
        """Of a pair without any changed ground; its level is the least that there is."""
        return PixelChange(maps.size, jnp.float32(self.least_level), jnp.zeros_like(keep), maps.signed, keep)

    def brightness_difference(self, before: Brightness, after: Brightness, keep: Array) -> Array:
        """Difference of brightness in its own robust standard deviations, each date scaled to the other. [H, W]."""

        def scaled(x: Array) -> Array:
            low, middle, high = masked.quartiles(masked.thin(x), masked.thin(keep))
            return (x - middle) / ((high - low) / 1.349 + 1e-3)

        soft = self._around(scaled(after.level) - scaled(before.level), keep, self.outline_px)
        middle, deviation = masked.spread(soft, keep)
        return jnp.where(keep, (soft - middle) / (deviation + 1e-3), 0)

    def level(self, largest: Array) -> Array:
        """As `PixelLevel.level`, at least `least_level`."""
        return jnp.maximum(super().level(largest), self.least_level)

    def change(self, maps: Maps, largest: Array, difference: Array, keep: Array) -> PixelChange:
        """All of it; arguments as in `outline` and `level`."""
        level = self.level(largest)
        return PixelChange(maps.size, level, self.outline(maps, level, difference, keep), maps.signed, keep)
