"""Unchanged ground seen twice: real pairs, and single real images with a simulated second date."""

import functools
import json
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image
from scipy import ndimage

from planetcd_jax.errors import DataError
from planetcd_jax.ops.registration import Registering
from planetcd_jax.pairs import open_dataset
from scripts.evaluation.trials import SIDE

STEP = 64
"""Pixels between patches of a large image."""


class Background(NamedTuple):
    """Two dates of unchanged ground, [side, side] float32 in [0, 1] each; the other fields as in `Trial`."""

    before: np.ndarray
    after: np.ndarray
    family: str
    source: str
    real: bool


def read_grey(path: pathlib.Path) -> np.ndarray:
    """An 8-bit image, or 8-bit values in 16-bit storage, as [H, W] float64 in [0, 1]."""
    with Image.open(path) as image:
        values = np.asarray(image, np.float64)
    return (values.mean(axis=-1) if values.ndim == 3 else values) / 255


def corners(length: int, step: int = STEP, side: int = SIDE) -> list[int]:
    """Origins of patches along one axis, spread evenly from edge to edge and about `step` apart."""
    if length < side:
        return []
    count = 1 + round((length - side) / step)
    return [int(v) for v in np.round(np.linspace(0, length - side, count))]


def cut(
    before: np.ndarray, after: np.ndarray, family: str, source: str, valid: np.ndarray | None = None, side: int = SIDE
):
    """Patches of a pair that are valid and not flat."""
    for row in corners(before.shape[0], side=side):
        for column in corners(before.shape[1], side=side):
            window = slice(row, row + side), slice(column, column + side)
            if (valid is None or valid[window].all()) and min(before[window].std(), after[window].std()) > 0.01:
                pair = before[window].astype(np.float32), after[window].astype(np.float32)
                yield Background(*pair, family, source, True)


def hirise_repeat_pairs(folder: pathlib.Path, side: int = SIDE) -> Iterator[Background]:
    """Patches of the registered HiRISE repeat pairs; the source is the pair."""
    for entry in json.loads((folder / "pairs.json").read_text()):
        before, after = (read_grey(folder / f"{entry['id']}_t{date}.png") for date in (1, 2))
        yield from cut(before, after, "hirise-repeat-pairs", f"hirise {entry['id']}", side=side)


FRAME_EDGE_PX = 24
"""Share of an Apollo frame that is left out on each side: its fiducial marks reach 21 px in."""


