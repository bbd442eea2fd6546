"""The catalogue of a survey: every place of every scene, and the changes that several pairs of one ground saw."""

import functools
import json
import math
import os
import pathlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from planetcd_jax.errors import ConfigError, DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.folders import hidden_beside, output_errors
from planetcd_jax.scenes import body
from planetcd_jax.scenes.times import seconds_of
from planetcd_jax.surveys import sphere
from planetcd_jax.surveys.attempt import scene_folder
from planetcd_jax.surveys.discoveries import BatchBH
from planetcd_jax.surveys.ledger import Ledger, ledgers_of
from planetcd_jax.surveys.scene_results import radius_m
from planetcd_jax.words import counted

with brought_by("survey"):
    import geopandas
    import pandas as pd
    import pyogrio
    from rasterio.crs import CRS
    from scipy.spatial import KDTree

PARQUET, GEOPACKAGE, CHANGES = "catalogue.parquet", "catalogue.gpkg", "changes.parquet"
MARKS = "marks.json"
"""Marks that were merged, by place: {"SCENE:RANK": {"mark": ..., "class": ..., "note": ...}}."""

_FIXED_TIME = "2000-01-01T00:00:00.000Z"
_OF_THE_BEST = ("rank", "place", "lon", "lat", "kind", "explanation", "mark", "class")
_BANDS = ("lower third", "middle third", "upper third")


