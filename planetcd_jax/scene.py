"""The command line for whole scenes: `python -m planetcd_jax.scene --before=A.tif --after=B.jp2 --output_dir=out`."""

import datetime
import os
import pathlib
import time
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planetcd_jax.cli import commandline, scene_dates
from planetcd_jax.cli.scene_demo import demo_folder, demo_images, say_truth
from planetcd_jax.cli.scene_flags import FLAGS, PROGRAM, USAGE
from planetcd_jax.cli.scene_pairs import Opening, open_pair, shift_to_undo, whole_numbers
from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require
from planetcd_jax.words import counted

if TYPE_CHECKING:
    from planetcd_jax.config import ChangeConfig
    from planetcd_jax.scenes.source import Source

# GDAL's block cache. rasterio hands a number on as bytes; with less than a block, reduced reads of JP2 never end.
_CACHE_BYTES = 256 * 2**20


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
        return demo_images(settings, demo_folder(target))
    for name, given in (("before", settings.before and all(settings.before)), ("after", settings.after)):
        if not given:
            raise ConfigError(f"--{name} is missing; name an image, or try --demo, see --help.")
    scene_dates.check_names(settings.before, settings.after, settings.times)
    return (*settings.before, settings.after)


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
    from planetcd_jax.scenes import quality, scoring
    from planetcd_jax.scenes.request import Request
    from planetcd_jax.scenes.samples import in_one_code, sample
    from planetcd_jax.scenes.scene_run import run_scene

    scoremap.check_windows(settings.window, settings.stride, config)
    config, weights = commandline.fitted_weights(config, settings)
    target = _target(settings)
    names = _images(settings, target)
    first, *others = (_source(settings, "before", name) for name in names[:-1])
    after = _source(settings, "after", names[-1])
    plan = scoring.Plan(settings.window, settings.stride, settings.min_valid, settings.chunk, settings.null_draws)
    opening = Opening(plan, config, settings.register, settings.gcps, settings.resampling)
    pair, registered = open_pair(first, after, opening)
    scoring.check_plan(plan, pair, config)
    print(f"{pair.overlap.note}; {pair.grid.height} x {pair.grid.width} px in common")
    samples = sample(pair)
    pair.after_shift = shift_to_undo(settings.after_shift, pair, samples)
    pair = in_one_code(pair)
    if pair.recodings:
        print(f"codes: {pair.said_of_codes()}")
        samples = sample(pair)
    dates = scene_dates.open_dates(first, others, pair, opening, settings.times) if others else None
    checked = quality.of_pair(pair, samples)
    print(f"quality: {checked.verdict()}")
    engine = engine_of(serve(settings.engine, config.backbone))
    said = _recorded_flags(settings)
    scene = scoring.Scene(pair, samples, weights.params, config, plan, engine, dates)
    request = Request(
        weights.sha256, settings.seed, settings.page_candidates, settings.pixel_maps, settings.parquet,
        said, settings.demo, settings.fdr,
        settings.stable_ground, registered, checked,
    )  # fmt: skip
    report = run_scene(
        request, scene, target, resume=settings.resume, overwrite=settings.overwrite, quiet=settings.quiet
    )
    if report is None:
        print(f"{target} holds the results of this very run already")
        return
    _print_summary(report, target, time.perf_counter() - begun)
    if settings.demo:
        say_truth(target)


def _source(settings: types.SimpleNamespace, date: str, name: str) -> "Source":
    """An image, opened as the flags of its date, "before" or "after", say."""
    from planetcd_jax.scenes.source import Source

    bands = getattr(settings, f"{date}_bands")
    chosen = None if bands is None else whole_numbers(f"{date}_bands", bands)
    return Source(name, bands=chosen, nodata=getattr(settings, f"{date}_nodata"), mask_bands=settings.mask_bands)


def _recorded_flags(settings: types.SimpleNamespace) -> dict[str, Any]:
    """Flags by name, for run.json: those that decide results. One before-image is a text, several are a list."""
    hidden = {"resume", "overwrite", "output_dir", "quiet", "compilation_cache_dir", "marks"}
    names = [flag.name for group in FLAGS.values() for flag in group if flag.name not in hidden]
    said = {name: getattr(settings, name) for name in names}
    if said["before"] is None or len(said["before"]) == 1:
        del said["times"]
        said["before"] = None if said["before"] is None else said["before"][0]
    return said


def _rounded(count: float) -> str:
    """A count of two significant digits.

    >>> _rounded(158.3), _rounded(0.0123)
    ('160', '0.012')
    """
    return f"{float(f'{count:.2g}'):g}"


def _print_summary(report: dict[str, Any], target: pathlib.Path, seconds: float) -> None:
    """What was found, and how long the user has waited for it: simulated images and registration count too."""
    expected = report.get("expected_false_places")
    chance = "" if expected is None else f"chance alone gives at most about {_rounded(expected)} places; "
    print(
        f"{'SIMULATED: ' if report['source'] == 'simulated' else ''}{report['n_changed_windows']} of "
        f"{report['n_windows']} windows above tau = {report['tau']:.6g}, in {counted(report['n_candidates'], 'place')} "
        f"({chance}highest rho of a window {report['highest_rho']:.6g}); {seconds:.0f} s"
    )
    print(f"open {target / 'report.html'}")


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
        PROGRAM, lambda: commandline.help_text(USAGE, FLAGS), start, arguments, lambda: _left_behind(asked)
    )


def _left_behind(settings: types.SimpleNamespace) -> str:
    """Where an interrupted run left what it had done, and how to go on."""
    if settings.output_dir is None:
        return "interrupted; nothing was done yet."
    from planetcd_jax.scenes.checkpoint import work_folder

    kept = work_folder(pathlib.Path(settings.output_dir))
    if not kept.exists():
        images = demo_folder(pathlib.Path(settings.output_dir))
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
    commandline.run(execute)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's chatter
    run()
