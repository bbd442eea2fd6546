"""What can happen to a surface between two dates: a fresh impact, dark streaks on a slope, a landed craft.

Each change is an `Overlay` on a scene: heights to add and a factor on the albedo. Pure, keyed, lengths in pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.simulate.terrain import FRESH_DEPTH, add_craters, fractal, grid
from planetcd_jax.types import Array

CRAFT_SHADOW = 0.12
"""Brightness left in a craft's shadow: light scattered by the ground around."""

RAYS = 14
"""Number of waves that make up the outline of a blast zone."""

CLUSTER = 5
"""Most craters in a cluster."""


class Overlay(NamedTuple):
    """A change of the surface: heights to add [H, W], pixels, and a factor on the brightness [H, W]."""

    height: Array
    factor: Array


def no_change(height: int, width: int) -> Overlay:
    """The overlay that changes nothing."""
    return Overlay(jnp.zeros((height, width), jnp.float32), jnp.ones((height, width), jnp.float32))


def _ray_pattern(theta: Array, phases: Array, sizes: Array) -> Array:
    """How far a blast reaches by direction, around 1: a lopsided body and rays of random width. [H, W] -> [H, W]."""
    order = jnp.arange(1, phases.shape[0] + 1, dtype=jnp.float32)
    waves = jnp.cos(order[:, None, None] * theta[None] + 2 * jnp.pi * phases[:, None, None])  # [R, H, W]
    return jnp.exp(jnp.sum((sizes / jnp.sqrt(order))[:, None, None] * waves, axis=0))


class Impact(NamedTuple):
    """A fresh impact. Scalars.

    Attributes:
        diameter: Crater diameter, pixels; of the largest where there are several.
        zone_radius: Radius of the blast zone, pixels.
        inner: Relative change of brightness next to the crater (dark below 0, bright above).
        outer: The same in the blast zone.
        cluster: True for a cluster of up to five craters.
    """

    diameter: Array
    zone_radius: Array
    inner: Array
    outer: Array
    cluster: Array


def impact(key: Array, shape: tuple[int, int], centre: tuple[Array, Array], what: Impact) -> Overlay:
    """A fresh impact: one crater or a small cluster, a zone close to it and a wide, rayed blast zone.

    Args:
        key: PRNG key of its shape.
        shape: (H, W).
        centre: Row and column, pixels.
        what: The impact.

    Returns:
        The `Overlay`.
    """
    diameter, zone_radius, inner, outer, cluster = what
    key_ground, key_size, key_phase = jax.random.split(key, 3)
    white = jax.random.normal(key_ground, shape, jnp.float32)
    sizes = jax.random.normal(key_size, (RAYS + 2 * CLUSTER,), jnp.float32)
    phases = jax.random.uniform(key_phase, (RAYS + 2 * CLUSTER,), jnp.float32)
    rows, cols = grid(*shape)
    d_row, d_col = rows - centre[0], cols - centre[1]
    distance, theta = jnp.sqrt(d_row**2 + d_col**2), jnp.arctan2(d_col, -d_row)
    reach = zone_radius * _ray_pattern(theta, phases[:RAYS], 0.22 * sizes[:RAYS])
    body = jnp.exp(-((distance / reach) ** 2))
    near = jnp.exp(-((distance / (0.3 * reach + diameter)) ** 4))
    mottle = 1.0 + 0.25 * fractal(white, jnp.float32(0.2))
    factor = 1.0 + (outer * body * (1.0 - near) + inner * near) * jnp.clip(mottle, 0.2, 1.8)

    spread = 0.25 * zone_radius * sizes[RAYS:].reshape(2, CLUSTER)
    spread = spread.at[:, 0].set(0.0)
    share = 0.3 + 0.5 * phases[RAYS : RAYS + CLUSTER].at[0].set(1.4)
    present = jnp.arange(CLUSTER) == 0
    present |= cluster & (phases[RAYS + CLUSTER :] < 0.7)
    height = add_craters(
        jnp.zeros(shape, jnp.float32),
        centre[0] + spread[0],
        centre[1] + spread[1],
        jnp.where(present, diameter * share, 0.0),
        jnp.full((CLUSTER,), FRESH_DEPTH, jnp.float32),
    )
    return Overlay(height, jnp.clip(factor, 0.1, 2.5))


