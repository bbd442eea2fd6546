"""Two dates of which one is the other, coded anew: two releases of one image, by another stretch, gamma, depth or unit.

Their grey levels follow from each other by a curve, and what is left is rounding. That is the same over flat ground,
where it looks like a change of brightness, and no gain and offset undo a curve. So the finer of the two is brought to
the code of the other, and what the grey levels of both cannot tell is no difference.

The curve, from values u that a line has brought to [0, 1]:

    offset + gain ((u + pedestal)^power - pedestal^power) / ((1 + pedestal)^power - pedestal^power)

It holds lines, gammas, roots and squares on any pedestal, and logarithms (power near 0). Real pairs have noise of their
own, by which they differ from any curve by more than their grey levels, and are left as they are.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np

from planetcd_jax.images.reading import Image

_SAMPLED = 20_000
"""Pixels that a curve is looked for in."""

_LEAST_PIXELS = 1024
"""Fewest pixels with data in both dates."""

_GROUP = 16
"""Pixels of about one level in the finer date. If there is a curve, they have about one level in the other date too."""

_LARGEST_SPREAD = 3.0
"""Largest interquartile range of such a group in the other date, in steps; above it there is no curve."""

_RUN = 64
"""Neighbouring pixels of a run. Noise makes every run differ; a change makes only its own runs differ."""

_FOLLOWING = 0.98
"""Share of a run that must follow the curve to within rounding, for the run to be the same in both dates."""

_SAME_RUNS = 0.5
"""Share of the runs that must be the same in both dates."""

_BINS = 512
"""Most levels of the finer date. A curve is fitted to the medians that the other date has at them."""

_LEVELS = 24
"""Steps that the middle nine tenths of the coarser date must span: on fewer, noise below a step follows any line."""

_SATURATED_SHARE = 1e-3
"""Least share of the pixels that have the least or largest value of a saturated date."""

_TOLERANCE = 0.5
"""Largest error of a fitted curve, in steps."""

_FINEST = 2000.0
"""Steps over the range of a date that has none, such as one of floats."""

_ROUNDS = 8
"""Rounds of a fit that leaves out the pixels farthest from the line."""

_LEFT_OUT = 0.3
"""Share of the pixels that it leaves out."""

_MOST_WEIGHT = 16
"""Largest weight of a level, in pixels: the curve has to be right at rare levels too."""

_NEAR = 1.5
"""Largest distance of unchanged levels from a first curve, in steps of the coarser date."""

_POWERS, _PEDESTALS = np.geomspace(0.02, 3.5, 24), np.geomspace(1e-3, 3.0, 12)
"""Exponents and pedestals of which the best pair is where the fit of a curve starts."""


class Curve(NamedTuple):
    """See the module's head. `low` and `high` become 0 and 1 before it."""

    low: float
    high: float
    offset: float
    gain: float
    power: float = 1.0
    pedestal: float = 0.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values of the finer date, any shape, in the code of the other; float64."""
        u = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        if self.power == 1.0:
            return self.offset + self.gain * u
        foot = self.pedestal**self.power
        raised = np.maximum(u + self.pedestal, 1e-9) ** self.power
        return self.offset + self.gain * (raised - foot) / ((1 + self.pedestal) ** self.power - foot)


@dataclasses.dataclass(frozen=True)
class Recoding:
    """How the finer date of a pair follows from the other, for one band.

    Attributes:
        finer: 0 if the first date is brought to the code of the second, 1 if the second to that of the first.
        curve: From values of the finer date to those of the other.
        steps: Of the grey levels of the finer date and of the other, each in its own values.
        ends: Least and largest value of the finer date, where it is saturated there; infinite where not.
        other_ends: The same of the other.
    """

    finer: int
    curve: Curve
    steps: tuple[float, float]
    ends: tuple[float, float]
    other_ends: tuple[float, float]

    def __call__(self, finer: np.ndarray, other: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The finer date in the code of the other: of what its grey level stands for, what is nearest to the other.

        Args:
            finer, other: Values of one band at the same pixels, of one shape.
            known: Bool, where the other has data; elsewhere the curve alone decides.

        Returns:
            Their shape, float64.
        """
        least, most = self._bounds(finer)
        return np.where(known, np.clip(other.astype(np.float64), least, most), self.curve(finer))

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {**dataclasses.asdict(self), "curve": self.curve._asdict()}

    def follows(self, finer: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Where both dates are the same to within their grey levels, bool."""
        least, most = self._bounds(finer)
        return (other >= least) & (other <= most)

    def _bounds(self, finer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the grey levels of the finer date may be in the code of the other, with its rounding."""
        values, half = np.asarray(finer, np.float64), self.steps[0] / 2
        reach = (0.5 + _TOLERANCE) * self.steps[1]
        sides = (
            np.where(values <= self.ends[0], -np.inf, values - half),
            np.where(values >= self.ends[1], np.inf, values + half),
        )
        least, most = (self._open(side) for side in sides)
        lowest, highest = self.other_ends
        return np.minimum(least, highest) - reach, np.maximum(most, lowest) + reach

    def _open(self, values: np.ndarray) -> np.ndarray:
        known = np.isfinite(values)
        return np.where(known, self.curve(np.where(known, values, self.curve.low)), values)


def recoding(before: np.ndarray, after: np.ndarray) -> Recoding | None:
    """The recoding of one band, or None where neither date is the other coded anew.

    None too where both have the same code: there, one grey level is left as what it is.

    Args:
        before, after: [N] values at the same pixels, all with data, neighbours beside each other.
    """
    if before.size < _LEAST_PIXELS:
        return None
    step = -(-before.size // _SAMPLED)
    dates = [date[: date.size // _RUN * _RUN].reshape(-1, _RUN)[::step].ravel() for date in (before, after)]
    dates = [date.astype(np.float64) for date in dates]
    if not all(np.isfinite(date).all() and np.ptp(date) > 0 for date in dates):
        return None
    steps = [step_of(date) for date in dates]
    levels = [
        (np.inf if step == 0 else np.unique(date).size, np.ptp(date)) for step, date in zip(steps, dates, strict=True)
    ]
    finer = int(levels[1] > levels[0])
    one, two = dates[finer], dates[1 - finer]
    step = max(steps[1 - finer], np.ptp(two) / _FINEST)
    if np.ptp(np.percentile(two, [5, 95])) < _LEVELS * step or not _is_function(one, two, step):
        return None
    found = _fitted(one, two, (steps[finer], step), finer)
    return None if found is None or _is_one_code(found, one, steps) else found


def of_bands(before: np.ndarray, after: np.ndarray) -> tuple[Recoding, ...]:
    """The recodings of all bands, of [N, B] values as in `recoding`; none where one has none or they differ in way."""
    found = [recoding(before[:, band], after[:, band]) for band in range(before.shape[1])]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(found) and len({one.finer for one in known}) == 1 else ()


def step_of(values: np.ndarray) -> float:
    """The distance of grey levels, of [N] float64; 0 where there is none, as in floats."""
    levels = np.unique(values)
    if levels.size < 2 or levels.size > values.size / 4:
        return 0.0
    gaps = np.diff(levels)
    least = gaps.min()
    return float(least) if np.abs(gaps / least - np.round(gaps / least)).max() < 0.01 else 0.0


def _is_function(one: np.ndarray, two: np.ndarray, step: float) -> bool:
    """Whether pixels of about one level in `one` have about one level in `two`: a look before the fit."""
    order = np.argsort(one, kind="stable")
    groups = two[order[: order.size // _GROUP * _GROUP]].reshape(-1, _GROUP)
    low, high = np.percentile(groups, [25, 75], axis=1)
    own = one[order[: order.size // _GROUP * _GROUP]].reshape(-1, _GROUP)
    wide = np.ptp(own, axis=1) / np.ptp(one) * np.ptp(two)  # what a line makes of the levels of a group
    return bool(np.median(high - low - wide) <= _LARGEST_SPREAD * step)


def _fitted(one: np.ndarray, two: np.ndarray, steps: tuple[float, float], finer: int) -> Recoding | None:
    """The stiffest curve that enough of the pixels follow: a line, or one with a power."""
    ends = _saturated(one, steps[0]), _saturated(two, steps[1])
    inside = (one > ends[0][0]) & (one < ends[0][1]) & (two > ends[1][0]) & (two < ends[1][1])
    if inside.sum() < _LEAST_PIXELS // 2:
        return None
    kept = one[inside], two[inside]
    line = _line(*kept)
    if line is None:
        return None
    best = Recoding(finer, line, steps, *ends)
    if not best.follows(one, two).all():
        bent = dataclasses.replace(best, curve=_power_curve(*_levels(*kept), line, steps[1]))
        best = max(best, bent, key=lambda found: float(found.follows(one, two).mean()))
    return best if _same_runs(best, one, two) >= _SAME_RUNS else None


def _same_runs(found: Recoding, one: np.ndarray, two: np.ndarray) -> float:
    """Share of the runs of pixels that are the same in both dates."""
    follows = found.follows(one, two).reshape(-1, _RUN)
    return float((follows.mean(axis=1) >= _FOLLOWING).mean())


def _levels(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels of the finer date, the medians of the other there, and the roots of how many pixels have them."""
    levels = np.unique(one)
    if levels.size > _BINS:
        levels = np.unique(np.quantile(one, np.linspace(0, 1, _BINS)))
    order = np.argsort(one, kind="stable")
    bounds = np.searchsorted(one[order], levels)
    parts = [part for part in np.split(order, bounds[1:]) if part.size]
    middle = [(np.median(one[part]), np.median(two[part]), np.sqrt(min(part.size, _MOST_WEIGHT))) for part in parts]
    first, second, weight = np.array(middle, float).T
    return first, second, weight


def _line(one: np.ndarray, two: np.ndarray) -> Curve | None:
    """A rising line, those pixels apart that are farthest from it."""
    low, high = float(one.min()), float(one.max())
    if high <= low:
        return None
    u, keep = (one - low) / (high - low), np.ones(one.size, bool)
    gain = offset = 0.0
    for _ in range(_ROUNDS):
        if np.ptp(u[keep]) == 0:
            return None
        gain, offset = np.polyfit(u[keep], two[keep], 1)
        rest = abs(two - offset - gain * u)
        keep = rest <= np.quantile(rest, 1 - _LEFT_OUT)
    return Curve(low, high, float(offset), float(gain)) if gain > 0 else None


def _power_curve(one: np.ndarray, two: np.ndarray, weight: np.ndarray, line: Curve, step: float) -> Curve:
    """The curve with a power through points and their weights, [N] each; the farthest count less."""
    unit = Curve(line.low, line.high, 0.0, 1.0)

    def at(power: float, pedestal: float) -> tuple[float, float, float]:
        """The misfit of a line in the raised values, its offset and its gain."""
        raised = unit._replace(power=power, pedestal=pedestal)(one)
        gain, offset = np.polyfit(raised, two, 1, w=weight)
        return float((weight * abs(two - offset - gain * raised)).sum()), float(offset), float(gain)

    tried = [(at(float(p), float(c)), float(p), float(c)) for p in _POWERS for c in _PEDESTALS]
    (_, offset, gain), power, pedestal = min(tried)

    start = np.array([offset / step, max(gain / step, 1e-3), power, np.log(pedestal)])
    first = _refined(start, one, two / step, weight, line, "soft_l1")
    near = abs(_curve_of(first, line)(one) - two / step) < _NEAR
    if near.sum() > 8:  # once more without what has changed
        first = _refined(first, one[near], two[near] / step, weight[near], line, "linear")
    found = _curve_of(first, line)
    return found._replace(offset=found.offset * step, gain=found.gain * step)


def _curve_of(p: np.ndarray, line: Curve) -> Curve:
    return Curve(line.low, line.high, float(p[0]), float(p[1]), float(p[2]), float(np.exp(p[3])))


def _refined(
    start: np.ndarray,
    one: np.ndarray,
    two: np.ndarray,
    weight: np.ndarray,
    line: Curve,
    loss: Literal["soft_l1", "linear"],
) -> np.ndarray:
    """Offset, gain, power and log pedestal by least squares, in steps of the coarser date."""
    bounds = [-np.inf, 0.0, 0.01, np.log(1e-4)], [np.inf, np.inf, 4.0, np.log(4.0)]

    def misfit(p: np.ndarray) -> np.ndarray:
        return weight * (_curve_of(p, line)(one) - two)

    import scipy.optimize  # half a second of each start, and most runs fit no curve

    start = np.clip(start, *bounds)
    return scipy.optimize.least_squares(misfit, start, bounds=bounds, loss=loss, x_scale="jac", max_nfev=200).x


def _saturated(values: np.ndarray, step: float) -> tuple[float, float]:
    """Least and largest value of [N], where the date is saturated there; infinite where not.

    It is where more pixels have that value than the next, and at 0 and 255 in any case.
    """
    levels, counts = np.unique(values, return_counts=True)
    if levels.size < 3:
        return -np.inf, np.inf
    least = _SATURATED_SHARE * values.size
    piles = counts[0] > max(counts[1], least), counts[-1] > max(counts[-2], least)
    of_bytes = step == 1 and levels[0] >= 0 and levels[-1] <= 255
    low = float(levels[0]) if piles[0] or (of_bytes and levels[0] == 0) else -np.inf
    high = float(levels[-1]) if piles[1] or (of_bytes and levels[-1] == 255) else np.inf
    return low, high


def _is_one_code(found: Recoding, one: np.ndarray, steps: list[float]) -> bool:
    """Whether both dates have one code, or are floats on a line, which scores undo by themselves."""
    if found.curve.power == 1.0 and max(steps) == 0:
        return True
    return steps[0] == steps[1] and float(np.max(abs(found.curve(one) - one))) < 0.75 * steps[0]


def recoded(before: Image, after: Image) -> tuple[Image, Image] | None:
    """A pair in one code, where one date is the other coded anew; None where not.

    The finer date then has the type of the other. All bands must be recoded, each by its own curve.

    Args:
        before, after: Whole images.
    """
    if before.values.shape != after.values.shape:
        return None
    dates, both = [before, after], before.valid & after.valid
    bands = [np.atleast_3d(image.values) for image in dates]
    found = of_bands(*(date[both] for date in bands))
    if not found:
        return None
    k = found[0].finer
    new = [one(bands[k][..., b], bands[1 - k][..., b], dates[1 - k].valid) for b, one in enumerate(found)]
    values = new[0] if dates[k].values.ndim == 2 else np.stack(new, axis=-1)
    dates[k] = Image(values, dates[k].valid, dates[1 - k].dtype)
    return dates[0], dates[1]
