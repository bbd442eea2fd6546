"""Ground that the user marks as unchanged: a vector file, and the windows that lie wholly inside it."""

import pathlib

import geopandas
import numpy as np
import pyproj
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import body
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.scoring import Plan, map_shape

LEAST_WINDOWS = 20
"""Fewer windows than this make no threshold for a rate of 5 %."""


def inside(path: str, pair: AlignedPair, plan: Plan, shape: tuple[int, int]) -> np.ndarray:
    """Windows of a score map that lie wholly within the marked ground.

    Args:
        path: Any vector file that GDAL reads, of polygons; brought to the scene's reference system.
        pair, plan: As scored.
        shape: R, S of the score map.

    Returns:
        [R, S] bool.

    Raises:
        DataError: if the file cannot be read, holds no polygon, or lies on another body.
    """
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
    marked = _to_scene(marked, path, pair)
    ground = shapely.union_all(shapely.make_valid(np.asarray(marked.geometry)))
    shapely.prepare(ground)
    grid = pair.before.grid
    rows, cols = (np.arange(n) * plan.stride + first for n, first in zip(shape, _corner(pair), strict=True))
    found = np.zeros(shape, bool)
    for k, row in enumerate(rows):
        boxes = shapely.box(cols, row, cols + plan.window, row + plan.window)
        boxes = shapely.transform(boxes, lambda xy: np.stack(grid.coordinates(xy[:, 0], xy[:, 1]), axis=-1))
        found[k] = shapely.contains(ground, boxes)
    return found


def check(path: str, pair: AlignedPair, plan: Plan) -> None:
    """Raises DataError, before anything is scored, if the file cannot be used or marks too little; see `scores`."""
    _check_count(path, int(inside(path, pair, plan, map_shape(plan, pair)).sum()), plan)


def _check_count(path: str, count: int, plan: Plan) -> None:
    if count < LEAST_WINDOWS:
        raise DataError(
            f"{path} holds {count} whole windows of {plan.window} px, and a threshold needs {LEAST_WINDOWS}; mark "
            "more ground, or lower --window or --stride."
        )


def _corner(pair: AlignedPair) -> tuple[int, int]:
    return pair.overlap.row, pair.overlap.col


def _to_scene(marked: geopandas.GeoDataFrame, path: str, pair: AlignedPair) -> geopandas.GeoDataFrame:
    """The polygons in the scene's reference system; as they are where either has none."""
    crs = pair.before.grid.crs
    if crs is None or marked.crs is None:
        return marked
    _check_body(marked.crs, crs, path)
    try:
        return marked.to_crs(body.system_of(crs))
    except pyproj.exceptions.ProjError as error:
        raise DataError(f"{path} cannot be brought to the scene's reference system ({error}).") from None


def _check_body(marked: pyproj.CRS, scene, path: str) -> None:
    own = CRS.from_wkt(marked.to_wkt())
    if body.are_apart(own, scene):
        names = [body.body_name(crs) or "another body" for crs in (own, scene)]
        raise DataError(
            f"{path} lies on {names[0]} and the scene on {names[1]} (GeoJSON knows no body but Earth); save the "
            "polygons as a GeoPackage in the scene's reference system."
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
