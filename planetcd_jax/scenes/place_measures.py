"""A place in full resolution: its chip and pixel map, its outline, shift and kind, and why it was scored so."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from planetcd_jax import explain, scoremap
from planetcd_jax.config import ChangeConfig
from planetcd_jax.files.compilations import announcing
from planetcd_jax.ops.filters import grey
from planetcd_jax.scenes import kinds
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.map_frame import sun_bearings
from planetcd_jax.scenes.misregistration import undone
from planetcd_jax.scenes.outlines import around_peak, averaged_around, change_finder, moved, rasterised
from planetcd_jax.scenes.places import WHY, Candidate
from planetcd_jax.scenes.samples import Samples
from planetcd_jax.scenes.scoring import Plan, Scene
from planetcd_jax.scores.pixel_level import PixelChange
from planetcd_jax.types import Array, Params

# A chip shows this much ground around its window, as a share of the window's side.
_SURROUNDINGS = 0.25


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


def chip_size(plan: Plan, config: ChangeConfig) -> int:
    """Side of a chip, pixels."""
    step = scoremap.grid_step(config)
    return plan.window + 2 * (int(_SURROUNDINGS * plan.window) // step * step)


@functools.lru_cache(maxsize=8)  # a process that scores many scenes compiles once
def _why_program(config: ChangeConfig) -> Callable[..., Any]:
    def why(params: Params, before: Array, after: Array) -> tuple[explain.Explanation, Array]:
        return explain.why(params, before, after, config)

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
    look, side, suns = change_finder(scene), chip_size(plan, config), sun_bearings(pair)
    why_of = _why_program(config)
    for candidate in found:
        measured, shift = _measure_one(candidate, scene)
        top, left = (n - side // 2 for n in (candidate.row - pair.overlap.row, candidate.col - pair.overlap.col))
        heat, level = None, float("nan")
        if candidate.rank <= heats or candidate.change is None:
            around = _surrounding(scene)
            box = top - around, left - around, side + 2 * around, side + 2 * around
            maps = look(jax.random.fold_in(key, candidate.rank), *box, shift)
            heat, level = np.where(maps.known, maps.size, np.nan).astype(np.float32), float(maps.level)
            heat = heat[around : around + side, around : around + side]
            maps = maps if config.score.outlines else averaged_around(maps)
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
    changed = rasterised(candidate.change.outline, chip.valid_before.shape, (chip.row, chip.col))
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
        np.where(known if x.ndim == 2 else known[..., None], x, x[known].mean(axis=0) if known.any() else 0.5)
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


def _measure_one(candidate: Candidate, scene: Scene) -> tuple[Candidate, tuple[int, int]]:
    """The candidate with shift, correlation and brightness, and the whole-pixel shift worth removing."""
    pair, samples, side = scene.pair, scene.samples, scene.plan.window
    corner = candidate.window_row - pair.overlap.row, candidate.window_col - pair.overlap.col
    one, two, both = samples.grey_dates(pair, corner, side)
    found = undone((one, two, both), lambda *shift: samples.grey_dates(pair, corner, side, shift))
    difference = float(two[both].mean() - one[both].mean()) if both.any() else float("nan")
    measured = dataclasses.replace(
        candidate, shift_rows=found.rows, shift_cols=found.cols, correlation=found.correlation,
        brightness_difference=difference,
    )  # fmt: skip
    return measured, found.whole
