"""`planetcd-survey run`: pairs into a ledger, to workers, and into a catalogue."""

import contextlib
import os
import pathlib
import sys
import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from planetcd_jax.cli.survey_commands import folder_of, write_catalogue
from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require

if TYPE_CHECKING:
    from planetcd_jax.surveys.engine import Survey


class Program(NamedTuple):
    """What scores one pair, apart from images and folders.

    Attributes:
        command: The program and its flags, for a process of its own.
        server: What scores many pairs in one process, and the flags of each; None: there is none.
    """

    command: tuple[str, ...]
    server: tuple[Sequence[str], Sequence[str]] | None


def run_pairs(settings: types.SimpleNamespace, program: Program, survey_program: Sequence[str]) -> None:
    """Scores the pairs of a table and writes the catalogue.

    Args:
        settings: Flags of `run`.
        program: What scores a pair.
        survey_program: The command of this program, which writes the catalogue while pairs end.
    """
    if not settings.pairs:
        raise ConfigError("name the table of pairs, such as `planetcd-survey run pairs.csv --output_dir=S`.")
    if settings.process_pairs < 1:
        raise ConfigError(f"--process_pairs={settings.process_pairs}: give 1 or more.")
    _shard(settings.shard)
    folder = folder_of(settings)
    require("survey", "distributed", "psutil", "rich")
    require("scene", "rasterio", "geopandas", "pyogrio", "pyproj", "shapely", "skimage")
    from planetcd_jax.surveys import shards

    shards.agree(folder, program.command)
    with _survey(settings, folder, program, survey_program) as survey:
        counts = survey.run()
    _say_end(counts, folder)
    write_catalogue(types.SimpleNamespace(output_dir=folder, fdr=settings.fdr, strata=settings.strata))


def _shard(text: str) -> tuple[int, int]:
    """(i, n) out of "i/n"."""
    with contextlib.suppress(ValueError):
        number, count = (int(part) for part in text.split("/"))
        if 1 <= number <= count:
            return number, count
    raise ConfigError(f"--shard={text}: give i/n, such as 1/8 to 8/8.")


@contextlib.contextmanager
def _survey(
    settings: types.SimpleNamespace, folder: pathlib.Path, program: Program, again: Sequence[str]
) -> Iterator["Survey"]:
    """The survey with its pairs, told and kept while it runs."""
    shard = _shard(settings.shard)
    from planetcd_jax.surveys import live, shards
    from planetcd_jax.surveys.engine import Survey
    from planetcd_jax.surveys.keeping import Keeper
    from planetcd_jax.surveys.ledger import Ledger, ledger_name
    from planetcd_jax.surveys.limits import Limits
    from planetcd_jax.surveys.pair_table import read_pairs
    from planetcd_jax.surveys.scene_results import read_scene
    from planetcd_jax.surveys.workers import LOCAL, Workers

    limits = Limits(settings.time_limit, settings.memory_limit, settings.cores, settings.gpus > 0)
    workers = Workers(settings.scheduler, settings.gpus or settings.workers, limits, settings.wait)
    if settings.scheduler == LOCAL:
        workers = workers.with_memory_shared()
    strata = [] if settings.strata is None else [f"--strata={settings.strata}"]
    command = [*again, "catalogue", os.fspath(folder), f"--fdr={settings.fdr}", *strata]
    keeper = Keeper(command, folder, settings.catalogue_every)
    ledger = Ledger(folder / ledger_name(shard))
    try:
        ledger.add(shards.part(read_pairs(pathlib.Path(settings.pairs)), shard))
        with live.progress_shown(ledger, folder, quiet=settings.quiet) as tell:

            def told(dashboard: str, workers: int) -> None:
                tell(dashboard, workers)
                keeper.begin_if_due(lambda: ledger.counts()["done"])

            yield Survey(
                folder, ledger, program.command, workers, program.server, settings.process_pairs, collect=read_scene,
                told=told,
            )  # fmt: skip
    finally:
        ledger.close()
        keeper.end()
    if keeper.failed:
        print(f"{keeper.failed} catalogues could not be written while pairs ended", file=sys.stderr)


def _say_end(counts: dict[str, int], folder: pathlib.Path) -> None:
    total = counts["done"] + counts["set aside"]
    print(
        f"{counts['done']} of {total} pairs done, {counts['set aside']} set aside; {counts['failures']} failed attempts"
    )
    if counts["set aside"]:
        print(f"planetcd-survey status {folder} says why")
