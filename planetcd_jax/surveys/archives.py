"""Footprints of an archive: from the files themselves, a table, an index of the PDS, or a STAC catalogue."""

import csv
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError, PlanetCDError
from planetcd_jax.extras import brought_by
from planetcd_jax.surveys.archive_files import of_file
from planetcd_jax.surveys.archive_pds import index_rows
from planetcd_jax.surveys.archive_rows import NAMES, NO_RING, filled, outline, plain, ring_of
from planetcd_jax.surveys.archive_stac import asset, local_items, remote_items
from planetcd_jax.surveys.footprints import Footprint

with brought_by("survey"):
    import shapely

_SUFFIXES = {
    ".tif", ".tiff", ".jp2", ".img", ".cub", ".lbl", ".xml", ".vrt", ".png", ".jpg", ".jpeg", ".qub", ".fits", ".nc",
    ".imq",
}  # fmt: skip


class Archive(NamedTuple):
    """Footprints, and why the others have none: name and reason in one line."""

    images: list[Footprint]
    refused: list[tuple[str, str]]


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
        found = _of_stac_items(remote_items(name), "")
    elif path.is_dir():
        found = _of_folder(path, keep)
    elif not path.is_file():
        raise DataError(f"{name} does not exist; name a folder of images, a CSV, an index label or a STAC catalogue.")
    elif path.suffix.lower() == ".json":
        found = _of_stac_items(local_items(path), os.fspath(path.parent))
    elif path.suffix.lower() in (".lbl", ".tab"):
        found = _of_rows(*index_rows(path, longitudes), path.parent, keep)
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
    return _of_files([p for p in paths if p not in labels_beside or p.with_suffix("") not in own], keep)


def _of_files(paths: Iterable[str | pathlib.Path], keep: Callable[[str], None]) -> Archive:
    found = Archive([], [])
    for path in paths:
        keep(os.fspath(path))
        try:
            found.images.append(of_file(os.fspath(path)))
        except PlanetCDError as error:
            found.refused.append((os.fspath(path), str(error)))
    return found


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
        cells = {plain(key): value for key, value in row.items() if key is not None}
        name = next((str(cells[key]).strip() for key in NAMES["name"] if cells.get(key)), "")
        if not name:
            raise DataError(f"row {n} of the table names no image; give it a column path.")
        name = name if "://" in name or name.startswith("/vsi") else os.path.normpath(folder / name)
        ring = ring_of(cells, west)
        if not len(ring):
            read = _of_files([name], keep)
            found.images.extend(filled(image, cells) for image in read.images)
            found.refused.extend(read.refused)
        else:
            found.images.append(filled(Footprint(name, ring), cells))
    return found


def _of_stac_items(items: Iterable[Mapping[str, Any]], folder: str) -> Archive:
    found = Archive([], [])
    for item in items:
        cells = {plain(key): value for key, value in {**item.get("properties", {})}.items()}
        href = asset(item)
        if href is None:
            found.refused.append((str(item.get("id")), "it has no asset that is an image"))
            continue
        name = (
            href
            if "://" in href or href.startswith("/")
            else os.path.normpath(os.path.join(item.get("_folder", folder), href))
        )
        geometry = item.get("geometry")
        ring = outline(shapely.from_geojson(json.dumps(geometry))) if geometry else NO_RING
        if not len(ring):
            found.refused.append((name, "it has no geometry"))
            continue
        # What STAC calls incidence is that of the sensor; the sun's is 90 degrees less its elevation.
        cells["emission"] = cells.pop("incidenceangle", cells.get("offnadir"))
        if isinstance(cells.get("targets"), list):
            cells["targets"] = cells["targets"][0]
        found.images.append(filled(Footprint(name, ring), cells))
    return found
