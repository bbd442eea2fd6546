"""Footprints of an archive: from the files themselves, a table, an index of the PDS, or a STAC catalogue."""

import csv
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.errors import DataError, PlanetCDError
from planetcd_jax.extras import brought_by
from planetcd_jax.images.label_values import document, parse_pds3, tags
from planetcd_jax.scenes import body, labels
from planetcd_jax.scenes.grids import grid_of
from planetcd_jax.scenes.source import no_grid_warning
from planetcd_jax.surveys.footprints import Footprint, number, seconds_of

with brought_by("survey"):
    import rasterio
    import shapely
    from rasterio.errors import RasterioError

_ALONG_AN_EDGE = 9
_SUFFIXES = {
    ".tif", ".tiff", ".jp2", ".img", ".cub", ".lbl", ".xml", ".vrt", ".png", ".jpg", ".jpeg", ".qub", ".fits", ".nc",
    ".imq",
}  # fmt: skip

_NO_RING = np.zeros((0, 2))


class Archive(NamedTuple):
    """Footprints, and why the others have none: name and reason in one line."""

    images: list[Footprint]
    refused: list[tuple[str, str]]


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


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rpartition(":")[2].lower())


def read_archive(name: str, *, longitudes: str = "auto", keep: Callable[[str], None] = lambda name: None) -> Archive:
    """Footprints of all images that a name stands for.

    Args:
        name: A folder of images, a CSV, the label (.LBL) of an index table of the PDS, a STAC catalogue, collection or
            item (.json), or the address of a STAC API.
        longitudes: "east" or "west", as tables count them; auto: as the label of an index says, else east.
        keep: Called with the name of each file that is opened.

    Raises:
        DataError: if it is none of these, or holds no image.
    """
    path = pathlib.Path(name)
    if name.startswith(("http://", "https://")):
        found = _of_stac_items(_remote_items(name), "")
    elif path.is_dir():
        found = _of_folder(path, keep)
    elif not path.is_file():
        raise DataError(f"{name} does not exist; name a folder of images, a CSV, an index label or a STAC catalogue.")
    elif path.suffix.lower() == ".json":
        found = _of_stac_items(_local_items(path), os.fspath(path.parent))
    elif path.suffix.lower() in (".lbl", ".tab"):
        found = _of_rows(*_pds_index(path, longitudes), path.parent, keep)
    else:
        found = _of_rows(_csv_rows(path), longitudes == "west", path.parent, keep)
    if not found.images:
        why = f" ({found.refused[0][0]}: {found.refused[0][1]})" if found.refused else ""
        raise DataError(f"{name} holds no image that can be placed{why}; name a folder, a CSV, an index label or STAC.")
    return found


def _of_folder(folder: pathlib.Path, keep: Callable[[str], None]) -> Archive:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    labels_beside = {p for p in paths if p.suffix.lower() in (".lbl", ".xml")}
    own = {p.with_suffix("") for p in paths if p not in labels_beside}
    # A label beside its image is no image; GDAL reads an image of the PDS by either, and the image comes first.
    return _each([p for p in paths if p not in labels_beside or p.with_suffix("") not in own], keep)


def _each(paths: Iterable[str | pathlib.Path], keep: Callable[[str], None]) -> Archive:
    found = Archive([], [])
    for path in paths:
        keep(os.fspath(path))
        try:
            found.images.append(of_file(os.fspath(path)))
        except PlanetCDError as error:
            found.refused.append((os.fspath(path), str(error)))
    return found


