"""The three kinds of evaluation data: simulated, real with changes put in, and real change."""

import dataclasses
import itertools
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.data import ranges as simulation
from planetcd_jax.data.simulate import simulate_pair
from planetcd_jax.evaluation import backgrounds, insertions
from planetcd_jax.evaluation.trials import SIDE, Trial, Trials, stack

_EASY = dataclasses.replace(
    simulation.CTX,
    name="easy",
    height=SIDE,
    width=SIDE,
    sun_elevation_deg=(40.0, 45.0),
    sun_elevation_change_deg=(0.0, 0.0),
    sun_azimuth_change_deg=(0.0, 0.0),
    haze=(0.15, 0.15),
    psf_px=(0.6, 0.6),
    snr=(100.0, 100.0),
    gain_change=(1.0, 1.0),
    offset_change=(0.0, 0.0),
    max_shift_px=0.0,
    impact=dataclasses.replace(simulation.CTX.impact, zone_radius_px=(4.0, 20.0), outer=(-0.35, -0.15)),
)
"""CTX ground and impacts, with nothing between the dates but noise."""


def _both(value: float) -> tuple[float, float]:
    return value, value


GRID = {
    "shift, px": {v: {"max_shift_px": v} for v in (0.0, 5.0, 10.0, 20.0, 40.0)},
    "sun azimuth, deg": {v: {"sun_azimuth_change_deg": _both(v)} for v in (10.0, 25.0, 50.0)},
    "sun elevation, deg": {v: {"sun_elevation_change_deg": _both(-v)} for v in (5.0, 12.0, 20.0)},
    "gain": {v: {"gain_change": _both(v)} for v in (0.6, 0.8, 1.25, 1.6)},
    "offset": {v: {"offset_change": _both(v)} for v in (-0.15, 0.08, 0.15)},
    "haze": {v: {"haze": (0.0, v)} for v in (0.3, 0.6)},
    "SNR": {v: {"snr": _both(v)} for v in (50.0, 25.0, 12.0)},
    "blur, px": {v: {"psf_px": (0.5, v)} for v in (1.0, 2.0)},
}
"""One difficulty at a time: fields of `_EASY` that take its place. Scale is made by resampling, see `_scaled`."""

SCALES = (0.97, 0.94, 0.88)


def _scaled(after: np.ndarray, scale: float) -> np.ndarray:
    """The image seen at another scale about its centre, [H, W]."""
    from scipy import ndimage

    middle = (np.array(after.shape) - 1) / 2
    return ndimage.affine_transform(after, np.full(2, scale), middle * (1 - scale), order=1, mode="reflect")


def simulated(seed: int, count: int) -> Trials:
    """Kind 1: `count` pairs for each level of each difficulty, half of them changed."""
    levels = [(name, level, fields) for name, row in GRID.items() for level, fields in row.items()]
    levels += [("scale", scale, {}) for scale in SCALES]
    trials = []
    for i, (name, level, fields) in enumerate(levels):
        make = jax.jit(jax.vmap(partial(simulate_pair, ranges=dataclasses.replace(_EASY, **fields))))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), count)
        changed = np.arange(count) % 2 == 1
        made = make(keys, jnp.asarray(changed))
        before, after, mask = (np.asarray(x) for x in (made.before, made.after, made.mask))
        for j in range(count):
            seen = _scaled(after[j], level) if name == "scale" else after[j]
            size = float(np.sqrt(4 / np.pi * mask[j].sum())) if changed[j] else 0.0
            source, what = f"{name} {level:g} {j}", "impact" if changed[j] else "none"
            trials.append(
                Trial(before[j], seen, int(changed[j]), "simulated", "simulated", source, what, size, name, level)
            )
    return stack(trials)


def inserted(folder: pathlib.Path, seed: int, count: int) -> Trials:
    """Kind 2: each background once untouched and once with a change; `count` terrain images beside the real pairs."""
    grounds = itertools.chain(
        backgrounds.hirise_repeat_pairs(folder / "hirise-repeat-pairs"),
        backgrounds.apollo15(folder / "apollo15"),
        backgrounds.terrain(folder, seed, count),
    )
    trials = []
    for i, ground in enumerate(grounds):
        rng = np.random.default_rng([seed, 2, i])
        about = ground.family, ground.source
        trials.append(Trial(ground.before, ground.after, 0, "inserted", *about, real=ground.real))
        change = insertions.CHANGES[i % len(insertions.CHANGES)]
        size = insertions.draw_size(rng, change)
        seen = insertions.insert(ground.after, insertions.draw_change(rng, ground.after.shape, change, size))
        trials.append(Trial(ground.before, seen, 1, "inserted", *about, change, size, real=ground.real))
    return stack(trials)


def real_change(folder: pathlib.Path) -> Trials:
    """Kind 3: windows of the Mars polar scarp (by its mask) and pairs of dates of the Planet Four spider (changed)."""
    return stack(itertools.chain(_scarp(folder / "mars-polar-scarp"), _spider(folder / "planetfour-timelapse")))


def _scarp(folder: pathlib.Path):
    names = [next(folder.glob(pattern)) for pattern in ("T1_*", "T2_*", "mask_*")]
    before, after = (backgrounds.read_grey(name) for name in names[:2])
    mask = np.round(255 * backgrounds.read_grey(names[2])) == 1
    for row, column in itertools.product(backgrounds.corners(256, 26), backgrounds.corners(256, 26)):
        window = slice(row, row + SIDE), slice(column, column + SIDE)
        pixels = int(mask[window].sum())
        if pixels == 0 or pixels >= 20:
            size = float(np.sqrt(4 / np.pi * pixels))
            what = "fallen block" if pixels else "none"
            patches = before[window].astype(np.float32), after[window].astype(np.float32)
            yield Trial(*patches, int(pixels > 0), "real change", folder.name, "scarp", what, size, real=True)


def _spider(folder: pathlib.Path):
    images = [backgrounds.read_grey(path) for path in sorted(folder.glob("PSP_*.png"))]
    for i, j in itertools.combinations(range(len(images)), 2):
        cuts = []
        for image in (images[i], images[j]):
            row, column = ((n - SIDE) // 2 for n in image.shape)
            cuts.append(image[row : row + SIDE, column : column + SIDE].astype(np.float32))
        yield Trial(*cuts, 1, "real change", folder.name, "spider", "season", float("nan"), real=True)
