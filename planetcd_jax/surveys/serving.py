"""The inner side of `scene_process`: a process that scores the pairs that its worker asks for, one after the other.

Needs nothing but the standard library, so that what is measured of a pair is the pair's.
"""

import contextlib
import json
import os
import resource
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

IDLE_S = 120.0
"""Seconds without a request after which the process ends: workers of a cluster stay when a survey is over."""

_MOST_BYTES = 1 << 16


def send(line: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Sends a message, and open files with it.

    Raises:
        OSError: if nobody is there.
    """
    text = json.dumps(message).encode() + b"\n"
    sent = socket.send_fds(line, [text], list(files)) if files else 0
    line.sendall(text[sent:])


def receive(line: socket.socket, files: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """The next message, and the numbers of the open files that came with it; None where the other side has ended."""
    text, numbers = b"", list[int]()
    while not text.endswith(b"\n"):
        if files and not text:
            part, numbers, _, _ = socket.recv_fds(line, _MOST_BYTES, files)
        else:
            part = line.recv(_MOST_BYTES)
        if not part:
            return None
        text += part
    return json.loads(text), numbers


def serve(execute: Callable[[Sequence[str]], int], number: int) -> None:
    """Answers requests until the worker ends, or asks nothing for `IDLE_S`.

    A request is the arguments of a pair, with two open files: the lock of the pair, which is held while it is scored,
    and the log. The answer is the exit status, whether the pair ended in an orderly way, CPU seconds since the last
    answer, and the most memory meanwhile, MB.

    Args:
        execute: Scores a pair: the arguments of the program in, its exit status out.
        number: File descriptor of the socket to the worker.
    """
    cpu = 0.0
    with (
        socket.socket(fileno=number) as line,
        open(os.devnull, "wb") as nowhere,
        contextlib.suppress(TimeoutError),
    ):
        line.settimeout(IDLE_S)
        while (asked := receive(line, 2)) is not None:
            request, (lock, log) = asked
            _say_into(log)
            status, orderly = _status(execute, request["arguments"])
            _say_into(nowhere.fileno())
            os.close(log)
            used = _cpu_seconds()
            answer = {"status": status, "orderly": orderly, "cpu": used - cpu, "memory_mb": _most_mb()}
            cpu = used
            os.close(lock)
            send(line, answer)


def _status(execute: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[int, bool]:
    """Exit status, and whether it was returned; an exception goes into the log as at the end of a program."""
    try:
        return execute(arguments), True
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return (end.code if isinstance(end.code, int) else int(end.code is not None)), True
    except BaseException:  # whatever it is, the worker is told and replaces this process
        traceback.print_exc()
        return 1, False


def _say_into(file: int) -> None:
    """From now on, what this process says goes into an open file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _most_mb() -> float:
    """Most memory since the last call, MB; where the system does not count anew, since the start."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    with contextlib.suppress(OSError):  # Linux only
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    return most
