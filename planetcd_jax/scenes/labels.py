"""What a file's own label says (ISIS3, PDS3, PDS4, plain tags): sun and viewing angles, and which way it counts."""

import re

import rasterio

from planetcd_jax.images.label_values import document, tags

ANGLES = {
    "sun_azimuth": ("sub_solar_azimuth", "subsolar_azimuth", "solar_azimuth", "sun_azimuth", "local_solar_azimuth"),
    "incidence": ("incidence_angle", "solar_incidence_angle", "incidence"),
    "sun_elevation": ("solar_elevation", "sun_elevation", "solar_elevation_angle"),
    "emission": ("emission_angle", "emission"),
    "phase": ("phase_angle", "phase"),
}
"""What labels call each angle, in degrees; compared without case and underscores, so `SubSolarAzimuth` is one too."""

_NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
# "NAME": 1.5, "NAME": {"value": 1.5, ...}, "NAME": "1.5 <deg>" as GDAL's JSON of ISIS3 and PDS3 labels has them.
_JSON = re.compile(r'"(\w+)"\s*:\s*(?:\{\s*"value"\s*:\s*)?"?' + _NUMBER)
_XML = re.compile(r"<(?:\w+:)?(\w+)(?:\s[^>]*)?>\s*" + _NUMBER + r"\s*<")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


_MEANING = {_plain(name): angle for angle, names in ANGLES.items() for name in names}


_WEST = re.compile(r'"(?:POSITIVE_LONGITUDE_DIRECTION|LongitudeDirection)"\s*:\s*"(?:Positive\s*)?West"', re.IGNORECASE)
_CENTRE = re.compile(r'"(?:CENTER_LONGITUDE|CenterLongitude)"\s*:\s*(?:\{\s*"value"\s*:\s*)?"?' + _NUMBER)


def west_centre(dataset: rasterio.DatasetReader) -> float | None:
    """Central longitude of the map, degrees to the west, where an ISIS3 or PDS3 label counts to the west; else None."""
    for space in dataset.tag_namespaces():
        if space in ("json:ISIS3", "json:PDS"):
            text = document(dataset, space)
            centre = _CENTRE.search(text)
            if centre and _WEST.search(text):
                return float(centre.group(1))
    return None


def angles(dataset: rasterio.DatasetReader) -> dict[str, float]:
    """Angles that the label of an open file states, degrees, by the names of `ANGLES`; the first of each counts."""
    found: dict[str, float] = {}
    for name, value in _stated(dataset):
        meaning = _MEANING.get(_plain(name))
        if meaning is not None:
            found.setdefault(meaning, float(value))
    return found


_SUB_SOLAR = ("subsolarazimuth",)


def sun_direction(dataset: rasterio.DatasetReader) -> tuple[float, str] | None:
    """Where the light comes from, degrees clockwise, and what they are counted from; None where no label says it.

    PDS3 and ISIS3 count a sub-solar azimuth from the right edge of the image ("right"), other azimuths from "north".
    """
    for name, value in _stated(dataset):
        if _MEANING.get(_plain(name)) == "sun_azimuth":
            return float(value), "right" if _plain(name) in _SUB_SOLAR else "north"
    return None


def _stated(dataset: rasterio.DatasetReader) -> list[tuple[str, str]]:
    """Names and numbers of an open file's label, in the order in which they count."""
    stated: list[tuple[str, str]] = []
    for name, value in tags(dataset).items():
        number = re.match(r"\s*" + _NUMBER, value)
        if number:
            stated.append((name.rpartition(".")[2], number.group(1)))
    for space in dataset.tag_namespaces():
        if space.startswith(("json:", "xml:")):
            text = document(dataset, space)
            stated += (_JSON if space.startswith("json:") else _XML).findall(text)
    return stated
