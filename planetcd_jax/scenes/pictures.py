"""What the page of a scene shows: pictures of places, of their dates, and of the whole scene."""

from typing import Any

import numpy as np

from planetcd_jax.report import page, page_images
from planetcd_jax.scenes import (
    dating,
    overview,
)
from planetcd_jax.scenes.place_measures import Chip
from planetcd_jax.scenes.places import Candidate
from planetcd_jax.scenes.scored import Scored
from planetcd_jax.scenes.scoring import Scene

OVERVIEW_PX = 1400
"""Longest side of the overview, pixels."""

_WIDE_SHOWN, _WIDE_MOST = 120, 800  # side of the wide picture of a place as shown, and of its ground, pixels
_DATE_LEAST = 48  # least ground that the small picture of a date shows, pixels


def pictures_of(scene: Scene, candidate: Candidate, chip: Chip) -> tuple:
    """What the page shows of a place: chip, wider part of the ground, pixel map, and what is drawn on them."""
    side, wide = chip.before.shape[0], wide_side(chip.before.shape[0])
    shown = page_images.shown_side(side)
    near = page_images.coded_pair((chip.before, chip.after), (chip.valid_before, chip.valid_after), shown)
    box, samples, around = scene.pair.overlap, scene.samples, (wide - side) // 2
    corner = chip.row - box.row - around, chip.col - box.col - around
    (before, here), (after, there) = (
        read(*corner, wide, wide) for read in (scene.pair.read_before, scene.pair.read_after)
    )
    dates = samples.before.open_ended(before), samples.after.open_ended(after)
    far = page_images.coded_pair(dates, (here, there), _WIDE_SHOWN, page_images.WIDE_BYTES)
    heat = None if chip.heat is None else page_images.heat_picture(chip.heat)
    return near, far, heat, _overlay(candidate, chip, scene.plan.window)


def date_pictures(scene: Scene, candidate: Candidate, dated: dating.Dated | None) -> list[dict[str, str]]:
    """For the page, in order of time: a small picture of each date, and what it says of the place."""
    if dated is None or scene.dates is None:
        return []
    side = dated.chips[0].shape[0]
    size = (
        0.0 if candidate.change is None else np.ptp(np.reshape(candidate.change.outline.bounds, (2, 2)), axis=0).max()
    )
    off = (side - int(np.clip(2.5 * size, min(_DATE_LEAST, side), side))) // 2
    middle = slice(off, side - off), slice(off, side - off)
    pictures = [page_images.thumbnail(x[middle], known[middle]) for x, known in zip(*dated[1:], strict=True)]
    return [{"picture": pictures[n], "told": dated.told[n]} for n in scene.dates.in_order]


def wide_side(side: int) -> int:
    """Ground of a wide picture around a chip, pixels: four times its side, but no more than is read quickly."""
    return side + 2 * ((min(4 * side, max(2 * side, _WIDE_MOST)) - side) // 2)


def _overlay(candidate: Candidate, chip: Chip, window: int) -> dict[str, Any]:
    """Where window and outline of a place lie on its chip, and the scale of its map, for the page; chip pixels."""
    known = chip.heat[np.isfinite(chip.heat)] if chip.heat is not None else np.zeros(0)
    corner = np.array([chip.col, chip.row])
    rings = [] if candidate.change is None else [np.asarray(candidate.change.outline.exterior.coords) - corner]
    return {
        "box": [candidate.window_col - chip.col, candidate.window_row - chip.row, window, window],
        "chip_row": chip.row,
        "chip_col": chip.col,
        "rings": [ring.round().astype(int).tolist() for ring in rings],
        "heat_top": float(known.max(initial=0.0)),
        "heat_level": chip.level,
    }


def overview_of(scene: Scene, scored: Scored) -> page.Overview:
    """Both dates of the whole scene, reduced, and its score map."""
    box, plan, samples = scene.pair.overlap, scene.plan, scene.samples
    (before, here), (after, there) = (
        overview.reduced(read, box.height, box.width, OVERVIEW_PX)
        for read in (scene.pair.read_before, scene.pair.read_after)
    )
    return page.Overview(
        (samples.before(before), samples.after(after)),
        (here, there),
        scored.rho,
        box.height,
        box.width,
        plan.window,
        plan.stride,
    )
