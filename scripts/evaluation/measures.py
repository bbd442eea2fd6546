"""Figures of merit of scored trials, with bootstrap intervals over sources."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from planetcd_jax.thresholds import Decision, counted_nulls

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


Taus = Mapping[float, np.ndarray]
"""Thresholds by nominal rate, [K] float, one for each of K draws of the null."""


def taus(rho: np.ndarray, rho_null: np.ndarray, decision: Decision) -> Taus:
    """The thresholds for each of `RATES`, as `detection.decide` sets them under `decision`.

    Args:
        rho: [N] scores.
        rho_null: [N, K] null scores of K draws; a single one moves the rate of 100 pairs by a few per cent.
        decision: Which null scores count (`thresholds.counted_nulls`).
    """
    # Bootstrap samples have many lengths: padded to a few, they compile a few times.
    rest = (0, (1 << (len(rho) - 1).bit_length()) - len(rho))
    valid = np.pad(np.ones(len(rho), bool), rest)
    padded = np.pad(rho, rest).astype(np.float32)
    nulls = []
    for null in rho_null.T:
        counted = _counted(padded, np.pad(null, rest).astype(np.float32), decision=decision, valid=valid)
        nulls.append(null[np.asarray(counted)[: len(rho)]])
    return {rate: np.array([tau_of(null, rate) for null in nulls]) for rate in RATES}


_counted = jax.jit(counted_nulls, static_argnames="decision")


def rate_above(rho: np.ndarray, tau: np.ndarray) -> float:
    """Share of scores above a threshold, averaged over its draws; NaN without a score."""
    return float((rho[:, None] > tau).mean()) if len(rho) else float("nan")


def figures(label: np.ndarray, rho: np.ndarray, tau: Taus, size: np.ndarray | None = None) -> dict[str, Any]:
    """All figures of one set; those at tau are averaged over its draws.

    Args:
        label: [N], 1 changed, 0 unchanged.
        rho: [N] scores.
        tau: As `taus` gives it.
        size: [N] sizes of the changes, pixels, or None.

    Returns:
        JSON-able figures; NaN where a class is missing.
    """
    label, unchanged = label.astype(int), label == 0
    made = {
        "pairs": len(label),
        "changed": int(label.sum()),
        "roc_auc": auc(label, rho),
        "average_precision": float(average_precision_score(label, rho)) if label.any() else float("nan"),
        "accuracy_at_tau": float(((rho[:, None] > tau[0.05]) == (label == 1)[:, None]).mean()),
        "accuracy_best": best_accuracy(label, rho),
        "false_alarms": {f"{r:g}": rate_above(rho[unchanged], t) for r, t in tau.items() if unchanged.any()},
        "detected_at_tau": rate_above(rho[label == 1], tau[0.05]),
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
