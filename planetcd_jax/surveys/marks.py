"""Marks that people made on pages of scenes and of the survey, merged into one set."""

import csv
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.folders import output_errors
from planetcd_jax.files.json_files import write_json
from planetcd_jax.surveys import catalogue
from planetcd_jax.surveys.footprints import number

with brought_by("survey"):
    import pandas as pd

_MARK = ("mark", "status", "verdict", "label")
_RANK = ("rank", "rank_in_scene", "candidate")
_SAME_DEGREES = 1e-6


def read_export(path: pathlib.Path) -> list[dict[str, Any]]:
    """Rows of an exported file of marks, CSV or JSON (a list, or an object with a list).

    Raises:
        DataError: if it is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not text.lstrip().startswith(("[", "{")):
            return [dict(row) for row in csv.DictReader(text.splitlines())]
        found = json.loads(text)
        common = {} if isinstance(found, list) else {k: v for k, v in found.items() if not isinstance(v, list | dict)}
        rows = found if isinstance(found, list) else next((v for v in found.values() if isinstance(v, list)), [])
        return [{**common, **row} for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); export the marks again as CSV or JSON.") from None


def _first(row: Mapping[str, Any], names: Iterable[str]) -> str:
    return next((str(row[name]).strip() for name in names if row.get(name) not in (None, "")), "")


class Places:
    """The places of a catalogue, found by what an export says of them."""

    def __init__(self, frame: pd.DataFrame, runs: Mapping[str, str]):
        self._known = set(frame["place"]) if len(frame) else set()
        self._scenes = set(frame["scene"]) if len(frame) else set()
        self._runs = runs
        self._by_rank: dict[int, list[tuple[float, float, str]]] = {}
        for row in frame.to_dict("records"):
            self._by_rank.setdefault(int(row["rank_in_scene"]), []).append((row["lon"], row["lat"], row["place"]))

    def of(self, row: Mapping[str, Any]) -> str | None:
        """Place that a row means: by its id, by scene or run and rank, or by rank and coordinates; None for none."""
        named = _first(row, ("place", "place_id"))
        if named in self._known:
            return named
        rank = number(_first(row, _RANK))
        if rank != rank:
            return None
        scene = _first(row, ("scene", "scene_id", "folder"))
        scene = scene if scene in self._scenes else pathlib.PurePath(scene).name
        scene = scene if scene in self._scenes else self._runs.get(_first(row, ("run", "run_id", "scene")), "")
        if f"{scene}:{int(rank)}" in self._known:
            return f"{scene}:{int(rank)}"
        lon, lat = number(row.get("lon")), number(row.get("lat"))
        near = [p for x, y, p in self._by_rank.get(int(rank), ()) if max(abs(x - lon), abs(y - lat)) < _SAME_DEGREES]
        return near[0] if len(near) == 1 else None


def merge(folder: pathlib.Path, exports: Iterable[pathlib.Path], frame: pd.DataFrame, runs: Mapping[str, str]):
    """Merges exported marks, later files over earlier ones, into the marks of a survey.

    Args:
        folder: Of the survey.
        exports: Files.
        frame: Places of the survey, from `catalogue.read_places`.
        runs: Scene by the identity of its run.

    Returns:
        How many marks were taken, how many rows meant no place of this survey, and how many marks were changed that
        were there with another verdict.

    Raises:
        DataError, OutputError: if a file cannot be read, or the marks cannot be written.
    """
    marks, places = catalogue.read_marks(folder), Places(frame, runs)
    taken = unknown = changed = 0
    for path in exports:
        for row in read_export(path):
            mark = {"mark": _first(row, _MARK), "class": _first(row, ("class", "kind_marked", "category")),
                    "note": _first(row, ("note", "notes", "comment"))}  # fmt: skip
            if not any(mark.values()):
                continue
            place = places.of(row)
            if place is None:
                unknown += 1
                continue
            changed += place in marks and marks[place].get("mark") != mark["mark"]
            marks[place] = mark
            taken += 1
    with output_errors(os.fspath(folder), "free some space and repeat the command"):
        write_json(folder / catalogue.MARKS, dict(sorted(marks.items())))
    return taken, unknown, changed
