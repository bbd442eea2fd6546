"""What a changed place shows, as numbers: its sides, its shape, what explains it. `kinds` makes words of them.

NumPy, pure. Axes: H rows, W columns of a part of the ground around the place, both dates on one grid.

Both dates are brought to mean 0 and standard deviation 1 over the ground around the change, so that dates that swap
give the same numbers with the other sign.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage as ndi

from planetcd_jax.scenes import kind_measures as measures
from planetcd_jax.scenes.kind_measures import distance_to, moved, standardised, step_between, wider
from planetcd_jax.scenes.kind_records import Evidence, Part, View

_AROUND = 4
"""Pixels around the outline that count neither as changed nor as unchanged ground."""

_LEAST_GROUND = 400
"""Pixels of unchanged ground below which all valid ground is taken for it."""

_CORE = 0.4
"""Share of the largest difference above which a pixel belongs to the core of a change."""

_OTHER = 0.25
"""The same share for a part of the other sign: a bright block is fainter than its shadow."""

_SMOOTH = 0.7
"""Standard deviation of the blur of the difference before its parts are cut out, pixels: about that of a camera."""

_FAR = 40.0
"""Pixels within which the other half of a moved object is looked for."""

_TOUCHES = 4.0
"""Pixels between an object and its shadow at most: the edge between them has no difference."""

_OTHERS = 4
"""Parts of the other sign that are compared with the core, those with most energy first."""

_SEEN = 4.0
"""Standard deviations of the ground's differences that a second part has at least."""

_DARKEST_SHARE = 0.03
"""Share of the ground that counts as its darkest."""

_SHADOW_BELOW = -2.5
"""Brightness above which nothing is shadow, in standard deviations of the ground from its mean."""

_AS_DARK = 0.8
"""Shadow that stands beside one that grew is at least so dark, as a share of that."""


