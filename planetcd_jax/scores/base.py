"""A change score as a value: what every score can do, and what follows from rho of one pair alone.

Another score is a subclass of `Score` in a file of its own that gives `rho` (docs/extending.md); it then serves
`detect`, `score_map` and both programs.

Axes: H rows, W columns, C bands, D features, G groups of bands, R rows and S columns of windows.
"""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.networks.backbone import Backbone, Network, check_alike, check_image
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.registration import Registering
from planetcd_jax.ops.shifted import Registration
from planetcd_jax.scores.brightness import BrightnessDetail
from planetcd_jax.scores.dcva import Dcva
from planetcd_jax.scores.features import usable_cells
from planetcd_jax.scores.null import NoiseAndShift, Null
from planetcd_jax.scores.pixel_level import PixelChange, PixelLevel
from planetcd_jax.types import Array

WINDOW_STEP_PX = 4
"""Windows and strides are multiples of this, whatever the score, so that scores of one scene share a grid."""


class WindowGrid(NamedTuple):
    """How an array is cut into windows.

    Window (r, s) covers the rows from margin + r * stride to margin + r * stride + window - 1, and the columns alike.

    Attributes:
        window, stride: Side of a window and step from one to the next, pixels.
        min_valid: Share of a window that must be usable; a window with less is not scored. In [0, 1].
        margin: Pixels on each side of the array that are context only: no window reaches into them.
        tile: Side of the tiles in which a network goes over the array, pixels; None: all at once. Changes no score.
    """

    window: int
    stride: int
    min_valid: float = 0.5
    margin: int = 0
    tile: int | None = None

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of windows of an array; 0 where it is smaller than one window."""
        rows, columns = (max(0, (n - 2 * self.margin - self.window) // self.stride + 1) for n in (height, width))
        return rows, columns

    def corners(self, height: int, width: int) -> Array:
        """First row and column of each window, [R S, 2] int32."""
        rows, columns = self.shape(height, width)
        places = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1)
        return self.margin + places.reshape(-1, 2) * self.stride

    def enough(self, share: Array) -> Array:
        """Whether this share of a window is enough to score it."""
        return (share > 0) & (share >= self.min_valid)


def over_bands(mask: Array, image: Array) -> Array:
    """A mask [H, W] in the number of axes of `image`."""
    return mask.reshape(mask.shape + (1,) * (image.ndim - 2))


@dataclasses.dataclass(frozen=True)
class Score:
    """A change score of one pair of patches, with all its constants. Hashable: a static argument of `jax.jit`.

    Attributes:
        null: How a pseudo-unchanged pair is made.
        pixel_map: How its evidence is shown pixel by pixel.
        pixels: How changed pixels are told from chance.
        border_px: Ground this near to missing pixels has no `difference`: resampling is one-sided there.
        tile_px: Side of the ground of a scene whose windows must be scored from one array; None: any.

    A subclass gives `rho`. What else stands here may be replaced where something better is known.
    """

    null: Null = NoiseAndShift()
    pixel_map: Dcva = Dcva()
    pixels: PixelLevel = PixelLevel()
    border_px: int = 4
    tile_px: int | None = None

    kind: ClassVar[str] = "own"
    uses_network: ClassVar[bool] = True
    """Whether rho depends on the network; else parameters are not needed."""
    outlines: ClassVar[bool] = False
    """Whether `pixel_change` is cheap and sharp enough to tell the changes of a scene from each other."""

    # One pair.

    def rho(self, network: Network, before: Array, after: Array) -> Array:
        """Change score of one pair, [H, W] or [H, W, C] float in [0, 1] twice to a scalar >= 0. Pure."""
        raise NotImplementedError(f"{type(self).__name__} has no rho")

    def pair_rhos(
        self, key: Array, network: Network, before: Array, after: Array, context: Array | None = None
    ) -> tuple[Array, Array]:
        """rho of a pair, and rho' of its pseudo-unchanged one.

        Args:
            key: Key of this pair.
            network, before, after: As in `rho`.
            context: None, or `before` with `null.margin_px` true pixels on each side.
        """
        x, drawn = self.null.pair(key, before, context)
        return self.rho(network, before, after), self.rho(network, x, drawn)

    def check_pair(self, backbone: Backbone, before: Array, after: Array) -> None:
        """Raises PatchError unless both are patches of one shape that can be scored."""
        if self.uses_network:
            backbone.check_pair(before, after)
            return
        for name, x in (("before", before), ("after", after)):
            check_image(name, x)
        check_alike(before, after)

    def features(self, network: Network, x: Array) -> Array:
        """Feature map of one patch as the score uses it, [G, h, w, D]."""
        return network.features(x)

    def descriptor(self, network: Network, x: Array) -> Array:
        """Largest value of each feature of one patch, by which explanations name what moved. [G, D]; NaN for NaN."""
        pooled = extents.largest(self.features(network, x), network.backbone.stride or 1)
        return jnp.where(jnp.isnan(x).any(), jnp.nan, pooled)

    @property
    def null_uses_after(self) -> bool:
        """Whether a pseudo-unchanged pair is made of both dates."""
        return False

    @property
    def registering(self) -> Registering:
        """How explanations register the pair."""
        return Registering()

    def pads(self, backbone: Backbone) -> bool:
        """Whether `pair_rhos` of an image in a larger array, inside `extents.extent`, is that of the image alone."""
        return False

    # Windows of a scene.

    def check_windows(self, backbone: Backbone) -> None:
        """Raises ConfigError if windows of an array cannot be scored with this network."""

    def halo_px(self, backbone: Backbone) -> int:
        """Pixels around a window that decide its score."""
        return 0

    def window_step_px(self, backbone: Backbone) -> int:
        """What windows and strides must be multiples of."""
        return math.lcm(WINDOW_STEP_PX, self.cell_px(backbone))

    def cell_px(self, backbone: Backbone) -> int:
        """Pixels in a cell of the features that windows share."""
        return (backbone.stride or 1) if self.uses_network else 1

    def window_maps(
        self, network: Network, before: Array, after: Array, valid: Array, grid: WindowGrid
    ) -> dict[str, Array]:
        """Maps of all windows of an array; "rho" is one of them, the others become layers of a scene's result.

        Here each window is cut out and scored by itself, its missing pixels replaced by the mean of the others.

        Args:
            network: As in `rho`.
            before, after: [H, W] or [H, W, C] float in [0, 1]; any value where not valid, NaN too.
            valid: [H, W] bool.
            grid: The windows.

        Returns:
            [R, S] float32 by name; NaN where a window is not scored.
        """
        shape = grid.shape(*before.shape[:2])

        def one(corner: Array) -> Array:
            x, y, known = (_cut(z, corner, grid.window) for z in (before, after, valid))
            rho = self.rho(network, *(filled(z, known) for z in (x, y)))
            return jnp.where(grid.enough(known.mean(dtype=jnp.float32)), rho, jnp.nan)

        return {"rho": jax.lax.map(one, grid.corners(*before.shape[:2])).reshape(shape)}

    def null_window_map(
        self, key: Array, network: Network, before: Array, after: Array | None, valid: Array, grid: WindowGrid
    ) -> Array:
        """rho of each window of one pseudo-unchanged array, [R, S] float32, NaN where not scored.

        One draw for the whole array. The shift takes its ground from around it.

        Args:
            key: Key of this array.
            network, valid, grid: As in `window_maps`.
            before: [H + 2 m, W + 2 m(, C)], m = `null.margin_px`; `valid` likewise.
            after: The second date [H, W(, C)] where `null_uses_after`, else not used.
        """
        m = self.null.margin_px
        height, width = before.shape[0] - 2 * m, before.shape[1] - 2 * m
        if min(height, width) - 2 * grid.margin < grid.window:
            raise PatchError(
                f"the image is {before.shape[0]}x{before.shape[1]} px with {m} px on each side for the shift, and a "
                f"window is {grid.window} px; use a larger image, a smaller window or a smaller max_shift."
            )
        inside = slice(m, m + height), slice(m, m + width)
        x, drawn = self.null.pair(key, before[inside], before)
        both = self.null.valid_in_both(key, valid[inside], valid)
        return self.window_maps(network, x, drawn, both, grid)["rho"]

    # What is said and shown.

    def evidence(self, network: Network, before: Array, after: Array) -> Array:
        """Size of the change at each pixel, [H, W] float32 >= 0, for pictures and pixel maps."""
        return self.dcva().change(network, before, after)

    def pixel_change(
        self, key: Array, network: Network, before: Array, after: Array, valid: Array | None = None
    ) -> PixelChange:
        """Where a pair changed: size of the change at each pixel, the level of chance, and the ground above it.

        Args:
            key: Key of the pair.
            network, before, after: As in `rho`.
            valid: [H, W] bool, pixels to believe; the others may hold any value. None: all.
        """
        known = extents.everywhere(before.shape[:2]) if valid is None else valid
        one, two = (filled(x.astype(jnp.float32), known) for x in (before, after))
        seen = self.known_evidence(network.backbone, known) if valid is not None and self.uses_network else known
        return self.pixels.from_draws(key, lambda x, y: self.evidence(network, x, y), (one, two), self.null, seen)

    def changed_ground(
        self, key: Array, network: Network, before: Array, after: Array, valid: Array | None = None
    ) -> PixelChange:
        """As `pixel_change`, where only the changed ground is asked for: without any, the level may be a lower one."""
        return self.pixel_change(key, network, before, after, valid)

    def difference(self, before: Array, after: Array, valid: Array, ground: Array) -> tuple[Array, Array]:
        """How the brightness of two dates differs, as it is compared: registered, without slow changes of light.

        Differences of several dates from one are of one scale: in contrasts of the ground.

        Args:
            before, after: [H, W] or [H, W, C] float in [0, 1]; any value where not valid.
            valid: [H, W] bool, where both dates have data.
            ground: [H, W] bool, ground that says what contrast and light are: without what may have changed.

        Returns:
            [H, W] float32, after less before, and [H, W] bool, where it is known.
        """
        one, second = self.register_array(before, after, valid)
        keep, detail = masked.erode(second.valid, self.border_px), BrightnessDetail()
        first, other = detail.of_dates(one, second.after, second.valid, keep)
        return jnp.where(keep, detail.difference(first, other, keep & ground), 0), keep

    def register_array(self, before: Array, after: Array, valid: Array) -> tuple[Array, Registration]:
        """The first date and the registered second; missing pixels have the mean of the others."""
        dates = [filled(x.astype(jnp.float32), valid) for x in (before, after)]
        return dates[0], self.registering.register_parts(*dates, valid=(valid, valid))

    def known_evidence(self, backbone: Backbone, valid: Array) -> Array:
        """Pixels of which `evidence` is to be believed: those whose features see valid ground only. [H, W] bool."""
        if not self.uses_network or backbone.stride is None or backbone.receptive_field is None:
            return valid
        cells = usable_cells(valid, backbone)
        fine = jnp.repeat(jnp.repeat(cells, backbone.stride, axis=0), backbone.stride, axis=1)
        rest = [(0, n - k) for n, k in zip(valid.shape, fine.shape, strict=True)]
        return jnp.pad(fine, rest, constant_values=False)

    def dcva(self) -> Dcva:
        """The settings of `evidence`."""
        return self.pixel_map

    def describe(self, backbone: Backbone) -> str:
        """The method in words, for a reader of results."""
        return f"score {self.kind}" + (f", {backbone.kind} to {backbone.layer}" if self.uses_network else "")

    def describe_null(self, count: int) -> str:
        """What `count` null scores are, in words."""
        return f"{count} scores of pseudo-unchanged windows ({self.null.describe()})"


def _cut(x: Array, corner: Array, side: int) -> Array:
    start = (corner[0], corner[1], *[jnp.zeros((), corner.dtype)] * (x.ndim - 2))
    return jax.lax.dynamic_slice(x, start, (side, side, *x.shape[2:]))


def filled(x: Array, known: Array) -> Array:
    """`x` with its missing pixels at the mean of the others, each band by itself."""
    mask = over_bands(known, x)
    count = jnp.maximum(known.sum(dtype=jnp.float32), 1.0)
    mean = jnp.where(mask, x, 0.0).sum(axis=(0, 1), keepdims=True) / count
    return jnp.where(mask, x, mean)


def check_grid(grid: WindowGrid, step: int, layer: str) -> None:
    """Raises ConfigError unless windows, strides and margin are multiples of `step` pixels."""
    for name, value in (("window", grid.window), ("stride", grid.stride)):
        if value < step or value % step:
            raise ConfigError(f"{name} is {value} px; give a multiple of {step} px, the step of {layer}.")
