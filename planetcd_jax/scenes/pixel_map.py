"""Where the pixels of one image lie in another: exact places, and how the sampling changes there."""

import dataclasses

import numpy as np

from planetcd_jax.scenes.grids import AnyGrid
from planetcd_jax.scenes.longitudes import ALL_TURNS, crossing, short_way

# Exact places are computed on a lattice of this many pixels; between its points they are interpolated where that errs
# by less than `_SMOOTH` pixels over two steps (a quarter of it over one), and computed for each pixel elsewhere.
_STEP = 16
_SMOOTH = 0.004

# A point this far outside an image, in pixels, still counts as on its edge.
EDGE = 1e-3


@dataclasses.dataclass(frozen=True)
class Places:
    """Places in an image for each pixel of another; not finite where there is none.

    Attributes:
        cols, rows: Column and row.
        col_by_col, col_by_row, row_by_col, row_by_row: Change of column (row) for a step of one column (row).
    """

    cols: np.ndarray
    rows: np.ndarray
    col_by_col: np.ndarray
    col_by_row: np.ndarray
    row_by_col: np.ndarray
    row_by_row: np.ndarray


def lattice(row: float, col: float, height: float, width: float, n: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of n x n points over a rectangle, its edges included."""
    cols, rows = np.meshgrid(np.linspace(col, col + width, n), np.linspace(row, row + height, n))
    return cols, rows


class PixelMap:
    """Maps columns and rows of one grid to another's. Of all whole turns it takes the nearest to the image's middle."""

    def __init__(self, source: AnyGrid, target: AnyGrid, ways: tuple[int | None, ...] | None = None):
        """Prepares the map.

        Args:
            source, target: Grids.
            ways: Whole turns in longitude to try, the preferred first; among them None for coordinates as they are,
                in one system. None: all.

        Raises:
            DataError: if coordinates cannot be brought from one system to the other.
        """
        self.source, self.target = source, target
        self.crossing = crossing(source.crs, target.crs)
        self.ways = ways or (None,) * self.crossing.same + ALL_TURNS * self.crossing.circular

    def inside(self, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which points of the target's pixels lie on the image."""
        with np.errstate(invalid="ignore"):
            across = (cols >= -EDGE) & (cols <= self.target.width + EDGE)
            return across & (rows >= -EDGE) & (rows <= self.target.height + EDGE)

    def needing(self, cols: np.ndarray, rows: np.ndarray) -> "PixelMap":
        """The same map with only the ways that bring some of these points into the image, or the first of all."""
        found, kept = np.zeros(np.shape(cols), bool), []
        for way in self.ways:
            new = self.inside(*PixelMap(self.source, self.target, (way,))(cols, rows)) & ~found
            if new.any():
                kept.append(way)
                found |= new
        return PixelMap(self.source, self.target, tuple(kept) or self.ways[:1])

    def __call__(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows on the target."""
        return self._nearest(*self.source.coordinates(cols, rows))[:2]

    def _nearest(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns, rows, and the turns that were taken; NaN for coordinates as they are."""
        degrees = None if self.ways == (None,) else self.crossing.degrees(x, y)
        best: tuple[np.ndarray, ...] | None = None
        for way in self.ways:
            cols, rows = self._by(way, x, y, degrees)
            away = np.maximum(abs(cols / self.target.width - 0.5), abs(rows / self.target.height - 0.5))
            away = np.where(np.isfinite(away), away, np.inf)  # up to 0.5 on the image
            new = cols, rows, np.full(np.shape(cols), np.nan if way is None else float(way)), away
            if best is None:
                best = new
                continue
            nearer = away < best[3] - 1e-6
            best = tuple(np.where(nearer, one, other) for one, other in zip(new, best, strict=True))
        assert best is not None  # there is always a way: without one there is no `Crossing`
        return best[0], best[1], best[2]

    def _by(self, turns, x, y, degrees) -> tuple[np.ndarray, np.ndarray]:
        if turns is None:
            return self.target.pixels(x, y)
        return self.target.pixels(*self.crossing.from_degrees(degrees[0] + 360.0 * turns, degrees[1]))

    def exact(self, cols: np.ndarray, rows: np.ndarray) -> Places:
        """Places of points, and their change over a pixel round each of them."""
        x, y = self.source.coordinates(cols, rows)
        new_cols, new_rows, turns = self._nearest(x, y)
        middle = None if self.ways == (None,) else self.crossing.degrees(x, y)[0]
        changes = []
        for c, r in ((0.5, 0.0), (0.0, 0.5)):
            ends = (self._beside(cols + sign * c, rows + sign * r, turns, middle) for sign in (-1, 1))
            with np.errstate(invalid="ignore"):
                changes.append([last - first for first, last in zip(*ends, strict=True)])
        (col_by_col, row_by_col), (col_by_row, row_by_row) = changes
        return Places(new_cols, new_rows, col_by_col, col_by_row, row_by_col, row_by_row)

    def _beside(self, cols, rows, turns, middle) -> tuple[np.ndarray, np.ndarray]:
        """Places of points, by as many turns as a neighbour whose longitude is given was brought there."""
        x, y = self.source.coordinates(cols, rows)
        if middle is None:
            return self.target.pixels(x, y)
        lon, lat = self.crossing.degrees(x, y)
        with np.errstate(invalid="ignore"):
            near = middle + short_way(lon - middle)
        found = self._by(turns, x, y, (near, lat))
        if None not in self.ways:
            return found
        as_they_are = self.target.pixels(x, y)
        own = np.isnan(turns)
        return np.where(own, as_they_are[0], found[0]), np.where(own, as_they_are[1], found[1])

    def over(self, row: int, col: int, height: int, width: int) -> Places:
        """Places of the middles of a window's pixels, [height, width] each.

        A pixel's place does not depend on the window that it is asked for in.
        """
        cell = 2 * _STEP
        top, left = row // cell * cell, col // cell * cell
        down, along = -(-(row + height - top) // cell), -(-(col + width - left) // cell)  # cells
        node_cols, node_rows = np.meshgrid(
            left + _STEP * np.arange(2.0 * along + 1), top + _STEP * np.arange(2.0 * down + 1)
        )
        nodes = self(node_cols, node_rows)
        i, f = np.divmod((np.arange(height) + row - top + 0.5) / _STEP, 1.0)
        j, g = np.divmod((np.arange(width) + col - left + 0.5) / _STEP, 1.0)
        i, j, f, g = i.astype(int), j.astype(int), f[:, None], g[None, :]
        with np.errstate(invalid="ignore"):
            cols, rows = (_between(v, i, j, f, g) for v in nodes)
            places = Places(cols[0], rows[0], cols[1], cols[2], rows[1], rows[2])
        rough = _rough(nodes)[np.ix_(i // 2, j // 2)]
        if rough.any():
            at = np.nonzero(rough)
            exact = self.exact(col + at[1] + 0.5, row + at[0] + 0.5)
            for name in ("cols", "rows", "col_by_col", "col_by_row", "row_by_col", "row_by_row"):
                getattr(places, name)[at] = getattr(exact, name)
        return places


def _between(nodes, i, j, f, g) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear values between nodes, and their change for a step of one column and of one row."""
    one, two, three, four = (nodes[np.ix_(i + a, j + b)] for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)))
    above, below = one + g * (two - one), three + g * (four - three)
    by_col = ((1 - f) * (two - one) + f * (four - three)) / _STEP
    return above + f * (below - above), by_col, (below - above) / _STEP


def _rough(nodes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Cells of 2 x 2 steps over which places are not linear enough to interpolate."""
    smooth = []
    with np.errstate(invalid="ignore"):
        for v in nodes:
            along = abs(v[::2, 1::2] - 0.5 * (v[::2, :-1:2] + v[::2, 2::2])) < _SMOOTH
            down = abs(v[1::2, ::2] - 0.5 * (v[:-1:2, ::2] + v[2::2, ::2])) < _SMOOTH
            corners = v[:-1:2, :-1:2] + v[:-1:2, 2::2] + v[2::2, :-1:2] + v[2::2, 2::2]
            middle = abs(v[1::2, 1::2] - 0.25 * corners) < _SMOOTH
            smooth.append(along[:-1] & along[1:] & down[:, :-1] & down[:, 1:] & middle)
    return ~(smooth[0] & smooth[1])
