"""The pictures of a run, written: histogram, ranking sheet, and one picture for each of the highest-ranked pairs."""

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from planetcd_jax.report import figures
from planetcd_jax.report.results import Scores
from planetcd_jax.thresholds import Decision

HISTOGRAM, RANKING, PAIRS = "histogram", "ranking", "figures"


def file_name(rank: int, pair_id: str, kind: str = "png") -> str:
    """A file name for a pair, such as "01_ESP_018299.png": safe on any file system, in order of rank."""
    return f"{rank:02d}_{re.sub(r'[^A-Za-z0-9._-]+', '_', pair_id).strip('._')[:80] or 'pair'}.{kind}"


def write_histogram(
    folder: pathlib.Path, scores: Scores, decision: Decision, *, title: str, simulated: bool, kind: str = "png"
) -> None:
    """Writes histogram.png (or another of `figures.FORMATS`): rho, coloured by label, tau and what it was made of."""
    rho_null = scores.counted_nulls(decision) if scores.rho_null.size else None
    tau = float(scores.tau) if np.isfinite(scores.tau) else None
    picture = figures.histogram_figure(
        scores.rho, rho_null, tau, labels=scores.labels, title=title, simulated=simulated
    )
    figures.save_figure(picture, folder / f"{HISTOGRAM}.{kind}", simulated=simulated)


def write_pairs(
    folder: pathlib.Path, pairs: Sequence[figures.PairPicture], *, title: str, simulated: bool, kind: str = "png"
) -> None:
    """Writes ranking.png, all pairs on one sheet, and figures/<rank>_<id>.png for each; nothing without a pair."""
    if not pairs:
        return
    (folder / PAIRS).mkdir()
    for place, pair in enumerate(pairs, start=1):
        picture = figures.pair_figure(pair, simulated=simulated)
        name = file_name(place if pair.rank is None else pair.rank, pair.pair_id, kind)
        figures.save_figure(picture, folder / PAIRS / name, simulated=simulated)
    sheet = figures.ranking_figure(pairs, title=title, simulated=simulated)
    figures.save_figure(sheet, folder / f"{RANKING}.{kind}", simulated=simulated)


def picture_of(scores: Scores, i: int, rank: int, before: np.ndarray, after: np.ndarray) -> figures.PairPicture:
    """The i-th scored pair as it is drawn, without a pixel change map."""
    label = None if (scores.labels == -1).all() else int(scores.labels[i])
    return figures.PairPicture(
        pair_id=scores.ids[i],
        before=before,
        after=after,
        rho=float(scores.rho[i]),
        p_value=float(scores.p_value[i]),
        changed=bool(scores.changed[i]),
        rank=rank,
        label=label,
    )
