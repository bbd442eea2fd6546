"""From a score map to places: peaks, and the windows that belong to each or see it."""

import dataclasses
from typing import cast

import numpy as np
import scipy.ndimage


@dataclasses.dataclass(frozen=True)
class Peaks:
    """The peaks of a score map, best first.

    Attributes:
        rows, cols: [K] int, window of each peak.
        rho: [K] float, its score.
        owner: [R, S] int, for each window the peak that it belongs to; -1 where not scored.
    """

    rows: np.ndarray
    cols: np.ndarray
    rho: np.ndarray
    owner: np.ndarray


def find_peaks(rho: np.ndarray, reach: int) -> Peaks:
    """Peaks of a score map of which no two are closer than `reach` windows, in rows and columns.

    The best window is the first peak and owns all windows within reach; the best of those that remain is the second
    and owns those within its reach that have no owner yet; and so on. So every scored window has one owner, and the
    peaks above any threshold are the same whatever the threshold.

    Args:
        rho: [R, S] float, NaN where not scored.
        reach: Windows; with (window - 1) // stride no two peaks overlap.

    Returns:
        Their `Peaks`.
    """
    owner = np.full(rho.shape, -1, np.int32)
    scored = np.isfinite(rho)
    free = scored.copy()
    rows, cols = np.unravel_index(np.argsort(np.where(scored, -rho, np.inf), axis=None, kind="stable"), rho.shape)
    peaks: list[tuple[int, int]] = []
    for row, col in zip(rows[: scored.sum()].tolist(), cols[: scored.sum()].tolist(), strict=True):
        if not free[row, col]:
            continue
        near = (slice(max(0, row - reach), row + reach + 1), slice(max(0, col - reach), col + reach + 1))
        owner[near] = np.where(free[near], len(peaks), owner[near])
        free[near] = False
        peaks.append((row, col))
    found = np.asarray(peaks, int).reshape(-1, 2)
    return Peaks(found[:, 0], found[:, 1], rho[found[:, 0], found[:, 1]], owner)


def sites(rho: np.ndarray, tau: float) -> np.ndarray:
    """Number, from 1, of the connected group of changed windows that each window is in; 0 where unchanged. [R, S]."""
    with np.errstate(invalid="ignore"):
        found = scipy.ndimage.label(rho > tau, structure=np.ones((3, 3), int))
    return cast(tuple[np.ndarray, int], found)[0]


def windows_that_see(
    bounds: tuple[float, float, float, float], shape: tuple[int, int], window: int, stride: int
) -> tuple[slice, slice]:
    """Rows and columns of windows that overlap a box.

    Args:
        bounds: Least column and row, largest column and row, pixels.
        shape: Rows and columns of windows.
        window, stride: Pixels.
    """
    made = []
    for low, high, count in ((bounds[1], bounds[3], shape[0]), (bounds[0], bounds[2], shape[1])):
        first = max(0, int(low - window) // stride + 1)
        made.append(slice(min(first, count - 1), max(first, min(count, int(high) // stride + 1))))
    return made[0], made[1]


def near(mask: np.ndarray, reach: int) -> np.ndarray:
    """Windows that are at most `reach` from a True one, in rows and columns; [R, S] bool to the same."""
    return scipy.ndimage.maximum_filter(mask, 2 * reach + 1)
