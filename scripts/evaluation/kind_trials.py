"""Changes of known kind, drawn into unchanged pairs: what `scripts.measure_kinds` asks `scenes.kinds` about.

Lengths in pixels, contrasts as shares of the brightness of displayed images (`insertions.STRETCH`).
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from planetcd_jax.simulate import changes, ranges
from planetcd_jax.simulate.imaging import simulate_pair
from scripts.evaluation import backgrounds, insertions
from scripts.evaluation.backgrounds import Background

SIDE = 148
"""Side of a patch: that of the part of the ground that a scene looks at for a place, with windows of 100 px."""

Dates = tuple[np.ndarray, np.ndarray]


class KindTrial(NamedTuple):
    """Two dates [H, W] float32 in [0, 1] with a change of a known kind.

    Attributes:
        before, after: The dates.
        mask: [H, W] bool, where it was drawn; all where it is the light of the whole pair.
        truth: Family of the kind, as in `kinds.FAMILIES`.
        detail: "dark" or "bright", "new" or "lost", "halo", "", as far as drawn.
        suns: Bearing of the light of both dates, degrees; NaN where not known.
        source: Of the ground.
    """

    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    truth: str
    detail: tuple[str, ...]
    suns: tuple[float, float]
    source: str


def _centre(rng: np.random.Generator) -> np.ndarray:
    return SIDE * (0.32 + 0.36 * rng.random(2))


def _away(centre: np.ndarray) -> np.ndarray:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - centre[0], cols - centre[1])


def _blur(factor: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(np.clip(factor, 0.1, 3.0), insertions.SENSOR_BLUR_PX)


def _contrast(rng: np.random.Generator) -> float:
    return rng.uniform(0.2, 0.6) * (-1 if rng.random() < 0.5 else 1)


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _put(ground: Background, factor: np.ndarray, rng: np.random.Generator) -> tuple[Dates, str]:
    """The change in one of the dates: new, or lost."""
    if rng.random() < 0.65:
        return (ground.before, insertions.insert(ground.after, factor)), "new"
    return (insertions.insert(ground.before, factor), ground.after), "lost"


def _tone(contrast: float) -> str:
    return "bright" if contrast > 0 else "dark"


def spot(rng: np.random.Generator, ground: Background):
    """A disc with a hard or a soft edge."""
    away, contrast = _away(_centre(rng)) / (_log(rng, 6, 32) / 2), _contrast(rng)
    profile = (away < 1).astype(float) if rng.random() < 0.5 else np.exp2(-(away**2))
    factor = _blur(1 + contrast * profile)
    dates, when = _put(ground, factor, rng)
    return dates, np.abs(factor - 1) > 0.08, (_tone(contrast), when)


def halo(rng: np.random.Generator, ground: Background):
    """A core with a wide, fainter zone of the same sign, or with one of the other."""
    away, radius, contrast = _away(_centre(rng)), _log(rng, 3, 8), rng.uniform(0.35, 0.65) * rng.choice([-1, 1])
    share = rng.uniform(0.25, 0.45) * (-1 if rng.random() < 0.3 else 1)
    zone = np.exp(-((away / (radius * rng.uniform(2.5, 4.0))) ** 2))
    core = 1 / (1 + np.exp((away - radius) / 0.6))
    factor = _blur(1 + contrast * (core + share * zone * (1 - core)))
    dates, when = _put(ground, factor, rng)
    return dates, np.abs(factor - 1) > 0.08, (_tone(contrast), when, "halo")


def streak(rng: np.random.Generator, ground: Background):
    """A streak of a slope, that meanders and tapers; dark, or bright."""
    factor = insertions.draw_change(rng, (SIDE, SIDE), "streak", _log(rng, 20, 70))
    contrast = -1
    if rng.random() < 0.3:
        factor, contrast = 2 - factor, 1
    dates, when = _put(ground, factor, rng)
    return dates, np.abs(factor - 1) > 0.08, (_tone(contrast), when)


def albedo(rng: np.random.Generator, ground: Background):
    """A patch of ragged outline."""
    wild = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(3, 5))
    size, contrast = _log(rng, 14, 32), _contrast(rng)
    field = 2.0 * wild / wild.std() + 2.0 - 2.2 * (_away(_centre(rng)) / size) ** 2
    label, _ = ndimage.label(field > 0)
    mask = label == 1 + int(np.argmax(np.bincount(label.ravel())[1:]))
    soft = ndimage.gaussian_filter(mask.astype(float), rng.uniform(0.6, 2.0))
    factor = _blur(1 + contrast * soft)
    dates, when = _put(ground, factor, rng)
    return dates, mask, (_tone(contrast), when)


def _block(centre: np.ndarray, size: float, angle: float) -> np.ndarray:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    down, along = rows - centre[0], cols - centre[1]
    one, two = np.cos(angle) * down + np.sin(angle) * along, np.cos(angle) * along - np.sin(angle) * down
    return 1 / (1 + np.exp((np.maximum(abs(one), 1.2 * abs(two)) - size / 2) / 0.4))


def moved(rng: np.random.Generator, ground: Background):
    """A block that lies elsewhere on the second date."""
    size, contrast, angle = _log(rng, 4, 12), _contrast(rng), rng.uniform(0, np.pi)
    first, way = _centre(rng), rng.uniform(0, 2 * np.pi)
    last = first + size * rng.uniform(1.5, 3.5) * np.array([np.cos(way), np.sin(way)])
    one, two = (_blur(1 + contrast * _block(at, size, angle)) for at in (first, last))
    dates = insertions.insert(ground.before, one), insertions.insert(ground.after, two)
    return dates, (np.abs(one - 1) > 0.08) | (np.abs(two - 1) > 0.08), ()


def _shaded(centre: np.ndarray, size: float, sun: float, length: float, bright: float) -> np.ndarray:
    """Factor of a block with its shadow; `sun`: radians clockwise from the top."""
    away = -np.array([-np.cos(sun), np.sin(sun)])
    rows, cols = np.mgrid[:SIDE, :SIDE]
    down, along = rows - centre[0], cols - centre[1]
    behind, aside = down * away[0] + along * away[1], along * away[0] - down * away[1]
    dark = (behind > 0) & (behind < size / 2 + length) & (abs(aside) < size / 2)
    body = np.maximum(abs(behind), abs(aside)) < size / 2
    return _blur(np.where(body, bright, np.where(dark, changes.CRAFT_SHADOW, 1.0)))


def with_shadow(rng: np.random.Generator, ground: Background):
    """A block that landed or fell, with its shadow."""
    sun, size = rng.uniform(0, 2 * np.pi), _log(rng, 4, 10)
    bright = 1 + insertions.STRETCH * rng.uniform(0.15, 0.4)
    factor = _shaded(_centre(rng), size, sun, size * rng.uniform(0.7, 1.7), bright)
    dates, when = _put(ground, factor, rng)
    return dates, np.abs(factor - 1) > 0.08, (when,)


def shadow(rng: np.random.Generator, ground: Background):
    """The shadow of a standing block, turned or lengthened."""
    suns = rng.uniform(0, 2 * np.pi) + np.array([0.0, rng.choice([-1, 1]) * np.deg2rad(rng.uniform(0, 60))])
    size, centre, bright = _log(rng, 6, 16), _centre(rng), 1 + rng.uniform(0.1, 0.5)
    lengths = size * rng.uniform(0.5, 1.2) * np.array([1.0, rng.uniform(1.5, 3.0)])[:: rng.choice([-1, 1])]
    one, two = (_shaded(centre, size, sun, length, bright) for sun, length in zip(suns, lengths, strict=True))
    dates = insertions.insert(ground.before, one), insertions.insert(ground.after, two)
    known = tuple(np.rad2deg(suns) % 360) if rng.random() < 0.5 else (np.nan, np.nan)
    return dates, np.abs(two - one) > 0.08, (), known


def fault(rng: np.random.Generator, ground: Background):
    """Salt and pepper, white noise, a line, or a block of one value, in one date."""
    image, centre, mask = ground.after.copy(), _centre(rng), np.zeros((SIDE, SIDE), bool)
    which, rows_cols = rng.integers(4), np.indices((SIDE, SIDE)) - centre[:, None, None].astype(int)
    if which == 0:
        mask = (_away(centre) < rng.uniform(5, 12)) & (rng.random((SIDE, SIDE)) < rng.uniform(0.15, 0.4))
        image[mask] = rng.integers(0, 2, mask.sum())
    elif which == 1:
        mask = _away(centre) < rng.uniform(6, 14)
        image[mask] += (rng.uniform(0.12, 0.3) * rng.standard_normal((SIDE, SIDE)))[mask]
    elif which == 2:
        along = rows_cols[rng.integers(2)]
        mask = (along == 0) | (along == rng.integers(0, 2))
        image[mask] = rng.choice([0.0, 1.0])
    else:
        sides = rng.integers(6, 20, 2)
        mask = (abs(rows_cols[0]) < sides[0] / 2) & (abs(rows_cols[1]) < sides[1] / 2)
        image[mask] = rng.choice([0.0, 1.0, 0.5])
    image = (np.round(np.clip(image, 0, 1) * 255) / 255).astype(np.float32)
    return ((ground.before, image) if rng.random() < 0.65 else (image, ground.before)), mask, ()


def displaced(rng: np.random.Generator, ground: Background):
    """Ground that lies elsewhere on the second date by the fault of the map, fading out around."""
    away, way = _away(_centre(rng)), rng.uniform(0, 2 * np.pi)
    size, reach = rng.uniform(2, 6), rng.uniform(14, 26)
    share = 1 / (1 + np.exp((away - reach) / rng.uniform(0.5, 3)))
    at = np.indices((SIDE, SIDE)) + size * share * np.array([np.cos(way), np.sin(way)])[:, None, None]
    image = ndimage.map_coordinates(ground.after.astype(float), at, order=3, mode="nearest")
    after = (np.round(np.clip(image, 0, 1) * 255) / 255).astype(np.float32)
    return (ground.before, after), share > 0.5, ()


DRAWN: dict[str, tuple[str, Callable]] = {
    "spot": ("spot", spot), "spot with halo": ("spot", halo), "streak": ("streak", streak),
    "albedo feature": ("albedo feature", albedo), "moved object": ("object", moved),
    "object with shadow": ("object", with_shadow), "shadow": ("shadow or light", shadow),
    "noise, dropout": ("noise or dropout", fault), "misregistration": ("misregistration", displaced),
}  # fmt: skip
"""What is drawn: its name in the table, the family that is right, and how."""


def grounds(folder: pathlib.Path, seed: int, split: str, count: int) -> list[Background]:
    """Unchanged pairs of one split, spread over their families."""
    apollo = itertools.islice(backgrounds.apollo15(folder / "apollo15", SIDE), 0, None, 4)
    hirise = backgrounds.hirise_repeat_pairs(folder / "hirise-repeat-pairs", SIDE)
    every = itertools.chain(hirise, apollo, backgrounds.terrain(folder, seed, 48, SIDE))
    found = [ground for ground in every if backgrounds.split_of(ground.source) == split]
    order = np.random.default_rng([seed, 5]).permutation(len(found))[:count]
    return [found[i] for i in sorted(order)]


def drawn(found: list[Background], seed: int) -> Iterator[tuple[str, KindTrial]]:
    """Each kind drawn into each ground, by its name in the table."""
    for i, ground in enumerate(found):
        for k, (name, (family, draw)) in enumerate(DRAWN.items()):
            rng = np.random.default_rng([seed, i, k])
            dates, mask, detail, *suns = draw(rng, ground)
            sun = suns[0] if suns else (float("nan"), float("nan"))
            yield name, KindTrial(*dates, mask, family, detail, sun, ground.source)


def relit(seed: int, count: int) -> Iterator[tuple[str, KindTrial]]:
    """Simulated ground that did not change, under a sun that turned by 25 to 60 degrees."""
    turned: dict[str, Any] = {"sun_azimuth_change_deg": (25.0, 60.0), "rms_slope_deg": (3.0, 6.0)}
    far = dataclasses.replace(ranges.CTX, height=SIDE, width=SIDE, max_shift_px=2.0, **turned)
    make = jax.jit(lambda key: simulate_pair(key, jnp.bool_(False), far))
    for i in range(count):
        pair = make(jax.random.fold_in(jax.random.key(seed), i))
        suns = tuple(float(np.rad2deg(sun.azimuth)) % 360 for sun in (pair.sun_before, pair.sun_after))
        known = suns if i % 2 else (np.nan, np.nan)
        mask = np.ones((SIDE, SIDE), bool)
        trial = KindTrial(
            np.asarray(pair.before), np.asarray(pair.after), mask, "shadow or light", (), known, f"sim {i}"
        )
        yield "another sun", trial
