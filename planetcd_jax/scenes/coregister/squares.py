"""How well two images agree over the ground that they share: small squares, each shifted to where it fits best."""

import dataclasses
from typing import cast

import numpy as np
import scipy.fft
import scipy.stats
from scipy.ndimage import gaussian_filter

from planetcd_jax.scenes.coregister.frames import Box, Frame, View

# Local contrast is what an image has left without a blur of this standard deviation, pixels.
_CONTRAST = 6.0

# The same for pairs too small for squares.
_SMALL_CONTRAST = 4.0

# Least local spread that contrast is divided by, as a share of the spread of the whole image.
_LEAST_SPREAD = 0.3

# Most squares along each axis.
_MOST_ALONG = 8

# Least and largest side of a square, pixels.
_SIDES = (24, 56)

# Largest shift that is searched, as a share of the side of a square.
_SEARCHED = 0.35

# A close comparison takes more squares, and smaller ones, which overlap by half.
_CLOSE_MOST_ALONG = 24
_CLOSE_LARGEST_SIDE = 40

# Share of a square that must be valid in both images.
_VALID_SHARE = 0.7

# Squares agree where their shifts differ by fewer pixels than this.
NEAR = 2.5

# Correlation of neighbours two pixels apart below which an image is noise.
STRUCTURE = 0.15