def _registered(view: View, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both dates standardised over the ground, the second moved as the ground asks for, and by how much."""
    before, after = (standardised(x, ground) for x in (view.before, view.after))

    def misfit(shift: np.ndarray) -> float:
        return float(np.square(moved(after, shift) - before)[ground].mean())

    zero = np.zeros(2)
    starts = [zero] + ([np.asarray(view.shift, float)] if np.isfinite(view.shift).all() else [])
    best = min(starts, key=misfit)
    for _ in range(3):
        step = step_between(before, moved(after, best), ground)
        if np.hypot(*step) < 0.03 or misfit(best + step) >= misfit(best):
            break
        best = best + step
    return before, moved(after, best), best


class _Compared(NamedTuple):
    """Both dates standardised and registered, the second also as it lies; their difference, blurred too, and noise."""

    before: np.ndarray
    after: np.ndarray
    as_it_lies: np.ndarray
    shift: np.ndarray
    difference: np.ndarray
    blurred: np.ndarray
    noise: float
    ground: np.ndarray


def _compared(view: View) -> _Compared | None:
    """None where there is too little ground that both dates show."""
    ground = view.valid & ~wider(view.changed, _AROUND)
    ground = ground if ground.sum() >= _LEAST_GROUND else view.valid
    if ground.sum() < _LEAST_GROUND or min(view.before[ground].std(), view.after[ground].std()) < 1e-6:
        return None
    filled = dataclasses.replace(
        view, **{name: np.where(view.valid, x, x[ground].mean()) for name, x in _dates(view).items()}
    )
    before, after, shift = _registered(filled, ground)
    difference = np.where(view.valid, measures.levelled(after - before, ground), 0)
    blurred = ndi.gaussian_filter(difference, _SMOOTH)
    noise = 1.4826 * float(np.median(np.abs(blurred[ground]))) + 1e-3
    return _Compared(before, after, standardised(filled.after, ground), shift, difference, blurred, noise, ground)


def _dates(view: View) -> dict[str, np.ndarray]:
    return {"before": view.before.astype(np.float64), "after": view.after.astype(np.float64)}


def _part(seen: _Compared, view: View, mask: np.ndarray, sign: int) -> Part:
    appeared = measures.appearance(seen.before, seen.after, seen.difference, mask, view.valid)
    return Part(mask, sign, float(np.square(seen.blurred[mask]).sum()), appeared)


def measure(view: View) -> Evidence | None:
    """The evidence of a place; None where the dates share too little ground, or nothing of the outline is valid."""
    seen = _compared(view)
    place = wider(view.changed, 2)
    missing = 1 - float(view.valid[wider(view.changed, 3)].mean()) if view.changed.any() else 1.0
    place &= view.valid
    if seen is None or not place.any():
        return None
    peak = float(np.quantile(np.abs(seen.blurred[place]), 0.98))
    least = _CORE * peak
    parts = {s: measures.connected_parts(seen.blurred, place, least, s) for s in (1, -1)}
    energies = {s: sum(float(np.square(seen.blurred[m]).sum()) for m in masks) for s, masks in parts.items()}
    sign = 1 if energies[1] >= energies[-1] else -1
    sign = -sign if _encloses(parts[sign], parts[-sign]) else sign
    core = _part(seen, view, parts[sign][0], sign)
    noise = 1.4826 * float(np.median(np.abs(seen.difference[seen.ground])))
    return Evidence(
        contrast=peak / seen.noise,
        missing=missing,
        **_of_core(seen, view, core),
        **_of_defects(seen, view, place, core, noise),
        **_of_moving(seen, view, place, noise),
        **_of_light(seen, view, place, core),
        **_of_pair(seen, view, place, core, peak),
    )


def _encloses(outer: list[np.ndarray], inner: list[np.ndarray]) -> bool:
    """Whether the largest part of a sign lies inside those of the other: a core in its halo."""
    if not inner:
        return False
    padded = np.pad(np.any(outer, axis=0), 4)
    whole = np.asarray(ndi.binary_fill_holes(ndi.binary_closing(padded, iterations=3)))
    return float((whole[4:-4, 4:-4] & inner[0]).sum()) > 0.6 * float(inner[0].sum())


def _of_core(seen: _Compared, view: View, core: Part) -> dict[str, Any]:
    shape = measures.shape_of(core.mask)
    halo, ring = measures.halo_of(seen.blurred, core.mask, view.valid, core.sign, seen.noise)
    return {
        "sign": core.sign, "appeared": core.appeared, "elongation": shape.elongation, "stretch": shape.stretch,
        "compact": shape.compact, "axis": shape.axis,
        "area": int(core.mask.sum()), "halo": halo, "ring": ring,
    }  # fmt: skip


def _of_defects(seen: _Compared, view: View, place: np.ndarray, core: Part, noise: float) -> dict[str, Any]:
    """What tells a fault of an image from a change of the ground."""
    rows, cols = np.nonzero(core.mask)
    sides = sorted((int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1))
    there = np.roll(core.mask, tuple(np.round(seen.shift).astype(int)), (0, 1))
    return {
        "smooth": measures.smoothness(seen.difference, place, noise),
        "line": sides[0] <= 3 and sides[1] >= 20,
        "flat": max(measures.flat_share(view.before, core.mask), measures.flat_share(view.after, there)),
    }


def _of_moving(seen: _Compared, view: View, place: np.ndarray, noise: float) -> dict[str, Any]:
    """What moving the ground explains: all of it, or that of the place."""
    around = wider(place, 3) & view.valid
    share, px = measures.explained_by_moving(seen.before, seen.after, around, view.valid, noise)
    left, was = (float((x - seen.before)[place].var()) for x in (seen.after, seen.as_it_lies))
    return {"moved_ground": share, "moved_px": px, "common_shift": 1 - left / max(was, 1e-9)}


def _of_light(seen: _Compared, view: View, place: np.ndarray, core: Part) -> dict[str, Any]:
    """What another light explains: shading, and shadows."""
    light, turn = measures.explained_by_light(seen.before, seen.after, place, view.valid, seen.ground)
    floors = [min(float(np.quantile(x[view.valid], _DARKEST_SHARE)), _SHADOW_BELOW) for x in (seen.before, seen.after)]
    darker, floor = (seen.after, floors[1]) if core.sign < 0 else (seen.before, floors[0])
    level = min(_AS_DARK * float(np.median(darker[core.mask])), _SHADOW_BELOW)
    beside = wider(core.mask, 3) & ~core.mask & (np.maximum(seen.before, seen.after) <= level)
    found: dict[str, Any] = {
        "light": light, "light_turn": turn, "floor": float((darker[core.mask] <= floor).mean()),
        "beside_shadow": float(beside.sum() / core.mask.sum()),
    }  # fmt: skip
    sun = view.suns[1 if core.appeared > 0 else 0]
    if beside.any() and math.isfinite(sun):
        way = measures.bearing(np.argwhere(beside).mean(axis=0), np.argwhere(core.mask).mean(axis=0))
        found["sun_offset"] = measures.angle_between(way, sun + 180.0)
    return found


def _of_pair(seen: _Compared, view: View, place: np.ndarray, core: Part, peak: float) -> dict[str, Any]:
    """The part of the other sign: the other half of a moved object, or the shadow of a new one."""
    away = distance_to(core.mask)
    near = view.valid & (away <= _FAR)
    others = measures.connected_parts(seen.blurred, near, max(_OTHER * peak, _SEEN * seen.noise), -core.sign)
    if not others:
        return {}

    def belongs(mask: np.ndarray) -> tuple[bool, float]:
        """A part that touches comes first, then the most alike."""
        energy = float(np.square(seen.blurred[mask]).sum())
        like = measures.laid_on_each_other(seen.difference, core.mask, mask)
        return bool(away[mask].min() <= _TOUCHES), like * min(energy, core.energy)

    other = _part(seen, view, max(others[:_OTHERS], key=belongs), -core.sign)
    width = min(measures.shape_of(x.mask).width for x in (core, other))
    centres = [np.argwhere(x.mask).mean(axis=0) for x in (core, other)]
    around = wider(place | other.mask, 3) & view.valid
    total = float(np.square(seen.blurred[around]).sum())
    return {
        "pair_like": measures.laid_on_each_other(seen.difference, core.mask, other.mask),
        "pair_apart": float(np.hypot(*(centres[1] - centres[0]))) / width,
        "pair_share": (core.energy + other.energy) / max(total, 1e-9),
        "pair_energy": min(core.energy, other.energy) / max(core.energy, other.energy),
        "pair_appeared": other.appeared,
        "pair_gap": float(away[other.mask].min()),
    }
