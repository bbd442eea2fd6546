"""Whether the second image must be registered to the first, how, and whether both show the same ground at all."""

import dataclasses
from typing import Any

import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.images.layout import check_display
from planetcd_jax.scenes.alignment import Correction, on_affine_grid
from planetcd_jax.scenes.coregister import bending, keypoints, tie_points, turning
from planetcd_jax.scenes.coregister.bend import Field
from planetcd_jax.scenes.coregister.frames import Box, Frame
from planetcd_jax.scenes.coregister.models import KINDS, distances, fit, move
from planetcd_jax.scenes.coregister.refining import Refined, judge, refine
from planetcd_jax.scenes.coregister.squares import NEAR, STRUCTURE, Squares, likeness, measure, step_for
from planetcd_jax.scenes.source import Source

WAYS = ("auto", "none", "shift", "affine", "homography", "file")
"""Values of `--register`."""

# Longest sides of the overlap, pixels, at which a pair is compared as it lies, in turn; None is full resolution.
_COMPARED_SIDES = (None, 900, 300)

# Probability below which agreement as the images lie is no chance. One place in each direction is looked for.
_CHANCE_AS_THEY_LIE = 1e-4

# A pair is not refused where its agreement has a smaller probability by chance than this.
_REFUSED_FROM = 0.01

# Least number of squares that a refusal needs.
_REFUSING_SQUARES = 20

# Least correlation of a small pair that shows the same ground. 57 real pairs of 48 to 112 px had 0.32 and more,
# simulated ground whose sun turned by 90 degrees 0.1.
_SAME_GROUND = 0.3

# Largest correlation of crops of different ground, for the message.
_OTHER_GROUND = 0.28

# A pair is left as it lies where its whole shift and its local shifts are no larger than these, pixels: the scores and
# `--after_shift` undo them without another resampling.
_MOST_WHOLE_SHIFT = 20.0
_MOST_LOCAL_SHIFT = 2.5

# A model with fewer parameters is taken where its residual is at most this factor times the other's, plus this many
# pixels.
_RESIDUAL_FACTOR, _RESIDUAL_MARGIN = 1.1, 0.15

# Parameters of each model. A fit makes residuals smaller, the more parameters it has; this is corrected for.
_PARAMETERS = {"shift": 2, "affine": 6, "homography": 8}

# Share of squares that agree, from which on no further guess is tried.
_ENOUGH_AGREE = 0.3


@dataclasses.dataclass(frozen=True)
class Registration:
    """How the second image was registered to the first.

    Attributes:
        asked: Value of `--register`.
        how: What was done, in words.
        kind: "shift", "affine", "homography", or None where the images were left as they lie.
        matrix: Rows of the [3, 3] matrix, from pixels (column, row) of the first image to those of its grid at which
            the second shows the same ground; None where they were left.
        residual_px: Median distance by which squares that agree lie off; None where none was measured.
        inliers, squares: Squares of the first image that the second shows where it should, of how many.
        before, after: Share of the squares that agree before and after registration.
        chance: Probability of that by chance; None where it was not measured.
        bend: Local shifts beside the model (see `bending`), where more squares agree under them; else None.
    """

    asked: str
    how: str
    kind: str | None = None
    matrix: tuple[tuple[float, ...], ...] | None = None
    residual_px: float | None = None
    inliers: int = 0
    squares: int = 0
    before: float | None = None
    after: float | None = None
    chance: float | None = None
    bend: Field | None = None

    @property
    def correction(self) -> Correction | None:
        """What `AlignedPair` takes."""
        return None if self.matrix is None else Correction(np.array(self.matrix), self.bend)

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return dataclasses.asdict(self)

    def said(self) -> str:
        """In words."""
        if self.residual_px is None:
            return self.how
        kind = "" if self.kind is None else f"{self.kind}, "
        agree = f"{self.inliers}/{self.squares} squares agree"
        was = "" if self.kind is None or self.before is None else f" ({100 * self.before:.0f} % as the images lay)"
        local = "" if self.bend is None else f", and local shifts of up to {self.bend.largest():.1f} px"
        lost = 0.0 if self.bend is None else self.bend.left_out()
        torn = f", torn along a line ({100 * lost:.2g} % of the ground is left out beside it)" if lost else ""
        return f"{self.how}: {kind}{agree}{was}, residual {self.residual_px:.2g} px{local}{torn}"


