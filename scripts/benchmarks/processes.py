"""The parent's side of the worker processes: one computes at a time, the others wait for a line."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from benchmarks.contestants import Contestant
from benchmarks.work import Case

WORKER = pathlib.Path(__file__).with_name("worker.py")


class WorkerFailed(Exception):
    """A contestant cannot run, or stopped; the message says why."""


class Worker:
    """One contestant in a process of its own."""

    def __init__(self, who: Contestant, number: int, folder: pathlib.Path, *, sample: int, log):
        self.who, self.number = who, number
        # One processor for all devices together: XLA's own count would be one.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "JAX_COMPILATION_CACHE_DIR": ""}
        command = [sys.executable, os.fspath(WORKER), os.fspath(folder), str(sample), who.name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        self.start = self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise WorkerFailed(answer["error"].removeprefix("Absent: "))
        return answer

    def _ask(self, **request) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def prepare(self, case: Case) -> dict:
        """First run of a case: compiles, searches, and writes the scores to a file."""
        return self._ask(do="prepare", case=dataclasses.asdict(case), number=self.number)

    def run(self, case: Case) -> float:
        """Seconds for a case."""
        return self._ask(do="run", case=dataclasses.asdict(case))["seconds"]

    def about(self) -> dict:
        """Batch sizes, devices and the peak of resident memory, MiB."""
        return self._ask(do="about")

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
