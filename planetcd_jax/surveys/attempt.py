"""One attempt at one pair: `planetcd-scene` in a process of its own, with limits, and its results put in place whole.

This module is what workers import: nothing heavy, no JAX. Locks of files and resource usage are those of Unix.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Iterator
from typing import BinaryIO

from planetcd_jax.errors import PlanetCDError
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.surveys.ledger import Outcome
from planetcd_jax.surveys.limits import Limits
from planetcd_jax.surveys.scene_process import Ended, run_alone, run_served

RUN_FILE = "run.json"
"""By which a folder of results is known as whole."""

NEEDED_BYTES = 100 * 2**20
"""A disk with less free than this is full: nothing is begun on it, and no failure there counts."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class Task:
    """A pair to score.

    Attributes:
        id, before, after: Of the pair.
        folder: Of the survey.
        command: The program and its flags, apart from images and folders.
        limits: Of the attempt.
        server: What serves many pairs in one process; empty: the command runs in a process of its own for each.
        flags: Of the command, for the server.
        most: Pairs that a serving process scores before another takes its place.
    """

    id: str
    before: str
    after: str
    folder: str
    command: tuple[str, ...]
    limits: Limits = dataclasses.field(default_factory=Limits)
    server: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    most: int = 100

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
    full = any(os.strerror(number) in outcome.error for number in _NO_ROOM)  # it may have room again by now
    if outcome.state == "failed" and (full or not has_room(pathlib.Path(task.folder))):
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
        ended = _run(task, made, lock)
    taken, error = (time.monotonic() - began, ended.cpu_seconds, ended.memory_mb), ended.error
    if not error and not is_whole(made):
        error = f"{task.command[0]} ended well and left no {RUN_FILE} in {made}"
    if error:
        if ended.by_itself:
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


def _run(task: Task, made: pathlib.Path, lock: BinaryIO) -> Ended:
    """Runs the program that scores the pair, by itself or in the process that this worker keeps."""
    log = task.work / "log.txt"
    images = [f"--before={task.before}", f"--after={task.after}", f"--output_dir={made}", "--resume", "--quiet"]
    if not task.server:
        return run_alone([*task.command, *images], task.limits, lock, log)
    return run_served(task.server, task.most, [*task.flags, *images], task.limits, lock, log)
