"""How much shared feature maps save, that the chunk size changes no score, and what memory a scene takes.

    python scripts/benchmark_scene.py speed --size=1084
    python scripts/benchmark_scene.py chunks --size=1200
    python scripts/benchmark_scene.py memory --sizes=2000,4000,8000 --layer=conv1_1

Each prints one JSON object. `speed` runs both ways in turn and gives the median over the rounds, without compilation.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import rasterio
from absl import app, flags

from planetcd_jax import change_scores, scoremap
from planetcd_jax.config import PAPER, PRESETS, ChangeConfig
from planetcd_jax.networks import weights_io
from planetcd_jax.scenes import scoring
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source
from planetcd_jax.scores.features import TILE

_SIZE = flags.DEFINE_integer("size", 1084, "Side of the scene, pixels.")
_SIZES = flags.DEFINE_list("sizes", ["2000", "4000", "8000"], "Sides of the scenes whose memory is measured, pixels.")
_WINDOW = flags.DEFINE_integer("window", 100, "Side of a window, pixels.")
_STRIDE = flags.DEFINE_integer("stride", 24, "Step of the windows, pixels.")
_PRESET = flags.DEFINE_enum("preset", "paper", list(PRESETS), "Settings of the method; robust: --size=532 is a tile.")
_LAYER = flags.DEFINE_string("layer", "conv3_2", "Layer at which the network is cut; conv1_1 is cheap.")
_CHUNK = flags.DEFINE_integer("chunk", 1024, "Chunk whose memory is measured, pixels.")
_BATCHES = flags.DEFINE_list("batches", ["1", "2", "4", "8"], "Windows in a batch, one by one; the fastest counts.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of both ways in turn; the median counts.")
_SAMPLE = flags.DEFINE_integer("sample", 32, "Windows of a round, one by one; scaled up to all.")
_STANDARDIZE = flags.DEFINE_bool("standardize", False, "Features standardised in each window.")


def _config() -> ChangeConfig:
    return PRESETS[_PRESET.value].replace(layer=_LAYER.value)


def _write(path: pathlib.Path, side: int, seed: int) -> str:
    """A tiled 8-bit image of noise on a ramp, written in strips."""
    rng = np.random.default_rng(seed)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": side, "width": side, "tiled": True,
               "blockxsize": 512, "blockysize": 512, "crs": "IAU_2015:49910",
               "transform": rasterio.Affine(6, 0, 0, 0, -6, 0)}  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        for top in range(0, side, 512):
            height = min(512, side - top)
            strip = rng.integers(60, 190, (height, side), dtype=np.uint8)
            out.write(strip, 1, window=rasterio.windows.Window(0, top, side, height))
    return str(path)


def _alternate(ways: dict) -> dict[str, list[float]]:
    """Seconds of each way, round by round, so that other work on the machine falls on all of them."""
    times = {name: [] for name in ways}
    for run in ways.values():
        jax.block_until_ready(run())
    for _ in range(_ROUNDS.value):
        for name, run in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(time.perf_counter() - start)
    return times


def speed() -> dict:
    """All windows of a pair of arrays: feature maps shared, and window by window in batches of several sizes.

    Window by window takes minutes for all windows, so each round does `--sample` of them and is scaled up.
    """
    config, window, stride, side = _config(), _WINDOW.value, _STRIDE.value, _SIZE.value
    if _STANDARDIZE.value:
        config = config.replace(feature_standardize=True)
    params = weights_io.load_vgg16()
    before, after = (jnp.asarray(np.random.default_rng(k).random((side, side), np.float32)) for k in (0, 1))
    tile = TILE if jax.default_backend() == "cpu" else None
    shared = jax.jit(partial(scoremap.score_map, config=config, window=window, stride=stride, tile=tile))
    rows, cols = scoremap.map_shape(side, side, window, stride)
    corners = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), -1).reshape(-1, 2) * stride
    count = min(_SAMPLE.value, len(corners))
    some = corners[np.linspace(0, len(corners) - 1, count).astype(int)]
    pairs = jax.jit(partial(change_scores, config=config))
    cuts = [np.stack([np.asarray(x)[r : r + window, c : c + window] for r, c in some]) for x in (before, after)]

    def one_by_one(batch: int):
        return [pairs(params, *(cut[k : k + batch] for cut in cuts)) for k in range(0, count, batch)]

    ways = {"shared": lambda: shared(params, before, after)}
    ways |= {f"one by one, batch {n}": partial(one_by_one, int(n)) for n in _BATCHES.value}
    times = _alternate(ways)
    per_window = {name: np.asarray(t) / (count if name != "shared" else len(corners)) for name, t in times.items()}
    best = min((name for name in ways if name != "shared"), key=lambda name: np.median(per_window[name]))
    ratios = per_window[best] / per_window["shared"]
    return {
        "windows": len(corners), "rounds": _ROUNDS.value, "tile": tile, "peer": best,
        "ms_per_window": {name: round(1e3 * float(np.median(t)), 3) for name, t in per_window.items()},
        "times_faster": round(float(np.median(ratios)), 2),
        "times_faster_lowest_and_highest": [round(float(f(ratios)), 2) for f in (np.min, np.max)],
        "pixels_per_second": round(side**2 / float(np.median(times["shared"]))),
    }  # fmt: skip


def chunks() -> dict:
    """Largest relative difference between the score maps of chunks of 256, 512 and 1024 px."""
    params, maps, seconds = weights_io.load_vgg16(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        pair = AlignedPair(*(Source(_write(home / f"{k}.tif", _SIZE.value, k)) for k in (0, 1)))
        samples = sample(pair)
        for chunk in (256, 512, 1024):
            plan = scoring.Plan(_WINDOW.value, _STRIDE.value, chunk=chunk)
            kept = Checkpoint(home / str(chunk), {}, resume=False)
            start = time.perf_counter()
            maps[chunk] = scoring.score_scene(scoring.Scene(pair, samples, params, PAPER, plan), kept, lambda n: None)[
                "rho"
            ]
            seconds[chunk] = time.perf_counter() - start
    scored = np.isfinite(maps[256])
    worst = {c: float(np.max(np.abs(maps[c] - maps[256])[scored] / maps[256][scored])) for c in (512, 1024)}
    same = all(np.array_equal(np.isfinite(maps[c]), scored) for c in worst)
    return {"windows": int(scored.sum()), "same_windows": same, "largest_relative_difference_to_256": worst,
            "seconds_with_compilation": seconds}  # fmt: skip


def _one_memory(folder: str, side: str) -> None:
    """Scores one scene in this process and prints its peak of resident memory."""
    home = pathlib.Path(folder)
    with rasterio.Env(GDAL_CACHEMAX=256 * 2**20):
        pair = AlignedPair(Source(str(home / "a.tif")), Source(str(home / "b.tif")))
        plan = scoring.Plan(_WINDOW.value, _STRIDE.value, chunk=_CHUNK.value)
        start = time.perf_counter()
        scene = scoring.Scene(pair, sample(pair), weights_io.load_vgg16(), _config(), plan)
        rho = scoring.score_scene(scene, Checkpoint(home / "work", {}, resume=False), lambda n: None)["rho"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    took = time.perf_counter() - start
    print(
        json.dumps({"side": int(side), "windows": rho.size, "peak_rss_gib": round(peak, 3), "seconds": round(took, 1)})
    )


def memory() -> dict:
    """Peak of resident memory, GiB, for scenes of growing size, each in a process of its own."""
    peaks = []
    for side in _SIZES.value:
        with tempfile.TemporaryDirectory() as folder:
            for k, name in enumerate("ab"):
                _write(pathlib.Path(folder) / f"{name}.tif", int(side), k)
            options = [
                f"--preset={_PRESET.value}",
                f"--layer={_LAYER.value}",
                f"--window={_WINDOW.value}",
                f"--stride={_STRIDE.value}",
            ]
            done = subprocess.run(
                [sys.executable, __file__, "one-memory", folder, side, *options, f"--chunk={_CHUNK.value}"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        peaks.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(peaks[-1]), file=sys.stderr, flush=True)
    return {"layer": _LAYER.value, "chunk": _CHUNK.value, "scenes": peaks}


def main(arguments: list[str]) -> None:
    """Runs what the first argument names."""
    if arguments[1:2] == ["one-memory"]:
        _one_memory(*arguments[2:])
        return
    tasks = {"speed": speed, "chunks": chunks, "memory": memory}
    if len(arguments) != 2 or arguments[1] not in tasks:
        raise app.UsageError(f"name one of {', '.join(tasks)}.")
    print(json.dumps(tasks[arguments[1]](), indent=1))


if __name__ == "__main__":
    app.run(main)
