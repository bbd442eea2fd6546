"""Disturbs a survey while it runs, and checks that it ends as one that nobody disturbed: nothing lost, nothing twice.

    python -m scripts.survey_faults --pairs=300 --kills=100 --client_kills=5

Pairs are scored by the stand-in of the tests, which takes a moment and writes what a scene writes; so what is tested is
all that is not planetcd-scene itself. As with planetcd-scene, a worker keeps one process that scores many pairs.
"""

import argparse
import collections
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from planetcd_jax import survey
from planetcd_jax.cli.survey_run import Program, run_pairs

ROOT = pathlib.Path(__file__).resolve().parents[1]
STANDIN = (sys.executable, "-S", os.fspath(ROOT / "tests" / "standin_scene.py"))


def command(table: pathlib.Path, folder: pathlib.Path, workers: int) -> list[str]:
    """The run that is disturbed."""
    return [sys.executable, "-m", "scripts.survey_faults", "--run", os.fspath(table), os.fspath(folder), str(workers)]


def run(table: str, folder: str, workers: str) -> None:
    """As `planetcd-survey run`, with the stand-in."""
    arguments = ["run", table, f"--output_dir={folder}", f"--workers={workers}", "--quiet", "--catalogue_every=10"]
    command, settings = survey.parsed(arguments)
    assert command.said == survey.COMMANDS["run"].said
    run_pairs(settings, Program(STANDIN, ((*STANDIN, "serve"), ())), survey.OWN)


def results(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file of every scene, by its path."""
    return {os.fspath(p.relative_to(folder)): p.read_bytes() for p in folder.glob("scenes/*/*/*")}


def workers_of(client: psutil.Process) -> list[psutil.Process]:
    """Dask's worker processes of a client that have begun to work."""
    found = []
    for process in client.children(recursive=True):
        try:
            if "spawn_main" in " ".join(process.cmdline()) and process.children():
                found.append(process)
        except psutil.Error:
            continue
    return found


def disturbed(table: pathlib.Path, folder: pathlib.Path, asked: argparse.Namespace) -> tuple[int, int, int]:
    """Runs to the end under fire; returns kills of workers or their processes, of clients, and starts of clients."""
    chance, killed, ended, starts = random.Random(asked.seed), 0, 0, 0
    while True:
        starts += 1
        process = subprocess.Popen(command(table, folder, asked.workers), cwd=ROOT, stdout=subprocess.DEVNULL)
        client = psutil.Process(process.pid)
        until = time.monotonic() + chance.uniform(8, 20)
        while process.poll() is None:
            time.sleep(chance.uniform(0.1, asked.pause))
            try:
                there = workers_of(client) if process.poll() is None else []
                there += [child for worker in there for child in worker.children()]
                if there and killed < asked.kills:
                    chance.choice(there).kill()
                    killed += 1
            except psutil.Error:
                continue
            if ended < asked.client_kills and time.monotonic() > until and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                ended += 1
        if process.returncode == 0:
            return killed, ended, starts
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the run ended with status {process.returncode}")


def main() -> None:
    """Runs twice, undisturbed and disturbed, and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (
        ("pairs", 200),
        ("kills", 100),
        ("client_kills", 5),
        ("workers", 2),
        ("seed", 0),
        ("pause", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run(*asked.run)
        return
    with tempfile.TemporaryDirectory() as place:
        table = pathlib.Path(place) / "pairs.csv"
        rows = (f"slow{n},slow{n}.tif,b.tif\n" for n in range(asked.pairs))
        table.write_text("id,before,after\n" + "".join(rows), encoding="utf-8")
        plain, hit = pathlib.Path(place) / "plain", pathlib.Path(place) / "hit"
        began = time.monotonic()
        subprocess.run(command(table, plain, asked.workers), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        middle = time.monotonic()
        killed, ended, starts = disturbed(table, hit, asked)
        end = time.monotonic()
        done = collections.Counter((hit / "DONE").read_text(encoding="utf-8").split())
        started = collections.Counter((hit / "STARTED").read_text(encoding="utf-8").split())
        same = results(plain) == results(hit)
        left = [p.name for p in (hit / "work").iterdir()]
    twice, again = (sum(count > 1 for count in counts.values()) for counts in (done, started))
    print(f"{asked.pairs} pairs: undisturbed {middle - began:.0f} s; {killed} workers or their processes and {ended} "
          f"clients killed, {starts} starts, {end - middle:.0f} s; results equal: {same}; "
          f"pairs that ended twice: {twice}, that were begun again: {again}; "
          f"left behind: {left}")  # fmt: skip
    if not same or len(done) != asked.pairs:
        raise SystemExit("the disturbed run differs")


if __name__ == "__main__":
    main()
