"""What `planetcd-survey` does beside running pairs: find, catalogue, marks, status, retry."""

import datetime
import math
import pathlib
import types

from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require
from planetcd_jax.words import counted


def folder_of(settings: types.SimpleNamespace) -> pathlib.Path:
    """The folder of the survey that the flags name."""
    if not settings.output_dir:
        raise ConfigError("--output_dir is missing; name the folder of the survey.")
    return pathlib.Path(settings.output_dir)


def write_catalogue(settings: types.SimpleNamespace) -> None:
    """Writes the catalogue and the page of all scenes so far."""
    if not 0 < settings.fdr < 1:
        raise ConfigError(f"--fdr={settings.fdr:g}: give a share between 0 and 1, such as 0.1.")
    folder = existing_folder(settings)
    require("survey", "geopandas", "pyogrio", "pyarrow", "shapely", "scipy")
    from planetcd_jax.surveys import catalogue, index_page

    places, changes = index_page.rebuild(folder, rate=settings.fdr, strata=settings.strata)
    if not len(places):
        print(f"{folder} has no place yet")
        return
    print(
        f"{catalogue.summary(places, changes)} at a false discovery rate of {settings.fdr:g}: "
        f"{folder / catalogue.GEOPACKAGE}, {folder / catalogue.PARQUET}"
    )
    if reason := catalogue.why_none(places):
        print(reason)
    print(f"open {folder / index_page.INDEX}")


def merge_marks(settings: types.SimpleNamespace) -> None:
    """Merges exported marks and writes the accepted places."""
    folder = existing_folder(settings)
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
    frame, system = catalogue.read_places(folder)
    taken, unknown, changed = marks.merge(folder, files, frame, runs)
    places, _ = index_page.rebuild(folder, rate=settings.fdr, strata=settings.strata)
    chosen = catalogue.accepted(places)
    catalogue.write_accepted(folder, chosen, system)
    aside = f"{counted(unknown, 'row')} of no place of this survey; " if unknown else ""
    print(
        f"{counted(taken, 'mark')} merged, {changed} of them over another verdict; {aside}"
        f"{counted(len(chosen), 'accepted place')} in {folder / 'accepted.gpkg'} and accepted.parquet"
    )


def existing_folder(settings: types.SimpleNamespace) -> pathlib.Path:
    """The folder of a survey that is there."""
    from planetcd_jax.surveys.ledger import ledgers_of

    folder = folder_of(settings)
    if not ledgers_of(folder):
        raise ConfigError(f"{folder} holds no ledger of a survey; name the --output_dir of `planetcd-survey run`.")
    return folder


def find_pairs(settings: types.SimpleNamespace) -> None:
    """Writes the table of pairs of an archive."""
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
    print(
        f"{counted(len(archive.images), 'image')} placed, {len(archive.refused)} left aside; "
        f"{counted(len(rows), 'pair')} in {out}"
    )
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


def print_status(settings: types.SimpleNamespace) -> None:
    """Prints how far a survey is."""
    from planetcd_jax.surveys import progress

    print(progress.status(folder_of(settings), everything=settings.all))


def retry_pairs(settings: types.SimpleNamespace) -> None:
    """Lets pairs that were set aside be tried again."""
    from planetcd_jax.surveys.ledger import Ledger, ledgers_of

    folder = existing_folder(settings)
    if not (settings.failed or settings.ids or settings.since):
        raise ConfigError("say which pairs: --failed, --since=TIME or --ids=A,B.")
    names = settings.ids.split(",") if settings.ids else None
    since = None if settings.since is None else _moment(settings.since)
    count = 0
    for path in ledgers_of(folder):
        ledger = Ledger(path)
        count += ledger.retry(names, since=since)
        ledger.close()
    print(
        f"{counted(count, 'pair')} {'waits' if count == 1 else 'wait'} again; repeat `planetcd-survey run` to try them"
    )


def _moment(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ConfigError(f"--since={text}: give a date or time such as 2026-05-01T12:00.") from None
