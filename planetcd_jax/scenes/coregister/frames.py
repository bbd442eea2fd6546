"""Two images in one frame of pixels, in which a model lays the second over the first; read by windows, reduced."""

import dataclasses
from typing import cast

import numpy as np

from planetcd_jax.scenes.coregister.models import Points, move, scaling
from planetcd_jax.scenes.grids import AnyGrid, CorrectedGrid, Grid, comparable, pixel_grid
from planetcd_jax.scenes.pixel_map import PixelMap, lattice
from planetcd_jax.scenes.source import Source
from planetcd_jax.scenes.warp import Warped

View = tuple[np.ndarray, np.ndarray]
"""Mean of bands [h, w] float32, 0 where not valid, and mask [h, w]. Windows of 64-bit values have a mean of 0."""

# Ground beyond the first image in which the second is looked for, as a share of the first one's longer side.
_BEYOND = 0.6


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of pixels: first row and column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def longest(self) -> int:
        """The longer side."""
        return max(self.height, self.width)


class Frame:
    """Two images, and the pixels that models work in: those of the first.

    A model maps a pixel of the first image to the pixel of its grid where the second image shows that ground. Where
    both have a reference system, the second image is brought there by it (so a perfect pair needs no model); where one
    lacks it, a pixel of the second image is taken for the same pixel of the first one's grid.

    Attributes:
        before, after: The images; the first lies on an affine grid.
        grid: Affine grid of the first image, its pixels as coordinates where there are no systems.
        after_grid: That of the second.
        geographic: Whether both have coordinates that may be compared.
    """

    def __init__(self, before: Source | Warped, after: Source):
        """Finds the frame."""
        self.before, self.after = before, after
        self.geographic = comparable(before.grid, after.grid)
        own = cast(Grid, before.grid)
        self.grid = own if self.geographic else pixel_grid(own.height, own.width)
        self.after_grid: AnyGrid = after.grid if self.geographic else pixel_grid(after.grid.height, after.grid.width)
        self.whole = Box(0, 0, before.grid.height, before.grid.width)

    def extent(self) -> Box:
        """What the second image covers in the frame as it lies, cut to some ground beyond the first."""
        if not self.geographic:
            return Box(0, 0, self.after_grid.height, self.after_grid.width)
        points = lattice(0, 0, self.after_grid.height, self.after_grid.width)
        cols, rows = PixelMap(self.after_grid, self.grid)(*points)
        margin = _BEYOND * self.whole.longest
        limits = self.whole.width + margin, self.whole.height + margin
        found = []
        for values, limit in zip((cols, rows), limits, strict=True):
            known = np.clip(values[np.isfinite(values)], -margin, limit)
            found.append((int(known.min()), int(np.ceil(known.max()))) if known.size else (0, 0))
        (left, right), (top, bottom) = found
        return Box(top, left, bottom - top, right - left)

    def overlap(self, matrix: np.ndarray) -> Box:
        """Rows and columns of the first image that the second covers under a model; may be empty."""
        there = PixelMap(self.corrected(matrix), self.after_grid)
        cols, rows = lattice(0, 0, self.whole.height, self.whole.width, 65)
        on = there.inside(*there(cols, rows))
        if not on.any():
            return Box(0, 0, 0, 0)
        cols, rows = cols[on], rows[on]
        row, col = int(rows.min()), int(cols.min())
        return Box(row, col, int(np.ceil(rows.max())) - row, int(np.ceil(cols.max())) - col)

    def corrected(self, matrix: np.ndarray) -> CorrectedGrid:
        """The first image's grid under a model."""
        return CorrectedGrid(self.grid, matrix, self.whole.height, self.whole.width)

    def coarse(self, matrix: np.ndarray | None, box: Box, step: int) -> "Reduced":
        """One image over a box of the frame, `step` pixels to one: the first (None), or the second under a model."""
        shape = max(1, box.height // step), max(1, box.width // step)
        lead = scaling(step, box.col, box.row)
        if matrix is None:
            own = pixel_grid(self.whole.height, self.whole.width)
            return Reduced(self.before, CorrectedGrid(own, lead, *shape), own)
        return Reduced(self.after, CorrectedGrid(self.grid, matrix @ lead, *shape), self.after_grid)

    def after_pixels(self, matrix: np.ndarray, cols: np.ndarray, rows: np.ndarray) -> Points:
        """Columns and rows on the second image itself of pixels of the first, under a model."""
        return PixelMap(self.grid, self.after_grid)(*move(matrix, cols, rows))


class Reduced:
    """An image on a coarser grid, read by windows."""

    def __init__(self, image: Source | Warped, grid: CorrectedGrid, own: AnyGrid):
        """Takes an image, the grid that it is to be seen on, and the image's own."""
        self.height, self.width = grid.height, grid.width
        pixel_map = PixelMap(grid, own).needing(*lattice(0, 0, grid.height, grid.width))
        self._on_grid = Warped(cast(Source, image), grid, "bilinear", pixel_map)

    def read(self, row: int, col: int, height: int, width: int) -> View:
        """A window of the coarser pixels; may reach outside."""
        pixels, valid = self._on_grid.read(row, col, height, width)
        if pixels.dtype == np.float64 and valid.any():  # metres on a radius of 1,737,400 m are lost in 32 bits
            pixels = np.where(valid[..., None], pixels - pixels[valid].mean(axis=0), 0.0)
        return pixels.astype(np.float32).mean(axis=-1), valid

    def all(self) -> View:
        """All of it."""
        return self.read(0, 0, self.height, self.width)
