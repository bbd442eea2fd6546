"""What a survey of real scenes costs beside the scenes: 1,000 simulated pairs of 300 px, and the same without a survey.

    python -m scripts.benchmark_survey_scenes --pairs=1000            # a survey of all, two workers
    python -m scripts.benchmark_survey_scenes --pairs=100 --side=200 --compare    # plain loops, one worker, two workers

Every scene keeps to one core. A plain loop calls `planetcd-scene` for one pair after the other in one process; two of
them, each with half of the pairs and a core of its own, tell what the machine itself gives for a second core. "Steady"
is the rate of the pairs after the first of each process.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import psutil
import rasterio
from affine import Affine

from planetcd_jax.simulate.imaging import simulate_pair
from planetcd_jax.simulate.ranges import CTX

SCENE_FLAGS = ("page_candidates=1", "null_draws=4", "pixel_maps=0", "stride=48")
LOOP = (
    "import os, sys, time; os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[int(sys.argv[3])]})\n"
    "from planetcd_jax import scene\n"
    "for pair in open(sys.argv[1]).read().split()[1:][int(sys.argv[3])::int(sys.argv[4])]:\n"
    "    name, before, after = pair.split(',')\n"
    "    asked = [f'--before={before}', f'--after={after}', f'--output_dir={sys.argv[2]}/{name}', '--quiet']\n"
    "    assert not scene.execute([*asked, *sys.argv[5:]])\n"
    "    print('ended', time.time(), time.process_time(), file=sys.stderr, flush=True)\n"
)
"""A plain loop over each n-th pair on a core of its own: table, folder, number of the loop, loops, flags of a scene."""


def write_pairs(folder: pathlib.Path, count: int, side: int) -> pathlib.Path:
    """Simulated pairs as GeoTIFFs, one of six changed; returns their table."""
    ranges = dataclasses.replace(CTX, height=side, width=side)
    make = jax.jit(lambda key, changed: simulate_pair(key, changed, ranges)[:2])
    rows = ["id,before,after"]
    for n in range(count):
        paths = [folder / f"{n:05d}_{date}.tif" for date in ("before", "after")]
        images = make(jax.random.fold_in(jax.random.key(0), n), n % 6 == 0)
        for path, image in zip(paths, images, strict=True):
            profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": side, "width": side, "nodata": 0,
                       "crs": "IAU_2015:49910", "transform": Affine(6, 0, 6e3 * n, 0, -6, 0)}  # fmt: skip
            with rasterio.open(path, "w", **profile) as out:
                out.write(np.round(1 + np.asarray(image) * 254).astype(np.uint8), 1)
        rows.append(f"pair{n:05d},{paths[0]},{paths[1]}")
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


class Watch(threading.Thread):
    """Looks at a survey every two seconds.

    Attributes:
        memory: Resident memory of the client, MB.
        cpu: Processor time of each process that scores no scene, by its number, s.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.process, self.memory, self.cpu = psutil.Process(pid), list[float](), dict[int, float]()

    def run(self) -> None:
        """Looks until the process ends."""
        with contextlib.suppress(psutil.Error):
            while True:
                self.memory.append(self.process.memory_info().rss / 2**20)
                for one in [self.process, *self.process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        if "serve" not in one.cmdline():
                            used = one.cpu_times()
                            self.cpu[one.pid] = used.user + used.system
                time.sleep(2)


class Taken(NamedTuple):
    """What a way of working took.

    Attributes:
        wall: Seconds, start and end included.
        steady: Pairs a second, of all processes together, after the first pair of each.
        cpu: Processor time of a scene, s; of the steady ones where the scenes are in plain loops.
    """

    wall: float
    steady: float
    cpu: float


def _steady(ends: Sequence[Sequence[float]]) -> float:
    """Pairs a second of processes that worked side by side, from when each ended its pairs."""
    return sum((len(own) - 1) / (max(own) - min(own)) for own in ends if len(own) > 1)


def survey(table: pathlib.Path, folder: pathlib.Path, workers: int) -> Taken:
    """Runs a survey and says what it took."""
    flags = [f"--scene={flag}" for flag in SCENE_FLAGS]
    command = [sys.executable, "-m", "planetcd_jax.survey", "run", os.fspath(table), f"--output_dir={folder}"]
    load, began = os.getloadavg()[0], time.monotonic()
    process = subprocess.Popen(
        [*command, f"--workers={workers}", "--cores=1", *flags, "--quiet"], stdout=subprocess.DEVNULL
    )
    watch = Watch(process.pid)
    watch.start()
    if process.wait():
        raise SystemExit(f"the survey ended with status {process.returncode}")
    taken = time.monotonic() - began
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        query = "SELECT COUNT(*), SUM(seconds), SUM(cpu_seconds), MAX(memory_mb) FROM pairs WHERE state = 'done'"
        done, seconds, scenes, most = ledger.execute(query).fetchone()
        ends = [end for (end,) in ledger.execute("SELECT ended FROM attempts WHERE outcome = 'done' ORDER BY ended")]
    # The first pair runs alone; each further worker has a first one of its own.
    own = [ends[workers - 1 + n :: workers] for n in range(workers)]
    parts = [np.median(part) if len(part) else np.nan for part in np.array_split(watch.memory, 4)]
    print(f"survey, {workers} workers, load {load:.1f} before: {done} pairs in {taken:.1f} s, steady "
          f"{_steady(own):.4f} a second; the scenes {seconds:.0f} s, {scenes:.0f} s of "
          f"processor time, {most:.0f} MB at most; all other processes {sum(watch.cpu.values()):.0f} s of processor "
          f"time; client {', '.join(f'{part:.0f}' for part in parts)} MB in the quarters of the run",
          flush=True)  # fmt: skip
    return Taken(taken, _steady(own), scenes / done)


def loops(table: pathlib.Path, folder: pathlib.Path, count: int) -> Taken:
    """The same scenes in plain loops, each on a core of its own; says what they took."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    flags = [f"--{flag}" for flag in SCENE_FLAGS]
    load, began, running = os.getloadavg()[0], time.monotonic(), []
    for n in range(count):
        command = [sys.executable, "-c", LOOP, os.fspath(table), os.fspath(folder), str(n), str(count), *flags]
        how = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, **how))
    said = [process.communicate()[1] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"a plain loop failed: {said}")
    taken = time.monotonic() - began
    lines = [[line.split()[1:] for line in text.splitlines() if line.startswith("ended ")] for text in said]
    steady = _steady([[float(end) for end, _ in own] for own in lines])
    cpu = statistics.mean((float(own[-1][1]) - float(own[0][1])) / (len(own) - 1) for own in lines)
    firsts = ", ".join(own[0][1] for own in lines)
    print(f"plain loops, {count}, load {load:.1f} before: {taken:.1f} s, steady {steady:.4f} a second; processor time "
          f"{firsts} s to the end of the first scene, then {cpu:.2f} s a scene", flush=True)  # fmt: skip
    return Taken(taken, steady, cpu)


def compare(table: pathlib.Path, place: pathlib.Path, rounds: int) -> None:
    """One plain loop and two, one worker and two, one after the other; every second round runs backwards."""
    first = place / "first.csv"
    first.write_text("\n".join(table.read_text().split("\n")[:3]) + "\n", encoding="utf-8")
    loops(first, place / "warm", 1)  # fills the cache of compiled programs
    ways = {f"{kind.__name__} {n}": (kind, n) for kind in (loops, survey) for n in (1, 2)}
    took: dict[str, list[Taken]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in (list(ways), list(ways)[::-1])[turn % 2]:
            kind, count = ways[name]
            took[name].append(kind(table, place / f"{turn}-{name.replace(' ', '')}", count))
    wall, steady, cpu = ({name: statistics.median(one[i] for one in took[name]) for name in ways} for i in range(3))
    print(f"medians of {rounds}: one worker over a plain loop {100 * (wall['survey 1'] / wall['loops 1'] - 1):+.1f} %")
    for kind in ("loops", "survey"):
        one, two = f"{kind} 1", f"{kind} 2"
        print(f"{kind}: two against one {wall[one] / wall[two]:.2f}x, steady {steady[two] / steady[one]:.2f}x, "
              f"processor time of a scene {cpu[two] / cpu[one]:.2f}x")  # fmt: skip


def main() -> None:
    """Makes the pairs and measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--side", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--rounds", type=int, default=1, help="of --compare")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place) / "images"
        folder.mkdir()
        table = write_pairs(folder, asked.pairs, asked.side)
        if asked.compare:
            compare(table, pathlib.Path(place), asked.rounds)
        else:
            survey(table, pathlib.Path(place) / "survey", asked.workers)


if __name__ == "__main__":
    main()
