"""The command line for whole scenes: `python -m planetcd_jax.scene --before=A.tif --after=B.jp2 --output_dir=out`."""

import csv
import datetime
import math
import os
import pathlib
import statistics
import sys
import time
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import app, logging

from planetcd_jax import constants
from planetcd_jax.cli import commandline, interruptions, scene_dates
from planetcd_jax.cli.commandline import Flag
from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require
from planetcd_jax.version import __version__
from planetcd_jax.words import counted

if TYPE_CHECKING:
    from planetcd_jax.config import ChangeConfig
    from planetcd_jax.scenes.source import Source

PROGRAM = "planetcd-scene"

# GDAL's block cache. rasterio hands a number on as bytes; with less than a block, reduced reads of JP2 never end.
_CACHE_BYTES = 256 * 2**20

FLAGS: dict[str, tuple[Flag, ...]] = {
    "The images": (
        Flag(
            "before",
            "files",
            None,
            "First image: any file or URL that GDAL reads. Results lie on its grid. Repeatable: places say on which of "
            "several before-images they are there, and ground that did not change between these helps to set tau.",
        ),
        Flag("after", "str", None, "Second image; brought to the grid of the first."),
        Flag(
            "times",
            "str",
            None,
            "With several --before: UTC times of all of them in turn and of --after, such as "
            "2010-05-01,2012-03-07T10:20:30,2014-01-09. Default: what the labels state; where one states none, the "
            "order of the flags counts.",
        ),
        Flag("demo", "bool", False, "Simulate a pair on Mars, write it to <output_dir>-images, and run on it."),
        Flag("demo_size", "int", 3000, "Side of the simulated images, pixels."),
        Flag("before_bands", "str", None, "Bands to use, counted from 1, such as 1 or 3,2,1. Default: all but alpha."),
        Flag("after_bands", "str", None, "The same for the second image. Default: as many, from the first."),
        Flag("before_nodata", "str", "auto", "Value to mask, as stored; auto: what the file says; none: nothing."),
        Flag("after_nodata", "str", "auto", "The same for the second image."),
        commandline.MASK_BANDS,
        Flag(
            "resampling",
            ("nearest", "bilinear", "cubic", "lanczos"),
            "cubic",
            "How the second image is interpolated; all but nearest average where its pixels are smaller.",
        ),
        Flag(
            "register",
            ("auto", "none", "shift", "affine", "homography", "file"),
            "auto",
            "How the second image is registered to the first as a whole; auto: where needed, by the stiffest model "
            "that does; none: as it lies, unchecked; file: by the tie points of --gcps.",
        ),
        Flag("gcps", "str", None, "Tie points for --register=file: .points of QGIS, ISIS control network, or CSV."),
        Flag(
            "after_shift",
            "str",
            "auto",
            "Misregistration to correct: whole pixels by which the second image lies down and right of the first, "
            "such as 4,-7; 0,0 for none; auto: what is measured, where many places agree on it.",
        ),
    ),
    "The windows": (
        Flag("window", "int", 100, "Side of a window, pixels; a multiple of 4."),
        Flag("stride", "int", 24, "Step from one window to the next, pixels; a multiple of 4."),
        Flag("min_valid", "float", 0.5, "Share of a window that must be valid in both images."),
        Flag(
            "chunk",
            "int",
            1024,
            "Side of what is scored at once, pixels: memory and speed, not results. Not used by robust.",
        ),
        Flag("null_draws", "int", constants.NULL_DRAWS, "Pseudo-unchanged tiles (of up to 16 windows) for tau."),
    ),
    "The method": (
        Flag("preset", constants.PRESET_NAMES, "robust", "Settings that the flags below change one by one."),
        *commandline.METHOD,
        Flag("weights", "str", None, "Weights file. Default: the shipped VGG-16."),
        Flag("noise_sigma", "float", None, "Standard deviation of the noise of pseudo-unchanged tiles, images 0 to 1."),
        Flag("max_shift", "int", None, "Largest shift of a pseudo-unchanged tile, pixels."),
        Flag("quantile", "float", None, "Share of pseudo-unchanged scores at or below tau."),
        *commandline.RATES,
        Flag("stable_ground", "str", None, "Polygons of unchanged ground to take null scores from. Default: none."),
        Flag("precision", constants.PRECISIONS, None, "Arithmetic of the network."),
        commandline.ENGINE,
        Flag("set", "multi", [], "Any other setting as field=value, such as feature_standardize=True; repeatable."),
        Flag("seed", "int", 0, "Decides every random draw."),
    ),
    "What comes out": (
        Flag("output_dir", "str", None, "Folder for the results. Default: runs/scene-<date>-<time>."),
        Flag("overwrite", "bool", False, "Whether earlier results in --output_dir may be replaced."),
        Flag("resume", "bool", False, "Go on where a run with the same settings and --output_dir was killed."),
        Flag("page_candidates", "int", 60, "Most candidates on the page, 1 to 500; those below tau fill it up."),
        Flag("pixel_maps", "int", 20, "Candidates, from the first, whose pixel maps are written as GeoTIFF."),
        Flag("parquet", "bool", False, "Write candidates.parquet (GeoParquet) too."),
        Flag(
            "marks",
            "str",
            None,
            "Marks that report.html has saved (JSON or CSV): writes the accepted places of --output_dir to its "
            "accepted.gpkg, and does nothing else.",
        ),
        Flag("quiet", "bool", False, "No progress bars."),
        commandline.COMPILATION_CACHE,
    ),
}  # fmt: skip

