"""Marks that a reader set on the page of a scene, read again, and the accepted places as files for a GIS."""

import csv
import io
import json
import pathlib
import shutil
import sqlite3
from typing import Any, NamedTuple, cast

import geopandas
import pandas
from pyogrio.errors import DataLayerError, DataSourceError

from planetcd_jax.errors import DataError
from planetcd_jax.files.folders import output_errors
from planetcd_jax.report import qgis
from planetcd_jax.scenes import writing

ACCEPTED = "accepted"
MARKS = (ACCEPTED, "unsure", "rejected")
_LAYERS = (writing.LAYER, "below_tau")


class Marks(NamedTuple):
    """What a file of marks holds.

    Attributes:
        run: Identifies the run whose page was marked.
        rows: "rank", "mark", "class" and "note" of each marked place; texts, empty where there is none.
    """

    run: str
    rows: list[dict[str, Any]]


def read_marks(path: pathlib.Path) -> Marks:
    """Marks from a file that the page of a scene has saved as JSON or CSV.

    Raises:
        DataError: if it cannot be read or holds none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise DataError(f"--marks={path} cannot be read ({reason}); give a file that the page has saved.") from None
    try:
        run, rows = _of_json(text) if text.lstrip().startswith("{") else _of_csv(text)
        kept = [_row(row) for row in rows if row["mark"] or row["class"] or row["note"]]
    except (KeyError, TypeError, ValueError, IndexError, csv.Error):
        raise DataError(
            f"--marks={path} holds no marks of this program; give a file that the page's Save JSON or Save CSV has "
            "written."
        ) from None
    return Marks(run, kept)


def _of_json(text: str) -> tuple[str, list[dict[str, Any]]]:
    read = json.loads(text)
    return str(read["planetcd"]["run"]), [feature["properties"] for feature in read["features"]]


def _of_csv(text: str) -> tuple[str, list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text, newline="")))
    return rows[0]["run"], rows


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """One mark with its parts as the files have them.

    Raises:
        ValueError: if it is none that a page sets.
    """
    mark = row["mark"] or ""
    if mark and mark not in MARKS:
        raise ValueError(mark)
    return {"rank": int(row["rank"]), "mark": mark, "class": row["class"] or "", "note": row["note"] or ""}


def write_accepted(marks: Marks, folder: pathlib.Path, *, parquet: bool) -> tuple[list[pathlib.Path], int]:
    """Writes the accepted places of a finished run beside its results: accepted.gpkg, and GeoParquet if asked for.

    Columns are those of candidates.gpkg, and "mark", "class" and "note". Earlier files of these names are replaced.

    Args:
        marks: From `read_marks`.
        folder: The run's results.
        parquet: Whether accepted.parquet is written too.

    Returns:
        The files, and how many places they hold.

    Raises:
        DataError: if the folder holds no results, or those of another run, or not all of the marked places.
        OutputError: if a file cannot be written.
    """
    _check_run(marks, folder)
    accepted = [row for row in marks.rows if row["mark"] == ACCEPTED]
    places = _places(folder, accepted)
    written = [folder / "accepted.gpkg"]
    draft = folder / ".accepted.gpkg"
    with output_errors(
        str(written[0]), "free some space and repeat the command", kinds=(sqlite3.Error, DataSourceError)
    ):
        draft.unlink(missing_ok=True)
        writing.write_geopackage(draft, places, ACCEPTED)
        qgis.dress_places(draft, ACCEPTED)
        shutil.move(draft, written[0])
        if parquet:
            written.append(folder / "accepted.parquet")
            places.to_parquet(written[1], index=False)
    return written, len(places)


def _check_run(marks: Marks, folder: pathlib.Path) -> None:
    """Raises DataError if the folder does not hold the run that was marked."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, KeyError):
        raise DataError(
            f"--output_dir={folder} holds no results of a scene; name the folder of the marked page."
        ) from None
    if run != marks.run:
        raise DataError(
            f"the marks are of run {marks.run}, and --output_dir={folder} holds run {run}; name the folder of the "
            "marked page, or load the marks into this run's page and save them there."
        )


def _places(folder: pathlib.Path, accepted: list[dict[str, Any]]) -> geopandas.GeoDataFrame:
    """The accepted places by rank, with their marks."""
    path = folder / "candidates.gpkg"
    try:
        layers = [geopandas.read_file(path, layer=layer) for layer in _LAYERS]
    except (DataSourceError, DataLayerError) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); run the scene again.") from None
    everything = pandas.concat([layer for layer in layers if len(layer)] or layers[:1], ignore_index=True)
    told = {row["rank"]: row for row in accepted}
    lacking = sorted(set(told) - set(everything["rank"]))
    if lacking:
        raise DataError(f"{path} has no place of rank {lacking[0]}, which is marked; give the marks of this run.")
    kept = cast(pandas.DataFrame, everything[everything["rank"].isin(list(told))])
    kept = kept.sort_values("rank", ignore_index=True)
    for position, name in enumerate(("mark", "class", "note"), start=1):
        kept.insert(position, name, [told[rank][name] for rank in kept["rank"]])
    return geopandas.GeoDataFrame(kept, geometry="geometry", crs=layers[0].crs)
