"""Both images of a scene reduced to the size of a map."""

from collections.abc import Callable

import numpy as np

Read = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]]
"""`read(row, col, height, width)` gives pixels [height, width, B] and a mask [height, width]."""

_PIXELS = 500_000  # read at a time: to lay a second date on the grid of the first takes 200 bytes for each


def reduced(read: Read, height: int, width: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """An image averaged until its longer side has at most `most` pixels.

    Averages, so that nothing flickers when two dates are shown in turn but what changed.

    Args:
        read: Reads the image by windows.
        height, width: Its size, pixels.
        most: Longest side of the result, pixels.

    Returns:
        [h, w, B] float32, or float64 of such an image, the mean of the valid pixels of each cell, 0 without one;
        [h, w] bool, cells of which at least half is valid.
    """
    rows, cols = (_edges(size, max(1, round(size / max(1.0, max(height, width) / most)))) for size in (height, width))
    strip = max(1, _PIXELS // (width * int(np.diff(rows).max())))
    parts = [_strip(read, rows[first : first + strip + 1], cols) for first in range(0, len(rows) - 1, strip)]
    pixels, valid = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(valid)


def _edges(size: int, count: int) -> np.ndarray:
    return np.linspace(0, size, count + 1).round().astype(int)


def _strip(read: Read, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels, valid = read(int(rows[0]), 0, int(rows[-1] - rows[0]), int(cols[-1]))
    total = _sums(np.where(valid[..., None], pixels, 0).astype(np.float64), rows - rows[0], cols)
    count = _sums(valid.astype(np.float64), rows - rows[0], cols)
    means = total / np.maximum(count, 1.0)[..., None]
    # In the precision of the image: metres on a radius of 1,737,400 m are lost in 32 bits.
    return means.astype(np.result_type(pixels, np.float32)), 2 * count >= np.outer(np.diff(rows), np.diff(cols))


def _sums(values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.add.reduceat(np.add.reduceat(values, rows[:-1], axis=0), cols[:-1], axis=1)
