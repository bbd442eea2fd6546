"""Sends the pairs of a ledger to workers, keeps them busy, and writes down what became of each."""

import contextlib
import dataclasses
import os
import pathlib
import queue
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, cast

from planetcd_jax.errors import OutputError
from planetcd_jax.extras import brought_by
from planetcd_jax.surveys.attempt import Task, has_room, is_whole, run_of, scene_folder, score_pair
from planetcd_jax.surveys.ledger import Ledger, Outcome
from planetcd_jax.surveys.pair_table import Pair
from planetcd_jax.surveys.workers import LOCAL, Workers, client_of

with brought_by("survey"):
    from distributed import Client, Future
    from distributed.scheduler import KilledWorker

_BEAT_S = 5.0
_PARKED_S = 2.0
_ALONE_S = 60.0  # without any local worker: one that dies while it starts is not started again by Dask
_AHEAD = 4  # tasks that a worker finds waiting, so that none idles while the ledger is written


def reconcile(ledger: Ledger, folder: pathlib.Path) -> int:
    """Enters pairs whose results are there, whatever the ledger said; returns how many."""
    found = [name for name in ledger.names(done=False) if is_whole(scene_folder(folder, name))]
    ledger.settle([Outcome(name, "done", run=run_of(scene_folder(folder, name))) for name in found])
    return len(found)


class _Lost(Exception):
    """The scheduler went away."""


def _threads(client: Client) -> int:
    """Pairs that the workers can be at.

    Raises:
        _Lost: if the scheduler is gone.
    """
    try:
        return sum(cast(dict[str, int], client.nthreads()).values())
    except (OSError, TimeoutError):
        raise _Lost from None


class _Flight:
    """The tasks that are with the workers."""

    def __init__(self, client: Client, work: Callable[[Task], Outcome]):
        self.client, self.work = client, work
        self.tasks: dict[str, Future] = {}
        self.ended: queue.SimpleQueue[tuple[str, Future]] = queue.SimpleQueue()
        # Dask keeps a record of each kind of task for good, and takes the first part of a key for the kind.
        self.kind, self.serial = f"pair-{uuid.uuid4().hex[:8]}", 0

    def send(self, task: Task) -> None:
        self.serial += 1
        future = self.client.submit(self.work, task, key=(self.kind, self.serial), pure=False)
        self.tasks[task.id] = future
        future.add_done_callback(lambda ended, name=task.id: self.ended.put((name, ended)))

    def landed(self, wait_s: float) -> list[Outcome]:
        """Outcomes of tasks that ended, waiting for the first up to some seconds.

        Raises:
            _Lost: if the scheduler is gone.
        """
        outcomes: list[Outcome] = []
        with contextlib.suppress(queue.Empty):
            outcomes.append(self._outcome(*self.ended.get(timeout=wait_s)))
            while len(outcomes) < 1000:
                outcomes.append(self._outcome(*self.ended.get_nowait()))
        if not outcomes and self.client.status != "running":
            raise _Lost
        return outcomes

    def _outcome(self, name: str, future: Future) -> Outcome:
        self.tasks.pop(name, None)
        if future.status in ("cancelled", "lost"):
            return Outcome(name, "busy")
        try:
            error = future.exception() if future.status == "error" else None
            if error is None:
                return cast(Outcome, future.result())
        except (OSError, TimeoutError, CancelledError):  # the scheduler died between the end of the task and its answer
            return Outcome(name, "busy")
        if isinstance(error, KilledWorker):
            return Outcome(name, "failed", "the worker that had it died each time; see --memory_limit")
        return Outcome(name, "failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


@dataclasses.dataclass
class Survey:
    """A survey that runs.

    Attributes:
        folder: Where.
        ledger: Open.
        command: The program that scores a pair and its flags, apart from images and folders.
        workers: Who does the work.
        server: What serves many pairs in one process, and the flags of each, in place of the command; None: none.
        most: Pairs that such a process scores before another takes its place.
        work: Does one task; another one in tests and benchmarks.
        collect: Facts and places of a scene from its folder, for the catalogue; None: nothing is kept.
        told: Called now and then with the address of Dask's dashboard and the number of workers.
    """

    folder: pathlib.Path
    ledger: Ledger
    command: Sequence[str]
    workers: Workers = dataclasses.field(default_factory=Workers)
    server: tuple[Sequence[str], Sequence[str]] | None = None
    most: int = 100
    work: Callable[[Task], Outcome] = score_pair
    collect: Callable[[pathlib.Path], tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]] | None = None
    told: Callable[[str, int], None] = lambda dashboard, workers: None

    def run(self) -> dict[str, int]:
        """Works until no pair waits and no other client has one; returns `Ledger.counts`.

        Raises:
            OutputError: if the disk is full.
            ConfigError: if there is no scheduler.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger.beat()
        reconcile(self.ledger, self.folder)
        self.keep_scenes()
        while True:
            counts = self.ledger.counts()
            if not counts["waiting"] and not self.ledger.claimed_by_others():
                return counts
            try:
                with client_of(self.workers) as client:
                    self._pump(client)
            except _Lost:
                self.ledger.release()
                self.ledger.beat()

    def keep_scenes(self) -> None:
        """Reads into the ledger what scenes found that are done and not yet in it."""
        if self.collect is None:
            return
        for name in self.ledger.not_kept():
            self._settle([Outcome(name, "done")])

    def _task(self, pair: Pair) -> Task:
        server, flags = self.server or ((), ())
        return Task(
            pair.id, pair.before, pair.after, os.fspath(self.folder.resolve()), tuple(self.command),
            self.workers.limits, tuple(server), tuple(flags), self.most,
        )  # fmt: skip

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        scenes = {}
        if self.collect is not None:
            scenes = {x.pair: self.collect(scene_folder(self.folder, x.pair)) for x in outcomes if x.state == "done"}
        self.ledger.settle(outcomes, scenes)

    def _pump(self, client: Client) -> None:
        flight, parked = _Flight(client, self.work), dict[str, float]()
        full = False
        beaten, wanted, threads, served = 0.0, 1, 0, time.monotonic()
        dashboard = client.dashboard_link or ""
        while True:
            now = time.monotonic()
            if now - beaten > _BEAT_S or not wanted:
                self.ledger.beat()
                beaten, threads = now, _threads(client)
                served = now if threads or self.workers.scheduler != LOCAL else served
                if now - served > _ALONE_S:
                    raise _Lost
                wanted = max(1, threads + _AHEAD)
                full = full or not has_room(self.folder)
            free = [name for name, until in parked.items() if now > until]
            if free:
                self.ledger.release(free)
                parked = {name: until for name, until in parked.items() if name not in free}
            lack = wanted - len(flight.tasks)
            claimed = self.ledger.claim(lack) if not full and lack > wanted // 4 else []
            for pair in claimed:
                flight.send(self._task(pair))
            if not flight.tasks and not claimed:
                if full:
                    raise OutputError(f"{self.folder}: its disk is full; free some space and repeat the command.")
                if not parked and not self.ledger.claimed_by_others():
                    return
                time.sleep(0.5)
            outcomes = flight.landed(0.5)
            ended = [one for one in outcomes if one.state in ("done", "failed")]
            self._settle(ended)
            parked |= {one.pair: now + _PARKED_S for one in outcomes if one.state in ("busy", "no room")}
            full = full or any(one.state == "no room" for one in outcomes)
            self.told(dashboard, threads)
