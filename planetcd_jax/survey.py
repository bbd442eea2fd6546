"""The command line for surveys: `python -m planetcd_jax.survey find|run|status|retry|marks`, or `planetcd-survey`."""

import contextlib
import csv
import datetime
import math
import os
import pathlib
import shlex
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from absl import app, flags, logging

from planetcd_jax.cli import commandline
from planetcd_jax.cli.commandline import Flag
from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require
from planetcd_jax.version import __version__

if TYPE_CHECKING:
    from planetcd_jax.surveys.engine import Survey

PROGRAM = "planetcd-survey"

_SURVEY = Flag("output_dir", "str", None, "Folder of the survey; it may be given without the flag's name.")

CATALOGUE = {
    "The survey": (
        _SURVEY,
        Flag("fdr", "float", 0.1, "False discovery rate of the column discovery."),
        Flag("strata", "str", None, "Column whose values are reviewed in turn, such as kind or light_difference; "
             "numbers in thirds. Default: none."),
    )
}  # fmt: skip

MARKS = {
    "The survey": (
        *CATALOGUE["The survey"],
        Flag("merge", "multi", [], "File of exported marks, CSV or JSON; it may be given without the flag's name."),
    )
}

RUN: dict[str, tuple[Flag, ...]] = {
    "The survey": (
        Flag("pairs", "str", None, "CSV with before,after[,id,...]; it may be given without the flag's name."),
        Flag("output_dir", "str", None, "Folder of the survey. A survey that is there goes on."),
        Flag("shard", "str", "1/1", "Part i/n of the pairs, for job arrays: each part has a ledger of its own."),
        Flag("scene", "multi", [], "A flag of planetcd-scene as name=value, such as window=64; repeatable."),
        Flag("program", "str", None, "What scores one pair, taking the flags of planetcd-scene, such as a container's "
             "command line. Default: planetcd-scene of this installation."),
    ),
    "Who does the work": (
        Flag("scheduler", "str", "local", "Address of a running Dask scheduler; local: workers on this machine."),
        Flag("workers", "int", 0, "Local workers. 0: as many as cores and memory allow."),
        Flag("cores", "int", 0, "Cores that each pair keeps to. 0: all, shared."),
        Flag("gpus", "int", 0, "GPUs of this machine: one worker each."),
        Flag("time_limit", "float", 3600.0, "Seconds after which a pair is ended; 0: never."),
        Flag("memory_limit", "float", 0.0, "MB from which on a pair is ended; 0: what is free, divided by the workers; "
             "with --scheduler=ADDRESS none."),
        Flag("wait", "float", 300.0, "Seconds to wait for a scheduler that does not answer."),
    ),
    "What comes out": (
        *CATALOGUE["The survey"][1:],
        Flag("quiet", "bool", False, "No progress."),
    ),
}  # fmt: skip

FIND: dict[str, tuple[Flag, ...]] = {
    "The archive": (
        Flag("images", "str", None, "Folder of images, CSV, label of a PDS index table, STAC catalogue (.json) or "
             "address of a STAC API; it may be given without the flag's name."),
        Flag("longitudes", ("auto", "east", "west"), "auto", "How a table counts them; auto: as its label says."),
        Flag("out", "str", "pairs.csv", "Table of pairs to write."),
    ),
    "What makes a pair": (
        Flag("min_overlap", "float", 0.2, "Share of the smaller image that the other covers."),
        Flag("max_resolution_ratio", "float", 2.0, "Larger pixel divided by the smaller."),
        Flag("max_incidence", "float", 85.0, "Incidence of both, degrees."),
        Flag("max_emission", "float", None, "Emission of both, degrees. Default: no bound."),
        Flag("max_incidence_difference", "float", 20.0, "Degrees."),
        Flag("max_emission_difference", "float", 20.0, "Degrees."),
        Flag("max_phase_difference", "float", 40.0, "Degrees."),
        Flag("max_azimuth_difference", "float", 45.0, "Of the sun, degrees."),
        Flag("min_days", "float", 0.0, "Time between both."),
        Flag("max_days", "float", None, "Time between both. Default: no bound."),
        Flag("unknown", ("keep", "drop"), "keep", "Pairs of which a bound cannot be told."),
        Flag("chain", "bool", False, "Of one place only pairs that follow each other in time."),
        Flag("explain", "bool", False, "Write OUT.left_out.csv: images that overlap and make no pair, and why."),
    ),
}  # fmt: skip

