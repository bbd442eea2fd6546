"""Where local shifts jump along a line: a seam of a mosaic, or an edge that hides ground behind it.

No smooth field follows that. There two smooth fields are taken, one for each side, and which of them holds is told by
which brings the images closer. On the line itself neither does, so that ground is left out.

Ground that slid jumps against what lies round it too. It is told by its edge: small squares of the image are linked
where neighbours are shown by about the same shift. A block that slid is linked to nothing round it: an island, which no
field follows, so it stays a change. A seam begins at the border, and its two sides are linked round its end, or each is
a large part of the scene.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from planetcd_jax.scenes.coregister.bend import Bend, bent
from planetcd_jax.scenes.coregister.frames import Box, Frame
from planetcd_jax.scenes.coregister.models import move
from planetcd_jax.scenes.coregister.squares import Squares, local_contrast, step_for

MATCH = 0.35
"""Correlation from where on a square counts."""

# Neighbours are linked where their shifts change by what they change by round them, up to so many pixels of the step,
# and so many for each pixel between them; "round them" is the median over so many rows and columns of squares.
_ALIKE, _SLOPE, _ROUND = 1.5, 0.03, 7

# Share of its neighbours that a square is linked to, above which it counts: one that sees both sides of a jump is shown
# somewhere between them, and would lead from one to the other.
_SURE = 0.5

# Neighbours, in rows and columns of squares; and those that a jump is looked for between, with one in the middle.
_STEPS = (0, 1), (1, 0), (1, 1), (1, -1)
_ACROSS = (*_STEPS, *((2 * row, 2 * col) for row, col in _STEPS))

# Squares of an island from where on it is one, and not some wrong matches; and the share of all squares, and of those
# on the border, from where on a part of the scene is no island.
_ISLAND, _PART, _ON_BORDER = 4, 0.15, 0.15

# Pairs of neighbours that a seam parts, at least; how far it reaches, as a share of the shorter side of the scene; what
# share of a jump must lie in the direction of all of them; and the share of the pairs whose sides must agree.
_PAIRS, _LONG, _ONE_WAY, _AGREE = 8, 0.3, 0.8, 0.9

# How far sides are carried from a seam, in squares.
_DEEP = 4

# Pixels that one value of the sides stands for at least, and values along the longer side at most.
_FINE, _MANY = 4, 250

# Longest side of the images that the sides are found in, and the blur of their correlation, pixels.
_LOOK, _BLUR = 1400, 5.0

# Pixels beside the line that are left out, beyond half of the jump; smaller jumps than `_JUMP` leave nothing out.
_BESIDE, _JUMP = 6.0, 2.0

FIRST, SECOND, NEITHER = "01x"


@dataclasses.dataclass(frozen=True)
class Torn:
    """Local shifts that jump along a line.

    Attributes:
        sheets: The smooth fields of the two sides.
        row, col, step: First value of `sides`, pixels of the frame, and pixels from one to the next.
        sides: A line of text for each row: which field holds, or "x" where neither does.
    """

    sheets: tuple[Bend, Bend]
    row: float
    col: float
    step: float
    sides: tuple[str, ...]

    def __call__(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As of a `Bend`; NaN where no field holds."""
        side = self._side(cols, rows)
        fields = [sheet(cols, rows) for sheet in self.sheets]
        chosen = [np.where(side == SECOND, two, one) for one, two in zip(*fields, strict=True)]
        return np.where(side == NEITHER, np.nan, chosen[0]), np.where(side == NEITHER, np.nan, chosen[1])

    def _side(self, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
        table = np.array([list(line) for line in self.sides])
        at = [(np.asarray(v, float) - first) / self.step for v, first in ((rows, self.row), (cols, self.col))]
        inside = [np.clip(np.nan_to_num(x), 0, n - 1).round().astype(int) for x, n in zip(at, table.shape, strict=True)]
        return table[inside[0], inside[1]]

    def largest(self) -> float:
        """Largest shift, pixels."""
        return max(sheet.largest() for sheet in self.sheets)

    def left_out(self) -> float:
        """Share of the ground where no field holds."""
        return sum(line.count(NEITHER) for line in self.sides) / (len(self.sides) * len(self.sides[0]))


class Shown(NamedTuple):
    """Small squares and where the second image shows them, without the field that they were measured under.

    Attributes:
        here: [K, 2] columns and rows in the frame.
        total: [K, 2] shifts against the model, pixels.
        at: [K, 2] which row and column of squares each is.
        good: [K] bool, which agree with squares round them, and by these with a large part of the scene.
        islands: [K] bool, which agree with one another only.
        pairs: [P, 2] neighbours that are shown by about the same shift.
        torn: [Q, 2] good squares near each other that are not.
    """

    here: np.ndarray
    total: np.ndarray
    at: np.ndarray
    good: np.ndarray
    islands: np.ndarray
    pairs: np.ndarray
    torn: np.ndarray


def shown(matrix: np.ndarray, squares: Squares, bend: Bend) -> Shown:
    """Close squares that were measured under a field, and how they hang together."""
    here = np.stack(move(matrix, squares.cols, squares.rows), axis=-1)
    there = move(matrix, squares.cols + squares.by_col, squares.rows + squares.by_row)
    total = np.stack(there, axis=-1) + np.stack(bend(*there), axis=-1) - here
    at = np.stack([np.unique(v, return_inverse=True)[1] for v in (squares.rows, squares.cols)], axis=-1)
    match = squares.match > MATCH
    known = np.where(match[:, None], total, np.nan)
    places = np.stack([squares.cols, squares.rows], axis=-1)

    def alike(pairs: np.ndarray) -> np.ndarray:
        apart = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
        return _unlike_round(at, known, pairs) <= _ALIKE * squares.step + _SLOPE * apart  # not where one is NaN

    pairs, size = _near(at, _STEPS), (squares.count, squares.count)
    linked = alike(pairs)
    links, all_of = (np.bincount(some.ravel(), minlength=squares.count) for some in (pairs[linked], pairs))
    sure = match & (links > _SURE * all_of)
    pairs = pairs[linked & sure[pairs].all(axis=1)]
    _, part = connected_components(coo_matrix((np.ones(len(pairs)), pairs.T), size), False)
    members = np.bincount(part[sure], minlength=squares.count)
    large = members >= _PART * sure.sum()
    border = sure & ((at == at.min(axis=0)) | (at == at.max(axis=0))).any(axis=1)
    large &= np.bincount(part[border], minlength=squares.count) >= _ON_BORDER * border.sum()
    large[members.argmax()] = True
    good = sure & large[part]
    islands = sure & ~good & (members[part] >= _ISLAND)
    across = _near(at, _ACROSS)
    torn = across[~alike(across) & good[across].all(axis=1)]
    return Shown(here, total, at, good, islands, pairs, torn)


def _near(at: np.ndarray, steps) -> np.ndarray:
    """[P, 2] squares that lie so many rows and columns of squares from each other."""
    place = {tuple(one): k for k, one in enumerate(at.tolist())}
    found = [(k, place[r + i, c + j]) for (r, c), k in place.items() for i, j in steps if (r + i, c + j) in place]
    return np.array(found, int).reshape(-1, 2)


def _unlike_round(at: np.ndarray, total: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """[P] how far the change of shifts from one neighbour to the other lies off that of most pairs round them, pixels.

    NaN where a shift is.
    """
    change, step = total[pairs[:, 1]] - total[pairs[:, 0]], at[pairs[:, 1]] - at[pairs[:, 0]]
    rest, reach = np.full(change.shape, np.nan), _ROUND // 2
    for way in np.unique(step, axis=0):
        these = (step == way).all(axis=1)
        first = at[pairs[these, 0]]
        table = np.full((*(at.max(axis=0) + 1 + 2 * reach), 2), np.nan)
        table[first[:, 0] + reach, first[:, 1] + reach] = change[these]
        windows = sliding_window_view(table, (_ROUND, _ROUND), axis=(0, 1))[first[:, 0], first[:, 1]]
        middle = np.ma.median(np.ma.masked_invalid(windows.reshape(len(first), 2, -1)), axis=-1)
        rest[these] = change[these] - np.ma.filled(middle, np.nan)
    return abs(rest).max(axis=1)


def sides(found: Shown) -> np.ndarray | None:
    """[K] 0 and 1 for the two sides of a seam, as far as it matters, -1 elsewhere; None where there is no seam."""
    if len(found.torn) < _PAIRS:
        return None
    jump = found.total[found.torn[:, 1]] - found.total[found.torn[:, 0]]
    along = jump @ np.linalg.svd(jump, full_matrices=False)[2][0]
    same = abs(along) >= _ONE_WAY * np.hypot(*jump.T)  # others are bent ground, not this seam
    pairs, along = found.torn[same], along[same]
    longest = _longest(found, pairs)
    pairs, along = pairs[longest], along[longest]
    if len(pairs) < _PAIRS or not _crosses(found, np.unique(pairs)):
        return None
    vote = np.zeros(len(found.good))
    np.add.at(vote, pairs[:, 0], -along)
    np.add.at(vote, pairs[:, 1], along)
    side = np.where(vote != 0, vote > 0, -1).astype(int)
    if (side[pairs[:, 0]] != side[pairs[:, 1]]).mean() < _AGREE:
        return None
    return _carried(found, side)


def _longest(found: Shown, pairs: np.ndarray) -> np.ndarray:
    """[P] bool: pairs of the largest group that hangs together."""
    if not len(pairs):
        return np.zeros(0, bool)
    members = np.unique(pairs)
    edges = np.concatenate([pairs, found.pairs[np.isin(found.pairs, members).all(axis=1)]])
    size = (len(found.good),) * 2
    _, part = connected_components(coo_matrix((np.ones(len(edges)), edges.T), size), False)
    groups = part[pairs[:, 0]]
    return groups == np.bincount(groups).argmax()


def _crosses(found: Shown, members: np.ndarray) -> bool:
    """Whether squares that a seam parts reach far, and to the border of what both images show."""
    at, place = found.at, found.here[members]
    least, most = at[found.good].min(axis=0), at[found.good].max(axis=0)
    on_border = (at[members] <= least + 1).any() or (at[members] >= most - 1).any()
    size = np.ptp(found.here[found.good], axis=0).min()
    return bool(on_border and np.ptp(place, axis=0).max() >= _LONG * size)


def _carried(found: Shown, side: np.ndarray) -> np.ndarray:
    """Sides given on to linked neighbours, from square to square."""
    one, two = found.pairs.T
    for _ in range(_DEEP):
        votes = np.zeros((len(side), 2), int)
        for a, b in ((one, two), (two, one)):
            known = side[a] >= 0
            np.add.at(votes, (b[known], side[a][known]), 1)
        new = (side < 0) & found.good & (votes.sum(axis=1) > 0)
        side = np.where(new, votes.argmax(axis=1), side)
    return side


def joined(frame: Frame, matrix: np.ndarray, box: Box, found: Shown, side: np.ndarray, sheets: tuple) -> Torn:
    """Two fields in one: which holds where, by the correlation of both images under each."""
    look = step_for(box, _LOOK)
    gain = _agreement(frame, matrix, box, look, sheets[1]) - _agreement(frame, matrix, box, look, sheets[0])
    corners = move(
        matrix,
        np.array([box.col, box.col + box.width] * 2, float),
        np.array([box.row] * 2 + [box.row + box.height] * 2, float),
    )
    left, top, right, bottom = (float(f(v)) for f in (np.min, np.max) for v in corners)
    step = max(_FINE, max(right - left, bottom - top) / _MANY)
    cols, rows = np.meshgrid(np.arange(left, right + step, step), np.arange(top, bottom + step, step))
    own = move(np.linalg.inv(matrix), cols, rows)
    seen = map_coordinates(gain, [(own[1] - box.row) / look - 0.5, (own[0] - box.col) / look - 0.5], order=1)
    second = _second(seen, np.stack([cols, rows], axis=-1), found, side)
    fields = [sheet(cols, rows) for sheet in sheets]
    jump = np.hypot(fields[1][0] - fields[0][0], fields[1][1] - fields[0][1])
    away = step * (np.where(second, *(np.asarray(distance_transform_edt(part)) for part in (second, ~second))) - 0.5)
    lost = (away < 0.5 * jump + _BESIDE) & (jump > _JUMP) & (second.any() and not second.all())
    marks = np.where(lost, NEITHER, np.where(second, SECOND, FIRST))
    return Torn(sheets, top, left, step, tuple("".join(line) for line in marks))


def _second(gain: np.ndarray, places: np.ndarray, found: Shown, side: np.ndarray) -> np.ndarray:
    """Bool, where the second field holds: near a seam by what the images gain by it, elsewhere by the nearer side."""
    to = [KDTree(found.here[side == k]).query(places)[0] for k in (0, 1)]
    spacing = np.median(np.hypot(*(found.here[found.pairs[:, 0]] - found.here[found.pairs[:, 1]]).T))
    nearer = (to[0] - to[1]) / spacing
    return np.where(abs(nearer) > 1.0, nearer, gain + 0.2 * nearer) > 0


def _agreement(frame: Frame, matrix: np.ndarray, box: Box, look: int, sheet: Bend) -> np.ndarray:
    """Correlation of both images over some pixels round each, under a field; 0 where one is not shown."""
    views = frame.coarse(None, box, look).all(), bent(frame, sheet).coarse(matrix, box, look).all()
    one, two = (local_contrast(*view) for view in views)
    both = (views[0][1] & views[1][1]).astype(np.float32)
    product, own, other = (gaussian_filter(x * both, _BLUR) for x in (one * two, one**2, two**2))
    return product / np.sqrt(np.maximum(own * other, 1e-6))
