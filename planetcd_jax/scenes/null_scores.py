"""The null scores of a scene, and which of them count. Axes: N null scores; R rows and S columns of windows."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from planetcd_jax.scenes import unchanged
from planetcd_jax.thresholds import Decision, counted_nulls

NULL_SIDE = 4
"""Windows of a null tile, in each axis."""


class NullScores(NamedTuple):
    """Scores of unchanged windows.

    Attributes:
        rho: [N] float32.
        tile: [N] int32, the tile of neighbouring windows that each is of, from 0 on.
        window: [N] int64, the window of the map whose ground each shows, counted row by row.
    """

    rho: np.ndarray
    tile: np.ndarray
    window: np.ndarray


def counted(drawn: NullScores, rho: np.ndarray, decision: Decision) -> NullScores:
    """Those that count: not where the ground itself has changed. See `thresholds.counted_nulls`.

    Windows of a tile overlap, so as many as a tile has count as one pair.

    Args:
        drawn: Null scores made of the scene's own differences.
        rho: [R, S] float, scores of the scene; NaN where not scored.
        decision: Says whether, and how.
    """
    own = jnp.asarray(rho.ravel()[drawn.window])
    kept = np.asarray(counted_nulls(own, jnp.asarray(drawn.rho), decision, alike=NULL_SIDE**2))
    return NullScores(*(x[kept] for x in drawn))


def joined(drawn: NullScores, found: Sequence[unchanged.Unchanged]) -> NullScores:
    """The drawn null scores, and those of unchanged windows of further dates in tiles of as many windows."""
    scores, tiles, windows = [drawn.rho], [drawn.tile], [drawn.window]
    for one in found:
        own, tile = unchanged.in_tiles(one.scores, NULL_SIDE)
        scores.append(own)
        tiles.append((tile + 1 + max(part.max(initial=-1) for part in tiles)).astype(np.int32))
        windows.append(np.flatnonzero(np.isfinite(one.scores)))
    return NullScores(np.concatenate(scores), np.concatenate(tiles), np.concatenate(windows))
