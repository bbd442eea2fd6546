"""How the cost grows: with the pairs, the side of a scene, its share of no-data, and the places on its page.

    python -m scripts.benchmark_growth                          # writes docs/growth.png and docs/growth.json
    python -m scripts.benchmark_growth --sides=400,800,1600 --pairs=16,64,256

Each point is a run of the program in a process of its own, after another one that compiled what it needs. Times are
processor time (user and system, all threads, start included), which other work on the machine lengthens less than time
on the clock.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
import rasterio
from absl import app, flags
from PIL import Image

from planetcd_jax.simulate.demo_scene import write_demo

matplotlib.use("Agg")
from matplotlib import pyplot

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCENE = ["--quiet", "--null_draws=8", "--pixel_maps=0", "--page_candidates=2"]
PATCH = 100
"""Side of a pair, pixels."""

Curves = dict[str, list[list[float]]]
Images = dict[str, tuple[pathlib.Path, pathlib.Path]]

COLOURS = {"paper": "#0072B2", "robust": "#D55E00"}

_PAIRS = flags.DEFINE_list("pairs", ["16", "64", "144"], "Numbers of pairs, squares of the largest scene.")
_SIDES = flags.DEFINE_list("sides", ["400", "800", "1200"], "Sides of scenes, pixels.")
_SHARES = flags.DEFINE_list("shares", ["0", "0.33", "0.67"], "Shares of no-data in a scene of the largest side.")
_PLACES = flags.DEFINE_list("places", ["2", "8", "24"], "Places on the page of a scene of the largest side.")
_WHAT = flags.DEFINE_list("what", ["pairs", "sides", "shares", "places"], "What to measure; the rest stays as it was.")
_OUT = flags.DEFINE_string("out", "docs/growth", "Files to write, without their ending.")


def _run(module: str, arguments: Sequence[str]) -> float:
    """Seconds of processor time of a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", f"planetcd_jax.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _scene(folder: pathlib.Path, images: tuple[pathlib.Path, pathlib.Path], preset: str, *more: str) -> float:
    names = [f"--before={images[0]}", f"--after={images[1]}", f"--output_dir={folder / 'out'}", "--overwrite"]
    return _run("scene", [*names, f"--preset={preset}", *SCENE, *more])


def _masked(image: pathlib.Path, share: float, target: pathlib.Path) -> pathlib.Path:
    """A copy of an image whose left part of a share of its columns has no data."""
    with rasterio.open(image) as source:
        pixels, profile = np.maximum(source.read(), 1), source.profile
    pixels[:, :, : round(share * pixels.shape[2])] = 0
    with rasterio.open(target, "w", **{**profile, "nodata": 0}) as out:
        out.write(pixels)
    return target


def _pairs(folder: pathlib.Path, images: tuple[pathlib.Path, pathlib.Path], preset: str, count: int) -> float:
    """Processor time of a run over as many squares of a scene."""
    lines = ["id,before,after"]
    pixels = []
    for image in images:
        with rasterio.open(image) as source:
            pixels.append(source.read(1))
    across = min(min(one.shape) for one in pixels) // PATCH
    if count > across**2:
        raise ValueError(
            f"--pairs: a scene of {min(pixels[0].shape)} px has {across**2} squares of {PATCH} px, not {count}"
        )
    for n in range(count):
        row, col = (PATCH * k for k in divmod(n, across))
        names = [f"{n}_{date}.png" for date in ("before", "after")]
        for name, one in zip(names, pixels, strict=True):
            Image.fromarray(one[row : row + PATCH, col : col + PATCH]).save(folder / name)
        lines.append(",".join([str(n), *names]))
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    arguments = ["--dataset=pairs", f"--pairs_csv={folder / 'pairs.csv'}", f"--preset={preset}", "--figures=0",
                 "--page_pairs=0", "--on_bad_pair=skip", f"--output_dir={folder / 'pairs'}", "--overwrite"]  # fmt: skip
    return _run("main", arguments)


def _series(values: Sequence[str], measure: Callable[[str], float]) -> list[list[float]]:
    """Each value with the time of its second run: the first compiles what the size needs."""
    found = []
    for value in values:
        measure(value)
        found.append([float(value), round(measure(value), 3)])
        print(found[-1], file=sys.stderr, flush=True)
    return found


def _of_sides(folder: pathlib.Path, images: Images) -> Curves:
    found = {}
    for preset in COLOURS:
        found[preset] = _series(_SIDES.value, lambda side, p=preset: _scene(folder, images[side], p))
    return found


def _of_shares(folder: pathlib.Path, images: Images) -> Curves:
    before, after = images[_SIDES.value[-1]]

    def measure(share: str) -> float:
        return _scene(folder, (_masked(before, float(share), folder / "masked.tif"), after), "robust")

    return {"robust": _series(_SHARES.value, measure)}


def _of_places(folder: pathlib.Path, images: Images) -> Curves:
    def measure(count: str) -> float:
        more = [f"--page_candidates={count}", f"--pixel_maps={count}", "--false_alarm_rate=0.5"]
        return _scene(folder, images[_SIDES.value[-1]], "robust", *more)

    return {"robust": _series(_PLACES.value, measure)}


def _of_pairs(folder: pathlib.Path, images: Images) -> Curves:
    largest, found = images[_SIDES.value[-1]], {}
    for preset in COLOURS:
        found[preset] = _series(_PAIRS.value, lambda n, p=preset: _pairs(folder, largest, p, int(n)))
    return found


WHAT = {"pairs": _of_pairs, "sides": _of_sides, "shares": _of_shares, "places": _of_places}

TITLES = {
    "sides": "side of a scene, px",
    "shares": "share of no-data in a scene",
    "places": "places on the page, with pixel maps",
    "pairs": "pairs of 100 px",
}


def plot(found: dict[str, Curves], path: pathlib.Path) -> None:
    """One plot for each thing that grows."""
    figure, axes = pyplot.subplots(1, len(found), figsize=(3.1 * len(found), 3), layout="constrained")
    for axis, (name, curves) in zip(axes, found.items(), strict=True):
        for curve, points in curves.items():
            axis.plot(*np.transpose(points), marker="o", color=COLOURS[curve], label=curve)
        axis.set(xlabel=TITLES[name], ylabel="processor time, s", ylim=(0, None))
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(_: Sequence[str]) -> None:
    """Measures, writes the points, and draws them."""
    out = ROOT / _OUT.value
    kept = out.with_suffix(".json")
    found = json.loads(kept.read_text()) if kept.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        folder, images = pathlib.Path(place), {}
        for side in _SIDES.value:
            (folder / side).mkdir()
            images[side] = write_demo(folder / side, side=int(side))
        for name in _WHAT.value:
            found[name] = {"points": WHAT[name](folder, images), "load": round(os.getloadavg()[1], 1)}
            kept.write_text(json.dumps(found, indent=1) + "\n")
    plot({name: found[name]["points"] for name in WHAT if name in found}, out.with_suffix(".png"))


if __name__ == "__main__":
    app.run(main)
