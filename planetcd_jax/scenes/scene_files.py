"""The results of a scene as files: maps, places with their pictures, the page and run.json."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from planetcd_jax.files.digests import sha256_of
from planetcd_jax.files.folders import write_whole
from planetcd_jax.files.json_files import write_json
from planetcd_jax.report import page, qgis
from planetcd_jax.runtime.ticking import ticking
from planetcd_jax.scenes import (
    dating,
    kinds,
    outlines,
    places,
    writing,
)
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.pictures import date_pictures, overview_of, pictures_of
from planetcd_jax.scenes.place_measures import Chip, measure
from planetcd_jax.scenes.places import Candidate
from planetcd_jax.scenes.request import Request, identity
from planetcd_jax.scenes.run_report import Listed, about, run_report
from planetcd_jax.scenes.scored import Scored
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.version import __version__

RUN_FILE = "run.json"
MapWriter = Callable[[Candidate, Chip], None]
"""Writes the pixel map of a place."""

_MAPS = 1 << 30  # apart from the keys of null tiles, which are counted from 1


def write_results(request: Request, scene: Scene, scored: Scored, kept: Checkpoint, *, quiet: bool) -> dict[str, Any]:
    """Puts together everything that the run leaves behind, in `kept.final`.

    Returns:
        What run.json says.
    """
    who = identity(request, scene)
    run = sha256_of(json.dumps(who, sort_keys=True).encode())[:16]
    tags = {"tau": f"{scored.tau:.9g}", "program": f"planetcd_jax {__version__}", "run": run}
    if request.simulated:
        tags["NOTE"] = "SIMULATED"
    _write_maps(scene, scored, kept.final, tags)
    key = jax.random.fold_in(jax.random.key(request.seed), _MAPS)
    changes, searched = _find_changes(key, scene, scored, quiet=quiet)
    maps = scored.rho, scored.p_value, scored.tau
    if scored.chance is not None:
        scored = scored._replace(chance=dataclasses.replace(scored.chance, searched=searched))
    found, spare = places.list_candidates(maps, changes, scene.plan, scene.pair, request.on_page, scored.chance)
    write_map = _map_writer(request, scene.pair, kept.final, tags)
    measured, shown = _measure_and_draw(key, request, scene, found, write_map, quiet=quiet)
    if scored.chance is not None:
        measured, spare = (places.with_tail_p(part, scored.chance) for part in (measured, spare))
    rows = _write_places(request, scene, measured, spare, kept.final)
    above = sum(one.changed for one in measured)
    report = run_report(request, scene, scored, who, run, Listed(above, len(spare), searched))
    html = page.scene_page(
        [page.PageCandidate(row, *pictures) for row, pictures in zip(rows, shown, strict=False)],
        overview_of(scene, scored),
        about(request, report, scene, scored),
    )
    write_whole(kept.final / "report.html", html.encode("utf-8"))
    write_json(kept.final / RUN_FILE, report)
    return report


def _write_maps(scene: Scene, scored: Scored, folder: pathlib.Path, tags: Mapping[str, str]) -> None:
    """Maps of all windows as GeoTIFFs: scores and p-values, and whatever else the score gives."""
    plan = scene.plan
    grid = writing.map_grid(scene.pair.grid, plan.window, plan.stride, scored.rho.shape)
    writing.write_geotiff(folder / "rho.tif", {"rho": scored.rho, "p_value": scored.p_value}, grid, tags)
    qgis.dress_score(folder / "rho.tif", scored.tau)
    for name, values in scored.layers.items():
        writing.write_geotiff(folder / f"{name}.tif", {name: values}, grid, tags)


def _write_places(
    request: Request, scene: Scene, measured: list[Candidate], spare: list[Candidate], folder: pathlib.Path
) -> list[dict[str, Any]]:
    """Tables of the places, and of the peaks that are none; returns the rows of the first."""
    grid, window, dated = scene.pair.before_grid, scene.plan.window, scene.dates is not None
    if dated:
        spare = [dataclasses.replace(place, dated=dict.fromkeys(dating.COLUMNS, "")) for place in spare]
    rows = writing.table(measured, grid, window)
    changed = [row for row, one in zip(rows, measured, strict=True) if one.changed]
    below = [row for row, one in zip(rows, measured, strict=True) if not one.changed]
    tables = {writing.LAYER: changed, "below_tau": below, "no_ground": writing.table(spare, grid, window)}
    columns = dating.COLUMNS if dated else ()
    writing.write_places(folder, tables, grid, parquet=request.parquet, window=window, dated=columns)
    qgis.dress_places(folder / "candidates.gpkg", writing.LAYER, kinds.FAMILIES)
    return rows


def _find_changes(
    key: jax.Array, scene: Scene, scored: Scored, *, quiet: bool
) -> tuple[list[outlines.Change] | None, int | None]:
    """The changes in the ground above tau, and in how many pieces of the scene they were looked for.

    None where the score does not tell changes from each other.
    """
    if not scene.config.score.outlines:
        return None, None
    with np.errstate(invalid="ignore"):
        corners = np.argwhere(scored.rho > scored.tau) * scene.plan.stride
    count = len(outlines.tiles(corners, scene.plan.window))
    with tqdm(total=count, desc="changed ground", unit="tile", disable=quiet) as bar:
        return outlines.find_changes(key, scene, corners, bar.update), count


def _measure_and_draw(
    key: jax.Array, request: Request, scene: Scene, found: list[Candidate], write_map: MapWriter, *, quiet: bool
) -> tuple[list[Candidate], list[tuple]]:
    """Every candidate measured, and the pictures of those on the page; writes pixel maps."""
    measured, shown = [], []
    looks = measure(key, found, scene, heats=max(request.on_page, request.pixel_maps))
    date = None if scene.dates is None else dating.dater(scene)
    for candidate, chip in _with_progress(looks, len(found), quiet=quiet):
        dated = None
        if date is not None and scene.dates is not None:
            dated = date(candidate, chip)
            candidate = dating.with_dates(candidate, dated.told, scene.dates)
        measured.append(candidate)
        if candidate.rank <= request.on_page:
            shown.append((*pictures_of(scene, candidate, chip), date_pictures(scene, candidate, dated)))
        write_map(candidate, chip)
    return measured, shown


def _map_writer(request: Request, pair: AlignedPair, folder: pathlib.Path, tags: Mapping[str, str]) -> MapWriter:
    """What writes the pixel map of a place, where it has one and the run asks for it, with its unit and its level."""
    if request.pixel_maps:
        (folder / "pixel_maps").mkdir()

    def write(candidate: Candidate, chip: Chip) -> None:
        if candidate.rank > request.pixel_maps or chip.heat is None:
            return
        grid = pair.before_grid.part(chip.row, chip.col, *chip.heat.shape)
        path = folder / "pixel_maps" / f"candidate_{candidate.rank:04d}.tif"
        unit = "standard deviations of what unchanged ground shows"
        own = {**tags, "rank": str(candidate.rank), "unit": unit, "level": f"{chip.level:.6g}"}
        writing.write_geotiff(path, {"pixel_change": chip.heat}, grid, own)

    return write


def _with_progress(looks: Iterator, total: int, *, quiet: bool) -> Iterator:
    """The places with a progress bar that says so while the first one compiles its programs."""
    with tqdm(total=total, desc="candidates", unit="place", disable=quiet, miniters=1) as bar, ticking(bar):
        bar.set_postfix_str("compiling for the first place")
        for one in looks:
            if bar.postfix:
                bar.set_postfix_str("")
            yield one
            bar.update()
