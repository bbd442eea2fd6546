"""Footprints out of the rows of tables: what columns are called, outlines as WKT, GeoJSON, corners or boxes."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from planetcd_jax.extras import brought_by
from planetcd_jax.scenes.times import seconds_of
from planetcd_jax.surveys.archive_files import ALONG_AN_EDGE, incidence_of
from planetcd_jax.surveys.footprints import Footprint, number

with brought_by("survey"):
    import shapely

NO_RING = np.zeros((0, 2))
"""The outline of what has none."""

# What tables call each quantity; compared without case, underscores, spaces and prefixes such as "view:".
NAMES: Mapping[str, tuple[str, ...]] = {
    "name": ("path", "file", "filename", "image", "url", "href", "filespecificationname", "pathname",
             "filenamespecification", "location", "name"),
    "time": ("time", "datetime", "date", "starttime", "imagetime", "observationstarttime", "startdatetime",
             "acquisitiontime"),
    "incidence": ("incidence", "incidenceangle", "solarincidenceangle"),
    "emission": ("emission", "emissionangle", "offnadir"),
    "phase": ("phase", "phaseangle"),
    "sun_azimuth": ("sunazimuth", "subsolarazimuth", "solarazimuth", "localsolarazimuth", "subsolargroundazimuth"),
    "sun_elevation": ("sunelevation", "solarelevation"),
    "pixel_m": ("pixelm", "gsd", "mapscale", "resolution", "pixelsize", "scaledpixelwidth", "horizontalpixelscale"),
    "body": ("body", "target", "targetname", "targets"),
    "footprint": ("footprint", "geometry", "wkt", "footprintwkt", "footprintc0geometry"),
}  # fmt: skip

_CORNERS = (
    tuple((f"{side}longitude", f"{side}latitude") for side in ("upperleft", "upperright", "lowerright", "lowerleft")),
    tuple((f"corner{n}longitude", f"corner{n}latitude") for n in (1, 2, 3, 4)),
    tuple((f"{side}lon", f"{side}lat") for side in ("ul", "ur", "lr", "ll")),
)
_BOX = (
    ("westernmostlongitude", "easternmostlongitude", "minimumlatitude", "maximumlatitude"),
    ("minlon", "maxlon", "minlat", "maxlat"),
    ("west", "east", "south", "north"),
)


def plain(name: str) -> str:
    """The name of a column as `NAMES` writes it."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(":")[2].lower())


def filled(image: Footprint, row: Mapping[str, Any]) -> Footprint:
    """A footprint with what a row of a table says."""
    text = {
        key: next((row[name] for name in names if row.get(name) not in (None, "")), None)
        for key, names in NAMES.items()
    }
    angles = {key: number(text[key]) for key in ("incidence", "sun_elevation") if text[key] is not None}
    said = {
        "time": seconds_of(str(text["time"])),
        "pixel_m": number(text["pixel_m"]),
        "incidence": incidence_of(angles),
        **{key: number(text[key]) for key in ("emission", "phase", "sun_azimuth")},
    }
    kept = {key: value for key, value in said.items() if not math.isnan(value)}
    own = {key: getattr(image, key) for key in said} | kept
    return Footprint(image.name, image.ring, **own, body=str(text["body"] or image.body).strip("\"[]' ").title())


def ring_of(row: Mapping[str, Any], west: bool) -> np.ndarray:
    """Outline [V, 2] of a row, or [0, 2] where it has none."""
    text = next((str(row[name]) for name in NAMES["footprint"] if row.get(name)), "")
    ring = _wkt(text) if text else _corners(row)
    return ring * [-1.0, 1.0] if west else ring


def _wkt(text: str) -> np.ndarray:
    try:
        shape = shapely.from_geojson(text) if text.lstrip().startswith("{") else shapely.from_wkt(text)
    except shapely.errors.ShapelyError:
        return NO_RING
    return outline(shape)


def outline(shape) -> np.ndarray:
    """Outline of a polygon; one that is cut at the seam is put together: the hull around all of its parts."""
    if shape is None or shape.is_empty:
        return NO_RING
    if shape.geom_type == "Polygon":
        return np.asarray(shape.exterior.coords)[:-1, :2]
    points = shapely.get_coordinates(shape)
    if np.ptp(points[:, 0]) > 180.0:
        points = np.stack([points[:, 0] % 360.0, points[:, 1]], axis=-1)
    hull = shapely.MultiPoint(points).convex_hull
    return np.asarray(hull.exterior.coords)[:-1, :2] if isinstance(hull, shapely.Polygon) else NO_RING


def _corners(row: Mapping[str, Any]) -> np.ndarray:
    for corners in _CORNERS:
        ring = np.array([[number(row.get(lon)), number(row.get(lat))] for lon, lat in corners])
        if np.isfinite(ring).all() and np.ptp(ring, axis=0).max() > 0 and (abs(ring[:, 1]) <= 90).all():
            return ring
    for names in _BOX:
        west, east, south, north = (number(row.get(name)) for name in names)
        if all(map(math.isfinite, (west, east, south, north))) and south < north:
            east = east + 360.0 if east < west else east
            along = np.linspace(west, east, ALONG_AN_EDGE)  # its edges are parallels
            upper, lower = np.full_like(along, north), np.full_like(along, south)
            return np.concatenate([np.stack([along, upper], -1), np.stack([along, lower], -1)[::-1]])
    return NO_RING
