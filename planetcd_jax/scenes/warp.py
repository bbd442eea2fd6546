"""An image seen on another grid, read by windows as if it lay there."""

from typing import cast

import numpy as np

from planetcd_jax.scenes import resampling
from planetcd_jax.scenes.grids import AnyGrid, Grid
from planetcd_jax.scenes.pixel_map import PixelMap, Places, lattice
from planetcd_jax.scenes.source import Source

# Most pixels of the image that are held at once; larger requests are split.
_PIXELS = 24_000_000

# Just within the middle of an image's outermost pixels.
_MIDDLE = 0.5 - 1e-3


class Warped:
    """An image on another grid, with the reads and the facts of a `Source`.

    Attributes:
        grid: The `Grid` that it is seen on.
        name, bands, nodata_rule, note: As the image's own.
    """

    closed = False

    def __init__(self, source: Source, grid: AnyGrid, kernel: str, pixel_map: PixelMap | None = None, box=None):
        """Prepares the reads.

        Args:
            source: The image.
            grid: Where it is to be seen; its system may be another one.
            kernel: "nearest", "bilinear", "cubic" or "lanczos".
            pixel_map: From `grid` to the image; None: a new one.
            box: Row, column, height and width of the part that is read, for how much is averaged before; None: all.
        """
        self.source, self.grid = source, grid
        self.name, self.bands, self.nodata_rule, self.note = source.name, source.bands, source.nodata_rule, source.note
        self._kernel = kernel
        points = lattice(*(box or (0, 0, grid.height, grid.width)))
        self._map = pixel_map or PixelMap(grid, source.grid).needing(*points)
        self._factors = (1, 1) if kernel == "nearest" else self._whole_reduction(*points)

    def _whole_reduction(self, cols: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
        """Rows and columns of the image that may be averaged to one beforehand: half of what a new pixel covers."""
        p = self._map.exact(cols, rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = abs(p.col_by_col * p.row_by_row - p.col_by_row * p.row_by_col)
            sides = np.hypot(p.col_by_row, p.col_by_col) / area, np.hypot(p.row_by_row, p.row_by_col) / area
            on = np.isfinite(sides[0]) & np.isfinite(sides[1]) & self._map.inside(p.cols, p.rows)
        if not on.any():
            return 1, 1
        factors = [max(1, int(0.5 / side[on].max() + 1e-6)) for side in sides]  # of rows, of columns
        if self.source.closed:
            while self.source.grid.width % factors[1]:
                factors[1] -= 1
        return factors[0], factors[1]

    def read(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [height, width, B] and mask [height, width], as `Source.read`; the type is the image's own."""
        places = self._map.over(row, col, height, width)
        known = np.isfinite(places.cols) & np.isfinite(places.rows) & self._near(places)
        if not known.any():
            return self._nothing(height, width)
        if self.source.closed:
            places.cols[...] = _in_one_piece(places.cols, known, self.source.grid.width)
        places.cols[~known] = np.inf
        block = self._block(places, known)
        if block[2] * block[3] > _PIXELS and max(height, width) > 16:
            return self._read_halves(row, col, height, width)
        pixels, valid = self._read_reduced_block(*block)
        down, along = self._factors
        here = Places(
            places.cols / along - block[1], places.rows / down - block[0], places.col_by_col / along,
            places.col_by_row / along, places.row_by_col / down, places.row_by_row / down,
        )  # fmt: skip
        return resampling.resample(pixels, valid, here, self._kernel)

    def covers(self, row: int, col: int, height: int, width: int) -> np.ndarray:
        """[height, width] bool: which pixels have their middle within those of the image's outermost pixels."""
        places, grid = self._map.over(row, col, height, width), self.source.grid
        with np.errstate(invalid="ignore"):
            on = (places.rows > _MIDDLE) & (places.rows < grid.height - _MIDDLE) & np.isfinite(places.cols)
            return on if self.source.closed else on & (places.cols > _MIDDLE) & (places.cols < grid.width - _MIDDLE)

    def _near(self, places: Places) -> np.ndarray:
        """Which places lie on the image; a closed image goes on without end."""
        grid = self.source.grid
        with np.errstate(invalid="ignore"):
            near = (places.rows > -1) & (places.rows < grid.height + 1)
            return near if self.source.closed else near & (places.cols > -1) & (places.cols < grid.width + 1)

    def _nothing(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((height, width, len(self.bands)), self.source.exact), np.zeros((height, width), bool)

    def _block(self, places: Places, known: np.ndarray) -> tuple[int, int, int, int]:
        """Row, column, height and width of what the places need, in pixels of the reduced image."""
        with np.errstate(invalid="ignore", over="ignore"):
            wide, high = (np.nan_to_num(side[known]) for side in resampling.extent(places))
        cols, rows = places.cols[known], places.rows[known]
        down, along = self._factors
        reach = resampling.REACH[self._kernel] + 1
        limit = self.source.grid.width, self.source.grid.height
        left, right = (np.clip(cols + sign * wide, -limit[0], 2 * limit[0]) / along for sign in (-1, 1))
        top, bottom = (np.clip(rows + sign * high, 0, limit[1]) / down for sign in (-1, 1))
        row, col = int(top.min()) - reach, int(np.floor(left.min())) - reach
        return row, col, int(bottom.max()) + reach + 1 - row, int(right.max()) + reach + 1 - col

    def _read_reduced_block(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """A block of the reduced image: means of the valid pixels of each, where at least half of them are valid."""
        down, along = self._factors
        if (down, along) == (1, 1):
            return self.source.read(row, col, height, width)
        pixels, valid = self._nothing(height, width)
        lines = max(1, _PIXELS // (4 * down * along * width))
        for first in range(0, height, lines):
            n = min(lines, height - first)
            big, good = self.source.read((row + first) * down, col * along, n * down, width * along)
            shape = n, down, width, along
            count = good.reshape(shape).sum(axis=(1, 3))
            total = big.reshape(*shape, -1).sum(axis=(1, 3), dtype=np.float64)  # 0 where not valid
            valid[first : first + n] = 2 * count >= down * along
            pixels[first : first + n] = total / np.maximum(count, 1)[..., None]
        pixels[~valid] = 0
        return pixels, valid

    def _read_halves(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        axis = 0 if height >= width else 1
        first = (height, width)[axis] // 2
        if axis == 0:
            parts = self.read(row, col, first, width), self.read(row + first, col, height - first, width)
        else:
            parts = self.read(row, col, height, first), self.read(row, col + first, height, width - first)
        pixels, valid = zip(*parts, strict=True)
        return np.concatenate(pixels, axis=axis), np.concatenate(valid, axis=axis)

    def read_reduced(self, row: int, col: int, height: int, width: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        """A window reduced to at most `most` pixels a side, for display; as `Source.read_reduced`."""
        shrink = max(1.0, max(height, width) / most)
        shape = max(1, round(height / shrink)), max(1, round(width / shrink))
        return Warped(self.source, cast(Grid, self.grid).resized(row, col, height, width, shape), self._kernel).read(
            0, 0, *shape
        )

    def describe(self) -> dict:
        """As `Source.describe`."""
        return self.source.describe()

    def close(self) -> None:
        """Closes the file."""
        self.source.close()


def _in_one_piece(cols: np.ndarray, known: np.ndarray, turn: int) -> np.ndarray:
    """Columns on a circle, moved by whole turns so that they begin after the largest gap between them."""
    with np.errstate(invalid="ignore"):
        cols = cols % turn
    bins = 256
    used = np.bincount((cols[known] * (bins / turn)).astype(int) % bins, minlength=bins) > 0
    if used.all():
        return cols
    filled = np.nonzero(used)[0]
    gaps = np.diff(np.append(filled, filled[0] + bins))
    start = filled[(int(gaps.argmax()) + 1) % filled.size] * (turn / bins)
    with np.errstate(invalid="ignore"):
        return np.where(cols < start - 1e-6, cols + turn, cols)
