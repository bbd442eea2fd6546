"""The GPU bars. `python scripts/benchmark.py --gpu` runs these where there is a GPU, and says so where there is none.

`python scripts/benchmarks/gpu.py --small` runs the measurements that need no peer at a tiny size on whatever there is:
a check that the code runs, not a measurement.

Bars (H100-class): bfloat16 pairs at least 1.2 times `torch.compile` bfloat16 channels_last; conv1_2 ... conv3_2 in
bfloat16 at half of the measured bfloat16 matrix product or more; a pair of 50,000 x 5,000 px at 24-px stride in under
10 s from a file in memory; no compilation after the first batch; less than 60 % of the device's memory.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from functools import partial

import numpy as np

if __name__ == "__main__":
    for _up in (1, 2):
        sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[_up]))

from benchmarks.contestants import Contestant
from benchmarks.work import CONVOLUTIONS, WINDOW, Case, terrain

NO_GPU = 3
"""Exit status where there is no GPU, so that nobody takes a run without one for a measurement."""

ENVIRONMENT = {"BENCHMARK_GPU": "1", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def platform() -> str:
    """JAX's default backend, asked of another process: this one must not take the device's memory."""
    code = "import jax; print(jax.default_backend())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def cases() -> list[Case]:
    """Enough pairs to fill a GPU."""
    return [Case("pairs", 100, 2048), Case("pairs", 150, 1024)]


def contestants() -> list[Contestant]:
    """Ours in three precisions, PyTorch in its fastest form. tf32 only where it is asked for by name."""
    found = []
    for kind, name in (("ours", "ours"), ("torch", "PyTorch channels_last, compiled")):
        for precision in ("float32", "tf32", "bfloat16"):
            full = name if precision == "float32" else f"{name}, {precision}"
            found.append(Contestant(full, kind, precision, layout="channels_last", compiled=kind == "torch"))
    return found


def best_seconds(call, repeats: int = 5) -> float:
    """Seconds of the fastest of several calls, after one that compiles."""
    import jax

    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def matmul_rate(side: int) -> float:
    """FLOP/s of a bfloat16 product of two square matrices."""
    import jax
    import jax.numpy as jnp

    x = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    return 2 * side**3 / best_seconds(lambda: product(x))


def convolution_rate(batch: int, side: int) -> float:
    """FLOP/s of conv1_2 ... conv3_2 in bfloat16, with bias, ReLU and pooling, on `batch` images."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    class Middle(nn.Module):
        @nn.compact
        def __call__(self, x):
            poolings = 0
            for _, features, before in CONVOLUTIONS[1:]:
                if before > poolings:
                    x, poolings = nn.max_pool(x, (2, 2), (2, 2)), before
                x = nn.relu(nn.Conv(features, (3, 3), dtype=jnp.bfloat16)(x))
            return x.max((1, 2))

    x = jax.random.normal(jax.random.key(0), (batch, side, side, 64), jnp.bfloat16)
    params = jax.jit(Middle().init)(jax.random.key(1), x[:1])
    run = jax.jit(Middle().apply)
    flop = sum(2 * 9 * bands * features * (side >> poolings) ** 2 for bands, features, poolings in CONVOLUTIONS[1:])
    return batch * flop / best_seconds(lambda: run(params, x))


def compilations_after_first(pairs: int, side: int, batch_size: int | None) -> dict:
    """Programs compiled for the first batch of a set and for all others, and the device's memory in use at most."""
    import jax

    import planetcd_jax as pcd
    from benchmarks.ours import Pairs
    from planetcd_jax import runtime

    seen: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **kwargs: seen.append(name) if name.endswith("backend_compile_duration") else None
    )
    rng = np.random.default_rng(0)
    arrays = {"before": terrain(rng, pairs, side), "after": terrain(rng, pairs, side)}
    plan = partial(runtime.make_plan, batch_size=batch_size)
    config = pcd.PAPER.replace(precision="bfloat16")
    devices = runtime.choose_devices(None)
    scorer = runtime.Scorer(jax.random.key(0), pcd.load_vgg16(), config, devices, plan)
    counts = []
    stream = runtime.batches(Pairs(arrays), lambda shape: plan(shape).batch_size, multiple=len(devices))
    for batch in stream:
        before = len(seen)
        jax.block_until_ready(scorer(batch))
        counts.append(len(seen) - before)
    memory = devices[0].memory_stats() or {}
    share = memory["peak_bytes_in_use"] / memory["bytes_limit"] if "peak_bytes_in_use" in memory else None
    return {"batches": len(counts), "first": counts[0], "others": sum(counts[1:]), "memory_share": share}


