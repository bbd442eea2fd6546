"""What chance alone would give: p-values beyond the null scores that there are, and false places to expect in a scene.

The null scores of a scene come in tiles of neighbouring windows, which overlap and repeat each other. So the tail is
fitted to the largest score of each tile, and false places are counted in tiles: one that chance lifts above a
threshold is one place.

Axes: T tiles, N null scores, M scores to judge.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import optimize, stats

from planetcd_jax.scores.pixel_level import PixelLevel

_SHARES = (0.35, 0.25, 0.15, 0.08, 0.04, 0.02, 0.01)
"""Shares of the tiles whose maximum lies in the tail, the largest first; a smaller one is tried where the law misfits.
With more, two windows of one tile often exceed the start, and the larger of two is of another law."""

_LEAST_EXCESSES = 20
"""Fewer tiles above the start of the tail are not fitted."""

_SHAPE_SPREAD = 0.07
"""Standard deviation of the shape of a tail, before it is seen, about 0, the exponential: it weighs as much as two
hundred excesses. Below 0 the law would end, and a score beyond its end have no chance at all: that is never taken."""

_FARTHEST = 1e-3
"""A p-value is extrapolated to this share of the least that the null scores themselves show, and no further: nothing is
known of the law out there, and 1e-50 would only look like knowledge."""

_MISFIT = 0.05
_DRAWS = 39

_SURE = 0.05


@dataclasses.dataclass(frozen=True)
class Tail:
    """The upper tail of null scores, extrapolated: a generalised Pareto law of the excesses over `start`.

    Attributes:
        start: Score from where on it holds.
        share: Share of the null scores above `start`.
        shape, scale: Of the law; 0 is the exponential, above 0 the tail is heavier.
        excesses: Number of excesses that were fitted, one for each tile.
        fit_p: p-value of the hypothesis that the excesses are of this law (Cramer-von Mises, 39 draws).
        least: Probability below which nothing is extrapolated.
    """

    start: float
    share: float
    shape: float
    scale: float
    excesses: int
    fit_p: float
    least: float

    def above(self, scores: np.ndarray) -> np.ndarray:
        """Probability that a null score lies above each score, at least `least`; [M] float64, NaN below `start`."""
        scores = np.asarray(scores, np.float64)
        found = self.share * stats.genpareto.sf(scores - self.start, self.shape, scale=self.scale)
        return np.where(scores >= self.start, np.maximum(found, self.least), np.nan)


def _fitted(excesses: np.ndarray) -> tuple[float, float]:
    """Shape >= 0 and scale that are most likely, with what is known of shapes."""
    mean = float(excesses.mean())

    def badness(at: np.ndarray) -> float:
        shape, scale = abs(at[0]), mean * math.exp(at[1])
        inside = np.log1p(shape * excesses / scale) / shape if shape > 1e-6 else excesses / scale
        return len(excesses) * math.log(scale) + (1 + shape) * inside.sum() + 0.5 * (shape / _SHAPE_SPREAD) ** 2

    found = optimize.minimize(badness, [0.02, 0.0], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4})
    return abs(float(found.x[0])), mean * math.exp(float(found.x[1]))


def _misfit(excesses: np.ndarray, shape: float, scale: float) -> float:
    return stats.cramervonmises(excesses, "genpareto", args=(shape, 0, scale)).statistic


def _fit_p(excesses: np.ndarray, shape: float, scale: float) -> float:
    """Share of draws of the fitted law that fit worse, each with a law of its own."""
    rng, seen, worse = np.random.default_rng(0), _misfit(excesses, shape, scale), 0
    for _ in range(_DRAWS):
        drawn = np.asarray(stats.genpareto.rvs(shape, scale=scale, size=len(excesses), random_state=rng))
        worse += _misfit(drawn, *_fitted(drawn)) >= seen
    return (1 + worse) / (1 + _DRAWS)


def fit_tail(tiles: Sequence[np.ndarray]) -> Tail | None:
    """The tail of null scores, or None where too few tiles reach it or no tail fits.

    Args:
        tiles: Null scores of each tile, [K] float; scores of one tile may depend on each other.

    Source: Pickands 1975, Annals of Statistics 3, 119, for the law; Davison & Smith 1990, J. Royal Statistical Society
    B 52, 393, for the maxima of clusters; Martins & Stedinger 2000, Water Resources Research 36, 737, for a penalty on
    the shape; Knijnenburg et al. 2009, Bioinformatics 25, i161, for p-values of it and the choice of its start.
    """
    every = np.concatenate(tiles).astype(np.float64)
    maxima = np.asarray([tile.max() for tile in tiles], np.float64)
    for share in _SHARES:
        start = float(np.quantile(maxima, 1 - share))
        excesses = maxima[maxima > start] - start
        if len(excesses) < _LEAST_EXCESSES:
            return None
        shape, scale = _fitted(excesses)
        fit_p = _fit_p(excesses, shape, scale)
        if fit_p >= _MISFIT:
            share_above, least = float((every > start).mean()), _FARTHEST / len(every)
            return Tail(start, share_above, shape, scale, len(excesses), fit_p, least)
    return None


@dataclasses.dataclass(frozen=True)
class Chance:
    """What chance gives in a scene, as the null scores of its tiles say.

    Attributes:
        maxima: [T] float, largest null score of each tile of neighbouring windows.
        tail: The tail of the null scores, or None.
        tiles: Number of such tiles that the scene is worth: its scored windows over the windows of one tile.
        rate: Share of unchanged pieces of ground that show changed pixels, as in `PixelLevel`; and of unchanged scenes
            that show a place by its windows alone.
        rise: As in `PixelLevel`.
        searched: Pieces of the scene that were searched for changed ground; None: the score tells none, or not yet.
        most: Places that chance may give in a scene by pixels, and as many by windows, where a change has its outline.
    """

    maxima: np.ndarray
    tail: Tail | None
    tiles: float
    rate: float = PixelLevel.rate
    rise: float = PixelLevel.rise
    searched: int | None = None
    most: float = 0.5

    def tail_p(self, scores: np.ndarray) -> np.ndarray:
        """Extrapolated p-value of each score, [...] float64; NaN where the tail does not reach, or there is none."""
        return np.full(np.shape(scores), np.nan) if self.tail is None else self.tail.above(scores)

    def expected_places(self, tau: float, searched: int | None = None) -> float:
        """Places that chance gives above tau where nothing has changed, at most.

        By windows: the tiles of the null that chance lifts above tau, of as many as the scene is worth. A group of
        windows that spans several is counted in each, and several in one are as likely as a Poisson law says. Where
        fewer than ten tiles of the null are above, the tail decides.

        By pixels: a place must show changed ground, which chance does in a share `rate` of the pieces that are
        searched for it, and stand out in the scene (`stands_out`) in one of two ways, each of which chance gives at
        most `most` times; a peak without any is a place only where windows alone would give at most `rate` so high.

        Args:
            tau: Threshold.
            searched: Pieces of the scene that were searched for changed ground; None where the score tells none.
        """
        share = float((self.maxima > tau).mean())
        if share * len(self.maxima) < 10 and self.tail is not None and tau >= self.tail.start:
            over = float((self.maxima > self.tail.start).mean())
            share = over * float(self.tail.above(np.asarray([tau]))[0]) / self.tail.share
        share = min(share, 1 - 0.5 / len(self.maxima))  # more than all of the tiles that there are cannot be seen
        by_windows = -math.log1p(-share) * self.tiles
        if searched is None:
            return by_windows
        return min(by_windows, 2 * min(self._contours(searched), self.most) + min(self.rate, by_windows))

    def _contours(self, searched: int) -> float:
        """Pieces of so many that show changed ground by chance."""
        return -math.log1p(-self.rate) * searched

    def stands_out(self, size: float, level: float, rho: float) -> bool:
        """Whether changed ground is one that chance would give in a scene at most `most` times.

        Its `level` is that of one piece. Of all that were searched, so many exceed one that lies higher by `rise` for
        each factor of e (the largest of many values is of Gumbel's law, whose tail is exponential). Or its windows
        tell: chance lifts none so high.

        Args:
            size, level: Of the change, as in `PixelChange`.
            rho: Highest score of the windows that see it.
        """
        often = 0.0 if self.searched is None else self._contours(self.searched)
        raised = self.rise * math.log(max(1.0, often / self.most))
        return size >= level + raised or self.expected_places(rho) <= self.most

    def record(self, tau: float, places: int, searched: int | None) -> dict[str, Any]:
        """What run.json says of it, for the places above tau; searched: as in `expected_places`."""
        return {
            "expected_false_places": self.expected_places(tau, searched),
            "most_false_share": self.most_false(tau, places),
            "tail": None if self.tail is None else dataclasses.asdict(self.tail),
        }

    def most_false(self, tau: float, places: int) -> float:
        """Upper bound of the share of false places among `places` above tau, at any tau at once with 95 %.

        In [0, 1]; 0 for no place. Tiles are taken to be independent.

        Source: Katsevich & Ramdas 2020, Annals of Statistics 48, 3465, theorem 1.
        """
        factor = math.log(1 / _SURE) / math.log1p(math.log(1 / _SURE))
        return min(1.0, factor * (1 + self.expected_places(tau)) / places) if places else 0.0


def of_scene(null: np.ndarray, tile: np.ndarray, windows: int, level: PixelLevel | None = None) -> Chance:
    """What chance gives in a scene.

    Args:
        null: [N] float, null scores.
        tile: [N] int, the tile of each.
        windows: Number of windows of the scene that were scored.
        level: How the score tells changed pixels; None: the default.
    """
    level = level or PixelLevel()
    tiles = [null[tile == number] for number in np.unique(tile)]
    per_tile = len(null) / len(tiles)
    return Chance(
        np.asarray([part.max() for part in tiles]), fit_tail(tiles), windows / per_tile, level.rate, level.rise
    )
