"""What scoring a scene costs, in units of what batched PyTorch channels_last takes for the plain network on both dates.

    python scripts/benchmark_units.py

Prints a Markdown table. An array of 32 x 32 windows of 100 px every 24 px, with the ground around it that decides their
scores, stands for a large scene: its cost is told for each pixel of its own ground, 768 x 768 px. PyTorch has a process
of its own and goes over both dates in the batches that are named, without ground around them. Rounds alternate; the
least of each counts, on the clock and in processor time. Needs PyTorch.
"""

import pathlib
import subprocess
import sys
import tempfile
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from benchmarks import peers
from benchmarks.work import terrain, write_inputs

import planetcd_jax as pcd
from planetcd_jax import scoremap

WINDOWS, WINDOW, STRIDE = 32, 100, 24
BATCHES = ((8, 100), (8, 150), (1, 772))
"""Images of a batch, and their side, pixels."""


def _timed(run) -> tuple[float, float]:
    begun, spent = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - begun, time.process_time() - spent


def answer(weights: str) -> None:
    """Works for `Peer`: for each number of a batch on standard input, the times of both dates on standard output."""
    with np.load(weights) as file:
        describe = peers.torch_describe(dict(file), precision="float32", layout="channels_last", compiled=False)
    images = [np.random.default_rng(0).random((count, side, side), np.float32) for count, side in BATCHES]
    for line in sys.stdin:
        x = images[int(line)]
        print(*_timed(lambda x=x: [describe(x) for _ in range(2)]), flush=True)


class Peer:
    """PyTorch in a process of its own."""

    def __init__(self, weights: pathlib.Path):
        command = [sys.executable, __file__, "--answer", str(weights)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def times(self, number: int) -> tuple[float, float]:
        """Seconds on the clock and of the processor for both dates of a batch."""
        assert self._process.stdin and self._process.stdout
        print(number, file=self._process.stdin, flush=True)
        elapsed, spent = map(float, self._process.stdout.readline().split())
        return elapsed, spent

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def ours(name: str):
    """A call that scores the array under a preset, with the C++ network where there is one."""
    config = pcd.with_engine(pcd.PRESETS[name], "auto")
    halo = scoremap.halo(config)
    side = (WINDOWS - 1) * STRIDE + WINDOW + 2 * halo
    before, after = (jnp.asarray(x) for x in terrain(np.random.default_rng(0), 2, side))
    params = config.backbone.prepare(pcd.load_vgg16())
    score = jax.jit(partial(pcd.score_map, config=config, window=WINDOW, stride=STRIDE, margin=halo))
    return lambda: score(params, before, 0.7 * before + 0.1 * after)


def main(argv: list[str]) -> None:
    """Prints the table."""
    if flags.FLAGS.answer:
        answer(flags.FLAGS.answer)
        return
    presets, ground = ("paper", "robust"), (WINDOWS * STRIDE) ** 2
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(pathlib.Path(folder), [])
        peer, calls = Peer(pathlib.Path(folder) / "weights.npz"), {name: ours(name) for name in presets}
        for number in range(len(BATCHES)):
            peer.times(number)
        for call in calls.values():
            jax.block_until_ready(call())
        rounds = [
            [_timed(calls[name]) for name in presets] + [peer.times(number) for number in range(len(BATCHES))]
            for _ in range(flags.FLAGS.rounds)
        ]
        peer.close()
    pixels = [ground] * len(presets) + [count * side**2 for count, side in BATCHES]
    least = 1e6 * np.min(rounds, axis=0) / np.array(pixels)[:, None]
    batches = [f"{count} x {side} px" for count, side in BATCHES]
    print("| | us a pixel, clock | processor | " + " | ".join(f"units of PyTorch, {name}" for name in batches) + " |")
    print("|---|---:|---:|" + "---:|" * len(batches))
    for name, (clock, spent) in zip([*presets, *batches], least, strict=True):
        units = [f"{other / clock:.2f} ({busy / spent:.2f})" for other, busy in least[len(presets) :]]
        print(f"| {name} | {clock:.2f} | {spent:.2f} | " + " | ".join(units) + " |")


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 6, "Times that each does its work.")
    flags.DEFINE_string("answer", "", "For the process of PyTorch.")
    app.run(main)
