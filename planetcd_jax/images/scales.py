"""Whether two dates hold the same ground on different scales: other depth, other unit, square-root or log coded.

A date that is coded by a square root, as many cameras send their images, follows the other by a parabola, not by a
line. On values t that a linear stretch has brought to [0, 1], the curve

    t + b t (1 - t),    -1 <= b <= 0

undoes the root of any such coding, whatever its pedestal: b = -1 is t^2, b = 0 the line. It keeps 0, 1 and the order.
So does, for b < -1,

    (e^(-b t) - 1) / (e^(-b) - 1)

which undoes a logarithm, whatever its pedestal: decibels of radar against amplitudes.
"""

import numpy as np

BLOCK = 16
"""Side of the squares, pixels, whose means are compared: wide enough for a few pixels of misregistration."""

_LEAST_BLOCKS = 24

_LEFT_OUT = 0.3
"""Share of the blocks that may have changed: a fit leaves out those farthest from the curve."""

_ROUNDS = 8
"""Rounds of that fit."""

_EXPLAINED = 0.99
"""Least share of the variance that a curve explains."""

_LEFT_OF_A_LINE = 0.35
"""Largest residual of a curve, as a share of that of a line."""

_EXPONENTS = np.arange(1.5, 10.1, 0.5)
"""Exponents -b that are tried; 2.3 is a range of 10 dB."""

_LESS = 0.5
"""An exponential is taken where it leaves at most this share of the variance that the parabola leaves."""

_MOST_EXPONENT = 60.0

_ROUNDING = 1e-6
"""Two dates that are the same are bent by no more than this."""

UNLIKE = 1.9
"""Ranges that differ by this factor are different scales: 11 bits against 12 differ by 2, 10 against 12 by 4."""


def bent(values: np.ndarray, bend: float | np.ndarray) -> np.ndarray:
    """The curve of the module's head, any shape; `bend` broadcasts against the last axis. It never falls."""
    lowest = np.where(bend < 0, 0.5 * (1.0 + bend) / np.where(bend < 0, bend, 1.0), -np.inf)  # where it turns
    parabola = np.maximum(values, lowest.astype(values.dtype))
    parabola = parabola + bend * parabola * (1.0 - parabola)
    is_log = np.less(bend, -1.0)
    if not np.any(is_log):
        return parabola
    k = np.where(is_log, np.negative(bend), 1.0).astype(values.dtype)
    return np.where(is_log, np.expm1(np.minimum(k * values, _MOST_EXPONENT)) / np.expm1(k), parabola)


