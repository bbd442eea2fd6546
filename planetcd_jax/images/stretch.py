"""Stored values to [0, 1].

Sets of pairs stretch both dates by a policy of `STRETCHES`, on one scale, so that the stretch makes no change of its
own (`stretched`). Scenes stretch each image by its own percentiles, from samples of the common ground
(`own_percentiles`), because the two may be in different units.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.images import scales
from planetcd_jax.images.reading import Image
from planetcd_jax.images.recoding import recoded

STRETCHES = ("auto", "dtype", "percentile", "each", "none")

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
"""Percentiles that become 0 and 1."""

BEYOND = 0.5
"""How far values beyond the percentiles are kept, as a share of their distance: a fresh impact is often the darkest
ground of an image."""


class DateStretch(NamedTuple):
    """What is done to one date.

    `low` becomes 0 and `high` becomes 1, the curve `scales.bent` with `bend` follows, and then 0 becomes `to_low` and 1
    becomes `to_high`; what leaves [0, 1] is clipped.
    """

    low: float
    high: float
    bend: float = 0.0
    to_low: float = 0.0
    to_high: float = 1.0


def describe(stretch: str) -> str:
    """The rule in words, for provenance.

    Raises:
        DataError: if there is no such stretch.
    """
    percent = f"percentiles {LOW_PERCENT} and {HIGH_PERCENT}"
    joint = (
        f"{percent} of both dates together, all bands alike, widened to the extremes by up to {BEYOND:g} of their "
        "distance on each side, to 0 and 1, clipped"
    )
    each = (
        f"{percent} of each date by itself, all bands alike, to 0 and 1, clipped; a root or log coded date is decoded"
    )
    words = {
        "auto": f"8-bit: value / 255; other types: {joint}; a pair whose dates differ in type, in scale (ranges apart, "
        f"or of widths that differ by a factor of {scales.UNLIKE:g}) or by a root or log code: {each}; then on the "
        "scale of the 8-bit date, value / 255, where one is; a date that is the other coded anew is first "
        "brought to its code",
        "dtype": "integers: value over the largest of the type, from its smallest",
        "percentile": joint,
        "each": each,
        "none": "none: values are in [0, 1] as stored",
    }
    if stretch not in words:
        raise DataError(f"stretch is {stretch!r}; choose one of {', '.join(STRETCHES)}.")
    return words[stretch]


def stretched(before: Image, after: Image, stretch: str) -> tuple[np.ndarray, np.ndarray]:
    """Both dates in [0, 1] on one scale.

    Args:
        before, after: Whole images, before any cutting, so that neighbouring patches share one stretch.
        stretch: "auto", "dtype", "percentile", "each" or "none" (see `describe`).

    Returns:
        Two float32 arrays of the images' shapes. Pixels without data are 0.

    Raises:
        BadPairError: if there are no valid pixels, or "dtype" is asked of floats, or one transform is asked for two
            dates on different scales.
    """
    if stretch == "none":
        return _masked(before, 0.0).astype(np.float32), _masked(after, 0.0).astype(np.float32)
    if stretch == "auto" and (one_code := recoded(before, after)) is not None:
        before, after = one_code
        rule = _one_scale(before, after)
        return _scaled(before, rule), _scaled(after, rule)
    rules = choose(before, after, stretch)
    return _scaled(before, rules[0]), _scaled(after, rules[1])


def choose(before: Image, after: Image, stretch: str) -> tuple[DateStretch, DateStretch]:
    """What `stretched` does to each date, for any stretch but "none".

    Raises:
        BadPairError, DataError: as `stretched` and `describe`.
    """
    describe(stretch)
    if stretch == "dtype":
        joint = _type_bounds({before.dtype, after.dtype})
        return joint, joint
    data = [image.values[image.valid].ravel() for image in (before, after)]
    if sum(part.size for part in data) == 0:
        raise BadPairError("no pixel has data on either date; check the no-data value, or leave this pair out.")
    unlike = _differ(before, after, data)
    if stretch == "percentile":
        if unlike:
            raise BadPairError(f"the two dates are on different scales ({unlike}); choose --stretch=auto or each.")
        joint = _widened(np.concatenate(data))
        return joint, joint
    each = _each(before, after, data)
    if stretch == "each":
        return each
    if unlike or any(rule.bend for rule in each):
        return _onto_8_bits(each, before, after)
    joint = _one_scale(before, after)
    return joint, joint


def _one_scale(before: Image, after: Image) -> DateStretch:
    """Of both dates, whose values are of one scale."""
    if {before.dtype, after.dtype} == {np.dtype(np.uint8)}:
        return DateStretch(0.0, 255.0)
    return _widened(np.concatenate([image.values[image.valid].ravel() for image in (before, after)]))


def _differ(before: Image, after: Image, data: list[np.ndarray]) -> str:
    """In which way two dates cannot share one scale, in words; "" where they can."""
    types = {"float" if image.dtype.kind == "f" else image.dtype.name for image in (before, after)}
    if types == {"uint8"} or min(part.size for part in data) == 0:
        return ""
    ranges = [_percentiles(part)[:2] for part in data]
    words = " and ".join(
        f"{image.dtype} from {low:g} to {high:g}" for image, (low, high) in zip((before, after), ranges, strict=True)
    )
    return words if len(types) > 1 or scales.are_unlike(*ranges) else ""


def _each(before: Image, after: Image, data: list[np.ndarray]) -> tuple[DateStretch, DateStretch]:
    """Each date by its own percentiles, and the curve that undoes a root or log code of one of them."""
    if min(part.size for part in data) == 0:
        joint = _percentiles(np.concatenate(data))
        return joint, joint
    rules = [_percentiles(part) for part in data]
    if before.valid.shape != after.valid.shape:
        return rules[0], rules[1]
    both = before.valid & after.valid
    side = int(np.clip(min(both.shape) // 6, 4, scales.BLOCK))
    means = []
    for image, rule in zip((before, after), rules, strict=True):
        values = _scaled(image, rule)
        grey = values if values.ndim == 2 else values.mean(axis=-1)
        means.append(scales.curve_means(grey, both, side))
    bends = scales.bends(*means)
    return rules[0]._replace(bend=bends[0]), rules[1]._replace(bend=bends[1])


def _onto_8_bits(each: tuple[DateStretch, DateStretch], before: Image, after: Image) -> tuple[DateStretch, DateStretch]:
    """Both dates on the scale of the 8-bit one, where one is: value / 255, as in the other 8-bit pairs of a set.

    Scores grow with contrast, so a pair must not have more of it for the depth of its files.
    """
    dates = sorted(zip(each, (before, after), strict=True), key=lambda date: date[0].bend != 0)
    for rule, image in dates:  # a coded date last
        if image.dtype == np.uint8 and rule.high > rule.low:
            first, second = (other._replace(to_low=rule.low / 255, to_high=rule.high / 255) for other in each)
            return first, second
    return each


def _percentiles(values: np.ndarray) -> DateStretch:
    low, high = np.percentile(values.astype(np.float64), [LOW_PERCENT, HIGH_PERCENT])
    if low == high:  # nearly all values are the same: the percentiles say nothing, the extremes may
        low, high = float(values.min()), float(values.max())
    return DateStretch(float(low), float(high))


def _widened(values: np.ndarray) -> DateStretch:
    """Percentiles, moved to the extremes by up to `BEYOND` of their distance on each side."""
    low, high = _percentiles(values)[:2]
    reach = BEYOND * (high - low)
    return DateStretch(max(low - reach, float(values.min())), min(high + reach, float(values.max())))


def _type_bounds(types: set[np.dtype]) -> DateStretch:
    if len(types) > 1 or not all(np.issubdtype(t, np.integer) for t in types):
        raise BadPairError(
            f"stretch 'dtype' needs one integer type for both dates, got {', '.join(sorted(map(str, types)))}; "
            "choose 'percentile', or 'each' where the two differ in scale."
        )
    info = np.iinfo(next(iter(types)))
    return DateStretch(float(info.min), float(info.max))


def _masked(image: Image, fill: float) -> np.ndarray:
    """Values as float64, with `fill` where there is no data."""
    mask = image.valid if image.values.ndim == 2 else image.valid[..., None]
    return np.where(mask, image.values.astype(np.float64), fill)


def _scaled(image: Image, rule: DateStretch) -> np.ndarray:
    values = _masked(image, rule.low)
    if rule.high > rule.low:
        values = (values - rule.low) / (rule.high - rule.low)
    else:
        values = np.zeros_like(values)
    values = rule.to_low + scales.bent(values, rule.bend) * (rule.to_high - rule.to_low)
    mask = image.valid if values.ndim == 2 else image.valid[..., None]
    return np.where(mask, np.clip(values, 0.0, 1.0), 0.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Map of each band: a line, and a curve in [0, 1] where the image is root or log coded and the other is not.

    Attributes:
        low, high: Value that becomes 0 and 1, for each band.
        bend: Curve of each band that undoes a root or log code (see `scales.bent`); empty for none.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    bend: tuple[float, ...] = ()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """[H, W, B] to [H, W, B] float32; one band loses its axis. Values beyond `BEYOND` are clipped.

        Subtracts in the pixels' own precision: metres on a radius of 1,737,400 m are lost in 32 bits.
        """
        return np.clip(self.open_ended(pixels), -BEYOND, 1.0 + BEYOND)

    def open_ended(self, pixels: np.ndarray) -> np.ndarray:
        """As a call, but nothing is clipped: for pictures that lose nothing."""
        scaled = self._scaled(pixels)
        if any(self.bend):
            inside = np.clip(scaled, 0.0, 1.0)
            scaled = scales.bent(inside, np.asarray(self.bend, np.float32)) + (scaled - inside)
        return scaled[..., 0] if scaled.shape[-1] == 1 else scaled

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        exact = np.result_type(pixels, np.float32)
        low, high = np.asarray(self.low, exact), np.asarray(self.high, exact)
        return ((pixels - low) / (high - low)).astype(np.float32)


def own_percentiles(name: str, pixels: np.ndarray) -> Stretch:
    """The stretch of a scene's image: `LOW_PERCENT` and `HIGH_PERCENT` of [N, B] samples of it, each band by itself.

    Raises:
        DataError: if the image, which `name` is for, has one value wherever it was sampled.
    """
    low, high = np.percentile(pixels, [LOW_PERCENT, HIGH_PERCENT], axis=0)
    if not (high > low).all():
        # An image of very few grey levels, or one with a small bright thing on a constant ground.
        low, high = pixels.min(axis=0), pixels.max(axis=0)
    if not (high > low).all():
        raise DataError(f"{name} has one value, {float(low[0]):g}, wherever it was sampled; nothing can be seen in it.")
    return Stretch(tuple(float(v) for v in low), tuple(float(v) for v in high))