def register(
    before: Source, after: Source, *, way: str = "auto", gcps: str | None = None, resampling: str = "cubic"
) -> Registration:
    """How the second image is to be registered to the first.

    Args:
        before, after: The images.
        way: One of `WAYS`.
        gcps: File of tie points, for "file".
        resampling: How a first image that control points place is brought to an affine grid.

    Returns:
        The `Registration`.

    Raises:
        DataError: if the two do not show the same ground; if the file of tie points cannot be used.
        MissingExtraError: if they must be registered and OpenCV is not installed.
    """
    if way == "none":
        return Registration(way, "left as the images lie, unchecked, as asked")
    check_display((before.name, after.name), (before.display, after.display))
    frame = Frame(on_affine_grid(before, after, resampling), after)
    lies = _as_they_lie(frame)
    if way == "file":
        assert gcps is not None
        return _from_file(frame, gcps, lies)
    kinds = KINDS if way == "auto" else (way,)
    if way == "auto" and _may_stay(frame, lies):
        return _left(frame, way, lies)
    may_be_left = way == "auto" and _one_size(frame) and not lies.tells
    found = None if may_be_left and not lies.squares.has_ground else _search(frame, kinds, lies)
    if found is None and may_be_left:
        why = f"too few or too plain pixels in common to tell how they lie{_same_ground(frame, lies)}"
        return Registration(way, f"left as the images lie: {why}", squares=lies.squares.count)
    if found is None:
        return _nothing_found(frame, way, lies)
    local = bending.find(frame, found, bending.FieldRules())
    if local is None:
        return _registration(way, "registered", found, lies)
    return dataclasses.replace(_registration(way, "registered", local[1], lies), bend=local[0])


@dataclasses.dataclass(frozen=True)
class _Lie:
    """Squares of a pair as it lies, which of them are shown alike, and how likely chance makes so many alike."""

    squares: Squares
    alike: np.ndarray
    chance: float

    @property
    def agrees(self) -> bool:
        """Whether the two show the same ground."""
        return self.chance < _CHANCE_AS_THEY_LIE

    @property
    def tells(self) -> bool:
        """Whether there are squares enough, on more than noise, for all of them to agree by no chance."""
        return self.squares.has_ground and self.squares.count >= _REFUSING_SQUARES

    @property
    def share(self) -> float:
        """Share of the squares that agree where they lie."""
        return float(self.squares.near().mean()) if self.squares.count else 0.0


def _as_they_lie(frame: Frame) -> _Lie:
    """The finest look at a pair as it lies that tells that it shows the same ground, or the finest of all."""
    box, same = frame.overlap(np.eye(3)), np.eye(3)
    looks: dict[int, _Lie] = {}
    for longest in _COMPARED_SIDES:
        step = 1 if longest is None else step_for(box, longest)
        if step in looks or min(box.height, box.width) < 24:
            continue
        squares = measure(frame, same, box, step)
        alike = squares.common()
        places = ((2 * squares.reach + 1) / (2 * NEAR + 1)) ** 2
        looks[step] = _Lie(squares, alike, squares.chance(int(alike.sum()), places))
        if looks[step].agrees:
            return looks[step]
    empty = np.zeros(0)
    none = _Lie(Squares(empty, empty, empty, empty, empty, 1, 1, 0.0), np.zeros(0, bool), 1.0)
    return next(iter(looks.values()), none)


def _one_size(frame: Frame) -> bool:
    """Whether a pair may be compared as it lies: by systems, or pixel by pixel."""
    sizes = [(grid.height, grid.width) for grid in (frame.grid, frame.after_grid)]
    return frame.geographic or sizes[0] == sizes[1]


def _may_stay(frame: Frame, lies: _Lie) -> bool:
    """Whether a pair lies well enough for the scores, and no part of it moves against the rest."""
    squares = lies.squares
    if not (lies.agrees and squares.step == 1 and _one_size(frame)):
        return False
    good, matrix = lies.alike, np.eye(3)
    here, there = (squares.cols, squares.rows), (squares.cols + squares.by_col, squares.rows + squares.by_row)
    for _ in range(5):
        if good.sum() < 6:
            break
        matrix = fit("affine", (here[0][good], here[1][good]), (there[0][good], there[1][good]))
        good = distances(matrix, here, there) < NEAR
    moved = np.subtract(move(matrix, *here), here)
    whole = np.median(moved, axis=1)
    bent = np.hypot(*(moved - whole[:, None])).max()
    return bool(bent <= _MOST_LOCAL_SHIFT and np.abs(whole).max() <= _MOST_WHOLE_SHIFT)


def _left(frame: Frame, way: str, lies: _Lie) -> Registration:
    squares = lies.squares
    col, row = (float(np.median(by[lies.alike])) for by in (squares.by_col, squares.by_row))
    off = float(np.median(np.hypot(squares.by_col[lies.alike] - col, squares.by_row[lies.alike] - row)))
    hits, share = int(lies.alike.sum()), float(lies.alike.mean())
    chance = squares.chance(hits)
    return Registration(
        way, "left as the images lie, which agree", None, None, off, hits, squares.count, share, share, chance
    )


def _search(frame: Frame, kinds: tuple[str, ...], lies: _Lie) -> Refined | None:
    """The best model under which the two show the same ground; None if there is none."""
    flexible = kinds[-1]
    found: list[Refined] = []
    for guesses in _guesses(frame, flexible, lies):
        for matrix in guesses():
            one = refine(frame, matrix, flexible)
            if one is not None and one.beats_guessing:
                found.append(one)
                if one.share >= _ENOUGH_AGREE:
                    return _simplest(frame, kinds, one)
        if found:
            break
    return _simplest(frame, kinds, max(found, key=lambda one: (one.hits, one.share))) if found else None


