"""Two images brought to one grid: the before-image's. Only what both cover is scored."""

import copy
import dataclasses
from collections.abc import Callable
from typing import cast

import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.images.layout import check_display
from planetcd_jax.images.recoding import Recoding
from planetcd_jax.scenes import body
from planetcd_jax.scenes.grids import AnyGrid, BentGrid, ControlGrid, CorrectedGrid, Grid, comparable, pixel_grid
from planetcd_jax.scenes.pixel_map import PixelMap, lattice
from planetcd_jax.scenes.source import Source
from planetcd_jax.scenes.warp import Warped

# Grids that differ by less than this many pixels anywhere count as one.
_ONE_GRID = 0.05

# Points on each side of an image, and in each axis of its inside, that are looked at to find what two images share.
_ON_EDGES, _INSIDE = 513, 65

_Image = Source | Warped


@dataclasses.dataclass(frozen=True)
class Overlap:
    """The part of the before-image's grid that both images cover.

    Attributes:
        row, col: First row and column, in pixels of the before-image. Where that goes once round the body, the part
            may go on beyond its last column, to its first.
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


def _pixel_overlap(before: _Image, after: Source) -> Overlap:
    grids = before.grid, after.grid
    lacking = " and ".join(s.name for s in (before, after) if s.grid.crs is None)
    if (grids[0].height, grids[0].width) != (grids[1].height, grids[1].width):
        sizes = " and ".join(f"{g.height}x{g.width}" for g in grids)
        raise DataError(
            f"{lacking} has no coordinate reference system, and the images are {sizes} px; without one they must be "
            "of one size, pixel on pixel: add the reference system (gdal_edit.py -a_srs) or let them be registered "
            "(--register=auto)."
        )
    note = f"{lacking}: no coordinate reference system, so pixel (row, column) is compared with the same pixel"
    return Overlap(0, 0, grids[0].height, grids[0].width, "pixels", note)


def _points(grid) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of points all over an image, most of them on its edges."""
    cols, rows = (v.ravel() for v in lattice(0, 0, grid.height, grid.width, _INSIDE))
    along = np.linspace(0.0, 1.0, _ON_EDGES)
    at = [(along, 0.0), (along, 1.0), (0.0, along), (1.0, along)]
    edges = [np.broadcast_arrays(grid.width * np.asarray(c), grid.height * np.asarray(r)) for c, r in at]
    return np.concatenate([cols, *(c for c, _ in edges)]), np.concatenate([rows, *(r for _, r in edges)])


def _shared_points(here: AnyGrid, after: AnyGrid) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows, on the before-image's grid, of points that both images cover."""
    there, back = PixelMap(here, after), PixelMap(after, here)
    own, others = _points(here), back(*_points(after))
    on = there.inside(*there(*own)), back.inside(*others)
    cols, rows = (np.concatenate([one[on[0]], two[on[1]]]) for one, two in zip(own, others, strict=True))
    return cols, rows


def _box(cols: np.ndarray, rows: np.ndarray, before: _Image) -> tuple[int, int, int, int]:
    """Row, column, height and width of the whole pixels round points, cut to the before-image; sizes may be 0."""
    grid = before.grid
    if before.closed:
        cols = _cut_circle(cols % grid.width, grid.width)
    # A hair of tolerance, so that rounding does not bring in a row of no data.
    row, col = max(0, int(np.floor(rows.min() + 2e-3))), int(np.floor(cols.min() + 2e-3))
    last_row, last_col = min(grid.height, int(np.ceil(rows.max() - 2e-3))), int(np.ceil(cols.max() - 2e-3))
    if not before.closed:
        col, last_col = max(0, col), min(grid.width, last_col)
    return row, col, last_row - row, min(last_col - col, grid.width)


def _cut_circle(cols: np.ndarray, turn: int) -> np.ndarray:
    """Columns on a circle, those before the largest gap moved a turn on; all of the circle if there is no gap."""
    known = np.unique(cols)
    gaps = np.diff(np.append(known, known[0] + turn))
    widest = int(gaps.argmax())
    if gaps[widest] < 1.5 * turn / (_INSIDE - 1):
        return np.array([0.0, turn])
    start = known[(widest + 1) % known.size]
    return np.where(cols < start, cols + turn, cols)


def _whole_offset(pixel_map: PixelMap, after: Source, box: tuple[int, int, int, int]) -> tuple[int, int] | None:
    """Rows and columns from the before-image's pixels to the after-image's if they are whole all over; else None."""
    if not (pixel_map.source.is_affine and pixel_map.target.is_affine):
        return None
    cols, rows = lattice(*box)
    new_cols, new_rows = pixel_map(cols, rows)
    along, down = new_cols - cols, new_rows - rows
    if not (np.isfinite(along).all() and np.isfinite(down).all()):
        return None
    col, row = round(float(along[0, 0])), round(float(down[0, 0]))
    apart = along - col
    if after.closed:
        apart = (apart + 0.5 * after.grid.width) % after.grid.width - 0.5 * after.grid.width
    return (row, col) if np.maximum(abs(apart), abs(down - row)).max() < _ONE_GRID else None


