"""Two images brought to one grid: the before-image's. Only what both cover is scored."""

import dataclasses

import numpy as np
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import body
from planetcd_jax.scenes.source import Grid, Source

RESAMPLINGS = ("nearest", "bilinear", "cubic", "lanczos")

# Grids that differ by less than this many pixels anywhere count as one.
_ONE_GRID = 0.05

# Most pixels of the after-image held at once for one warp; larger requests are split.
_WARP_PIXELS = 24_000_000


@dataclasses.dataclass(frozen=True)
class Overlap:
    """The part of the before-image's grid that both images cover.

    Attributes:
        row, col: First row and column, in pixels of the before-image.
        height, width: Size, pixels.
        how: "same grid", "offset" (whole pixels), "warp", or "pixels" (no reference system).
        note: What was done, in a sentence.
    """

    row: int
    col: int
    height: int
    width: int
    how: str
    note: str


def _whole_offset(before: Grid, after: Grid) -> tuple[int, int] | None:
    """Row and column of the after-image's corner if the two grids differ by whole pixels only; else None."""
    cols, rows = _lattice(0, 0, after.height, after.width, n=2)
    new_cols, new_rows = before.pixels(*after.coordinates(cols, rows))
    col, row = round(float(new_cols[0, 0])), round(float(new_rows[0, 0]))
    apart = np.maximum(abs(new_cols - cols - col), abs(new_rows - rows - row))
    return (row, col) if apart.max() < _ONE_GRID else None