STATUS = {"The survey": (_SURVEY, Flag("all", "bool", False, "List every pair that was set aside."))}

RETRY = {
    "The survey": (
        _SURVEY,
        Flag("failed", "bool", False, "Let all pairs that were set aside be tried again."),
        Flag("since", "str", None, "Only those that failed after a time, such as 2026-05-01 or 2026-05-01T12:00."),
        Flag("ids", "str", None, "Only these pairs, with commas between them."),
    )
}

DEMO = {
    "The demo": (
        Flag("demo", "bool", False, "Simulate a small archive, find its pairs, run them and write the index."),
        Flag("output_dir", "str", None, "Folder of the survey. Default: runs/survey-<date>-<time>."),
        Flag("demo_places", "int", 10, "Places of the archive, each seen three times."),
        Flag("workers", "int", 0, "Local workers. 0: as many as cores and memory allow."),
        Flag("quiet", "bool", False, "No progress."),
    )
}

_DEMO_SCENES = ["page_candidates=5", "pixel_maps=0", "null_draws=16"]
"""Flags of the scenes of the demo, so that it takes minutes."""

_USAGE = f"""{PROGRAM} {__version__}: from an archive of images to a catalogue of changes

  planetcd-survey --demo                                  no data: simulates an archive of 30 images and runs on it
  planetcd-survey find --images=FOLDER --out=pairs.csv    which images make pairs
  planetcd-survey run pairs.csv --output_dir=S            score every pair; repeat it to go on
  planetcd-survey catalogue S --strata=kind               the table of all places so far, written anew
  planetcd-survey marks S marks.csv more.json             merge marks that were exported from pages
  planetcd-survey status S                                how far it is, what failed and why
  planetcd-survey retry S --failed                        let what was set aside be tried again

`planetcd-survey COMMAND --help` lists the flags of a command.
"""


def _folder(settings: types.SimpleNamespace) -> pathlib.Path:
    if not settings.output_dir:
        raise ConfigError("--output_dir is missing; name the folder of the survey.")
    return pathlib.Path(settings.output_dir)


def _shard(text: str) -> tuple[int, int]:
    """(i, n) out of "i/n"."""
    with contextlib.suppress(ValueError):
        number, count = (int(part) for part in text.split("/"))
        if 1 <= number <= count:
            return number, count
    raise ConfigError(f"--shard={text}: give i/n, such as 1/8 to 8/8.")


def _command(settings: types.SimpleNamespace) -> tuple[str, ...]:
    """What scores one pair, with the flags of --scene.

    Raises:
        ConfigError: if planetcd-scene has no such flag.
    """
    given = tuple(f"--{text}" if "=" in text else f"--{text}=true" for text in settings.scene)
    if settings.program is not None:
        return (*shlex.split(settings.program), *given)
    from planetcd_jax import scene

    own = ("before", "after", "output_dir", "resume", "quiet", "overwrite", "demo")
    for text in settings.scene:
        if text.partition("=")[0] in own:
            raise ConfigError(f"--scene={text}: the survey sets this flag itself; leave it out.")
    try:
        commandline.parse(scene.PROGRAM, scene.FLAGS, given)
    except flags.Error as error:
        raise ConfigError(f"--scene: {' '.join(str(error).split())}") from None
    return (sys.executable, "-m", "planetcd_jax.scene", *given)


def _run(settings: types.SimpleNamespace) -> None:
    if not settings.pairs:
        raise ConfigError("name the table of pairs, such as `planetcd-survey run pairs.csv --output_dir=S`.")
    shard, command, folder = _shard(settings.shard), _command(settings), _folder(settings)
    require("survey", "distributed", "psutil")
    require("scene", "rasterio", "geopandas", "skimage")
    from planetcd_jax.surveys import shards
    from planetcd_jax.surveys.pair_table import read_pairs

    pairs = shards.part(read_pairs(pathlib.Path(settings.pairs)), shard)
    shards.agree(folder, command)
    with _survey(settings, folder, command, shard) as survey:
        survey.ledger.add(pairs)
        counts = survey.run()
    _say_end(counts, folder)
    _catalogue(types.SimpleNamespace(output_dir=folder, fdr=settings.fdr, strata=settings.strata))