def of_file(name: str) -> Footprint:
    """Footprint of an image, from the image and its label.

    Raises:
        DataError: if it cannot be opened, or does not say where it lies.
    """
    try:
        with no_grid_warning(), rasterio.open(name) as dataset:
            grid, _ = grid_of(dataset, name)
            along = np.linspace(0.0, 1.0, _ALONG_AN_EDGE)[:-1]
            cols = np.concatenate([along, np.ones_like(along), 1 - along, np.zeros_like(along)]) * grid.width
            rows = np.concatenate([np.zeros_like(along), along, np.ones_like(along), 1 - along]) * grid.height
            ring = np.stack(body.lon_lat(grid.crs, *grid.coordinates(cols, rows)), axis=-1)
            if grid.crs is None or not np.isfinite(ring).all():
                raise DataError(
                    "it does not say where on its body it lies; bring it to a map, or give a CSV with footprints"
                )
            _check_whole(dataset)
            angles, pixel = labels.angles(dataset), _pixel(grid)
            said = _label_facts(dataset)
    except (RasterioError, UnicodeDecodeError) as error:
        raise DataError(f"it cannot be opened ({str(error).splitlines()[0]}); fetch it again") from None
    return Footprint(
        name, ring, seconds_of(said.get("time")), pixel, _incidence(angles), angles.get("emission", math.nan),
        angles.get("phase", math.nan), angles.get("sun_azimuth", math.nan), body.body_name(grid.crs) or "",
    )  # fmt: skip


def _check_whole(dataset) -> None:
    """Reads the last block: a file that is cut short has none."""
    if os.path.exists(dataset.name):  # not over the network
        dataset.read(1, window=((dataset.height - 1, dataset.height), (0, dataset.width)))


def _pixel(grid) -> float:
    """Side of a pixel in the middle, metres on the body's sphere."""
    cols, rows = np.array([0.0, 1.0, 0.0]) + grid.width / 2, np.array([0.0, 0.0, 1.0]) + grid.height / 2
    lon, lat = np.deg2rad(body.lon_lat(grid.crs, *grid.coordinates(cols, rows)))
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    area = np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0]))
    return float(np.sqrt(area) * body.radius(grid.crs))


def _incidence(angles: Mapping[str, float]) -> float:
    elevation = angles.get("sun_elevation", math.nan)
    return angles.get("incidence", 90.0 - elevation)


_TIMES = (
    "START_TIME", "StartTime", "START_DATE_TIME", "start_date_time", "IMAGE_TIME", "DateTime", "TIFFTAG_DATETIME",
    "OBSERVATION_START_TIME", "ACQUISITION_TIME",
)  # fmt: skip
_TIME = re.compile(rf"[\"<]?(?:{'|'.join(_TIMES)})[\">]?[^0-9]{{1,12}}(\d{{4}}[-:]\d[0-9T:. -]+)")


def _label_facts(dataset) -> dict[str, str]:
    """Time as the label states it."""
    said = [f'"{key.rpartition(".")[2]}": {value}' for key, value in tags(dataset).items()]
    said += [document(dataset, s) for s in dataset.tag_namespaces() if s.startswith(("json:", "xml:"))]
    for text in said:
        found = _TIME.search(text)
        if found:
            return {"time": found[1].strip()}
    return {}


def _csv_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); give a CSV with a column path.") from None


def _of_rows(
    rows: Sequence[Mapping[str, Any]], west: bool, folder: pathlib.Path, keep: Callable[[str], None]
) -> Archive:
    """Footprints of the rows of a table; rows without an outline are read from their files."""
    found = Archive([], [])
    for n, row in enumerate(rows, start=1):
        plain = {_plain(key): value for key, value in row.items() if key is not None}
        name = next((str(plain[key]).strip() for key in NAMES["name"] if plain.get(key)), "")
        if not name:
            raise DataError(f"row {n} of the table names no image; give it a column path.")
        name = name if "://" in name or name.startswith("/vsi") else os.path.normpath(folder / name)
        ring = _ring(plain, west)
        if not len(ring):
            read = _each([name], keep)
            found.images.extend(_filled(image, plain) for image in read.images)
            found.refused.extend(read.refused)
        else:
            found.images.append(_filled(Footprint(name, ring), plain))
    return found


