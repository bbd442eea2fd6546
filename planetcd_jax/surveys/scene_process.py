"""The process in which pairs are scored: one of its own for another program, one for many pairs for our own.

JAX takes longer to start and to load its programs than a small scene takes to be scored. So a worker keeps a process
that scores pair after pair. It is replaced after so many pairs, and whenever a pair does not end in an orderly way; a
pair that ended so in a process that had scored others is tried once more in a fresh one, and only that counts. So
what one pair does to its process is no other pair's failure.
"""

import contextlib
import os
import pathlib
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from planetcd_jax.surveys import limits as limiting
from planetcd_jax.surveys.limits import Limits
from planetcd_jax.surveys.serving import receive, send

_ERROR_CHARACTERS = 400
_ENDING_S = 5.0


class Ended(NamedTuple):
    """How a pair ended.

    Attributes:
        error: In one line; "" where there is none.
        cpu_seconds, memory_mb: What it took.
        by_itself: Whether its program ended, well or not, and was not ended from outside.
        orderly: Whether it left its process as it was.
        in_time: Whether it was not ended for the time that it took.
    """

    error: str
    cpu_seconds: float
    memory_mb: float
    by_itself: bool
    orderly: bool = True
    in_time: bool = True


def run_alone(command: Sequence[str], limits: Limits, lock: BinaryIO, log: pathlib.Path) -> Ended:
    """Runs a program in a process of its own, which holds the lock as long as it lives."""
    with open(log, "wb") as output:
        process = limiting.start(command, limits, stdout=output, stderr=output, pass_fds=(lock.fileno(),))
    lock.close()
    began = look = time.monotonic()
    reason, pause = "", 0.005
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return _ended(status, usage, reason, log)
        time.sleep(pause)
        pause, now = min(0.05, 1.5 * pause), time.monotonic()
        if reason:
            continue
        if limits.seconds and now - began > limits.seconds:
            reason = limits.too_long()
        elif now - look > limiting.LOOK_S:
            look, reason = now, limits.too_large(process.pid)
        if reason:
            _kill(process)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ended(status: int, usage, reason: str, log: pathlib.Path, cpu_before: float = 0.0) -> Ended:
    """Of a process that is gone."""
    measured = usage.ru_utime + usage.ru_stime - cpu_before, usage.ru_maxrss / 1024
    if reason:
        return Ended(reason, *measured, by_itself=False, orderly=False)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        error = f"its process was killed by {name} after {measured[1]:.0f} MB"
        return Ended(error, *measured, by_itself=False, orderly=False)
    return Ended(_last_words(os.WEXITSTATUS(status), log), *measured, by_itself=True)


def _last_words(status: int, log: pathlib.Path) -> str:
    """The error of a program in one line: the last that it said, shortened; "" where its status is 0."""
    if not status:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    said = said or f"it ended with status {status} and said nothing"
    return said if len(said) <= _ERROR_CHARACTERS else said[: _ERROR_CHARACTERS - 3] + "..."


class SceneProcess:
    """A process that scores pair after pair.

    Attributes:
        command, limits: What it was started with.
        scored: Pairs that it has scored.
    """

    def __init__(self, command: Sequence[str], limits: Limits):
        self.command, self.limits, self.scored, self._cpu = tuple(command), limits, 0, 0.0
        self._line, inner = socket.socketpair()
        with inner:
            self.process = limiting.start(
                [*command, str(inner.fileno())], limits, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(inner.fileno(),),
            )  # fmt: skip

    def score(self, arguments: Sequence[str], lock: BinaryIO, log: pathlib.Path) -> Ended:
        """Scores one pair; a process that does not answer in order is gone afterwards."""
        with open(log, "wb") as output:
            try:
                send(self._line, {"arguments": list(arguments)}, (lock.fileno(), output.fileno()))
            except OSError:
                return self._gone("", log)
        began = time.monotonic()
        while True:
            there, _, _ = select.select([self._line], [], [], limiting.LOOK_S)
            if there:
                return self._answer(log)
            if self.limits.seconds and time.monotonic() - began > self.limits.seconds:
                return self._gone(self.limits.too_long(), log)._replace(in_time=False)
            reason = self.limits.too_large(self.process.pid)
            if reason:
                return self._gone(reason, log)

    def _answer(self, log: pathlib.Path) -> Ended:
        try:
            answered = receive(self._line)
        except OSError:
            answered = None
        if answered is None:
            return self._gone("", log)
        answer, _ = answered
        self.scored += 1
        self._cpu += answer["cpu"]
        error, orderly = _last_words(answer["status"], log), answer["orderly"]
        ended = Ended(error, answer["cpu"], answer["memory_mb"], by_itself=True, orderly=orderly)
        if not orderly:
            self.end()
        return ended

    def _gone(self, reason: str, log: pathlib.Path) -> Ended:
        """Of a process that has ended, or is ended now for a reason."""
        _kill(self.process)  # changes nothing where it ends already
        self._line.close()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        ended = _ended(status, usage, reason, log, self._cpu)
        if ended.by_itself:  # it left without an answer, whatever its status
            error = ended.error or "its process ended without a word"
            return ended._replace(error=error, orderly=False)
        return ended

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.process.poll() is None

    def end(self) -> None:
        """Ends it; it goes by itself once nobody can ask."""
        self._line.close()
        if not self.alive:
            return
        try:
            self.process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            _kill(self.process)
            self.process.wait()


_kept = threading.local()  # each thread of a worker has a process of its own


def run_served(
    server: Sequence[str], most: int, arguments: Sequence[str], limits: Limits, lock: BinaryIO, log: pathlib.Path
) -> Ended:
    """Scores a pair in the process that this thread keeps.

    Args:
        server: The program that serves; the number of its socket is added.
        most: Pairs that one process scores.
        arguments: Of the pair.
        limits: Of the pair.
        lock: Of the pair; held by the process too while it scores.
        log: File for what is said.
    """
    kept = _kept_process(server, most, limits)
    others = kept.scored
    ended = kept.score(arguments, lock, log)
    if others and ended.in_time and not ended.orderly:
        ended = _kept_process(server, most, limits).score(arguments, lock, log)
    return ended


def _kept_process(server: Sequence[str], most: int, limits: Limits) -> SceneProcess:
    kept: SceneProcess | None = getattr(_kept, "process", None)
    if kept is not None:
        if kept.alive and kept.scored < most and (kept.command, kept.limits) == (tuple(server), limits):
            return kept
        kept.end()
    _kept.process = SceneProcess(server, limits)
    return _kept.process


def end_process() -> None:
    """Ends the process that this thread keeps, if any."""
    kept: SceneProcess | None = getattr(_kept, "process", None)
    if kept is not None:
        kept.end()
        del _kept.process
