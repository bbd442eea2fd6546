"""A simulated, georeferenced pair of Mars scenes with known changes, for a first look without data.

The second image covers other ground than the first, lies on a grid of its own, is misregistered by some pixels and was
lit by another sun; a wedge of it is no data. Its numbers are those of the simulated CTX set where that has them.
"""

import csv
import math
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rasterio
from affine import Affine

from planetcd_jax.simulate import changes as changes
from planetcd_jax.simulate.changes import Overlay
from planetcd_jax.simulate.draws import log_scaled, power_law, scaled
from planetcd_jax.simulate.imaging import Scene, Sun, display, radiance
from planetcd_jax.simulate.ranges import CTX, CTX_IMPACTS
from planetcd_jax.simulate.terrain import blur_and_shift, crater_profile, fractal, rough_relief
from planetcd_jax.types import Array

PIXEL_M = CTX.pixel_m
CHANGES = 10
MISREGISTRATION = (4.3, -6.6)
"""Rows and columns by which the content of the second image is displaced on the ground, pixels."""

SIMULATED = "SIMULATED: made by planetcd_jax, shows no real place"

_CRS = "IAU_2015:49910"  # Mars (2015), sphere, equirectangular
_CORNER = (4_446_000.0, 1_104_000.0)  # about 75 E, 18.6 N
_PAD = 128  # ground around the images, so that nothing periodic is seen
_AFTER_GRID = (0.4, -0.3)  # rows and columns between the two pixel grids
_AFTER_START = (60, 90)  # first row and column of the second image on the first one's grid
_PATCH = 240  # side of the ground that one impact or crater touches


class Truth(NamedTuple):
    """A change: number, row and column on the grid of the first image, and radius of its blast zone, pixels."""

    number: int
    row: float
    col: float
    radius: float


def stamp_craters(key: Array, relief: Array, count: int) -> Array:
    """The relief with `count` craters, each changing only the ground near it."""
    size = jnp.array(relief.shape, jnp.float32)
    u = jax.random.uniform(key, (4, count), jnp.float32)
    diameters = power_law(u[0], CTX.crater_px, CTX.crater_exponent)
    depths = scaled(u[1], CTX.crater_depth)
    half = _PATCH // 2
    steps = jnp.arange(_PATCH, dtype=jnp.float32) - half
    distance = jnp.sqrt(steps[:, None] ** 2 + steps[None, :] ** 2)

    def lay(ground, crater):
        row, col, diameter, depth = crater
        corner = (row.astype(jnp.int32), col.astype(jnp.int32))
        here = jax.lax.dynamic_slice(ground, corner, (_PATCH, _PATCH))
        here = here + diameter * crater_profile(2.0 * distance / diameter, depth)
        return jax.lax.dynamic_update_slice(ground, here, corner), None

    padded = jnp.pad(relief, half)
    padded = jax.lax.scan(lay, padded, (size[0] * u[2], size[1] * u[3], diameters, depths))[0]
    return padded[half:-half, half:-half]


def _lay_changes(key: Array, side: int) -> tuple[Overlay, list[Truth]]:
    """An overlay of impacts on the whole ground, and where they are on the first image."""
    ground = side + 2 * _PAD
    height, factor = np.zeros((ground, ground), np.float32), np.ones((ground, ground), np.float32)
    # One impact in each of some cells of a coarse lattice, so that none lies over another.
    cells = math.isqrt(CHANGES - 1) + 2
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 0), cells * cells))[:CHANGES]
    truth = []
    for number, cell in enumerate(sorted(order.tolist()), start=1):
        one = jax.random.fold_in(key, number)
        u = np.asarray(jax.random.uniform(one, (8,), jnp.float32))
        room = side - 400
        row, col = (200 + int(room * (n + 0.2 + 0.6 * u[i]) / cells) for i, n in enumerate(divmod(cell, cells)))
        radius = float(log_scaled(u[2], (12.0, CTX_IMPACTS.zone_radius_px[1])))
        signs = [-1.0 if v < CTX_IMPACTS.outer_opposite else 1.0 for v in u[6:8]]
        made = changes.Impact(
            power_law(u[3], (2.0, CTX_IMPACTS.diameter_px[1]), CTX_IMPACTS.diameter_exponent), jnp.float32(radius),
            scaled(u[4], CTX_IMPACTS.inner) * signs[0], scaled(u[5], CTX_IMPACTS.outer) * signs[1],
            jnp.bool_(u[7] < CTX_IMPACTS.cluster),
        )  # fmt: skip
        middle = jnp.float32(_PATCH / 2)
        overlay = changes.impact(one, (_PATCH, _PATCH), (middle, middle), made)
        top, left = row + _PAD - _PATCH // 2, col + _PAD - _PATCH // 2
        here = (slice(top, top + _PATCH), slice(left, left + _PATCH))
        height[here] += np.asarray(overlay.height)
        factor[here] *= np.asarray(overlay.factor)
        truth.append(Truth(number, float(row), float(col), radius))
    return Overlay(jnp.asarray(height), jnp.asarray(factor)), truth


