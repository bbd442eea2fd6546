"""Where compiled programs are kept between runs, and switching JAX's persistent cache on. Called by programs only."""

import atexit
import contextlib
import importlib
import os
import pathlib
import shutil
import tempfile
import zlib

import jax

from planetcd_jax.errors import ConfigError


def cache_folder(part: str) -> pathlib.Path:
    """Folder of one kind of cached file: $XDG_CACHE_HOME/planetcd_jax/<part>, ~/.cache where that is not set."""
    home = os.environ.get("XDG_CACHE_HOME") or os.fspath(pathlib.Path.home() / ".cache")
    return pathlib.Path(home) / "planetcd_jax" / part


def ensure_cache_home() -> str | None:
    """Gives this process a cache folder that it may write: a temporary one where the usual one cannot be written.

    Returns:
        None, or why the usual one cannot be written, in words.
    """
    usual = cache_folder("")
    try:
        usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK):
            return None
        reason = "Permission denied"
    except OSError as error:
        reason = error.strerror
    temporary = tempfile.mkdtemp(prefix="planetcd_jax-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = temporary
    return f"the cache folder {usual} cannot be written ({reason})"


CHECKED = ".checked"
"""File whose time says up to when the entries of a cache have been looked at."""

_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def _is_whole(entry: bytes) -> bool:
    """Whether an entry that JAX compressed can be decompressed; True where this Python cannot tell."""
    try:
        if not entry.startswith(_ZSTANDARD):
            zlib.decompress(entry)
            return True
    except zlib.error:
        return False
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            unpack = getattr(module, "decompress", None) or module.ZstdDecompressor().decompress
            try:
                unpack(entry)
            except Exception:  # each module raises its own
                return False
            return True
    return True


def drop_cut_short(folder: pathlib.Path) -> list[pathlib.Path]:
    """Removes entries of JAX's cache that a killed process or a full disk left cut short, and returns them.

    JAX warns of such an entry in every run that meets it, and does not write it again while it is there. Only entries
    that came since the last look are read.
    """
    mark, since = folder / CHECKED, 0.0
    with contextlib.suppress(OSError):
        since = mark.stat().st_mtime
    with contextlib.suppress(OSError):  # a folder that may only be read
        mark.touch()
    removed = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            if path.stat().st_mtime >= since and not _is_whole(path.read_bytes()):
                path.unlink()
                removed.append(path)
    return removed


def _folder_in_settings() -> str | None:
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue] (made when JAX starts)


def cache_compilations(folder: str | None) -> pathlib.Path | None:
    """Lets JAX keep every compiled program in a folder and find it there in later processes.

    Results do not depend on it. A folder that JAX's own settings name already (JAX_COMPILATION_CACHE_DIR) has its way
    unless another is given here.

    Args:
        folder: None for the default, `cache_folder("xla")`; "" to switch the cache off.

    Returns:
        The folder in use, or None.

    Raises:
        ConfigError: if the folder cannot be made.
    """
    if folder == "":
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    chosen = folder or _folder_in_settings() or os.fspath(cache_folder("xla"))
    try:
        pathlib.Path(chosen).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--compilation_cache_dir={chosen} cannot be made ({error.strerror}); name another folder, or give it "
            "empty to do without."
        ) from None
    drop_cut_short(pathlib.Path(chosen))
    jax.config.update("jax_compilation_cache_dir", chosen)
    # Everything, however small or quick to compile: a run compiles dozens of small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return pathlib.Path(chosen)