@dataclasses.dataclass(frozen=True)
class Correction:
    """How the content of the after-image is moved before it is compared.

    Attributes:
        matrix: [3, 3], from pixels of the before-image to those of its grid at which the after-image shows the same
            ground (see `coregister`).
        bend: Local shifts of these, or None.
    """

    matrix: np.ndarray
    bend: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None


def _grids(before: _Image, after: Source, correction: Correction | None):
    """The two grids that a way leads between: by systems where both have one, by pixels elsewhere, and corrected."""
    here, there = before.grid, after.grid
    if not comparable(here, there):
        here, there = (pixel_grid(grid.height, grid.width) for grid in (here, there))
    if correction is not None:
        base = cast(Grid, here)
        if correction.bend is not None:
            base = BentGrid(base.height, base.width, base.transform, base.crs, correction.bend)
        here = CorrectedGrid(base, correction.matrix, base.height, base.width)
    return here, there


def _overlap_and_map(
    before: _Image, after: Source, correction: Correction | None = None
) -> tuple[Overlap, PixelMap | None, tuple[int, int]]:
    """The overlap, the way from the before-image's pixels to the after-image's, and the offset if it is whole."""
    systems = before.grid.crs, after.grid.crs
    if not comparable(before.grid, after.grid) and correction is None:
        return _pixel_overlap(before, after), None, (0, 0)
    if systems[0] is not None and systems[1] is not None:
        body.check_same_body(*systems, before.name, after.name)
    here, there = _grids(before, after, correction)
    try:
        cols, rows = _shared_points(here, there)
    except DataError as error:
        raise DataError(f"{after.name} cannot be brought to the grid of {before.name}: {error}") from None
    box = _box(cols, rows, before) if cols.size else (0, 0, 0, 0)
    if min(box[2:]) <= 0:
        raise DataError(f"{before.name} and {after.name} do not overlap; give two images of one place (see gdalinfo).")
    pixel_map = PixelMap(here, there).needing(*lattice(*box, _INSIDE))
    offset = _whole_offset(pixel_map, after, box)
    if offset is None:
        how, note = "warp", "the after-image is resampled to the before-image's grid"
    elif offset == (0, 0):
        how, note = "same grid", "both images lie on one grid"
    else:
        how = "offset"
        note = f"the after-image lies {-offset[0]} rows and {-offset[1]} columns into the before-image's grid"
    if systems == (None, None) and correction is None:
        note += "; neither names a reference system, and their coordinates are taken to be of one"
    if pixel_map.crossing.latitudes != 1.0:
        note += "; latitudes on a sphere are planetocentric, on an ellipsoid planetographic, and brought together so"
    return Overlap(*box, how, note), pixel_map, offset or (0, 0)


def find_overlap(before: Source, after: Source) -> Overlap:
    """The common part of two images as they lie, and how the after-image gets to the before-image's grid.

    Longitudes count as the circle that they are: 350 and -10 degrees are one place, however either image writes them.

    Raises:
        DataError: if they lie on different bodies, do not overlap, or lack a reference system and differ in size.
    """
    return _overlap_and_map(before, after)[0]


def on_affine_grid(before: Source, after: Source, resampling: str) -> _Image:
    """The first image, on an affine grid where control points place it.

    Raises:
        DataError: if control points place it and the second image has no reference system.
    """
    if not isinstance(before.grid, ControlGrid):
        return before
    if after.grid.crs is None:
        raise DataError(
            f"{before.name} is placed by control points, and {after.name} has no reference system, so they cannot "
            "be brought together; warp the first to a grid (gdalwarp), or give the second a system (gdal_edit.py "
            "-a_srs)."
        )
    return Warped(before, before.grid.as_affine(), resampling)


