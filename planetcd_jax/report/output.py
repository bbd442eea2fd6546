"""The folder of a run: made first, filled beside its place, moved there when all is written."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from planetcd_jax.errors import OutputError
from planetcd_jax.files.room import check_place, replace_contents, works_inside

RUNS = pathlib.Path("runs")
LATEST = "latest"
METRICS = "metrics.json"
# In every metrics.json, and how a folder of results is known as one.
PROGRAM = "planetcd_jax"

# What a run of a few hundred pairs writes, bytes; asked for before it begins.
_ROOM = 5_000_000

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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


def _move(temporary: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a finished folder to its place; earlier results there go only when the new ones are in place."""
    if temporary.parent == target:
        replace_contents(temporary, target, METRICS)
        return
    old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex[:8]}")
    if target.exists():
        target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)


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
    target = pathlib.Path(os.path.abspath(folder))
    made: list[pathlib.Path] = []
    try:
        _check_target(target, overwrite)
        target = target.resolve()
        name = f".{target.name}.partial-{uuid.uuid4().hex[:8]}"
        check_place(target, _ROOM)
        inside = target.is_dir() and (works_inside(target) or not any(target.iterdir()))
        temporary = target / name if inside else target.with_name(name)
        made = [parent for parent in temporary.parents if not parent.exists()]
        temporary.mkdir(parents=True)
    except OSError as error:
        _remove_empty(made)
        raise _as_output_error(folder, error) from None
    done = False
    try:
        yield temporary
        _move(temporary, target)
        done = True
    except OSError as error:
        if not _concerns(error, temporary):
            raise
        raise _as_output_error(folder, error) from None
    finally:
        if not done:
            shutil.rmtree(temporary, ignore_errors=True)
            _remove_empty(made)


def _concerns(error: OSError, folder: pathlib.Path) -> bool:
    """Whether an error came of writing to the folder, rather than of reading something else."""
    return error.errno in _DISK_FULL or str(error.filename or "").startswith(os.fspath(folder))


def _as_output_error(folder: pathlib.Path, error: OSError) -> OutputError:
    if isinstance(error, OutputError):
        return error
    reason = error.strerror or str(error)
    return OutputError(f"--output_dir={folder} cannot be written ({reason}); name a folder that you may write to.")


def _remove_empty(folders: list[pathlib.Path]) -> None:
    """Takes back parent folders that were made for nothing, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


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


def jsonable(value: Any) -> Any:
    """The same value out of dicts, lists, strings, numbers and None that JSON has; NaN and infinity become None.

    Raises:
        TypeError: for a value that has no such form.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} has no form in JSON.")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes UTF-8 JSON that every reader takes: no NaN, keys in the order given."""
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
