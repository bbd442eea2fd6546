"""Archives and tables unpacked once into the cache, so that every image is a file that the one reader reads."""

import contextlib
import os
import pathlib
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator

from planetcd_jax.errors import DataError
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.pairs.splits import split_named

ZIP, TAR = (".zip",), (".tar", ".tar.gz", ".tgz")


def is_archive(path: pathlib.Path) -> bool:
    """Whether a file's name says that it is a zip or tar archive."""
    return path.name.lower().endswith(ZIP + TAR)


def unpacked(path: pathlib.Path, write: Callable[[pathlib.Path, pathlib.Path], None], kind: str) -> pathlib.Path:
    """Folder with the contents of a file, made by `write` once and kept in the cache by the file's SHA-256.

    Args:
        path: The file.
        write: `write(path, folder)` fills the new folder; the folder appears under its name only when it is whole.
        kind: What `write` makes, part of the folder's name.

    Raises:
        DataError: if the file is damaged, or the cache cannot be written.
    """
    target = cache_folder("unpacked") / f"{kind}-{sha256_of_file(path)[:32]}"
    if target.is_dir():
        return target
    with _new_folder(target, path) as folder:
        write(path, folder)
    return target


@contextlib.contextmanager
def _new_folder(target: pathlib.Path, source: pathlib.Path) -> Iterator[pathlib.Path]:
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
        yield temporary
        with contextlib.suppress(FileExistsError):
            _rename(temporary, target)
    except OSError as err:
        raise DataError(
            f"{source}: cannot be unpacked into {target.parent} ({err.strerror or err}); name another cache by "
            "XDG_CACHE_HOME, or unpack it yourself and name the folder by --data_dir."
        ) from err
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: pathlib.Path, target: pathlib.Path) -> None:
    """Gives the folder its name, unless another process was faster."""
    try:
        os.rename(temporary, target)
    except OSError:
        if not target.is_dir():
            raise


def unpacked_archive(path: pathlib.Path) -> pathlib.Path:
    """Folder with the files of a zip or tar archive; of a single folder in it, that folder.

    Raises:
        DataError: if it cannot be read as such an archive.
    """
    root = unpacked(path, extract_archive, "archive")
    entries = [entry for entry in root.iterdir() if entry.name not in ("__MACOSX", ".DS_Store")]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and not _says_split(entries[0]) else root


def _says_split(folder: pathlib.Path) -> bool:
    return folder.name == "data" or split_named(folder.name) is not None


def extract_archive(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the files of a zip or tar archive into a folder, and none outside it.

    Raises:
        DataError: if it cannot be read as such an archive.
    """
    try:
        if path.name.lower().endswith(ZIP):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # leaves out drive letters, leading slashes and ".."
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as err:
        said = " ".join(str(err).split())
        raise DataError(f"{path}: cannot be unpacked (cut short or damaged?): {said}; fetch it again.") from err
