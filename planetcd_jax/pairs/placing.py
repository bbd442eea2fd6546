"""Two files of one pair brought onto the ground that both show, by what the files say of where they lie.

Images without a place, or on one grid, are compared pixel by pixel. Where the grids differ, the way is that of a scene
(`scenes.alignment`): the after-image is cut or resampled to the before-image's grid.
"""

import pathlib
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.images.layout import gives_places
from planetcd_jax.images.reading import Image, as_image, open_image
from planetcd_jax.words import counted

if TYPE_CHECKING:
    from planetcd_jax.scenes.alignment import AlignedPair

PLACEMENTS = ("auto", "pixels")
"""By the files' grids where both have one, or always pixel on pixel."""

_SAME = 1e-3
"""Grids whose corners lie closer than this, pixels, are one."""


class _Place(NamedTuple):
    """What a file's header says of where it lies; compared, not used."""

    shape: tuple[int, int]
    crs: Any
    corners: tuple[tuple[float, float], ...] | None
    points: Any
    rpcs: Any
    pixel: float

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return self.corners is not None or bool(self.points) or self.rpcs is not None


def _place(path: pathlib.Path) -> _Place:
    with warnings.catch_warnings(), open_image(path) as file:
        warnings.simplefilter("ignore")
        t, (points, system) = file.transform, file.gcps
        has_grid = gives_places(t)
        ends = ((0, 0), (file.width, 0), (0, file.height), (file.width, file.height))
        return _Place(
            (file.height, file.width),
            system or file.crs if points else file.crs,
            tuple((t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f) for c, r in ends) if has_grid else None,
            None if has_grid or len(points) < 3 else [(p.row, p.col, p.x, p.y) for p in points],
            None if has_grid or len(points) > 2 or file.rpcs is None else file.rpcs.to_dict(),
            abs(t.determinant) ** 0.5,
        )


def differ(before: pathlib.Path, after: pathlib.Path) -> bool:
    """Whether both files say where they lie, and not on one grid.

    Raises:
        BadPairError: if one of them cannot be opened.
    """
    one, other = _place(before), _place(after)
    if not (one.known and other.known):
        return False
    unlike = one.crs != other.crs and one.crs is not None and other.crs is not None
    if one.shape != other.shape or unlike or (one.corners is None) != (other.corners is None):
        return True
    if one.corners is not None and other.corners is not None:
        return bool(np.abs(np.subtract(one.corners, other.corners)).max() > _SAME * one.pixel)
    return one.points != other.points or one.rpcs != other.rpcs


@contextmanager
def _aligned(before: pathlib.Path, after: pathlib.Path, grey: bool, **masking: Any) -> "Iterator[AlignedPair]":
    with brought_by("scene"):
        from planetcd_jax.scenes.agreement import agree_on_system
        from planetcd_jax.scenes.alignment import AlignedPair
        from planetcd_jax.scenes.source import Source
    try:
        with closing(Source(str(before), **masking)) as one, closing(Source(str(after), **masking)) as other:
            if len(one.bands) != len(other.bands):
                advice = "" if grey else ", or take the mean of the bands with --grey"
                raise BadPairError(
                    f"{before} has {counted(len(one.bands), 'band')} and {after} has {len(other.bands)}; give both "
                    f"dates the same bands{advice}."
                )
            agree_on_system(one, other)
            pair = AlignedPair(one, other)
            if pair.overlap.how == "pixels":
                raise BadPairError(
                    f"{before} and {after} say where they lie, and one of them in no reference system; add it "
                    "(gdal_edit.py -a_srs), or compare pixel on pixel with --placement=pixels."
                )
            yield pair
    except BadPairError:
        raise
    except DataError as error:
        raise BadPairError(str(error)) from error


def _window(pair: "AlignedPair") -> tuple[int, int, int, int]:
    """Row, column, height and width of the ground to compare: all of the overlap, or the largest rectangle on both."""
    box = pair.overlap
    if box.how != "warp":
        return 0, 0, box.height, box.width
    found = largest_rectangle(pair.covered())
    if found is None:
        raise BadPairError(
            f"{pair.before.name} and {pair.after.name} share no more than an edge; give two images of one place."
        )
    return found


def largest_rectangle(covered: np.ndarray, most: int = 128) -> tuple[int, int, int, int] | None:
    """Row, column, height and width of the largest rectangle of True; None if there is none.

    Args:
        covered: [H, W] bool.
        most: Larger arrays are looked at in whole cells, so many a side: the rectangle may be a cell too small then.
    """
    step = -(-max(covered.shape) // most)
    rows, cols = (-(-n // step) for n in covered.shape)
    padded = np.ones((rows * step, cols * step), bool)
    padded[: covered.shape[0], : covered.shape[1]] = covered
    cells = np.asarray(padded.reshape(rows, step, cols, step).all(axis=(1, 3)))
    best, area = None, 0
    for top in range(rows):
        for bottom in range(rows, top, -1):
            if (bottom - top) * cols <= area:
                break
            first, length = _longest_run(np.asarray(cells[top:bottom].all(axis=0)))
            if (bottom - top) * length > area:
                best, area = (top, first, bottom - top, length), (bottom - top) * length
    if best is None:
        return None
    row, col, height, width = (step * n for n in best)
    return row, col, min(height, covered.shape[0] - row), min(width, covered.shape[1] - col)


def _longest_run(shown: np.ndarray) -> tuple[int, int]:
    """First position and length of the longest run of True in [N] bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shown.astype(np.int8), [0]])))
    if not edges.size:
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(edges[2 * longest]), int(lengths[longest])


def shape(before: pathlib.Path, after: pathlib.Path) -> tuple[int, int]:
    """(H, W) of the ground that two files on different grids share, on the grid of the first.

    Raises:
        BadPairError: as `read`.
    """
    with _aligned(before, after, True) as pair:
        return _window(pair)[2:]


def read(
    before: pathlib.Path, after: pathlib.Path, *, grey: bool, nodata: float | str | None, mask_bands: str
) -> tuple[Image, Image, str]:
    """Both dates on the grid of the first, and what was done, in words.

    Args:
        before, after: Files for which `differ` holds.
        grey, nodata, mask_bands: As for `images.reading.read_image`.

    Returns:
        Two images of one shape, of the ground that both show, and "offset", "warp" or "same grid".

    Raises:
        BadPairError: if the two lie on different bodies, do not overlap, or cannot be brought to one grid.
        MissingExtraError: if pyproj is not installed.
    """
    asked = "auto" if nodata is None else str(nodata)
    with _aligned(before, after, grey, nodata=asked, mask_bands=mask_bands) as pair:
        window = _window(pair)
        images = []
        for path, look in ((before, pair.read_before), (after, pair.read_after)):
            pixels, valid = look(*window)
            images.append(as_image(path, np.moveaxis(pixels, -1, 0), valid, grey))
        return images[0], images[1], pair.overlap.how