def _filled(image: Footprint, row: Mapping[str, Any]) -> Footprint:
    """A footprint with what a row of a table says."""
    text = {
        key: next((row[name] for name in names if row.get(name) not in (None, "")), None)
        for key, names in NAMES.items()
    }
    angles = {key: number(text[key]) for key in ("incidence", "sun_elevation") if text[key] is not None}
    said = {
        "time": seconds_of(str(text["time"])),
        "pixel_m": number(text["pixel_m"]),
        "incidence": _incidence(angles),
        **{key: number(text[key]) for key in ("emission", "phase", "sun_azimuth")},
    }
    kept = {key: value for key, value in said.items() if not math.isnan(value)}
    own = {key: getattr(image, key) for key in said} | kept
    return Footprint(image.name, image.ring, **own, body=str(text["body"] or image.body).strip("\"[]' ").title())


def _ring(row: Mapping[str, Any], west: bool) -> np.ndarray:
    """Outline [V, 2] of a row, or [0, 2] where it has none."""
    text = next((str(row[name]) for name in NAMES["footprint"] if row.get(name)), "")
    ring = _wkt(text) if text else _corners(row)
    return ring * [-1.0, 1.0] if west else ring


def _wkt(text: str) -> np.ndarray:
    try:
        shape = shapely.from_geojson(text) if text.lstrip().startswith("{") else shapely.from_wkt(text)
    except shapely.errors.ShapelyError:
        return _NO_RING
    return _outline(shape)


def _outline(shape) -> np.ndarray:
    """Outline of a polygon; one that is cut at the seam is put together: the hull around all of its parts."""
    if shape is None or shape.is_empty:
        return _NO_RING
    if shape.geom_type == "Polygon":
        return np.asarray(shape.exterior.coords)[:-1, :2]
    points = shapely.get_coordinates(shape)
    if np.ptp(points[:, 0]) > 180.0:
        points = np.stack([points[:, 0] % 360.0, points[:, 1]], axis=-1)
    hull = shapely.MultiPoint(points).convex_hull
    return np.asarray(hull.exterior.coords)[:-1, :2] if isinstance(hull, shapely.Polygon) else _NO_RING


def _corners(row: Mapping[str, Any]) -> np.ndarray:
    for corners in _CORNERS:
        ring = np.array([[number(row.get(lon)), number(row.get(lat))] for lon, lat in corners])
        if np.isfinite(ring).all() and np.ptp(ring, axis=0).max() > 0 and (abs(ring[:, 1]) <= 90).all():
            return ring
    for names in _BOX:
        west, east, south, north = (number(row.get(name)) for name in names)
        if all(map(math.isfinite, (west, east, south, north))) and south < north:
            east = east + 360.0 if east < west else east
            along = np.linspace(west, east, _ALONG_AN_EDGE)  # its edges are parallels
            upper, lower = np.full_like(along, north), np.full_like(along, south)
            return np.concatenate([np.stack([along, upper], -1), np.stack([along, lower], -1)[::-1]])
    return _NO_RING


def _pds_index(path: pathlib.Path, longitudes: str) -> tuple[list[dict[str, Any]], bool]:
    """Rows of an index table of the PDS and whether its longitudes count to the west, from its label (.LBL)."""
    label = next((p for s in (".lbl", ".LBL") if (p := path.with_suffix(s)).is_file()), path)
    text = label.read_text(encoding="latin-1")
    columns = [
        parse_pds3(block) for block in re.findall(r"OBJECT\s*=\s*COLUMN\s(.*?)END_OBJECT\s*=\s*COLUMN", text, re.S)
    ]
    pointed = re.search(r"\^\w*TABLE\s*=\s*\(?\s*\"([^\"]+)\"", text)
    if not columns or pointed is None:
        raise DataError(f"{label} describes no table (columns and ^INDEX_TABLE); name the label of a cumulative index.")
    table = next(
        (p for n in (pointed[1], pointed[1].lower(), pointed[1].upper()) if (p := path.parent / n).is_file()), None
    )
    if table is None:
        raise DataError(f"{label} names the table {pointed[1]}, which is not beside it; fetch it too.")
    west = longitudes == "west" or (
        longitudes == "auto"
        and re.search(r"POSITIVE_LONGITUDE_DIRECTION\s*=\s*\"?WEST|west\s+longitude", text, re.I) is not None
    )
    names = [str(column.get("NAME", f"column{n}")) for n, column in enumerate(columns)]
    if all("START_BYTE" in column and "BYTES" in column for column in columns):
        return list(_fixed(table, names, columns)), west
    with open(table, newline="", encoding="latin-1") as file:
        cells = csv.reader(file, skipinitialspace=True)
        return [dict(zip(names, (cell.strip() for cell in row), strict=False)) for row in cells if row], west