_USAGE = f"""{PROGRAM} {__version__}: where do these two images of one place differ?

  python -m planetcd_jax.scene --before=A.tif --after=B.jp2 --output_dir=out
  python -m planetcd_jax.scene --demo

Then open report.html in the output folder. Marks that were set and saved there become a GeoPackage by

  python -m planetcd_jax.scene --marks=marks.json --output_dir=out
"""


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Numbers from a text such as "3,2,1".

    Raises:
        ConfigError: if it is something else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name}={text}: give whole numbers with commas between them.") from None


def _target(settings: types.SimpleNamespace) -> pathlib.Path:
    from planetcd_jax.files.room import check_name
    from planetcd_jax.report.output import default_folder

    if settings.output_dir is None:
        if settings.resume:
            raise ConfigError("--resume needs the --output_dir of the run that was killed.")
        settings.output_dir = os.fspath(default_folder("scene", datetime.datetime.now()))  # told when interrupted
        return pathlib.Path(settings.output_dir)
    if not settings.output_dir.strip():
        raise ConfigError("--output_dir is empty; name a folder, or leave the flag out.")
    target = pathlib.Path(settings.output_dir)
    check_name(target)
    return target.resolve() if target.is_symlink() and target.is_dir() else target


def _images(settings: types.SimpleNamespace, target: pathlib.Path) -> tuple[str, ...]:
    """Names of the images, the after-image last; simulates two for --demo."""
    if settings.demo:
        if settings.before or settings.after or settings.times:
            raise ConfigError("--demo makes its own images; leave out --before, --after and --times.")
        if settings.demo_size < 800:
            raise ConfigError(f"--demo_size={settings.demo_size}: give 800 pixels or more.")
        return _demo_images(settings, _demo_folder(target))
    for name, given in (("before", settings.before and all(settings.before)), ("after", settings.after)):
        if not given:
            raise ConfigError(f"--{name} is missing; name an image, or try --demo, see --help.")
    scene_dates.check_names(settings.before, settings.after, settings.times)
    return (*settings.before, settings.after)


def _demo_folder(target: pathlib.Path) -> pathlib.Path:
    """Where --demo keeps its images: beside the results."""
    return target.with_name(target.name + "-images")


def _demo_images(settings: types.SimpleNamespace, folder: pathlib.Path) -> tuple[str, str]:
    from planetcd_jax.scenes.checkpoint import as_output_errors
    from planetcd_jax.simulate import demo_scene

    paths = folder / "before.tif", folder / "after.tif"
    if not (settings.resume and (folder / "truth.csv").exists()):
        print(f"SIMULATED pair of {settings.demo_size} px with {demo_scene.CHANGES} changes: {folder}", flush=True)
        with as_output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                demo_scene.write_demo(folder, side=settings.demo_size, seed=settings.seed)
            finally:
                if not any(folder.iterdir()):  # interrupted before the first image
                    folder.rmdir()
    return os.fspath(paths[0]), os.fspath(paths[1])


def _check_counts(settings: types.SimpleNamespace) -> None:
    if not 1 <= settings.page_candidates <= 500:
        raise ConfigError(f"--page_candidates={settings.page_candidates}: give 1 to 500.")
    if settings.pixel_maps < 0:
        raise ConfigError(f"--pixel_maps={settings.pixel_maps}: give 0 or more.")


def _check_register(settings: types.SimpleNamespace) -> None:
    if (settings.register == "file") != (settings.gcps is not None):
        raise ConfigError(
            f"--register={settings.register} and --gcps={settings.gcps or ''}: give --register=file and "
            "the file of tie points, or neither."
        )


