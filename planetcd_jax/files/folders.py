"""Files and folders that are there whole or not at all, and what went wrong with them in one line."""

import contextlib
import errno
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from planetcd_jax.errors import OutputError, PlanetCDError
from planetcd_jax.files.room import replace_contents, works_inside

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def hidden_beside(path: pathlib.Path, mark: str) -> pathlib.Path:
    """A hidden name in the same folder: ".NAME.MARK"."""
    return path.with_name(f".{path.name}.{mark}")


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to write to; it takes its name when the block ends well, and is gone if it does not.

    What was there before stays until then. After a crash of the machine the file is there whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = hidden_beside(path, "tmp")
    try:
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    with whole_file(path) as file:
        file.write(content)


class UnfinishedFolder(NamedTuple):
    """A folder that is being filled.

    Attributes:
        folder: Where it is now.
        target: The name that it gets.
        parents: Folders above it that were made for it, innermost first.
    """

    folder: pathlib.Path
    target: pathlib.Path
    parents: tuple[pathlib.Path, ...]

    def finish(self, last: str) -> None:
        """Moves it to its place, as `move_into_place` does."""
        move_into_place(self.folder, self.target, last)

    def clean_up(self) -> None:
        """Removes what is left of it, and the parents that were made for it and are empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _remove_empty(self.parents)


def begin_folder(target: pathlib.Path) -> UnfinishedFolder:
    """Makes a hidden folder to fill: beside `target`, or inside it where that is there and empty, or a mount point.

    Raises:
        OSError: if it cannot be made; then nothing is left.
    """
    target = target.resolve()
    beside = hidden_beside(target, f"partial-{uuid.uuid4().hex[:8]}")
    inside = target.is_dir() and (works_inside(target) or not any(target.iterdir()))
    folder = target / beside.name if inside else beside
    parents = tuple(parent for parent in folder.parents if not parent.exists())
    try:
        folder.mkdir(parents=True)
    except OSError:
        _remove_empty(parents)
        raise
    return UnfinishedFolder(folder, target, parents)


def move_into_place(folder: pathlib.Path, target: pathlib.Path, last: str = "") -> None:
    """Moves a finished folder to its place; what is there goes only when the new folder is in place.

    Args:
        folder: The folder.
        target: Its place. If `folder` lies in it, what `folder` holds is moved and `target` stays the same folder, as
            a mounted one must.
        last: What is moved last in that case: the file by which a reader knows that the folder is whole.

    Raises:
        OSError: if it cannot be moved; then what was there is there again.
    """
    if target in folder.parents:
        replace_contents(folder, target, last)
        return
    old = hidden_beside(target, "old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists() and any(target.iterdir()):
        target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_empty(parents: tuple[pathlib.Path, ...]) -> None:
    for folder in parents:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def output_errors(
    name: str,
    remedy: str,
    *,
    within: pathlib.Path | None = None,
    kinds: tuple[type[Exception], ...] = (OSError,),
) -> Iterator[None]:
    """Turns what goes wrong while writing, a full disk above all, into one OutputError that names the place.

    Args:
        name: The place, as the reader knows it.
        remedy: What to do, without the full stop.
        within: None, or the folder that is written to: an OSError about a file elsewhere (an input) passes as it is.
        kinds: What is turned; an error of this package passes as it is.

    Raises:
        OutputError: for an error of one of `kinds` inside the block.
    """
    try:
        yield
    except PlanetCDError:
        raise
    except kinds as error:
        if within is not None and not _concerns(error, within):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{name} cannot be written ({reason}); {remedy}.") from None


def _concerns(error: Exception, folder: pathlib.Path) -> bool:
    """Whether an error came of writing to the folder, rather than of reading something else."""
    if getattr(error, "errno", None) in _NO_ROOM:
        return True
    return str(getattr(error, "filename", None) or "").startswith(os.fspath(folder))
