"""The places of a scene: one for each change, looked at in full resolution and measured."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from planetcd_jax import explain, scoremap
from planetcd_jax.config import ChangeConfig
from planetcd_jax.files.compilations import announcing
from planetcd_jax.ops.filters import grey
from planetcd_jax.scenes import candidates, kinds
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.chance import Chance
from planetcd_jax.scenes.map_frame import sun_bearings
from planetcd_jax.scenes.outlines import Change, around_peak, burnt, gathered, moved, seer
from planetcd_jax.scenes.samples import Samples
from planetcd_jax.scenes.scoring import Plan, Scene
from planetcd_jax.scores.pixel_level import PixelChange
from planetcd_jax.types import Array, Params

# A chip shows this much ground around its window, as a share of the window's side.
_SURROUNDINGS = 0.25

WHY = tuple(name for name in explain.COLUMNS if not name.startswith(("shift", "brightness")))
"""What is told of why a place was scored as it was, beside its shift and brightness, which every place has."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One place: one change on the ground, or windows above tau in which no pixel stands out.

    Attributes:
        rank: 1 for the largest rho; of those in one window the largest `size` first.
        row, col: Pixel of its centre, the peak of the evidence, in the before-image.
        window_row, window_col: First pixel of the window with the largest rho that sees it, in the before-image.
        rho, p_value: Score of that window.
        tail_p: Its p-value by the extrapolated tail of the null (`chance.Tail`); NaN where that does not reach.
        changed: Whether rho > tau.
        site: Number of the connected group of changed windows that it is in; 0 where unchanged.
        windows: Corners [K, 2] (row, column in the before-image) of the changed windows that see it.
        change: Its ground, in pixels of the before-image; None until it was looked for.
        stands_out: Whether its ground exceeds the level of chance; else the outline is drawn at half its peak.
        shift_rows, shift_cols: Displacement of the after-image's content there, pixels; NaN where not measured.
        correlation: Correlation of the two images in the window once that shift is removed.
        brightness_difference: Mean of after less mean of before in the window, images stretched to [0, 1].
        kind: What it looks like, as `kinds` tells it, such as "new dark spot"; "" where nothing is told.
        kind_sure: How sure that is, as in `kinds.Kind`; NaN where nothing is told.
        why: Cells of a table by the names of `WHY`; empty where not explained.
        dated: Cells of a table by the names of `dating.COLUMNS`; empty where there are but two dates.
    """

    rank: int
    row: int
    col: int
    window_row: int
    window_col: int
    rho: float
    p_value: float
    changed: bool
    site: int
    windows: np.ndarray
    change: Change | None = None
    stands_out: bool = False
    tail_p: float = float("nan")
    shift_rows: float = float("nan")
    shift_cols: float = float("nan")
    correlation: float = float("nan")
    brightness_difference: float = float("nan")
    kind: str = ""
    kind_sure: float = float("nan")
    why: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dated: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Chip:
    """What both images show at a candidate.

    Attributes:
        before, after: [h, w] or [h, w, B] float32 on the before-image's grid, 0 and 1 as scored; not clipped.
        valid_before, valid_after: [h, w] bool.
        row, col: First pixel, in the before-image.
        heat: None, or [h, w] float32, size of the change at each pixel; NaN where not known.
        level: What chance stays below in `heat`.
    """

    before: np.ndarray
    after: np.ndarray
    valid_before: np.ndarray
    valid_after: np.ndarray
    row: int
    col: int
    heat: np.ndarray | None = None
    level: float = float("nan")


def list_candidates(
    scored: tuple[np.ndarray, np.ndarray, float],
    changes: Sequence[Change] | None,
    plan: Plan,
    pair: AlignedPair,
    at_least: int,
    chance: Chance | None = None,
) -> tuple[list[Candidate], list[Candidate]]:
    """The places above tau, and the next best peaks below it until there are `at_least`; not yet measured.

    Above tau each change is a place. Of the windows that see none, the peaks are, where as many windows belong to one
    as see a point of the ground, and where chance alone would lift less than one so high in this scene: without a pixel
    that stands out, fewer windows or what chance does are no place. Below tau the peaks are, of the windows that see
    no place.

    Args:
        scored: rho and p-values [R, S] and tau.
        changes: From `outlines.find_changes`; None where the score does not tell them.
        plan, pair: Of the scene.
        at_least: Places to list.
        chance: What chance gives in the scene; None: not known.

    Returns:
        The places, and the peaks of windows above tau that are none.
    """
    outlined, changes = changes is not None, changes or []
    rho, _, tau = scored
    with np.errstate(invalid="ignore"):
        above = rho > tau
    sees = [candidates.windows_that_see(x.outline.bounds, rho.shape, plan.window, plan.stride) for x in changes]
    free = np.ones(rho.shape, bool)
    for part in sees:
        free[part] = False
    own = [_of_change(x, part, scored, plan) for x, part in zip(changes, sees, strict=True) if above[part].any()]
    unexplained = _of_peaks(scored, above & free, plan)
    believed = [not outlined or _is_believed(x, plan, chance) for x in unexplained]
    own += [x for x, yes in zip(unexplained, believed, strict=True) if yes]
    few = [x for x, yes in zip(unexplained, believed, strict=True) if not yes]
    own.sort(key=lambda place: (-place.rho, -(place.change.size if place.change else 0.0), place.row, place.col))
    taken = free & ~above & ~candidates.near(above, (plan.window - 1) // plan.stride)
    own += _of_peaks(scored, taken, plan)[: max(0, at_least - len(own))]
    site = candidates.sites(rho, tau)
    return _placed(own, site, plan, pair), _placed(few, site, plan, pair)


def _is_believed(peak: Candidate, plan: Plan, chance: Chance | None) -> bool:
    """Whether a peak in which no pixel stands out is a place all the same."""
    return len(peak.windows) >= seen_by(plan) and (chance is None or chance.expected_places(peak.rho) < 1)


def seen_by(plan: Plan) -> int:
    """Windows that see a point of the ground: so many at least see a change that they all score."""
    return int(plan.window / plan.stride) ** 2


def _of_change(change: Change, sees: tuple[slice, slice], scored, plan: Plan) -> Candidate:
    """A place from a change; its corners are still counted in the overlap."""
    rho, p_value, tau = scored
    part = np.where(np.isfinite(rho[sees]), rho[sees], -np.inf)
    near = candidates.windows_that_see(
        (change.col, change.row, change.col, change.row), rho.shape, plan.window, plan.stride
    )
    centred = np.zeros(rho.shape, bool)
    centred[near] = True
    # Of the windows above tau those that hold the peak come first: they are about this change and no other.
    order = np.where((part > tau) & centred[sees], part + np.nanmax(rho), part)
    r, c = (int(n) + s.start for n, s in zip(np.unravel_index(int(order.argmax()), part.shape), sees, strict=True))
    rows, cols = np.nonzero(part > tau)
    windows = np.stack([rows + sees[0].start, cols + sees[1].start], axis=-1) * plan.stride
    at = r * plan.stride, c * plan.stride
    return Candidate(
        0, change.row, change.col, *at, float(rho[r, c]), float(p_value[r, c]), True, 0, windows, change, True
    )


def _of_peaks(scored, free: np.ndarray, plan: Plan) -> list[Candidate]:
    """Places from peaks of rho among some windows, [R, S] bool, best first; corners counted in the overlap."""
    rho, p_value, tau = scored
    peaks = candidates.find_peaks(np.where(free, rho, np.nan), (plan.window - 1) // plan.stride)
    with np.errstate(invalid="ignore"):
        rows, cols = np.nonzero(free & (rho > tau))
    owners = peaks.owner[rows, cols]
    order = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[order], np.arange(peaks.rho.size + 1))
    made = []
    for k, (r, c) in enumerate(zip(peaks.rows.tolist(), peaks.cols.tolist(), strict=True)):
        own = order[bounds[k] : bounds[k + 1]]
        windows = np.stack([rows[own], cols[own]], axis=-1) * plan.stride
        top, left, half = r * plan.stride, c * plan.stride, plan.window // 2
        score = float(rho[r, c]), float(p_value[r, c]), bool(rho[r, c] > tau)
        made.append(Candidate(0, top + half, left + half, top, left, *score, 0, windows))
    return made


def _placed(found: list[Candidate], site: np.ndarray, plan: Plan, pair: AlignedPair) -> list[Candidate]:
    """The places with rank and site, everything counted in the before-image."""
    row, col = pair.overlap.row, pair.overlap.col
    return [
        dataclasses.replace(
            place,
            rank=rank,
            row=place.row + row,
            col=place.col + col,
            window_row=place.window_row + row,
            window_col=place.window_col + col,
            site=int(site[place.window_row // plan.stride, place.window_col // plan.stride]),
            windows=place.windows + np.array([row, col]),
            change=None if place.change is None else moved(place.change, row, col),
        )
        for rank, place in enumerate(found, start=1)
    ]


def with_tail_p(found: Sequence[Candidate], chance: Chance) -> list[Candidate]:
    """Places with the p-values that the tail of the null gives them."""
    tails = chance.tail_p(np.asarray([place.rho for place in found], np.float64))
    return [dataclasses.replace(place, tail_p=float(p)) for place, p in zip(found, tails, strict=True)]


def chip_size(plan: Plan, config: ChangeConfig) -> int:
    """Side of a chip, pixels."""
    step = scoremap.grid_step(config)
    return plan.window + 2 * (int(_SURROUNDINGS * plan.window) // step * step)


@functools.lru_cache(maxsize=8)  # a process that scores many scenes compiles once
def _why_program(config: ChangeConfig) -> Callable[..., Any]:
    def why(params: Params, before: Array, after: Array) -> tuple[explain.Explanation, Array]:
        curve = explain.rho_by_shift(params, before, after, config, explain.SHIFTS_PX)
        return explain.explain(params, before, after, config), curve

    return announcing(why, "explanations")


def measure(key: jax.Array, found: list[Candidate], scene: Scene, *, heats: int) -> Iterator[tuple[Candidate, Chip]]:
    """Each candidate with its measurements, and the chip that they were made on.

    Args:
        key: Key of the run.
        found: From `list_candidates`.
        scene: As scored.
        heats: How many candidates, from the first, get a pixel map and an explanation. The map is made after the
            residual shift is removed, where removing it brings the images closer. Whatever has no outline yet gets one.
    """
    pair, samples, plan = scene.pair, scene.samples, scene.plan
    config, params = scene.scorer()
    look, side, suns = seer(scene), chip_size(plan, config), sun_bearings(pair)
    why_of = _why_program(config)
    for candidate in found:
        measured, shift = _measure_one(candidate, pair, samples, plan)
        top, left = (n - side // 2 for n in (candidate.row - pair.overlap.row, candidate.col - pair.overlap.col))
        heat, level = None, float("nan")
        if candidate.rank <= heats or candidate.change is None:
            around = _surrounding(scene)
            box = top - around, left - around, side + 2 * around, side + 2 * around
            maps = look(jax.random.fold_in(key, candidate.rank), *box, shift)
            heat, level = np.where(maps.known, maps.size, np.nan).astype(np.float32), float(maps.level)
            heat = heat[around : around + side, around : around + side]
            maps = maps if config.score.outlines else gathered(maps)
            measured = _outlined(measured, maps, (box[0], box[1]), pair, plan)
        if candidate.rank <= heats:
            window = _window_pair(candidate, pair, samples, plan)
            explanation, curve = why_of(params, *window)
            cells = explain.row(explanation, curve, candidate.changed)
            measured = dataclasses.replace(measured, why={name: cells[name] for name in WHY})
        before, here = pair.read_before(top, left, side, side)
        after, there = pair.read_after(top, left, side, side)
        chip = Chip(
            samples.before.open_ended(before), samples.after.open_ended(after), here, there,
            top + pair.overlap.row, left + pair.overlap.col, heat, level,
        )  # fmt: skip
        yield _with_kind(measured, chip, suns), chip


def _with_kind(candidate: Candidate, chip: Chip, suns: tuple[float, float]) -> Candidate:
    """A candidate with what it looks like on its chip."""
    if candidate.change is None:
        return candidate
    changed = burnt(candidate.change.outline, chip.valid_before.shape, (chip.row, chip.col))
    shift = candidate.shift_rows, candidate.shift_cols
    view = kinds.View(
        grey(chip.before), grey(chip.after), chip.valid_before & chip.valid_after, changed, shift, suns
    )  # fmt: skip
    told = kinds.kind_of(view)
    return dataclasses.replace(candidate, kind=told.name, kind_sure=told.sure)


def _surrounding(scene: Scene) -> int:
    """Pixels around a chip that its map looks at."""
    score, backbone = scene.config.score, scene.config.backbone
    return scoremap.halo(scene.config) if score.outlines or backbone.stride else 0


def _window_pair(candidate: Candidate, pair: AlignedPair, samples: Samples, plan: Plan) -> list[np.ndarray]:
    """Both dates of a candidate's window; what is missing in one has the mean of the rest."""
    place = candidate.window_row - pair.overlap.row, candidate.window_col - pair.overlap.col, plan.window, plan.window
    (before, here), (after, there) = pair.read_before(*place), pair.read_after(*place)
    known = here & there
    return [
        np.where(_like(known, x), x, x[known].mean(axis=0) if known.any() else 0.5)
        for x in (samples.before(before), samples.after(after))
    ]


