"""Grids: an affine transform, control points or a sensor's polynomials, and what a registration does to them."""

import dataclasses
import math
from collections.abc import Callable
from typing import overload

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer, RPCTransformer

from planetcd_jax.scenes import body
from planetcd_jax.scenes.coregister.models import move


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie.

    Attributes:
        height, width: Size in pixels.
        transform: Affine map from (column, row) of a pixel corner to coordinates.
        crs: Coordinate reference system, or None.
    """

    height: int
    width: int
    transform: Affine
    crs: CRS | None

    is_affine = True

    @overload
    def coordinates(self, cols: float, rows: float) -> tuple[float, float]: ...

    @overload
    def coordinates(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def coordinates(self, cols, rows):
        """Coordinates x, y of points given in pixels, (0, 0) being the outer corner of the first pixel."""
        t = self.transform
        return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f

    def pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows of points given by their coordinates; not finite where these are not."""
        t = self.transform
        with np.errstate(invalid="ignore"):
            x, y = np.asarray(x) - t.c, np.asarray(y) - t.f
            return (t.e * x - t.b * y) / t.determinant, (t.a * y - t.d * x) / t.determinant

    def part(self, row: int, col: int, height: int, width: int) -> "Grid":
        """The grid of a window, which may reach outside."""
        t, (x, y) = self.transform, self.coordinates(col, row)
        return Grid(height, width, Affine(t.a, t.b, x, t.d, t.e, y), self.crs)

    def coarser(self, row: float, col: float, step: int, height: int, width: int) -> "Grid":
        """A grid of `height x width` pixels, each `step` of these, that begins at (row, col)."""
        t, (x, y) = self.transform, self.coordinates(col, row)
        return Grid(height, width, Affine(t.a * step, t.b * step, x, t.d * step, t.e * step, y), self.crs)

    def resized(self, row: float, col: float, height: float, width: float, shape: tuple[int, int]) -> "Grid":
        """A window seen by `shape` rows and columns of pixels."""
        t, (x, y) = self.transform, self.coordinates(col, row)
        down, along = height / shape[0], width / shape[1]
        return Grid(*shape, Affine(t.a * along, t.b * down, x, t.d * along, t.e * down, y), self.crs)


