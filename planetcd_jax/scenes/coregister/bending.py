"""Local shifts that one model of the whole scene leaves: relief, cameras and mosaics. They are a smooth field."""

import dataclasses

import numpy as np
from scipy.interpolate import RBFInterpolator

from planetcd_jax.scenes.coregister import tearing
from planetcd_jax.scenes.coregister.bend import Bend, Field, bent
from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.coregister.models import move
from planetcd_jax.scenes.coregister.refining import Refined, judge
from planetcd_jax.scenes.coregister.squares import Squares, measure
from planetcd_jax.scenes.grids import Grid

_ROUNDS = 20
"""Rounds after which `_consistent` stops at the latest."""


@dataclasses.dataclass(frozen=True)
class FieldRules:
    """How a smooth field of local shifts is found. Chosen on simulated and real pairs of images.

    A coarse field is fitted to the squares of the model, then a fine one to many small squares.

    Attributes:
        nodes: Largest number of nodes along the longer side: of the coarse and of the fine field.
        node_px: Least distance of two nodes, pixels, likewise.
        fine_rounds: Largest number of fits of the fine field.
        fine_gain: Least growth of the share of fine squares within a pixel for a further fit to count.
        seam_gain: A seam is taken where the share of fine squares beyond a pixel falls to less than this times that
            under one smooth field.
        match: Least correlation of a square that a field is fitted to.
        neighbours: Number of neighbours that the shift of a square is compared with.
        alike: Largest difference of a shift from the median of its neighbours', in pixels of the step of the squares.
        slope: The same for each pixel between them, pixels. The slopes of relief that two directions of view show are
            less.
        steps: Steps of the squares of each round, times that of the model. Squares of large steps find large shifts.
        agreed_steps: The same where the model alone brings `agreed` of the squares together: squares of large steps
            would take a block that slid for relief.
        agreed: See `agreed_steps`.
        as_many, closer: A field is better than another with `as_many` of its squares, as a share, if the residual is
            less than `closer` times the other's.
        least: Least number of squares that a field is fitted to.
        gain: Least growth of the share of squares that agree, against the model alone.
        smoothing: Of the thin-plate spline; one square's error is not ground.
        seams: How a seam is told.
    """

    nodes: tuple[int, int] = (13, 25)
    node_px: tuple[int, int] = (48, 32)
    fine_rounds: int = 2
    fine_gain: float = 0.02
    seam_gain: float = 0.7
    match: float = 0.35
    neighbours: int = 8
    alike: float = 1.5
    slope: float = 0.03
    steps: tuple[int, ...] = (4, 2, 1, 1)
    agreed_steps: tuple[int, ...] = (2, 1)
    agreed: float = 0.6
    as_many: float = 0.95
    closer: float = 0.8
    least: int = 12
    gain: float = 0.1
    smoothing: float = 0.3
    seams: tearing.SeamRules = tearing.SeamRules()


def find(frame: Frame, model: Refined, rules: FieldRules) -> tuple[Field, Refined] | None:
    """A field of local shifts under which clearly more squares agree, and the model judged under it; or None."""
    if not isinstance(frame.grid, Grid) or not model.beats_guessing:
        return None
    best, bend = model, None
    rounds = rules.agreed_steps if model.share >= rules.agreed else rules.steps
    for step in (times * model.squares.step for times in rounds):
        now = frame if bend is None else bent(frame, bend)
        squares = measure(now, model.matrix, frame.overlap(model.matrix), step)
        field = _field(frame, model.matrix, squares, bend, rules)
        if field is None:
            continue
        then = bent(frame, field)
        found = judge(
            model.matrix, model.kind, measure(then, model.matrix, frame.overlap(model.matrix), model.squares.step)
        )
        if _is_better(found, best, rules):
            best, bend = found, field
    if bend is None or best.hits < model.hits + rules.gain * model.squares.count:
        return None
    smooth, squares = _fine_field(frame, best.matrix, bend, best.squares.step, rules)
    field = _without_slides(frame, best.matrix, smooth, squares, rules)
    squares = measure(bent(frame, field), best.matrix, frame.overlap(best.matrix), best.squares.step)
    return field, judge(best.matrix, best.kind, squares)


def _fine_field(frame: Frame, matrix: np.ndarray, bend: Bend, step: int, rules: FieldRules) -> tuple[Bend, Squares]:
    """A field fitted to many small squares, and these: shifts by relief vary within the first, larger squares."""
    box = frame.overlap(matrix)
    squares = measure(bent(frame, bend), matrix, box, step, close=True)
    for _ in range(rules.fine_rounds):
        field = _field(frame, matrix, squares, bend, rules, close=True)
        if field is None:
            break
        then = measure(bent(frame, field), matrix, box, step, close=True)
        if _within(then) < _within(squares) + rules.fine_gain:
            break
        bend, squares = field, then
    return bend, squares