@contextlib.contextmanager
def _survey(
    settings: types.SimpleNamespace, folder: pathlib.Path, command: Sequence[str], shard: tuple[int, int]
) -> Iterator["Survey"]:
    from planetcd_jax.surveys.attempt import Limits
    from planetcd_jax.surveys.engine import LOCAL, Survey, Workers
    from planetcd_jax.surveys.ledger import Ledger, ledger_name
    from planetcd_jax.surveys.scene_results import read_scene

    limits = Limits(settings.time_limit, settings.memory_limit, settings.cores, settings.gpus > 0)
    workers = Workers(settings.scheduler, settings.gpus or settings.workers, limits, settings.wait)
    if settings.scheduler == LOCAL:
        workers = workers.with_memory_shared()
    ledger = Ledger(folder / ledger_name(shard))
    try:
        yield Survey(folder, ledger, command, workers, collect=read_scene, told=_teller(ledger, settings.quiet))
    finally:
        ledger.close()


def _teller(ledger, quiet: bool) -> Callable[[object], None]:
    """Tells on standard error how far the work is: every second on a terminal, every 30 s in a file."""
    from planetcd_jax.surveys import progress

    pause, last, begun = (1.0 if sys.stderr.isatty() else 30.0), [0.0], []
    end = "\r" if sys.stderr.isatty() else "\n"

    def tell(client) -> None:
        now = time.monotonic()
        if quiet or now - last[0] < pause:
            return
        if not begun:
            begun.append(now)
            print(f"Dask's dashboard: {client.dashboard_link}", file=sys.stderr)
        last[0] = now
        text = progress.line(ledger.counts(), progress.rate(ledger.ends(), time.time()))
        print(f"{text:<100}", end=end, file=sys.stderr, flush=True)

    return tell


def _catalogue(settings: types.SimpleNamespace) -> None:
    if not 0 < settings.fdr < 1:
        raise ConfigError(f"--fdr={settings.fdr:g}: give a share between 0 and 1, such as 0.1.")
    folder = _existing(settings)
    require("survey", "geopandas", "pyogrio", "pyarrow", "shapely", "scipy")
    import numpy as np

    from planetcd_jax.surveys import catalogue, index_page

    places, changes = index_page.rebuild(folder, rate=settings.fdr, strata=settings.strata)
    if not len(places):
        print(f"{folder} has no place yet")
        return
    print(
        f"{len(places)} places, {len(changes)} changes, {np.count_nonzero(places['discovery'])} discoveries at a false "
        f"discovery rate of {settings.fdr:g}: {folder / catalogue.GEOPACKAGE}, {folder / catalogue.PARQUET}"
    )
    print(f"open {folder / index_page.INDEX}")


def _marks(settings: types.SimpleNamespace) -> None:
    folder = _existing(settings)
    files = [pathlib.Path(name) for name in settings.merge]
    if not files:
        raise ConfigError("name exported marks: `planetcd-survey marks S marks.csv ...`.")
    require("survey", "geopandas", "pyogrio", "pyarrow", "shapely", "scipy")
    from planetcd_jax.surveys import catalogue, index_page, marks
    from planetcd_jax.surveys.ledger import Ledger, ledgers_of

    runs = {}
    for path in ledgers_of(folder):
        ledger = Ledger(path)
        runs |= {row["run"]: row["id"] for row in ledger.pairs("done") if row["run"]}
        ledger.close()
    frame, system = catalogue.gather(folder)
    taken, unknown, changed = marks.merge(folder, files, frame, runs)
    places, _ = index_page.rebuild(folder, rate=settings.fdr, strata=settings.strata)
    chosen = catalogue.accepted(places)
    catalogue.write_accepted(folder, chosen, system)
    print(
        f"{taken} marks merged, {changed} of them over another verdict; {unknown} rows mean no place of this survey; "
        f"{len(chosen)} accepted places in {folder / 'accepted.gpkg'} and accepted.parquet"
    )


def _existing(settings: types.SimpleNamespace) -> pathlib.Path:
    from planetcd_jax.surveys.ledger import ledgers_of

    folder = _folder(settings)
    if not ledgers_of(folder):
        raise ConfigError(f"{folder} holds no ledger of a survey; name the --output_dir of `planetcd-survey run`.")
    return folder


