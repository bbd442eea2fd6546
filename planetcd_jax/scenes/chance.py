"""What chance gives where nothing has changed: p-values above the largest null scores, and expected false places.

The null scores of a scene come in tiles of neighbouring windows. Windows of one tile overlap, so their scores depend on
each other. Therefore the tail is fitted to the largest score of each tile, and false places are counted in tiles: a
tile with a null score above the threshold is one false place.

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
"""Shares of the tiles whose maximum lies in the tail, tried in turn until the distribution fits. With a larger share,
often two windows of one tile exceed the start of the tail, and the larger of two has another distribution."""

_LEAST_EXCESSES = 20
"""Least number of excesses that a tail is fitted to."""

_SHAPE_SPREAD = 0.07
"""Standard deviation of the normal prior of the shape. Its mean is 0, the exponential distribution, and it weighs as
much as two hundred excesses. A negative shape is never taken: under it the largest scores have p = 0."""

_LEAST_SHARE = 1e-3
"""Least p-value that is extrapolated, as a share of 1 / number of null scores: further out nothing supports the fit."""

_MISFIT = 0.05
"""p-value of the goodness of fit below which a tail is refused."""

_DRAWS = 39
"""Samples of the fitted distribution that the goodness of fit is judged by."""

_SIGNIFICANCE = 0.05
"""Probability that `Chance.most_false` does not hold."""


@dataclasses.dataclass(frozen=True)
class Tail:
    """The upper tail of null scores, extrapolated: a generalised Pareto distribution of the excesses over `start`.

    Attributes:
        start: Least score that it holds for.
        share: Share of the null scores above `start`.
        shape, scale: Of the distribution; shape 0 is the exponential, above 0 the tail is heavier.
        excesses: Number of excesses that were fitted, one for each tile.
        fit_p: p-value of the hypothesis that the excesses have this distribution (Cramer-von Mises, 39 samples).
        least: Least p-value that it gives.
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
        p_value = self.share * stats.genpareto.sf(scores - self.start, self.shape, scale=self.scale)
        return np.where(scores >= self.start, np.maximum(p_value, self.least), np.nan)


def _fitted(excesses: np.ndarray) -> tuple[float, float]:
    """Shape >= 0 and scale of the largest posterior probability, under the prior of `_SHAPE_SPREAD`."""
    mean = float(excesses.mean())

    def negative_log_posterior(at: np.ndarray) -> float:
        shape, scale = abs(at[0]), mean * math.exp(at[1])
        logs = np.log1p(shape * excesses / scale) / shape if shape > 1e-6 else excesses / scale
        return len(excesses) * math.log(scale) + (1 + shape) * logs.sum() + 0.5 * (shape / _SHAPE_SPREAD) ** 2

    fit = optimize.minimize(
        negative_log_posterior, [0.02, 0.0], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4}
    )
    return abs(float(fit.x[0])), mean * math.exp(float(fit.x[1]))


def _misfit(excesses: np.ndarray, shape: float, scale: float) -> float:
    return stats.cramervonmises(excesses, "genpareto", args=(shape, 0, scale)).statistic


def _fit_p(excesses: np.ndarray, shape: float, scale: float) -> float:
    """p-value of the fit: the share of samples of the fitted distribution whose own fit is worse."""
    rng, measured, worse = np.random.default_rng(0), _misfit(excesses, shape, scale), 0
    for _ in range(_DRAWS):
        drawn = np.asarray(stats.genpareto.rvs(shape, scale=scale, size=len(excesses), random_state=rng))
        worse += _misfit(drawn, *_fitted(drawn)) >= measured
    return (1 + worse) / (1 + _DRAWS)