def _outlined(
    candidate: Candidate, maps: PixelChange, corner: tuple[int, int], pair: AlignedPair, plan: Plan
) -> Candidate:
    """A candidate without an outline, with that of what differs most in its window; others as they are."""
    if candidate.change is not None:
        return candidate
    first = candidate.window_row - pair.overlap.row, candidate.window_col - pair.overlap.col
    inside = tuple(slice(max(0, f - c), f - c + plan.window) for f, c in zip(first, corner, strict=True))
    change = around_peak(maps, (inside[0], inside[1]), *corner)
    if change is None:
        return candidate
    change = moved(change, pair.overlap.row, pair.overlap.col)
    return dataclasses.replace(candidate, row=change.row, col=change.col, change=change)


def _like(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    return mask.reshape(mask.shape + (1,) * (image.ndim - 2))


def _measure_one(
    candidate: Candidate, pair: AlignedPair, samples: Samples, plan: Plan
) -> tuple[Candidate, tuple[int, int]]:
    """The candidate with shift, correlation and brightness, and the whole-pixel shift worth removing."""
    top, left = candidate.window_row - pair.overlap.row, candidate.window_col - pair.overlap.col
    before, here = pair.read_before(top, left, plan.window, plan.window)
    after, there = pair.read_after(top, left, plan.window, plan.window)
    one, two = grey(samples.before(before)), grey(samples.after(after))
    both = here & there
    rows, cols = candidates.residual_shift(one, two, both)
    still = candidates.correlation(one, two, both)
    shift, best = (0, 0), still
    if np.isfinite(rows) and (round(rows), round(cols)) != (0, 0):
        moved, seen = pair.read_after(top + round(rows), left + round(cols), plan.window, plan.window)
        closer = candidates.correlation(one, grey(samples.after(moved)), here & seen)
        if closer > still:
            shift, best = (round(rows), round(cols)), closer
        else:  # a shift that does not bring the images closer was not one
            rows = cols = float("nan")
    difference = float(two[both].mean() - one[both].mean()) if both.any() else float("nan")
    measured = dataclasses.replace(
        candidate, shift_rows=rows, shift_cols=cols, correlation=best, brightness_difference=difference
    )
    return measured, shift


def typical_shift(pair: AlignedPair, samples: Samples) -> dict[str, Any] | None:
    """Misregistration of the scene: median over sampled squares, rows and columns, in pixels.

    Returns:
        None if it cannot be told (fewer than 3 squares whose images a shift brings close), else "rows", "cols",
        "squares" (how many it rests on) and "spread" (median distance of theirs from it).
    """
    shifts = []
    for row, col in samples.squares:
        before, here = pair.read_before(int(row), int(col), samples.side, samples.side)
        after, there = pair.read_after(int(row), int(col), samples.side, samples.side)
        one, two, both = grey(samples.before(before)), grey(samples.after(after)), here & there
        rows, cols = candidates.residual_shift(one, two, both)
        if not np.isfinite(rows):
            continue
        moved, seen = pair.read_after(int(row) + round(rows), int(col) + round(cols), samples.side, samples.side)
        if candidates.correlation(one, grey(samples.after(moved)), here & seen) > _CLOSE:
            shifts.append((rows, cols))
    if len(shifts) < 3:
        return None
    middle = np.median(np.asarray(shifts), axis=0)
    spread = float(np.median(np.hypot(*(np.asarray(shifts) - middle).T)))
    return {"rows": float(middle[0]), "cols": float(middle[1]), "squares": len(shifts), "spread": spread}


# Correlation from which two squares count as the same ground.
_CLOSE = 0.5
