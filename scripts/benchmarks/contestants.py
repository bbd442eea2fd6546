"""Every contestant by name, and how it does a case: `make(name, ...)` in a worker process, `NAMES` anywhere."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks import machine
from benchmarks.work import Case, windows


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: In tables and records.
        kind: "ours", "authors", "torch", "onnxruntime" or "openvino".
        precision: "float32" or "bfloat16".
        devices: Host devices that ours splits the processor into.
        layout, compiled: Of PyTorch.
        engine: Of ours: "xla" or "winograd".
    """

    name: str
    kind: str
    precision: str = "float32"
    devices: int = 1
    layout: str = "nchw"
    compiled: bool = False
    engine: str = "xla"


def contestants(*, quick: bool = False) -> list[Contestant]:
    """All of them, ours first; a quick run leaves out four host devices, and what takes minutes to compile."""
    ours = [
        Contestant("ours", "ours"),
        Contestant("ours, 2 host devices", "ours", devices=2),
        Contestant("ours, Winograd", "ours", engine="winograd"),
        Contestant("ours, bfloat16", "ours", "bfloat16"),
    ]
    if not quick:
        ours.insert(2, Contestant("ours, 4 host devices", "ours", devices=4))
    torch = [
        Contestant(f"PyTorch {layout}{', compiled' if compiled else ''}{', bfloat16' if low else ''}", "torch",
                   "bfloat16" if low else "float32", layout=layout, compiled=compiled)
        for low in (False, True)
        for layout, compiled in (("nchw", False), ("channels_last", False), ("channels_last", True))
        if not (quick and compiled) and not (low and layout == "nchw")
    ]  # fmt: skip
    return [
        *ours,
        Contestant("authors' way", "authors"),
        *torch,
        Contestant("ONNX Runtime", "onnxruntime"),
        Contestant("OpenVINO", "openvino"),
        Contestant("OpenVINO, bfloat16", "openvino", "bfloat16"),
    ]


Scores = Mapping[str, np.ndarray]
Doer = Callable[[Case, Mapping[str, np.ndarray]], Scores]
"""A case and its arrays to its scores: "rho" and, for pairs, "rho_null" and "tau"."""


def tau_of(rho_null: np.ndarray, quantile: float = 0.95) -> float:
    """The largest null score after the top 5 % are dropped."""
    dropped = int(np.floor(len(rho_null) * (1 - quantile) + 1e-9))
    return float(np.sort(rho_null)[len(rho_null) - 1 - dropped])


def make(who: Contestant, weights_file: pathlib.Path, *, sample: int) -> tuple[Doer, Callable[[], dict]]:
    """What does the work, and what tells about it (batch sizes found, versions, device)."""
    if who.kind == "ours":
        from benchmarks import ours

        return ours.make(who)
    from benchmarks import peers

    weights = dict(np.load(weights_file))
    if who.kind == "authors":
        return _authors(peers.authors_pair(weights)), lambda: {}
    describe = {
        "torch": lambda: peers.torch_describe(
            weights, precision=who.precision, layout=who.layout, compiled=who.compiled
        ),
        "onnxruntime": lambda: peers.onnxruntime_describe(weights),
        "openvino": lambda: peers.openvino_describe(weights, precision=who.precision),
    }[who.kind]()
    few = who.compiled or (who.precision == "bfloat16" and not machine.has_bfloat16())
    batches = peers.FEW_BATCHES if few else peers.BATCHES
    sample = 8 if few else sample
    if os.environ.get("BENCHMARK_GPU") == "1":
        batches, sample = peers.GPU_BATCHES, max(peers.GPU_BATCHES)
    peer = peers.Peer(describe, batches=batches, sample=sample)
    return _peer(peer), lambda: {"batch": {str(side): batch for side, batch in peer.batch.items()}}


def _authors(pair) -> Doer:
    def do(case: Case, arrays: Mapping[str, np.ndarray]) -> Scores:
        scores = [pair(*patches) for patches in zip(*(arrays[k] for k in ("before", "after", "noisy")), strict=True)]
        rho, rho_null = np.array(scores).T
        return {"rho": rho, "rho_null": rho_null, "tau": np.array(tau_of(rho_null))}

    return do


def _peer(peer) -> Doer:
    def do(case: Case, arrays: Mapping[str, np.ndarray]) -> Scores:
        if case.kind == "scene":
            cuts = [np.ascontiguousarray(windows(arrays[date], case.stride)) for date in ("before", "after")]
            before, after = peer.descriptors(*cuts)
            return {"rho": np.abs(after - before).sum(1)}
        before, after, noisy = peer.descriptors(arrays["before"], arrays["after"], arrays["noisy"])
        rho_null = np.abs(noisy - before).sum(1)
        return {"rho": np.abs(after - before).sum(1), "rho_null": rho_null, "tau": np.array(tau_of(rho_null))}

    return do


def does(who: Contestant, case: Case) -> bool:
    """Whether a contestant is given a case: the slowest ways are spared the largest work.

    The authors' way, where each pair costs the same, and peers in bfloat16 get no more than 16 pairs; those, and what
    is compiled or in bfloat16, no scenes: they are compared on pairs.
    """
    if who.kind == "authors" or (who.kind != "ours" and who.precision == "bfloat16"):
        return case.kind == "pairs" and case.count <= 16
    if case.kind == "scene":
        return who.precision == "float32" and not who.compiled and who.devices == 1
    return True
