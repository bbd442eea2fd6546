"""What speaks against each pair of a set: figures and a sentence for its row in results.csv and on the page."""

import functools
import math
import pathlib
from collections.abc import Iterable
from typing import Any

from planetcd_jax.errors import BadPairError
from planetcd_jax.extras import brought_by
from planetcd_jax.images import pair_quality
from planetcd_jax.images.reading import open_image
from planetcd_jax.pairs import PairSet

COLUMNS = ("correlation", "quality")


def rows(pair_set: PairSet, index: Iterable[int]) -> dict[str, dict[str, Any]]:
    """Cells by column by id of the pairs at some positions of a set: `COLUMNS`.

    Args:
        pair_set: The pairs.
        index: Positions of pairs that can be read.
    """
    found = {}
    for i in map(int, index):
        pair = pair_set.read(i)
        files = pair_set.files(i)
        angles = (_angles(files[0]), _angles(files[1])) if len(files) == 2 else ({}, {})
        quality = pair_quality.of_patches(pair.before, pair.after, angles)
        known = math.isfinite(quality.correlation)
        correlation = round(quality.correlation, 3) if known else None
        found[pair_set.ids[i]] = {"correlation": correlation, "quality": quality.verdict()}
    return found


@functools.lru_cache(maxsize=256)
def _angles(name: str) -> dict[str, float]:
    """Angles that the label of a file states, degrees; none where it is no image file of its own, as in an archive."""
    if not pathlib.Path(name).is_file():
        return {}
    with brought_by("images"):
        from planetcd_jax.scenes import labels
    try:
        with open_image(name) as dataset:
            return labels.angles(dataset)
    except BadPairError:
        return {}


def summary(found: dict[str, dict[str, Any]]) -> str:
    """How many pairs are doubted, and an example."""
    doubted = {key: row["quality"] for key, row in found.items() if row["quality"] != pair_quality.NO_DOUBT}
    if not doubted:
        return f"nothing speaks against {'the one pair' if len(found) == 1 else f'the {len(found)} pairs'}"
    first = next(iter(doubted))
    if len(found) == 1:
        return f"something speaks against the one pair, {first}: {doubted[first]}"
    return f"something speaks against {len(doubted)} of {len(found)} pairs, such as {first}: {doubted[first]}"
