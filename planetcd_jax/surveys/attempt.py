"""One attempt at one pair: `planetcd-scene` in a process of its own, with limits, and its results put in place whole.

This module is what workers import: nothing heavy, no JAX. Locks of files and resource usage are those of Unix.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from planetcd_jax.errors import PlanetCDError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.surveys.ledger import Outcome

with brought_by("survey"):
    import psutil

RUN_FILE = "run.json"
"""By which a folder of results is known as whole."""

NEEDED_BYTES = 100 * 2**20
"""A disk with less free than this is full: nothing is begun on it, and no failure there counts."""

_ERROR_CHARACTERS = 400
_LOOK_S = 0.2
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


@dataclasses.dataclass(frozen=True)
class Task:
    """A pair to score.

    Attributes:
        id, before, after: Of the pair.
        folder: Of the survey.
        command: The program and its flags, apart from images and folders.
        limits: Of the attempt.
    """

    id: str
    before: str
    after: str
    folder: str
    command: tuple[str, ...]
    limits: Limits = Limits()

    @property
    def outcome(self) -> pathlib.Path:
        """Folder of its results, once whole."""
        return scene_folder(pathlib.Path(self.folder), self.id)

    @property
    def work(self) -> pathlib.Path:
        """Folder of its unfinished work."""
        return pathlib.Path(self.folder) / "work" / self.id


def scene_folder(survey: pathlib.Path, pair: str) -> pathlib.Path:
    """Folder of the results of a pair, one of 256 folders deep, since no file system likes 100,000 in one."""
    return survey / "scenes" / sha256_of(pair.encode())[:2] / pair


def is_whole(folder: pathlib.Path) -> bool:
    """Whether a folder holds results: it gets its name only when all is in it."""
    return (folder / RUN_FILE).is_file()


@contextlib.contextmanager
def _locked(work: pathlib.Path) -> Iterator[BinaryIO | None]:
    """The lock of a pair as an open file, or None where a living process has it.

    The process that scores the pair inherits the lock and so holds it as long as it lives, whatever becomes of its
    worker; the kernel frees it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "ab") as lock:  # a file, whose second close does nothing: its number may be another's then
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield lock


def score_pair(task: Task) -> Outcome:
    """Scores a pair unless it is done; nothing is raised, what goes wrong is in the outcome."""
    host = socket.gethostname()
    try:
        outcome = _attempt(task)
    except PlanetCDError as error:
        outcome = Outcome(task.id, "failed", str(error))
    except OSError as error:
        outcome = Outcome(task.id, "failed", f"{task.work} cannot be used ({error.strerror})")
    if outcome.state == "failed" and not has_room(pathlib.Path(task.folder)):
        outcome = dataclasses.replace(outcome, state="no room")
    return dataclasses.replace(outcome, host=host)


def has_room(folder: pathlib.Path) -> bool:
    """Whether the disk of a survey has room for another scene."""
    try:
        return shutil.disk_usage(folder).free >= NEEDED_BYTES
    except OSError:
        return False


def _attempt(task: Task) -> Outcome:
    if is_whole(task.outcome):
        return _done(task)
    with _locked(task.work) as lock:
        if is_whole(task.outcome):  # whoever had the lock was at it
            return _done(task)
        if lock is None:
            return Outcome(task.id, "busy")
        made = task.work / "scene"
        if is_whole(made):  # a worker died between its end and this
            _publish(made, task)
            return _done(task)
        began = time.monotonic()
        error, usage = _run(task, made, lock)
    taken = time.monotonic() - began, usage[0], usage[1]
    if not error and not is_whole(made):
        error = f"{task.command[0]} ended well and left no {RUN_FILE} in {made}"
    if error:
        if usage[2]:
            _forget(task)
        return Outcome(task.id, "failed", error, *taken)
    _publish(made, task)
    return _done(task, taken)


def _done(task: Task, taken: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Outcome:
    return Outcome(task.id, "done", "", *taken, run=run_of(task.outcome))


def run_of(folder: pathlib.Path) -> str:
    """Identity of the run that made results; "" where its file does not tell."""
    try:
        return str(json.loads((folder / RUN_FILE).read_text(encoding="utf-8")).get("run", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _publish(made: pathlib.Path, task: Task) -> None:
    """Moves results to their place; where those of another process are there already, these go."""
    task.outcome.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(task.outcome)
    except OSError:
        if not is_whole(task.outcome):
            raise
    shutil.rmtree(task.work, ignore_errors=True)


def _forget(task: Task) -> None:
    """Removes unfinished work of a program that failed by itself, so that the next attempt begins anew."""
    with _locked(task.work) as lock:
        if lock is not None:
            for entry in task.work.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)


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


def _run(task: Task, made: pathlib.Path, lock: BinaryIO) -> tuple[str, tuple[float, float, bool]]:
    """Runs the program; its error in one line ("" for none), and CPU seconds, memory and whether it ended by itself."""
    slot, log = _slot(), task.work / "log.txt"
    start = [sys.executable, "-I", "-S", _STARTER, str(os.getpid()), _cores(task.limits, slot), "--"]
    images = [f"--before={task.before}", f"--after={task.after}", f"--output_dir={made}", "--resume", "--quiet"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*start, *task.command, *images], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=_environment(task.limits, slot), pass_fds=(lock.fileno(),), start_new_session=True,
        )  # fmt: skip
    lock.close()
    status, usage, reason = _watch(process, task.limits)
    measured = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, os.WIFEXITED(status) and not reason
    if reason:
        return reason, measured
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"its process was killed by {name} after {measured[1]:.0f} MB", measured
    code = os.WEXITSTATUS(status)
    return ("" if code == 0 else _last_line(log) or f"it ended with status {code} and said nothing"), measured


def _watch(process: subprocess.Popen, limits: Limits):
    """Waits for a process and keeps it to its limits: status, usage, and why it was ended ("" where it was not)."""
    until, reason, pause = time.monotonic() + (limits.seconds or float("inf")), "", 0.005
    look = time.monotonic() + _LOOK_S
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return status, usage, reason
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)
        now = time.monotonic()
        if not reason and now > until:
            reason = f"it took longer than --time_limit={limits.seconds:g} s and was ended"
        elif not reason and limits.memory_mb and now > look:
            look, held = now + _LOOK_S, _memory_mb(process.pid)
            if held > limits.memory_mb:
                reason = f"it took {held:.0f} MB, more than --memory_limit={limits.memory_mb:g} MB, and was ended"
        if reason:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _memory_mb(pid: int) -> float:
    """Memory of a process and its children, MB."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss / 2**20
    return total


def _last_line(log: pathlib.Path) -> str:
    """The last line that a program said, shortened."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    return said if len(said) <= _ERROR_CHARACTERS else said[: _ERROR_CHARACTERS - 3] + "..."
