"""Which planet or moon a coordinate reference system belongs to, and longitudes and latitudes on it."""

import re

import numpy as np
import pyproj
from rasterio.crs import CRS

from planetcd_jax.errors import DataError

# Names by which reference systems in use call their body. Those of fewer letters would match inside other words.
_NAMES = (
    "Mercury", "Venus", "Earth", "Moon", "Mars", "Phobos", "Deimos", "Ceres", "Vesta", "Bennu", "Ryugu", "Itokawa",
    "Eros", "Io", "Europa", "Ganymede", "Callisto", "Mimas", "Enceladus", "Tethys", "Dione", "Rhea", "Titan",
    "Hyperion", "Iapetus", "Phoebe", "Miranda", "Ariel", "Umbriel", "Titania", "Oberon", "Triton", "Pluto", "Charon",
)  # fmt: skip
_SAME_NAME = {"wgs": "Earth", "nad": "Earth", "etrs": "Earth", "north american": "Earth", "lunar": "Moon"}

# Radii of one body differ between products by up to 0.6 % (equatorial, polar and local radii of Mars); those of the two
# most alike bodies, Mercury and Callisto, by 1.2 %.
_SAME_RADIUS = 0.01


def system_of(crs: CRS) -> pyproj.CRS:
    """PROJ's view of a raster's reference system, by its code in the IAU's catalogue where it has one.

    GeoTIFF keeps the catalogue's number and not its year, and later versions of PROJ take that for no catalogue of
    theirs: the code is given back where the definitions are equal.
    """
    system = pyproj.CRS.from_wkt(crs.to_wkt())
    known = system.to_json_dict().get("id", {})
    if system.to_authority() is None and known.get("authority") == "IAU":
        try:
            listed = pyproj.CRS.from_authority("IAU_2015", known["code"])
        except pyproj.exceptions.CRSError:
            return system
        return listed if listed.equals(system, ignore_axis_order=True) else system
    return system


def body_name(crs: CRS) -> str | None:
    """Name of the body as the reference system gives it, or None where it gives none."""
    system = system_of(crs)
    datum, ellipsoid = system.datum, system.ellipsoid
    texts = [part.name for part in (ellipsoid, datum, system.geodetic_crs) if part is not None]
    for text in texts:
        words = re.split(r"[^a-z]+", text.lower())
        for name in _NAMES:
            if name.lower() in words:
                return name
        for start, name in _SAME_NAME.items():
            if start in text.lower():
                return name
    return None


def radius(crs: CRS) -> float:
    """Semi-major axis of the ellipsoid, metres."""
    ellipsoid = system_of(crs).ellipsoid
    return float("nan") if ellipsoid is None else ellipsoid.semi_major_metre


def are_apart(before: CRS, after: CRS) -> bool:
    """Whether two systems belong to different bodies, by name or by radius."""
    names = body_name(before), body_name(after)
    radii = radius(before), radius(after)
    named_apart = None not in names and names[0] != names[1]
    return named_apart or abs(radii[0] - radii[1]) > _SAME_RADIUS * max(radii)


def check_same_body(before: CRS, after: CRS, before_name: str, after_name: str) -> None:
    """Raises DataError if the two systems belong to different bodies."""
    if are_apart(before, after):
        names = body_name(before), body_name(after)
        radii = radius(before), radius(after)
        said = [f"{name or 'a body'} (radius {r / 1000:.1f} km)" for name, r in zip(names, radii, strict=True)]
        raise DataError(
            f"{before_name} lies on {said[0]} and {after_name} on {said[1]}; give two images of one body, or correct "
            "the reference system of the wrong one (gdal_edit.py -a_srs)."
        )


def check_systems(before: CRS | None, after: CRS | None, before_name: str, after_name: str) -> None:
    """Raises DataError if points of a system cannot be brought to longitudes, or from one system to the other."""
    known = [(crs, name) for crs, name in ((before, before_name), (after, after_name)) if crs is not None]
    for crs, name in known:
        geodetic = system_of(crs).geodetic_crs
        if geodetic is not None and (reason := _obstacle(system_of(crs), geodetic)):
            raise DataError(
                f"{name} names a reference system that cannot be used ({reason}); correct it (gdal_edit.py -a_srs), or "
                "fetch the file again."
            )
    if len(known) < 2 or same_system(before, after) or are_apart(before, after):
        return
    if reason := _obstacle(system_of(before), system_of(after)):
        raise DataError(
            f"{after_name} cannot be brought to the reference system of {before_name} ({reason}); give both a system "
            "of their planet (gdal_edit.py -a_srs)."
        )


def _obstacle(source: pyproj.CRS, target: pyproj.CRS) -> str:
    """Why points cannot be brought from one system to another, in a few words; "" where they can."""
    try:
        pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        reason = str(error).splitlines()[0]
        return reason if len(reason) < 200 else "no operation leads from one to the other"
    return ""


def same_system(before: CRS, after: CRS) -> bool:
    """Whether two systems put every point at the same coordinates."""
    if before == after:
        return True
    return system_of(before).equals(system_of(after), ignore_axis_order=True)


def lon_lat(crs: CRS | None, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude (east, -180 to 180) and latitude of points, degrees; NaN without a reference system.

    Latitudes are of the kind that the system itself uses (planetocentric for IAU spheres).
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if crs is None:
        return np.full(x.shape, np.nan), np.full(y.shape, np.nan)
    system = system_of(crs)
    to_degrees = pyproj.Transformer.from_crs(system, system.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    return (np.asarray(lon) + 180.0) % 360.0 - 180.0, np.asarray(lat)
