"""Figures of merit of a ranking and its decisions, where labels are known. NumPy in, plain Python numbers out."""

import math
from typing import Any

import numpy as np

# Standard normal quantile of a two-sided 95 % interval.
_Z95 = 1.959963984540054

CHANGED, UNCHANGED, UNKNOWN = 1, 0, -1


def wilson_interval(successes: int, trials: int) -> tuple[float, float] | None:
    """The 95 % Wilson score interval of a proportion.

    With p = successes / trials, n = trials and z = 1.96:
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    It stays inside [0, 1] and keeps its meaning for ten pairs, where p -+ 1.96 standard errors does not.

    Args:
        successes: Number of successes, 0 to `trials`.
        trials: Number of trials.

    Returns:
        Lower and upper bound in [0, 1], or None without a trial.

    Example:
        >>> low, high = wilson_interval(9, 10)
        >>> f"{low:.3f} to {high:.3f}"
        '0.596 to 0.982'

    Source: Wilson 1927, Journal of the American Statistical Association 22, 209-212.
    """
    if trials == 0:
        return None
    p, n, z2 = successes / trials, trials, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _counts_by_threshold(truth: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Changed and unchanged pairs at or above each value of rho, from the highest down, after a 0: [K + 1] int each."""
    order = np.argsort(-rho, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(rho[order])), len(rho) - 1)  # the last pair of each value
    found = np.cumsum(truth[order])[ends]
    return np.append(0, found), np.append(0, ends + 1 - found)


def _ranking(labels: np.ndarray, rho: np.ndarray) -> dict[str, float | None]:
    """ROC AUC and average precision of rho; None each where one of the two classes is absent.

    The area under the ROC curve is taken by trapezoids, so equal scores count half. Average precision is the mean
    precision at each changed pair, sum_k (R_k - R_k-1) P_k, without interpolation.
    """
    if labels.min() == labels.max():
        return {"roc_auc": None, "average_precision": None}
    found, false = _counts_by_threshold(labels, rho)
    recall, precision = found / found[-1], found[1:] / (found + false)[1:]
    return {
        "roc_auc": float(np.trapezoid(recall, false / false[-1])),
        "average_precision": float(np.sum(np.diff(recall) * precision)),
    }


_NONE = dict.fromkeys(
    (
        "accuracy",
        "accuracy_interval_95",
        "precision",
        "recall",
        "f1",
        "false_alarm_rate",
        "roc_auc",
        "average_precision",
    )
)


def evaluate(labels: np.ndarray | None, rho: np.ndarray, changed: np.ndarray) -> dict[str, Any]:
    """Accuracy and its interval, precision, recall, F1, ROC AUC, average precision and the confusion counts.

    "Changed" is the positive class. Pairs labelled -1 are left out. A figure that is not defined (precision when
    nothing was called changed, ROC AUC with one class only, everything without labels) is None, not 0 and not NaN.

    Args:
        labels: [N] int, 1 changed, 0 unchanged, -1 unknown; or None.
        rho: [N] float, larger means more likely changed; finite.
        changed: [N] bool, the decisions.

    Returns:
        A JSON-able dict with keys n_labelled, accuracy, accuracy_interval_95 (two numbers), precision, recall, f1,
        false_alarm_rate, roc_auc, average_precision and confusion (true_positive, false_positive, true_negative,
        false_negative).
    """
    if labels is None:
        return {"n_labelled": 0, **_NONE, "confusion": None}
    labels, rho, changed = np.asarray(labels), np.asarray(rho), np.asarray(changed, bool)
    known = labels != UNKNOWN
    if not known.any():
        return {"n_labelled": 0, **_NONE, "confusion": None}
    truth, rho, changed = labels[known] == CHANGED, rho[known], changed[known]
    tp, fp = int((truth & changed).sum()), int((~truth & changed).sum())
    tn, fn = int((~truth & ~changed).sum()), int((truth & ~changed).sum())
    n = len(truth)
    return {
        "n_labelled": n,
        "accuracy": (tp + tn) / n,
        "accuracy_interval_95": list(wilson_interval(tp + tn, n) or ()),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "false_alarm_rate": _ratio(fp, fp + tn),
        **_ranking(truth, rho),
        "confusion": {"true_positive": tp, "false_positive": fp, "true_negative": tn, "false_negative": fn},
    }
