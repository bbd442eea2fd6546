"""What a survey of real scenes costs beside the scenes: 1,000 simulated pairs of 300 px, and the same without a survey.

    python -m scripts.benchmark_survey_scenes --pairs=1000            # a survey of all, two workers
    python -m scripts.benchmark_survey_scenes --pairs=40 --compare    # a plain loop, one worker, two workers

Every scene keeps to one core. The plain loop calls `planetcd-scene` for one pair after the other in one process.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import jax
import numpy as np
import psutil
import rasterio
from affine import Affine

from planetcd_jax.simulate.imaging import simulate_pair
from planetcd_jax.simulate.ranges import CTX

SCENE_FLAGS = ("page_candidates=1", "null_draws=4", "pixel_maps=0", "stride=48")
LOOP = (
    "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    "from planetcd_jax import scene\n"
    "for pair in open(sys.argv[1]).read().split()[1:]:\n"
    "    name, before, after = pair.split(',')\n"
    "    asked = [f'--before={before}', f'--after={after}', f'--output_dir={sys.argv[2]}/{name}', '--quiet']\n"
    "    assert not scene.execute([*asked, *sys.argv[3:]])\n"
)


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


def survey(table: pathlib.Path, folder: pathlib.Path, workers: int) -> float:
    """Runs a survey, says what it took, and returns its wall time, s."""
    flags = [f"--scene={flag}" for flag in SCENE_FLAGS]
    command = [sys.executable, "-m", "planetcd_jax.survey", "run", os.fspath(table), f"--output_dir={folder}"]
    began = time.monotonic()
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
    parts = [np.median(part) if len(part) else np.nan for part in np.array_split(watch.memory, 4)]
    print(f"survey, {workers} workers: {done} pairs in {taken:.0f} s; the scenes {seconds:.0f} s, {scenes:.0f} s of "
          f"processor time, {most:.0f} MB at most; all other processes {sum(watch.cpu.values()):.0f} s of processor "
          f"time; client {', '.join(f'{part:.0f}' for part in parts)} MB in the quarters of the run",
          flush=True)  # fmt: skip
    return taken


def loop(table: pathlib.Path, folder: pathlib.Path) -> float:
    """The same scenes, one after the other in one process on one core; returns the wall time, s."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    flags = [f"--{flag}" for flag in SCENE_FLAGS]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", LOOP, os.fspath(table), os.fspath(folder), *flags],
        check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    taken = time.monotonic() - began
    print(f"plain loop: {taken:.0f} s", flush=True)
    return taken


def compare(table: pathlib.Path, place: pathlib.Path) -> None:
    """Plain loop, one worker and two, one after the other."""
    plain, one, two = loop(table, place / "loop"), *(survey(table, place / f"workers{n}", n) for n in (1, 2))
    print(f"one worker over the loop: {100 * (one / plain - 1):+.1f} %; two workers against one: {one / two:.2f}x")


def main() -> None:
    """Makes the pairs and measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--side", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compare", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place) / "images"
        folder.mkdir()
        table = write_pairs(folder, asked.pairs, asked.side)
        if asked.compare:
            compare(table, pathlib.Path(place))
        else:
            survey(table, pathlib.Path(place) / "survey", asked.workers)


if __name__ == "__main__":
    main()