def _fixed(table: pathlib.Path, names: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    spans = [(int(c["START_BYTE"]) - 1, int(c["START_BYTE"]) - 1 + int(c["BYTES"])) for c in columns]
    with open(table, encoding="latin-1", newline="\n") as file:
        for line in file:
            if line.strip():
                yield {name: line[a:b].strip().strip('"').strip() for name, (a, b) in zip(names, spans, strict=True)}


def _local_items(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Items of a STAC catalogue in files: links that are followed are relative, and lead to children and items."""
    waiting, seen = [path.resolve()], set()
    while waiting:
        here = waiting.pop(0)
        if here in seen:
            continue
        seen.add(here)
        try:
            found = json.loads(here.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{here} cannot be read as STAC ({error}); fetch the catalogue again.") from None
        if not isinstance(found, dict):
            raise DataError(f"{here} is no STAC catalogue, collection or item.")
        if found.get("type") == "Feature":
            yield {**found, "_folder": os.fspath(here.parent)}
        elif found.get("type") == "FeatureCollection":
            yield from ({**item, "_folder": os.fspath(here.parent)} for item in found.get("features", ()))
        for link in found.get("links", ()):
            if link.get("rel") in ("child", "item") and "://" not in link["href"] and found.get("type") != "Feature":
                waiting.append((here.parent / link["href"]).resolve())


def _remote_items(address: str) -> Iterator[dict[str, Any]]:
    """Items of a STAC API or of a catalogue on a server; an address may end in ?collections=A,B."""
    with brought_by("survey"):
        from pystac_client import Client
        from pystac_client.exceptions import APIError

    address, _, asked = address.partition("?collections=")
    try:
        client = Client.open(address)
        chosen = asked.split(",") if asked else None
        items = (
            client.search(collections=chosen).items()
            if client.conforms_to("ITEM_SEARCH")
            else client.get_items(recursive=True)
        )
        for item in items:
            yield item.to_dict()
    except (APIError, OSError, ValueError) as error:
        raise DataError(
            f"{address} cannot be read as STAC ({str(error).splitlines()[0]}); check the address."
        ) from None


def _of_stac_items(items: Iterable[Mapping[str, Any]], folder: str) -> Archive:
    found = Archive([], [])
    for item in items:
        plain = {_plain(key): value for key, value in {**item.get("properties", {})}.items()}
        href = _asset(item)
        if href is None:
            found.refused.append((str(item.get("id")), "it has no asset that is an image"))
            continue
        name = (
            href
            if "://" in href or href.startswith("/")
            else os.path.normpath(os.path.join(item.get("_folder", folder), href))
        )
        geometry = item.get("geometry")
        ring = _outline(shapely.from_geojson(json.dumps(geometry))) if geometry else _NO_RING
        if not len(ring):
            found.refused.append((name, "it has no geometry"))
            continue
        # What STAC calls incidence is that of the sensor; the sun's is 90 degrees less its elevation.
        plain["emission"] = plain.pop("incidenceangle", plain.get("offnadir"))
        if isinstance(plain.get("targets"), list):
            plain["targets"] = plain["targets"][0]
        found.images.append(_filled(Footprint(name, ring), plain))
    return found


def _asset(item: Mapping[str, Any]) -> str | None:
    """Address of the image of an item: the asset with the role data, else the first that is an image."""
    assets = list(item.get("assets", {}).values())
    image = [
        a
        for a in assets
        if str(a.get("type", "image/")).startswith("image/") and "thumbnail" not in (a.get("roles") or ())
    ]
    chosen = [a for a in image if "data" in (a.get("roles") or ())] or image
    return chosen[0]["href"] if chosen else None
