"""The page of a set of pairs: one HTML file with ranking, pictures, threshold and histogram of each method."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.report import page_images
from planetcd_jax.report.figures import PairPicture
from planetcd_jax.report.results import Scores
from planetcd_jax.report.templating import rendered
from planetcd_jax.thresholds import Decision
from planetcd_jax.version import __version__

PAGE = "report.html"

# Null scores and rows that the page holds at most: enough for any slider, and a page that opens at once.
_MOST_NULLS = 2000
_MOST_ROWS = 5000


class Shown(NamedTuple):
    """Pictures of one pair as data URLs: both dates, and the map of its change or None."""

    pair_id: str
    before: str
    after: str
    heat: str | None


class Ranking(NamedTuple):
    """One method on the page.

    Attributes:
        name: Its name, such as "robust".
        scores: Of all pairs.
        decision: How its tau was found; its null scores are counted in the same way.
        shown: Pictures of the highest-ranked pairs.
    """

    name: str
    scores: Scores
    decision: Decision
    shown: Sequence[Shown]


def shown(picture: PairPicture) -> Shown:
    """The pictures of a pair, small enough for the page."""
    before, after = page_images.date_pair(picture.before, picture.after)
    return Shown(
        picture.pair_id, before, after, None if picture.heat is None else page_images.change_picture(picture.heat)
    )


def _nulls(scores: Scores, decision: Decision) -> list[float]:
    """Null scores that count for tau, sorted; of very many, equally spaced ones."""
    if not np.isfinite(scores.rho_null).all():
        return []
    null = np.sort(scores.counted_nulls(decision))
    if len(null) > _MOST_NULLS:
        null = null[np.linspace(0, len(null) - 1, _MOST_NULLS).round().astype(int)]
    return [_short(value) for value in null]


def _short(value: Any) -> float:
    return float(f"{value:.6g}")


def _method(ranking: Ranking, quality: Mapping[str, str]) -> dict[str, Any]:
    scores = ranking.scores
    rows = [
        {
            "id": scores.ids[i],
            "rho": _short(scores.rho[i]),
            "p": None if np.isnan(scores.p_value[i]) else _short(scores.p_value[i]),
            "label": int(scores.labels[i]),
            "quality": quality.get(scores.ids[i]),
        }
        for i in scores.ranking()[:_MOST_ROWS]
    ]
    return {
        "name": ranking.name,
        "tau": _short(scores.tau) if np.isfinite(scores.tau) else None,
        "count": len(scores.ids),
        "rows": rows,
        "null": _nulls(scores, ranking.decision),
        "heat": {one.pair_id: one.heat for one in ranking.shown if one.heat is not None},
    }


def pairs_page(
    rankings: Sequence[Ranking],
    *,
    name: str,
    first: str,
    facts: Sequence[tuple[str, str]],
    simulated: bool,
    quality: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The page as HTML. Needs no network, no other file and no server.

    Args:
        rankings: A ranking for each method, of the same pairs.
        name: Of the data set.
        first: Name of the method that is shown first.
        facts: Name and value of what is told about the run; any text.
        simulated: Whether the pairs are simulated.
        quality: What speaks against each pair, by its id.

    Returns:
        HTML, UTF-8.
    """
    pictures = {one.pair_id: [one.before, one.after] for ranking in rankings for one in ranking.shown}
    data = {"first": first, "methods": [_method(ranking, quality) for ranking in rankings], "pictures": pictures}
    return rendered(
        "pairs",
        data,
        title=f"{'SIMULATED: ' if simulated else ''}Ranking of {name}",
        name=name,
        simulated=simulated,
        methods=[ranking.name for ranking in rankings],
        first=first,
        labelled=any((ranking.scores.labels != -1).any() for ranking in rankings),
        facts=facts,
        footer=f"planetcd_jax {__version__}.",
    )
