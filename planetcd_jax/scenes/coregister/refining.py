"""A model refined by the shifts of small squares between the two images, from coarse to fine."""

import dataclasses

import numpy as np

from planetcd_jax.extras import brought_by
from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.coregister.models import LEAST, distances, fit, is_sensible, move
from planetcd_jax.scenes.coregister.squares import NEAR, Squares, measure, step_for

# Longest side of the overlap at the coarsest level, pixels.
_COARSEST_SIDE = 220

# Ratio of the resolutions of two levels.
_LEVEL_RATIO = 2

# Squares that a model needs beyond the fewest that determine it.
_MORE_SQUARES = {"shift": 3, "affine": 4, "homography": 8}

# Probability below which an agreement is no chance. Models are chosen to agree, from some dozens of guesses.
CHANCE_AMONG_GUESSES = 1e-7

# Share of the squares of a coarse level that must agree where they are too few for a probability.
_AGREEING_SHARE = 0.5

# Least side of an overlap that can be judged, pixels.
_LEAST_SIDE = 48


@dataclasses.dataclass(frozen=True)
class Refined:
    """A model and how well the images agree under it.

    Attributes:
        matrix: [3, 3] from pixels of the first image to pixels of the frame.
        kind: Of the model.
        squares: As measured under the model, at the finest level that told something.
        hits: Squares that agree.
        chance: Probability that so many agree by chance.
        residual_px: Median distance by which squares that agree lie off the model, pixels.
    """

    matrix: np.ndarray
    kind: str
    squares: Squares
    hits: int
    chance: float
    residual_px: float

    @property
    def beats_guessing(self) -> bool:
        """Whether the images show the same ground under the model."""
        return self.chance < CHANCE_AMONG_GUESSES

    @property
    def share(self) -> float:
        """Share of the squares that agree."""
        return self.hits / max(1, self.squares.count)


def judge(matrix: np.ndarray, kind: str, squares: Squares) -> Refined:
    """A model with what squares that were measured under it say."""
    near = squares.near()
    off = np.hypot(squares.by_col[near], squares.by_row[near])
    hits = int(near.sum())
    return Refined(matrix, kind, squares, hits, squares.chance(hits), float(np.median(off)) if hits else float("inf"))


def _agreeing(kind: str, squares: Squares, there) -> np.ndarray:
    """[K] bool: squares that one model of a kind brings together, by OpenCV's MAGSAC++."""
    with brought_by("register"):
        import cv2
    here = np.stack([squares.cols, squares.rows], axis=-1)
    target = np.stack(there, axis=-1)
    near = 1.5 * squares.step
    if kind == "shift" or squares.count < LEAST[kind] + 2:
        return squares.common()
    if kind == "affine":
        _, mask = cv2.estimateAffine2D(here, target, None, cv2.USAC_MAGSAC, near, 5000, 0.9999)
    else:
        _, mask = cv2.findHomography(here, target, cv2.USAC_MAGSAC, near, None, 5000, 0.9999)
    return np.zeros(squares.count, bool) if mask is None else mask.ravel() > 0


def improved(matrix: np.ndarray, kind: str, squares: Squares) -> np.ndarray | None:
    """The model of a kind that squares, measured under another, ask for; None if too few agree on one."""
    cols, rows = squares.cols + squares.by_col, squares.rows + squares.by_row
    there = move(matrix, cols, rows)
    good, found = _agreeing(kind, squares, there), None
    for _ in range(3):
        if good.sum() < LEAST[kind] + _MORE_SQUARES[kind]:
            return None
        here, target = (squares.cols[good], squares.rows[good]), (there[0][good], there[1][good])
        found = fit(kind, here, target)
        off = distances(found, (squares.cols, squares.rows), there)
        limit = max(0.75 * squares.step, 3.0 * float(np.median(off[good])))
        good = off < min(limit, NEAR * squares.step)
    return found


def _at_level(frame: Frame, matrix: np.ndarray, kind: str, step: int) -> tuple[np.ndarray, Refined]:
    """A model made better at one level, in two passes where the first moves it much."""
    now = judge(matrix, kind, measure(frame, matrix, frame.overlap(matrix), step))
    for _ in range(2):
        flexible = kind if kind != "homography" or now.hits >= 16 else "affine"
        better = improved(matrix, flexible, now.squares)
        if better is None or not is_sensible(better, frame.whole.height, frame.whole.width):
            break
        then = judge(better, kind, measure(frame, better, frame.overlap(better), step))
        if then.hits < now.hits or (then.hits < 1.1 * now.hits and then.residual_px > 0.6 * now.residual_px):
            break
        settled = then.residual_px > 0.8 * now.residual_px or then.residual_px < 0.1 * step
        matrix, now = better, then
        if settled:
            break
    return matrix, now


def _may_be_finer(coarse: Refined) -> bool:
    """Whether most squares agree at a level with too few of them to tell: finer squares are more."""
    squares = coarse.squares
    return squares.chance(squares.count) >= CHANCE_AMONG_GUESSES and coarse.share > _AGREEING_SHARE


def refine(frame: Frame, matrix: np.ndarray, kind: str, *, finest: int = 1) -> Refined | None:
    """A model made better level by level; None where the images share too little ground under it.

    Args:
        frame: The images.
        matrix: First guess.
        kind: One of `KINDS`: what is fitted.
        finest: Pixels to one at the last level.
    """
    best, step = None, None
    while True:
        box = frame.overlap(matrix)
        if min(box.height, box.width) < _LEAST_SIDE:
            return best
        step = step_for(box, _COARSEST_SIDE) if step is None else max(finest, step // _LEVEL_RATIO)
        matrix, now = _at_level(frame, matrix, kind, step)
        if best is None or now.beats_guessing:
            best = now
        if step <= finest or not (now.beats_guessing or _may_be_finer(now)):
            return best  # finer ground may not agree either: relief, other light, noise
