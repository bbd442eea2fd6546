"""What one model leaves: a smooth field of local shifts over the scene, from relief, cameras and mosaics."""

import dataclasses

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.coregister.models import move
from planetcd_jax.scenes.coregister.refining import Refined, judge
from planetcd_jax.scenes.coregister.squares import Squares, measure
from planetcd_jax.scenes.grids import BentGrid, Grid

# Nodes of the field along the longer side at most, and pixels between two at least; and those of a close look.
_NODES, _APART = (13, 25), (48, 32)

# Close looks at most; and how many more of its squares must lie within a pixel for each to count, as a share.
_CLOSE_LOOKS, _GAINED = 2, 0.02

# A square counts where it correlates so well, and its shift is near its neighbours': within so many pixels of its
# step, and so many for each pixel between them. Relief that is seen from two sides slopes by less than that.
_MATCH, _NEIGHBOURS, _ALIKE, _SLOPE = 0.35, 8, 1.5, 0.03
_ROUNDS = 20

# Rounds, each in squares of so many times the model's pixels. Coarse ones see further, and would take a block that slid
# for relief: only fine ones where the model brings most of the ground together.
_ALL, _FINE, _AGREES = (4, 2, 1, 1), (2, 1), 0.6

# A field is better with this share of another's squares at this share of its residual.
_AS_MANY, _CLOSER = 0.95, 0.8

# Squares that a field needs, and how many more must agree under it, as a share of all.
_LEAST, _MORE = 12, 0.1


