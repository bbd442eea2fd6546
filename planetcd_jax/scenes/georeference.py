"""Where the pixels of an image file lie, as its header tells: its transform, control points, or RPCs."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import rasterio
from affine import Affine
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import PolarStereographicAConversion
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer, RPCTransformer

from planetcd_jax.errors import DataError
from planetcd_jax.images.layout import gives_places
from planetcd_jax.scenes import body, labels
from planetcd_jax.scenes.grids import ControlGrid, Grid, fit_affine
from planetcd_jax.scenes.longitudes import crossing, short_way
from planetcd_jax.scenes.outlying import outlying

# Control points that lie this close to an affine transform, in pixels, are one.
_AFFINE = 0.05

# Where GDAL's polynomials leave control points further off than this, pixels, a surface through all of them is taken.
_BENT = 0.5

# Control points over more degrees of longitude than this are tried in a polar map too.
_WIDE = 90.0


def grid_of(dataset: rasterio.DatasetReader, name: str, unnamed: CRS | None = None) -> tuple[Grid | ControlGrid, str]:
    """Where an image's pixels lie, and a note on how that was told and what was left aside; empty where all is plain.

    The transform counts; without one, control points; without these, RPCs. A reference system without any of them says
    nothing of where the pixels lie, and is left aside; that of a local system stays.

    Args:
        dataset: Open rasterio dataset.
        name: What messages call it.
        unnamed: System of control points that name none, and of RPCs of a file that names none; None: such points are
            ignored, and RPCs are of the Earth, as their standard says.

    Raises:
        DataError: if control points are all that there is and lie on a line.
    """
    points, system = dataset.gcps
    system = system or unnamed
    crs = dataset.crs or None
    placed = gives_places(dataset.transform)
    named = {f"{len(points)} control points": bool(points), "RPCs": dataset.rpcs is not None}
    named["geolocation arrays"] = bool(dataset.tags(ns="GEOLOCATION"))
    if placed:
        spare = [kind for kind, there in named.items() if there]
        crs, note = _labelled_system(dataset)
        grid, turned = _east(Grid(dataset.height, dataset.width, dataset.transform, crs))
        ignored = f"its {' and '.join(spare)} ignored, since it has a transform" if spare else ""
        return grid, "; ".join(part for part in (note, turned, ignored) if part)
    flat = "" if dataset.transform.is_identity else "its transform ignored, since it puts all pixels on one line"
    if len(points) >= 3 and system:
        grid, note = _by_points(dataset, points, system, name)
    elif dataset.rpcs is not None:
        grid, note = _by_rpcs(dataset, crs or unnamed)
    else:
        grid, note = _by_pixels(dataset, crs, points, named["geolocation arrays"])
    return grid, "; ".join(part for part in (flat, note) if part)


def lacks_system(dataset: rasterio.DatasetReader) -> str:
    """ "control points" or "RPCs" where these alone place an image and the file names no system for them; else ""."""
    points, system = dataset.gcps
    if gives_places(dataset.transform) or dataset.crs or system:
        return ""
    return "control points" if len(points) >= 3 else "RPCs" if dataset.rpcs is not None else ""


def _by_pixels(dataset, crs: CRS | None, points, arrays: bool) -> tuple[Grid, str]:
    """The pixels as coordinates, for a file that says nothing of where they lie."""
    local = crs is not None and body.degrees_of(crs) is None
    grid = Grid(dataset.height, dataset.width, Affine.identity(), crs if local else None)
    if points:
        why = "they name no reference system" if len(points) >= 3 else "three are the least"
        return grid, f"its {len(points)} control points ignored, since {why}"
    if arrays:
        return grid, "its geolocation arrays ignored (bring it to a map with gdalwarp -geoloc)"
    return grid, "" if crs is None or local else "its reference system ignored, since it has no transform"


def _labelled_system(dataset: rasterio.DatasetReader) -> tuple[CRS | None, str]:
    """The system, and a note. GDAL takes the central longitude of a label that counts west for one to the east."""
    crs, west = dataset.crs or None, labels.west_centre(dataset)
    if crs is None or west is None or abs(short_way(2.0 * west)) < 1e-6:  # 0 and 180 are the same both ways
        return crs, ""
    east = float(short_way(-west))
    mended = body.with_centre(crs, west, east)
    return (
        mended,
        "" if mended is crs else f"its label counts to the west; the map's centre lies at {east:g} degrees east",
    )


class _Points(NamedTuple):
    """Control points in one system: pixels, coordinates, and the affine transform that fits them best, off by so much.

    `said` tells of a system that is not the file's own.
    """

    system: CRS
    cols: np.ndarray
    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    transform: Affine
    off: float
    said: str = ""


def _fitted(system: CRS, cols, rows, x, y, said: str = "") -> _Points:
    transform, off = fit_affine(cols, rows, x, y)
    return _Points(system, cols, rows, x, y, transform, off, said)


def _by_points(dataset, points, system: CRS, name: str) -> tuple[Grid | ControlGrid, str]:
    cols, rows = np.array([p.col for p in points]), np.array([p.row for p in points])
    x, y = np.array([p.x for p in points]), np.array([p.y for p in points])
    in_degrees = body.system_of(system).is_geographic
    ways = _ways(system, cols, rows, x, y) if in_degrees else [_fitted(system, cols, rows, x, y)]
    best = min(ways, key=lambda way: way.off)  # the first of those that are alike
    said = f"placed by its {len(points)} control points{best.said}"
    odd = outlying(best.x, best.y, best.cols, best.rows)
    if not odd.kept.all():
        said += f" ({odd.said([_name(point, n) for n, point in enumerate(points, start=1)])})"
        points = [point for point, keep in zip(points, odd.kept, strict=True) if keep]
        cols, rows, x, y = (part[odd.kept] for part in (best.cols, best.rows, best.x, best.y))
        best = _fitted(best.system, cols, rows, x, y, best.said)
    if math.isinf(best.off):
        raise DataError(
            f"{name} has {len(points)} control points on one line and no transform; give three or more that span it."
        )
    if best.off < _AFFINE:
        grid = Grid(dataset.height, dataset.width, best.transform, best.system)
        return grid, f"{said} (an affine transform fits them)"
    where = zip(points, best.x, best.y, strict=True)
    moved = [GroundControlPoint(p.row, p.col, float(at_x), float(at_y), p.z) for p, at_x, at_y in where]
    for bent in (False, True):
        grid = ControlGrid(dataset.height, dataset.width, best.system, GCPTransformer(moved, tps=bent))
        new_cols, new_rows = grid.pixels(best.x, best.y)
        off = float(np.hypot(new_cols - best.cols, new_rows - best.rows).max())
        if off < _BENT:
            break
    kind = "a surface through them" if bent else "polynomials"
    return grid, f"{said} ({kind}, {off:.2g} px off at most)"


def _name(point: GroundControlPoint, number: int) -> str:
    """What a control point is called in its file, or its number."""
    return point.id if point.id and len(point.id) <= 12 else str(number)


def _ways(system: CRS, cols, rows, x, y) -> list[_Points]:
    """Control points in degrees, in each way that they can be meant.

    They may lie on both sides of the seam, or go once round the body from one edge of an image to the other; round a
    pole, where a longitude is no coordinate of an image, they are brought to a polar map.
    """
    short = x[0] + short_way(x - x[0])
    ways = [_fitted(system, cols, rows, short, y)]
    if np.ptp(x) > 180.0:
        ways.append(_fitted(system, cols, rows, x, y))
    if np.ptp(short) > _WIDE and np.abs(y).max() > 60.0:
        polar = _polar(system, np.sign(np.mean(y)))
        there = crossing(system, polar)(x, y)
        ways.append(_fitted(polar, cols, rows, there[0], there[1], " in a polar map"))
    return ways


def _polar(system: CRS, sign: float) -> CRS:
    """Polar stereographic map of a body, of the north pole for sign 1 and of the south pole for -1; metres."""
    there = PolarStereographicAConversion(latitude_natural_origin=90.0 * sign)
    degrees = body.degrees_of(system)
    return CRS.from_wkt(ProjectedCRS(there, name="polar stereographic", geodetic_crs=degrees).to_wkt())


def _by_rpcs(dataset, system: CRS | None) -> tuple[ControlGrid, str]:
    """RPCs give longitude and latitude, also in a file that names a map's system."""
    height = dataset.rpcs.height_off
    system = system or CRS.from_epsg(4326)
    degrees = body.degrees_of(system)
    if not body.system_of(system).is_geographic and degrees is not None:
        system = CRS.from_wkt(degrees.to_wkt())
    transformer = RPCTransformer(dataset.rpcs, RPC_HEIGHT=height)
    note = f"placed by its RPCs at a height of {height:g} m; relief is not corrected"
    return ControlGrid(dataset.height, dataset.width, system, transformer), note


def _east(grid: Grid) -> tuple[Grid, str]:
    """The same grid in a system that counts to the east, where its own counts to the west."""
    if grid.crs is None:
        return grid, ""
    system, sign = body.eastward(grid.crs)
    if sign == 1:
        return grid, ""
    t = grid.transform
    turned = Affine(-t.a, -t.b, -t.c, t.d, t.e, t.f)
    note = "its longitudes count to the west; turned to the east, as all results are"
    return dataclasses.replace(grid, transform=turned, crs=CRS.from_wkt(system.to_wkt())), note
