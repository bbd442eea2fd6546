"""What the figures were measured on: processor, versions, load, and the fastest matrix product that it does.

`python machine.py` prints the rate of square float32 and bfloat16 products by every library here, as JSON.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "onnx", "onnxruntime", "openvino")
SIDE = 2048


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def description() -> dict:
    """Processor, operating system, interpreter, versions and load, as far as the system tells."""
    model, flags = platform.processor() or "unknown", ""
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        model, flags = fields.get("model name", model), fields.get("flags", "")
    instructions = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags.split()]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": model,
        "processors": processors(),
        "instructions": instructions,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def has_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16; others emulate it, at a fraction of the speed."""
    return any("bf16" in name for name in description()["instructions"])


def load() -> float:
    """Processes that wanted to run during the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def _rate(product, *, seconds: float = 1.0) -> float:
    """GFLOP/s: the best product of a second's worth."""
    product()
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < seconds:
        before = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - before)
    return 2 * SIDE**3 / best / 1e9


def rates() -> dict[str, dict[str, float]]:
    """GFLOP/s of a product of two square matrices, by precision and library."""
    ones = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    found: dict[str, dict[str, float]] = {"float32": {"NumPy": _rate(lambda: ones @ ones)}, "bfloat16": {}}
    try:
        import torch
    except ModuleNotFoundError:
        return found
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        x = torch.from_numpy(ones).to(dtype)
        found[name]["PyTorch"] = _rate(lambda x=x: x @ x)
    return found


def measured_peak() -> dict[str, float]:
    """GFLOP/s of the fastest product, by precision, measured in a process of its own."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    best = {precision: max(by.values()) for precision, by in json.loads(done.stdout).items() if by}
    # A processor without bfloat16 instructions emulates them; float32 is then what bfloat16 can reach.
    return {precision: max(rate, best["float32"]) for precision, rate in best.items()}


if __name__ == "__main__":
    print(json.dumps(rates()))
