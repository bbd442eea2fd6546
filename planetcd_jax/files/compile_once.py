"""A program that no cache holds yet is compiled by one process of a machine; others that need it wait and find it."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import jax

from planetcd_jax.files.digests import sha256_of

try:
    import fcntl
except ImportError:  # not Unix: each process compiles for itself
    fcntl = None

MARK = ".once"
"""End of the names of the small files that say which programs a cache holds."""


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles a program, or finds it in JAX's cache.

    Processes that start together, such as the workers of a survey, trace a program side by side and compile it once.
    """
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue] (made when JAX starts)
    if folder is None:
        return lowered.compile()
    with turn(pathlib.Path(folder), _digest(lowered)):
        return lowered.compile()


def _digest(lowered: jax.stages.Lowered) -> str:
    """Tells programs apart; large constants are left out, since to write them takes longer than to load a program.

    Two programs that are taken for one cost a second compilation, no more: JAX tells them apart by all that they hold.
    """
    module = lowered.compiler_ir("stablehlo")
    text = lowered.as_text() if module is None else module.operation.get_asm(large_elements_limit=16)
    made_for = jax.__version__, jax.devices()[0].device_kind, os.environ.get("XLA_FLAGS", "")
    return sha256_of("\n".join((*made_for, text)).encode())


@contextlib.contextmanager
def turn(folder: pathlib.Path, name: str) -> Iterator[None]:
    """Runs its block alone among processes, until one has been through it; from then on nobody waits.

    A process that dies in the block lets the next one in. Where the folder cannot be written, or its disk knows no
    locks, nobody waits either.

    Args:
        folder: Of JAX's cache.
        name: Of the program.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(folder / f"{name}{MARK}", "ab"))
        except OSError:
            file = None
        if file is None or fcntl is None or _size(file.fileno()):
            yield
            return
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
            if _size(file.fileno()):  # the one before was through
                fcntl.flock(file, fcntl.LOCK_UN)
        yield
        with contextlib.suppress(OSError):
            file.write(b"compiled\n")
            file.flush()


def _size(file: int) -> int:
    return os.fstat(file).st_size
