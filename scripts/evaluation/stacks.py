"""Simulated stacks: several dates of one ground, alike or in other light, with spots from some date on."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rasterio
from affine import Affine

from planetcd_jax.simulate import changes
from planetcd_jax.simulate.demo_scene import SIMULATED, stamp_craters
from planetcd_jax.simulate.imaging import Scene, Sun, radiance
from planetcd_jax.simulate.ranges import CTX
from planetcd_jax.simulate.terrain import blur_and_shift, fractal, rough_relief

_PAD = 64  # ground around the images, so that nothing periodic is seen


class Spot(NamedTuple):
    """A dark or bright spot that is there from one date on.

    Attributes:
        row, col: Its middle, pixels.
        diameter: Pixels.
        contrast: Share by which it changes the brightness of the displayed ground; below 0 darker.
        first: Number of the first date on which it is there, from 0.
        last: Number of the last one.
    """

    row: float
    col: float
    diameter: float
    contrast: float
    first: int
    last: int = 1000


@dataclasses.dataclass(frozen=True)
class Stack:
    """How a stack is made.

    Attributes:
        side: Of the images, pixels.
        suns: Azimuth and elevation of the light on each date, degrees.
        noise: Standard deviation of the noise of each date, of full scale.
        shift_px: Largest misregistration of a date in each axis, pixels.
        slope_deg: Root mean square slope of the ground from pixel to pixel.
    """

    side: int
    suns: Sequence[tuple[float, float]]
    noise: float = 0.012
    shift_px: float = 1.5
    slope_deg: float = 2.0


@functools.partial(jax.jit, static_argnums=1)
def _ground(key: jax.Array, side: int, slope: jax.Array) -> Scene:
    keys = jax.random.split(key, 2)
    white = jax.random.normal(keys[0], (2, side, side), jnp.float32)
    relief = rough_relief(white[0], jnp.float32(0.8), jnp.tan(jnp.deg2rad(slope)))
    relief = stamp_craters(keys[1], relief, int(4e-4 * side**2))
    albedo = jnp.exp(0.03 * fractal(white[1], jnp.float32(0.6), jnp.float32(2.0), jnp.float32(0.8)))
    return Scene(relief, albedo, jnp.float32(0.0), jnp.float32(0.0))


@jax.jit
def _seen(scene: Scene, factor: jax.Array, sun: jax.Array, blur: jax.Array, shift: jax.Array) -> tuple:
    """The ground in its light and a factor on its brightness, both through the optics, [H, W] each."""
    seen = radiance(
        scene, changes.no_change(*factor.shape), Sun(*jnp.deg2rad(sun)), jnp.float32(0.55), jnp.float32(0.2)
    )
    return tuple(blur_and_shift(x, blur, (shift[0], shift[1])) for x in (seen, factor))


def simulate_stack(seed: int, how: Stack, spots: Sequence[Spot] = ()) -> list[np.ndarray]:
    """The dates of a stack, [side, side] float32 in [0, 1] each.

    Each has light, gain, offset, sharpness, misregistration and noise of its own.

    Args:
        seed: Decides everything.
        how: The stack.
        spots: What changes.
    """
    rng, whole = np.random.default_rng([seed, 5]), how.side + 2 * _PAD
    scene = _ground(jax.random.key(seed), whole, jnp.float32(how.slope_deg))
    inside = slice(_PAD, _PAD + how.side)
    dates = []
    for number, sun in enumerate(how.suns):
        factor = np.ones((whole, whole))
        for spot in spots:
            if spot.first <= number <= spot.last:
                rows, cols = (np.arange(whole) - _PAD - middle for middle in (spot.row, spot.col))
                away = np.hypot(rows[:, None], cols)
                factor *= 1 + spot.contrast * np.clip(spot.diameter / 2 - away + 0.5, 0, 1)
        shift = rng.uniform(-how.shift_px, how.shift_px, 2) if number else np.zeros(2)
        numbers = (factor, sun, rng.uniform(0.6, 0.9), shift)
        found = _seen(scene, *(jnp.asarray(x, jnp.float32) for x in numbers))
        seen, factor = (np.asarray(x, np.float64)[inside, inside] for x in found)
        seen = 0.5 + rng.uniform(-0.06, 0.06) + rng.uniform(0.10, 0.14) * (seen - seen.mean()) / seen.std()
        seen = seen * factor + how.noise * rng.uniform(0.8, 1.25) * rng.standard_normal(seen.shape)
        dates.append((np.round(np.clip(seen, 0, 1) * 255) / 255).astype(np.float32))
    return dates


_CORNER = (4_446_000.0, 1_104_000.0)  # on Mars, about 75 E, 18.6 N


def write_stack(folder: pathlib.Path, dates: Sequence[np.ndarray], times: Sequence[str] = ()) -> list[str]:
    """Writes dates as 8-bit GeoTIFFs of one grid on Mars, date_0.tif and so on, with the times that labels state."""
    names = []
    for number, image in enumerate(dates):
        names.append(os.fspath(folder / f"date_{number}.tif"))
        profile = {
            "driver": "GTiff", "dtype": "uint8", "count": 1, "height": image.shape[0], "width": image.shape[1],
            "crs": "IAU_2015:49910",
            "transform": Affine(CTX.pixel_m, 0.0, _CORNER[0], 0.0, -CTX.pixel_m, _CORNER[1]),
        }  # fmt: skip
        with rasterio.open(names[-1], "w", **profile) as out:
            out.write(np.round(1 + 254 * image).astype(np.uint8), 1)
            out.update_tags(NOTE=SIMULATED, **({"START_TIME": times[number]} if times else {}))
    return names
