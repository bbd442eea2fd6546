"""The result of an evaluation as one picture of curves and one table."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_curve

from planetcd_jax.evaluation.measures import RATES
from planetcd_jax.evaluation.trials import Trials

Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""rho and rho_null of a set of trials, by preset."""


def _roc(axes, trials: Trials, scores: Scores, title: str) -> None:
    for name, (rho, _) in scores.items():
        rate, found, _ = roc_curve(trials.label, rho)
        axes.plot(rate, found, label=name)
    axes.plot([0, 1], [0, 1], color="0.8", zorder=0)
    axes.set(xlabel="false alarms", ylabel="found", title=title)
    axes.legend()


def _calibration(axes, made: Mapping[str, Any], title: str) -> None:
    for name, figures in made.items():
        axes.plot(RATES, [figures["false_alarms"][f"{r:g}"] for r in RATES], "o-", label=name)
    span = np.array([0.005, 0.2])
    axes.fill_between(span, span / 2, span * 2, color="0.92", label="half to twice")
    axes.plot(span, span, color="0.7")
    axes.set(xlabel="nominal false-alarm rate", ylabel="measured", title=title, xscale="log")
    axes.legend()


def draw(path: pathlib.Path, sets: Mapping[str, tuple[Trials, Scores]], made: Mapping[str, Any]) -> None:
    """Writes the picture.

    Args:
        path: PNG to write.
        sets: Trials and scores by kind of data.
        made: Figures by kind of data, then preset.
    """
    figure, axes = plt.subplots(2, 3, figsize=(15, 9), constrained_layout=True)
    for row in axes:
        for one in row:
            one.set_visible(False)
    for one, (kind, (trials, scores)) in zip(axes[0], sets.items(), strict=False):
        one.set_visible(True)
        _roc(one, trials, scores, f"{kind}: {len(trials.label)} pairs")
    if "inserted" in sets:
        axes[1, 0].set_visible(True)
        _calibration(axes[1, 0], made["unchanged real"], "real unchanged pairs (test)")
        axes[1, 1].set_visible(True)
        for name, figures in made["inserted"].items():
            rows = figures["by_size"]
            axes[1, 1].plot(list(rows), [row["detected_at_5"] for row in rows.values()], "o-", label=name)
        axes[1, 1].set(ylabel="found at 5 % measured false alarms", xlabel="size of the change", ylim=(0, 1))
        axes[1, 1].legend()
    if "by difficulty" in made:
        axes[1, 2].set_visible(True)
        for name, rows in made["by difficulty"].items():
            axes[1, 2].plot([row["roc_auc"] for row in rows.values()], list(rows), "o", label=name)
        axes[1, 2].set(xlabel="ROC AUC, SIMULATED", xlim=(0.3, 1.02))
        axes[1, 2].tick_params(axis="y", labelsize=5)
        axes[1, 2].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
