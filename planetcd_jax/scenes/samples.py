"""A sparse look at both images of a scene: what becomes 0 and 1 in each, and where both show ground."""

import dataclasses
import hashlib

import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.images import recoding, scales
from planetcd_jax.images.stretch import Stretch, own_percentiles
from planetcd_jax.ops.filters import grey
from planetcd_jax.scenes.alignment import AlignedPair

GreyDates = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Grey brightness of both dates, [h, w] float32 each, and where both are valid, [h, w] bool."""

# Samples are squares of this side, pixels, on a lattice of at most this many squares in each axis.
_SQUARE, _SQUARES = 96, 12

# Squares along each axis that tell whether one date is the other coded anew.
_CODE_SQUARES = 4


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a sparse look at both images found.

    Attributes:
        before, after: Their `Stretch`.
        shared: Share of the sampled pixels that are valid in both.
        own: Shares that are valid in the first and in the second.
        digest: SHA-256 of the sampled pixels; tells whether the images are still the same.
        squares: [N, 2] int, row and column of the sampled squares in which most pixels are valid.
        side: Side of a square, pixels.
        partly: [N, 2] int, row and column of those in which at least an eighth of the pixels is valid.
    """

    before: Stretch
    after: Stretch
    shared: float
    own: tuple[float, float]
    digest: str
    squares: np.ndarray
    side: int
    partly: np.ndarray

    def grey_dates(
        self, pair: AlignedPair, corner: tuple[int, int], side: int, shift: tuple[int, int] = (0, 0)
    ) -> GreyDates:
        """Both dates of a square of the overlap, as they are compared.

        Args:
            pair: Of these samples.
            corner: First row and column of the square.
            side: Of it, pixels.
            shift: Rows and columns by which the second date is read further on.
        """
        (row, col), (down, along) = corner, shift
        before, here = pair.read_before(row, col, side, side)
        after, there = pair.read_after(row + down, col + along, side, side)
        return grey(self.before(before)), grey(self.after(after)), here & there


def _starts(size: int, most: int = _SQUARES) -> np.ndarray:
    """First pixels of the squares along one axis: all of it where it is small, else evenly spread."""
    side = min(_SQUARE, size)
    count = min(most, -(-size // side))
    return np.unique(np.linspace(0, size - side, count).round().astype(int))


def _decoded(before: Stretch, after: Stretch, squares: list) -> tuple[Stretch, Stretch]:
    """Both stretches with the curves that undo a square-root code, from squares (before, after, valid in both)."""
    bends = []
    for band in range(len(before.low)):
        means = [[], []]
        for *dates, valid in squares:
            for into, stretch, pixels in zip(means, (before, after), dates, strict=True):
                low, high = stretch.low[band], stretch.high[band]
                values = np.clip((pixels[..., band].astype(np.float64) - low) / (high - low), 0.0, 1.0)
                into.append(scales.curve_means(values, valid))
        bends.append(scales.bends(*(np.concatenate(parts) for parts in means)))
    decoded = [
        dataclasses.replace(stretch, bend=bend) if any(bend) else stretch
        for stretch, bend in zip((before, after), zip(*bends, strict=True), strict=True)
    ]
    return decoded[0], decoded[1]


def sample(pair: AlignedPair) -> Samples:
    """Stretches of both images from squares spread over the overlap, using pixels that are valid in both.

    Raises:
        DataError: if no sampled pixel is valid in both images, or an image is constant.
    """
    side = min(_SQUARE, pair.grid.height, pair.grid.width)
    digest = hashlib.sha256()
    kept: tuple[list, list] = [], []
    squares = []
    shares, own, corners = [], [], []
    for row in _starts(pair.grid.height):
        for col in _starts(pair.grid.width):
            height, width = min(_SQUARE, pair.grid.height), min(_SQUARE, pair.grid.width)
            reads = pair.read_before(row, col, height, width), pair.read_after(row, col, height, width)
            both = reads[0][1] & reads[1][1]
            for (pixels, valid), into in zip(reads, kept, strict=True):
                digest.update(pixels.tobytes() + valid.tobytes())
                into.append(pixels[both])
            squares.append((reads[0][0], reads[1][0], both))
            shares.append(both.mean())
            own.append([valid.mean() for _, valid in reads])
            corners.append((row, col))
    before, after = (np.concatenate(part) for part in kept)
    if before.shape[0] == 0:
        raise DataError(
            f"{pair.before.name} and {pair.after.name} have no valid pixel in common where they were sampled; check "
            f"their no-data (masked in the first: {pair.before.nodata_rule}; in the second: {pair.after.nodata_rule})."
        )
    full, partly = (
        [corner for corner, share in zip(corners, shares, strict=True) if share > least] for least in (0.9, 0.125)
    )
    stretches = own_percentiles(pair.before.name, before), own_percentiles(pair.after.name, after)
    return Samples(
        *_decoded(*stretches, squares),
        float(np.mean(shares)),
        (float(np.mean(own, axis=0)[0]), float(np.mean(own, axis=0)[1])),
        digest.hexdigest(),
        np.asarray(full, int).reshape(-1, 2),
        side,
        np.asarray(partly, int).reshape(-1, 2),
    )


def in_one_code(pair: AlignedPair) -> AlignedPair:
    """The pair with its finer date in the code of the other, where one is the other coded anew; else as it is.

    Sees the pair as it is shifted.
    """
    height, width = min(_SQUARE, pair.grid.height), min(_SQUARE, pair.grid.width)
    kept: tuple[list, list] = [], []
    for row in _starts(pair.grid.height, _CODE_SQUARES):
        for col in _starts(pair.grid.width, _CODE_SQUARES):
            (before, here), (after, there) = (
                read(row, col, height, width) for read in (pair.read_before, pair.read_after)
            )
            for pixels, into in zip((before, after), kept, strict=True):
                into.append(pixels[here & there])
    before, after = (np.concatenate(part) for part in kept)
    found = recoding.of_bands(before, after)
    return pair.in_one_code(found) if found else pair
