"""Which published pairs a set is: the paper's, Mars-Bench's, or neither. Figures are compared for equal pairs only."""

from collections.abc import Mapping
from typing import Any

from planetcd_jax.pairs.dataset_spec import MARS_BENCH, PAPER, DatasetSpec

KEY = "pairs"
"""Where `PairSet.provenance` tells it."""


def which_pairs(spec: DatasetSpec, count: int, split: str | None, publisher: str | None) -> dict[str, Any]:
    """What a set of pairs is, for `PairSet.provenance`.

    Args:
        spec: The data set.
        count: Number of pairs.
        split: "train", "val", "test", "all" or None for a set without splits.
        publisher: `MARS_BENCH` or `PAPER` where the origin tells it, None where only the number can.

    Returns:
        publisher ("paper", "Mars-Bench" or None), split, count, and a title such as "Mars-Bench test, 10 pairs".
    """
    candidates = [publisher] if publisher else [PAPER, MARS_BENCH]
    found = next((name for name in candidates if published_count(spec, name, split) == count), None)
    title = (
        f"{found} {split or 'test'}, {count} pairs" if found else f"neither the paper's nor Mars-Bench's, {count} pairs"
    )
    if not found and publisher:
        wanted = published_count(spec, publisher, split)
        title = f"{publisher} {split or 'test'}, {count} pairs where {wanted if wanted else 'none'} are published"
    told = "origin" if publisher else "number of pairs"
    return {"publisher": found, "split": split, "count": count, "title": title, "told_by": told if found else None}


def published_count(spec: DatasetSpec, publisher: str, split: str | None) -> int | None:
    """Number of pairs that a publisher gives for a split (None is "test"); their sum for "all"."""
    counts = {name: n for (who, name), n in spec.published.items() if who == publisher}
    if split == "all":
        return sum(counts.values()) if len(counts) > 1 else counts.get("test")
    return counts.get(split or "test")


def publisher_of(facts: Mapping[str, Any]) -> str | None:
    """Whose pairs a folder or repository holds, where its origin or layout says so."""
    if "repository" in facts or facts.get("layout") == "Mars-Bench archive":
        return MARS_BENCH
    return PAPER if facts.get("layout") == "authors" else None


def is_papers(provenance: Mapping[str, Any]) -> bool:
    """Whether a set holds the pairs that the paper's figures are of."""
    return provenance.get(KEY, {}).get("publisher") == PAPER