def _say_end(counts: dict[str, int], folder: pathlib.Path) -> None:
    total = counts["done"] + counts["set aside"]
    print(
        f"{counts['done']} of {total} pairs done, {counts['set aside']} set aside; {counts['failures']} failed attempts"
    )
    if counts["set aside"]:
        print(f"planetcd-survey status {folder} says why")


def _find(settings: types.SimpleNamespace) -> None:
    require("survey", "shapely", "pyproj", "rasterio")
    from planetcd_jax.surveys import archives, finding
    from planetcd_jax.surveys.pair_table import write_table

    if not settings.images:
        raise ConfigError("name the archive, such as `planetcd-survey find --images=FOLDER --out=pairs.csv`.")
    archive = archives.read_archive(settings.images, longitudes=settings.longitudes)
    found = finding.find(archive.images, _bounds(settings), chain=settings.chain, explain=settings.explain)
    out = pathlib.Path(settings.out)
    rows = [[finding.cell(row[name]) for name in finding.COLUMNS] for row in found.rows]
    write_table(out, finding.COLUMNS, rows)
    print(f"{len(archive.images)} images placed, {len(archive.refused)} left aside; {len(rows)} pairs in {out}")
    for name, why in archive.refused[:5]:
        print(f"left aside: {name}: {why}")
    if found.reasons:
        said = ", ".join(f"{name} {count}" for name, count in found.reasons.most_common())
        print(f"overlapping images that make no pair, by bound: {said}")
    if settings.explain:
        beside = out.with_suffix(".left_out.csv")
        refused = [(name, "", why) for name, why in archive.refused]
        write_table(beside, ("before", "after", "why"), [*refused, *found.left_out])
        print(f"each of them, and why: {beside}")


def _bounds(settings: types.SimpleNamespace):
    from planetcd_jax.surveys.finding import Bounds

    def or_none(value: float | None) -> float:
        return math.inf if value is None else value

    return Bounds(
        settings.min_overlap, settings.max_resolution_ratio, settings.max_incidence, or_none(settings.max_emission),
        settings.max_incidence_difference, settings.max_emission_difference, settings.max_phase_difference,
        settings.max_azimuth_difference, settings.min_days, or_none(settings.max_days), settings.unknown == "keep",
    )  # fmt: skip


def _status(settings: types.SimpleNamespace) -> None:
    from planetcd_jax.surveys import progress

    print(progress.status(_folder(settings), everything=settings.all))


def _retry(settings: types.SimpleNamespace) -> None:
    from planetcd_jax.surveys.ledger import Ledger, ledgers_of

    folder = _existing(settings)
    if not (settings.failed or settings.ids or settings.since):
        raise ConfigError("say which pairs: --failed, --since=TIME or --ids=A,B.")
    names = settings.ids.split(",") if settings.ids else None
    since = None if settings.since is None else _moment(settings.since)
    count = 0
    for path in ledgers_of(folder):
        ledger = Ledger(path)
        count += ledger.retry(names, since=since)
        ledger.close()
    print(f"{count} pairs wait again; repeat `planetcd-survey run` to try them")