def local_contrast(image: np.ndarray, valid: np.ndarray, scale: float = _CONTRAST) -> np.ndarray:
    """What is left of an image [h, w] without its slow changes, over its local spread; 0 where not valid. float32."""
    weight = valid.astype(np.float32)
    total = float(weight.sum())
    if total == 0:
        return np.zeros(image.shape, np.float32)
    share = gaussian_filter(weight, scale) + 1e-3
    mean = float((image * weight).sum()) / total
    centred = (image - mean) * weight
    spread = float(np.sqrt((centred**2).sum() / total))
    if spread <= 1e-6 * (abs(mean) + 1e-30):
        return np.zeros(image.shape, np.float32)
    centred = centred / np.float32(spread)
    detail = (centred - gaussian_filter(centred, scale) / share) * weight
    power = detail**2
    floor = _LEAST_SPREAD**2 * float(power.sum()) / total + 1e-12
    return (detail / np.sqrt(gaussian_filter(power, scale) / share + floor)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Squares:
    """Squares of one image, and where the other image shows them.

    Attributes:
        cols, rows: [K] middles of the squares, pixels of the first image.
        by_col, by_row: [K] how far from there the second image shows them, pixels.
        match: [K] correlation there, -1 to 1.
        step: Pixels to one that they were looked at with.
        reach: Farthest that they were moved, in such pixels.
        structure: Correlation of neighbours in the image that has less of it; about 0 for noise.
    """

    cols: np.ndarray
    rows: np.ndarray
    by_col: np.ndarray
    by_row: np.ndarray
    match: np.ndarray
    step: int
    reach: int
    structure: float

    @property
    def count(self) -> int:
        """How many there are."""
        return self.cols.size

    @property
    def has_ground(self) -> bool:
        """Whether there are enough squares, on more than noise, to tell anything."""
        return self.count >= 6 and self.structure > STRUCTURE

    def near(self, by_col: float = 0.0, by_row: float = 0.0) -> np.ndarray:
        """[K] bool: which are shown within `NEAR` of a shift."""
        reach = NEAR * self.step
        return (abs(self.by_col - by_col) <= reach) & (abs(self.by_row - by_row) <= reach)

    def common(self) -> np.ndarray:
        """[K] bool: the most that are shown alike, whatever the shift."""
        if not self.count:
            return np.zeros(0, bool)
        alike = [self.near(col, row) for col, row in zip(self.by_col, self.by_row, strict=True)]
        return max(alike, key=lambda one: int(one.sum()))

    def chance(self, hits: int, places: float = 1.0) -> float:
        """Probability that so many squares of unlike ground are shown alike.

        Args:
            hits: How many.
            places: Number of places at which they might have been; 1: one that was fixed before.

        Returns:
            Tail of the binomial distribution, times `places`.
        """
        one = min(1.0, ((2 * NEAR + 1) / (2 * self.reach + 1)) ** 2)
        return float(min(1.0, places * scipy.stats.binom.sf(hits - 1, self.count, one)))


def measure(frame: Frame, matrix: np.ndarray, box: Box, step: int, *, close: bool = False) -> Squares:
    """Squares of the first image in a box, and where the second shows them under a model.

    Args:
        frame: The images.
        matrix: The model.
        box: Part of the first image.
        step: Pixels to one that they are looked at with.
        close: Many small squares that overlap by half. They are not independent: no chance can be told from them.
    """
    looks = frame.coarse(None, box, step), frame.coarse(matrix, box, step)
    shape = looks[0].height, looks[0].width
    side = int(np.clip(min(shape) // 6, _SIDES[0], _CLOSE_LARGEST_SIDE if close else _SIDES[1]))
    reach = max(4, int(_SEARCHED * side))
    found, corners, structure = [], [], []
    rows, cols = (_starts(size, side, close=close) for size in shape)
    wide = side + 2 * reach
    if (shape[0] + 2 * reach) * (shape[1] + 2 * reach) <= len(rows) * len(cols) * wide**2:  # read once, not by squares
        looks = [_Held(look.read(-reach, -reach, shape[0] + 2 * reach, shape[1] + 2 * reach), reach) for look in looks]
    for row in rows:
        for col in cols:
            views = [look.read(row - reach, col - reach, wide, wide) for look in looks]
            inner = slice(reach, reach + side)
            if (views[0][1] & views[1][1])[inner, inner].mean() < _VALID_SHARE:
                continue
            contrast = [local_contrast(*view) for view in views]
            if not all(one.any() for one in contrast):
                continue  # of one value: it fits everywhere alike
            found.append(_best(contrast[0][inner, inner], views[0][1][inner, inner], contrast[1], views[1][1]))
            corners.append((row, col))
            structure.append([_structure(one) for one in contrast])
    shifts = np.asarray(found, float).reshape(-1, 3)
    at = np.asarray(corners, float).reshape(-1, 2) + 0.5 * side
    least = float(np.median(structure, axis=0).min()) if structure else 0.0
    return Squares(
        box.col + step * at[:, 1], box.row + step * at[:, 0], step * shifts[:, 1], step * shifts[:, 0], shifts[:, 2],
        step, reach, least,
    )  # fmt: skip


def likeness(frame: Frame, box: Box) -> float:
    """Largest correlation of the local contrast of two images over a box, shifted by up to a third of its sides.

    For pairs too small for squares. Shifts at which fewer than a third of the pixels are shown by both do not count.
    """
    views = [frame.coarse(matrix, box, 1).all() for matrix in (None, np.eye(3))]
    (one, here), (two, there) = ((local_contrast(*view, _SMALL_CONTRAST), view[1].astype(np.float32)) for view in views)
    reach = [int(_SEARCHED * n) for n in one.shape]
    size = [scipy.fft.next_fast_len(n + r, real=True) for n, r in zip(one.shape, reach, strict=True)]
    around = np.ix_(*(np.arange(-r, r + 1) for r in reach))

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        spectra = [cast(np.ndarray, scipy.fft.rfft2(x, s=size)) for x in (a, b)]
        return cast(np.ndarray, scipy.fft.irfft2(np.conj(spectra[0]) * spectra[1], s=size))[around]

    common = product(here, there)
    energy = np.maximum(product(one**2, there), 1e-6) * np.maximum(product(here, two**2), 1e-6)
    score = np.where(common > one.size / 3, product(one, two) / np.sqrt(energy), 0.0)
    return float(score.max())


class _Held:
    """An image that was read with a margin, by windows of it."""

    def __init__(self, view: View, margin: int):
        self._view, self._margin = view, margin

    def read(self, row: int, col: int, height: int, width: int) -> View:
        """A window that lies inside, the margin counted."""
        top, left = row + self._margin, col + self._margin
        image, valid = (part[top : top + height, left : left + width] for part in self._view)
        return image, valid


def _starts(size: int, side: int, *, close: bool = False) -> list[int]:
    """First pixels of squares that do not overlap much, or by half, spread over one axis."""
    if size < side:
        return []
    count = min(2 * size // side - 1, _CLOSE_MOST_ALONG) if close else int(np.clip(size // side, 1, _MOST_ALONG))
    return np.unique(np.linspace(0, size - side, count).round().astype(int)).tolist()


def _structure(contrast: np.ndarray) -> float:
    """Correlation of local contrast with that two rows or columns on; the larger of the two."""
    power = float((contrast**2).sum())
    if power <= 0:
        return 0.0
    along, down = contrast[:, 2:] * contrast[:, :-2], contrast[2:] * contrast[:-2]
    return max(float(along.sum()), float(down.sum())) / power


def _best(square: np.ndarray, shown: np.ndarray, around: np.ndarray, valid: np.ndarray) -> tuple[float, float, float]:
    """Rows, columns and correlation of the best place of a square within what lies around it, to a part of a pixel."""
    side, wide = square.shape[0], around.shape[0]
    size = (scipy.fft.next_fast_len(wide, real=True),) * 2
    weight, known = shown.astype(np.float32), valid.astype(np.float32)
    spectra = [
        cast(np.ndarray, scipy.fft.rfft2(part, s=size))
        for part in (square, weight, square**2, around, known, around**2)
    ]
    pairs = ((0, 3), (2, 4), (1, 5), (1, 4))  # product, both energies over the common ground, and its size
    span = wide - side + 1
    sums = [
        cast(np.ndarray, scipy.fft.irfft2(np.conj(spectra[i]) * spectra[j], s=size))[:span, :span] for i, j in pairs
    ]
    product, own, other, common = sums
    energy = np.sqrt(np.maximum(own, 0.05 * own.max() + 1e-9) * np.maximum(other, 0.05 * other.max() + 1e-9))
    score = np.where(common > 0.5 * side**2, product / energy, -1.0)
    row, col = np.unravel_index(int(np.argmax(score)), score.shape)
    rest = [0.0, 0.0]
    if 0 < row < span - 1 and 0 < col < span - 1:
        rest = [_vertex(score[row - 1 : row + 2, col]), _vertex(score[row, col - 1 : col + 2])]
    return row + rest[0] - (span - 1) / 2, col + rest[1] - (span - 1) / 2, float(score[row, col])


def _vertex(three: np.ndarray) -> float:
    """Place of the largest value of the parabola through three values at -1, 0, 1."""
    bend = float(three[0] - 2 * three[1] + three[2])
    return float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5)) if bend < -1e-9 else 0.0


def step_for(box: Box, longest: int) -> int:
    """Pixels to one so that a box has at most about `longest` along its longer side."""
    return max(1, -(-box.longest // longest))


def whole_view(frame: Frame, matrix: np.ndarray | None, box: Box, longest: int) -> tuple[View, int]:
    """All of one image in a box, reduced, and by how much."""
    step = step_for(box, longest)
    return frame.coarse(matrix, box, step).all(), step
