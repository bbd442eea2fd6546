"""Which images of an archive make a pair: overlap, resolution, light, view and time, and how like their light is."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from planetcd_jax.extras import brought_by
from planetcd_jax.scenes.times import time_text
from planetcd_jax.surveys import sphere
from planetcd_jax.surveys.footprints import Footprint
from planetcd_jax.surveys.pair_table import pair_id

with brought_by("survey"):
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

_DAY = 86400.0


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a pair must keep to. Angles in degrees; infinity: no bound.

    Attributes:
        overlap: Least share of the smaller image that the other covers.
        resolution_ratio: Most of the larger pixel divided by the smaller.
        incidence, emission: Most of either image.
        incidence_difference, emission_difference, phase_difference, azimuth_difference: Most between both.
        least_days, most_days: Time between both.
        unknown: Whether a pair is kept of which a bound cannot be told.
    """

    overlap: float = 0.2
    resolution_ratio: float = 2.0
    incidence: float = 85.0
    emission: float = math.inf
    incidence_difference: float = 20.0
    emission_difference: float = 20.0
    phase_difference: float = 40.0
    azimuth_difference: float = 45.0
    least_days: float = 0.0
    most_days: float = math.inf
    unknown: bool = True


COLUMNS = (
    "id", "before", "after", "before_time", "after_time", "days", "overlap", "light_difference", "resolution_ratio",
    "incidence_before", "incidence_after", "incidence_difference", "emission_difference", "phase_difference",
    "azimuth_difference", "lon", "lat", "chain",
)  # fmt: skip
"""Of the table of pairs."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        rows: Of the table of pairs, best first, by the names of `COLUMNS`.
        left_out: Images that touch and make no pair: both names and why.
        reasons: How many pairs each bound left out.
    """

    rows: list[dict[str, Any]]
    left_out: list[tuple[str, str, str]]
    reasons: Counter[str]


def short_angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Difference of two directions, 0 to 180 degrees."""
    return abs((one - other + 180.0) % 360.0 - 180.0)


def light_difference(incidence: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Angle between the directions to the sun of both dates, degrees.

    Args:
        incidence: [K, 2], degrees.
        azimuth: [K, 2], degrees; where one is NaN both are taken for equal.

    Returns:
        [K]; NaN where an incidence is.
    """
    turn = np.nan_to_num(short_angle(azimuth[:, 0], azimuth[:, 1]))
    one, other = np.deg2rad(incidence).T
    cosine = np.cos(one) * np.cos(other) + np.sin(one) * np.sin(other) * np.cos(np.deg2rad(turn))
    return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _measures(images: Sequence[Footprint], pairs: np.ndarray, overlap: np.ndarray) -> dict[str, np.ndarray]:
    """Each quantity that a bound is about, [K], by the name of the bound."""

    def of(name: str) -> np.ndarray:
        return np.array([getattr(image, name) for image in images], float)[pairs]

    incidence, emission, azimuth, pixel = of("incidence"), of("emission"), of("sun_azimuth"), of("pixel_m")
    days = np.diff(of("time"), axis=1)[:, 0] / _DAY
    return {
        "overlap": overlap,
        "resolution_ratio": pixel.max(axis=1) / pixel.min(axis=1),
        "incidence": incidence.max(axis=1),
        "emission": emission.max(axis=1),
        "incidence_difference": abs(np.diff(incidence, axis=1)[:, 0]),
        "emission_difference": abs(np.diff(emission, axis=1)[:, 0]),
        "phase_difference": abs(np.diff(of("phase"), axis=1)[:, 0]),
        "azimuth_difference": short_angle(azimuth[:, 0], azimuth[:, 1]),
        "days": days,
        "light_difference": light_difference(incidence, azimuth),
        "incidence_before": incidence[:, 0],
        "incidence_after": incidence[:, 1],
    }


def _broken(values: dict[str, np.ndarray], bounds: Bounds) -> dict[str, np.ndarray]:
    """Which pairs [K] break each bound."""
    broken = {"overlap": values["overlap"] < bounds.overlap}
    for name in ("resolution_ratio", "incidence", "emission", "incidence_difference", "emission_difference",
                 "phase_difference", "azimuth_difference"):  # fmt: skip
        most = getattr(bounds, name)
        broken[name] = _over(values[name], most, bounds.unknown)
    broken["most_days"] = _over(values["days"], bounds.most_days, bounds.unknown)
    broken["least_days"] = _over(-values["days"], -bounds.least_days if bounds.least_days else math.inf, bounds.unknown)
    return broken


def _over(value: np.ndarray, most: float, keep_unknown: bool) -> np.ndarray:
    if math.isinf(most):
        return np.zeros(len(value), bool)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(value), not keep_unknown, value > most)


