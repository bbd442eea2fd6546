"""The three kinds of evaluation data: simulated, real with changes put in, and real change."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.simulate import ranges as simulation
from planetcd_jax.simulate.imaging import IMPACT, MASK_FACTOR, NOTHING, Sun, radiance, simulate_changes, simulate_scene
from planetcd_jax.simulate.terrain import blur_and_shift
from scripts.evaluation import backgrounds, insertions
from scripts.evaluation.trials import SIDE, Trial, Trials, stack

_GROUND = dataclasses.replace(
    simulation.CTX,
    name="evaluation",
    impact=dataclasses.replace(simulation.CTX.impact, zone_radius_px=(4.0, 20.0), outer=(-0.35, -0.15)),
)
"""CTX ground and impacts, of the size of a trial."""

_PAD = 44
"""Ground around the patch, pixels: room for the largest shift."""

EASY = {
    "shift, px": 0.0,
    "sun azimuth, deg": 0.0,
    "sun elevation, deg": 0.0,
    "gain": 1.0,
    "offset": 0.0,
    "haze": 0.15,
    "SNR": 100.0,
    "blur, px": 0.6,
}
"""What differs between two dates where nothing is made difficult: noise only."""

GRID = {
    "shift, px": (0.0, 5.0, 10.0, 20.0, 40.0),
    "sun azimuth, deg": (10.0, 25.0, 50.0),
    "sun elevation, deg": (-20.0, -12.0, -5.0),
    "gain": (0.6, 0.8, 1.25, 1.6),
    "offset": (-0.15, 0.08, 0.15),
    "haze": (0.3, 0.6),
    "SNR": (50.0, 25.0, 12.0),
    "blur, px": (1.0, 2.0),
}
"""One difficulty at a time, each on the second date (noise on both). Scale is made by resampling, see `_scaled`."""

SCALES = (0.97, 0.94, 0.88)


def _scaled(after: np.ndarray, scale: float) -> np.ndarray:
    """The image seen at another scale about its centre, [H, W]."""
    from scipy import ndimage

    middle = (np.array(after.shape) - 1) / 2
    return ndimage.affine_transform(after, np.full(2, scale), middle * (1 - scale), order=1, mode="reflect")


def _pair(key: jax.Array, changed: jax.Array, numbers: dict[str, jax.Array]):
    """One simulated pair with given differences between its dates: before, after, and the size of its change."""
    keys = jax.random.split(key, 4)
    side = SIDE + 2 * _PAD
    sun = Sun(jnp.deg2rad(jnp.float32(270.0)), jnp.deg2rad(jnp.float32(42.0)))
    turned = jnp.deg2rad(jnp.stack([numbers["sun azimuth, deg"], numbers["sun elevation, deg"]]))
    suns = sun, Sun(sun.azimuth + turned[0], sun.elevation + turned[1])
    scene = simulate_scene(keys[0], side, side, _GROUND, sun.azimuth)
    signs = jnp.where(jax.random.bernoulli(keys[1], 0.5, (2,)), 1.0, -1.0).astype(jnp.float32)
    shift = numbers["shift, px"] * signs * jnp.array([1.0, 0.6], jnp.float32)
    low = _PAD + 20 + jnp.maximum(-shift, 0.0)
    high = _PAD + SIDE - 20 - jnp.maximum(shift, 0.0)
    kind = jnp.where(changed, IMPACT, NOTHING).astype(jnp.int32)
    overlays = simulate_changes(keys[2], kind, scene, suns, (low, high), _GROUND)
    hazes = jnp.float32(EASY["haze"]), numbers["haze"]
    blurs = jnp.float32(EASY["blur, px"]), numbers["blur, px"]
    views = []
    for t, move in enumerate((jnp.zeros(2, jnp.float32), shift)):
        light = radiance(scene, overlays[t], suns[t], jnp.float32(0.55), hazes[t])
        view = blur_and_shift(light, blurs[t], (move[0], move[1]))[_PAD : _PAD + SIDE, _PAD : _PAD + SIDE]
        views.append(view / view.mean() - 1.0)
    contrast = 0.1 / (jnp.std(views[0]) + 1e-6)
    noise = jax.random.normal(keys[3], (2, SIDE, SIDE), jnp.float32) / numbers["SNR"]
    before = 0.45 + contrast * (views[0] + noise[0])
    after = 0.45 + numbers["offset"] + numbers["gain"] * contrast * (views[1] + noise[1])
    touched = (jnp.abs(overlays[1].factor - 1.0) > MASK_FACTOR).sum(dtype=jnp.float32)
    before, after = (jnp.round(jnp.clip(x, 0.0, 1.0) * 255.0) / 255.0 for x in (before, after))
    return before, after, jnp.sqrt(4 / jnp.pi * touched)


def simulated(seed: int, count: int) -> Trials:
    """Kind 1: `count` pairs for each level of each difficulty, half of them changed."""
    levels = [(name, level) for name, row in GRID.items() for level in row] + [("scale", scale) for scale in SCALES]
    make = jax.jit(jax.vmap(_pair, in_axes=(0, 0, None)))
    changed = np.arange(count) % 2 == 1
    trials = []
    for i, (name, level) in enumerate(levels):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), count)
        numbers = {k: jnp.float32(level if k == name else v) for k, v in EASY.items()}
        before, after, sizes = (np.asarray(x) for x in make(keys, jnp.asarray(changed), numbers))
        for j in range(count):
            seen = _scaled(after[j], level) if name == "scale" else after[j]
            about = "simulated", "simulated", f"{name} {level:g} {j}", "impact" if changed[j] else "none"
            size = float(sizes[j]) if changed[j] else 0.0
            trials.append(Trial(before[j], seen, int(changed[j]), *about, size, name, level))
    return stack(trials)


def inserted(folder: pathlib.Path, seed: int, count: int, published: Sequence[backgrounds.LabelledPair] = ()) -> Trials:
    """Kind 2: each background once untouched and once with a change.

    Args:
        folder: Of real images.
        seed: Decides every draw.
        count: Number of terrain images beside the real pairs.
        published: Labelled pairs of published sets; the unchanged ones are backgrounds too.
    """
    grounds = itertools.chain(
        (pair.ground for pair in published if pair.label == 0),
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


def real_change(folder: pathlib.Path, published: Sequence[backgrounds.LabelledPair] = ()) -> Trials:
    """Kind 3: windows of the Mars polar scarp (by its mask), pairs of dates of the Planet Four spider (changed).

    With the labelled pairs of published sets, as they are.
    """
    return stack(
        itertools.chain(
            _scarp(folder / "mars-polar-scarp"),
            _spider(folder / "planetfour-timelapse"),
            (_as_published(pair) for pair in published),
        )
    )


def _as_published(pair: backgrounds.LabelledPair) -> Trial:
    before, after, family, source, _ = pair.ground
    what = "as labelled" if pair.label else "none"
    size = float("nan") if pair.label else 0.0
    return Trial(before, after, pair.label, "real change", family, source, what, size, real=True)


def read_scarp(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both dates of the Mars polar scarp, [256, 256] float32 in [0, 1], and the mask of its fallen block."""
    names = [next(folder.glob(pattern)) for pattern in ("T1_*", "T2_*", "mask_*")]
    before, after = (backgrounds.read_grey(name).astype(np.float32) for name in names[:2])
    return before, after, np.round(255 * backgrounds.read_grey(names[2])) == 1


def _scarp(folder: pathlib.Path):
    before, after, mask = read_scarp(folder)
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