@dataclasses.dataclass(frozen=True)
class Bend:
    """Local shifts on a lattice of nodes, cubic between them and constant beyond.

    Attributes:
        row, col: First node, pixels of the frame.
        step: Pixels from node to node.
        by_col, by_row: [rows][cols] shifts, pixels.
    """

    row: float
    col: float
    step: float
    by_col: tuple[tuple[float, ...], ...]
    by_row: tuple[tuple[float, ...], ...]

    def __call__(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shifts in columns and rows at points of the frame; NaN where these are."""
        at = [np.asarray((rows - self.row) / self.step, float), np.asarray((cols - self.col) / self.step, float)]
        lost = ~(np.isfinite(at[0]) & np.isfinite(at[1]))
        shape = np.shape(self.by_col)
        inside = [np.clip(np.where(lost, 0.0, x), 0, n - 1) for x, n in zip(at, shape, strict=True)]
        found = [map_coordinates(np.array(by), inside, order=3, mode="nearest") for by in (self.by_col, self.by_row)]
        return np.where(lost, np.nan, found[0]), np.where(lost, np.nan, found[1])

    def largest(self) -> float:
        """Largest shift, pixels."""
        return float(np.hypot(self.by_col, self.by_row).max())


def bent(frame: Frame, bend: Bend) -> Frame:
    """The frame with a field of local shifts in it."""
    new = Frame(frame.before, frame.after)
    new.grid = BentGrid(frame.grid.height, frame.grid.width, frame.grid.transform, frame.grid.crs, bend)
    return new


def find(frame: Frame, model: Refined) -> tuple[Bend, Refined] | None:
    """A field of local shifts under which clearly more squares agree, and what they say then; None if there is none."""
    if not isinstance(frame.grid, Grid) or not model.beats_guessing:
        return None
    best, bend = model, None
    rounds = _FINE if model.share >= _AGREES else _ALL
    for step in (times * model.squares.step for times in rounds):
        now = frame if bend is None else bent(frame, bend)
        squares = measure(now, model.matrix, frame.overlap(model.matrix), step)
        field = _field(frame, model.matrix, squares, bend)
        if field is None:
            continue
        then = bent(frame, field)
        found = judge(
            model.matrix, model.kind, measure(then, model.matrix, frame.overlap(model.matrix), model.squares.step)
        )
        if _is_better(found, best):
            best, bend = found, field
    if bend is None or best.hits < model.hits + _MORE * model.squares.count:
        return None
    bend = _closer(frame, best.matrix, bend, best.squares.step)
    then = bent(frame, bend)
    squares = measure(then, best.matrix, frame.overlap(best.matrix), best.squares.step)
    return bend, judge(best.matrix, best.kind, squares)


def _closer(frame: Frame, matrix: np.ndarray, bend: Bend, step: int) -> Bend:
    """A field made better by many small squares: relief bends images over fewer pixels than the first ones see."""
    box = frame.overlap(matrix)
    squares = measure(bent(frame, bend), matrix, box, step, close=True)
    for _ in range(_CLOSE_LOOKS):
        field = _field(frame, matrix, squares, bend, close=True)
        if field is None:
            break
        then = measure(bent(frame, field), matrix, box, step, close=True)
        if _within(then) < _within(squares) + _GAINED:
            break
        bend, squares = field, then
    return bend


def _within(squares: Squares) -> float:
    """Share of squares that are shown within a pixel of their step."""
    return float((np.hypot(squares.by_col, squares.by_row) < squares.step).mean()) if squares.count else 0.0


def _is_better(found: Refined, best: Refined) -> bool:
    """Whether more squares agree, or about as many agree clearly closer."""
    closer = found.hits >= _AS_MANY * best.hits and found.residual_px < _CLOSER * best.residual_px
    return closer or (found.hits > best.hits and found.residual_px < best.residual_px / _CLOSER + 1.0)


def _field(
    frame: Frame, matrix: np.ndarray, squares: Squares, before: Bend | None, *, close: bool = False
) -> Bend | None:
    good = _steady(squares)
    if good.sum() < _LEAST:
        return None
    cols, rows = squares.cols[good], squares.rows[good]
    here = move(matrix, cols, rows)
    there = move(matrix, cols + squares.by_col[good], rows + squares.by_row[good])
    shifts = np.stack([there[0] - here[0], there[1] - here[1]], axis=-1)
    if before is not None:
        shifts += np.stack(before(*here), axis=-1)
    box = frame.overlap(matrix)
    corners = move(
        matrix,
        *(np.array(v, float) for v in ([box.col, box.col + box.width] * 2, [box.row] * 2 + [box.row + box.height] * 2)),
    )
    low, high = (np.array([f(corners[1]), f(corners[0])]) for f in (np.min, np.max))
    most, apart = (by[close] for by in (_NODES, _APART))
    step = max(apart, float((high - low).max()) / (most - 1))
    counts = np.ceil((high - low) / step).astype(int) + 1
    nodes = np.stack(np.meshgrid(*(low[k] + step * np.arange(counts[k]) for k in (0, 1)), indexing="ij"), axis=-1)
    # Smoothed: one square's error is not ground. In units of the nodes' distance, so that it suits any size.
    points = np.stack([here[1], here[0]], axis=-1)
    surface = RBFInterpolator(points / step, shifts, kernel="thin_plate_spline", smoothing=0.3)
    values = np.round(surface(nodes.reshape(-1, 2) / step).reshape(*counts, 2), 3)
    by_col, by_row = (tuple(tuple(map(float, line)) for line in values[..., k]) for k in (0, 1))
    return Bend(float(low[0]), float(low[1]), step, by_col, by_row)


def _steady(squares: Squares) -> np.ndarray:
    """[K] bool: squares that correlate, and are shown near where their neighbours are.

    Repeated until nothing changes: a block of ground that moved as a whole, unlike what surrounds it, loses its corners
    first, then what stood between them, and is left to be found as a change.
    """
    good = squares.match > _MATCH
    for _ in range(_ROUNDS):
        at, before = np.nonzero(good)[0], good.copy()
        if at.size < _LEAST:
            return good
        apart = np.hypot(squares.cols[:, None] - squares.cols[at], squares.rows[:, None] - squares.rows[at])
        apart[at, np.arange(at.size)] = np.inf  # not its own neighbour
        order = np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]
        near, away = at[order], np.median(np.take_along_axis(apart, order, axis=1), axis=1)
        off = [abs(by - np.median(by[near], axis=1)) for by in (squares.by_col, squares.by_row)]
        good &= np.maximum(*off) <= _ALIKE * squares.step + _SLOPE * away
        if (good == before).all():
            break
    return good
