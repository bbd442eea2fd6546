"""What kind of change a place looks like, in the field's words, and how sure that is. Rules, no training on labels.

Each rule compares what `kind_evidence` measures with a threshold. How far a measure lies beyond it makes a belief in
[0, 1], 0.5 at the threshold; all of several conditions are believed like the weakest, one of several like the
strongest. The kinds are asked for in a fixed order, faults of the images first: a kind is believed like the weaker of
its own rule and the doubt in all before it. The kind that is believed most is told.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from planetcd_jax.scenes.kind_evidence import measure
from planetcd_jax.scenes.kind_records import Evidence, View

FAMILIES = (
    "spot", "streak", "albedo feature", "object", "shadow or light", "noise or dropout", "misregistration",
)  # fmt: skip
"""The kinds without their tone, date and halo, in a fixed order."""

Test = tuple[float, float]
"""A threshold, and how far beyond it the belief is 0.73; below 0 where a measure has to lie below the threshold."""


@dataclasses.dataclass(frozen=True)
class KindRules:
    """All constants of the decision. Measures are those of `Evidence`; each is a `Test` unless said otherwise.

    Chosen on the development split of `scripts/measure_kinds.py`, where the measures of the kinds were looked at.

    Attributes:
        seen: `contrast` below which nothing is told.
        rough: `smooth` of noise.
        flat, missing: Of ground without content, and of ground without data.
        alike, apart, share, balance: `pair_like`, `pair_apart`, `pair_share` and `pair_energy` of a moved object.
        both_dates: Product of the two parts' `appeared`, with the other sign, where one was lost and one gained.
        same_date: The same product where both were gained, or both lost.
        second: `pair_energy` of an object and its shadow.
        parted: `pair_gap` of a moved object.
        touching: `pair_gap` of an object and its shadow, or of a shadow that turned.
        moved_ground, moved_px: Of misregistration at the place.
        shown_twice: Size of `appeared` there: both dates show what lies elsewhere.
        common_shift, faint: `common_shift` where the misregistration of all of the ground makes the place, and the
            `contrast` that may be left.
        light, light_turn: Of ground lit from elsewhere.
        floor, beside_shadow: Of a shadow that grew.
        sun_offset: Of a shadow where the sun is known, degrees.
        long, stretch: `elongation` and `stretch` of a streak.
        compact, rayed: Of a spot; of one with a halo, whose core may have rays.
        halo, ring: Of a halo of the same sign, and of the other.
        dated: Size of `appeared` from which on it is believed.
        sure: Belief and the share of the changes that were told right at it (see docs/kinds.md), in rising order.
    """

    seen: Test = (3.8, 0.5)
    rough: Test = (0.38, -0.07)
    flat: Test = (0.85, 0.04)
    missing: Test = (0.25, 0.06)
    alike: Test = (0.72, 0.06)
    apart: Test = (1.0, 0.3)
    share: Test = (0.45, 0.1)
    balance: Test = (0.12, 0.04)
    both_dates: Test = (0.12, 0.06)
    same_date: Test = (0.12, 0.06)
    parted: Test = (4.0, 0.5)
    second: Test = (0.03, 0.01)
    touching: Test = (3.6, -0.5)
    moved_ground: Test = (0.42, 0.06)
    moved_px: Test = (0.9, 0.2)
    shown_twice: Test = (0.55, -0.1)
    common_shift: Test = (0.6, 0.1)
    faint: Test = (5.5, -0.7)
    light: Test = (0.35, 0.05)
    light_turn: Test = (0.2, 0.04)
    floor: Test = (0.4, 0.08)
    beside_shadow: Test = (0.06, 0.02)
    sun_offset: Test = (90.0, -15.0)
    long: Test = (3.0, 0.4)
    stretch: Test = (2.5, 0.25)
    compact: Test = (0.925, 0.015)
    rayed: Test = (0.75, 0.03)
    halo: Test = (1.0, 0.2)
    ring: Test = (0.5, 0.1)
    dated: Test = (0.0, 0.15)
    sure: tuple[Test, ...] = ((0.5, 0.28), (0.6, 0.37), (0.7, 0.53), (0.8, 0.68), (0.9, 0.78), (1.0, 0.92))


class Kind(NamedTuple):
    """What a place looks like.

    Attributes:
        name: Such as "new dark spot with halo"; "" where nothing is told.
        sure: Share of the simulated development changes that were told right with as much belief, in [0, 1]; NaN
            where nothing is told. It says nothing of whether the place is a change at all: that is what p is for.
        belief: In [0, 1], before it is set against those changes.
    """

    name: str
    sure: float
    belief: float = math.nan


NOT_TOLD = Kind("", math.nan)


def belief(value: float, test: Test) -> float:
    """How far a measure lies on the wanted side of a threshold, in [0, 1]; 0 for NaN."""
    if math.isnan(value):
        return 0.0
    return float(1 / (1 + np.exp(-np.clip((value - test[0]) / test[1], -40, 40))))


def _fault(e: Evidence, r: KindRules) -> float:
    parts = (belief(e.smooth, r.rough), belief(e.flat, r.flat), belief(e.missing, r.missing))
    return max(*parts, 0.9 if e.line else 0.0)


def _dark(e: Evidence, r: KindRules) -> float:
    """What is new or lost is dark, and among the darkest of its ground."""
    return min(belief(e.floor, r.floor), 1.0 if e.sign * e.appeared < 0 else 0.0)


def _moved_object(e: Evidence, r: KindRules) -> float:
    lost_and_gained = belief(-e.appeared * e.pair_appeared, r.both_dates)
    alike = min(belief(e.pair_like, r.alike), belief(e.pair_energy, r.balance))
    no_shadow = max(belief(e.pair_gap, r.parted), 1 - _dark(e, r))
    away = min(belief(e.pair_apart, r.apart), no_shadow)
    return min(lost_and_gained, alike, away, belief(e.pair_share, r.share))


def _misregistration(e: Evidence, r: KindRules) -> float:
    shown_twice = belief(abs(e.appeared), r.shown_twice)
    at_place = min(belief(e.moved_ground, r.moved_ground), belief(e.moved_px, r.moved_px), shown_twice)
    return max(at_place, min(belief(e.common_shift, r.common_shift), belief(e.contrast, r.faint)))


def _lit(e: Evidence, r: KindRules) -> float:
    return min(belief(e.light, r.light), belief(e.light_turn, r.light_turn))


def _shadow(e: Evidence, r: KindRules) -> float:
    sun = 1.0 if math.isnan(e.sun_offset) else belief(e.sun_offset, r.sun_offset)
    dark = _dark(e, r)
    grown = min(dark, belief(e.beside_shadow, r.beside_shadow), sun)
    turned = min(dark, belief(e.pair_gap, r.touching), belief(-e.appeared * e.pair_appeared, r.both_dates))
    return max(grown, turned)


def _object_with_shadow(e: Evidence, r: KindRules) -> float:
    same = belief(e.appeared * e.pair_appeared, r.same_date)
    beside = min(belief(e.pair_gap, r.touching), 1 - belief(e.ring, r.ring))
    return min(same, beside, belief(e.pair_energy, r.second))


def beliefs(evidence: Evidence, rules: KindRules) -> dict[str, float]:
    """The belief in each kind, without tone, date and halo; in the order in which they are asked for."""
    long = min(belief(evidence.elongation, rules.long), belief(evidence.stretch, rules.stretch))
    rayed = min(belief(evidence.halo, rules.halo), belief(evidence.compact, rules.rayed))
    round_ = max(belief(evidence.compact, rules.compact), belief(evidence.ring, rules.ring), rayed)
    own = {
        "noise or dropout": _fault(evidence, rules),
        "moved object": _moved_object(evidence, rules),
        "misregistration": _misregistration(evidence, rules),
        "light": _lit(evidence, rules),
        "object with shadow": _object_with_shadow(evidence, rules),
        "shadow": _shadow(evidence, rules),
        "streak": long,
        "spot": round_,
        "albedo feature": 1.0,
    }
    found, doubt = {}, belief(evidence.contrast, rules.seen)
    for name, size in own.items():
        found[name] = min(size, doubt)
        doubt = min(doubt, 1 - size)
    return found


_UNDATED = {
    "noise or dropout": "noise or dropout", "moved object": "moved object", "misregistration": "misregistration",
    "light": "shadow or light", "shadow": "shadow or light",
}  # fmt: skip
"""Kinds that are told without date and tone, and how they are told."""


def tell(evidence: Evidence | None, rules: KindRules = KindRules()) -> Kind:
    """The kind of a place in words; `NOT_TOLD` where its difference does not stand out."""
    if evidence is None or belief(evidence.contrast, rules.seen) < 0.5:
        return NOT_TOLD
    found = beliefs(evidence, rules)
    name = max(found, key=lambda kind: found[kind])
    size = found[name]
    if name in _UNDATED:
        name = _UNDATED[name]
    else:
        size = min(size, belief(abs(evidence.appeared), rules.dated))
        name = _with_date_and_tone(name, evidence, rules)
    points = np.asarray(rules.sure)
    return Kind(name, float(np.interp(size, points[:, 0], points[:, 1])), size)


def _with_date_and_tone(name: str, evidence: Evidence, rules: KindRules) -> str:
    when = "new" if evidence.appeared >= 0 else "lost"
    if name == "object with shadow":
        return f"{when} {name}"
    tone = "bright" if evidence.sign * (1 if evidence.appeared >= 0 else -1) > 0 else "dark"
    with_halo = max(belief(evidence.halo, rules.halo), belief(evidence.ring, rules.ring)) > 0.5
    return f"{when} {tone} {name}{' with halo' if name == 'spot' and with_halo else ''}"


def family(name: str) -> str:
    """The one of `FAMILIES` that a kind is of; "" for one that is not told."""
    return next((one for one in FAMILIES if one in name), "")


def kind_of(view: View, rules: KindRules = KindRules()) -> Kind:
    """What a place looks like, and how sure that is."""
    return tell(measure(view), rules)


def swapped(name: str) -> str:
    """The kind that the same place has when the dates are swapped."""
    words: Mapping[str, str] = {"new": "lost", "lost": "new"}
    return " ".join(words.get(word, word) for word in name.split(" "))
