"""One scene from two images to a folder of results: what `scene.py` runs."""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rasterio
from tqdm import tqdm

from planetcd_jax import records, scoremap, thresholds
from planetcd_jax.errors import ConfigError, DataError, OutputError
from planetcd_jax.files.digests import sha256_of, sha256_of_file
from planetcd_jax.files.folders import write_whole
from planetcd_jax.files.json_files import jsonable, write_json
from planetcd_jax.files.room import check_place
from planetcd_jax.report import page, page_images, qgis, record
from planetcd_jax.scenes import checkpoint as checkpoints
from planetcd_jax.scenes import places, scoring, stable, writing
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.version import __version__

RUN_FILE = "run.json"
_OVERVIEW = 1400  # longest side of the overview, pixels
_PAGE_MOST = 500


@dataclasses.dataclass(frozen=True)
class Request:
    """What a run is asked for, apart from the scene itself.

    Attributes:
        weights: SHA-256 of the weights.
        seed: Decides every random draw.
        page_candidates: Most candidates on the page; those below tau fill it up.
        pixel_maps: Candidates, from the first, whose pixel maps are written as GeoTIFF.
        parquet: Whether candidates are written as GeoParquet too.
        settings: Flags by name, for run.json.
        simulated: Whether the images are simulated.
        fdr: None to decide by tau, or the false discovery rate of Benjamini-Hochberg.
        stable_ground: None, or a vector file of unchanged ground that the null scores come from.
    """

    weights: str
    seed: int
    page_candidates: int
    pixel_maps: int
    parquet: bool
    settings: Mapping[str, Any]
    simulated: bool
    fdr: float | None = None
    stable_ground: str | None = None


class Scored(NamedTuple):
    """rho and p_value [R, S] float32 (NaN where not scored), tau, the null scores [N], and further maps of the score.

    A window is changed where rho > tau. Where Benjamini-Hochberg decides, tau is the largest rho that is no finding.
    """

    rho: np.ndarray
    p_value: np.ndarray
    tau: float
    null: np.ndarray
    layers: Mapping[str, np.ndarray]


def _digest(path: str) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name a vector file of polygons.") from None


def identity(request: Request, scene: Scene) -> dict[str, Any]:
    """Everything that decides the results; two runs with the same identity end with the same files."""
    return {
        "images": scene.samples.digest,
        "before": scene.pair.before.name,
        "after": scene.pair.after.name,
        "after_shift": list(scene.pair.after_shift),
        "config": records.plain(scene.config),
        "plan": dataclasses.asdict(scene.plan),
        "seed": request.seed,
        "page_candidates": request.page_candidates,
        "pixel_maps": request.pixel_maps,
        "parquet": request.parquet,
        "fdr": request.fdr,
        "stable_ground": None if request.stable_ground is None else _digest(request.stable_ground),
        "engine": scene.engine,
        "weights": request.weights,
        "version": __version__,
    }


