"""Removing what runs keep for later runs."""

import os
import pathlib
import shutil

from planetcd_jax.errors import OutputError
from planetcd_jax.files.folders import output_errors
from planetcd_jax.words import counted


def _size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def clear(compiled: str | None = None) -> str:
    """Removes the cache folder of this package: compiled programs, the compiled network, archives.

    These are archives that were unpacked, and those fetched from Zenodo. Data sets that were fetched from the Hugging
    Face hub are not touched: they lie in its own cache.

    Args:
        compiled: None, or a folder of compiled programs elsewhere (--compilation_cache_dir); only JAX's own files
            and ours beside them are removed from it.

    Returns:
        What was removed, in words.

    Raises:
        OutputError: if something cannot be removed.
    """
    from planetcd_jax.files.caches import CHECKED, cache_folder
    from planetcd_jax.files.compile_once import MARK

    folder = cache_folder("")
    said = [_removed(folder)]
    if compiled:
        with output_errors(f"--compilation_cache_dir={compiled}", "remove its files by hand"):
            files = [
                path
                for path in pathlib.Path(compiled).glob("*")
                if path.name.endswith(("-cache", "-atime", MARK)) or path.name == CHECKED
            ]
            size = sum(path.stat().st_size for path in files)
            for path in files:
                path.unlink()
        programs = sum(path.name.endswith("-cache") for path in files)
        said.append(f"removed {counted(programs, 'compiled program')} from {compiled} ({_megabytes(size)})")
    return "\n".join(said)


def _removed(folder: pathlib.Path) -> str:
    if not folder.is_dir():
        return f"nothing to remove: {folder} is not there"
    size = _size(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"{error.filename or folder} cannot be removed ({error.strerror}); remove {os.fspath(folder)} by hand."
        ) from None
    return f"removed {folder} ({_megabytes(size)})"
