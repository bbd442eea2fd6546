"""Control and tie points that contradict the others: set on a wrong crater, or typed wrongly.

Each point is predicted by a surface through all the others: a polynomial where that does, else a thin plate, which
follows bent images and relief and still says where a point should be.
"""

from typing import NamedTuple

import numpy as np

# A point is left out where its residual is at least this many times that of the others.
_RATIO = 4.0

# Least residual of a point that is left out, pixels.
_LEAST_RESIDUAL = 4.0

# Fewest points that must remain.
_LEAST_KEPT = 7

# Largest share of the points that may be left out.
_MOST_LEFT_OUT = 0.2

# Points with the largest residuals that are tried, one by one.
_TRIED = 8

# Points from where on thin plates take too long.
_MOST = 150


class Outlying(NamedTuple):
    """Points that were left out.

    Attributes:
        kept: [N] bool.
        off: [N], pixels by which each point that was left out lies off what those that were kept say; 0 for these.
    """

    kept: np.ndarray
    off: np.ndarray

    def said(self, names: list[str] | None = None) -> str:
        """In words; "" where none was left out. `names` are those of all points; without, they count from 1."""
        gone = np.flatnonzero(~self.kept)
        if gone.size == 0:
            return ""
        told = [f"{names[k] if names else k + 1} ({self.off[k]:.0f} px off)" for k in gone]
        return f"left out, since the others contradict it: point {', point '.join(told)}"


def outlying(x: np.ndarray, y: np.ndarray, cols: np.ndarray, rows: np.ndarray) -> Outlying:
    """Which of N points lie far off what the others say.

    Args:
        x, y: [N] coordinates that pixels are predicted from, in any unit.
        cols, rows: [N] pixels.
    """
    count = len(x)
    kept, told = np.ones(count, bool), np.zeros(count)
    places, pixels = _scaled(x, y), np.stack([cols, rows], axis=-1).astype(float)
    found, missed = kept, _missed(places, pixels)
    for _ in range(min(int(_MOST_LEFT_OUT * count), count - _LEAST_KEPT)):
        if missed is None or missed[0].max() <= _LEAST_RESIDUAL:
            break
        # A bad point spoils what is said of its neighbours: the one is taken without which the others agree best.
        tried = [_without(kept, k) for k in np.flatnonzero(kept)[np.argsort(missed[0])[-_TRIED:]]]
        known = [(one, rest) for one in tried if (rest := _missed(places[one], pixels[one])) is not None]
        if not known:
            break
        kept, missed = min(known, key=lambda one: float(one[1][0].sum()))
        off = np.zeros(count)
        off[~kept] = _missed_at(places[kept], pixels[kept], missed[1], places[~kept], pixels[~kept])
        if off[~kept].min() > max(_LEAST_RESIDUAL, _RATIO * missed[0].max()):
            found, told = kept, off
    return Outlying(found, told)


def _without(kept: np.ndarray, k: int) -> np.ndarray:
    return kept & (np.arange(kept.size) != k)


def _scaled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N, 2] about 0 and of size 1."""
    both = np.stack([x, y], axis=-1).astype(float)
    both = both - both.mean(axis=0)
    return both / np.maximum(both.std(axis=0), 1e-300)


def _terms(places: np.ndarray, order: int) -> np.ndarray:
    """Powers of coordinates up to an order, [N, terms]."""
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    return np.stack([places[:, 0] ** i * places[:, 1] ** j for i, j in powers], axis=-1)


def _kernel(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    squared = ((places[:, None] - others[None]) ** 2).sum(axis=-1)
    return 0.5 * squared * np.log(np.where(squared > 0, squared, 1.0))


def _plate(places: np.ndarray) -> np.ndarray:
    """The matrix of thin plates through points, [N + 3, N + 3]."""
    count, flat = len(places), _terms(places, 1)
    matrix = np.zeros((count + 3, count + 3))
    matrix[:count, :count] = _kernel(places, places)
    matrix[:count, count:], matrix[count:, :count] = flat, flat.T
    return matrix


def _missed(places: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, int] | None:
    """By how many pixels the others miss each point, [N], and of which surface; None where none is determined.

    The surface is that which misses least in the median: a polynomial of first or second order, or a thin plate (0).
    """
    found = [(_missed_by_order(places, pixels, order), order) for order in (1, 2)]
    found.append((_missed_by_plate(places, pixels) if len(places) <= _MOST else None, 0))
    known = [(missed, order) for missed, order in found if missed is not None]
    return min(known, key=lambda one: float(np.median(one[0]))) if known else None


def _missed_by_order(places: np.ndarray, pixels: np.ndarray, order: int) -> np.ndarray | None:
    """By how many pixels the polynomial through the others misses each point: all from one fit, by its leverages."""
    terms = _terms(places, order)
    if len(places) < terms.shape[1] + 3 or np.linalg.cond(terms) > 1e8:
        return None
    base = np.linalg.qr(terms)[0]
    rest = pixels - base @ (base.T @ pixels)
    return np.hypot(*(rest / np.maximum(1.0 - (base**2).sum(axis=1), 1e-9)[:, None]).T)


def _missed_by_plate(places: np.ndarray, pixels: np.ndarray) -> np.ndarray | None:
    """The same by thin plates. Source: Rippa 1999, Advances in Computational Mathematics 11, 193."""
    matrix, count = _plate(places), len(places)
    if count < 5 or np.linalg.cond(matrix) > 1e12:
        return None
    inverse = np.linalg.inv(matrix)
    return np.hypot(*(inverse[:count, :count] @ pixels / np.diag(inverse)[:count, None]).T)


def _missed_at(places: np.ndarray, pixels: np.ndarray, order: int, at: np.ndarray, there: np.ndarray) -> np.ndarray:
    """By how many pixels a surface through points, of the order that `_missed` told, misses others `at`, [K]."""
    if order:
        told = _terms(at, order) @ np.linalg.lstsq(_terms(places, order), pixels, rcond=None)[0]
    else:
        weights = np.linalg.solve(_plate(places), np.concatenate([pixels, np.zeros((3, 2))]))
        told = np.concatenate([_kernel(at, places), _terms(at, 1)], axis=1) @ weights
    return np.hypot(*(told - there).T)
