"""The places of a scene: one for each change, and for each peak of windows that chance does not explain."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planetcd_jax import explain
from planetcd_jax.scenes import candidates
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.chance import Chance
from planetcd_jax.scenes.outlines import Change, moved
from planetcd_jax.scenes.scoring import Plan

# Brightness is compared with that of its surroundings (`BrightnessDetail.coarse_px`), so windows this near to changed
# ground, pixels, see a change too.
_REACH = 28

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


def list_candidates(
    scored: tuple[np.ndarray, np.ndarray, float],
    changes: Sequence[Change] | None,
    plan: Plan,
    pair: AlignedPair,
    at_least: int,
    chance: Chance | None = None,
) -> tuple[list[Candidate], list[Candidate]]:
    """The places above tau, and the next best peaks below it until there are `at_least`; not yet measured.

    Above tau, each change that stands out in the scene (`Chance.stands_out`) is a place. A peak of the windows that
    overlap no such change is a place too, if it lies away from the changes, if at least as many windows belong to it
    as overlap one point of the ground, and if at most `Chance.pixels.rate` tiles with so high a score are expected by
    chance. Below tau, the peaks of the windows that overlap no place are listed.

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
    seen = [candidates.windows_that_see(x.outline.bounds, rho.shape, plan.window, plan.stride) for x in changes]
    stand_out = [_stands_out(x, rho[part], chance) for x, part in zip(changes, seen, strict=True)]
    changes, sees = list(itertools.compress(changes, stand_out)), list(itertools.compress(seen, stand_out))
    free, away = np.ones(rho.shape, bool), np.ones(rho.shape, bool)
    for part, change in zip(sees, changes, strict=True):
        free[part] = False
        around = change.outline.buffer(_REACH).bounds
        away[candidates.windows_that_see(around, rho.shape, plan.window, plan.stride)] = False
    own = [_of_change(x, part, scored, plan) for x, part in zip(changes, sees, strict=True) if above[part].any()]
    unexplained = _of_peaks(scored, above & free, plan)
    believed = [not outlined or (away[_window(x, plan)] and _is_believed(x, plan, chance)) for x in unexplained]
    own += [x for x, yes in zip(unexplained, believed, strict=True) if yes]
    few = [x for x, yes in zip(unexplained, believed, strict=True) if not yes]
    own.sort(key=lambda place: (-place.rho, -(place.change.size if place.change else 0.0), place.row, place.col))
    taken = free & ~above & ~candidates.near(above, (plan.window - 1) // plan.stride)
    own += _of_peaks(scored, taken, plan)[: max(0, at_least - len(own))]
    site = candidates.sites(rho, tau)
    return _placed(own, site, plan, pair), _placed(few, site, plan, pair)


def _stands_out(change: Change, seen: np.ndarray, chance: Chance | None) -> bool:
    """Whether changed ground is a place; `seen` is rho of the windows that see it."""
    highest = float(np.nanmax(seen)) if np.isfinite(seen).any() else -np.inf
    return chance is None or chance.stands_out(change.size, change.level, highest)


def _is_believed(peak: Candidate, plan: Plan, chance: Chance | None) -> bool:
    """Whether a peak in which no pixel stands out is a place all the same."""
    if len(peak.windows) < seen_by(plan):
        return False
    return chance is None or chance.expected_tiles(peak.rho) <= chance.pixels.rate


def _window(place: Candidate, plan: Plan) -> tuple[int, int]:
    """Row and column, on the map, of a window counted in the overlap."""
    return place.window_row // plan.stride, place.window_col // plan.stride


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
            site=int(site[_window(place, plan)]),
            windows=place.windows + np.array([row, col]),
            change=None if place.change is None else moved(place.change, row, col),
        )
        for rank, place in enumerate(found, start=1)
    ]


def with_tail_p(found: Sequence[Candidate], chance: Chance) -> list[Candidate]:
    """Places with the p-values that the tail of the null gives them."""
    tails = chance.tail_p(np.asarray([place.rho for place in found], np.float64))
    return [dataclasses.replace(place, tail_p=float(p)) for place, p in zip(found, tails, strict=True)]