class Streaks(NamedTuple):
    """Streaks on a slope, [S] float32 each.

    Attributes:
        starts: Where each begins, pixels along the slope from the middle of the image.
        offsets: Its place across the slope, pixels from the middle.
        lengths: Pixels; 0 is no streak.
        widths: Pixels; a streak is at most a fifth as wide as it is long.
        contrasts: Share of the brightness that it takes away, in [0, 1].
        courses: [S, 6] in [0, 1), phases and sizes of three meanders.
    """

    starts: Array
    offsets: Array
    lengths: Array
    widths: Array
    contrasts: Array
    courses: Array


def streaks(shape: tuple[int, int], downslope: Array, which: Streaks) -> Overlay:
    """Dark streaks that run down a slope, meander a little and taper at their lower end, as RSL do.

    Args:
        shape: (H, W).
        downslope: Azimuth that they run towards, radians clockwise from up.
        which: The streaks.

    Returns:
        The `Overlay`; its heights are 0.
    """
    rows, cols = grid(*shape)
    d_row, d_col = rows - shape[0] / 2, cols - shape[1] / 2
    along = -jnp.cos(downslope) * d_row + jnp.sin(downslope) * d_col  # [H, W], grows downslope
    across = jnp.sin(downslope) * d_row + jnp.cos(downslope) * d_col

    def lay(light, streak):
        start, offset, length, width, contrast, course = streak
        waves = jnp.float32(2 * jnp.pi) / jnp.array([90.0, 41.0, 17.0], jnp.float32)
        swing = jnp.array([5.0, 2.0, 0.6], jnp.float32) * course[3:]
        phase = 2 * jnp.pi * course[:3]
        middle = offset + sum(swing[k] * jnp.sin(waves[k] * along + phase[k]) for k in range(3))
        down = along - start
        taper = jnp.clip((length - down) / (0.35 * length + 1.0), 0.0, 1.0) ** 0.5
        half = 0.5 * jnp.minimum(width, 0.2 * length) * taper
        soft = 0.6
        inside = jax.nn.sigmoid((half - jnp.abs(across - middle)) / soft)
        inside *= jax.nn.sigmoid(down / 1.5) * jax.nn.sigmoid((length - down) / 1.5)
        return light * jnp.where(length > 0, 1.0 - contrast * inside, 1.0), None

    light, _ = jax.lax.scan(lay, jnp.ones(shape, jnp.float32), which)
    return Overlay(jnp.zeros(shape, jnp.float32), light)


class Craft(NamedTuple):
    """A landed craft. Scalars.

    Attributes:
        size: Width, pixels.
        height: Pixels; the shadow is height / tan(sun elevation) long.
        brightness: Brightness over that of the ground.
        halo_radius: Radius of the brightened ground, pixels.
        halo: Its relative change of brightness.
    """

    size: Array
    height: Array
    brightness: Array
    halo_radius: Array
    halo: Array


def craft(shape: tuple[int, int], centre: tuple[Array, Array], what: Craft, sun: tuple[Array, Array]) -> Overlay:
    """A landed craft: a bright spot, its shadow away from the sun, and ground brightened by its engine.

    Args:
        shape: (H, W).
        centre: Row and column, pixels.
        what: The craft.
        sun: Azimuth and elevation, radians.

    Returns:
        The `Overlay`; its heights are 0, since a craft has no slopes that could be shaded as ground.
    """
    size, height, brightness, halo_radius, halo = what
    sun_azimuth, sun_elevation = sun
    rows, cols = grid(*shape)
    d_row, d_col = rows - centre[0], cols - centre[1]
    away_row, away_col = jnp.cos(sun_azimuth), -jnp.sin(sun_azimuth)
    behind = d_row * away_row + d_col * away_col
    aside = -d_row * away_col + d_col * away_row
    length = jnp.minimum(height / jnp.tan(sun_elevation), 60.0)
    soft = 0.4
    body = jax.nn.sigmoid((size / 2 - jnp.maximum(jnp.abs(behind), jnp.abs(aside))) / soft)
    shadow = jax.nn.sigmoid((size / 2 - jnp.abs(aside)) / soft)
    shadow *= jax.nn.sigmoid((behind - size / 2) / soft) * jax.nn.sigmoid((size / 2 + length - behind) / soft)
    glow = 1.0 + halo * jnp.exp(-((d_row**2 + d_col**2) / halo_radius**2))
    factor = glow * (1.0 - (1.0 - CRAFT_SHADOW) * shadow)
    return Overlay(jnp.zeros(shape, jnp.float32), factor * (1.0 - body) + brightness * body)
