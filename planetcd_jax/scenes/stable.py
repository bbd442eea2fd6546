"""Ground that the user marks as unchanged: a vector file, and the windows that lie wholly inside it."""

import pathlib

import geopandas
import numpy as np
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import body
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.longitudes import ALL_TURNS, Crossing, short_way
from planetcd_jax.scenes.scoring import Plan, map_shape

LEAST_WINDOWS = 20
"""Fewer windows than this make no threshold for a rate of 5 %."""


def inside(path: str, pair: AlignedPair, plan: Plan, shape: tuple[int, int]) -> np.ndarray:
    """Windows of a score map that lie wholly within the marked ground.

    Windows are brought to the polygons' system, where edges are straight as they were drawn, and to any whole turn in
    longitude: -170 and 190 degrees are one place.

    Args:
        path: Any vector file that GDAL reads, of polygons.
        pair, plan: As scored.
        shape: R, S of the score map.

    Returns:
        [R, S] bool.

    Raises:
        DataError: if the file cannot be read, holds no polygon, or lies on another body.
    """
    ground, crossing = _ground(path, pair)
    rows, cols = (np.arange(n) * plan.stride + first for n, first in zip(shape, _corner(pair), strict=True))
    found = np.zeros(shape, bool)
    for k, row in enumerate(rows):
        along = cols[:, None] + plan.window * _RING[:, 0]
        down = np.broadcast_to(row + plan.window * _RING[:, 1], along.shape)
        x, y = pair.before.grid.coordinates(along, down)
        found[k] = _within(ground, x, y, crossing)
    return found


# A square's outline, a hair inside it, with points along the sides since these may be curves in another system.
_RING = 0.5 + (0.5 - 1e-6) * np.array(
    [(t, -1.0) for t in (-1.0, -0.5, 0.0, 0.5)] + [(1.0, t) for t in (-1.0, -0.5, 0.0, 0.5)]
    + [(-t, 1.0) for t in (-1.0, -0.5, 0.0, 0.5)] + [(-1.0, -t) for t in (-1.0, -0.5, 0.0, 0.5)]
)  # fmt: skip


def _corner(pair: AlignedPair) -> tuple[int, int]:
    return pair.overlap.row, pair.overlap.col


def _within(ground: BaseGeometry, x: np.ndarray, y: np.ndarray, crossing: Crossing | None) -> np.ndarray:
    """Which outlines [N, P] of points in the scene's system lie within the ground, whatever turn they are read at."""
    if crossing is None or crossing.same:
        found = _contained(ground, x, y)
    else:
        found = np.zeros(len(x), bool)
    if crossing is None or not crossing.circular:
        return found
    lon, lat = crossing.degrees(x, y)
    with np.errstate(invalid="ignore"):  # off the body, as the corners of a picture of its whole disc
        lon = lon[:, :1] + short_way(lon - lon[:, :1])
    for turn in ALL_TURNS:
        found |= _contained(ground, *crossing.from_degrees(lon + 360.0 * turn, lat))
    return found


def _contained(ground: BaseGeometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    left, low, right, high = ground.bounds
    with np.errstate(invalid="ignore"):
        near = ((x >= left) & (x <= right) & (y >= low) & (y <= high)).all(axis=1)
    found = np.zeros(len(x), bool)
    if near.any():
        found[near] = shapely.contains(ground, shapely.polygons(np.stack([x[near], y[near]], axis=-1)))
    return found


def _ground(path: str, pair: AlignedPair) -> tuple[BaseGeometry, Crossing | None]:
    """The union of the marked polygons, and the way from the scene's system to theirs; None where either has none."""
    if not pathlib.Path(path).exists():
        raise DataError(f"{path} does not exist; --stable_ground names a vector file of polygons.")
    try:
        marked = geopandas.read_file(path)
    except (DataSourceError, DataLayerError) as error:
        raise DataError(
            f"{path} cannot be read as polygons ({str(error).splitlines()[0]}); give a GeoPackage."
        ) from None
    marked = marked[marked.geometry.notna() & marked.geom_type.isin(("Polygon", "MultiPolygon"))]
    if marked.empty:
        raise DataError(f"{path} holds no polygon; --stable_ground needs the outlines of unchanged ground.")
    ground = shapely.union_all(shapely.make_valid(np.asarray(marked.geometry)))
    crossing, crs = None, pair.before.grid.crs
    if crs is not None and marked.crs is not None:
        own = CRS.from_wkt(marked.crs.to_wkt())
        _check_body(path, own, crs)
        system, sign = body.eastward(own)
        if sign == -1:  # drawn in a system that counts to the west
            own, ground = CRS.from_wkt(system.to_wkt()), shapely.transform(ground, lambda xy: xy * (-1.0, 1.0))
        try:
            crossing = Crossing(crs, own)
        except DataError as error:
            raise DataError(f"{path} cannot be brought to the scene's reference system: {error}") from None
        ground = _joined_at_the_seam(ground, crossing)
    shapely.prepare(ground)
    return ground, crossing


def _joined_at_the_seam(ground: BaseGeometry, crossing: Crossing) -> BaseGeometry:
    """Polygons that reach from one edge of a map to the other, and the same a turn on, made one where they touch."""
    turn = crossing.length_of_a_turn()
    if turn is None or ground.bounds[2] - ground.bounds[0] < 0.9 * turn:
        return ground
    on = shapely.transform(ground, lambda xy: xy + np.array([turn, 0.0]))
    return shapely.union_all([ground, on], grid_size=1e-10 * turn)


def _check_body(path: str, own: CRS, scene: CRS) -> None:
    if body.is_same_body(own, scene):
        return
    names = [body.body_name(crs) or f"a body of {body.radius(crs) / 1000:.1f} km" for crs in (own, scene)]
    raise DataError(
        f"{path} lies on another body ({names[0]}) than the scene ({names[1]}); save it as a GeoPackage in the scene's "
        "reference system (GeoJSON knows no planet but Earth)."
    )


def check(path: str, pair: AlignedPair, plan: Plan) -> None:
    """Raises DataError if marked ground cannot be used, as `scores` would after the scene is scored."""
    _check_count(path, int(inside(path, pair, plan, map_shape(plan, pair)).sum()), plan)


def _check_count(path: str, count: int, plan: Plan) -> None:
    if count < LEAST_WINDOWS:
        raise DataError(
            f"{path} holds {count} whole windows of {plan.window} px, and a threshold needs {LEAST_WINDOWS}; mark "
            "more ground, or lower --window or --stride."
        )


def scores(path: str, rho: np.ndarray, pair: AlignedPair, plan: Plan) -> np.ndarray:
    """Null scores from marked ground: the scores of the real pairs there, [N] float32.

    What this guarantees: a window of the same kind of ground, light and registration exceeds the (1 - a) quantile with
    a chance of about a, whatever the method; overlapping windows repeat each other, so N is worth less than it looks.
    Nothing where the marked ground differs from the rest, or did change.

    Raises:
        DataError: if fewer than `LEAST_WINDOWS` windows lie inside.
    """
    found = rho[inside(path, pair, plan, rho.shape) & np.isfinite(rho)]
    _check_count(path, found.size, plan)
    return found.astype(np.float32)
