"""A change score that compares places, not maxima: the second date is registered to the first one before.

    rho = max(places, whole)    places = detail^0.9 * texture^0.1    whole = 12 * unlikeness

`detail` is how far the largest differences of brightness stand out from those of the rest of the patch, each divided by
what the pair's own noise, misalignment and light make of the slope of brightness and of the relief there. `texture` is
the largest difference of deep features, divided by how much they vary from place to place. `unlikeness` is
sqrt(2 (1 - correlation)) of the fine brightness of both dates: where the whole patch has changed, no place stands out.
The null, h(x), is the first date plus the pair's own differences at other places (`residual_null`).

For windows of a scene, registration, network and the maps of brightness are shared by all windows of an array; what a
window makes of them (its noise, its spread, its largest differences) is its own.

Axes: H rows, W columns, h and w the same in cells of the feature map, D features, G groups of bands, R rows and S
columns of windows.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.networks.backbone import Backbone, Network
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur, grey
from planetcd_jax.ops.registration import Registering
from planetcd_jax.ops.shifted import Registration
from planetcd_jax.records import check_above_zero, check_pixels
from planetcd_jax.scores.base import Score, WindowGrid
from planetcd_jax.scores.brightness import Brightness, BrightnessDetail, Limits
from planetcd_jax.scores.features import block_means, shared_features
from planetcd_jax.scores.null import Null
from planetcd_jax.scores.pixel_level import PixelChange
from planetcd_jax.scores.registered.pixel_comparison import PixelComparison
from planetcd_jax.scores.registered.pixel_evidence import PixelEvidence
from planetcd_jax.scores.registered.relief import Relighting
from planetcd_jax.scores.registered.residual_null import ResidualNull
from planetcd_jax.types import Array

_AT_ONCE = 28
"""Windows that are scored side by side: alone, one does not keep several cores busy. Changes no score."""


class View(NamedTuple):
    """What the comparison needs of one date on the common grid.

    Attributes:
        brightness: Maps of brightness.
        direction: [G, h, w, D] float32, features as unit vectors.
        varies: [h, w] float32, mean squared distance of each direction from its neighbours'.
    """

    brightness: Brightness
    direction: Array
    varies: Array


class Evidence(NamedTuple):
    """A registered pair as maps, from which any window is scored.

    Attributes:
        before, after: `Brightness` of each date.
        keep: [H, W] bool, pixels that are compared.
        weight: [H, W] float32, what they count.
        distance: [h, w] float32, squared distance of the features of both dates.
        varies: [h, w] float32, the same of each date's features from their neighbours', of both dates in the mean.
        cells: [h, w] bool, cells that are compared.

    For windows of an array the cells are those of the ground within its margin (`WindowGrid`).
    """

    before: Brightness
    after: Brightness
    keep: Array
    weight: Array
    distance: Array
    varies: Array
    cells: Array


class Views(NamedTuple):
    """Both dates of a registered pair as they are compared, which pixels are, [H, W] bool, and what they count."""

    first: View
    second: View
    keep: Array
    weight: Array


def _over_features(x: Array) -> Array:
    """Sum over the last axis, as a product with ones: a plain sum over it is slow on CPUs. [..., D] to [...]."""
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision=jax.lax.Precision.HIGHEST)


def _varies(x: Array, step: int | None) -> Array:
    """Mean squared distance of each unit vector from its four neighbours, [h, w, D] to [h, w].

    Of the distances between neighbours each is computed once; beyond the border a vector is its own neighbour.
    `step` is the pixels in a cell.
    """
    down = _over_features(jnp.square(x[1:] - x[:-1]))
    right = _over_features(jnp.square(x[:, 1:] - x[:, :-1]))
    if step and extents.is_set(x.shape[:2], step):
        own = extents.inside(x.shape[:2], step)
        down, right = jnp.where(own[1:], down, 0), jnp.where(own[:, 1:], right, 0)
    by_row = jnp.pad(down, ((1, 0), (0, 0))) + jnp.pad(down, ((0, 1), (0, 0)))
    by_column = jnp.pad(right, ((0, 0), (1, 0))) + jnp.pad(right, ((0, 0), (0, 1)))
    return (by_row + by_column) / 4


def compared_cells(keep: Array, cells: tuple[int, int]) -> Array:
    """Cells of the feature map of which every pixel is compared. [H, W] bool to `cells` bool."""
    step = max(1, keep.shape[0] // cells[0])
    cut = keep[: cells[0] * step, : cells[1] * step]
    return cut.reshape(cells[0], step, cells[1], step).all(axis=(1, 3))


@dataclasses.dataclass(frozen=True)
class Registered(Score):
    """Registered, then compared place by place. Blind to gain, offset, noise and misalignment up to its bounds.

    Attributes:
        registration: How the second date is registered.
        brightness: How differences of brightness are compared with what the pair explains.
        light: How a sun that turned is taken out of the difference of brightness.
        null: `ResidualNull`, made of the pair's own differences; or another (`scores.null`).
        network_blur_px: Standard deviation of the blur before the network, which takes noise for texture.
        network_step_px: Side of the blocks of pixels whose means the network sees, after that blur: at half the
            resolution a network to conv2_2 ranks as well as one to conv3_2 on all pixels, for a sixth of the work.
        border_px: Ground this near to missing ground or to the edge is not compared: resampling is one-sided there.
        edge_px, edge_weight: Ground this near counts for less, by this factor: blurs are one-sided there, and local
            shifts less sure.
        usual_cap: Largest interquartile range of `detail` that is put down to the patch: where more of it differs, the
            patch as a whole has changed. Spots of 40 px rank higher with less, and one unchanged development pair in
            six reaches it.
        usual_least: Least interquartile range of `detail`: where nearly all pixels of both dates are equal, one grey
            level in a few of the others is no change. Noise alone gives about 0.8.
        equal: Largest difference of brightness, of full scale, of ground that is the same in both dates: rho is 0
            there.
        detail_top, texture_top: Share of the places whose mean is taken: the size of the smallest change that counts
            in full.
        texture_power: Power of texture in rho; that of detail is what is left of 1.
        whole_weight: What the unlikeness of the patch as a whole counts in rho: at 12, dates whose correlation is 0.93
            score as much as the largest differences of one unchanged pair in twenty.
        margin_px: Ground around the windows of an array that registration and blurs look at.
        tile_px: Side of the ground whose windows are scored from one array: registration sees enough, and memory is
            small.
        pixels: How it shows pixel by pixel what changed.
        pixel_map: As in `Score`.

    Chosen on the development split of `scripts/evaluate.py`; docs/evaluation.md has the ablation.
    """

    null: Null = ResidualNull()
    registration: Registering = Registering()
    brightness: BrightnessDetail = BrightnessDetail()
    light: Relighting = Relighting()
    network_blur_px: float = 1.2
    network_step_px: int = 2
    border_px: int = 4
    edge_px: int = 10
    edge_weight: float = 0.6
    usual_cap: float = 0.8
    usual_least: float = 0.1
    equal: float = 1e-6
    detail_top: float = 0.004
    texture_top: float = 0.01
    texture_power: float = 0.1
    whole_weight: float = 12.0
    margin_px: int = 48
    tile_px: int = 768
    pixels: PixelEvidence = PixelEvidence()

    kind: ClassVar[str] = "registered"
    outlines: ClassVar[bool] = True

    def pads(self, backbone: Backbone) -> bool:
        """As `Score.pads`."""
        return backbone.pads and isinstance(self.null, ResidualNull)

    def __post_init__(self):
        check_above_zero(self, "network_blur_px", "network_step_px", "usual_cap", "usual_least", "detail_top")
        check_pixels("network_step_px", self.network_step_px)
        check_above_zero(self, "texture_top", "tile_px")
        check_pixels("border_px", self.border_px)
        check_pixels("edge_px", self.edge_px)
        check_pixels("margin_px", self.margin_px)
        if not 0 <= self.texture_power <= 1:
            raise ConfigError(f"texture_power is {self.texture_power!r}; give a number in [0, 1].")

    @property
    def null_uses_after(self) -> bool:
        """Whether its null is made of the pair's own differences."""
        return isinstance(self.null, ResidualNull)

    @property
    def registering(self) -> Registering:
        """Its own."""
        return self.registration

    def stand_out(self, values: Array, keep: Array) -> Array:
        """(mean of the largest - median) / interquartile range, kept within its bounds; 0 where nothing counts.

        Gradients hold the median and the range fixed, as they do shifts and spreads.
        """
        low, middle, high = masked.quartiles(masked.thin(jax.lax.stop_gradient(values)), masked.thin(keep))
        reach = jnp.clip(high - low, self.usual_least, self.usual_cap)
        return jnp.maximum(masked.top_mean(values, keep, self.detail_top) - middle, 0) / (reach + 1e-3)

    def seen_features(self, network: Network, x: Array, grid: WindowGrid | None = None) -> Array:
        """Features of one patch, blurred and in blocks: [H, W(, C)] to [G, h, w, D], or of the windows of `grid`."""
        planes = x[None] if x.ndim == 2 else jnp.moveaxis(x, -1, 0)
        soft = blur(planes.astype(jnp.float32), self.network_blur_px)
        soft = block_means(soft[0] if x.ndim == 2 else jnp.moveaxis(soft, 0, -1), self.network_step_px)
        margin = 0 if grid is None else grid.margin // self.network_step_px
        with extents.of_blocks(self.network_step_px):
            if grid is not None and margin >= network.backbone.context_px:
                return shared_features(network, soft[None], margin=margin, tile=None)[0]
            found = network.features(soft)
        return _within(found, margin // (network.backbone.stride or 1), axes=(1, 2)) if margin else found

    def cell_px(self, backbone: Backbone) -> int:
        """As `Score.cell_px`: of `seen_features`."""
        return self.network_step_px * (backbone.stride or 1)

    def view(self, network: Network, x: Array, valid: Array, limits: Limits, grid: WindowGrid | None = None) -> View:
        """One date, [H, W] or [H, W, C] float32 on the common grid, as it is compared.

        Args:
            network: Its features are compared.
            x: The date.
            valid: [H, W] bool.
            limits: Brightness that counts.
            grid: Windows of an array, which share its features; None: one patch.
        """
        found = self.seen_features(network, x, grid)
        direction = found * jax.lax.rsqrt(_over_features(jnp.square(found))[..., None] + 1e-12)
        varies = jax.vmap(lambda group: _varies(group, self.cell_px(network.backbone)))(direction).mean(axis=0)
        return View(self.brightness.brightness(grey(x), valid, limits), direction, varies)

    def views(self, network: Network, before: Array, second: Registration, grid: WindowGrid | None = None) -> Views:
        """Both dates; before: [H, W] or [H, W, C] float32; second: the registered second date; grid: as in `view`."""
        keep = masked.erode(second.valid, self.border_px)
        limits = self.brightness.common_limits(grey(before), grey(second.after), keep)
        one = self.view(network, before, second.valid, limits[0], grid)
        other = self.view(network, second.after, second.valid, limits[1], grid)
        weight = jnp.where(masked.erode(second.valid, self.edge_px), 1.0, jnp.float32(self.edge_weight))
        return Views(one, other, keep, weight)

    def relit(self, views: Views) -> Brightness:
        """The first date in the light of the second."""
        return self.light.relit(views.first.brightness, views.second.brightness, views.keep)

    def evidence_of(self, views: Views, lit: Brightness, grid: WindowGrid | None = None) -> Evidence:
        """The maps that scores are made of; lit: `relit` of both; grid: as in `view`."""
        before, after, keep, weight = views
        distance = _over_features(jnp.square(after.direction - before.direction)).mean(axis=0)
        varies = (before.varies + after.varies) / 2
        margin = 0 if grid is None else grid.margin
        cells = compared_cells(_within(keep, margin), (distance.shape[0], distance.shape[1]))
        return Evidence(lit, after.brightness, keep, weight, distance, varies, cells)

    def null_views(
        self, key: Array, network: Network, before: Array, second: Registration, views: Views, lit: Brightness,
        grid: WindowGrid | None = None,
    ) -> Views:  # fmt: skip
        """The first date and h(x), as they are compared.

        Args:
            key: Key of the pair.
            network, before, second, grid: As in `views`.
            views: What that gave.
            lit: `relit` of them.
        """
        first, other, keep, _ = views
        shade = lit.level - first.brightness.level
        drawn = self.null.draw(key, before, second.after, lit, other.brightness, keep, self.brightness, shade)
        limits, _ = self.brightness.common_limits(grey(before), grey(second.after), keep)
        return views._replace(second=self.view(network, drawn, second.valid, limits, grid))

    def rho_of(self, evidence: Evidence) -> Array:
        """rho of the ground that the maps show. Scalar float32 >= 0; 0 where both dates are the same."""
        found = self.brightness.differences(evidence.before, evidence.after, evidence.keep)
        detail_map = evidence.weight * self.brightness.detail_map(found, evidence.keep)
        detail = self.stand_out(detail_map, evidence.keep)
        typical = masked.mean(evidence.varies, evidence.cells.astype(jnp.float32))
        texture = evidence.distance / (evidence.varies + typical + 1e-6)
        texture = masked.top_mean(texture, evidence.cells, self.texture_top)
        places = self._combine(detail, texture) - self._combine(jnp.float32(0), jnp.float32(0))
        whole = self.whole_weight * self.brightness.unlikeness(found, evidence.keep)
        apart = jnp.where(evidence.keep, jnp.abs(evidence.after.level - evidence.before.level), 0).max()
        return jnp.where(apart > self.equal, jnp.maximum(places, whole), 0.0)

    def _combine(self, detail: Array, texture: Array) -> Array:
        # The small numbers keep the gradient finite where there is no difference at all.
        return (detail + 0.1) ** (1 - self.texture_power) * (texture + 1e-3) ** self.texture_power

    def rho(self, network: Network, before: Array, after: Array) -> Array:
        """As `Score.rho`; NaN if a pixel is NaN."""
        missing = _missing(before, after)
        before, second = self._registered(before, after)
        views = self.views(network, before, second)
        rho = self.rho_of(self.evidence_of(views, self.relit(views)))
        return jnp.where(missing, jnp.nan, rho)

    def pair_rhos(
        self, key: Array, network: Network, before: Array, after: Array, context: Array | None = None
    ) -> tuple[Array, Array]:
        """As `Score.pair_rhos`; `before` goes through the network once, and registration is done once."""
        if not isinstance(self.null, ResidualNull):
            return super().pair_rhos(key, network, before, after, context)
        missing = _missing(before, after)
        before, second = self._registered(before, after)
        views = self.views(network, before, second)
        lit = self.relit(views)
        drawn = self.null_views(key, network, before, second, views, lit)
        rho = self.rho_of(self.evidence_of(views, lit))
        rho_null = self.rho_of(self.evidence_of(drawn, self.relit(drawn)))
        return jnp.where(missing, jnp.nan, rho), jnp.where(missing, jnp.nan, rho_null)

    def check_windows(self, backbone: Backbone) -> None:
        """Raises ConfigError if windows cannot share feature maps."""
        backbone.check_shares()

    def halo_px(self, backbone: Backbone) -> int:
        """`margin_px`."""
        self.check_windows(backbone)
        return self.margin_px

    def check_pair(self, backbone: Backbone, before: Array, after: Array) -> None:
        """As `Score.check_pair`; one cell at least."""
        super().check_pair(backbone, before, after)
        least = self.cell_px(backbone)
        if min(before.shape[:2]) < least:
            raise PatchError(
                f"the patches are {before.shape[0]}x{before.shape[1]} px, and {backbone.layer} at a step of "
                f"{self.network_step_px} px needs at least {least} px in each axis; use larger patches."
            )

    def window_maps(
        self, network: Network, before: Array, after: Array, valid: Array, grid: WindowGrid
    ) -> dict[str, Array]:
        """As `Score.window_maps`, from one registration of the array."""
        before, second = self.register_array(before, after, valid)
        views = self.views(network, before, second, grid)
        return {"rho": self._windows(self.evidence_of(views, self.relit(views), grid), grid)}

    def null_window_map(
        self, key: Array, network: Network, before: Array, after: Array | None, valid: Array, grid: WindowGrid
    ) -> Array:
        """As `Score.null_window_map`: the second date is h(x), with the array's own differences."""
        if not isinstance(self.null, ResidualNull):
            return super().null_window_map(key, network, before, after, valid, grid)
        if after is None:
            raise ConfigError("a registered score draws its null from both dates; give after=.")
        before, second = self.register_array(before, after, valid)
        views = self.views(network, before, second, grid)
        drawn = self.null_views(key, network, before, second, views, self.relit(views), grid)
        return self._windows(self.evidence_of(drawn, self.relit(drawn), grid), grid)

    def difference(self, before: Array, after: Array, valid: Array, ground: Array) -> tuple[Array, Array]:
        """As `Score.difference`, the first date in the light of the second.

        Contrasts are those of `ground`, and not of what is `BrightnessDetail.alike` in the two: that is other ground
        for each date, and differences of several dates are to be of one scale.
        """
        one, second = self.register_array(before, after, valid)
        keep = masked.erode(second.valid, self.border_px)
        first, other = self.brightness.of_dates(one, second.after, second.valid, keep)
        first = self.light.relit(first, other, keep & ground)
        return jnp.where(keep, self.brightness.difference(first, other, keep & ground), 0), keep

    def _windows(self, evidence: Evidence, grid: WindowGrid) -> Array:
        """rho of each window, [R, S]; NaN where too little of one is compared."""
        shape = evidence.keep.shape
        step = max(1, (shape[0] - 2 * grid.margin) // evidence.cells.shape[0])

        def one(corner: Array) -> Array:
            def cut(x: Array) -> Array:
                fine = x.shape == shape
                side = grid.window if fine else grid.window // step
                return jax.lax.dynamic_slice(x, corner if fine else (corner - grid.margin) // step, (side, side))

            part = jax.tree.map(cut, evidence)
            return jnp.where(grid.enough(part.keep.mean(dtype=jnp.float32)), self.rho_of(part), jnp.nan)

        corners = grid.corners(*shape)
        whole = jnp.pad(corners, ((0, -len(corners) % _AT_ONCE), (0, 0)), mode="edge")
        found = jax.lax.map(one, whole, batch_size=min(_AT_ONCE, len(whole)))
        return found[: len(corners)].reshape(grid.shape(*shape))

    # Pixel by pixel.

    @property
    def _comparison(self) -> PixelComparison:
        """As rho compares both dates, but pixel by pixel."""
        return PixelComparison(self.pixels, self.brightness, self.light, self.null)

    def evidence(self, network: Network, before: Array, after: Array) -> Array:
        """Size of the change at each pixel, in standard deviations of the pair's usual differences."""
        return self._comparison.size(network, *self._registered(before, after))

    def pixel_change(
        self, key: Array, network: Network, before: Array, after: Array, valid: Array | None = None
    ) -> PixelChange:
        """As `Score.pixel_change`; the level is that of pairs with the pair's own differences at other places."""
        return self._comparison.change(key, network, *self._registered(before, after, valid), always=True)

    def changed_ground(
        self, key: Array, network: Network, before: Array, after: Array, valid: Array | None = None
    ) -> PixelChange:
        """As `Score.changed_ground`: no null is drawn where nothing can begin a contour, whatever the level."""
        return self._comparison.change(key, network, *self._registered(before, after, valid), always=False)

    def _registered(self, before: Array, after: Array, valid: Array | None = None) -> tuple[Array, Registration]:
        """Both dates of a patch, or of an array of which only `valid` is known; the second registered to the first."""
        if valid is not None:
            return self.register_array(before, after, valid)
        before, after = before.astype(jnp.float32), after.astype(jnp.float32)
        return before, self.registration.register(before, after)

    def describe(self, backbone: Backbone) -> str:
        """As `Score.describe`."""
        step = self.network_step_px
        seen = "" if step == 1 else f" at 1/{step} of the resolution"
        return f"registered, then compared place by place: brightness, and {backbone.kind} to {backbone.layer}{seen}"

    def describe_null(self, count: int) -> str:
        """As `Score.describe_null`."""
        return f"{count} scores of windows that show the pair's own differences at other places"


def _within(x: Array, rim: int, axes: tuple[int, int] = (0, 1)) -> Array:
    """A map without its outermost `rim` rows and columns."""
    for axis in axes:
        x = jax.lax.slice_in_dim(x, rim, x.shape[axis] - rim, axis=axis)
    return x


def _missing(before: Array, after: Array) -> Array:
    return jnp.isnan(before).any() | jnp.isnan(after).any()
