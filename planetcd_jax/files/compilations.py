"""What JAX compiles in this process: how many programs, and a line where one takes long."""

import collections
import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from planetcd_jax.files.compile_once import compiled

SLOW_S = 3.0
"""Seconds from where on a compilation is announced."""

_COMPILE = "/jax/core/compile/backend_compile_duration"
"""What JAX records of each program that it needs, compiled anew or found in its cache."""

_FOUND = "/jax/compilation_cache/cache_hits"

_events: collections.Counter[str] = collections.Counter()


@functools.cache
def count_from_now() -> None:
    """Starts the count of `compiled_programs`; later calls change nothing."""
    jax.monitoring.register_event_listener(lambda event, **_: _events.update([event]))
    jax.monitoring.register_event_duration_secs_listener(_count_duration)


def _count_duration(event: str, duration_secs: float, **_: str | int) -> None:
    _events.update([event])


def compiled_programs() -> dict[str, int]:
    """Programs that were compiled since `count_from_now`, and those that the cache of earlier runs held."""
    return {"compiled": _events[_COMPILE] - _events[_FOUND], "found_compiled": _events[_FOUND]}


@contextlib.contextmanager
def announced(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Says on standard error that a program is being compiled, if the block takes longer than `SLOW_S`.

    Args:
        what: What the program is for, in words.
        quiet: Say nothing.
    """
    text = f"compiling the program for {what}; later runs find it compiled"
    timer = threading.Timer(SLOW_S, tqdm.write, [text], {"file": sys.stderr})
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def announcing(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    """A jitted function of arrays; each program that it needs is announced while it is compiled."""
    jitted, programs = jax.jit(function), {}

    def call(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        shapes = structure, tuple((np.shape(x), getattr(x, "dtype", type(x))) for x in leaves)
        if shapes not in programs:
            with announced(what):
                programs[shapes] = compiled(jitted.lower(*arguments))
        return programs[shapes](*arguments)

    return call
