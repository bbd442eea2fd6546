"""Where compiled programs are kept between runs, and switching JAX's persistent cache on. Called by programs only."""

import os
import pathlib

import jax

from planetcd_jax.errors import ConfigError


def cache_folder(part: str) -> pathlib.Path:
    """Folder of one kind of cached file: $XDG_CACHE_HOME/planetcd_jax/<part>, ~/.cache where that is not set."""
    home = os.environ.get("XDG_CACHE_HOME") or os.fspath(pathlib.Path.home() / ".cache")
    return pathlib.Path(home) / "planetcd_jax" / part


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
    chosen = folder or jax.config.jax_compilation_cache_dir or os.fspath(cache_folder("xla"))
    try:
        pathlib.Path(chosen).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--compilation_cache_dir={chosen} cannot be made ({error.strerror}); name another folder, or give it "
            "empty to do without."
        ) from None
    jax.config.update("jax_compilation_cache_dir", chosen)
    # Everything, however small or quick to compile: a run compiles dozens of small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return pathlib.Path(chosen)