def _inside(place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where places [2, H, W] lie within a frame, away from its edges."""
    edges = zip(place, shape, strict=True)
    return np.all([(at > FRAME_EDGE_PX) & (at < n - 1 - FRAME_EDGE_PX) for at, n in edges], axis=0)


FILM_DUST = 2.0
"""Standard deviations of a patch by which a speck on one frame is darker than all that the other shows around it. Of
834 patches of 64, 100 and 150 px 50 have one, of 2.05 or more; the others reach 1.7."""


@functools.cache
def _registered():
    return jax.jit(Registering().register)


def has_film_dust(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether one of two dates [side, side] has a dark speck, of some 4 px, that the other has not.

    The film of the Apollo frames was scanned with dust on it. As images such a pair did change, so it is none to
    measure false alarms with. The patches are registered; a speck is the mean of 3 px against the least of 7 px.
    """
    second = _registered()(before, after)
    compared = ndimage.binary_erosion(np.asarray(second.valid), iterations=4)
    dates = [(x - x[compared].mean()) / x[compared].std() for x in (before, np.asarray(second.after))]
    return any(
        (ndimage.minimum_filter(other, 7) - ndimage.uniform_filter(one, 3))[compared].max() > FILM_DUST
        for one, other in (dates, dates[::-1])
    )


def apollo15(folder: pathlib.Path, side: int = SIDE) -> Iterator[Background]:
    """Patches of overlapping Apollo frames, the second resampled to the first by its homography.

    Only frames 297 with 298 and 299 with 300: so no image is in two pairs. Misalignment by relief stays in;
    the fiducial marks along the edges of the frames, which stay where they are while the ground moves, do not; nor do
    patches with dust of the film (`has_film_dust`).
    """
    for entry in json.loads((folder / "pairs.json").read_text()):
        frames = tuple(re.search(r"M-0(\d+)_", entry[name]).group(1) for name in ("ref", "mov"))
        if frames not in (("297", "298"), ("299", "300")):
            continue
        reference, moving = (read_grey(folder / entry[name]) for name in ("ref", "mov"))
        back = np.linalg.inv(np.array(entry["H_mov_to_ref"]))
        rows, columns = np.mgrid[: reference.shape[0], : reference.shape[1]].astype(float)
        x, y, w = np.tensordot(back, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
        at = np.stack([y / w, x / w])
        places = (at, moving.shape), (np.stack([rows, columns]), reference.shape)
        valid = np.all([_inside(place, shape) for place, shape in places], axis=0)
        warped = ndimage.map_coordinates(moving, at, order=1, mode="nearest")
        patches = cut(reference, warped, "apollo15", f"apollo {frames[0]}-{frames[1]}", valid, side)
        yield from (patch for patch in patches if not has_film_dust(patch.before, patch.after))


class LabelledPair(NamedTuple):
    """A real pair of a published set, its middle [SIDE, SIDE]; label 1 changed, 0 unchanged."""

    ground: Background
    label: int


def mars_bench(folder: pathlib.Path, seed: int, count: int) -> Iterator[LabelledPair]:
    """Up to `count` labelled pairs, of any split of the set, from a folder in the Mars-Bench layout.

    The source is the pair: neighbours that the set cut from one image may come into both splits.

    Raises:
        DataError: if the folder is not in that layout.
    """
    if not (folder / "annotation.csv").is_file():
        raise DataError(f"{folder}: holds no annotation.csv; name a folder in the Mars-Bench layout.")
    pairs = open_dataset("ctx", data_dir=str(folder), split="all", source="real")
    rng = np.random.default_rng([seed, 3])
    for i in sorted(rng.permutation(len(pairs))[:count]):
        label, pair = int(pairs.labels[i]), pairs.read(i)
        row, column = ((n - SIDE) // 2 for n in pair.before.shape[:2])
        if label not in (0, 1) or min(row, column) < 0:
            continue
        window = slice(row, row + SIDE), slice(column, column + SIDE)
        dates = (np.asarray(x[window], np.float32) for x in (pair.before, pair.after))
        yield LabelledPair(Background(*dates, folder.name, f"{folder.name} {pairs.ids[i]}", True), label)


def second_date(
    rng: np.random.Generator, image: np.ndarray, row: int, column: int, side: int = SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """A patch, and the same ground with another shift, blur, gain, offset and noise. `image` has 8 px to spare."""
    shift = rng.uniform(-5, 5, 2)
    grid = np.mgrid[row : row + side, column : column + side].astype(float)
    soft = ndimage.gaussian_filter(image, rng.uniform(0.2, 0.8))
    moved = ndimage.map_coordinates(soft, grid + shift[:, None, None], order=3, mode="reflect")
    gain, offset = rng.uniform(0.8, 1.25), rng.uniform(-0.06, 0.06)
    seen = gain * (moved - moved.mean()) + moved.mean() + offset
    noise = rng.uniform(0.004, 0.015) * rng.standard_normal((2, side, side))
    pair = image[row : row + side, column : column + side] + 0.5 * noise[0], seen + noise[1]
    return tuple((np.round(np.clip(x, 0, 1) * 255) / 255).astype(np.float32) for x in pair)


def terrain(folder: pathlib.Path, seed: int, count: int, side: int = SIDE) -> Iterator[Background]:
    """`count` single real images with a simulated second date: HiRISE terrain, then lunar ones half as many."""
    rng = np.random.default_rng([seed, 1])
    paths = sorted((folder / "hirise-landmarks-v3").glob("*/*.jpg"))
    # Original crops only, not the set's own rotated, mirrored or brightened copies.
    paths = [p for p in paths if not re.search(r"-(r90|r180|r270|fv|fh|brt)\.", p.name)]
    chosen = rng.permutation(len(paths))[:count]
    middle = (227 - side) // 2 - 3
    for i in sorted(chosen):
        product = "_".join(paths[i].name.split("_")[:3])
        dates = second_date(rng, read_grey(paths[i]), middle, middle, side)
        yield Background(*dates, "hirise-landmarks-v3", product, False)
    moons = sorted((folder / "lunar-nac-ce4").glob("*.png"))
    for i in range(count // 2):
        path = moons[i % len(moons)]
        row, column = rng.integers(20, 780 - side, 2)
        yield Background(*second_date(rng, read_grey(path), row, column, side), "lunar-nac-ce4", path.stem, False)


def split_of(source: str) -> str:
    """ "development" or "test", from the name of the source alone; Apollo's two strips one each."""
    if source.startswith("apollo"):
        return "development" if source.endswith("298") else "test"
    return ("development", "test")[zlib.crc32(source.encode()) % 2]