def scene_seconds(rows: int, cols: int, chunk: int) -> dict:
    """Seconds for rho of all windows every 24 px of a pair of 8-bit images in GeoTIFFs in memory."""
    import rasterio

    import planetcd_jax as pcd
    from planetcd_jax import runtime
    from planetcd_jax.scenes import scoring
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.checkpoint import Checkpoint
    from planetcd_jax.scenes.samples import sample
    from planetcd_jax.scenes.source import Source

    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": rows, "width": cols, "tiled": True,
               "blockxsize": 512, "blockysize": 512, "crs": "IAU_2015:49910",
               "transform": rasterio.Affine(6, 0, 0, 0, -6, 0)}  # fmt: skip
    names, rng = [], np.random.default_rng(0)
    tile = (255 * terrain(rng, 1, 512)[0]).astype(np.uint8)
    for k in range(2):
        names.append(f"/vsimem/benchmark-{k}.tif")
        image = np.tile(np.roll(tile, 7 * k, 1), (-(-rows // 512), -(-cols // 512)))[:rows, :cols]
        with rasterio.open(names[-1], "w", **profile) as out:
            out.write(image, 1)
    with tempfile.TemporaryDirectory() as place, rasterio.Env(GDAL_CACHEMAX=512 * 2**20):
        pair, params = AlignedPair(*(Source(name) for name in names)), pcd.load_vgg16()
        plan, seconds = scoring.Plan(WINDOW, 24, chunk=chunk), []
        samples = sample(pair)
        runtime.cache_compilations(place)  # each call makes its own program: the second finds the first's
        for turn in ("first", "second"):
            kept = Checkpoint(pathlib.Path(place) / turn, {}, resume=False)
            start = time.perf_counter()
            config = pcd.PAPER.replace(precision="bfloat16")
            scene = scoring.Scene(pair, samples, params, config, plan)
            rho = scoring.score_scene(scene, kept, lambda n: None)["rho"]
            seconds.append(time.perf_counter() - start)
    return {"rows": rows, "cols": cols, "windows": int(np.isfinite(rho).sum()), "chunk": chunk,
            "seconds_with_compilation": seconds[0], "seconds": seconds[1]}  # fmt: skip


def extras(small: bool) -> dict:
    """What no peer is needed for."""
    import jax

    device = jax.local_devices()[0]
    peak = matmul_rate(256 if small else 8192)
    rate = convolution_rate(1 if small else 128, 32 if small else 100)
    return {
        "device": device.device_kind,
        "small": small,
        "bfloat16_matmul_tflops": peak / 1e12,
        "convolution_tflops": rate / 1e12,
        "convolution_fraction": rate / peak,
        "compilations": compilations_after_first(6, 32, 2) if small else compilations_after_first(4096, 100, None),
        "scene": scene_seconds(*((260, 388, 256) if small else (5_000, 50_000, 2048))),
    }


def measured_extras() -> dict:
    """`extras`, measured in a process of its own."""
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def bars(made: dict, more: dict) -> list[dict]:
    """The GPU bars, in the form of `record.bars`."""
    rows = []

    def add(case: str, bar: str, wanted: float, got: float | None, met: bool, peer: str = "-") -> None:
        rows.append({"case": case, "bar": bar, "wanted": wanted, "got": got if got is not None else float("nan"),
                     "ours": "ours, bfloat16", "peer": peer, "met": met})  # fmt: skip

    peer = "PyTorch channels_last, compiled, bfloat16"
    for name, case in made["cases"].items():
        got = case["ours_over_peers"].get("ours, bfloat16", {}).get(peer)
        if got is not None:
            add(name, "times torch.compile bfloat16", 1.2, got, got >= 1.2, peer)
    fraction, seconds = more["convolution_fraction"], more["scene"]["seconds"]
    add("conv1_2 ... conv3_2", "of the measured matrix product, at least", 0.5, fraction, fraction >= 0.5)
    add("scene 50,000 x 5,000", "seconds, below", 10.0, seconds, seconds < 10.0)
    others, share = more["compilations"]["others"], more["compilations"]["memory_share"]
    add("pairs-100", "compilations after the first batch, at most", 0.0, float(others), others == 0)
    add("pairs-100", "share of the device's memory, below", 0.6, share, share is not None and share < 0.6)
    return rows


if __name__ == "__main__":
    print(json.dumps(extras("--small" in sys.argv[1:])))