def are_unlike(before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Whether two ranges (low, high) of values cannot be of one scale: other width, or apart."""
    widths = before[1] - before[0], after[1] - after[0]
    apart = max(before[0], after[0]) > min(before[1], after[1])
    return apart or (min(widths) > 0 and max(widths) > UNLIKE * min(widths))


def block_means(values: np.ndarray, valid: np.ndarray, side: int = BLOCK) -> np.ndarray:
    """Means of the whole squares of an image in which every pixel is valid; NaN where one is not.

    Args:
        values: [H, W] or [H, W, C].
        valid: [H, W] bool.
        side: Of a square, pixels.

    Returns:
        [N] or [N, C] float64, N squares row by row.
    """
    rows, cols = (size // side for size in valid.shape)
    cut = np.where(valid.reshape(*valid.shape, *(1,) * (values.ndim - 2)), values, np.nan)[: rows * side, : cols * side]
    blocks = cut.reshape(rows, side, cols, side, *cut.shape[2:])
    return blocks.mean(axis=(1, 3), dtype=np.float64).reshape(rows * cols, *cut.shape[2:])


def curve_means(values: np.ndarray, valid: np.ndarray, side: int = BLOCK) -> np.ndarray:
    """Means of t, t (1 - t) and the exponentials in the squares of an image [H, W] in [0, 1]: what `bends` takes.

    [N, 2 + K] float64, N squares and K exponents.
    """
    values = values.astype(np.float64)
    means = [block_means(x, valid, side) for x in (values, values * (1.0 - values))]
    # Each exponential is the one before times a root: one is computed, since every pair that is read comes by here.
    step = _EXPONENTS[1] - _EXPONENTS[0]
    root, power = np.exp(step * values), np.exp((_EXPONENTS[0] - step) * values)
    for exponent in _EXPONENTS:
        power *= root
        means.append((block_means(power, valid, side) - 1.0) / np.expm1(exponent))
    return np.stack(means, axis=1)


def bends(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The bend of each date that brings both to one scale; at most one of them is not 0.

    The mean of the curve over a square is linear in the two means of `curve_means`, so what varies inside a square
    makes no error.

    Args:
        before, after: `curve_means` of the same squares of both dates, each stretched to [0, 1] linearly.
    """
    known = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    before, after = before[known], after[known]
    if len(before) < _LEAST_BLOCKS or min(np.ptp(before[:, 0]), np.ptp(after[:, 0])) == 0:
        return 0.0, 0.0
    fits = _fit(before, after[:, 0]), _fit(after, before[:, 0])
    coded = 0 if fits[0][1] >= fits[1][1] else 1
    bend, explained, line = fits[coded]
    if bend == 0 or explained < _EXPLAINED or 1 - explained > _LEFT_OF_A_LINE * (1 - line):
        return 0.0, 0.0
    return (bend, 0.0) if coded == 0 else (0.0, bend)


def _fit(coded: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Bend of `coded` [N, 2 + K], and the shares of the variance of `other` [N] that the curve and a line explain."""
    parabola = _fit_parabola(coded[:, :2], other)
    exponentials = [_explained_by_most(column, other) for column in coded[:, 2:].T]
    best = int(np.argmax(exponentials))
    if 1 - exponentials[best] > _LESS * (1 - parabola[1]):
        return parabola
    exponent = float(_EXPONENTS[best])
    if 0 < best < len(_EXPONENTS) - 1:  # between them, by the parabola through three
        one, two, three = exponentials[best - 1 : best + 2]
        exponent += 0.5 * (_EXPONENTS[1] - _EXPONENTS[0]) * (one - three) / min(one - 2 * two + three, -1e-12)
    return -float(exponent), exponentials[best], _explained_by_most(coded[:, 0], other)


def _explained_by_most(x: np.ndarray, y: np.ndarray) -> float:
    """Share of the variance of y [N] that a rising line in x [N] explains, those apart that are farthest from it."""
    keep = np.ones(len(x), bool)
    for _ in range(_ROUNDS):
        middle, power = x[keep].mean(), x[keep].var()
        slope = np.mean((x[keep] - middle) * y[keep]) / power if power > 0 else 0.0
        if slope <= 0:
            return 0.0
        rest = abs(y - slope * (x - middle) - y[keep].mean())
        keep = rest <= np.quantile(rest, 1 - _LEFT_OUT)
    return _explained(x[keep], y[keep])


def _fit_parabola(coded: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """As `_fit`, of [N, 2] `coded`, by the parabola alone."""
    terms = np.concatenate([np.ones((len(coded), 1)), coded], axis=1)
    keep, weights = np.ones(len(coded), bool), np.zeros(3)
    for _ in range(_ROUNDS):
        weights = np.linalg.lstsq(terms[keep], other[keep], rcond=None)[0]
        rest = abs(other - terms @ weights)
        keep = rest <= np.quantile(rest, 1 - _LEFT_OUT)
    if weights[1] <= 0:
        return 0.0, 0.0, 0.0
    bend = float(np.clip(weights[2] / weights[1], -1.0, 0.0))
    bend = bend if bend < -_ROUNDING else 0.0
    curve = coded[:, 0] + bend * coded[:, 1]
    return bend, _explained(curve[keep], other[keep]), _explained(coded[keep, 0], other[keep])


def _explained(x: np.ndarray, y: np.ndarray) -> float:
    """Squared correlation."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)