def simulate_demo(key: Array, side: int) -> tuple[np.ndarray, np.ndarray, list[Truth]]:
    """The two scenes as displayed images in [0, 1] on their own grids, and the changes.

    Args:
        key: PRNG key.
        side: Side of the first image, pixels; at least 800.

    Returns:
        before [side, side], after [side - 60, side - 90] float32, and the `Truth` of each change.
    """
    ground = side + 2 * _PAD
    keys = jax.random.split(key, 4)
    white = jax.random.normal(keys[0], (2, ground, ground), jnp.float32)
    relief = rough_relief(white[0], jnp.float32(0.8), jnp.tan(jnp.deg2rad(jnp.float32(2.0))))
    relief = jax.jit(stamp_craters, static_argnums=2)(keys[1], relief, int(4e-4 * ground**2))
    albedo = jnp.exp(0.03 * fractal(white[1], jnp.float32(0.6), jnp.float32(2.0), jnp.float32(0.8)))
    scene = Scene(relief, albedo, jnp.float32(0.0), jnp.float32(0.0))
    new, truth = _lay_changes(keys[2], side)
    suns = [Sun(*(jnp.deg2rad(jnp.float32(v)) for v in degrees)) for degrees in ((265.0, 42.0), (280.0, 47.0))]
    limb = jnp.float32(0.55)
    before = radiance(scene, changes.no_change(ground, ground), suns[0], limb, jnp.float32(0.15))
    after = radiance(scene, new, suns[1], limb, jnp.float32(0.3))
    move = [m - g for m, g in zip(MISREGISTRATION, _AFTER_GRID, strict=True)]
    before = blur_and_shift(before, jnp.float32(0.7), (jnp.float32(0.0), jnp.float32(0.0)))
    after = blur_and_shift(after, jnp.float32(0.8), (jnp.float32(move[0]), jnp.float32(move[1])))
    first, second = (np.asarray(image) for image in display(keys[3], before, after, CTX))
    inside = slice(_PAD, _PAD + side)
    first, second = first[inside, inside], second[inside, inside]
    return first, second[_AFTER_START[0] :, _AFTER_START[1] :], truth


def write_demo(folder: pathlib.Path, *, side: int = 3000, seed: int = 0) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes before.tif (8 bit), after.tif (16 bit, no-data 0) and truth.csv, on a Mars reference system.

    Args:
        folder: Where; it must exist.
        side: Side of the first image, pixels.
        seed: Decides everything.

    Returns:
        The two images.
    """
    before, after, truth = simulate_demo(jax.random.key(seed), side)
    x, y = _CORNER
    first = np.round(1 + before * 254).astype(np.uint8)
    second = np.round(100 + after * 4000).astype(np.uint16)
    rows, cols = np.mgrid[: second.shape[0], : second.shape[1]]
    second[cols + 0.12 * rows < 0.1 * side] = 0  # as the slanted edge of an orbit's swath
    start = [s + g for s, g in zip(_AFTER_START, _AFTER_GRID, strict=True)]
    grids = (
        Affine(PIXEL_M, 0.0, x, 0.0, -PIXEL_M, y),
        Affine(PIXEL_M, 0.0, x + PIXEL_M * start[1], 0.0, -PIXEL_M, y - PIXEL_M * start[0]),
    )
    paths = (folder / "before.tif", folder / "after.tif")
    for path, image, grid in zip(paths, (first, second), grids, strict=True):
        profile = {
            "driver": "GTiff", "dtype": image.dtype, "count": 1, "height": image.shape[0], "width": image.shape[1],
            "crs": _CRS, "transform": grid, "nodata": 0, "tiled": True, "blockxsize": 512, "blockysize": 512,
            "compress": "deflate",
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as out:
            out.write(image, 1)
            out.update_tags(NOTE=SIMULATED)
    with open(folder / "truth.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Truth._fields)
        writer.writerows(truth)
    return paths
