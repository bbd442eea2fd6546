"""What is told of the run of a scene: run.json, and the facts on its page."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import rasterio

from planetcd_jax import explain, records, scoremap
from planetcd_jax.files.json_files import jsonable
from planetcd_jax.report import page, record
from planetcd_jax.scenes import (
    kinds,
)
from planetcd_jax.scenes.coregister.bending import FieldRules
from planetcd_jax.scenes.dates import Dates
from planetcd_jax.scenes.map_frame import map_frame
from planetcd_jax.scenes.misregistration import typical_shift
from planetcd_jax.scenes.pictures import wide_side
from planetcd_jax.scenes.place_measures import chip_size
from planetcd_jax.scenes.request import Request
from planetcd_jax.scenes.scored import Scored
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.version import __version__

_Facts = list[tuple[str, str]]


class Listed(NamedTuple):
    """How many places there are above tau; peaks above it that are none, since no ground in them stands out; and pieces
    of the scene that were searched for changed ground, None where the score tells none.
    """

    places: int
    without_ground: int
    searched: int | None


def run_report(
    request: Request, scene: Scene, scored: Scored, who: Mapping[str, Any], run: str, listed: Listed
) -> dict[str, Any]:
    """What run.json says; `who` is the identity of the run, and `run` its digest."""
    pair, samples = scene.pair, scene.samples
    with np.errstate(invalid="ignore"):
        changed = int((scored.rho > scored.tau).sum())
    return {
        "program": "planetcd_jax",
        "run": run,
        "source": "simulated" if request.simulated else "real",
        "tau": scored.tau,
        "n_windows": int(np.isfinite(scored.rho).sum()),
        "n_windows_not_scored": int((~np.isfinite(scored.rho)).sum()),
        "n_changed_windows": changed,
        "n_candidates": listed.places,
        "n_peaks_without_ground": listed.without_ground,
        "n_pieces_searched": listed.searched,
        **({} if scored.chance is None else scored.chance.record(scored.tau, listed.places)),
        "n_null": len(scored.null),
        "n_null_left_out": scored.left_out,
        "null_quartiles": np.percentile(scored.null, [0, 25, 50, 75, 100]).tolist(),
        "highest_rho": float(np.nanmax(scored.rho)),
        "overlap": dataclasses.asdict(pair.overlap),
        "typical_shift": typical_shift(pair, samples),
        "stretch": {"before": dataclasses.asdict(samples.before), "after": dataclasses.asdict(samples.after)},
        "codes": [one.record() for one in pair.recodings],
        "shared_valid": samples.shared,
        "registration": None if request.registration is None else request.registration.record(),
        "quality": None if request.quality is None else request.quality.record(),
        "before": pair.before.describe(),
        "after": pair.after.describe(),
        **({} if scene.dates is None else {"dates": _dates_record(scene.dates, scored)}),
        "halo": scoremap.halo(scene.config),
        "local_shift_rules": records.plain(FieldRules()),
        "kind_rules": dataclasses.asdict(kinds.KindRules()),
        "explain_rules": records.plain(explain.ExplainRules()),
        "settings": jsonable(request.settings),
        "identity": who,
        "versions": {**record.versions(), "gdal": rasterio.__gdal_version__, "proj": rasterio.__proj_version__},
        "device": record.device(),
    }


def _dates_record(dates: Dates, scored: Scored) -> dict[str, Any]:
    told = None if scored.earlier is None else [one.record() for one in scored.earlier]
    return {**dates.record(), "unchanged_windows": told, "tau_of_drawn_null": scored.drawn_tau, **dates.rules()}


def about(request: Request, report: Mapping[str, Any], scene: Scene, scored: Scored) -> page.About:
    """What the page tells of the run."""
    box = scene.pair.overlap
    side = chip_size(scene.plan, scene.config)
    facts, inner = _facts(request, report, scene, scored)
    return page.About(
        run=report["run"],
        tau=scored.tau,
        null=scored.null,
        windows=report["n_windows"],
        changed=report["n_candidates"],
        expected=report.get("expected_false_places", float("nan")),
        corner=(box.row, box.col),
        chip_side=side,
        wide_side=wide_side(side),
        frame=map_frame(scene.pair),
        before_name=pathlib.PurePath(scene.pair.before.name).name,
        after_name=pathlib.PurePath(scene.pair.after.name).name,
        facts=facts,
        inner_facts=inner,
        simulated=request.simulated,
        version=__version__,
        dates=() if scene.dates is None else tuple(scene.dates.shown[n] for n in scene.dates.in_order),
    )


def _facts(request: Request, report: Mapping[str, Any], scene: Scene, scored: Scored) -> tuple[_Facts, _Facts]:
    """What the page tells about the run: to every reader, and to developers of the method."""
    pair, plan = scene.pair, report["identity"]["plan"]
    plain = [
        ("Before", pair.before.name),
        ("After", pair.after.name),
        *([] if scene.dates is None else [("Dates", scene.dates.said())]),
        ("Ground in both", f"{pair.grid.height} x {pair.grid.width} px; {pair.overlap.note}"),
        *([] if request.quality is None else [("Quality of the pair", request.quality.said())]),
        ("Sun and view", f"before: {_angles_text(report['before'])}; after: {_angles_text(report['after'])}"),
        *([] if request.registration is None else [("Registration", request.registration.said())]),
        ("Misregistration", f"{shift_in_words(*pair.after_shift)}; {_left_text(report['typical_shift'])}"),
        ("No data", f"before: {pair.before.nodata_rule}; after: {pair.after.nodata_rule}"),
        ("Windows", f"{plan['window']} px, one every {plan['stride']} px; {report['n_windows']} scored, "
                    f"{report['n_changed_windows']} of them above the threshold; {report['n_windows_not_scored']} not "
                    "scored (too little valid ground)"),
    ]  # fmt: skip
    inner = [
        ("Threshold", _threshold_text(report, scene, scored)),
        ("Peaks that are no places", f"{report['n_peaks_without_ground']} above the threshold: no pixel "
                                     "stands out, and few windows see them, or chance gives as much"),
        ("Method", f"{scene.config.score.describe(scene.config.backbone)}; engine {scene.engine}"),
        ("Run", report["run"]),
    ]  # fmt: skip
    return plain, inner


def shift_in_words(rows: int, cols: int) -> str:
    """A misregistration that was removed, in words."""
    parts = [(rows, "row", "down", "up"), (cols, "column", "right", "left")]
    said = [f"{abs(n)} {unit}{'s' * (abs(n) != 1)} {ahead if n > 0 else back}" for n, unit, ahead, back in parts if n]
    if not said:
        return "nothing to correct"
    return f"the second image lies {' and '.join(said)} of the first; corrected"


def _left_text(shift: Mapping[str, Any] | None) -> str:
    """A misregistration that is left, in words."""
    if shift is None:
        return "what is left could not be measured"
    length = (shift["rows"] ** 2 + shift["cols"] ** 2) ** 0.5
    return f"{length:.1f} px are left, measured on {shift['squares']} squares, which differ by {shift['spread']:.1f} px"


def _threshold_text(report: Mapping[str, Any], scene: Scene, scored: Scored) -> str:
    who, count = report["identity"], report["n_null"]
    if who["stable_ground"]:
        null = f"{count} scores of windows on the ground that was marked as stable"
    else:
        joined = sum(int(np.isfinite(one.scores).sum()) for one in scored.earlier or ())
        null = scene.config.score.describe_null(count - joined)
        null += f" and {joined} of windows that did not change between the before-images" if joined else ""
    if who["fdr"] is not None:
        return f"Benjamini-Hochberg at a false discovery rate of {who['fdr']:g} (tau = {scored.tau:.6g}), p from {null}"
    return f"tau = {scored.tau:.6g}, quantile {scene.config.decision.quantile:g} of {null}"


def _angles_text(image: Mapping[str, Any]) -> str:
    """Angles of a label in words; what most labels lack is said to be lacking."""
    said = [f"{name.replace('_', ' ')} {value:g}°" for name, value in image["angles"].items()]
    return ", ".join(said) or "not in the label"
