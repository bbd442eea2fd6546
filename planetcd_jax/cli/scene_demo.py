"""The simulated pair of --demo: its images, and which of its changes a run has found."""

import csv
import math
import os
import pathlib
import statistics
import types

from planetcd_jax.words import counted


def demo_folder(target: pathlib.Path) -> pathlib.Path:
    """Where --demo keeps its images: beside the results."""
    return target.with_name(target.name + "-images")


def demo_images(settings: types.SimpleNamespace, folder: pathlib.Path) -> tuple[str, str]:
    """Both images of --demo in a folder, simulated unless a run that goes on has them."""
    from planetcd_jax.scenes.checkpoint import as_output_errors
    from planetcd_jax.simulate import demo_scene

    paths = folder / "before.tif", folder / "after.tif"
    if not (settings.resume and (folder / "truth.csv").exists()):
        print(f"SIMULATED pair of {settings.demo_size} px with {demo_scene.CHANGES} changes: {folder}", flush=True)
        with as_output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                demo_scene.write_demo(folder, side=settings.demo_size, seed=settings.seed)
            finally:
                if not any(folder.iterdir()):  # interrupted before the first image
                    folder.rmdir()
    return os.fspath(paths[0]), os.fspath(paths[1])


def say_truth(target: pathlib.Path) -> None:
    """For the demo: which of its changes are places, at what rank, and how far their centres are off."""
    with open(demo_folder(target) / "truth.csv", newline="", encoding="utf-8") as file:
        truth = [tuple(float(row[name]) for name in ("row", "col", "radius")) for row in csv.DictReader(file)]
    with open(target / "candidates.csv", newline="", encoding="utf-8") as file:
        rows = [(int(row["rank"]), int(row["row"]), int(row["col"])) for row in csv.DictReader(file)]
    hits = []
    for row, col, radius in truth:
        near = [(math.hypot(r - row, c - col), rank) for rank, r, c in rows]
        hits += [min(near)] if near and min(near)[0] <= max(20.0, radius) else []
    off = f"; centres {statistics.median(d for d, _ in hits):.0f} px off in the median" if hits else ""
    ranks = sorted(rank for _, rank in hits)
    print(
        f"SIMULATED: {len(hits)} of {len(truth)} known changes among {counted(len(rows), 'place')}, "
        f"at ranks {ranks}{off}"
    )
