"""The paper's score: each date's features pooled over the patch, then compared.

    rho = || maxpool(phi(after)) - maxpool(phi(before)) ||_1

For windows of a scene, feature maps are shared. A cell is one position of the map. It stands for a block of `stride x
stride` pixels (4 x 4 for conv3_2) and sees `receptive_field` pixels around it (32 x 32: the block and 14 pixels on each
side). A window owns the cells whose block lies inside it. A cell is usable if every pixel that it sees exists and is
valid in both images; the others take no part in any maximum, mean or standard deviation. So the score of a window
depends on the ground within 14 pixels of it and on nothing else: not on the array that it was cut from, not on padding.

Axes: H rows, W columns, C bands, D features, G groups of bands that are scored by themselves (1 for one band or RGB), R
rows and S columns of windows.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from planetcd_jax.errors import ConfigError
from planetcd_jax.networks.backbone import Backbone, Network
from planetcd_jax.ops import extents, windows
from planetcd_jax.records import MAIN, check_choice, check_flag
from planetcd_jax.scores.base import Score, WindowGrid, over_bands
from planetcd_jax.scores.dcva import Dcva
from planetcd_jax.scores.features import shared_features, standardized, usable_cells
from planetcd_jax.scores.null import NoiseAndShift
from planetcd_jax.types import Array

POOLINGS = ("max", "mean")
REDUCTIONS = ("sum", "mean")


@dataclasses.dataclass(frozen=True)
class Pooled(Score):
    """L1 distance of pooled features.

    Attributes:
        pooling: "max" or "mean" over all positions.
        reduction: "sum" (paper: L1 norm) or "mean" (authors' script) of the absolute differences over D.
        feature_clip: None, or the bound at which features are clipped to [-bound, bound].
        feature_standardize: Bring each feature channel of a patch to zero spatial mean and unit spatial standard
            deviation before pooling.
        null, pixel_map, pixels, border_px, tile_px: As in `Score`.

    Source: Saha & Zhu, sections III-A to III-C, equation 1.
    """

    pooling: str = dataclasses.field(default="max", metadata=MAIN)
    reduction: str = dataclasses.field(default="sum", metadata=MAIN)
    feature_clip: float | None = None
    feature_standardize: bool = dataclasses.field(default=False, metadata=MAIN)

    kind: ClassVar[str] = "pooled"

    def __post_init__(self):
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("reduction", self.reduction, REDUCTIONS)
        check_flag("feature_standardize", self.feature_standardize)
        if self.feature_clip is not None and not self.feature_clip > 0:
            raise ConfigError(f"feature_clip is {self.feature_clip!r}; give None or a bound above 0.")

    def features(self, network: Network, x: Array) -> Array:
        """phi, then clip and standardise if asked for; [H, W(, C)] to [G, h, w, D]."""
        found = network.features(x)
        if self.feature_clip is not None:
            found = jnp.clip(found, -self.feature_clip, self.feature_clip)
        step = network.backbone.stride or 1
        return jax.vmap(lambda group: standardized(group, step))(found) if self.feature_standardize else found

    def descriptor(self, network: Network, x: Array) -> Array:
        """The global descriptor f of one patch: its features, pooled over all positions. [H, W(, C)] to [G, D].

        NaN throughout if a pixel is NaN.
        """
        found = self.features(network, x)  # [G, h, w, D]
        step = network.backbone.stride or 1
        largest = self.pooling == "max"
        pooled = extents.largest(found, step) if largest else extents.mean(found, (1, 2), step)[:, 0, 0]  # [G, D]
        # A maximum may or may not let NaN through, by device: say it here.
        return jnp.where(jnp.isnan(x).any(), jnp.nan, pooled)

    def compare(self, f_before: Array, f_after: Array) -> Array:
        """rho of two descriptors [G, D]: L1 norm (or mean) over D, averaged over G. Scalar."""
        chex.assert_rank([f_before, f_after], 2)
        chex.assert_equal_shape([f_before, f_after])
        difference = jnp.abs(f_after - f_before)  # [G, D]
        reduced = difference.sum(axis=-1) if self.reduction == "sum" else difference.mean(axis=-1)  # [G]
        return reduced.mean()

    def pads(self, backbone: Backbone) -> bool:
        """As `Score.pads`."""
        return backbone.pads and isinstance(self.null, NoiseAndShift) and self.null.shift_fill != "crop"

    def rho(self, network: Network, before: Array, after: Array) -> Array:
        """As `Score.rho`; NaN if a pixel is NaN."""
        return self.compare(self.descriptor(network, before), self.descriptor(network, after))

    def pair_rhos(
        self, key: Array, network: Network, before: Array, after: Array, context: Array | None = None
    ) -> tuple[Array, Array]:
        """As `Score.pair_rhos`; `before` goes through the network once."""
        x, drawn = self.null.pair(key, before, context)
        f_before = self.descriptor(network, before)
        f_x = f_before if x is before else self.descriptor(network, x)  # they differ when shift_fill="crop"
        rho = self.compare(f_before, self.descriptor(network, after))
        return rho, self.compare(f_x, self.descriptor(network, drawn))

    def check_windows(self, backbone: Backbone) -> None:
        """Raises ConfigError if windows cannot share feature maps."""
        backbone.check_shares()
        if backbone.patch_standardize:
            raise ConfigError(
                "patch_standardize is True, and windows that share feature maps cannot each be standardised first; use "
                "patch_standardize=False (feature_standardize works: it is done for each window after the network)."
            )

    def halo_px(self, backbone: Backbone) -> int:
        """What a cell sees beyond its block, rounded up to whole cells: 16 for conv3_2."""
        self.check_windows(backbone)
        assert backbone.stride and backbone.receptive_field
        return -(-((backbone.receptive_field - backbone.stride) // 2) // backbone.stride) * backbone.stride

    def window_maps(
        self, network: Network, before: Array, after: Array, valid: Array, grid: WindowGrid
    ) -> dict[str, Array]:
        """As `Score.window_maps`; the network sees every pixel once.

        The score of a window is that of `rho` for the cells that it owns, computed with the true ground around the
        window instead of zero padding.
        """
        self.check_windows(network.backbone)
        step = network.backbone.stride
        assert step
        # Whatever stands in for a missing pixel reaches unusable cells only; it must be finite, because 0 * NaN is NaN.
        filled = [jnp.where(over_bands(valid, x), x, 0.0) for x in (before, after)]
        edge = grid.margin // step
        usable = usable_cells(valid, network.backbone)  # [h + 2 edge, w + 2 edge]
        usable = usable[edge : usable.shape[0] - edge, edge : usable.shape[1] - edge]  # [h, w]
        maps = shared_features(network, jnp.stack(filled), margin=grid.margin, tile=grid.tile)  # [2, G, h, w, D]
        if self.feature_clip is not None:
            maps = jnp.clip(maps, -self.feature_clip, self.feature_clip)
        descriptors, share = windows.summaries(
            maps, usable, grid.window // step, grid.stride // step, grid.shape(*before.shape[:2]),
            largest=self.pooling == "max", standardize=self.feature_standardize,
        )  # fmt: skip
        rho = jax.vmap(jax.vmap(self.compare))(*jnp.moveaxis(descriptors, 1, 3))  # 2 x [R, S, G, D]
        return {"rho": jnp.where(grid.enough(share), rho, jnp.nan)}  # [R, S]

    def dcva(self) -> Dcva:
        """As `Score.dcva`; features are clipped as for rho."""
        return dataclasses.replace(self.pixel_map, feature_clip=self.feature_clip)

    def describe(self, backbone: Backbone) -> str:
        """As `Score.describe`."""
        standard = ", features standardised" if self.feature_standardize else ""
        return f"{backbone.kind} to {backbone.layer}, {self.pooling} pooling{standard}"
