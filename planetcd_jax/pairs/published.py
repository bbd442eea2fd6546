"""Which published pairs a set is: the paper's, Mars-Bench's, or neither. Figures are compared for equal pairs only."""

from collections.abc import Mapping
from typing import Any

from planetcd_jax.pairs.dataset_spec import MARS_BENCH, PAPER, DatasetSpec
from planetcd_jax.words import counted

KEY = "pairs"
"""Where `PairSet.provenance` tells it."""


def which_pairs(spec: DatasetSpec, count: int, split: str | None, publisher: str | None) -> dict[str, Any]:
    """What a set of pairs is, for `PairSet.provenance`.

    Args:
        spec: The data set.
        count: Number of pairs.
        split: "train", "val", "test", "all" or None for a set without splits.
        publisher: Whose pairs they are, where the origin tells it (`publisher_of`); None where only the number can.

    Returns:
        publisher (one of the record's, or None), split, count, and a title such as "Mars-Bench test, 10 pairs".
    """
    known = list(dict.fromkeys(who for who, _ in spec.published))
    candidates = [publisher] if publisher else known
    match = next((name for name in candidates if published_count(spec, name, split) == count), None)
    told = "origin" if publisher else "number of pairs"
    title = (
        f"{match} {split or 'test'}, {counted(count, 'pair')}" if match else _no_match(spec, count, split, publisher)
    )
    title += " (by their number)" if match and not publisher else ""
    return {"publisher": match, "split": split, "count": count, "title": title, "told_by": told if match else None}


def _no_match(spec: DatasetSpec, count: int, split: str | None, publisher: str | None) -> str:
    """The title of a set that is no published one."""
    if publisher:
        wanted = published_count(spec, publisher, split) or "none"
        return f"{publisher} {split or 'test'}, {counted(count, 'pair')} where {wanted} are published"
    return f"of no published set, {counted(count, 'pair')}" if spec.published else f"your own, {counted(count, 'pair')}"


def stand_in(spec: DatasetSpec, count: int, split: str | None, publisher: str | None) -> dict[str, Any]:
    """As `which_pairs`, of simulated pairs, which are nobody's."""
    del publisher
    title = f"SIMULATED stand-in for {spec.name}, {counted(count, 'pair')}"
    return {"publisher": None, "split": split, "count": count, "title": title, "told_by": None}


def published_count(spec: DatasetSpec, publisher: str, split: str | None) -> int | None:
    """Number of pairs that a publisher gives for a split (None is "test"); their sum for "all"."""
    counts = {name: n for (who, name), n in spec.published.items() if who == publisher}
    if split == "all":
        return sum(counts.values()) if len(counts) > 1 else counts.get("test")
    return counts.get(split or "test")


def publisher_of(spec: DatasetSpec, facts: Mapping[str, Any]) -> str | None:
    """Whose pairs a folder or repository holds, where its origin or layout says so."""
    if "repository" in facts or "zenodo_record" in facts:
        return spec.publisher
    return {"Mars-Bench archive": MARS_BENCH, "authors": PAPER}.get(facts.get("layout", ""))


def is_papers(provenance: Mapping[str, Any]) -> bool:
    """Whether a set holds the pairs that the paper's figures are of."""
    return provenance.get(KEY, {}).get("publisher") == PAPER
