"""Null scores from real unchanged ground: windows of earlier dates that did not change. Pure.

The plain rule, that a window is unchanged where its score is at or below tau, would cut the upper end off the very
scores whose upper quantile is sought: tau comes out too low, and more dates make it worse. So a window is left out only
where scores so high are twenty times as frequent as chance makes them (Benjamini-Hochberg at 5 %). And scores of two
dates in the same light say little of a date in another. So only dates whose scores are of much the same level as those
of the scene count, and they are brought to its level by the ratio of the medians.

Axes: R rows and S columns of windows, N null scores.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from planetcd_jax import thresholds
from planetcd_jax.errors import ConfigError
from planetcd_jax.records import check_above_zero
from planetcd_jax.scenes.chance import Chance


@dataclasses.dataclass(frozen=True)
class UnchangedRules:
    """Which windows of an earlier date are null scores of the scene.

    Attributes:
        fdr: False discovery rate of the windows that are left out as changed.
        most_changed: Largest share of the windows that may be left out so; with more, the date does not count, since
            nobody knows what its unchanged ground looks like.
        most_unlike: Largest ratio, either way, of the median scores of the scene and of the date.

    Chosen on simulated stacks (docs/decision.md).
    """

    fdr: float = 0.05
    most_changed: float = 0.5
    most_unlike: float = 1.25

    def __post_init__(self):
        check_above_zero(self, "fdr", "most_changed")
        if not self.most_unlike >= 1:
            raise ConfigError(f"most_unlike is {self.most_unlike!r}; give a ratio of 1 or more.")


class Unchanged(NamedTuple):
    """Null scores of one earlier date.

    Attributes:
        scores: [R, S] float32, at the level of the scene; NaN where a window is not counted.
        level: What the scores of the date were multiplied by; NaN where there are no windows in common.
        windows: Windows that were scored for the date and for the scene.
        changed: Of these, those that were left out as changed.
        alike: Whether the level lies within the bounds, and not too many changed; else no window counts.
    """

    scores: np.ndarray
    level: float
    windows: int
    changed: int
    alike: bool

    def record(self) -> dict[str, Any]:
        """For run.json."""
        counted = int(np.isfinite(self.scores).sum())
        return {
            "windows": self.windows, "level": self.level if np.isfinite(self.level) else None,
            "alike": self.alike, "left_out_as_changed": self.changed, "null_scores": counted,
        }  # fmt: skip


def unchanged_windows(
    rho: np.ndarray, other: np.ndarray, null: np.ndarray, chance: Chance, rules: UnchangedRules
) -> Unchanged:
    """The windows of an earlier date that are null scores of a scene.

    A window is left out where its own score, at the scene's level, or that of the scene is a finding.

    Args:
        rho: [R, S] float, scores of the scene; NaN where not scored.
        other: [R, S] float, scores of the earlier date against the same first date, on the same windows.
        null: [N] float, the scene's drawn null scores.
        chance: Made of these.
        rules: See there.

    Returns:
        `Unchanged`.
    """
    chex.assert_rank([rho, other, null], [2, 2, 1])
    chex.assert_equal_shape([rho, other])
    both = np.isfinite(rho) & np.isfinite(other)
    count, none = int(both.sum()), np.full(rho.shape, np.nan, np.float32)
    medians = [float(np.median(x[both])) if count else 0.0 for x in (rho, other)]
    if min(medians) <= 0:  # nothing in common, or dates that are the same to the last pixel
        return Unchanged(none, float("nan"), count, 0, False)
    level = medians[0] / medians[1]
    if max(level, 1 / level) > rules.most_unlike:
        return Unchanged(none, level, count, 0, False)
    scaled = np.where(both, level * other, np.nan).astype(np.float32)
    changed = both & (_findings(scaled, null, chance, rules.fdr) | _findings(rho, null, chance, rules.fdr))
    if changed.sum() > rules.most_changed * count:
        return Unchanged(none, level, count, int(changed.sum()), False)
    return Unchanged(np.where(changed, np.nan, scaled), level, count, int(changed.sum()), True)


def _findings(rho: np.ndarray, null: np.ndarray, chance: Chance, rate: float) -> np.ndarray:
    """Windows whose scores are findings against the null, [R, S] bool."""
    p_value = np.asarray(thresholds.p_values(jnp.asarray(rho.ravel()), jnp.asarray(null))).reshape(rho.shape)
    small = np.fmin(chance.tail_p(rho), p_value).astype(np.float32)
    return np.asarray(thresholds.benjamini_hochberg(jnp.asarray(small.ravel()), rate)).reshape(rho.shape)


def in_tiles(scores: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores [K] that are known of a map [R, S], and the tile of `side` x `side` windows that each is of, [K]."""
    rows, cols = np.nonzero(np.isfinite(scores))
    return scores[rows, cols], (rows // side) * -(-scores.shape[1] // side) + cols // side