def _reason(name: str, values: dict[str, np.ndarray], k: int, bounds: Bounds) -> str:
    """Why a bound leaves a pair out, in words."""
    if name == "chain":
        return "a third image lies between in time"
    value = values["days" if name.endswith("days") else name][k]
    if math.isnan(value):
        return f"{name} is not known"
    sign = "<" if name in ("overlap", "least_days") else ">"
    return f"{name} {value:.4g} {sign} {getattr(bounds, name):.4g}"


def find(images: Sequence[Footprint], bounds: Bounds, *, chain: bool = False, explain: bool = False) -> Found:
    """Pairs of images, best first: by the angle between their suns, then by overlap.

    Args:
        images: Of one body.
        bounds: What a pair must keep to.
        chain: Only pairs that no third image divides in time: with (a, b) and (b, c) goes (a, c).
        explain: Tell of all that touch and make no pair why.
    """
    known = [image for image in images if len(image.ring) >= 3]
    shapes = sphere.outlines([image.ring for image in known])
    wide = shapes.radii > sphere.LARGEST
    pairs = sphere.neighbours(shapes)
    pairs = _in_time(known, pairs[~wide[pairs].any(axis=1)])
    overlap = sphere.overlaps(shapes, pairs)
    pairs, overlap = pairs[overlap > 0], overlap[overlap > 0]
    values = _measures(known, pairs, overlap)
    broken = _broken(values, bounds)
    if chain:
        good = ~np.any(list(broken.values()), axis=0)
        broken["chain"] = good & ~_direct(pairs, good)
    left_out = []
    if explain:
        for k in np.flatnonzero(np.any(list(broken.values()), axis=0)).tolist():
            why = "; ".join(_reason(name, values, k, bounds) for name in broken if broken[name][k])
            left_out.append((known[pairs[k, 0]].name, known[pairs[k, 1]].name, why))
    reasons = Counter({name: int(bad.sum()) for name, bad in broken.items()})
    reasons["wider than 120 degrees"] = int(wide.sum())
    good = ~np.any(list(broken.values()), axis=0)
    rows = _rows(known, shapes, pairs[good], {name: value[good] for name, value in values.items()})
    return Found(rows, left_out, +reasons)


def _in_time(images: Sequence[Footprint], pairs: np.ndarray) -> np.ndarray:
    """Pairs [K, 2] with the earlier image first; where a time is not known, by name."""
    if not len(pairs):
        return pairs
    times = np.array([image.time for image in images])[pairs]
    names = np.array([image.name for image in images])[pairs]
    known = np.isfinite(times).all(axis=1) & (times[:, 0] != times[:, 1])
    swap = np.where(known, times[:, 0] > times[:, 1], names[:, 0] > names[:, 1])
    return np.where(swap[:, None], pairs[:, ::-1], pairs)


def _direct(pairs: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Which pairs [K], earlier image first, have no third image between, with which both make good pairs."""
    after: dict[int, set[int]] = {}
    for one, other in pairs[good].tolist():
        after.setdefault(one, set()).add(other)
    none: set[int] = set()
    return np.array(
        [not any(other in after.get(third, none) for third in after.get(one, none)) for one, other in pairs.tolist()],
        bool,
    )


def _rows(images: Sequence[Footprint], shapes: sphere.Outlines, pairs: np.ndarray, values) -> list[dict[str, Any]]:
    """Rows of the table, best first."""
    if not len(pairs):
        return []
    light = np.nan_to_num(values["light_difference"], nan=1e3)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -values["overlap"].round(6), light.round(6)))
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(images),) * 2)
    chains = connected_components(graph, directed=False)[1]
    numbered = {chain: n for n, chain in enumerate(dict.fromkeys(chains[pairs[order, 0]].tolist()), start=1)}
    middle = sphere.lon_lat(shapes.centres)
    rows = []
    for k in order.tolist():
        one, other = (images[n] for n in pairs[k])
        smaller = pairs[k, 0] if shapes.radii[pairs[k, 0]] <= shapes.radii[pairs[k, 1]] else pairs[k, 1]
        rows.append(
            {
                **{name: float(value[k]) for name, value in values.items()},
                "id": pair_id(one.name, other.name), "before": one.name, "after": other.name,
                "before_time": time_text(one.time), "after_time": time_text(other.time),
                "lon": float(middle[smaller, 0]), "lat": float(middle[smaller, 1]),
                "chain": numbered[int(chains[pairs[k, 0]])],
            }
        )  # fmt: skip
    return rows


def cell(value: Any) -> Any:
    """A value as the table has it: numbers to 6 digits, nothing for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