def read_marks(folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """Marks of a survey by place; none where there are none."""
    path = folder / MARKS
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        raise DataError(f"{path} is damaged; move it away and merge the exported marks again.") from None


def read_places(folder: pathlib.Path, rate: float = 0.1) -> tuple[pd.DataFrame, CRS | None]:
    """All places, best first, and the system of longitude and latitude of the body.

    Args:
        folder: Of the survey.
        rate: False discovery rate of the column `discovery`.
    """
    rows, tests, system, procedure = [], 0, None, BatchBH(rate)
    for path in ledgers_of(folder):
        ledger = Ledger(path)
        for _, name, facts, places in ledger.scenes():
            count = int(facts.get("n_windows") or 0)
            found, level = procedure.take([_p_value(place) for place in places], count)
            tests, system = tests + count, system or facts.get("crs")
            pair = ledger.pair(name) if places else {}
            for order, place in enumerate(sorted(places, key=_p_value)):
                rows.append(_row(folder, pair, facts, place) | {"discovery": order < found, "level": level})
        ledger.close()
    frame = _ranked(pd.DataFrame(rows, columns=None if rows else ["place"]), tests)
    return frame, None if system is None else _degrees(CRS.from_wkt(system))


def _degrees(crs: CRS) -> CRS | None:
    found = body.degrees_of(crs)
    return None if found is None else CRS.from_wkt(found.to_wkt())


def _p_value(place: Mapping[str, Any]) -> float:
    """The p-value of a place: that of a fitted tail where the scene has one, else the share of null scores."""
    return float(place.get("tail_p", place.get("p_value", 1.0)))


@functools.lru_cache(maxsize=64)
def _metres(system: str | None) -> float:
    """Metres in a unit of a reference system, given as WKT: 1 for maps and without a system."""
    if not system or not body.system_of(CRS.from_wkt(system)).is_geographic:
        return 1.0
    return math.pi / 180 * body.radius(CRS.from_wkt(system))


def _row(
    folder: pathlib.Path, pair: Mapping[str, Any], facts: Mapping[str, Any], place: Mapping[str, Any]
) -> dict[str, Any]:
    table, windows = pair["facts"], int(facts.get("n_windows") or 0)
    p = _p_value(place)
    pixel = math.sqrt(facts.get("pixel_area") or 1.0) * _metres(facts.get("crs"))
    report = os.path.relpath(scene_folder(folder, pair["id"]) / "report.html", folder)
    return {
        "place": f"{pair['id']}:{place['rank']}", "scene": pair["id"], "rank_in_scene": place["rank"],
        "lon": place.get("lon", math.nan), "lat": place.get("lat", math.nan), "rho": place.get("rho", math.nan),
        "rho_over_tau": place.get("rho", math.nan) / (facts.get("tau") or math.nan),
        "p_value": place.get("p_value", math.nan),
        "tail_p": place.get("tail_p", math.nan), "p": p, "expected_false": p * windows, "tests": windows,
        "kind": place.get("kind", ""), "kind_sure": place.get("kind_sure", math.nan),
        "explanation": place.get("explanation", ""), "area": place.get("area", math.nan),
        "radius_m": radius_m(place, pixel), "before": pair["before"], "after": pair["after"],
        "before_time": table.get("before_time", ""), "after_time": table.get("after_time", ""),
        "light_difference": float(table.get("light_difference") or math.nan),
        "overlap": float(table.get("overlap") or math.nan), "chain": table.get("chain", ""),
        "light_turn": place.get("light_turn", math.nan), "correlation": place.get("correlation", math.nan),
        "report": report, "simulated": facts.get("source") == "simulated",
    }  # fmt: skip


def _ranked(frame: pd.DataFrame, tests: int) -> pd.DataFrame:
    """In the order of what each scene expects by chance, then of the score; with rank and false discovery rate.

    `fdr` is the Benjamini-Hochberg q-value over all windows of all scenes so far: it changes as scenes come, where
    `discovery` stays.
    """
    if not len(frame) or "p" not in frame:
        return frame
    frame = frame.sort_values(
        ["expected_false", "rho_over_tau", "place"], ascending=[True, False, True], ignore_index=True
    )
    order = np.argsort(frame["p"].to_numpy(), kind="stable")
    raw = frame["p"].to_numpy()[order] * tests / np.arange(1, len(frame) + 1)
    q = np.empty(len(frame))
    q[order] = np.minimum.accumulate(raw[::-1])[::-1].clip(max=1.0)
    return frame.assign(rank=np.arange(1, len(frame) + 1), fdr=q)


def _interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """When the change of a place happened at the earliest and at the latest, seconds."""
    one, other = seconds_of(row["before_time"]), seconds_of(row["after_time"])
    return (-math.inf if math.isnan(one) else one), (math.inf if math.isnan(other) else other)


def merged(frame: pd.DataFrame, radius: float) -> np.ndarray:
    """Number of the change that each place belongs to, counted from 1 in the order of the places.

    Places of different scenes are one change if their grounds touch and there is a time that all of them allow.

    Args:
        frame: From `read_places`.
        radius: Of the body, metres.
    """
    change = np.zeros(len(frame), int)
    if not len(frame):
        return change
    points = sphere.vectors(frame[["lon", "lat"]].to_numpy(float))
    placed = np.asarray(np.isfinite(points).all(axis=1))
    tree, reach = KDTree(np.where(placed[:, None], points, 9.0)), frame["radius_m"].to_numpy(float) / radius
    rows, scenes, count = frame.to_dict("records"), frame["scene"].tolist(), 0
    for k in range(len(frame)):
        if change[k]:
            continue
        count += 1
        change[k] = count
        if not placed[k]:
            continue
        (early, late), seen = _interval(rows[k]), {scenes[k]}
        near = sorted(tree.query_ball_point(points[k], 2 * math.sin(min(reach[k] + reach.max(), 1.0) / 2)))
        for n in near:
            apart = float(sphere.angle(points[k], points[n]))
            first, last = _interval(rows[n])
            together = max(early, first) < min(late, last)
            if not change[n] and scenes[n] not in seen and apart <= max(reach[k], reach[n]) and together:
                change[n], early, late = change[k], max(early, first), min(late, last)
                seen.add(scenes[n])
    return change


def changes_of(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each change: its best place, the scenes that saw it, and between which dates it happened."""
    rows = []
    for number, group in frame.groupby("change", sort=True):
        best = group.iloc[0]
        # The change happened after the latest image without it and before the earliest one with it.
        starts, ends = ([t for t in group[name] if t] for name in ("before_time", "after_time"))
        rows.append(
            {
                "change": number, "places": len(group), "last_not_seen": max(starts, default=""),
                "first_seen": min(ends, default=""), "scenes": " ".join(group["scene"]),
                "discovery": bool(group["discovery"].any()), "expected_false": float(np.min(group["expected_false"])),
                **{name: best[name] for name in _OF_THE_BEST},
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def stratified(frame: pd.DataFrame, column: str | None) -> pd.DataFrame:
    """With columns `stratum`, `rank_in_stratum` and `review`, the order that goes round the strata.

    Raises:
        ConfigError: if there is no such column.
    """
    if column is None or not len(frame):
        return frame.assign(stratum="", rank_in_stratum=frame.get("rank", 0), review=frame.get("rank", 0))
    if column not in frame:
        raise ConfigError(f"--strata={column} is no column of the catalogue; choose one of {', '.join(frame.columns)}.")
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        cuts = np.nanquantile(values, [1 / 3, 2 / 3]) if np.asarray(values.notna()).any() else [0, 0]
        names = np.array(_BANDS, object)[np.searchsorted(cuts, values.fillna(0))]
        names[values.isna().to_numpy()] = "not known"
    else:
        names = values.astype(str).replace("", "not known").to_numpy()
    frame = frame.assign(stratum=names)
    within = frame.groupby("stratum", sort=False).cumcount() + 1
    order = np.lexsort((frame["rank"], within))
    review = np.empty(len(frame), int)
    review[order] = np.arange(1, len(frame) + 1)
    return frame.assign(rank_in_stratum=within, review=review)


def build(folder: pathlib.Path, *, rate: float = 0.1, strata: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes the catalogue of what is done so far; returns its places and its changes.

    Raises:
        OutputError: if it cannot be written.
        ConfigError: if `strata` is no column.
    """
    frame, system = read_places(folder, rate)
    if "p" not in frame:
        return frame, pd.DataFrame()
    marks = read_marks(folder)
    for name in ("mark", "class", "note"):
        frame[name] = [marks.get(place, {}).get(name, "") for place in frame["place"]]
    radius = body.radius(system) if system is not None else math.nan
    frame = frame.assign(change=merged(frame, radius if math.isfinite(radius) else 1.0))
    frame = stratified(frame, strata)
    changes = changes_of(frame)
    with output_errors(os.fspath(folder), "free some space and repeat the command", kinds=(OSError,)):
        write(folder, {"places": frame, "changes": changes}, system, GEOPACKAGE)
        for name, table in ((PARQUET, frame), (CHANGES, changes)):
            _replaced(folder / name, lambda path, table=table: _points(table, system).to_parquet(path, index=False))
    return frame, changes


def summary(places: pd.DataFrame, changes: pd.DataFrame) -> str:
    """How many there are."""
    found = int(np.count_nonzero(places["discovery"])) if len(places) else 0
    return ", ".join(
        (counted(len(places), "place"), counted(len(changes), "change"), counted(found, "discovery", "discoveries"))
    )


def why_none(places: pd.DataFrame) -> str:
    """Why no place is a discovery, in a sentence; "" where one is, or there is no place."""
    if not len(places) or np.asarray(places["discovery"]).any():
        return ""
    first = places.to_dict("records")[int(np.argmin(places["p"].to_numpy()))]
    needed = float(first["level"]) / max(int(first["tests"]), 1)
    said = (
        f"No discovery: the smallest p-value is {first['p']:.2g}, and one place alone in a scene of "
        f"{first['tests']} windows needs {needed:.2g}."
    )
    if np.isnan(places["tail_p"].to_numpy(float)).all():
        said += (
            " No scene has a fitted tail, so p is never below one over its number of null scores: give more by "
            "--scene=null_draws=64 or above."
        )
    return said


def _points(table: pd.DataFrame, system: CRS | None) -> geopandas.GeoDataFrame:
    shapes = geopandas.points_from_xy(table["lon"], table["lat"])
    return geopandas.GeoDataFrame(table, geometry=shapes, crs=None if system is None else body.system_of(system))


def write(folder: pathlib.Path, layers: Mapping[str, pd.DataFrame], system: CRS | None, name: str) -> None:
    """Writes tables of places as layers of one GeoPackage, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """

    def into(path: pathlib.Path) -> None:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _FIXED_TIME})
        try:
            for layer, table in layers.items():
                with warnings.catch_warnings():
                    # Without a reference system the GeoPackage says "undefined Cartesian", which is true.
                    warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
                    shapes = _points(table, system)
                    shapes.to_file(path, layer=layer, driver="GPKG", engine="pyogrio", geometry_type="Point")
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})

    _replaced(folder / name, into)


def _replaced(path: pathlib.Path, into) -> None:
    """A file that `into` writes under another name, put in its place when it is whole."""
    temporary = hidden_beside(path.with_suffix(""), f"tmp{path.suffix}")
    temporary.unlink(missing_ok=True)
    into(temporary)
    os.replace(temporary, path)


def write_accepted(folder: pathlib.Path, frame: pd.DataFrame, system: CRS | None) -> None:
    """Writes places as accepted.gpkg and accepted.parquet.

    Raises:
        OutputError: if they cannot be written.
    """
    with output_errors(os.fspath(folder), "free some space and repeat the command", kinds=(OSError,)):
        write(folder, {"accepted": frame}, system, "accepted.gpkg")
        into = folder / "accepted.parquet"
        _replaced(into, lambda path: _points(frame, system).to_parquet(path, index=False))


def accepted(frame: pd.DataFrame, words: Iterable[str] = ("accepted", "accept", "yes", "true", "1")) -> pd.DataFrame:
    """The places that were marked as changes."""
    known = {word.lower() for word in words}
    return frame.loc[[str(mark).lower() in known for mark in frame["mark"]]]
