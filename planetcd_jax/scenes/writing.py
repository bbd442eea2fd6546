"""Maps and places out: GeoTIFF, GeoPackage, GeoParquet, CSV. The same results give the same bytes."""

import csv
import functools
import math
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import geopandas
import numpy as np
import pyogrio
import pyproj
import rasterio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from rasterio.enums import Resampling

from planetcd_jax.errors import OutputError
from planetcd_jax.files.folders import write_whole
from planetcd_jax.scenes import body
from planetcd_jax.scenes.grids import Grid
from planetcd_jax.scenes.places import WHY, Candidate
from planetcd_jax.scenes.source import no_grid_warning

NO_DATA = -9999.0
LAYER = "candidates"

# GeoPackage stores the time of writing; a fixed one keeps repeated runs equal to the byte.
_FIXED_TIME = "2000-01-01T00:00:00.000Z"


def write_geotiff(
    path: pathlib.Path, bands: Mapping[str, np.ndarray], grid: Grid, tags: Mapping[str, str] | None = None
) -> None:
    """Writes float32 bands as a tiled, compressed GeoTIFF with overviews.

    It is made in memory, since GDAL ends the process where a disk is full; a map has a pixel for each window.

    Args:
        path: File to write.
        bands: Name and [H, W] float of each band; what is not finite becomes no-data, -9999.
        grid: Where it lies; its height and width are those of the bands.
        tags: Texts to store with it.

    Raises:
        OSError: if the file cannot be written.
    """
    data = np.stack([np.where(np.isfinite(band), band, NO_DATA) for band in bands.values()]).astype(np.float32)
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": len(bands), "height": grid.height, "width": grid.width,
        "nodata": NO_DATA, "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 3,
        "crs": grid.crs, "transform": grid.transform, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with no_grid_warning(), rasterio.MemoryFile() as memory:
        with memory.open(**profile) as out:
            out.write(data)
            for band, name in enumerate(bands, start=1):
                out.set_band_description(band, name)
            out.update_tags(**(tags or {}))
            out.build_overviews(_overview_factors(max(data.shape[1:])), Resampling.average)
        write_whole(path, memory.read())


def _overview_factors(side: int) -> list[int]:
    """2, 4, 8, ... down to about 128 pixels; at least one."""
    return [2**k for k in range(1, max(2, math.ceil(math.log2(max(side, 2) / 128)) + 1))]


def map_grid(grid: Grid, window: int, stride: int, shape: tuple[int, int]) -> Grid:
    """Grid of a score map: one pixel for each window, as large as the stride, its middle in the window's middle."""
    lead = 0.5 * (window - stride)
    return grid.coarser(lead, lead, stride, *shape)


def outline(candidate: Candidate, grid: Grid, window: int) -> shapely.Polygon:
    """The changed ground of a candidate (its window where no ground was found), in map coordinates."""
    if candidate.change is None:
        row, col = candidate.window_row, candidate.window_col
        shape = shapely.box(col, row, col + window, row + window)
    else:
        shape = candidate.change.outline
    placed = shapely.transform(shape, lambda xy: np.stack(grid.coordinates(xy[:, 0], xy[:, 1]), axis=-1))
    return cast(shapely.Polygon, placed)


def _area(shape: shapely.Polygon, grid: Grid) -> tuple[float, str]:
    """Area and its unit: square metres in the map's projection or on the ellipsoid, or square pixels."""
    if grid.crs is None:
        return shape.area / abs(grid.transform.determinant), "px2"
    system = body.system_of(grid.crs)
    if system.is_geographic:
        geod = system.get_geod()
        assert geod is not None  # a geographic system has an ellipsoid
        return abs(geod.geometry_area_perimeter(shape)[0]), "m2"
    return shape.area * system.axis_info[0].unit_conversion_factor ** 2, "m2"


def table(found: Sequence[Candidate], grid: Grid, window: int) -> list[dict[str, Any]]:
    """One row for each candidate, its outline under "geometry".

    Args:
        found: Candidates, measured.
        grid: Grid of the whole before-image.
        window: Side of a window, pixels.
    """
    rows_cols = np.array([[c.row + 0.5, c.col + 0.5] for c in found], float).reshape(-1, 2)
    x, y = grid.coordinates(rows_cols[:, 1], rows_cols[:, 0])
    lon, lat = body.lon_lat(grid.crs, x, y)
    rows = []
    for i, candidate in enumerate(found):
        shape = outline(candidate, grid, window)
        area, unit = _area(shape, grid)
        rows.append(
            {
                "rank": candidate.rank, "rho": candidate.rho, "p_value": candidate.p_value,
                "tail_p": candidate.tail_p, "site": candidate.site,
                "kind": candidate.kind, "kind_sure": candidate.kind_sure,
                "lon": float(lon[i]), "lat": float(lat[i]), "x": float(x[i]), "y": float(y[i]),
                "row": candidate.row, "col": candidate.col % grid.width, "area": area, "area_unit": unit,
                **_extent(candidate, window), "window_row": candidate.window_row,
                "window_col": candidate.window_col % grid.width,
                "windows": len(candidate.windows), "shift_rows": candidate.shift_rows,
                "shift_cols": candidate.shift_cols, "correlation": candidate.correlation,
                "brightness_difference": candidate.brightness_difference,
                **candidate.dated,
                **{name: candidate.why.get(name, "" if kind == "object" else math.nan) for name, kind in _WHY.items()},
                "geometry": shape,
            }
        )  # fmt: skip
    return rows


