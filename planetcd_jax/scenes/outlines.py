"""Changed ground of a scene: tile by tile, around the windows above tau only, each change once and with its outline.

Pixels are counted in the overlap of the two images, (0, 0) its first one, unless said otherwise.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import rasterio.features
import scipy.ndimage
import scipy.sparse.csgraph
import shapely

from planetcd_jax.config import ChangeConfig
from planetcd_jax.files.compilations import announcing
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.scores.pixel_level import PixelChange
from planetcd_jax.types import Array, Params

# Side of the ground of a tile, pixels.
_TILE = 256

# Ground around a tile that is compared with it, pixels: registration needs some, and changes on an edge are seen whole.
_MARGIN = 96

# Parts of changed ground that are no further apart than twice this, pixels, are one change: a block and its shadow.
_JOIN = 3

# A small part is joined to a change that is no further away than this, pixels, such as a ray to its impact.
_JOINED_WITHIN = 8.0

# The change must have at least this many times its area.
_AREA_RATIO = 20.0

# Standard deviation of the window in which evidence that peaks at rims is averaged, pixels.
_AVERAGED = 8.0


@dataclasses.dataclass(frozen=True)
class Change:
    """One change on the ground.

    Attributes:
        outline: Polygon around the changed ground; x columns, y rows.
        row, col: Pixel of its centre: of the evidence over its ground, which on a large change peaks at the rim.
        size: Highest evidence, as in `PixelChange.size`.
        level: What chance stays below.
        lightening: Mean of the standardised difference of brightness over the changed ground.
    """

    outline: shapely.Polygon
    row: int
    col: int
    size: float
    level: float
    lightening: float


@functools.lru_cache(maxsize=8)  # a process that scores many scenes compiles once
def _maps_program(config: ChangeConfig, outlines_only: bool) -> Callable[..., Any]:
    def maps(key: jax.Array, params: Params, before: Array, after: Array, valid: Array) -> PixelChange:
        network = prepared(config.backbone, params)
        ask = config.score.changed_ground if outlines_only else config.score.pixel_change
        return ask(key, network, before, after, valid)

    return announcing(maps, "changed ground" if outlines_only else "pixel maps")


def change_finder(scene: Scene, *, outlines_only: bool = False):
    """A compiled function of a key and a box (row, column, height, width): its `PixelChange` as NumPy arrays.

    With `outlines_only` the level of ground without any change may be a lower one (`Score.changed_ground`).
    """
    pair, samples = scene.pair, scene.samples
    config, params = scene.scorer()
    see = _maps_program(config, outlines_only)

    def look(key: jax.Array, row: int, col: int, height: int, width: int, shift: tuple[int, int] = (0, 0)):
        before, here = pair.read_before(row, col, height, width)
        after, there = pair.read_after(row + shift[0], col + shift[1], height, width)
        if not (here & there).any():
            zero: Any = np.zeros((height, width), np.float32)
            return PixelChange(zero, zero.max() + np.inf, zero > 0, zero, zero > 0)
        dates = samples.before(before).astype(np.float32), samples.after(after).astype(np.float32)
        found = see(key, params, *map(np.nan_to_num, dates), here & there)
        return jax.tree.map(np.asarray, found)

    return look


def tiles(corners: np.ndarray, window: int) -> list[tuple[int, int]]:
    """Tiles, counted in rows and columns, whose ground some of the windows see; corners: [K, 2]."""
    cells: set[tuple[int, int]] = set()
    for row, col in corners.tolist():
        rows, cols = (range(n // _TILE, (n + window - 1) // _TILE + 1) for n in (row, col))
        cells.update((r, c) for r in rows for c in cols)
    return sorted(cells)


def parts(found: PixelChange, row: int, col: int) -> Iterator[Change]:
    """The changes of one map whose first pixel is (row, col)."""
    disc = np.hypot(*np.mgrid[-_JOIN : _JOIN + 1, -_JOIN : _JOIN + 1]) <= _JOIN
    padded = np.pad(found.changed, _JOIN)
    joined = scipy.ndimage.binary_closing(padded, disc)[_JOIN:-_JOIN, _JOIN:-_JOIN] if padded.any() else found.changed
    label, _ = scipy.ndimage.label(joined)  # pyright: ignore[reportGeneralTypeIssues]
    for number, box in enumerate(scipy.ndimage.find_objects(label), start=1):
        mask = label[box] == number
        yield _change(mask, found, box, (row, col))


def _change(mask: np.ndarray, found: PixelChange, box: tuple[slice, slice], corner: tuple[int, int]) -> Change:
    size = np.where(mask, found.size[box], 0)
    weight = np.square(size) + np.where(mask, 1e-6, 0)
    middle = [round(float((weight * at).sum() / weight.sum())) for at in np.indices(mask.shape)]
    if not mask[tuple(middle)]:  # outside a bent one
        middle = [int(n) for n in np.unravel_index(int(size.argmax()), size.shape)]
    first = [part.start + n for part, n in zip(box, corner, strict=True)]
    return Change(
        polygon(mask, first[0], first[1]),
        first[0] + middle[0],
        first[1] + middle[1],
        float(size.max()),
        float(found.level),
        float(found.signed[box][mask].mean()),
    )


def polygon(mask: np.ndarray, row: int, col: int) -> shapely.Polygon:
    """Outline of connected ground [h, w] bool whose first pixel is (row, col): its outer border, x columns, y rows."""
    borders = rasterio.features.shapes(mask.astype(np.uint8), mask=mask)
    rings = [shapely.Polygon(np.array(border["coordinates"][0]) + np.array([col, row])) for border, _ in borders]
    return max(rings, key=lambda ring: ring.area)


def rasterised(outline: shapely.Polygon, shape: tuple[int, ...], corner: tuple[int, int]) -> np.ndarray:
    """The ground inside an outline on an array whose first pixel is (row, column) `corner`; `shape` bool."""
    moved_to = rasterio.Affine.translation(corner[1], corner[0])
    return np.asarray(rasterio.features.rasterize([outline], shape, transform=moved_to, dtype="uint8")) > 0


def averaged_around(found: PixelChange) -> PixelChange:
    """A map whose size is the root mean square within about `_AVERAGED` pixels: the inside of a change with its rim."""
    weight = scipy.ndimage.gaussian_filter(found.known.astype(np.float32), _AVERAGED) + 1e-3
    energy = scipy.ndimage.gaussian_filter(np.where(found.known, np.square(found.size), 0), _AVERAGED) / weight
    return found._replace(size=np.sqrt(energy))


def around_peak(found: PixelChange, inside: tuple[slice, slice], row: int, col: int) -> Change | None:
    """Ground around the highest evidence of a part of a map, where nothing there exceeds the level.

    Args:
        found: Of a map whose first pixel is (row, col).
        inside: Rows and columns that the peak is looked for in.
        row, col: See `found`.

    Returns:
        None where nothing is compared. The outline holds what is above half the peak and connected with it.
    """
    size = np.zeros_like(found.size)
    size[inside] = np.where(found.known, found.size, 0)[inside]
    peak = np.unravel_index(int(size.argmax()), size.shape)
    if not size[peak] > 0:
        return None
    usual = float(np.median(found.size[found.known]))
    label, _ = scipy.ndimage.label(found.size >= (size[peak] + usual) / 2)  # pyright: ignore[reportGeneralTypeIssues]
    mask = label == label[peak]
    mask = mask if mask[peak] and label[peak] else np.zeros_like(mask)
    mask[peak] = True
    box = scipy.ndimage.find_objects(mask.astype(int))[0]
    return _change(mask[box], found, box, (row, col))


def find_changes(
    key: jax.Array, scene: Scene, corners: np.ndarray, progress: Callable[[int], Any] = lambda _: None
) -> list[Change]:
    """The changes in the ground that windows above tau see.

    Each tile is looked at by itself, so memory does not grow with the scene. What two tiles see of one change is put
    together.

    Args:
        key: Key of the run.
        scene: As scored.
        corners: First row and column of each window above tau, [K, 2].
        progress: Called with 1 for each tile.

    Returns:
        Those that lie in such a window, in no order.
    """
    look, window = change_finder(scene, outlines_only=True), scene.plan.window
    side, found = _TILE + 2 * _MARGIN, []
    boxes = shapely.box(corners[:, 1], corners[:, 0], corners[:, 1] + window, corners[:, 0] + window)
    seen = shapely.STRtree(boxes)
    for number, (r, c) in enumerate(tiles(corners, window)):
        top, left = r * _TILE - _MARGIN, c * _TILE - _MARGIN
        maps = look(jax.random.fold_in(key, number), top, left, side, side)
        core = shapely.box(c * _TILE, r * _TILE, (c + 1) * _TILE, (r + 1) * _TILE)
        here = [x for x in parts(maps, top, left) if x.outline.intersects(core)]
        found += [x for x in here if len(seen.query(x.outline, "intersects"))]
        progress(1)
    return put_together(found)


def moved(change: Change, rows: int, cols: int) -> Change:
    """The change, its pixels counted from elsewhere."""
    outline = shapely.transform(change.outline, lambda xy: xy + np.array([cols, rows]))
    return dataclasses.replace(change, outline=outline, row=change.row + rows, col=change.col + cols)


def put_together(found: Sequence[Change]) -> list[Change]:
    """Changes whose outlines overlap as one, with the peak of the highest."""
    if not found:
        return []
    outlines = np.array([x.outline for x in found])
    first, second = shapely.STRtree(outlines).query(outlines, "intersects")
    graph = scipy.sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(found),) * 2)
    count, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    made = []
    for number in range(count):
        own = [found[i] for i in np.nonzero(group == number)[0].tolist()]
        best = max(own, key=lambda x: x.size)
        whole = shapely.union_all([x.outline for x in own])
        if not isinstance(whole, shapely.Polygon):  # they touch in a point
            whole = whole.buffer(0.5)
        made.append(dataclasses.replace(best, outline=shapely.Polygon(whole.exterior)))
    return _without_satellites(made)


def _without_satellites(found: list[Change]) -> list[Change]:
    """The changes without those that lie within, or at the edge of, one of `_AREA_RATIO` times their area."""
    around = [x.outline.convex_hull.buffer(_JOINED_WITHIN) for x in found]
    return [
        x for x in found
        if not any(
            _AREA_RATIO * x.outline.area < y.outline.area and hull.contains(x.outline)
            for y, hull in zip(found, around, strict=True)
        )
    ]  # fmt: skip
