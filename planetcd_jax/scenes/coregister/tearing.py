"""Local shifts that jump along a line: a seam of a mosaic, or an edge that hides the ground behind it.

A smooth field of shifts cannot follow a jump. Where there is one, two smooth fields are fitted, one for each side. At
each place the field holds under which the images correlate better. Beside the line neither is sure, so that ground is
left out.

Ground that slid jumps against its surroundings too, and must stay a change. The two cases differ in their edge.
Neighbouring squares of the image are linked where their shifts are about the same. A block that slid is linked to
nothing around it: it is an island, and no field is fitted to it. A seam reaches the border, so its two sides are linked
around its end, or each is a large part of the scene.
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

# Neighbours, in rows and columns of squares.
_NEIGHBOURS = (0, 1), (1, 0), (1, 1), (1, -1)

# Squares between which a jump is looked for: neighbours, and squares with one between them, which may lie on the line.
_ACROSS = (*_NEIGHBOURS, *((2 * row, 2 * col) for row, col in _NEIGHBOURS))


@dataclasses.dataclass(frozen=True)
class SeamRules:
    """How a seam is told from smooth ground and from ground that slid. Chosen on simulated and real pairs of images.

    Attributes:
        match: Least correlation of a square.
        alike: Largest difference of the shifts of linked neighbours from that of the neighbours around, in pixels of
            the step of the squares.
        slope: The same for each pixel between the two neighbours, pixels.
        around: Side of the block of squares whose median difference is "that of the neighbours around", squares; odd.
        linked: Least share of its neighbours that a square must be linked to. A square on the line sees both sides, has
            a shift between theirs, and would link them.
        island: Least number of linked squares that are an island and not some wrong matches.
        part, border: Share of the squares, and of the squares at the border, from which on a linked part is no island.
        pairs: Least number of pairs of neighbours that a seam separates.
        length: Least length of a seam, as a share of the shorter side of the scene.
        direction: Least share of a jump in the direction that all jumps have in common.
        agreement: Least share of the pairs whose two squares lie on different sides.
        depth: Squares on each side that are counted to that side, from the seam.
        cell_px, cells: Least side of a cell of the table of sides, pixels, and largest number of cells along its longer
            side.
        correlation_side: Longest side of the images that are correlated to find which field holds, pixels.
        correlation_blur: Standard deviation of the blur that this correlation is taken over, pixels.
        nearer_weight: Correlation that a place gains for the field of a side for each square that this side is nearer.
        margin_px: Ground beside the line that is left out, beyond half of the jump, pixels.
        least_jump: Jumps smaller than this leave no ground out, pixels.
    """

    match: float = 0.35
    alike: float = 1.5
    slope: float = 0.03
    around: int = 7
    linked: float = 0.5
    island: int = 4
    part: float = 0.15
    border: float = 0.15
    pairs: int = 8
    length: float = 0.3
    direction: float = 0.8
    agreement: float = 0.9
    depth: int = 4
    cell_px: int = 4
    cells: int = 250
    correlation_side: int = 1400
    correlation_blur: float = 5.0
    nearer_weight: float = 0.2
    margin_px: float = 6.0
    least_jump: float = 2.0


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


class Linked(NamedTuple):
    """Small squares, their shifts against the model, and which neighbours have about the same shift.

    Attributes:
        here: [K, 2] columns and rows in the frame.
        total: [K, 2] shifts against the model, pixels: those measured under a field, and that field.
        at: [K, 2] row and column of each square, counted in squares.
        good: [K] bool, squares that are linked to a large part of the scene.
        islands: [K] bool, squares that are linked to each other only.
        pairs: [P, 2] neighbours that are linked: their shifts are about the same.
        torn: [Q, 2] good squares near each other whose shifts are not.
    """

    here: np.ndarray
    total: np.ndarray
    at: np.ndarray
    good: np.ndarray
    islands: np.ndarray
    pairs: np.ndarray
    torn: np.ndarray


def link(matrix: np.ndarray, squares: Squares, bend: Bend, rules: SeamRules) -> Linked:
    """Squares that were measured under a field, linked where neighbours have about the same shift."""
    here = np.stack(move(matrix, squares.cols, squares.rows), axis=-1)
    there = move(matrix, squares.cols + squares.by_col, squares.rows + squares.by_row)
    total = np.stack(there, axis=-1) + np.stack(bend(*there), axis=-1) - here
    at = np.stack([np.unique(v, return_inverse=True)[1] for v in (squares.rows, squares.cols)], axis=-1)
    match = squares.match > rules.match
    known = np.where(match[:, None], total, np.nan)
    places = np.stack([squares.cols, squares.rows], axis=-1)

    def alike(pairs: np.ndarray) -> np.ndarray:
        apart = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
        # False where a shift is NaN.
        return _differs_from_around(at, known, pairs, rules.around) <= rules.alike * squares.step + rules.slope * apart

    pairs, size = _near(at, _NEIGHBOURS), (squares.count, squares.count)
    linked = alike(pairs)
    links, all_of = (np.bincount(some.ravel(), minlength=squares.count) for some in (pairs[linked], pairs))
    sure = match & (links > rules.linked * all_of)
    pairs = pairs[linked & sure[pairs].all(axis=1)]
    _, part = connected_components(coo_matrix((np.ones(len(pairs)), pairs.T), size), False)
    members = np.bincount(part[sure], minlength=squares.count)
    large = members >= rules.part * sure.sum()
    border = sure & ((at == at.min(axis=0)) | (at == at.max(axis=0))).any(axis=1)
    large &= np.bincount(part[border], minlength=squares.count) >= rules.border * border.sum()
    large[members.argmax()] = True
    good = sure & large[part]
    islands = sure & ~good & (members[part] >= rules.island)
    across = _near(at, _ACROSS)
    torn = across[~alike(across) & good[across].all(axis=1)]
    return Linked(here, total, at, good, islands, pairs, torn)


def _near(at: np.ndarray, steps) -> np.ndarray:
    """[P, 2] pairs of squares that lie one of `steps` (rows, columns of squares) from each other."""
    place = {tuple(one): k for k, one in enumerate(at.tolist())}
    found = [(k, place[r + i, c + j]) for (r, c), k in place.items() for i, j in steps if (r + i, c + j) in place]
    return np.array(found, int).reshape(-1, 2)


def _differs_from_around(at: np.ndarray, total: np.ndarray, pairs: np.ndarray, around: int) -> np.ndarray:
    """[P] difference of the shifts of each pair, less the median difference of the pairs in a block around, pixels.

    NaN where a shift is NaN. `around` is the side of the block, squares.
    """
    change, step = total[pairs[:, 1]] - total[pairs[:, 0]], at[pairs[:, 1]] - at[pairs[:, 0]]
    rest, reach = np.full(change.shape, np.nan), around // 2
    for way in np.unique(step, axis=0):
        these = (step == way).all(axis=1)
        first = at[pairs[these, 0]]
        table = np.full((*(at.max(axis=0) + 1 + 2 * reach), 2), np.nan)
        table[first[:, 0] + reach, first[:, 1] + reach] = change[these]
        windows = sliding_window_view(table, (around, around), axis=(0, 1))[first[:, 0], first[:, 1]]
        middle = np.ma.median(np.ma.masked_invalid(windows.reshape(len(first), 2, -1)), axis=-1)
        rest[these] = change[these] - np.ma.filled(middle, np.nan)
    return abs(rest).max(axis=1)


def find_sides(found: Linked, rules: SeamRules) -> np.ndarray | None:
    """[K] 0 and 1 for squares beside a seam, by their side; -1 for squares far from it. None if there is no seam."""
    if len(found.torn) < rules.pairs:
        return None
    jump = found.total[found.torn[:, 1]] - found.total[found.torn[:, 0]]
    along = jump @ np.linalg.svd(jump, full_matrices=False)[2][0]
    same = abs(along) >= rules.direction * np.hypot(*jump.T)  # others are bent ground, not this seam
    pairs, along = found.torn[same], along[same]
    longest = _longest(found, pairs)
    pairs, along = pairs[longest], along[longest]
    if len(pairs) < rules.pairs or not _crosses(found, np.unique(pairs), rules.length):
        return None
    vote = np.zeros(len(found.good))
    np.add.at(vote, pairs[:, 0], -along)
    np.add.at(vote, pairs[:, 1], along)
    side = np.where(vote != 0, vote > 0, -1).astype(int)
    if (side[pairs[:, 0]] != side[pairs[:, 1]]).mean() < rules.agreement:
        return None
    return _extended(found, side, rules.depth)


def _longest(found: Linked, pairs: np.ndarray) -> np.ndarray:
    """[P] bool: pairs of the largest connected group."""
    if not len(pairs):
        return np.zeros(0, bool)
    members = np.unique(pairs)
    edges = np.concatenate([pairs, found.pairs[np.isin(found.pairs, members).all(axis=1)]])
    size = (len(found.good),) * 2
    _, part = connected_components(coo_matrix((np.ones(len(edges)), edges.T), size), False)
    groups = part[pairs[:, 0]]
    return groups == np.bincount(groups).argmax()


def _crosses(found: Linked, members: np.ndarray, length: float) -> bool:
    """Whether the squares beside a seam reach far, and to the border of the ground that both images show.

    `length`: as in `SeamRules`.
    """
    at, place = found.at, found.here[members]
    least, most = at[found.good].min(axis=0), at[found.good].max(axis=0)
    on_border = (at[members] <= least + 1).any() or (at[members] >= most - 1).any()
    size = np.ptp(found.here[found.good], axis=0).min()
    return bool(on_border and np.ptp(place, axis=0).max() >= length * size)


def _extended(found: Linked, side: np.ndarray, depth: int) -> np.ndarray:
    """Sides, extended to linked neighbours `depth` times."""
    one, two = found.pairs.T
    for _ in range(depth):
        votes = np.zeros((len(side), 2), int)
        for a, b in ((one, two), (two, one)):
            known = side[a] >= 0
            np.add.at(votes, (b[known], side[a][known]), 1)
        new = (side < 0) & found.good & (votes.sum(axis=1) > 0)
        side = np.where(new, votes.argmax(axis=1), side)
    return side


def join(
    frame: Frame, matrix: np.ndarray, found: Linked, side: np.ndarray, sheets: tuple[Bend, Bend], rules: SeamRules
) -> Torn:
    """Two fields in one: at each place that under which the images correlate better.

    Args:
        frame, matrix: The images, and the model.
        found, side: From `link` and `find_sides`.
        sheets: The fields of the two sides.
        rules: The constants.
    """
    box = frame.overlap(matrix)
    look = step_for(box, rules.correlation_side)
    one, two = (_correlation(frame, matrix, box, look, bent(frame, sheet), rules.correlation_blur) for sheet in sheets)
    gain = two - one
    corners = move(
        matrix,
        np.array([box.col, box.col + box.width] * 2, float),
        np.array([box.row] * 2 + [box.row + box.height] * 2, float),
    )
    left, top, right, bottom = (float(f(v)) for f in (np.min, np.max) for v in corners)
    step = max(rules.cell_px, max(right - left, bottom - top) / rules.cells)
    cols, rows = np.meshgrid(np.arange(left, right + step, step), np.arange(top, bottom + step, step))
    own = move(np.linalg.inv(matrix), cols, rows)
    gain = map_coordinates(gain, [(own[1] - box.row) / look - 0.5, (own[0] - box.col) / look - 0.5], order=1)
    second = _second(gain, np.stack([cols, rows], axis=-1), found, side, rules.nearer_weight)
    fields = [sheet(cols, rows) for sheet in sheets]
    jump = np.hypot(fields[1][0] - fields[0][0], fields[1][1] - fields[0][1])
    away = step * (np.where(second, *(np.asarray(distance_transform_edt(part)) for part in (second, ~second))) - 0.5)
    lost = (away < 0.5 * jump + rules.margin_px) & (jump > rules.least_jump) & (second.any() and not second.all())
    marks = np.where(lost, NEITHER, np.where(second, SECOND, FIRST))
    return Torn(sheets, top, left, step, tuple("".join(line) for line in marks))


def _second(gain: np.ndarray, places: np.ndarray, found: Linked, side: np.ndarray, nearer_weight: float) -> np.ndarray:
    """Bool, where the second field holds: within one square of the seam by correlation, elsewhere by the nearer side.

    Args:
        gain: Correlation under the second field less that under the first, at `places`.
        places: [..., 2] columns and rows in the frame.
        found, side: As in `join`.
        nearer_weight: As in `SeamRules`.
    """
    to = [KDTree(found.here[side == k]).query(places)[0] for k in (0, 1)]
    spacing = np.median(np.hypot(*(found.here[found.pairs[:, 0]] - found.here[found.pairs[:, 1]]).T))
    nearer = (to[0] - to[1]) / spacing
    return np.where(abs(nearer) > 1.0, nearer, gain + nearer_weight * nearer) > 0


def _correlation(frame: Frame, matrix: np.ndarray, box: Box, step: int, shifted: Frame, blur: float) -> np.ndarray:
    """Local correlation of both images around each pixel, the second under a field; 0 where one shows nothing."""
    views = frame.coarse(None, box, step).all(), shifted.coarse(matrix, box, step).all()
    one, two = (local_contrast(*view) for view in views)
    both = (views[0][1] & views[1][1]).astype(np.float32)
    product, own, other = (gaussian_filter(x * both, blur) for x in (one * two, one**2, two**2))
    return product / np.sqrt(np.maximum(own * other, 1e-6))
