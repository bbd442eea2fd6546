"""The result of an evaluation as a page: curves and tables."""

import base64
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_curve

from scripts.evaluation.measures import RATES
from scripts.evaluation.trials import Trials

UNCHANGED = "unchanged real pairs"
SEASONS = "real change of the whole patch: Planet Four"
ONE_CLASS = {UNCHANGED: "false alarms", SEASONS: "found"}
"""Sets of pairs that all changed or all did not, by title: what a call of "changed" is there."""

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
        axes.plot(RATES, [figures["called"][f"{r:g}"] for r in RATES], "o-", label=name)
    span = np.geomspace(0.005, 0.2, 50)
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
        _calibration(axes[1, 0], made[UNCHANGED], UNCHANGED)
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


def _share(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def _with_span(figures: Mapping[str, Any], name: str) -> str:
    low, high = figures["interval"][name]
    return f"{_share(figures[name])} [{_share(low)}, {_share(high)}]"


def tables(made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures as tables: title, header and rows of text."""
    found = []
    rates = [f"false alarms at {rate:.0%}" for rate in RATES]
    for title, rows in made.items():
        if title == "by difficulty":
            found += _difficulty_tables(rows)
        elif title in ONE_CLASS:
            header = ["preset", "pairs", *(f"{ONE_CLASS[title]} at {rate:.0%}" for rate in RATES)]
            cells = [
                [
                    name,
                    row["pairs"],
                    *(f"{row['called'][f'{r:g}']:.3f} {_span(row['interval'], r)}" for r in RATES),
                ]
                for name, row in rows.items()
            ]
            found.append({"title": title[0].upper() + title[1:], "header": header, "rows": cells})
        else:
            header = ["preset", "pairs", "ROC AUC", "AP", "accuracy at tau", "best accuracy", "found at 5 %", *rates]
            cells = [
                [
                    name, row["pairs"], _with_span(row, "roc_auc"), _share(row["average_precision"]),
                    _with_span(row, "accuracy_at_tau"), _share(row["accuracy_best"]),
                    _share(row.get("detected_at_5", float("nan"))),
                    *(_share(row["false_alarms"].get(f"{r:g}", float("nan"))) for r in RATES),
                ]
                for name, row in rows.items()
            ]  # fmt: skip
            found.append({"title": title[0].upper() + title[1:], "header": header, "rows": cells})
            sized = {name: row["by_size"] for name, row in rows.items() if row.get("by_size")}
            if sized:
                first = next(iter(sized.values()))
                cells = [
                    [
                        name,
                        *(f"{_share(row[size]['detected_at_5'])} {_bounds(row[size]['interval'])}" for size in first),
                    ]
                    for name, row in sized.items()
                ]
                title = f"{title[0].upper() + title[1:]}: found at 5 % measured false alarms, by size"
                found.append({"title": title, "header": ["preset", *first], "rows": cells})
    return found


def _difficulty_tables(rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By level of difficulty: how each preset ranks, and how it decides at the threshold of the whole set."""
    names = list(rows)
    levels = list(rows[names[0]]) if names else []
    columns = {
        "ROC AUC": lambda row: _with_span(row, "roc_auc"),
        "accuracy at tau (best)": lambda row: f"{_share(row['accuracy_at_tau'])} ({_share(row['accuracy_best'])})",
        "found at 5 % measured false alarms": lambda row: _share(row["detected_at_5"]),
        "false alarms at 5 %": lambda row: _share(row["false_alarms"]["0.05"]),
    }
    return [
        {
            "title": f"{what} by difficulty, SIMULATED",
            "header": ["", *names],
            "rows": [[level, *(cell(rows[name][level]) for name in names)] for level in levels],
        }
        for what, cell in columns.items()
    ]


def _span(spans: Mapping[str, Any], rate: float) -> str:
    return _bounds(spans[f"{rate:g}"])


def _bounds(span: tuple[float, float]) -> str:
    return f"[{span[0]:.3f}, {span[1]:.3f}]"


def write(path: pathlib.Path, picture: pathlib.Path, made: Mapping[str, Any], *, split: str, seed: int) -> None:
    """Writes one HTML file with the curves and every figure; needs no other file and no network.

    Args:
        path: HTML to write.
        picture: PNG of the curves.
        made: Figures by kind of data, then preset.
        split, seed: Of the evaluation.
    """
    loader = jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates")
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    real = "inserted" in made
    html = template.get_template("evaluation.html").render(
        title=f"How well each preset ranks and decides: {split} split, seed {seed}",
        lede="Square brackets: 95 % bootstrap intervals, over source images where there are 8 or more. "
        + ("Inserted: real unchanged pairs, half of them with a change drawn in." if real else "All pairs SIMULATED."),
        picture="data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode(),
        tables=tables(made),
    )
    path.write_text(html, encoding="utf-8")