def _start(settings: types.SimpleNamespace) -> None:
    """Runs what the flags ask for. Imported late, so that --help and a mistyped flag do not wait for it."""
    begun = time.perf_counter()
    if settings.marks is not None:
        _write_accepted(settings)
        return
    config = commandline.change_config(settings)
    _check_counts(settings)
    _check_register(settings)
    commandline.start_compilation_cache(settings)
    require("scene", "rasterio", "geopandas", "pyogrio", "pyproj", "shapely", "skimage")
    from planetcd_jax.images.network import reading

    with reading(GDAL_CACHEMAX=_CACHE_BYTES):  # a small cache: every block is used once or twice
        _run(settings, config, begun)


def _write_accepted(settings: types.SimpleNamespace) -> None:
    """The accepted places of a marked page as a GeoPackage."""
    require("scene", "geopandas")
    from planetcd_jax.scenes import marks

    if not settings.output_dir:
        raise ConfigError("--marks needs the --output_dir of the run whose page was marked.")
    read = marks.read_marks(pathlib.Path(settings.marks))
    written, count = marks.write_accepted(read, pathlib.Path(settings.output_dir), parquet=settings.parquet)
    print(f"{count} accepted of {counted(len(read.rows), 'marked place')}: {', '.join(map(str, written))}")


def _run(settings: types.SimpleNamespace, config: "ChangeConfig", begun: float) -> None:
    from planetcd_jax import scoremap
    from planetcd_jax.networks.winograd import engine_of, serve
    from planetcd_jax.scenes import body, quality, scene_run, scoring
    from planetcd_jax.scenes.agreement import agree_on_system, check_bands
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.coregister.deciding import register
    from planetcd_jax.scenes.samples import in_one_code, sample

    scoremap.check_windows(settings.window, settings.stride, config)
    config, weights = commandline.fitted_weights(config, settings)
    target = _target(settings)
    names = _images(settings, target)
    first, *others = (_source(settings, "before", name) for name in names[:-1])
    after = _source(settings, "after", names[-1])
    check_bands(first, after)
    agree_on_system(first, after)
    body.check_systems(first.grid.crs, after.grid.crs, first.name, after.name)
    registered = register(first, after, way=settings.register, gcps=settings.gcps, resampling=settings.resampling)
    print(f"registration: {registered.said()}")
    plan = scoring.Plan(settings.window, settings.stride, settings.min_valid, settings.chunk, settings.null_draws)
    pair = AlignedPair(
        first,
        after,
        resampling=settings.resampling,
        beyond_seam=max(0, plan.window - plan.stride),
        correction=registered.correction,
    )
    scoring.check_plan(plan, pair, config)
    print(f"{pair.overlap.note}; {pair.grid.height} x {pair.grid.width} px in common")
    samples = sample(pair)
    pair.after_shift = _after_shift(settings.after_shift, pair, samples)
    pair = in_one_code(pair)
    if pair.recodings:
        print(f"codes: {pair.said_of_codes()}")
        samples = sample(pair)
    dates = None
    if others:
        opening = scene_dates.Opening(pair, plan, config, settings.register, settings.resampling)
        dates = scene_dates.open_dates(first, others, opening, settings.times)
    checked = quality.of_pair(pair, samples)
    print(f"quality: {checked.verdict()}")
    engine = engine_of(serve(settings.engine, config.backbone))
    said = _said(settings)
    scene = scoring.Scene(pair, samples, weights.params, config, plan, engine, dates)
    request = scene_run.Request(
        weights.sha256, settings.seed, settings.page_candidates, settings.pixel_maps, settings.parquet,
        said, settings.demo, settings.fdr,
        settings.stable_ground, registered, checked,
    )  # fmt: skip
    report = scene_run.run_scene(
        request, scene, target, resume=settings.resume, overwrite=settings.overwrite, quiet=settings.quiet
    )
    if report is None:
        print(f"{target} holds the results of this very run already")
        return
    _say(report, target, time.perf_counter() - begun)
    if settings.demo:
        _say_truth(target)


def _source(settings: types.SimpleNamespace, date: str, name: str) -> "Source":
    """An image, opened as the flags of its date, "before" or "after", say."""
    from planetcd_jax.scenes.source import Source

    bands = getattr(settings, f"{date}_bands")
    chosen = None if bands is None else whole_numbers(f"{date}_bands", bands)
    return Source(name, bands=chosen, nodata=getattr(settings, f"{date}_nodata"), mask_bands=settings.mask_bands)