def _without_slides(frame: Frame, matrix: np.ndarray, bend: Bend, squares: Squares, rules: FieldRules) -> Field:
    """A field that does not follow ground that slid as a whole, and has two parts where there is a seam.

    Args:
        frame, matrix: The images, and the model.
        bend: A smooth field.
        squares: Small ones, measured under it.
        rules: The constants.
    """
    found = tearing.link(matrix, squares, bend, rules.seams)
    if found.islands.any():
        kept = found.good
        bend = _surface(frame, matrix, found.here[kept], found.total[kept], rules, close=True)
    side = tearing.find_sides(found, rules.seams)
    if side is None:
        return bend
    first, second = (found.good & (side != other) for other in (1, 0))
    sheets = (
        _surface(frame, matrix, found.here[first], found.total[first], rules, close=True),
        _surface(frame, matrix, found.here[second], found.total[second], rules, close=True),
    )
    torn = tearing.join(frame, matrix, found, side, sheets, rules.seams)
    then = measure(bent(frame, torn), matrix, frame.overlap(matrix), squares.step, close=True)
    return torn if 1 - _within(then) < rules.seam_gain * (1 - _within(squares)) else bend


def _within(squares: Squares) -> float:
    """Share of the squares whose shift is less than a pixel of their step."""
    return float((np.hypot(squares.by_col, squares.by_row) < squares.step).mean()) if squares.count else 0.0


def _is_better(found: Refined, best: Refined, rules: FieldRules) -> bool:
    """Whether more squares agree, or about as many with a clearly smaller residual."""
    closer = found.hits >= rules.as_many * best.hits and found.residual_px < rules.closer * best.residual_px
    return closer or (found.hits > best.hits and found.residual_px < best.residual_px / rules.closer + 1.0)


def _field(
    frame: Frame, matrix: np.ndarray, squares: Squares, before: Bend | None, rules: FieldRules, *, close: bool = False
) -> Bend | None:
    good = _consistent(squares, rules)
    if good.sum() < rules.least:
        return None
    cols, rows = squares.cols[good], squares.rows[good]
    here = move(matrix, cols, rows)
    there = move(matrix, cols + squares.by_col[good], rows + squares.by_row[good])
    shifts = np.stack([there[0] - here[0], there[1] - here[1]], axis=-1)
    if before is not None:
        shifts += np.stack(before(*here), axis=-1)
    return _surface(frame, matrix, np.stack(here, axis=-1), shifts, rules, close=close)


def _surface(
    frame: Frame, matrix: np.ndarray, here: np.ndarray, shifts: np.ndarray, rules: FieldRules, *, close: bool
) -> Bend:
    """A smooth field through shifts [N, 2] at points [N, 2] of the frame, columns and rows."""
    box = frame.overlap(matrix)
    corners = move(
        matrix,
        *(np.array(v, float) for v in ([box.col, box.col + box.width] * 2, [box.row] * 2 + [box.row + box.height] * 2)),
    )
    low, high = (np.array([f(corners[1]), f(corners[0])]) for f in (np.min, np.max))
    most, apart = (by[close] for by in (rules.nodes, rules.node_px))
    step = max(apart, float((high - low).max()) / (most - 1))
    counts = np.ceil((high - low) / step).astype(int) + 1
    nodes = np.stack(np.meshgrid(*(low[k] + step * np.arange(counts[k]) for k in (0, 1)), indexing="ij"), axis=-1)
    # In units of the distance of the nodes, so that one smoothing suits any size.
    surface = RBFInterpolator(here[:, ::-1] / step, shifts, kernel="thin_plate_spline", smoothing=rules.smoothing)
    values = np.round(surface(nodes.reshape(-1, 2) / step).reshape(*counts, 2), 3)
    by_col, by_row = (tuple(tuple(map(float, line)) for line in values[..., k]) for k in (0, 1))
    return Bend(float(low[0]), float(low[1]), step, by_col, by_row)


def _consistent(squares: Squares, rules: FieldRules) -> np.ndarray:
    """[K] bool: squares that correlate, and whose shift is near that of their neighbours.

    Repeated until nothing changes. So a block that moved as a whole against its surroundings loses its corners first,
    then the rest, and stays a change.
    """
    good = squares.match > rules.match
    for _ in range(_ROUNDS):
        at, before = np.nonzero(good)[0], good.copy()
        if at.size < rules.least:
            return good
        apart = np.hypot(squares.cols[:, None] - squares.cols[at], squares.rows[:, None] - squares.rows[at])
        apart[at, np.arange(at.size)] = np.inf  # not its own neighbour
        order = np.argsort(apart, axis=1, kind="stable")[:, : rules.neighbours]
        near, away = at[order], np.median(np.take_along_axis(apart, order, axis=1), axis=1)
        off = [abs(by - np.median(by[near], axis=1)) for by in (squares.by_col, squares.by_row)]
        good &= np.maximum(*off) <= rules.alike * squares.step + rules.slope * away
        if (good == before).all():
            break
    return good
