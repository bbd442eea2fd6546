"""What a survey costs beside its pairs: finding pairs, the ledger and scheduler with a task that takes no time, and the
catalogue.

python scripts/benchmark_survey.py --footprints=100000
python scripts/benchmark_survey.py --pairs=10000 --workers=2
python scripts/benchmark_survey.py --scenes=4000
"""

import argparse
import pathlib
import resource
import tempfile
import time

import numpy as np
from rasterio.crs import CRS

from planetcd_jax.surveys import finding, index_page, sphere
from planetcd_jax.surveys.engine import Survey
from planetcd_jax.surveys.footprints import Footprint
from planetcd_jax.surveys.ledger import Ledger, Outcome
from planetcd_jax.surveys.pair_table import Pair
from planetcd_jax.surveys.workers import Workers


def made_archive(count: int) -> list[Footprint]:
    """Strips of 30 by 90 km on Mars, anywhere, with made-up light and times."""
    rng = np.random.default_rng(0)
    z, lon = rng.uniform(-1, 1, count), rng.uniform(-180, 180, count)
    lat, images = np.rad2deg(np.arcsin(z)), []
    for n in range(count):
        wide = 0.25 / max(np.cos(np.deg2rad(lat[n])), 0.02)
        ring = [
            [lon[n] + i * wide, np.clip(lat[n] + j * 0.75, -90, 90)] for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        images.append(
            Footprint(
                f"{n:06d}", np.array(ring), time=rng.uniform(0, 4e8), pixel_m=6.0, incidence=rng.uniform(30, 70),
                emission=rng.uniform(0, 20), phase=rng.uniform(30, 70), sun_azimuth=rng.uniform(150, 210),
            )
        )  # fmt: skip
    return images


def nothing(task) -> Outcome:
    """A pair that is done at once."""
    return Outcome(task.id, "done", seconds=1e-6, run="simulated")


def time_finding(count: int) -> None:
    """Prints what it takes to find the pairs of a made archive."""
    images = made_archive(count)
    began = time.perf_counter()
    near = len(sphere.neighbours(sphere.outlines([image.ring for image in images])))
    middle = time.perf_counter()
    found = finding.find(images, finding.Bounds())
    print(f"{count} footprints: {near} pairs of caps that meet in {middle - began:.1f} s; "
          f"{len(found.rows)} pairs found in {time.perf_counter() - middle:.1f} s in all")  # fmt: skip


def time_engine(count: int, workers: int) -> None:
    """Prints how many pairs a second go through scheduler and ledger, and the memory of the client."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(pathlib.Path(folder) / "ledger.sqlite")
        began = time.perf_counter()
        ledger.add(Pair(f"p{n:06d}", f"/{n}a.tif", f"/{n}b.tif") for n in range(count))
        entered = time.perf_counter()
        counts = Survey(pathlib.Path(folder), ledger, ("nothing",), Workers(count=workers), work=nothing).run()
        taken, memory = time.perf_counter() - entered, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ledger.close()
    assert counts["done"] == count
    print(f"{count} pairs, {workers} workers: entered in {entered - began:.2f} s, run in {taken:.1f} s "
          f"({count / taken:.0f} a second, start of the workers included); client {memory:.0f} MB at most")  # fmt: skip


def time_catalogue(count: int) -> None:
    """Prints what it takes to write catalogue and page of a survey of which every fifth scene has a place."""
    facts = {
        "run": "simulated", "source": "simulated", "tau": 3.0, "n_windows": 81, "n_candidates": 1, "size": [300, 300],
        "crs": CRS.from_string("IAU_2015:49900").to_wkt(), "pixel_area": 1e-8,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ledger = Ledger(folder / "ledger.sqlite")
        ledger.add(Pair(f"p{n:06d}", f"/{n}a.tif", f"/{n}b.tif") for n in range(count))
        for start in range(0, count, 1000):
            made, ended = {}, []
            for n in range(start, min(start + 1000, count)):
                lon, lat = rng.uniform(-180, 179), rng.uniform(-80, 80)
                place = {
                    "rank": 1, "rho": 4.0, "p_value": float(rng.uniform(1e-6, 0.05)), "lon": lon, "lat": lat,
                    "area": 900.0, "area_unit": "px2", "kind": "new dark spot",
                }  # fmt: skip
                where = {"transform": [1e-4, 0, lon, 0, -1e-4, lat]}
                made[f"p{n:06d}"] = ({**facts, **where}, [place] if n % 5 == 0 else [])
                ended.append(Outcome(f"p{n:06d}", "done", seconds=1.0, run="simulated"))
            ledger.settle(ended, made)
        ledger.close()
        began = time.perf_counter()
        places, changes = index_page.rebuild(folder)
        print(f"{count} scenes, {len(places)} places, {len(changes)} changes: catalogue and page written in "
              f"{time.perf_counter() - began:.1f} s")  # fmt: skip


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footprints", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scenes", type=int, default=0)
    asked = parser.parse_args()
    if asked.footprints:
        time_finding(asked.footprints)
    if asked.pairs:
        time_engine(asked.pairs, asked.workers)
    if asked.scenes:
        time_catalogue(asked.scenes)


if __name__ == "__main__":
    main()
