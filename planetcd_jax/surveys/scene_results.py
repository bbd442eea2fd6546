"""What a survey keeps of a scene: some facts of its run and its places, from the folder that planetcd-scene left."""

import csv
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from planetcd_jax.surveys.footprints import number

_TEXTS = ("kind", "explanation", "area_unit")
_NUMBERS = (
    "rank", "rho", "p_value", "tail_p", "lon", "lat", "area", "pixel_size", "height_px", "width_px", "correlation",
    "brightness_difference", "light_turn", "kind_sure",
)  # fmt: skip


def read_scene(folder: pathlib.Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts of the run and one row for each place, JSON-able; what cannot be read is told under "error".

    Columns of the places that are not there are left out; a survey goes on with what a scene has.
    """
    try:
        report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        with open(folder / "candidates.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        facts = _facts(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}", "n_windows": 0}, []
    return facts, [_place(row) for row in rows]


def _facts(report: Mapping[str, Any]) -> dict[str, Any]:
    before = report.get("before") or {}
    kept = {name: report.get(name) for name in ("run", "source", "tau", "n_windows", "n_candidates")}
    if str((before.get("tags") or {}).get("NOTE", "")).startswith("SIMULATED"):
        kept["source"] = "simulated"
    place = {name: before.get(name) for name in ("crs", "size", "transform")}
    return {**kept, **place, "pixel_area": _pixel_area(before.get("transform"))}


def _pixel_area(transform: list[float] | None) -> float | None:
    if transform is None:
        return None
    a, b, _, d, e, _ = transform
    return abs(a * e - b * d)


def _place(row: Mapping[str, str]) -> dict[str, Any]:
    place: dict[str, Any] = {name: row[name] for name in _TEXTS if row.get(name)}
    for name in _NUMBERS:
        value = number(row.get(name, ""))
        if math.isfinite(value):
            place[name] = value
    place["rank"] = int(place.get("rank", 0))
    return place


def radius_m(place: Mapping[str, Any], pixel_m: float) -> float:
    """How far the changed ground of a place reaches from its centre, metres; at least 10 pixels."""
    area = place.get("area", 0.0) * (pixel_m**2 if place.get("area_unit") == "px2" else 1.0)
    return float(max(np.sqrt(area / np.pi), 10.0 * pixel_m))
