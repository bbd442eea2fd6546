"""On which dates of a stack each place is there."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from planetcd_jax import scoremap
from planetcd_jax.config import ChangeConfig
from planetcd_jax.files.compilations import announcing
from planetcd_jax.ops import masked
from planetcd_jax.ops.projection import Projection, project
from planetcd_jax.scenes.dates import Dates
from planetcd_jax.scenes.outlines import rasterised
from planetcd_jax.scenes.place_measures import Chip
from planetcd_jax.scenes.places import Candidate
from planetcd_jax.scenes.presence import NOT_SEEN, SEEN, UNSURE, PresenceRules, bracket
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.types import Array

COLUMNS = ("dates", "seen_on", "unsure_on", "first_seen", "last_not_seen")
"""What is told of the dates of a place, in all tables."""

_BETWEEN = ";"  # two dates of a list in a cell


class Dated(NamedTuple):
    """What each date says of a place, counted as `Dates` does.

    Attributes:
        told: "seen", "not seen" or "unsure".
        chips: [h, w] or [h, w, B] float32 of each date over the ground of the place's chip, as scored.
        valid: [h, w] bool of each.
    """

    told: tuple[str, ...]
    chips: tuple[np.ndarray, ...]
    valid: tuple[np.ndarray, ...]


@functools.lru_cache(maxsize=8)  # a process that scores many scenes compiles once
def _program(config: ChangeConfig, rules: PresenceRules) -> Callable[..., Any]:
    """A compiled function of dates [K, H, W(, C)], their masks [K, H, W], and a place [H, W]: K - 2 `Projection`s.

    The first date is the one that others are compared with, the last the one that shows the change.
    """
    score = config.score

    def shares(dates: Array, valid: Array, place: Array) -> Projection:
        ground = ~masked.dilate(place, rules.around_px)
        change, seen = score.difference(dates[0], dates[-1], valid[0] & valid[-1], ground)

        def one(date: tuple[Array, Array]) -> Projection:
            difference, known = score.difference(dates[0], date[0], valid[0] & date[1], ground)
            return project(difference, change, place, known & seen, ground, least_seen=rules.least_seen)

        return jax.lax.map(one, (dates[1:-1], valid[1:-1]))

    return announcing(shares, "the dates of places")


def dater(scene: Scene) -> Callable[[Candidate, Chip], Dated]:
    """A function of a measured place and its chip: on which dates the place is there.

    Each date is registered to the first around the place, and its difference from that is projected on the change, the
    difference of the after-image, within the outline (`ops.projection`). The first before-image does not show the
    change, and the after-image does: that is what a place is.

    Raises:
        ValueError: if the scene has no further dates.
    """
    if scene.dates is None:
        raise ValueError("the scene has one before-image; give a scene with dates.")
    config, rules = scene.config, scene.dates.presence
    around = scoremap.halo(config) if scoremap.halo(config) else config.score.registering.block_px // 2
    program = _program(config, rules)

    def dated(candidate: Candidate, chip: Chip) -> Dated:
        dates, valid = _read(scene, chip, around)
        inside = slice(around, around + chip.before.shape[0])
        chips, masks = (tuple(x[inside, inside] for x in part) for part in (dates, valid))
        if candidate.change is None:
            told = [UNSURE] * (len(dates) - 2)
        else:
            corner = chip.row - around, chip.col - around
            place = rasterised(candidate.change.outline, valid[0].shape, corner)
            found = program(np.stack(dates), np.stack(valid), place)
            told = [rules.told(*one) for one in zip(*(np.asarray(x).tolist() for x in found), strict=True)]
        return Dated((NOT_SEEN, *told, SEEN), chips, masks)

    return dated


def _read(scene: Scene, chip: Chip, around: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All dates over the ground of a chip and around it, 0 and 1 as scored, and where they have data."""
    assert scene.dates is not None
    box, side = scene.pair.overlap, chip.before.shape[0] + 2 * around
    place = chip.row - box.row - around, chip.col - box.col - around, side, side
    reads = [(*scene.pair.read_before(*place), scene.samples.before)]
    reads += [(*other.pair.read_after(*place), other.samples.after) for other in scene.dates.others]
    reads += [(*scene.pair.read_after(*place), scene.samples.after)]
    dates = [np.nan_to_num(stretch(pixels).astype(np.float32)) for pixels, _, stretch in reads]
    return dates, [valid for _, valid, _ in reads]


def columns(told: Sequence[str], dates: Dates) -> dict[str, str]:
    """Cells of a table by the names of `COLUMNS`, from what each date says, counted as `Dates` does.

    Lists of dates are in order of time with ";" between them; a cell without a date is empty.
    """
    order, labels = dates.in_order, dates.labels
    inside = [labels[n] for n in order]
    found = [told[n] for n in order]
    last, first = bracket(found)
    lists = {what: _BETWEEN.join(x for x, y in zip(inside, found, strict=True) if y == what) for what in (SEEN, UNSURE)}
    return {
        "dates": _BETWEEN.join(inside),
        "seen_on": lists[SEEN],
        "unsure_on": lists[UNSURE],
        "first_seen": "" if first is None else inside[first],
        "last_not_seen": "" if last is None else inside[last],
    }


def with_dates(candidate: Candidate, told: Sequence[str], dates: Dates) -> Candidate:
    """A place that says on which dates it is there."""
    return dataclasses.replace(candidate, dated=columns(told, dates))