def _extent(candidate: Candidate, window: int) -> dict[str, Any]:
    """Height and width of the ground, pixels; its evidence, and whether that exceeds the level of chance."""
    if candidate.change is None:
        return {"height_px": window, "width_px": window, "pixel_size": math.nan, "pixel_level": math.nan, "outlined": 0}
    left, top, right, bottom = candidate.change.outline.bounds
    size, level = candidate.change.size, candidate.change.level
    return {
        "height_px": int(bottom - top), "width_px": int(right - left), "pixel_size": size, "pixel_level": level,
        "outlined": int(candidate.stands_out),
    }  # fmt: skip


_WHY = {name: "object" if name in ("channels_moved", "rho_by_shift", "explanation") else "float64" for name in WHY}

_TYPES = {
    "rank": "int32", "rho": "float64", "p_value": "float64", "tail_p": "float64", "site": "int32",
    "kind": "object", "kind_sure": "float64",
    "lon": "float64", "lat": "float64",
    "x": "float64", "y": "float64", "row": "int32", "col": "int32", "area": "float64", "area_unit": "object",
    "height_px": "int32", "width_px": "int32", "pixel_size": "float64", "pixel_level": "float64", "outlined": "int32",
    "window_row": "int32", "window_col": "int32",
    "windows": "int32", "shift_rows": "float64", "shift_cols": "float64", "correlation": "float64",
    "brightness_difference": "float64", **_WHY,
}  # fmt: skip


def write_places(
    folder: pathlib.Path,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    grid: Grid,
    *,
    parquet: bool,
    window: int,
    dated: Sequence[str] = (),
) -> None:
    """Writes candidates.gpkg and candidates.csv, and candidates.parquet if asked for.

    The GeoPackage has the outlines of the places above tau as its layer "candidates", their centres as "points", the
    windows that scored highest as "windows", and the outlines of other tables by their names.

    Args:
        folder: Where.
        tables: Rows from `table` by the name of their layer; those of `LAYER` are the places above tau.
        grid: Grid of the whole before-image.
        parquet: Whether GeoParquet is written too.
        window: Side of a window, pixels.
        dated: Names of further columns, of texts, that stand after the others.

    Raises:
        OutputError: if the GeoPackage does not hold what was written.
    """
    rows = tables[LAYER]
    types = _TYPES | dict.fromkeys(dated, "object")
    layers = {name: _frame(own, [row["geometry"] for row in own], grid, types) for name, own in tables.items()}
    layers |= {
        "points": _frame(rows, [shapely.Point(row["x"], row["y"]) for row in rows], grid, types),
        "windows": _frame(rows, [_window_box(row, grid, window) for row in rows], grid, types),
    }
    path = folder / "candidates.gpkg"
    try:
        for name, layer in layers.items():
            write_geopackage(path, layer, name)
        whole = all(pyogrio.read_info(path, layer=name)["features"] == len(layer) for name, layer in layers.items())
    except (DataSourceError, DataLayerError, FeatureError) as error:
        reason = str(error).splitlines()[0]
        raise OutputError(f"{path} cannot be written ({reason}); free some space and go on with --resume.") from None
    if not whole:
        raise OutputError(f"{path} was not written whole; free some space on the disk and go on with --resume.")
    if parquet:
        layers[LAYER].to_parquet(folder / "candidates.parquet", index=False)
    with open(folder / "candidates.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(types)
        writer.writerows([_cell(row[name]) for name in types] for row in rows)


def _frame(
    rows: Sequence[Mapping[str, Any]], shapes: Sequence[shapely.Geometry], grid: Grid, types: Mapping[str, str]
) -> geopandas.GeoDataFrame:
    columns = {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in types.items()}
    system = None if grid.crs is None else body.system_of(grid.crs)
    return geopandas.GeoDataFrame(columns, geometry=geopandas.GeoSeries(list(shapes), crs=system), crs=system)


def _window_box(row: Mapping[str, Any], grid: Grid, window: int) -> shapely.Geometry:
    """The window that scored highest, in map coordinates."""
    box = shapely.box(row["window_col"], row["window_row"], row["window_col"] + window, row["window_row"] + window)
    return shapely.transform(box, lambda xy: np.stack(grid.coordinates(xy[:, 0], xy[:, 1]), axis=-1))


class _LookedUp(pyproj.CRS):
    """A reference system whose EPSG code is looked up once: writing asks each time, and planets' take PROJ 0.15 s."""

    def to_epsg(self, min_confidence: int = 70) -> int | None:
        if "_code" not in self.__dict__:
            self._code = super().to_epsg(min_confidence)
        return self._code


@functools.lru_cache(maxsize=8)
def _looked_up(name: str) -> pyproj.CRS:
    return _LookedUp(name)


def write_geopackage(path: pathlib.Path, frame: geopandas.GeoDataFrame, layer: str) -> None:
    """Adds a layer to a GeoPackage: points for "points", polygons for others. The same places give the same bytes."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _FIXED_TIME})
    try:
        with warnings.catch_warnings():
            # Without a reference system the GeoPackage says "undefined Cartesian", which is true.
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            kind = "Point" if layer == "points" else "Polygon"
            if frame.crs is not None:
                frame = frame.set_crs(_looked_up(frame.crs.srs), allow_override=True)
            frame.to_file(path, layer=layer, driver="GPKG", engine="pyogrio", geometry_type=kind)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _cell(value: Any) -> Any:
    """Numbers as short as they can be read back to 9 digits; nothing for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return value