def _moment(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ConfigError(f"--since={text}: give a date or time such as 2026-05-01T12:00.") from None


def _demo(settings: types.SimpleNamespace) -> None:
    if not 1 <= settings.demo_places <= 11:
        raise ConfigError(f"--demo_places={settings.demo_places}: give 1 to 11.")
    require("survey", "distributed", "psutil", "geopandas", "shapely")
    from planetcd_jax.files.folders import output_errors
    from planetcd_jax.report.output import default_folder
    from planetcd_jax.simulate import demo_archive

    named = settings.output_dir or default_folder("survey", datetime.datetime.now())
    folder = pathlib.Path(named)
    images = folder.with_name(folder.name + "-images")
    if not (images / "truth.csv").exists():  # written last; a demo that was stopped goes on with its images
        print(f"SIMULATED archive of {3 * settings.demo_places} images: {images}", flush=True)
        with output_errors(os.fspath(images), "name another --output_dir"):
            images.mkdir(parents=True, exist_ok=True)
            demo_archive.write_archive(images, places=settings.demo_places)
    table = images / "pairs.csv"
    for arguments in (
        ["find", f"--images={images}", f"--out={table}", "--chain", "--explain"],
        ["run", f"--pairs={table}", f"--output_dir={folder}", f"--workers={settings.workers}",
         *(f"--scene={flag}" for flag in _DEMO_SCENES), *(["--quiet"] if settings.quiet else [])],
    ):  # fmt: skip
        print(f"$ {PROGRAM} {' '.join(arguments)}", flush=True)
        command, own = _parsed(arguments)
        command.run(own)
    _say_truth(folder, images / "truth.csv")


def _say_truth(folder: pathlib.Path, truth: pathlib.Path) -> None:
    """For the demo: how many of its changes are in the catalogue, and what else is."""
    from planetcd_jax.surveys import catalogue

    places, _ = catalogue.gather(folder)
    with open(truth, newline="", encoding="utf-8") as file:
        known = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    degree = math.pi / 180 * 3396190.0
    found, explained = set(), set()
    for row in places.to_dict("records"):
        for change in known:
            east = ((row["lon"] - change["lon"] + 180) % 360 - 180) * math.cos(math.radians(change["lat"]))
            if degree * math.hypot(east, row["lat"] - change["lat"]) <= max(change["radius_m"], 120.0):
                found.add(change["place"])
                explained.add(row["place"])
    others = len(places) - len(explained)
    print(
        f"SIMULATED: {len(found)} of {len(known)} known changes are in the catalogue, and {others} places that are "
        "none of them; some images are broken on purpose"
    )


class Command(NamedTuple):
    """A command: what it does in a line, the flag that its first word gives, its flags, and what runs it."""

    said: str
    first: str
    flags: dict[str, tuple[Flag, ...]]
    run: Callable[[types.SimpleNamespace], None]


COMMANDS = {
    "find": Command("which images make pairs", "images", FIND, _find),
    "run": Command("score every pair", "pairs", RUN, _run),
    "catalogue": Command("places of all scenes so far in one table", "output_dir", CATALOGUE, _catalogue),
    "marks": Command("merge exported marks into the catalogue", "output_dir", MARKS, _marks),
    "status": Command("how far a survey is", "output_dir", STATUS, _status),
    "retry": Command("let pairs be tried again", "output_dir", RETRY, _retry),
}


def _parsed(arguments: Sequence[str]) -> tuple[Command, types.SimpleNamespace]:
    """The command and its flags; words before the first flag are the value of the command's first flag."""
    if any(text.partition("=")[0] in ("--demo", "-demo") for text in arguments[:1]):
        command = Command("the demo", "output_dir", DEMO, _demo)
        return command, commandline.parse(PROGRAM, DEMO, arguments)
    name, *rest = arguments or [""]
    if name not in COMMANDS:
        raise flags.Error(f"{name!r} is no command; give one of {', '.join(COMMANDS)}, see --help.")
    command = COMMANDS[name]
    words = list(rest[: next((i for i, text in enumerate(rest) if text.startswith("-")), len(rest))])
    if words:
        files = [f"--merge={word}" for word in words[1:]] if name == "marks" else words[1:]
        rest = [f"--{command.first}={words[0]}", *files, *rest[len(words) :]]
    return command, commandline.parse(f"{PROGRAM} {name}", command.flags, rest)


def _help(arguments: Sequence[str]) -> str:
    name = next((text for text in arguments if text in COMMANDS), None)
    if name is None:
        return _USAGE
    return commandline.help_text(f"{PROGRAM} {name}: {COMMANDS[name].said}\n", COMMANDS[name].flags)


def execute(arguments: Sequence[str]) -> int:
    """Parses, runs and reports; what goes wrong on purpose is one line on standard error.

    Args:
        arguments: The command line without the program's name.

    Returns:
        Exit status: 0, 1 for an error in the data or the settings, 2 for one in the flags, 130 when interrupted.
    """

    def start(given: Sequence[str]) -> None:
        command, settings = _parsed(given)
        command.run(settings)

    return commandline.execute(
        PROGRAM, lambda: _help(arguments), start, arguments, lambda: "interrupted; repeat the command to go on."
    )


def run() -> None:
    """Runs the command line of this process and exits with its status."""
    logging.set_verbosity(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # job systems ask by SIGTERM
    app.run(lambda _: execute(sys.argv[1:]), argv=sys.argv[:1])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    run()
