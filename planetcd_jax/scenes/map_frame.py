"""Where the map of a page lies on the ground: scale, north, sun, and lines of longitude and latitude."""

import math
from typing import Any

import contourpy
import numpy as np

from planetcd_jax.report.page import MapFrame, Sun
from planetcd_jax.scenes import body
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.grids import AnyGrid, Grid
from planetcd_jax.scenes.longitudes import short_way
from planetcd_jax.scenes.pixel_map import lattice

_LINES = 5  # of longitude, and of latitude, about
_STEPS = (1.0, 2.0, 5.0)
_ROUND_STEP = 30.0
"""Degrees between meridians where these go all round: about a pole, or once round the body."""


def map_frame(pair: AlignedPair) -> MapFrame:
    """The frame of the before-image, with lines over the overlap."""
    grid = pair.before_grid
    t = grid.transform
    affine = t.a, t.b, t.c, t.d, t.e, t.f
    if grid.crs is None:
        return MapFrame(affine)
    system = body.system_of(grid.crs)
    geographic = system.is_geographic
    unit = (
        "°"
        if geographic
        else {"metre": "m", "meter": "m"}.get(system.axis_info[0].unit_name, system.axis_info[0].unit_name)
    )
    middle = pair.overlap.col + pair.overlap.width / 2, pair.overlap.row + pair.overlap.height / 2
    north = _north(grid, *middle)
    return MapFrame(
        affine,
        system.name,
        grid.crs.to_wkt(),
        unit,
        _metres(grid, *middle),
        north,
        tuple(_suns(pair, north)),
        tuple(graticule(grid, pair.overlap.row, pair.overlap.col, pair.overlap.height, pair.overlap.width)),
    )


def _degrees(grid: AnyGrid, cols, rows) -> tuple[np.ndarray, np.ndarray]:
    x, y = grid.coordinates(np.asarray(cols, float), np.asarray(rows, float))
    return body.lon_lat(grid.crs, x, y)


def _metres(grid: Grid, col: float, row: float) -> float:
    """Ground along one pixel of a row, metres; in a local system by its own unit."""
    assert grid.crs is not None
    system = body.system_of(grid.crs)
    lon, lat = _degrees(grid, [col - 5, col + 5], [row, row])
    geod = system.get_geod()
    if np.isfinite(lon).all() and geod is not None:
        return geod.inv(lon[0], lat[0], lon[1], lat[1])[2] / 10
    return math.hypot(grid.transform.a, grid.transform.d) * system.axis_info[0].unit_conversion_factor


def _north(grid: AnyGrid, col: float, row: float) -> float:
    """Degrees clockwise from the top of the image to north; NaN where there is no latitude."""
    lon, lat = _degrees(grid, [col - 1, col + 1, col, col], [row, row, row - 1, row + 1])
    along, down = (
        math.radians(d) * math.cos(math.radians(lat[2]))
        for d in (short_way(lon[1] - lon[0]), short_way(lon[3] - lon[2]))
    )
    # Ground moved east and north for a step of one column and of one row; north is the step without east.
    matrix = np.array([[along, down], [math.radians(lat[1] - lat[0]), math.radians(lat[3] - lat[2])]])
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-30:
        return math.nan
    step = np.linalg.solve(matrix / np.abs(matrix).max(), [0.0, 1.0])
    return math.degrees(math.atan2(step[0], -step[1]))


def _suns(pair: AlignedPair, north: float) -> list[Sun]:
    """Where the light comes from on each date whose label says it, as seen on the before-image."""
    made = []
    for date, image in (("before", pair.before), ("after", pair.after)):
        told = image.describe()["sun"]
        if told is None:
            continue
        degrees, counted_from = told
        if counted_from == "right":  # of the image as it was taken: its north tells how that lies on the ground
            grid = getattr(image, "source", image).grid
            degrees += 90.0 - _north(grid, grid.width / 2, grid.height / 2)
        if math.isfinite(degrees + north):
            made.append(Sun(date, (degrees + north) % 360.0))
    return made


def _nice_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that gives about `_LINES` lines over a span."""
    wanted = span / _LINES
    power = 10.0 ** math.floor(math.log10(wanted))
    return min((step * power for step in (*_STEPS, 10.0)), key=lambda step: abs(math.log(step / wanted)))


def _levels(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Round values within a range, and the decimals that they need."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros(0), 0
    step = _nice_step(high - low)
    return np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step, max(
        0, -math.floor(math.log10(step) + 1e-9)
    )


def graticule(grid: AnyGrid, row: int, col: int, height: int, width: int) -> list[dict[str, Any]]:
    """Lines of equal longitude and latitude over a part of an image.

    Returns:
        For each line "text", such as "75.2° E", and "points": columns and rows, counted from the part's corner.
        Meridians end shortly before a pole.
    """
    cols, rows = lattice(row, col, height, width)
    lon, lat = _degrees(grid, cols, rows)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return []
    middle = float(lon[lon.shape[0] // 2, lon.shape[1] // 2])
    lon = middle + short_way(lon - middle)
    levels, decimals = _levels(lon)
    if np.ptp(lon) > 180:
        levels, decimals = np.arange(-150.0, 181.0, _ROUND_STEP), 0
        lon = np.where(90.0 - np.abs(lat) > 1.5 * _largest_step(lat), lon, np.nan)
    lines = []
    for level in levels:
        said = float(short_way(np.array(level)))
        lines += _lines(cols - col, rows - row, _from_meridian(lon, level), 0.0, _text(said, "EW", decimals))
    levels, decimals = _levels(lat)
    for level in levels:
        lines += _lines(cols - col, rows - row, lat, level, _text(float(level), "NS", decimals))
    return lines


def _from_meridian(lon: np.ndarray, level: float) -> np.ma.MaskedArray:
    """Degrees east of a meridian; the far side of the body is masked, where they jump from 180 to -180."""
    away = short_way(lon - level)
    return np.ma.masked_array(away, ~(np.abs(away) <= 90.0))


def _largest_step(values: np.ndarray) -> float:
    """Largest difference of a point of a field to the next one, along rows or columns."""
    return float(max(np.abs(np.diff(values, axis=axis)).max() for axis in (0, 1)))


def _text(value: float, letters: str, decimals: int) -> str:
    return f"{abs(value):.{decimals}f}° {letters[0] if value >= 0 else letters[1]}"


def _lines(cols: np.ndarray, rows: np.ndarray, values: np.ndarray, level: float, text: str) -> list[dict[str, Any]]:
    """The lines of one level of a field that is known at points."""
    drawn = contourpy.contour_generator(cols, rows, values).lines(level)
    return [{"text": text, "points": _thin(line)} for line in drawn if isinstance(line, np.ndarray)]


def _thin(line: np.ndarray) -> list[list[float]]:
    """At most about 16 points of a line, to a tenth of a pixel."""
    step = max(1, len(line) // 16)
    kept = line if len(line) <= 2 else np.concatenate([line[:-1:step], line[-1:]])
    return np.round(kept, 1).tolist()
