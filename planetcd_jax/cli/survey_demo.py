"""`planetcd-survey --demo`: an archive with known changes is made, and surveyed by the program's own commands."""

import csv
import datetime
import math
import os
import pathlib
import types
from collections.abc import Callable, Sequence

from planetcd_jax.cli.survey_flags import DEMO_SCENES, PROGRAM
from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require
from planetcd_jax.words import counted


def demo(settings: types.SimpleNamespace, execute: Callable[[Sequence[str]], None]) -> None:
    """Makes the archive, unless it is there, and surveys it.

    Args:
        settings: Flags of the demo.
        execute: Runs a command of the program.
    """
    if not 1 <= settings.demo_places <= 11:
        raise ConfigError(f"--demo_places={settings.demo_places}: give 1 to 11.")
    require("survey", "distributed", "psutil", "geopandas", "shapely")
    from planetcd_jax.files.folders import output_errors
    from planetcd_jax.report.output import default_folder
    from planetcd_jax.simulate import demo_archive

    named = settings.output_dir or default_folder("survey", datetime.datetime.now())
    folder = pathlib.Path(named)
    images = folder.with_name(folder.name + "-images")
    if not (images / "truth.csv").exists():  # written last; a demo that was stopped goes on with its images
        print(f"SIMULATED archive of {3 * settings.demo_places} images: {images}", flush=True)
        with output_errors(os.fspath(images), "name another --output_dir"):
            images.mkdir(parents=True, exist_ok=True)
            demo_archive.write_archive(images, places=settings.demo_places)
    table = images / "pairs.csv"
    for arguments in (
        ["find", f"--images={images}", f"--out={table}", "--chain", "--explain"],
        ["run", f"--pairs={table}", f"--output_dir={folder}", f"--workers={settings.workers}",
         *(f"--scene={flag}" for flag in DEMO_SCENES), *(["--quiet"] if settings.quiet else [])],
    ):  # fmt: skip
        print(f"$ {PROGRAM} {' '.join(arguments)}", flush=True)
        execute(arguments)
    _say_truth(folder, images / "truth.csv")


def _say_truth(folder: pathlib.Path, truth: pathlib.Path) -> None:
    """For the demo: how many of its changes are in the catalogue, and what else is."""
    from planetcd_jax.surveys import catalogue

    places, _ = catalogue.read_places(folder)
    with open(truth, newline="", encoding="utf-8") as file:
        known = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    degree = math.pi / 180 * 3396190.0
    found, explained = set(), set()
    for row in places.to_dict("records"):
        for change in known:
            east = ((row["lon"] - change["lon"] + 180) % 360 - 180) * math.cos(math.radians(change["lat"]))
            if degree * math.hypot(east, row["lat"] - change["lat"]) <= max(change["radius_m"], 120.0):
                found.add(change["place"])
                explained.add(row["place"])
    others = len(places) - len(explained)
    print(
        f"SIMULATED: {len(found)} of {len(known)} known changes are in the catalogue, and {counted(others, 'place')} "
        "beside them; some images are broken on purpose"
    )
