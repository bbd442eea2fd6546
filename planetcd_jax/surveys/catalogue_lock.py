"""Whose turn it is to write the catalogue of a survey, and when it was written last."""

import contextlib
import fcntl
import os
import pathlib
import time
from collections.abc import Iterator

_LOCK = "catalogue.lock"


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Waits until no other process writes the catalogue: all of them write the same files."""
    with open(folder / _LOCK, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.utime(folder / _LOCK)


def age_s(folder: pathlib.Path) -> float:
    """Seconds since a catalogue was written; 0 while one is being written, infinity where none was yet."""
    try:
        with open(folder / _LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return max(0.0, time.time() - os.fstat(lock.fileno()).st_mtime)
    except BlockingIOError:
        return 0.0
    except OSError:
        return float("inf")