def fit_tail(tiles: Sequence[np.ndarray]) -> Tail | None:
    """The tail of null scores, or None where too few tiles reach it or no tail fits.

    Args:
        tiles: Null scores of each tile, [K] float; scores of one tile may depend on each other.

    Source: Pickands 1975, Annals of Statistics 3, 119, for the distribution; Davison & Smith 1990, J. Royal Statistical
    Society B 52, 393, for the maxima of clusters; Martins & Stedinger 2000, Water Resources Research 36, 737, for a
    penalty on the shape; Knijnenburg et al. 2009, Bioinformatics 25, i161, for its p-values and the choice of its
    start.
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
            share_above, least = float((every > start).mean()), _LEAST_SHARE / len(every)
            return Tail(start, share_above, shape, scale, len(excesses), fit_p, least)
    return None


@dataclasses.dataclass(frozen=True)
class Chance:
    """What chance gives in a scene where nothing has changed, from the null scores of its tiles.

    Attributes:
        maxima: [T] float, largest null score of each tile of neighbouring windows.
        tail: The tail of the null scores, or None.
        tiles: The scene in tiles: its scored windows over the windows of one tile.
        pixels: How the score tells changed pixels. Its `rate` is also the share of unchanged scenes that may have a
            place without changed pixels.
        searched: Pieces of the scene that were searched for changed ground; None where the score does not outline it.
        max_false_places: Expected false places that are accepted of those with changed pixels: so many whose pixels
            stand out, and as many whose windows do.
    """

    maxima: np.ndarray
    tail: Tail | None
    tiles: float
    pixels: PixelLevel = PixelLevel()
    searched: int | None = None
    max_false_places: float = 0.5

    def tail_p(self, scores: np.ndarray) -> np.ndarray:
        """Extrapolated p-value of each score, [...] float64; NaN below the start of the tail, or without one."""
        return np.full(np.shape(scores), np.nan) if self.tail is None else self.tail.above(scores)

    def expected_tiles(self, tau: float) -> float:
        """Expected number of tiles of the scene with a score above tau where nothing has changed.

        The share of the tiles of the null above tau, times the tiles of the scene. A group of windows over several
        tiles is counted in each, and several groups in one tile as a Poisson process gives them. Where fewer than ten
        tiles of the null are above tau, the share comes from the tail.
        """
        share = float((self.maxima > tau).mean())
        if share * len(self.maxima) < 10 and self.tail is not None and tau >= self.tail.start:
            over = float((self.maxima > self.tail.start).mean())
            share = over * float(self.tail.above(np.asarray([tau]))[0]) / self.tail.share
        share = min(share, 1 - 0.5 / len(self.maxima))  # a share of 1 would give an infinite number
        return -math.log1p(-share) * self.tiles

    def expected_places(self, tau: float) -> float:
        """Upper bound of the expected number of places above tau where nothing has changed.

        Where the score does not outline changed ground, `expected_tiles`. Where it does, a place has changed pixels and
        stands out (`stands_out`) by its pixels or by its windows; of each kind `max_false_places` are expected at most,
        and not more than there are pieces with changed pixels. A peak without changed pixels is a place only where
        `expected_tiles` of its score is at most `pixels.rate`.
        """
        tiles = self.expected_tiles(tau)
        if self.searched is None:
            return tiles
        return min(tiles, 2 * min(self._expected_pieces(), self.max_false_places) + min(self.pixels.rate, tiles))

    def _expected_pieces(self) -> float:
        """Expected number of searched pieces with changed pixels where nothing has changed."""
        return 0.0 if self.searched is None else -math.log1p(-self.pixels.rate) * self.searched

    def stands_out(self, size: float, level: float, rho: float) -> bool:
        """Whether at most `max_false_places` changes so large, or with so high a score, are expected by chance.

        `level` holds for one piece. The level of all pieces is higher by `pixels.rise` for each factor of e in their
        number: the largest of many values has a Gumbel distribution, whose tail is exponential.

        Args:
            size, level: Of the change, as in `PixelChange`.
            rho: Highest score of the windows that overlap it.
        """
        raised = self.pixels.rise * math.log(max(1.0, self._expected_pieces() / self.max_false_places))
        return size >= level + raised or self.expected_tiles(rho) <= self.max_false_places

    def record(self, tau: float, places: int) -> dict[str, Any]:
        """What run.json says of it, for the places above tau."""
        return {
            "expected_false_places": self.expected_places(tau),
            "most_false_share": self.most_false(tau, places),
            "tail": None if self.tail is None else dataclasses.asdict(self.tail),
        }

    def most_false(self, tau: float, places: int) -> float:
        """Upper bound of the share of false places among `places` above tau; holds for all tau at once with 95 %.

        In [0, 1]; 0 for no place. Tiles are taken to be independent.

        Source: Katsevich & Ramdas 2020, Annals of Statistics 48, 3465, theorem 1.
        """
        factor = math.log(1 / _SIGNIFICANCE) / math.log1p(math.log(1 / _SIGNIFICANCE))
        return min(1.0, factor * (1 + self.expected_tiles(tau)) / places) if places else 0.0


def of_scene(null: np.ndarray, tile: np.ndarray, windows: int, pixels: PixelLevel | None = None) -> Chance:
    """What chance gives in a scene.

    Args:
        null: [N] float, null scores.
        tile: [N] int, the tile of each.
        windows: Number of windows of the scene that were scored.
        pixels: How the score tells changed pixels; None: the default.
    """
    tiles = [null[tile == number] for number in np.unique(tile)]
    maxima, per_tile = np.asarray([part.max() for part in tiles]), len(null) / len(tiles)
    return Chance(maxima, fit_tail(tiles), windows / per_tile, pixels or PixelLevel())