def _to_pixels(points: tuple[np.ndarray, np.ndarray], source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows on one grid to columns and rows on another; infinite where there is no such place."""
    x, y = source.coordinates(*points)
    if not body.same_system(source.crs, target.crs):
        x, y = (np.asarray(v) for v in transform_points(source.crs, target.crs, x.ravel(), y.ravel()))
    cols, rows = target.pixels(x, y)
    return cols.reshape(points[0].shape), rows.reshape(points[1].shape)


def _lattice(row: float, col: float, height: float, width: float, n: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of n x n points over a rectangle, its edges included."""
    return tuple(np.meshgrid(np.linspace(col, col + width, n), np.linspace(row, row + height, n)))


def _clip(top: float, left: float, bottom: float, right: float, before: Grid) -> tuple[int, int, int, int]:
    """Row, column, height and width of a box of pixels, cut to the before-image; sizes may be 0 or less."""
    # A hair of tolerance, so that rounding does not bring in a row of no data.
    row, col = max(0, int(np.floor(top + 1e-6))), max(0, int(np.floor(left + 1e-6)))
    last_row = min(before.height, int(np.ceil(bottom - 1e-6)))
    last_col = min(before.width, int(np.ceil(right - 1e-6)))
    return row, col, last_row - row, last_col - col


def _pixel_overlap(before: Source, after: Source) -> Overlap:
    grids = before.grid, after.grid
    lacking = " and ".join(s.name for s in (before, after) if s.grid.crs is None)
    if (grids[0].height, grids[0].width) != (grids[1].height, grids[1].width):
        sizes = " and ".join(f"{g.height}x{g.width}" for g in grids)
        raise DataError(
            f"{lacking} has no coordinate reference system, and the images are {sizes} px; without one they must be "
            "of one size, pixel on pixel: add the reference system (gdal_edit.py -a_srs) or register them first."
        )
    note = f"{lacking}: no coordinate reference system, so pixel (row, column) is compared with the same pixel"
    return Overlap(0, 0, grids[0].height, grids[0].width, "pixels", note)


def find_overlap(before: Source, after: Source) -> Overlap:
    """The common part of two images, and how the after-image gets to the before-image's grid.

    Raises:
        DataError: if they lie on different bodies, do not overlap, or lack a reference system and differ in size.
    """
    if before.grid.crs is None or after.grid.crs is None:
        return _pixel_overlap(before, after)
    body.check_same_body(before.grid.crs, after.grid.crs, before.name, after.name)
    offset = None
    if body.same_system(before.grid.crs, after.grid.crs):
        offset = _whole_offset(before.grid, after.grid)
    if offset is not None:
        box = (offset[0], offset[1], offset[0] + after.grid.height, offset[1] + after.grid.width)
        how, note = ("same grid", "both images lie on one grid") if offset == (0, 0) else (
            "offset", f"the after-image lies {offset[0]} rows and {offset[1]} columns into the before-image's grid"
        )  # fmt: skip
    else:
        try:
            cols, rows = _to_pixels(_lattice(0, 0, after.grid.height, after.grid.width), after.grid, before.grid)
        except RasterioError as error:
            raise DataError(f"{after.name} cannot be brought to the grid of {before.name} ({error}).") from None
        known = np.isfinite(cols) & np.isfinite(rows)
        box = (rows[known].min(), cols[known].min(), rows[known].max(), cols[known].max()) if known.any() else (0,) * 4
        how, note = "warp", "the after-image is resampled to the before-image's grid"
    row, col, height, width = _clip(*box, before.grid)
    if height <= 0 or width <= 0:
        raise DataError(f"{before.name} and {after.name} do not overlap; give two images of one place (see gdalinfo).")
    return Overlap(row, col, height, width, how, note)


class AlignedPair:
    """Two images on one grid, read by windows. Rows and columns count from the corner of the overlap.

    Attributes:
        before, after: The two `Source`s.
        overlap: Their `Overlap`.
        grid: The `Grid` of the overlap.
        after_shift: Rows and columns by which the after-image is read further on, to undo a misregistration.
    """

    def __init__(
        self, before: Source, after: Source, *, resampling: str = "cubic", after_shift: tuple[int, int] = (0, 0)
    ):
        """Finds the overlap.

        Raises:
            DataError: as `find_overlap`, and if the images have different numbers of bands.
        """
        if len(before.bands) != len(after.bands):
            raise DataError(
                f"{before.name} has {len(before.bands)} band(s) and {after.name} has {len(after.bands)}; choose as "
                "many from each with --before_bands and --after_bands."
            )
        self.before, self.after = before, after
        self.overlap = find_overlap(before, after)
        self.after_shift = after_shift
        box = self.overlap
        self.grid = before.grid.part(box.row, box.col, box.height, box.width)
        self._resampling = Resampling[resampling]
        self._scale = self._sampling_ratio() if box.how == "warp" else (1.0, 1.0)
        self._offset = _whole_offset(before.grid, after.grid) if box.how == "offset" else (0, 0)

    def _sampling_ratio(self) -> tuple[float, float]:
        """Columns and rows of the before-image for each of the after-image, in the middle of the overlap.

        Measured once and given to every warp: GDAL would measure it for each window, and a pixel would depend on the
        window that it is read in.
        """
        box = self.overlap
        middle = (box.col + 0.5 * box.width, box.row + 0.5 * box.height)
        cols = np.array([middle[0], middle[0] + 1.0, middle[0]])
        rows = np.array([middle[1], middle[1], middle[1] + 1.0])
        c, r = _to_pixels((cols, rows), self.before.grid, self.after.grid)
        steps = np.hypot(c[1:] - c[0], r[1:] - r[0])
        return 1.0 / float(steps[0]), 1.0 / float(steps[1])

    def read_before(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [height, width, B] and mask [height, width] of the before-image."""
        return self.before.read(row + self.overlap.row, col + self.overlap.col, height, width)

    def read_after(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [height, width, B] and mask [height, width] of the after-image on the before-image's grid."""
        row = row + self.overlap.row + self.after_shift[0]
        col = col + self.overlap.col + self.after_shift[1]
        if self.overlap.how == "warp":
            return self._warp(row, col, height, width)
        return self.after.read(row - self._offset[0], col - self._offset[1], height, width)

    def _warp(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.zeros((height, width, len(self.after.bands)), np.float32)
        valid = np.zeros((height, width), bool)
        cols, rows = _to_pixels(_lattice(row, col, height, width), self.before.grid, self.after.grid)
        known = np.isfinite(cols) & np.isfinite(rows)
        if not known.any():
            return pixels, valid
        # The kernel reaches 3 pixels of the coarser grid; the lattice may miss a little of a curved edge.
        reach = [4 + int(4 / s) + int(0.02 * size / s) for s, size in zip(self._scale, (width, height), strict=True)]
        left, right = max(0, int(cols[known].min()) - reach[0]), int(cols[known].max()) + reach[0] + 1
        top, bottom = max(0, int(rows[known].min()) - reach[1]), int(rows[known].max()) + reach[1] + 1
        right, bottom = min(right, self.after.grid.width), min(bottom, self.after.grid.height)
        if left >= right or top >= bottom:
            return pixels, valid
        if (right - left) * (bottom - top) > _WARP_PIXELS and max(height, width) > 64:
            return self._warp_in_halves(row, col, height, width)
        source, good = self.after.read(top, left, bottom - top, right - left)
        source[~good] = np.nan
        warped = self._resample(
            source, self.after.grid.part(top, left, bottom - top, right - left), row, col, height, width
        )
        valid = np.isfinite(warped).all(axis=0)
        return np.where(valid[..., None], np.moveaxis(warped, 0, -1), 0.0).astype(np.float32), valid

    def _resample(self, source: np.ndarray, grid: Grid, row: int, col: int, height: int, width: int) -> np.ndarray:
        """Pixels [h, w, B] on a grid to [B, height, width] on the before-image's; NaN is no data in both."""
        bands = source.shape[-1]
        profile = {
            "driver": "GTiff", "dtype": "float32", "count": bands, "height": grid.height, "width": grid.width,
            "crs": self.before.grid.crs if self._one_system() else grid.crs, "transform": grid.transform,
            "nodata": np.nan,
        }  # fmt: skip
        with MemoryFile() as memory:
            with memory.open(**profile) as out:
                out.write(np.ascontiguousarray(np.moveaxis(source, -1, 0)))
            with (
                memory.open() as image,
                WarpedVRT(
                    image,
                    crs=self.before.grid.crs,
                    transform=self.before.grid.part(row, col, height, width).transform,
                    height=height,
                    width=width,
                    nodata=np.nan,
                    resampling=self._resampling,
                    tolerance=1e-6,  # pixels; the default, 0.125, bends lines differently in each window, and 0 fails
                    XSCALE=self._scale[0],
                    YSCALE=self._scale[1],
                ) as warped,
            ):
                return warped.read()

    def _one_system(self) -> bool:
        return body.same_system(self.before.grid.crs, self.after.grid.crs)

    def _warp_in_halves(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        axis = 0 if height >= width else 1
        first = (height if axis == 0 else width) // 2
        if axis == 0:
            parts = self._warp(row, col, first, width), self._warp(row + first, col, height - first, width)
        else:
            parts = self._warp(row, col, height, first), self._warp(row, col + first, height, width - first)
        pixels, valid = zip(*parts, strict=True)
        return np.concatenate(pixels, axis=axis), np.concatenate(valid, axis=axis)
