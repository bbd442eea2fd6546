"""What one model leaves: a smooth field of local shifts over the scene, from relief, cameras and mosaics."""

import numpy as np
from scipy.interpolate import RBFInterpolator

from planetcd_jax.scenes.coregister import tearing
from planetcd_jax.scenes.coregister.bend import Bend, Field, bent
from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.coregister.models import move
from planetcd_jax.scenes.coregister.refining import Refined, judge
from planetcd_jax.scenes.coregister.squares import Squares, measure
from planetcd_jax.scenes.grids import Grid

# Nodes of the field along the longer side at most, and pixels between two at least; and those of a close look.
_NODES, _APART = (13, 25), (48, 32)

# Close looks at most; and how many more of its squares must lie within a pixel for each to count, as a share.
_CLOSE_LOOKS, _GAINED = 2, 0.02

# A seam counts where at most this share is left of the close squares that lie farther off.
_MISSED = 0.7

# A square counts where it correlates, and its shift is near its neighbours': within so many pixels of its
# step, and so many for each pixel between them. Relief that is seen from two sides slopes by less than that.
_NEIGHBOURS, _ALIKE, _SLOPE = 8, 1.5, 0.03
_ROUNDS = 20

# Rounds, each in squares of so many times the model's pixels. Coarse ones see further, and would take a block that slid
# for relief: only fine ones where the model brings most of the ground together.
_ALL, _FINE, _AGREES = (4, 2, 1, 1), (2, 1), 0.6

# A field is better with this share of another's squares at this share of its residual.
_AS_MANY, _CLOSER = 0.95, 0.8

# Squares that a field needs, and how many more must agree under it, as a share of all.
_LEAST, _MORE = 12, 0.1


def find(frame: Frame, model: Refined) -> tuple[Field, Refined] | None:
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
    field = _without_slides(frame, best.matrix, *_closer(frame, best.matrix, bend, best.squares.step))
    squares = measure(bent(frame, field), best.matrix, frame.overlap(best.matrix), best.squares.step)
    return field, judge(best.matrix, best.kind, squares)


def _closer(frame: Frame, matrix: np.ndarray, bend: Bend, step: int) -> tuple[Bend, Squares]:
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
    return bend, squares


def _without_slides(frame: Frame, matrix: np.ndarray, bend: Bend, squares: Squares) -> Field:
    """A field that does not follow ground that slid as a whole, and is in two parts where a seam tears the images.

    Args:
        frame, matrix: The images, and the model.
        bend: A smooth field.
        squares: Close ones, measured under it.
    """
    found = tearing.shown(matrix, squares, bend)
    if found.islands.any():
        kept = found.good
        bend = _surface(frame, matrix, found.here[kept], found.total[kept], close=True)
    side = tearing.sides(found)
    if side is None:
        return bend
    sheets = []
    for k in (0, 1):
        kept = found.good & (side != 1 - k)
        sheets.append(_surface(frame, matrix, found.here[kept], found.total[kept], close=True))
    box = frame.overlap(matrix)
    torn = tearing.joined(frame, matrix, box, found, side, tuple(sheets))
    then = measure(bent(frame, torn), matrix, box, squares.step, close=True)
    return torn if 1 - _within(then) < _MISSED * (1 - _within(squares)) else bend


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
    return _surface(frame, matrix, np.stack(here, axis=-1), shifts, close=close)


def _surface(frame: Frame, matrix: np.ndarray, here: np.ndarray, shifts: np.ndarray, *, close: bool) -> Bend:
    """A smooth field through shifts [N, 2] at points [N, 2] of the frame, columns and rows."""
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
    surface = RBFInterpolator(here[:, ::-1] / step, shifts, kernel="thin_plate_spline", smoothing=0.3)
    values = np.round(surface(nodes.reshape(-1, 2) / step).reshape(*counts, 2), 3)
    by_col, by_row = (tuple(tuple(map(float, line)) for line in values[..., k]) for k in (0, 1))
    return Bend(float(low[0]), float(low[1]), step, by_col, by_row)


def _steady(squares: Squares) -> np.ndarray:
    """[K] bool: squares that correlate, and are shown near where their neighbours are.

    Repeated until nothing changes: a block of ground that moved as a whole, unlike what surrounds it, loses its corners
    first, then what stood between them, and is left to be found as a change.
    """
    good = squares.match > tearing.MATCH
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
