"""Which planet or moon a coordinate reference system belongs to, and longitudes and latitudes on it."""

import functools
import re

import numpy as np
import pyproj
from pyproj.exceptions import CRSError, ProjError
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

_EARTH = 6_378_137.0  # semi-major axis, metres


@functools.lru_cache(maxsize=64)
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
        except CRSError:
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


def is_same_body(one: CRS, other: CRS) -> bool:
    """Whether two systems may belong to one body: neither their names nor their radii say otherwise."""
    names, radii = (body_name(one), body_name(other)), (radius(one), radius(other))
    named_apart = None not in names and names[0] != names[1]
    return not named_apart and not abs(radii[0] - radii[1]) > _SAME_RADIUS * max(radii)


def centric_factor(crs: CRS) -> float:
    """The tangent of planetocentric latitude over that of the system's own latitude.

    1 on a sphere, whose latitudes are planetocentric for every body in the IAU's catalogue, and where the system counts
    planetocentric latitudes on an ellipsoid; (1 - f)^2 where it counts planetographic ones on an ellipsoid of
    flattening f. 1 on the Earth, whose systems PROJ knows how to bring together.
    """
    system = system_of(crs)
    geodetic, ellipsoid = system.geodetic_crs, system.ellipsoid
    if geodetic is None or ellipsoid is None or not ellipsoid.inverse_flattening:
        return 1.0
    on_earth = body_name(crs) == "Earth" or abs(radius(crs) / _EARTH - 1.0) < _SAME_RADIUS
    if on_earth or any("planetocentric" in axis.name.lower() for axis in geodetic.axis_info):
        return 1.0
    return (1.0 - 1.0 / ellipsoid.inverse_flattening) ** 2


def check_same_body(before: CRS, after: CRS, before_name: str, after_name: str) -> None:
    """Raises DataError if the two systems belong to different bodies, by name or by radius."""
    if is_same_body(before, after):
        return
    said = [f"{body_name(crs) or 'a body'} (radius {radius(crs) / 1000:.1f} km)" for crs in (before, after)]
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
    if len(known) < 2 or same_system(before, after) or not is_same_body(before, after):
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
    except ProjError as error:
        reason = str(error).splitlines()[0]
        return reason if len(reason) < 200 else "no operation leads from one to the other"
    return ""


def same_system(before: CRS, after: CRS) -> bool:
    """Whether two systems put every point at the same coordinates. Local ones must bear one name too."""
    one, other = system_of(before), system_of(after)
    if one.geodetic_crs is None and one.name != other.name:
        return False
    return before == after or one.equals(other, ignore_axis_order=True)


@functools.lru_cache(maxsize=64)
def degrees_of(crs: CRS) -> pyproj.CRS | None:
    """Longitude and latitude that a system rests on, in degrees and counted to the east.

    None for a local system, and for one whose definition PROJ cannot compute with (a map of scale 0, as some have).
    """
    geodetic = system_of(crs).geodetic_crs
    if geodetic is None:
        return None
    described = counted_east(geodetic).to_json_dict()
    for axis in described["coordinate_system"]["axis"]:
        axis["unit"] = "degree"
    degrees = pyproj.CRS.from_json_dict(described)
    try:
        pyproj.Transformer.from_crs(eastward(crs)[0], degrees, always_xy=True)
    except ProjError:
        return None
    return degrees


def eastward(crs: CRS) -> tuple[pyproj.CRS, int]:
    """A system that counts longitudes to the east, and the sign of x in it: -1 where the given one counts to the west.

    The few systems of the Earth whose map is turned by 180 degrees (Transverse Mercator, South Orientated) stay.
    """
    system = system_of(crs)
    operation = system.coordinate_operation
    turned = operation is not None and "South Orientated" in operation.method_name
    if turned or not any(axis.direction == "west" for axis in system.axis_info):
        return system, 1
    return counted_east(system), -1


def counted_east(system: pyproj.CRS) -> pyproj.CRS:
    """The same system with all axes that point west, its own and those that it rests on, pointing east."""
    described = system.to_json_dict()
    for part in (described, described.get("base_crs", {})):
        for axis in part.get("coordinate_system", {}).get("axis", ()):
            axis["direction"] = "east" if axis["direction"] == "west" else axis["direction"]
        part.pop("id", None)
    return pyproj.CRS.from_json_dict(described)


def with_centre(crs: CRS, taken_for: float, centre: float) -> CRS:
    """A map's system with another central longitude, degrees east, if its own is `taken_for`; else as it is."""
    described = system_of(crs).to_json_dict()
    moved = False
    for parameter in described.get("conversion", {}).get("parameters", ()):
        own = parameter["value"] if parameter["name"].startswith("Longitude of") else None
        if own is not None and abs((own - taken_for + 180.0) % 360.0 - 180.0) < 1e-6:
            parameter["value"], moved = centre, True
    described.pop("id", None)
    return CRS.from_wkt(pyproj.CRS.from_json_dict(described).to_wkt()) if moved else crs


@functools.lru_cache(maxsize=64)
def _to_degrees(crs: CRS) -> tuple[pyproj.Transformer, int] | None:
    """What brings points of a system to degrees, and the sign of x that it takes; None where nothing does.

    Kept, since a survey asks it of every scene, and PROJ looks for the way for a millisecond and more.
    """
    degrees = degrees_of(crs)
    if degrees is None:
        return None
    system, sign = eastward(crs)
    return pyproj.Transformer.from_crs(system, degrees, always_xy=True), sign


def lon_lat(crs: CRS | None, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude (east, -180 to 180) and latitude of points, degrees; NaN without a system or in a local one.

    Latitudes are of the kind that the system itself uses (planetocentric for IAU spheres).
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    found = None if crs is None else _to_degrees(crs)
    if found is None:
        return np.full(x.shape, np.nan), np.full(y.shape, np.nan)
    transformer, sign = found
    lon, lat = transformer.transform(sign * x, y)
    return (np.asarray(lon) + 180.0) % 360.0 - 180.0, np.asarray(lat)