def _guesses(frame: Frame, kind: str, lies: _Lie):
    """Sources of first models, cheap ones first: as the pair lies, features, correlation over turns and scales."""
    if lies.agrees:
        shift = [float(np.median(by[lies.alike])) for by in (lies.squares.by_col, lies.squares.by_row)]
        yield lambda: [np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]])]
    for size in keypoints.sizes(frame):
        yield lambda size=size: [_as_kind(frame, kind, matrix) for matrix in keypoints.guesses(frame, size)]
    yield lambda: turning.guesses(frame, turns=kind != "shift")


def _as_kind(frame: Frame, kind: str, matrix: np.ndarray) -> np.ndarray:
    """A guess, or the shift that it comes to in the middle of the image."""
    if kind != "shift":
        return matrix
    middle = np.array([frame.whole.width / 2]), np.array([frame.whole.height / 2])
    return fit("shift", middle, move(matrix, *middle))


def _simplest(frame: Frame, kinds: tuple[str, ...], best: Refined) -> Refined:
    """The stiffest model that brings the squares together about as well as the best one."""
    squares = best.squares
    good = squares.near()
    here = squares.cols[good], squares.rows[good]
    there = move(best.matrix, here[0] + squares.by_col[good], here[1] + squares.by_row[good])

    def spread(matrix: np.ndarray, kind: str) -> float:
        return (
            float(np.median(distances(matrix, here, there))) / max(0.1, 1 - _PARAMETERS[kind] / (2 * good.sum())) ** 0.5
        )

    limit = _RESIDUAL_FACTOR * spread(best.matrix, best.kind) + _RESIDUAL_MARGIN
    for kind in kinds[: kinds.index(best.kind)]:
        matrix = fit(kind, here, there)
        if spread(matrix, kind) <= limit:
            found = judge(matrix, kind, measure(frame, matrix, frame.overlap(matrix), squares.step))
            if found.hits >= 0.9 * best.hits:
                return _whole(frame, found)
    return _whole(frame, best)


def _whole(frame: Frame, found: Refined) -> Refined:
    """A shift in whole pixels, which needs no resampling of its own; other models as they are."""
    if found.kind != "shift":
        return found
    matrix = np.round(found.matrix)
    return judge(matrix, "shift", measure(frame, matrix, frame.overlap(matrix), found.squares.step))


def _registration(way: str, how: str, found: Refined, lies: _Lie) -> Registration:
    rounded = tuple(tuple(float(f"{value:.12g}") for value in row) for row in found.matrix)
    return Registration(
        way, how, found.kind, rounded, found.residual_px if found.hits else None, found.hits, found.squares.count,
        lies.share, found.share, found.chance,
    )  # fmt: skip


def _same_ground(frame: Frame, lies: _Lie) -> str:
    """What can be told of a pair too small to be refused, for its message; nothing where it shows no ground."""
    box = frame.overlap(np.eye(3))
    if min(box.height, box.width) < 24 or (lies.squares.count and not lies.squares.structure > STRUCTURE):
        return ""
    found = likeness(frame, box)
    if found >= _SAME_GROUND:
        return f"; both show the same ground (they correlate by {found:.2f})"
    return (
        f"; whether both show the same ground cannot be told (they correlate by {found:.2f}, and other places, or one "
        f"whose sun turned by 90 degrees, by up to {_OTHER_GROUND:g}): check the pair"
    )


def _nothing_found(frame: Frame, way: str, lies: _Lie) -> Registration:
    """What follows where no model brings the two together.

    Where more squares agree as they lie than chance explains, the ground is one, though too little of it agrees.
    """
    names = frame.before.name, frame.after.name
    if way == "auto" and _one_size(frame) and lies.chance < _REFUSED_FROM:
        how = "left as the images lie, which agree in part"
        return Registration(way, how, squares=lies.squares.count, before=lies.share, after=lies.share)
    if way in KINDS and lies.agrees:
        raise DataError(
            f"{names[0]} and {names[1]} show the same ground, but no {way} of --register={way} brings them together; "
            "give --register=auto."
        )
    raise DataError(
        f"{names[0]} and {names[1]} do not show the same ground: {int(lies.squares.near().sum())} of "
        f"{lies.squares.count} squares agree as they lie, and no shift, turn or scale brings them together; check the "
        "pair, give tie points (--register=file --gcps=...), or insist with --register=none."
    )


def _from_file(frame: Frame, path: str, lies: _Lie) -> Registration:
    given = tie_points.model(path, frame)
    box = frame.overlap(given.matrix)
    if min(box.height, box.width) < 1:
        raise DataError(
            f"{path}: under its {given.points} tie points {frame.before.name} and {frame.after.name} do not overlap; "
            "check which image each column belongs to."
        )
    found = judge(given.matrix, given.kind, measure(frame, given.matrix, box, _step_of(box)))
    doubt = "" if found.beats_guessing or not found.squares.has_ground else ", under which the images do not agree"
    left_out = f" ({given.said})" if given.said else ""
    how = f"registered by {given.points} tie points (off by {round(given.off, 3):.2g} px){left_out}{doubt}"
    return _registration("file", how, found, lies)


def _step_of(box: Box) -> int:
    return step_for(box, 900)
