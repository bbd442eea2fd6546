"""What metrics.json says of a run: its figures, its settings, and what it ran on."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from planetcd_jax.report import metrics
from planetcd_jax.report.output import PROGRAM
from planetcd_jax.report.results import Scores
from planetcd_jax.version import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "h5py", "rasterio", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of Python, this package and those that can change a result; what is not installed is left out."""
    found = {PROGRAM: __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device(used: Sequence[str] = ()) -> dict[str, Any]:
    """Platform, kind and number of the devices, and the machine about them.

    Args:
        used: Names of the devices that a run used, if it says so.
    """
    devices = jax.local_devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "available": len(devices),
        "used": list(used),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_count": os.cpu_count(),
    }


def figures(
    scores: Scores,
    *,
    seconds: float | None,
    compile_seconds: float | None,
    skipped: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Counts, threshold, figures of merit and times of one method on one data set.

    Args:
        scores: Of the pairs that were scored.
        seconds: Wall-clock time of scoring, without compilation; None where nothing was scored anew.
        compile_seconds: Time of compilation.
        skipped: (id, reason) of the pairs that were left out.

    Returns:
        A dict for metrics.json; `source` and the rest of the settings are the caller's to add.
    """
    n = len(scores.ids)
    return {
        "n_pairs": n,
        "n_changed": int(scores.changed.sum()),
        "n_skipped": len(skipped),
        "skipped": [{"id": pair_id, "reason": reason} for pair_id, reason in skipped],
        "tau": float(scores.tau) if np.isfinite(scores.tau) else None,
        **metrics.evaluate(scores.labels, scores.rho, scores.changed),
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "pairs_per_second": n / (seconds + (compile_seconds or 0)) if seconds else None,
    }


def record(dataset: str, source: str, method: str, run: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """metrics.json as a dict: the program first, then what was run, its figures, its settings and its surroundings."""
    head = {PROGRAM: __version__, "dataset": dataset, "source": source, "method": method}
    return {**head, **run, **settings, "versions": versions(), "device": device(run.get("devices", ()))}
