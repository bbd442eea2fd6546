"""A registered pair compared pixel by pixel: the same brightness, light and null as in rho, as `PixelEvidence` says.

Pure, for one pair. Axes: H rows, W columns.
"""

import dataclasses

import jax
import jax.numpy as jnp

from planetcd_jax.networks.backbone import Backbone, Network
from planetcd_jax.ops import masked
from planetcd_jax.ops.shifted import Registration
from planetcd_jax.scores.base import over_bands
from planetcd_jax.scores.brightness import Brightness, BrightnessDetail
from planetcd_jax.scores.null import Null
from planetcd_jax.scores.pixel_level import PixelChange
from planetcd_jax.scores.registered.pixel_evidence import Maps, PixelEvidence
from planetcd_jax.scores.registered.relief import Relighting
from planetcd_jax.scores.registered.residual_null import ResidualNull
from planetcd_jax.types import Array

Features = tuple[Array, ...]
"""Of one date, [h, w, D] for each layer."""


@dataclasses.dataclass(frozen=True)
class PixelComparison:
    """Where a registered pair changed, and from which size on.

    Attributes:
        pixels: How sizes and contours are made.
        brightness: How brightness is compared; of its surroundings those of `pixels` count.
        light: How a sun that turned is taken out.
        null: What the level comes from. A `ResidualNull` is made more careful with what may be a change.
    """

    pixels: PixelEvidence
    brightness: BrightnessDetail
    light: Relighting
    null: Null

    @property
    def detail(self) -> BrightnessDetail:
        """How brightness is compared pixel by pixel."""
        return dataclasses.replace(self.brightness, coarse_px=self.pixels.coarse_px)

    @property
    def clean_null(self) -> Null:
        """The null without what may be a change, wherever that is; in units of the patch's own spread."""
        if not isinstance(self.null, ResidualNull):
            return self.null
        pixels = self.pixels
        return dataclasses.replace(
            self.null, outlier=pixels.null_outlier, change_margin_px=pixels.null_margin_px, near_px=0, most_changed=1.0,
            usual_cap=1e3, broad_outlier=1e3,
        )  # fmt: skip

    def size(self, network: Network, before: Array, second: Registration) -> Array:
        """Size of the change at each pixel, in standard deviations of the pair's usual differences.

        Args:
            network: Its features are compared.
            before: [H, W] or [H, W, C] float32.
            second: The registered second date.

        Returns:
            [H, W] float32 >= 0.
        """
        (one, two), keep = self._dates(before, second)
        features = self._features(network, before, second.after, keep)
        return self._maps(network.backbone, features, (self.light.relit(one, two, keep), two), keep).size

    def change(self, key: Array, network: Network, before: Array, second: Registration, *, always: bool) -> PixelChange:
        """Where the pair changed; the level is that of pairs with the pair's own differences at other places.

        Args:
            key: Key of the null.
            network, before, second: As in `size`; the first date goes through the network once.
            always: Whether the level is drawn even where nothing can begin a contour, whatever it is.
        """
        (one, two), keep = self._dates(before, second)
        first, other = self._features(network, before, second.after, keep)
        lit = self.light.relit(one, two, keep)
        null = self.clean_null

        def largest(own: Array) -> Array:
            if isinstance(null, ResidualNull):
                drawn = null.draw(own, before, second.after, lit, two, keep, self.detail, lit.level - one.level)
            else:
                drawn = null.pair(own, before)[1]
            pair, _ = self._dates(before, second._replace(after=drawn))
            moved = self.pixels.features(network, jnp.where(over_bands(keep, before), drawn, before))
            shown = self.light.relit(*pair, keep), pair[1]
            return self._maps(network.backbone, (first, moved), shown, keep).size.max()

        maps = self._maps(network.backbone, (first, other), (lit, two), keep)

        def outlined(_: None) -> PixelChange:
            found = jax.lax.map(largest, jax.random.split(key, self.pixels.draws))
            return self.pixels.change(maps, found, self.pixels.brightness_difference(lit, two, keep), keep)

        if always:
            return outlined(None)
        return jax.lax.cond(
            self.pixels.may_begin(maps, keep), outlined, lambda _: self.pixels.unchanged(maps, keep), None
        )

    def _dates(self, before: Array, second: Registration) -> tuple[tuple[Brightness, Brightness], Array]:
        """The brightness of both dates, and where they are compared."""
        keep = masked.erode(second.valid, self.pixels.border_px)
        return self.detail.of_dates(before, second.after, second.valid, keep), keep

    def _features(self, network: Network, before: Array, after: Array, keep: Array) -> tuple[Features, Features]:
        """Features of both dates; the second shows the first where not `keep`."""
        shown = jnp.where(over_bands(keep, before), after, before)
        return self.pixels.features(network, before), self.pixels.features(network, shown)

    def _maps(
        self, backbone: Backbone, features: tuple[Features, Features], dates: tuple[Brightness, Brightness], keep: Array
    ) -> Maps:
        """Maps of size and of brightness, from the features and the brightness of two dates in the same light."""
        signed = self.pixels.standardized(*dates, keep, self.detail)
        apart = self.pixels.feature_change(*features, keep, self.pixels.cells_px(backbone))
        return Maps(self.pixels.size(signed, apart, keep), signed)
