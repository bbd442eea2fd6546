"""Pairs whose changed pixels are known: real and simulated second dates, untouched and with a change drawn in.

The masks lie on the grid of the first date, as pixel maps do.
"""

import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from planetcd_jax.scenes.misregistration import residual_shift
from scripts.evaluation import backgrounds, insertions
from scripts.evaluation.backgrounds import Background
from scripts.evaluation.sets import read_scarp

VISIBLE = 0.08
"""A drawn pixel counts as changed where its brightness changes by more than this share: that of `simulate.imaging`,
0.04, for displayed images (`insertions.STRETCH`)."""

BLOBS_PX = (8.0, 16.0, 40.0)


class PixelTrial(NamedTuple):
    """One pair.

    Attributes:
        before, after: [H, W] float32 in [0, 1].
        mask: [H, W] bool, what changed.
        change: What was drawn, "none" where nothing was.
        size: Of the change, pixels.
        family, source: As in `Trial`.
    """

    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    change: str
    size: float
    family: str
    source: str


def draw_blob(rng: np.random.Generator, shape: tuple[int, int], size: float) -> tuple[np.ndarray, str]:
    """Factor [H, W] of a round change with a soft or a hard edge, dark or bright, and its name."""
    centre = (0.18 + 0.64 * rng.random(2)) * np.array(shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1]) / (size / 2)
    hard, contrast = rng.random() < 0.5, rng.uniform(0.2, 0.6) * (-1 if rng.random() < 0.5 else 1)
    profile = (distance < 1).astype(float) if hard else np.exp2(-(distance**2))
    return ndimage.gaussian_filter(1 + contrast * profile, insertions.SENSOR_BLUR_PX), f"{size:g} px blob"


def _grounds(folder: pathlib.Path, seed: int, count: int) -> Iterator[tuple[Background, np.ndarray]]:
    """Unchanged ground, and by how many rows and columns the content of its second date is displaced."""
    still = np.zeros(2)
    apollo = itertools.islice(backgrounds.apollo15(folder / "apollo15"), 0, None, 3)
    for ground in itertools.chain(backgrounds.hirise_repeat_pairs(folder / "hirise-repeat-pairs"), apollo):
        yield ground, still
    for ground in backgrounds.terrain(folder, seed, count):
        yield ground, _displacement(ground)
    for entry in json.loads((folder / "ctx-repeat" / "pairs.json").read_text())["pairs"]:
        if entry["label"] == "unchanged":
            dates = (folder / "ctx-repeat" / f"{entry['id']}_{date}.png" for date in ("before", "after"))
            cut = backgrounds.cut(*map(backgrounds.read_grey, dates), "ctx-repeat", f"ctx {entry['site']}")
            yield from ((ground, still) for ground in cut)


def _displacement(ground: Background) -> np.ndarray:
    """Rows and columns by which the content of the second date lies further down and right; to a tenth."""
    return np.asarray(residual_shift(ground.before, ground.after, np.ones(ground.before.shape, bool)))


def trials(folder: pathlib.Path, seed: int, count: int, split: str) -> Iterator[PixelTrial]:
    """Each ground of a split untouched, with a change of `insertions` of 8 px and more, and with a blob."""
    for i, (ground, shift) in enumerate(_grounds(folder, seed, count)):
        if backgrounds.split_of(ground.source) != split:
            continue
        about, nothing = (ground.family, ground.source), np.zeros(ground.after.shape, bool)
        yield PixelTrial(ground.before, ground.after, nothing, "none", 0.0, *about)
        if ground.family == "ctx-repeat":
            continue
        rng = np.random.default_rng([seed, 7, i])
        kind = insertions.CHANGES[i % len(insertions.CHANGES)]
        size = max(8.0, insertions.draw_size(rng, kind))
        blob = BLOBS_PX[i // 3 % len(BLOBS_PX)]
        drawn = [(insertions.draw_change(rng, ground.after.shape, kind, size), kind, size)]
        drawn.append((*draw_blob(rng, ground.after.shape, blob), blob))
        for factor, name, pixels in drawn:
            there = ndimage.shift(factor, -shift, order=1, mode="nearest")
            seen = insertions.insert(ground.after, factor)
            yield PixelTrial(ground.before, seen, np.abs(there - 1) > VISIBLE, name, pixels, *about)


def scarp(folder: pathlib.Path) -> PixelTrial:
    """The whole pair of the Mars polar scarp and the mask of its fallen block."""
    before, after, mask = read_scarp(folder / "mars-polar-scarp")
    return PixelTrial(before, after, mask, "fallen block", float(np.sqrt(4 / np.pi * mask.sum())), "scarp", "scarp")
