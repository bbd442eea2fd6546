"""The folder of a run: made first, filled beside its place, moved there when all is written."""

import contextlib
import datetime
import json
import os
import pathlib
import uuid
from collections.abc import Iterator

from planetcd_jax.errors import OutputError
from planetcd_jax.files.folders import begin_folder, output_errors
from planetcd_jax.files.room import check_place

RUNS = pathlib.Path("runs")
LATEST = "latest"
METRICS = "metrics.json"
# In every metrics.json, and how a folder of results is known as one.
PROGRAM = "planetcd_jax"

# What a run of a few hundred pairs writes, bytes; asked for before it begins.
_ROOM = 5_000_000


def default_folder(dataset: str, now: datetime.datetime) -> pathlib.Path:
    """runs/<dataset>-<YYYYmmdd-HHMMSS>, with -2, -3, ... where that exists already."""
    first = RUNS / f"{dataset}-{now:%Y%m%d-%H%M%S}"
    folder, count = first, 1
    while folder.exists():
        count += 1
        folder = first.with_name(f"{first.name}-{count}")
    return folder


def _is_results(folder: pathlib.Path) -> bool:
    try:
        return PROGRAM in json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _check_target(target: pathlib.Path, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise OutputError(f"--output_dir={target} is not a folder; name a folder, or move what is there.")
    if any(target.iterdir()):
        if not _is_results(target):
            raise OutputError(
                f"--output_dir={target} holds other files and is left as it is; name a new or an empty folder."
            )
        if not overwrite:
            raise OutputError(f"--output_dir={target} holds earlier results; name another folder or add --overwrite.")


@contextlib.contextmanager
def run_folder(folder: pathlib.Path, *, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """A folder to fill that takes its final name when the block ends well, and is gone if it does not.

    It is made at once, beside `folder` (inside it where that is there and empty, or a mount point), so a place that
    cannot be written is an error before anything is computed, and a reader of `folder` never takes half a result for a
    whole one.

    Args:
        folder: Where the results are to be. A folder with anything in it is refused, except that `overwrite` lets
            one with an earlier result of this program be replaced.
        overwrite: Whether earlier results may be replaced.

    Yields:
        The folder to write into.

    Raises:
        OutputError: if `folder` cannot be written or may not be replaced, also when a write inside the block fails.
    """
    name, remedy = f"--output_dir={folder}", "name a folder that you may write to"
    with output_errors(name, remedy):
        target = pathlib.Path(os.path.abspath(folder))
        _check_target(target, overwrite)
        check_place(target, _ROOM)
        unfinished = begin_folder(target)
    try:
        with output_errors(name, remedy, within=unfinished.folder):
            yield unfinished.folder
            unfinished.finish(last=METRICS)
    finally:
        unfinished.clean_up()


def point_latest(folder: pathlib.Path) -> pathlib.Path:
    """Makes `latest` beside a run's folder lead to it: a symlink, or a text file with its name where links fail.

    Args:
        folder: The folder of a finished run.

    Returns:
        The link `latest`, or the file `latest.txt`.

    Raises:
        OutputError: if neither can be written.
    """
    link = folder.parent / LATEST
    temporary = folder.parent / f".{LATEST}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        os.replace(temporary, link)
        return link
    except OSError:  # file systems without links, or something else called "latest"
        temporary.unlink(missing_ok=True)
    note = folder.parent / f"{LATEST}.txt"
    try:
        note.write_text(folder.name + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{note} cannot be written ({error.strerror}); the results are in {folder}.") from error
    return note
