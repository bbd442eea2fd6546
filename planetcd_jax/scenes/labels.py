"""Sun and viewing angles that a file's own label carries: ISIS3, PDS3 and PDS4 labels, and plain tags."""

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


def angles(dataset: rasterio.DatasetReader) -> dict[str, float]:
    """Angles that the label of an open file states, degrees, by the names of `ANGLES`; the first of each counts."""
    found: dict[str, float] = {}
    stated: list[tuple[str, str]] = []
    for name, value in tags(dataset).items():
        number = re.match(r"\s*" + _NUMBER, value)
        if number:
            stated.append((name.rpartition(".")[2], number.group(1)))
    for space in dataset.tag_namespaces():
        if space.startswith(("json:", "xml:")):
            text = document(dataset, space)
            stated += (_JSON if space.startswith("json:") else _XML).findall(text)
    for name, value in stated:
        meaning = _MEANING.get(_plain(name))
        if meaning is not None:
            found.setdefault(meaning, float(value))
    return found