def finished(target: pathlib.Path, wanted: Mapping[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Whether `target` holds this very run, whole.

    Raises:
        OutputError: if it holds something else that may not be replaced.
    """
    if not target.exists() or (target.is_dir() and checkpoints.is_empty(target)):
        return False
    path = target / RUN_FILE
    if not path.is_file():
        raise OutputError(f"--output_dir={target} holds other files and is left as it is; name a new or empty folder.")
    if resume:
        found = json.loads(path.read_text(encoding="utf-8")).get("identity")
        if found == json.loads(json.dumps(wanted)):
            return True
    if not overwrite:
        raise OutputError(f"--output_dir={target} holds earlier results; name another folder or add --overwrite.")
    return False


def room(request: Request, scene: Scene) -> int:
    """Bytes that a run may write at most, apart from rounding."""
    rows, cols = scoring.map_shape(scene.plan, scene.pair)
    side, _ = places.chip_size(scene.plan, scene.config)
    maps = min(request.pixel_maps, rows * cols) * side**2 * 4
    page = min(request.page_candidates, _PAGE_MOST) * 3 * page_images.CHIP_BYTES + _OVERVIEW**2
    return 5 * rows * cols * 4 + maps + page


def check_possible(request: Request, scene: Scene, target: pathlib.Path) -> None:
    """What would stop the run at its end stops it here.

    Raises:
        DataError: if the file of stable ground cannot be used.
        OutputError: if the results cannot be written or have no room.
    """
    check_place(target, room(request, scene))
    if request.stable_ground is not None:
        stable.check(request.stable_ground, scene.pair, scene.plan)


def score(request: Request, scene: Scene, kept: Checkpoint, *, quiet: bool) -> Scored:
    """Null scores, tau, score map and p-values of a scene, with progress on standard error."""
    pair, plan = scene.pair, scene.plan
    null = None
    if request.stable_ground is None:
        with tqdm(total=plan.null_draws, desc="threshold", unit="tile", disable=quiet) as bar:
            null = scoring.score_null(jax.random.key(request.seed), scene, kept, bar.update)
    pixels = scoring.ground_pixels(plan, pair)
    with tqdm(total=pixels, desc="score map", unit="px", unit_scale=True, disable=quiet) as bar:
        layers = scoring.score_scene(scene, kept, bar.update)
    rho = layers.pop("rho")
    if not np.isfinite(rho).any():
        raise ConfigError(
            f"no window of {plan.window} px has a share of {plan.min_valid:g} of its ground valid in both images; "
            "lower --min_valid or --window, or check what is masked."
        )
    if null is None:
        assert request.stable_ground is not None
        null = stable.scores(request.stable_ground, rho, pair, plan)
    p_value = np.asarray(thresholds.p_values(jnp.asarray(rho.ravel()), jnp.asarray(null))).reshape(rho.shape)
    tau = float(thresholds.threshold(jnp.asarray(null), scene.config.decision))
    if request.fdr is not None:
        finding = thresholds.benjamini_hochberg(jnp.asarray(p_value.ravel()), request.fdr)
        found = np.asarray(finding).reshape(rho.shape)
        tau = float(np.max(rho, where=np.isfinite(rho) & ~found, initial=0.0))
    return Scored(rho, p_value, tau, null, layers)


def write_results(request: Request, scene: Scene, scored: Scored, kept: Checkpoint, *, quiet: bool) -> dict[str, Any]:
    """Puts together everything that the run leaves behind, in `kept.final`.

    Returns:
        What run.json says.
    """
    pair, plan, tau = scene.pair, scene.plan, scored.tau
    who = identity(request, scene)
    run = sha256_of(json.dumps(who, sort_keys=True).encode())[:16]
    tags = {"tau": f"{tau:.9g}", "program": f"planetcd_jax {__version__}", "run": run}
    if request.simulated:
        tags["NOTE"] = "SIMULATED"
    grid = writing.map_grid(pair.grid, plan.window, plan.stride, scored.rho.shape)
    writing.write_geotiff(kept.final / "rho.tif", {"rho": scored.rho, "p_value": scored.p_value}, grid, tags)
    qgis.dress_score(kept.final / "rho.tif", tau)
    for name, values in scored.layers.items():
        writing.write_geotiff(kept.final / f"{name}.tif", {name: values}, grid, tags)
    found = places.list_candidates(
        scored.rho, scored.p_value, tau, plan, pair, at_least=min(request.page_candidates, _PAGE_MOST)
    )
    measured, shown, chip_side, inner = _measure_and_draw(request, scene, found, kept.final, tags, quiet=quiet)
    rows = writing.table(measured, pair.before_grid, plan.window)
    changed = [row for row, one in zip(rows, measured, strict=True) if one.changed]
    writing.write_places(kept.final, changed, pair.before_grid, parquet=request.parquet)
    qgis.dress_places(kept.final / "candidates.gpkg", writing.LAYER)
    report = _run_report(request, scene, scored, who, run, len(changed))
    on_page = [page.PageCandidate(row, *pictures) for row, pictures in zip(rows, shown, strict=False)]
    html = page.scene_page(
        on_page,
        _overview(scene, scored),
        tau=tau,
        corner=(pair.overlap.row, pair.overlap.col),
        side=page_images.shown_side(chip_side),
        chip_side=chip_side,
        inner=inner,
        changed=len(changed),
        run=run,
        before_name=pathlib.PurePath(pair.before.name).name,
        after_name=pathlib.PurePath(pair.after.name).name,
        facts=_facts(report, scene, scored),
        simulated=request.simulated,
        version=__version__,
    )
    write_whole(kept.final / "report.html", html.encode("utf-8"))
    write_json(kept.final / RUN_FILE, report)
    return report


def _measure_and_draw(
    request: Request, scene: Scene, found, folder: pathlib.Path, tags: Mapping[str, str], *, quiet: bool
):
    """Measures every candidate, makes the pictures of those on the page, and writes pixel maps."""
    pair = scene.pair
    on_page = min(request.page_candidates, _PAGE_MOST)
    measured, shown = [], []
    chip_side, inner = places.chip_size(scene.plan, scene.config)
    side = page_images.shown_side(chip_side)
    if request.pixel_maps:
        (folder / "pixel_maps").mkdir()
    looks = places.measure(found, scene, heats=max(on_page, request.pixel_maps))
    for candidate, chip in tqdm(looks, total=len(found), desc="candidates", unit="place", disable=quiet, miniters=1):
        measured.append(candidate)
        if candidate.rank <= on_page:
            pictures = page_images.chip_pair(chip.before, chip.after, chip.valid_before, chip.valid_after, side)
            heat = None if chip.heat is None else page_images.heat_picture(chip.heat, side)
            shown.append((*pictures, heat))
        if candidate.rank <= request.pixel_maps and chip.heat is not None:
            grid = pair.before_grid.part(chip.row, chip.col, *chip.heat.shape)
            path = folder / "pixel_maps" / f"candidate_{candidate.rank:04d}.tif"
            writing.write_geotiff(path, {"pixel_change": chip.heat}, grid, {**tags, "rank": str(candidate.rank)})
    return measured, shown, chip_side, inner


def _overview(scene: Scene, scored: Scored) -> page.Overview:
    box, plan, samples = scene.pair.overlap, scene.plan, scene.samples
    pixels, valid = scene.pair.before.read_reduced(box.row, box.col, box.height, box.width, _OVERVIEW)
    return page.Overview(samples.before(pixels), valid, scored.rho, box.height, box.width, plan.window, plan.stride)


def _run_report(
    request: Request, scene: Scene, scored: Scored, who: Mapping[str, Any], run: str, candidates: int
) -> dict[str, Any]:
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
        "n_candidates": candidates,
        "n_null": len(scored.null),
        "null_quartiles": np.percentile(scored.null, [0, 25, 50, 75, 100]).tolist(),
        "highest_rho": float(np.nanmax(scored.rho)),
        "overlap": dataclasses.asdict(pair.overlap),
        "typical_shift": places.typical_shift(pair, samples),
        "stretch": {"before": dataclasses.asdict(samples.before), "after": dataclasses.asdict(samples.after)},
        "shared_valid": samples.shared,
        "before": pair.before.describe(),
        "after": pair.after.describe(),
        "halo": scoremap.halo(scene.config),
        "settings": jsonable(request.settings),
        "identity": who,
        "versions": {**record.versions(), "gdal": rasterio.__gdal_version__, "proj": rasterio.__proj_version__},
        "device": record.device(),
    }


def _facts(report: Mapping[str, Any], scene: Scene, scored: Scored) -> list[tuple[str, str]]:
    """What the page tells about the run."""
    pair, plan, shift = scene.pair, report["identity"]["plan"], report["typical_shift"]
    said = "could not be told" if shift is None else (
        f"{shift['rows']:+.1f} rows, {shift['cols']:+.1f} columns (spread {shift['spread']:.1f} px, "
        f"{shift['squares']} squares)"
    )  # fmt: skip
    return [
        ("Before", pair.before.name),
        ("After", pair.after.name),
        ("Overlap", f"{pair.grid.height} x {pair.grid.width} px; {pair.overlap.note}"),
        ("Masked", f"before: {pair.before.nodata_rule}; after: {pair.after.nodata_rule}"),
        ("Windows", f"{plan['window']} px every {plan['stride']} px; {report['n_windows']} scored, "
                    f"{report['n_windows_not_scored']} not (too little valid ground)"),
        ("Changed windows", f"{report['n_changed_windows']}"),
        ("Threshold", _threshold_text(report, scene, scored)),
        ("p-value", "share of null scores that are as high; small where a change is likely"),
        ("Sun and view", f"before: {_angles_text(report['before'])}; after: {_angles_text(report['after'])}"),
        ("Misregistration removed", f"{pair.after_shift[0]:+d} rows, {pair.after_shift[1]:+d} columns"),
        ("Misregistration left", said),
        ("Method", f"{scene.config.score.describe(scene.config.backbone)}; engine {scene.engine}"),
        ("Run", report["run"]),
    ]  # fmt: skip


def _threshold_text(report: Mapping[str, Any], scene: Scene, scored: Scored) -> str:
    who, count = report["identity"], report["n_null"]
    if who["stable_ground"]:
        null = f"{count} scores of windows on the ground that was marked as stable"
    else:
        null = scene.config.score.describe_null(count)
    if who["fdr"] is not None:
        return f"Benjamini-Hochberg at a false discovery rate of {who['fdr']:g} (tau = {scored.tau:.6g}), p from {null}"
    return f"tau = {scored.tau:.6g}, quantile {scene.config.decision.quantile:g} of {null}"


def _angles_text(image: Mapping[str, Any]) -> str:
    """Angles of a label in words; what most labels lack is said to be lacking."""
    said = [f"{name.replace('_', ' ')} {value:g}°" for name, value in image["angles"].items()]
    return ", ".join(said) or "not in the label"


@contextlib.contextmanager
def _dropping(kept: Checkpoint, pair) -> Iterator[None]:
    """Removes unfinished work when the images themselves end the run; a server that fails may answer the next time."""
    try:
        yield
    except (DataError, ConfigError):
        if not any("://" in image.name or image.name.startswith("/vsi") for image in (pair.before, pair.after)):
            kept.remove()
        raise


def run_scene(
    request: Request, scene: Scene, target: pathlib.Path, *, resume: bool, overwrite: bool, quiet: bool = False
) -> dict[str, Any] | None:
    """Runs one scene and leaves its results in `target`, all of them at once.

    Returns:
        What run.json says and "seconds"; None if the results were there already.

    Raises:
        DataError, ConfigError, OutputError: in one line, for what a user can mend.
    """
    who = identity(request, scene)
    check_possible(request, scene, target)
    if finished(target, who, resume=resume, overwrite=overwrite):
        return None
    started = time.monotonic()
    kept = Checkpoint(checkpoints.work_folder(target), who, resume=resume)
    with _dropping(kept, scene.pair):
        scored = score(request, scene, kept, quiet=quiet)
        with checkpoints.as_output_errors(target):
            report = write_results(request, scene, scored, kept, quiet=quiet)
            kept.publish(target, RUN_FILE)
    return {**report, "seconds": time.monotonic() - started}
