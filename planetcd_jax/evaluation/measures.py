"""Figures of merit of scored trials, with bootstrap intervals over sources."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from planetcd_jax.config import ChangeConfig
from planetcd_jax.thresholds import counted_nulls

RATES = (0.01, 0.05, 0.10)
"""Nominal false-alarm rates."""

SIZE_BINS_PX = ((4.0, 8.0), (8.0, 16.0), (16.0, 41.0))


def auc(label: np.ndarray, rho: np.ndarray) -> float:
    """Area under the ROC curve; NaN where a class is missing."""
    return float(roc_auc_score(label, rho)) if 0 < label.sum() < len(label) else float("nan")


def best_accuracy(label: np.ndarray, rho: np.ndarray) -> float:
    """Accuracy of the best threshold that labels could choose."""
    order = np.argsort(rho, kind="stable")
    right = label[order].sum() + np.concatenate([[0], np.cumsum(1 - 2 * label[order].astype(int))])
    cut = np.concatenate([[True], np.diff(rho[order]) > 0, [True]])  # a threshold lies between different scores
    return float(right[cut].max() / len(label))


def tau_of(rho_null: np.ndarray, rate: float) -> float:
    """The threshold that floor(rate N) of the null scores exceed, as `thresholds.threshold`."""
    ordered = np.sort(rho_null)
    return float(ordered[len(ordered) - 1 - int(rate * len(ordered) + 1e-9)])


def taus(rho: np.ndarray, rho_null: np.ndarray, config: ChangeConfig) -> dict[float, float]:
    """The threshold for each of `RATES`, as `detection.decide` sets it under `config`."""
    # Bootstrap samples have many lengths: padded to a few, they compile a few times.
    rest = (0, (1 << (len(rho) - 1).bit_length()) - len(rho))
    valid = np.pad(np.ones(len(rho), bool), rest)
    counted = _counted(*(np.pad(x, rest).astype(np.float32) for x in (rho, rho_null)), config=config, valid=valid)
    return {rate: tau_of(rho_null[np.asarray(counted)[: len(rho)]], rate) for rate in RATES}


_counted = jax.jit(counted_nulls, static_argnames="config")


def figures(
    label: np.ndarray, rho: np.ndarray, tau: Mapping[float, float], size: np.ndarray | None = None
) -> dict[str, Any]:
    """All figures of one set.

    Args:
        label: [N], 1 changed, 0 unchanged.
        rho: [N] scores.
        tau: Threshold by nominal rate, as `taus` gives it.
        size: [N] sizes of the changes, pixels, or None.

    Returns:
        JSON-able figures; NaN where a class is missing.
    """
    label, unchanged = label.astype(int), label == 0
    at_5 = tau[0.05]
    made = {
        "pairs": len(label),
        "changed": int(label.sum()),
        "roc_auc": auc(label, rho),
        "average_precision": float(average_precision_score(label, rho)) if label.any() else float("nan"),
        "accuracy_at_tau": float(((rho > at_5) == (label == 1)).mean()),
        "accuracy_best": best_accuracy(label, rho),
        "false_alarms": {f"{r:g}": float((rho[unchanged] > t).mean()) for r, t in tau.items() if unchanged.any()},
        "detected_at_tau": float((rho[label == 1] > at_5).mean()) if label.any() else float("nan"),
    }
    if unchanged.any():
        measured = np.quantile(rho[unchanged], 0.95, method="higher")
        made["detected_at_5"] = float((rho[label == 1] > measured).mean()) if label.any() else float("nan")
        if size is not None:
            made["by_size"] = _by_size(label, rho, size, measured)
    return made


def _by_size(label: np.ndarray, rho: np.ndarray, size: np.ndarray, measured: float) -> dict[str, Any]:
    rows = {}
    for low, high in SIZE_BINS_PX:
        inside = (label == 1) & (size >= low) & (size < high)
        if inside.any():
            keep = inside | (label == 0)
            rows[f"{low:g}-{high:g} px"] = {
                "changed": int(inside.sum()),
                "roc_auc": auc(label[keep], rho[keep]),
                "detected_at_5": float((rho[inside] > measured).mean()),
            }
    return rows


def intervals(
    statistics: Callable[[np.ndarray], Sequence[float]], source: np.ndarray, *, draws: int = 500, seed: int = 0
) -> list[tuple[float, float]]:
    """95 % bootstrap intervals of statistics; whole sources are drawn where there are 8 or more, else trials.

    Args:
        statistics: Of an index into the trials.
        source: [N] the image that each trial was cut from.
        draws: Number of bootstrap samples.
        seed: Decides them.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(source == name) for name in np.unique(source)]
    if len(groups) < 8:
        groups = [np.array([i]) for i in range(len(source))]
    values = []
    for _ in range(draws):
        picked = rng.integers(len(groups), size=len(groups))
        values.append(statistics(np.concatenate([groups[i] for i in picked])))
    return [(float(low), float(high)) for low, high in np.nanpercentile(values, [2.5, 97.5], axis=0).T]