class AlignedPair:
    """Two images on one grid, read by windows. Rows and columns count from the corner of the overlap.

    Attributes:
        before, after: The two `Source`s; the first is a `Warped` one where control points place it.
        before_grid: The `Grid` of the whole before-image.
        overlap: Their `Overlap`.
        grid: The `Grid` of the overlap.
        after_shift: Rows and columns by which the content of the after-image lies further down and right, to undo a
            misregistration.
        recodings: How each band of the finer date is brought to the code of the other; none where neither is the other
            coded anew.
    """

    def __init__(
        self,
        before: Source,
        after: Source,
        *,
        resampling: str = "cubic",
        after_shift: tuple[int, int] = (0, 0),
        beyond_seam: int = 0,
        correction: Correction | None = None,
    ):
        """Finds the overlap.

        Args:
            before, after: The images.
            resampling: A key of `resampling.REACH`.
            after_shift: See `AlignedPair`.
            beyond_seam: Columns by which an overlap that goes once round the body goes on beyond its seam, so that
                windows lie across it: a window's side less the stride.
            correction: How the after-image lies beside where its grid says; None: as that says.

        Raises:
            DataError: as `find_overlap`; if the images are to be shown in unlike directions, or have different numbers
                of bands.
        """
        if len(before.bands) != len(after.bands):
            raise DataError(
                f"{before.name} has {len(before.bands)} band(s) and {after.name} has {len(after.bands)}; choose as "
                "many from each with --before_bands and --after_bands."
            )
        check_display((before.name, after.name), (before.display, after.display))
        self.before = on_affine_grid(before, after, resampling)
        after.order_like(before)
        self.before_grid = cast(Grid, self.before.grid)
        self.after, self.after_shift = after, after_shift
        self.recodings: tuple[Recoding, ...] = ()
        box, self._pixel_map, self._offset = _overlap_and_map(self.before, after, correction)
        notes = [box.note] + [f"{image.name}: {image.note}" for image in (self.before, after) if image.note]
        self.overlap = box = dataclasses.replace(box, note="; ".join(notes))
        if self.before.closed and box.width == self.before_grid.width:
            self.overlap = box = dataclasses.replace(box, width=box.width + beyond_seam)
        self.grid = self.before_grid.part(box.row, box.col, box.height, box.width)
        self._on_grid: _Image = after
        if box.how == "warp":
            part = box.row, box.col, box.height, box.width
            self._on_grid = Warped(after, self.before_grid, resampling, self._pixel_map, part)

    def over(self, box: Overlap) -> "AlignedPair":
        """The same pair, its rows and columns counted from the corner of another part of the before-image.

        What lies outside one of the images is read as not valid.
        """
        other = copy.copy(self)
        other.overlap = dataclasses.replace(self.overlap, row=box.row, col=box.col, height=box.height, width=box.width)
        other.grid = self.before_grid.part(box.row, box.col, box.height, box.width)
        return other

    @property
    def after_area(self) -> float:
        """Pixels of the after-image to one of the before-image in the middle of the overlap."""
        if self._pixel_map is None:
            return 1.0
        box = self.overlap
        middle = np.array([box.col + box.width / 2]), np.array([box.row + box.height / 2])
        p = self._pixel_map.exact(*middle)
        area = abs(p.col_by_col * p.row_by_row - p.col_by_row * p.row_by_col)
        return float(area[0]) if np.isfinite(area[0]) else 1.0

    def covered(self) -> np.ndarray:
        """[height, width] bool: pixels of the overlap that lie on both images (see `Warped.covers`).

        Where they lie, not whether they have data.
        """
        box = self.overlap
        shown = np.ones((box.height, box.width), bool)
        for image in (self.before, self._on_grid):
            if isinstance(image, Warped):
                shown &= image.covers(box.row, box.col, box.height, box.width)
        return shown

    def in_one_code(self, recodings: tuple[Recoding, ...]) -> "AlignedPair":
        """The same pair, the finer date read in the code of the other; of several bands, all by the same date."""
        other = copy.copy(self)
        other.recodings = recodings
        return other

    def said_of_codes(self) -> str:
        """What `in_one_code` did, in words."""
        names = self.before.name, self.after.name
        finer = self.recodings[0].finer
        return (
            f"{names[finer]} is {names[1 - finer]} coded anew (another stretch, gamma or depth), but for what changed, "
            "and is brought to its code; what their grey levels cannot tell is no difference"
        )

    def read_before(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [height, width, B] and mask [height, width] of the before-image."""
        found = self._stored_before(row, col, height, width)
        return self._recoded(0, found, self._stored_after, (row, col, height, width))

    def read_after(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [height, width, B] and mask [height, width] of the after-image on the before-image's grid."""
        found = self._stored_after(row, col, height, width)
        return self._recoded(1, found, self._stored_before, (row, col, height, width))

    def _recoded(self, date: int, found: tuple[np.ndarray, np.ndarray], read_other: Callable, place: tuple):
        if not self.recodings or self.recodings[0].finer != date:
            return found
        (pixels, valid), (other, known) = found, read_other(*place)
        new = [one(pixels[..., b], other[..., b], known) for b, one in enumerate(self.recodings)]
        return np.stack(new, axis=-1).astype(np.result_type(other, np.float32)), valid

    def _stored_before(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        return self.before.read(row + self.overlap.row, col + self.overlap.col, height, width)

    def _stored_after(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        row = row + self.overlap.row + self.after_shift[0] + self._offset[0]
        col = col + self.overlap.col + self.after_shift[1] + self._offset[1]
        return self._on_grid.read(row, col, height, width)