class ControlGrid:
    """Where the pixels of an image lie that has no transform but control points or a sensor's polynomials (RPCs).

    Attributes:
        height, width, crs: As of a `Grid`.
    """

    is_affine = False

    def __init__(self, height: int, width: int, crs: CRS, transformer: GCPTransformer | RPCTransformer):
        """Takes rasterio's transformer, and the box of coordinates that it is used in."""
        self.height, self.width, self.crs = height, width, crs
        self._transformer = transformer
        margin = 0.1 * max(height, width)
        along = np.linspace(0.0, 1.0, 33)
        cols, rows = np.meshgrid(along * (width + 2 * margin) - margin, along * (height + 2 * margin) - margin)
        x, y = self.coordinates(cols, rows)
        self._middle = float(np.median(x)) if self._in_degrees else 0.0
        self._box = x.min(), x.max(), y.min(), y.max()

    @property
    def _in_degrees(self) -> bool:
        return body.system_of(self.crs).is_geographic

    def coordinates(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Grid.coordinates`."""
        cols, rows = np.broadcast_arrays(np.asarray(cols, float), np.asarray(rows, float))
        x, y = self._transformer.xy(rows.ravel(), cols.ravel(), offset="ul")
        return np.asarray(x, float).reshape(cols.shape), np.asarray(y, float).reshape(cols.shape)

    def pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Grid.pixels`; infinite far from the image, where polynomials mean nothing."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        left, right, low, high = self._box
        near = (x >= left) & (x <= right) & (y >= low) & (y <= high)
        cols, rows = np.full(x.shape, np.inf), np.full(x.shape, np.inf)
        if near.any():
            rows[near], cols[near] = self._transformer.rowcol(x[near], y[near], op=np.positive)
        return cols, rows

    def as_affine(self) -> Grid:
        """The affine grid that fits best, with a margin for what lies off it: for results, which need a transform."""
        cols, rows = np.meshgrid(np.linspace(0, self.width, 33), np.linspace(0, self.height, 33))
        x, y = self.coordinates(cols, rows)
        transform, off = fit_affine(cols.ravel(), rows.ravel(), x.ravel(), y.ravel())
        pad = math.ceil(off)
        grid = Grid(self.height, self.width, transform, self.crs)
        return grid.part(-pad, -pad, self.height + 2 * pad, self.width + 2 * pad)


@dataclasses.dataclass(frozen=True)
class BentGrid(Grid):
    """A grid whose pixels are shifted by a smooth field of local shifts.

    Attributes:
        bend: Function of columns and rows that gives shifts in both, smaller than the pixels' distance to the next.
    """

    bend: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

    is_affine = False

    def coordinates(self, cols, rows):
        """As `Grid.coordinates`."""
        along, down = self.bend(np.asarray(cols, float), np.asarray(rows, float))
        return super().coordinates(cols + along, rows + down)

    def pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Grid.pixels`; by fixed points, to about a thousandth of a pixel."""
        there = super().pixels(x, y)
        cols, rows = there
        for _ in range(8):
            along, down = self.bend(cols, rows)
            cols, rows = there[0] - along, there[1] - down
        return cols, rows


@dataclasses.dataclass(frozen=True)
class CorrectedGrid:
    """A grid whose pixels lie where a model moves them to: what brings a registration into the one exact warp.

    Attributes:
        base: Grid that the model's results are pixels of.
        matrix: [3, 3], from this grid's pixels to those of `base`.
        height, width: Size in pixels.
    """

    base: Grid
    matrix: np.ndarray
    height: int
    width: int

    @property
    def crs(self):
        """That of `base`."""
        return self.base.crs

    @property
    def is_affine(self) -> bool:
        """Whether pixels lie on a regular lattice of coordinates."""
        return self.base.is_affine and bool(np.all(self.matrix[2] == (0.0, 0.0, 1.0)))

    def coordinates(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Grid.coordinates`."""
        return self.base.coordinates(*move(self.matrix, cols, rows))

    def pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Grid.pixels`."""
        return move(np.linalg.inv(self.matrix), *self.base.pixels(x, y))


def pixel_grid(height: int, width: int) -> Grid:
    """A grid whose coordinates are its pixels, for images without a reference system."""
    return Grid(height, width, Affine.identity(), None)


def comparable(one, other) -> bool:
    """Whether coordinates of two grids may be compared: both name a system, or neither does and both have a transform.

    World files, and many files of the PDS, give coordinates and no system; two such files lie in one of their own.
    """
    if one.crs is not None and other.crs is not None:
        return True
    return one.crs is None and other.crs is None and not (one.transform.is_identity or other.transform.is_identity)


AnyGrid = Grid | ControlGrid | CorrectedGrid


def fit_affine(cols, rows, x, y) -> tuple[Affine, float]:
    """Affine transform by least squares, and how far off it the worst point lies, pixels; infinite if there is none."""
    middle = np.mean(x), np.mean(y)
    design = np.stack([cols, rows, np.ones_like(cols)], axis=-1)
    (a, d), (b, e), (c, f) = np.linalg.lstsq(design, np.stack([x - middle[0], y - middle[1]], axis=-1), rcond=None)[0]
    transform = Affine(a, b, c + middle[0], d, e, f + middle[1])
    flat = abs(transform.determinant) <= 1e-9 * (np.hypot(a, d) * np.hypot(b, e) + 1e-300)
    if flat or np.linalg.matrix_rank(design) < 3:
        return transform, math.inf
    new_cols, new_rows = Grid(0, 0, transform, None).pixels(x, y)
    return transform, float(np.hypot(new_cols - cols, new_rows - rows).max())
