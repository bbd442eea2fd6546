"""A change drawn into the after-image of an unchanged pair: a fresh impact, a dark streak or a boulder.

The contrasts are those that `data.ranges` takes from the literature, times `STRETCH`, because the images are displayed
ones. They were fixed before any score was computed on the result.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from planetcd_jax.simulate import changes

CHANGES = ("impact", "streak", "boulder")

STRETCH = 2.0
"""How much more contrast a displayed orbital image has than the ground: a relative spread of about 20 % in 8-bit browse
images, against 5 to 10 % of radiance. Assumed; the same for all."""

SENSOR_BLUR_PX = 0.6
"""Standard deviation of the point spread function: about two pixels full width at a tenth (McEwen et al. 2007)."""

SIZES_PX = (4.0, 40.0)
_MARGIN = 0.18
"""Changes are centred at least this share of the patch away from its edge."""


@partial(jax.jit, static_argnums=1)
def _impact(key, shape, centre, radius, inner, outer):
    diameter = jnp.maximum(radius / 6, jnp.float32(0.8))
    made = changes.Impact(diameter, radius, inner, outer, jnp.bool_(False))
    return changes.impact(key, shape, (centre[0], centre[1]), made)


@partial(jax.jit, static_argnums=0)
def _streak(shape, downslope, start, offset, length, width, contrast, course):
    one = changes.Streaks(*(x[None] for x in (start, offset, length, width, contrast, course)))
    return changes.streaks(shape, downslope, one)


@partial(jax.jit, static_argnums=0)
def _craft(shape, centre, size, brightness, azimuth, elevation):
    one = jnp.float32(1)
    made = changes.Craft(size, size, brightness, 10 * one, 0 * one)
    return changes.craft(shape, (centre[0], centre[1]), made, (azimuth, elevation))


def _f(value: float) -> jax.Array:
    return jnp.asarray(value, jnp.float32)


def draw_change(rng: np.random.Generator, shape: tuple[int, int], kind: str, size: float) -> np.ndarray:
    """Factor [H, W] by which a change multiplies the brightness of the ground.

    Args:
        rng: Decides place, shape and contrast.
        shape: (H, W).
        kind: One of `CHANGES`.
        size: Diameter of the blast zone, length of the streak, or width of the boulder with its shadow, pixels.

    Returns:
        [H, W] float, 1 where nothing changes; blurred to the sensor.
    """
    centre = (_MARGIN + (1 - 2 * _MARGIN) * rng.random(2)) * np.array(shape)
    if kind == "impact":
        contrast = STRETCH * rng.uniform(0.1, 0.35) * (-1 if rng.random() < 0.7 else 1)
        inner = contrast * rng.uniform(0.5, 1.2) * (-1 if rng.random() < 0.3 else 1)
        key = jax.random.key(int(rng.integers(2**31)))
        overlay = _impact(key, shape, jnp.asarray(centre, jnp.float32), _f(size / 2), _f(inner), _f(contrast))
        factor = np.asarray(overlay.factor) * _relief_light(np.asarray(overlay.height), rng)
    elif kind == "streak":
        downslope = rng.uniform(0, 2 * np.pi)
        at = centre - np.array(shape) / 2
        along = -np.cos(downslope) * at[0] + np.sin(downslope) * at[1]
        across = np.sin(downslope) * at[0] + np.cos(downslope) * at[1]
        numbers = along - size / 2, across, size, rng.uniform(1.7, 6.0), STRETCH * rng.uniform(0.08, 0.35)
        course = jnp.asarray(rng.random(6), jnp.float32)
        factor = np.asarray(_streak(shape, _f(downslope), *map(_f, numbers), course).factor)
    else:
        sun = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(30, 55))
        bright = _f(1 + STRETCH * rng.uniform(0.15, 0.4))
        factor = _craft(shape, jnp.asarray(centre, jnp.float32), _f(size / 2), bright, *map(_f, sun)).factor
    return ndimage.gaussian_filter(np.clip(np.asarray(factor, np.float64), 0.1, 3.0), SENSOR_BLUR_PX)


def _relief_light(height: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light of a crater's own slopes: 1 + slope towards the sun / tan(elevation)."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(30, 55))
    by_row, by_col = np.gradient(height)
    return 1 + (np.cos(azimuth) * by_row - np.sin(azimuth) * by_col) / np.tan(elevation)


def insert(after: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The after-image with the change in it, clipped to [0, 1] and in steps of 1/255 as an 8-bit image is."""
    return (np.round(np.clip(after * factor, 0, 1) * 255) / 255).astype(np.float32)


def draw_size(rng: np.random.Generator, kind: str) -> float:
    """Log-uniform over `SIZES_PX`; boulders up to 12 px, streaks from 8 px."""
    low, high = {"impact": SIZES_PX, "streak": (8.0, SIZES_PX[1]), "boulder": (SIZES_PX[0], 12.0)}[kind]
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
