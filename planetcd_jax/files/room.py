"""Whether a folder can take what a run writes, asked before the long work, and results put into a folder that stays."""

import os
import pathlib
import shutil
import tempfile

from planetcd_jax.errors import OutputError

_FIRST_LETTER = 32
"""Characters before the blank are control characters."""

_LONGEST = 240
"""Most bytes of a file's name: file systems take 255, and a run puts .NAME.partial beside its results."""


def existing(folder: pathlib.Path) -> pathlib.Path:
    """The folder itself, or the nearest of those above it that is there."""
    folder = pathlib.Path(os.path.abspath(folder))
    while not folder.exists():
        folder = folder.parent
    return folder


def works_inside(target: pathlib.Path) -> bool:
    """Whether unfinished results must lie inside `target`: nothing can be renamed to it.

    So it is with a mount point, and with a folder that is there while the one above it may not be written.
    """
    return target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))


def check_name(target: pathlib.Path) -> None:
    """Whether files can be made under a folder's name, by its letters alone.

    Raises:
        OutputError: if it holds a control character, with which no GeoPackage can be written, or is too long.
    """
    name = os.fspath(target)
    if any(ord(letter) < _FIRST_LETTER for letter in name):
        raise OutputError(f"--output_dir={name!r} holds a tab, a line break or the like; name a folder without.")
    longest = max((len(os.fsencode(part)) for part in target.parts), default=0)
    if longest > _LONGEST:
        raise OutputError(
            f"--output_dir={name[:60]}... has a name of {longest} bytes in it, and {_LONGEST} are the most; name a "
            "folder with a shorter name."
        )


def check_place(target: pathlib.Path, needed: int) -> None:
    """Tries whether a folder can be made or filled, and whether its disk has room.

    Args:
        target: Folder of results; it need not be there.
        needed: Bytes that are going to be written, at most.

    Raises:
        OutputError: if a file cannot be written there, or less than `needed` is free.
    """
    check_name(target)
    if target.is_symlink() and not target.exists():
        raise OutputError(f"--output_dir={target} is a link to nothing; name a folder, or make the one it leads to.")
    if target.exists() and not target.is_dir():
        raise OutputError(f"--output_dir={target} is not a folder; name a folder, or move what is there.")
    place = existing(target)
    if place == pathlib.Path(os.path.abspath(target)) and not works_inside(place):
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"--output_dir={target} cannot be written ({reason}); name a folder that you may write to."
        ) from None
    if free < needed:
        raise OutputError(
            f"--output_dir={target} has {_size(free)} free, and the results may take {_size(needed)}; free some space, "
            "name a folder on another disk, or ask for less (--pixel_maps, --page_candidates, --figures)."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def replace_contents(made: pathlib.Path, target: pathlib.Path, last: str) -> None:
    """Moves what is in `made` into `target`, which holds it; what was in `target` before goes.

    Args:
        made: A folder inside `target`, full; removed.
        target: A folder that stays itself, as a mounted one must.
        last: Name of the file that tells a whole result; moved last, and its older copy goes first.

    Raises:
        OSError: if something cannot be moved.
    """
    inside = made.relative_to(target).parts[0]
    old = sorted((entry for entry in target.iterdir() if entry.name != inside), key=lambda entry: entry.name != last)
    for entry in old:
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for entry in sorted(made.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(target / entry.name)
    made.rmdir()
