"""One scene from two images to a folder of results: what `scene.py` runs."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
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
from planetcd_jax.images.pair_quality import Quality
from planetcd_jax.report import page, page_images, qgis, record
from planetcd_jax.runtime.ticking import ticking
from planetcd_jax.scenes import checkpoint as checkpoints
from planetcd_jax.scenes import (
    dating,
    kinds,
    null_scores,
    outlines,
    overview,
    places,
    scoring,
    stable,
    unchanged,
    writing,
)
from planetcd_jax.scenes.chance import Chance, of_scene
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.coregister.deciding import Registration
from planetcd_jax.scenes.dates import Dates
from planetcd_jax.scenes.map_frame import map_frame
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.version import __version__

RUN_FILE = "run.json"
_OVERVIEW = 1400  # longest side of the overview, pixels
_PAGE_MOST = 500
_WIDE_SHOWN, _WIDE_MOST = 120, 800  # side of the wide picture of a place as shown, and of its ground, pixels
_DATE_LEAST = 48  # least ground that the small picture of a date shows, pixels
_MAPS = 1 << 30  # apart from the keys of null tiles, which are counted from 1


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
        registration: How the second image was registered to the first; None: not asked for.
        quality: How good the pair is; None: not measured.
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
    registration: Registration | None = None
    quality: Quality | None = None


class Scored(NamedTuple):
    """rho and p_value [R, S] float32 (NaN where not scored), tau, the null scores [N], further maps of the score, and
    what chance gives, None where the null is of stable ground; how many null scores were left out, since their ground
    has changed. For each further date of the scene the null scores that it gave, and tau without them; None where they
    were not asked.

    A window is changed where rho > tau. Where Benjamini-Hochberg decides, tau is the largest rho that is no finding.
    """

    rho: np.ndarray
    p_value: np.ndarray
    tau: float
    null: np.ndarray
    layers: Mapping[str, np.ndarray]
    chance: Chance | None
    left_out: int = 0
    earlier: Sequence[unchanged.Unchanged] | None = None
    drawn_tau: float | None = None


class Listed(NamedTuple):
    """How many places there are above tau; peaks above it that are none, since no ground in them stands out; and pieces
    of the scene that were searched for changed ground, None where the score tells none.
    """

    places: int
    without_ground: int
    searched: int | None


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
        **({} if scene.dates is None else {"dates": scene.dates.identity()}),
        "registration": None if request.registration is None else request.registration.record(),
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
    side = places.chip_size(scene.plan, scene.config)
    maps = min(request.pixel_maps, rows * cols) * side**2 * 4
    thumbnails = 0 if scene.dates is None else len(scene.dates.names) * page_images.THUMBNAIL_BYTES
    page = min(request.page_candidates, _PAGE_MOST) * (2 * page_images.CHIP_BYTES + thumbnails) + _OVERVIEW**2
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
    drawn = None
    if request.stable_ground is None:
        with tqdm(total=plan.null_draws, desc="threshold", unit="tile", disable=quiet) as bar:
            drawn = scoring.score_null(jax.random.key(request.seed), scene, kept, bar.update)
    pixels = scoring.ground_pixels(plan, pair)
    with tqdm(total=pixels, desc="score map", unit="px", unit_scale=True, disable=quiet) as bar:
        layers = scoring.score_scene(scene, kept, bar.update)
    rho = layers.pop("rho")
    if not np.isfinite(rho).any():
        raise ConfigError(
            f"no window of {plan.window} px has a share of {plan.min_valid:g} of its ground valid in both images; "
            "lower --min_valid or --window, or check what is masked."
        )
    chance = earlier = drawn_tau = None
    left_out = 0
    if drawn is not None:
        scored = int(np.isfinite(rho).sum())
        clean = null_scores.counted(drawn, rho, scene.config.decision)
        left_out = len(drawn.rho) - len(clean.rho)
        chance = of_scene(clean.rho, clean.tile, scored)
        if scene.dates is not None:
            drawn_tau = float(thresholds.threshold(jnp.asarray(clean.rho), scene.config.decision))
            earlier = _unchanged(scene, (rho, clean.rho, chance), kept, quiet=quiet)
            clean = null_scores.joined(clean, earlier)
            chance = of_scene(clean.rho, clean.tile, scored)
        null = clean.rho
    else:
        assert request.stable_ground is not None
        null = stable.scores(request.stable_ground, rho, pair, plan)
    p_value = np.asarray(thresholds.p_values(jnp.asarray(rho.ravel()), jnp.asarray(null))).reshape(rho.shape)
    tau = float(thresholds.threshold(jnp.asarray(null), scene.config.decision))
    if request.fdr is not None:
        small = p_value if chance is None else np.fmin(chance.tail_p(rho), p_value)
        finding = thresholds.benjamini_hochberg(jnp.asarray(small.ravel()), request.fdr)
        found = np.asarray(finding).reshape(rho.shape)
        tau = float(np.max(rho, where=np.isfinite(rho) & ~found, initial=0.0))
    return Scored(rho, p_value, tau, null, layers, chance, left_out, earlier, drawn_tau)


def _unchanged(
    scene: Scene, scored: tuple[np.ndarray, np.ndarray, Chance], kept: Checkpoint, *, quiet: bool
) -> list[unchanged.Unchanged]:
    """The windows of each further date that are null scores; scored: rho, the drawn null and what chance gives."""
    assert scene.dates is not None
    rho, null, chance = scored
    found = []
    for number, other in enumerate(scene.dates.others, start=2):
        with tqdm(
            total=scoring.ground_pixels(scene.plan, scene.pair), desc=f"before {number}", unit="px", unit_scale=True,
            disable=quiet,
        ) as bar:  # fmt: skip
            maps = scoring.score_scene(scene.of_date(other), kept.part(f"before_{number}_"), bar.update)
        found.append(unchanged.unchanged_windows(rho, maps["rho"], null, chance, scene.dates.unchanged))
    return found


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
    key = jax.random.fold_in(jax.random.key(request.seed), _MAPS)
    changes, searched = _find_changes(key, scene, scored, quiet=quiet)
    on_page = min(request.page_candidates, _PAGE_MOST)
    maps = scored.rho, scored.p_value, tau
    found, spare = places.list_candidates(maps, changes, plan, pair, on_page, scored.chance)
    measured, shown = _measure_and_draw(key, request, scene, found, kept.final, tags, quiet=quiet)
    if scored.chance is not None:
        measured, spare = (places.with_tail_p(part, scored.chance) for part in (measured, spare))
    if scene.dates is not None:
        spare = [dataclasses.replace(place, dated=dict.fromkeys(dating.COLUMNS, "")) for place in spare]
    rows = writing.table(measured, pair.before_grid, plan.window)
    changed = [row for row, one in zip(rows, measured, strict=True) if one.changed]
    below = [row for row, one in zip(rows, measured, strict=True) if not one.changed]
    writing.write_places(
        kept.final,
        {writing.LAYER: changed, "below_tau": below, "no_ground": writing.table(spare, pair.before_grid, plan.window)},
        pair.before_grid,
        parquet=request.parquet,
        window=plan.window,
        dated=() if scene.dates is None else dating.COLUMNS,
    )
    qgis.dress_places(kept.final / "candidates.gpkg", writing.LAYER, kinds.FAMILIES)
    report = _run_report(request, scene, scored, who, run, Listed(len(changed), len(spare), searched))
    html = page.scene_page(
        [page.PageCandidate(row, *pictures) for row, pictures in zip(rows, shown, strict=False)],
        _overview(scene, scored),
        _about(request, report, scene, scored),
    )
    write_whole(kept.final / "report.html", html.encode("utf-8"))
    write_json(kept.final / RUN_FILE, report)
    return report


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
    key: jax.Array, request: Request, scene: Scene, found, folder: pathlib.Path, tags: Mapping[str, str], *, quiet: bool
):
    """Measures every candidate, makes the pictures of those on the page, and writes pixel maps."""
    pair = scene.pair
    on_page = min(request.page_candidates, _PAGE_MOST)
    measured, shown = [], []
    if request.pixel_maps:
        (folder / "pixel_maps").mkdir()
    looks = places.measure(key, found, scene, heats=max(on_page, request.pixel_maps))
    date = None if scene.dates is None else dating.dater(scene)
    for candidate, chip in _moving(looks, len(found), quiet=quiet):
        dated = None
        if date is not None and scene.dates is not None:
            dated = date(candidate, chip)
            candidate = dating.with_dates(candidate, dated.told, scene.dates)
        measured.append(candidate)
        if candidate.rank <= on_page:
            shown.append((*_pictures(scene, candidate, chip), _date_pictures(scene, candidate, dated)))
        if candidate.rank <= request.pixel_maps and chip.heat is not None:
            grid = pair.before_grid.part(chip.row, chip.col, *chip.heat.shape)
            path = folder / "pixel_maps" / f"candidate_{candidate.rank:04d}.tif"
            writing.write_geotiff(path, {"pixel_change": chip.heat}, grid, _map_tags(tags, candidate.rank, chip))
    return measured, shown


def _moving(looks: Iterator, total: int, *, quiet: bool) -> Iterator:
    """The places with a progress bar that says so while the first one compiles its programs."""
    with tqdm(total=total, desc="candidates", unit="place", disable=quiet, miniters=1) as bar, ticking(bar):
        bar.set_postfix_str("compiling for the first place")
        for one in looks:
            if bar.postfix:
                bar.set_postfix_str("")
            yield one
            bar.update()


def _pictures(scene: Scene, candidate: places.Candidate, chip: places.Chip) -> tuple:
    """What the page shows of a place: chip, wider part of the ground, pixel map, and what is drawn on them."""
    side, wide = chip.before.shape[0], _wide_side(chip.before.shape[0])
    shown = page_images.shown_side(side)
    near = page_images.coded_pair((chip.before, chip.after), (chip.valid_before, chip.valid_after), shown)
    box, samples, around = scene.pair.overlap, scene.samples, (wide - side) // 2
    corner = chip.row - box.row - around, chip.col - box.col - around
    (before, here), (after, there) = (
        read(*corner, wide, wide) for read in (scene.pair.read_before, scene.pair.read_after)
    )
    dates = samples.before.open_ended(before), samples.after.open_ended(after)
    far = page_images.coded_pair(dates, (here, there), _WIDE_SHOWN, page_images.WIDE_BYTES)
    heat = None if chip.heat is None else page_images.heat_picture(chip.heat)
    return near, far, heat, _drawn(candidate, chip, scene.plan.window)


def _date_pictures(scene: Scene, candidate: places.Candidate, dated: dating.Dated | None) -> list[dict[str, str]]:
    """For the page, in order of time: a small picture of each date, and what it says of the place."""
    if dated is None or scene.dates is None:
        return []
    side = dated.chips[0].shape[0]
    size = (
        0.0 if candidate.change is None else np.ptp(np.reshape(candidate.change.outline.bounds, (2, 2)), axis=0).max()
    )
    off = (side - int(np.clip(2.5 * size, min(_DATE_LEAST, side), side))) // 2
    middle = slice(off, side - off), slice(off, side - off)
    pictures = [page_images.thumbnail(x[middle], known[middle]) for x, known in zip(*dated[1:], strict=True)]
    return [{"picture": pictures[n], "told": dated.told[n]} for n in scene.dates.in_order]


def _wide_side(side: int) -> int:
    """Ground of a wide picture around a chip, pixels: four times its side, but no more than is read quickly."""
    return side + 2 * ((min(4 * side, max(2 * side, _WIDE_MOST)) - side) // 2)


def _map_tags(tags: Mapping[str, str], rank: int, chip: places.Chip) -> dict[str, str]:
    """What is stored with a pixel map: its unit and the level of chance."""
    unit = "standard deviations of what unchanged ground shows"
    return {**tags, "rank": str(rank), "unit": unit, "level": f"{chip.level:.6g}"}


def _drawn(candidate: places.Candidate, chip: places.Chip, window: int) -> dict[str, Any]:
    """Where window and outline of a place lie on its chip, and the scale of its map, for the page; chip pixels."""
    known = chip.heat[np.isfinite(chip.heat)] if chip.heat is not None else np.zeros(0)
    corner = np.array([chip.col, chip.row])
    rings = [] if candidate.change is None else [np.asarray(candidate.change.outline.exterior.coords) - corner]
    return {
        "box": [candidate.window_col - chip.col, candidate.window_row - chip.row, window, window],
        "chip_row": chip.row,
        "chip_col": chip.col,
        "rings": [ring.round().astype(int).tolist() for ring in rings],
        "heat_top": float(known.max(initial=0.0)),
        "heat_level": chip.level,
    }


def _overview(scene: Scene, scored: Scored) -> page.Overview:
    box, plan, samples = scene.pair.overlap, scene.plan, scene.samples
    (before, here), (after, there) = (
        overview.reduced(read, box.height, box.width, _OVERVIEW)
        for read in (scene.pair.read_before, scene.pair.read_after)
    )
    return page.Overview(
        (samples.before(before), samples.after(after)),
        (here, there),
        scored.rho,
        box.height,
        box.width,
        plan.window,
        plan.stride,
    )


def _run_report(
    request: Request, scene: Scene, scored: Scored, who: Mapping[str, Any], run: str, listed: Listed
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
        "n_candidates": listed.places,
        "n_peaks_without_ground": listed.without_ground,
        "n_pieces_searched": listed.searched,
        **({} if scored.chance is None else scored.chance.record(scored.tau, listed.places, listed.searched)),
        "n_null": len(scored.null),
        "n_null_left_out": scored.left_out,
        "null_quartiles": np.percentile(scored.null, [0, 25, 50, 75, 100]).tolist(),
        "highest_rho": float(np.nanmax(scored.rho)),
        "overlap": dataclasses.asdict(pair.overlap),
        "typical_shift": places.typical_shift(pair, samples),
        "stretch": {"before": dataclasses.asdict(samples.before), "after": dataclasses.asdict(samples.after)},
        "codes": [one.record() for one in pair.recodings],
        "shared_valid": samples.shared,
        "registration": None if request.registration is None else request.registration.record(),
        "quality": None if request.quality is None else request.quality.record(),
        "before": pair.before.describe(),
        "after": pair.after.describe(),
        **({} if scene.dates is None else {"dates": _dates_record(scene.dates, scored)}),
        "halo": scoremap.halo(scene.config),
        "kind_rules": dataclasses.asdict(kinds.KindRules()),
        "settings": jsonable(request.settings),
        "identity": who,
        "versions": {**record.versions(), "gdal": rasterio.__gdal_version__, "proj": rasterio.__proj_version__},
        "device": record.device(),
    }


def _dates_record(dates: Dates, scored: Scored) -> dict[str, Any]:
    told = None if scored.earlier is None else [one.record() for one in scored.earlier]
    return {**dates.record(), "unchanged_windows": told, "tau_of_drawn_null": scored.drawn_tau, **dates.rules()}


def _about(request: Request, report: Mapping[str, Any], scene: Scene, scored: Scored) -> page.About:
    """What the page tells of the run."""
    box = scene.pair.overlap
    side = places.chip_size(scene.plan, scene.config)
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
        wide_side=_wide_side(side),
        frame=map_frame(scene.pair),
        before_name=pathlib.PurePath(scene.pair.before.name).name,
        after_name=pathlib.PurePath(scene.pair.after.name).name,
        facts=facts,
        inner_facts=inner,
        simulated=request.simulated,
        version=__version__,
        dates=() if scene.dates is None else tuple(scene.dates.shown[n] for n in scene.dates.in_order),
    )


_Facts = list[tuple[str, str]]


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
        ("Misregistration", f"{lies(*pair.after_shift)}; {_left_text(report['typical_shift'])}"),
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


def lies(rows: int, cols: int) -> str:
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
        What run.json says; None if the results were there already.

    Raises:
        DataError, ConfigError, OutputError: in one line, for what a user can mend.
    """
    who = identity(request, scene)
    check_possible(request, scene, target)
    if finished(target, who, resume=resume, overwrite=overwrite):
        return None
    kept = Checkpoint(checkpoints.work_folder(target), who, resume=resume)
    with _dropping(kept, scene.pair):
        scored = score(request, scene, kept, quiet=quiet)
        with checkpoints.as_output_errors(target):
            report = write_results(request, scene, scored, kept, quiet=quiet)
            kept.publish(target, RUN_FILE)
    return report
