"""What one pair may take of a machine, and how a process is started that keeps to it."""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from planetcd_jax.extras import brought_by

with brought_by("survey"):
    import psutil

LOOK_S = 0.5
"""Time between two looks at the memory of a process."""

_STARTER = os.fspath(pathlib.Path(__file__).with_name("attempt_start.py"))


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one pair may take.

    Attributes:
        seconds: Time; 0: no limit.
        memory_mb: Memory of its process and its children, MB; 0: no limit.
        cores: Cores that it keeps to; 0: as the worker.
        gpu: Whether each worker has a GPU of its own.
    """

    seconds: float = 3600.0
    memory_mb: float = 0.0
    cores: int = 0
    gpu: bool = False

    def too_long(self) -> str:
        """Why a process was ended that took too much time."""
        return f"it took longer than --time_limit={self.seconds:g} s and was ended"

    def too_large(self, process: int) -> str:
        """Why a process is ended that holds too much memory; "" where it does not."""
        held = memory_mb(process) if self.memory_mb else 0.0
        if held <= self.memory_mb:
            return ""
        return f"it took {held:.0f} MB, more than --memory_limit={self.memory_mb:g} MB, and was ended"


def start(command: Sequence[str], limits: Limits, **how: Any) -> subprocess.Popen:
    """Starts a program that ends with this process and keeps to its cores; `how` goes to Popen."""
    slot = _slot()
    tied = [sys.executable, "-I", "-S", _STARTER, str(os.getpid()), _cores(limits, slot), "--"]
    return subprocess.Popen(
        [*tied, *command], stdin=subprocess.DEVNULL, env=_environment(limits, slot), start_new_session=True, **how
    )


def memory_mb(pid: int) -> float:
    """Memory of a process and its children, MB."""
    total = 0.0
    for one in _family(pid):
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(one).memory_info().rss / 2**20
    return total


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = list(pathlib.Path(f"/proc/{pid}/task").glob("*/children"))
    if not children:  # not Linux; this looks at every process of the machine
        with contextlib.suppress(psutil.Error):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    found = [pid]
    for path in children:
        with contextlib.suppress(OSError):  # a thread that ended
            found += [one for child in path.read_text().split() for one in _family(int(child))]
    return found


def _environment(limits: Limits, slot: int) -> Mapping[str, str]:
    """Of the process; what JAX must know is set before it starts."""
    own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
    if limits.gpu:
        own["CUDA_VISIBLE_DEVICES"] = str(slot)
    if limits.cores:
        own |= {name: str(limits.cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **own}


def _cores(limits: Limits, slot: int) -> str:
    """Numbers of the cores of a worker's place, with commas; "" for all."""
    if not limits.cores or not hasattr(os, "sched_getaffinity"):
        return ""
    there = sorted(os.sched_getaffinity(0))
    return ",".join(str(there[(slot * limits.cores + k) % len(there)]) for k in range(min(limits.cores, len(there))))


def _slot() -> int:
    """Number of this worker on its machine, where it has one."""
    try:
        from distributed import get_worker

        return int(get_worker().name)
    except (ImportError, ValueError, TypeError):
        return 0
