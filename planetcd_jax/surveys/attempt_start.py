"""Becomes the program that scores one pair, tied to the worker that asked for it. Run by its path; needs no package.

The process ends when its worker ends, is the first that the kernel takes when memory runs out, and keeps to the cores
that it is given.

    python attempt_start.py PARENT CORES -- PROGRAM ARGUMENT ...
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(parent: int, cores: str, command: list[str]) -> None:
    """Replaces this process; returns only if its parent is gone already."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be told
        return
    with contextlib.suppress(OSError):
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    os.execvp(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2], sys.argv[4:])