def _said(settings: types.SimpleNamespace) -> dict[str, Any]:
    """Flags by name, for run.json: those that decide results. One before-image is a text, several are a list."""
    hidden = {"resume", "overwrite", "output_dir", "quiet", "compilation_cache_dir", "marks"}
    names = [flag.name for group in FLAGS.values() for flag in group if flag.name not in hidden]
    said = {name: getattr(settings, name) for name in names}
    if said["before"] is None or len(said["before"]) == 1:
        del said["times"]
        said["before"] = None if said["before"] is None else said["before"][0]
    return said


def _after_shift(text: str, pair, samples) -> tuple[int, int]:
    """Whole rows and columns to undo a misregistration, and a line about them."""
    if text != "auto":
        shift = whole_numbers("after_shift", text)
        if len(shift) != 2:
            raise ConfigError(f"--after_shift={text}: give rows,columns or auto.")
        return shift
    return scene_dates.measured_shift(pair, samples)


def _rounded(count: float) -> str:
    """A count of two significant digits.

    >>> _rounded(158.3), _rounded(0.0123)
    ('160', '0.012')
    """
    return f"{float(f'{count:.2g}'):g}"


def _say(report: dict[str, Any], target: pathlib.Path, seconds: float) -> None:
    """What was found, and how long the user has waited for it: simulated images and registration count too."""
    expected = report.get("expected_false_places")
    chance = "" if expected is None else f"chance alone gives at most about {_rounded(expected)} places; "
    print(
        f"{'SIMULATED: ' if report['source'] == 'simulated' else ''}{report['n_changed_windows']} of "
        f"{report['n_windows']} windows above tau = {report['tau']:.6g}, in {counted(report['n_candidates'], 'place')} "
        f"({chance}highest rho of a window {report['highest_rho']:.6g}); {seconds:.0f} s"
    )
    print(f"open {target / 'report.html'}")


def _say_truth(target: pathlib.Path) -> None:
    """For the demo: which of its changes are places, at what rank, and how far their centres are off."""
    with open(_demo_folder(target) / "truth.csv", newline="", encoding="utf-8") as file:
        truth = [tuple(float(row[name]) for name in ("row", "col", "radius")) for row in csv.DictReader(file)]
    with open(target / "candidates.csv", newline="", encoding="utf-8") as file:
        rows = [(int(row["rank"]), int(row["row"]), int(row["col"])) for row in csv.DictReader(file)]
    hits = []
    for row, col, radius in truth:
        near = [(math.hypot(r - row, c - col), rank) for rank, r, c in rows]
        hits += [min(near)] if near and min(near)[0] <= max(20.0, radius) else []
    off = f"; centres {statistics.median(d for d, _ in hits):.0f} px off in the median" if hits else ""
    ranks = sorted(rank for _, rank in hits)
    print(
        f"SIMULATED: {len(hits)} of {len(truth)} known changes among {counted(len(rows), 'place')}, "
        f"at ranks {ranks}{off}"
    )


def execute(arguments: Sequence[str]) -> int:
    """Parses, runs and reports; what goes wrong on purpose is one line on standard error.

    Args:
        arguments: The command line without the program's name.

    Returns:
        Exit status: 0, 1 for an error in the data or the settings, 2 for one in the flags, 130 when interrupted.
    """
    asked = types.SimpleNamespace(output_dir=None)

    def start(given: Sequence[str]) -> None:
        nonlocal asked
        asked = commandline.parse(PROGRAM, FLAGS, given)
        _start(asked)

    return commandline.execute(
        PROGRAM, lambda: commandline.help_text(_USAGE, FLAGS), start, arguments, lambda: _left_behind(asked)
    )


def _left_behind(settings: types.SimpleNamespace) -> str:
    """Where an interrupted run left what it had done, and how to go on."""
    if settings.output_dir is None:
        return "interrupted; nothing was done yet."
    from planetcd_jax.scenes.checkpoint import work_folder

    kept = work_folder(pathlib.Path(settings.output_dir))
    if not kept.exists():
        images = _demo_folder(pathlib.Path(settings.output_dir))
        if settings.demo and images.exists():
            return (
                f"interrupted; no window was scored yet. The simulated images are in {images}. To go on with them, "
                f"repeat the command with --output_dir={settings.output_dir} --resume."
            )
        return "interrupted; nothing was done yet."
    return (
        f"interrupted; what is done is kept in {kept}. To go on, repeat the command with "
        f"--output_dir={settings.output_dir} --resume."
    )


def run() -> None:
    """Runs the command line of this process and exits with its status."""
    logging.set_verbosity(logging.WARNING)  # JAX says at a lower level which backends are not there
    interruptions.never_drop()
    app.run(lambda _: execute(sys.argv[1:]), argv=sys.argv[:1])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's chatter
    run()
