"""Trials: pairs of patches with the truth about each, as arrays in memory."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SIDE = 100
"""Side of every trial patch, pixels (Saha & Zhu, HiRISE RSL and LROC)."""


class Trial(NamedTuple):
    """One pair and what is known of it.

    Attributes:
        before, after: [SIDE, SIDE] float32 in [0, 1].
        label: 1 changed, 0 unchanged.
        kind: "simulated", "inserted" (a real pair with a change put in, or untouched) or "real change".
        family: Where it comes from, such as "hirise-repeat-pairs".
        source: The image that it was cut from; development and test share none.
        change: What was put in: "none", "impact", "streak", "boulder", ...
        size: Of the change, pixels; 0 where there is none, NaN where it is not known.
        difficulty, level: What was made difficult, and how much; "" and NaN where nothing was.
        real: Whether both dates are real images.
    """

    before: np.ndarray
    after: np.ndarray
    label: int
    kind: str
    family: str
    source: str
    change: str = "none"
    size: float = 0.0
    difficulty: str = ""
    level: float = float("nan")
    real: bool = False


class Trials(NamedTuple):
    """N trials, field by field; `before` and `after` are [N, SIDE, SIDE] float32, the others [N]."""

    before: np.ndarray
    after: np.ndarray
    label: np.ndarray
    kind: np.ndarray
    family: np.ndarray
    source: np.ndarray
    change: np.ndarray
    size: np.ndarray
    difficulty: np.ndarray
    level: np.ndarray
    real: np.ndarray

    def take(self, which: np.ndarray) -> "Trials":
        """The trials that an index or a mask picks."""
        return Trials(*(field[which] for field in self))


def stack(trials: Iterable[Trial]) -> Trials:
    """Trials as arrays."""
    columns = list(zip(*trials, strict=True))
    before, after, label, *words, size, difficulty, level, real = columns
    kind, family, source, change = (np.array(word, np.str_) for word in words)
    return Trials(
        np.stack(before).astype(np.float32),
        np.stack(after).astype(np.float32),
        np.array(label, np.int8),
        kind,
        family,
        source,
        change,
        np.array(size, np.float64),
        np.array(difficulty, np.str_),
        np.array(level, np.float64),
        np.array(real, bool),
    )
