"""The candidates of a scene: peaks of its score map, each looked at in full resolution and measured."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from planetcd_jax import explain, scoremap
from planetcd_jax.config import ChangeConfig
from planetcd_jax.detection import pixel_change_map
from planetcd_jax.scenes import candidates
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import Samples
from planetcd_jax.scenes.scoring import Plan, Scene
from planetcd_jax.types import Array, Params

# A chip shows this much ground around its window, as a share of the window's side.
_SURROUNDINGS = 0.25

WHY = tuple(name for name in explain.COLUMNS if not name.startswith(("shift", "brightness")))
"""What is told of why a place was scored as it was, beside its shift and brightness, which every place has."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One place.

    Attributes:
        rank: 1 for the largest rho.
        row, col: First pixel of its peak window, in the before-image.
        rho, p_value: Score of the peak window.
        changed: Whether rho > tau.
        site: Number of the connected group of changed windows that it is in; 0 where unchanged.
        windows: Corners [K, 2] (row, column in the before-image) of the changed windows that it owns.
        shift_rows, shift_cols: Displacement of the after-image's content there, pixels; NaN where not measured.
        correlation: Correlation of the two images in the window once that shift is removed.
        brightness_difference: Mean of after less mean of before in the window, images stretched to [0, 1].
        why: Cells of a table by the names of `WHY`; empty where not explained.
    """

    rank: int
    row: int
    col: int
    rho: float
    p_value: float
    changed: bool
    site: int
    windows: np.ndarray
    shift_rows: float = float("nan")
    shift_cols: float = float("nan")
    correlation: float = float("nan")
    brightness_difference: float = float("nan")
    why: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Chip:
    """What both images show at a candidate.

    Attributes:
        before, after: [h, w] or [h, w, B] float32 in [0, 1], on the before-image's grid.
        valid_before, valid_after: [h, w] bool.
        row, col: First pixel, in the before-image.
        inner: First row and column of the window inside the chip.
        heat: None, or [h, w] float32, change of each pixel; NaN where not known.
    """

    before: np.ndarray
    after: np.ndarray
    valid_before: np.ndarray
    valid_after: np.ndarray
    row: int
    col: int
    inner: int
    heat: np.ndarray | None = None


def list_candidates(
    rho: np.ndarray, p_value: np.ndarray, tau: float, plan: Plan, pair: AlignedPair, *, at_least: int
) -> list[Candidate]:
    """All peaks above tau, and the next best below it until there are `at_least`; not yet measured."""
    peaks = candidates.find_peaks(rho, (plan.window - 1) // plan.stride)
    site = candidates.sites(rho, tau)
    count = max(int((peaks.rho > tau).sum()), min(at_least, peaks.rho.size))
    with np.errstate(invalid="ignore"):
        changed_rows, changed_cols = np.nonzero(rho > tau)
    owners = peaks.owner[changed_rows, changed_cols]
    order = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[order], np.arange(count + 1))
    corner = np.array([pair.overlap.row, pair.overlap.col])
    found = []
    for k in range(count):
        own = order[bounds[k] : bounds[k + 1]]
        windows = np.stack([changed_rows[own], changed_cols[own]], axis=-1) * plan.stride + corner
        r, c = int(peaks.rows[k]), int(peaks.cols[k])
        found.append(
            Candidate(
                rank=k + 1,
                row=r * plan.stride + pair.overlap.row,
                col=c * plan.stride + pair.overlap.col,
                rho=float(peaks.rho[k]),
                p_value=float(p_value[r, c]),
                changed=bool(peaks.rho[k] > tau),
                site=int(site[r, c]),
                windows=windows,
            )
        )
    return found


def chip_size(plan: Plan, config: ChangeConfig) -> tuple[int, int]:
    """Side of a chip, and the first row and column of the window inside it, pixels."""
    step = scoremap.grid_step(config)
    inner = int(_SURROUNDINGS * plan.window) // step * step
    return plan.window + 2 * inner, inner


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image.mean(axis=-1)


def measure(found: list[Candidate], scene: Scene, *, heats: int) -> Iterator[tuple[Candidate, Chip]]:
    """Each candidate with its measurements, and the chip that they were made on.

    Args:
        found: From `list_candidates`.
        scene: As scored.
        heats: How many candidates, from the first, get a pixel map and an explanation. The map is made after the
            residual shift is removed, where removing it brings the images closer.
    """
    pair, samples, plan, params, config = scene.pair, scene.samples, scene.plan, scene.params, scene.config
    halo = scoremap.halo(config)
    inner = chip_size(plan, config)[1]
    heat_of = jax.jit(partial(pixel_change_map, config=config))

    @jax.jit
    def why_of(params: Params, before: Array, after: Array) -> tuple[explain.Explanation, Array]:
        curve = explain.rho_by_shift(params, before, after, config, explain.SHIFTS_PX)
        return explain.explain(params, before, after, config), curve

    for candidate in found:
        measured, shift = _measure_one(candidate, pair, samples, plan)
        with_heat = candidate.rank <= heats
        edge = inner + (halo if with_heat else 0)
        top, left = candidate.row - pair.overlap.row - edge, candidate.col - pair.overlap.col - edge
        side = plan.window + 2 * edge
        before, here = pair.read_before(top, left, side, side)
        after, there = pair.read_after(top, left, side, side)
        cut = slice(edge - inner, side - (edge - inner))
        heat = None
        if with_heat:
            moved, seen = (
                (after, there) if shift == (0, 0) else pair.read_after(top + shift[0], left + shift[1], side, side)
            )
            both = here & seen
            images = [np.where(_like(both, x), x, 0.5) for x in (samples.before(before), samples.after(moved))]
            heat = np.asarray(heat_of(params, *images))
            known = np.asarray(config.score.known_evidence(config.backbone, jax.numpy.asarray(both)))
            heat = np.where(known, heat, np.nan)[cut, cut].astype(np.float32)
            window = slice(edge, edge + plan.window)
            known = here & there
            pair_there = [
                np.where(_like(known, x), x, x[known].mean(axis=0) if known.any() else 0.5)[window, window]
                for x in (samples.before(before), samples.after(after))
            ]
            explanation, curve = why_of(params, *pair_there)
            cells = explain.row(explanation, curve, candidate.changed)
            measured = dataclasses.replace(measured, why={name: cells[name] for name in WHY})
        yield (
            measured,
            Chip(
                samples.before(before)[cut, cut], samples.after(after)[cut, cut], here[cut, cut], there[cut, cut],
                candidate.row - inner, candidate.col - inner, inner, heat,
            ),
        )  # fmt: skip


def _like(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    return mask.reshape(mask.shape + (1,) * (image.ndim - 2))


def _measure_one(
    candidate: Candidate, pair: AlignedPair, samples: Samples, plan: Plan
) -> tuple[Candidate, tuple[int, int]]:
    """The candidate with shift, correlation and brightness, and the whole-pixel shift worth removing."""
    top, left = candidate.row - pair.overlap.row, candidate.col - pair.overlap.col
    before, here = pair.read_before(top, left, plan.window, plan.window)
    after, there = pair.read_after(top, left, plan.window, plan.window)
    one, two = _grey(samples.before(before)), _grey(samples.after(after))
    both = here & there
    rows, cols = candidates.residual_shift(one, two, both)
    still = candidates.correlation(one, two, both)
    shift, best = (0, 0), still
    if np.isfinite(rows) and (round(rows), round(cols)) != (0, 0):
        moved, seen = pair.read_after(top + round(rows), left + round(cols), plan.window, plan.window)
        closer = candidates.correlation(one, _grey(samples.after(moved)), here & seen)
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
        one, two, both = _grey(samples.before(before)), _grey(samples.after(after)), here & there
        rows, cols = candidates.residual_shift(one, two, both)
        if not np.isfinite(rows):
            continue
        moved, seen = pair.read_after(int(row) + round(rows), int(col) + round(cols), samples.side, samples.side)
        if candidates.correlation(one, _grey(samples.after(moved)), here & seen) > _CLOSE:
            shifts.append((rows, cols))
    if len(shifts) < 3:
        return None
    middle = np.median(np.asarray(shifts), axis=0)
    spread = float(np.median(np.hypot(*(np.asarray(shifts) - middle).T)))
    return {"rows": float(middle[0]), "cols": float(middle[1]), "squares": len(shifts), "spread": spread}


# Correlation from which two squares count as the same ground.
_CLOSE = 0.5
