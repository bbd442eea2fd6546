"""Learning curves of a training, as a picture.

Like those of `figures`, it is a Matplotlib `Figure` made without pyplot, and says SIMULATED where the pairs are.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from planetcd_jax.report.figures import save_figure
from planetcd_jax.report.table import SIMULATED

CURVES = "learning_curves"

_TRAIN, _VALIDATION, _BEST, _INK = "#0072B2", "#E69F00", "#C1272D", "#222222"


def _draw(axes: Axes, part: str, losses: Mapping[str, Any]) -> None:
    epochs = np.arange(1, len(losses["train"]) + 1)
    axes.plot(epochs, losses["train"], "o-", markersize=3, color=_TRAIN, label="training")
    axes.plot(epochs, losses["validation"], "s-", markersize=3, color=_VALIDATION, label="validation")
    best = losses["best_epoch"]
    if best >= 0:
        axes.axvline(best + 1, color=_BEST, linewidth=1, label=f"kept: epoch {best + 1}")
    axes.set_title(part, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("epoch", color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 2.5, 5, 10), integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def learning_curves_figure(history: Mapping[str, Mapping[str, Any]], *, title: str, simulated: bool) -> Figure:
    """Training and validation loss by epoch, a panel for each part of a training.

    Args:
        history: By part ("autoencoder", "classifier"), `{"train": [...], "validation": [...], "best_epoch": int}`, as
            `baselines.supervised.SupervisedModel.history` holds it.
        title: The line above.
        simulated: Whether the training pairs are simulated.
    """
    figure = Figure(figsize=(4.2 * len(history) + 1.2, 3.8), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(history), squeeze=False)[0]
    for axes, (part, losses) in zip(panels, history.items(), strict=True):
        _draw(axes, part, losses)
    panels[0].set_ylabel("loss", color=_INK)
    stamp = f"{SIMULATED}: " if simulated else ""
    figure.suptitle((stamp + title).replace("$", r"\$"), x=0.01, ha="left", fontsize=11, weight="bold", color=_INK)
    return figure


def write_learning_curves(
    folder: pathlib.Path, history: Mapping[str, Mapping[str, Any]], *, title: str, simulated: bool, kind: str = "png"
) -> None:
    """Writes learning_curves.png, or another of `figures.FORMATS`."""
    picture = learning_curves_figure(history, title=title, simulated=simulated)
    save_figure(picture, pathlib.Path(folder) / f"{CURVES}.{kind}", simulated=simulated)
