"""Simulated pairs of planetary patches with known change: a pure, keyed function of one pair. Callers vmap.

The ranges are in `ranges.py`. Left out on purpose: cast shadows, parallax between the two views, detector artefacts.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.data import surface_changes as changes
from planetcd_jax.data.ranges import SceneRanges
from planetcd_jax.data.surface_changes import Overlay, uniform
from planetcd_jax.data.terrain import add_craters, blur_and_shift, fractal, power_law, rough_relief, shade
from planetcd_jax.types import Array

NOTHING, IMPACT, STREAKS, CRAFT = range(4)
KINDS = ("nothing", "impact", "streaks", "craft")
"""What happened between the dates, by the number in `SimulatedPair.kind`."""

MASK_FACTOR = 0.04
"""A pixel counts as changed where its brightness factor changes by more than this share, or its height by more than
`MASK_HEIGHT` pixels."""
MASK_HEIGHT = 0.05

_CHANGE_MARGIN = 0.15
"""A change is centred at least this share of the patch away from the edge of both patches."""


class Scene(NamedTuple):
    """Ground that does not change: relief [H, W] in pixels, albedo [H, W] around 1, and the slope of the whole.

    Attributes:
        relief: [H, W] heights, pixels.
        albedo: [H, W], mean about 1.
        downslope: Azimuth in which the ground falls, radians clockwise from up.
        tilt: Tangent of the slope of the ground.
    """

    relief: Array
    albedo: Array
    downslope: Array
    tilt: Array


class Sun(NamedTuple):
    """Where the light comes from: azimuth, radians clockwise from up, and elevation, radians."""

    azimuth: Array
    elevation: Array


class SimulatedPair(NamedTuple):
    """A simulated pair and the truth about it.

    Attributes:
        before, after: [H, W] float32 in [0, 1], in steps of 1/255.
        mask: [H, W] bool, changed pixels on the grid of `before`.
        kind: int32, index into `KINDS`.
        shift: [2] float32, rows and columns by which the content of `after` is moved, pixels.
        sun_before, sun_after: `Sun` of the two dates.
    """

    before: Array
    after: Array
    mask: Array
    kind: Array
    shift: Array
    sun_before: Sun
    sun_after: Sun


def crater_slots(height: int, width: int, ranges: SceneRanges) -> int:
    """Number of craters on the most densely cratered scene of this size."""
    return max(1, math.ceil(ranges.crater_density[1] * 1.54 * height * width / ranges.crater_px[0] ** 2))


def simulate_sun(key: Array, ranges: SceneRanges) -> tuple[Sun, Sun]:
    """Sun positions of the two dates."""
    keys = jax.random.split(key, 4)
    first = Sun(uniform(keys[0], ranges.sun_azimuth_deg), uniform(keys[1], ranges.sun_elevation_deg))
    azimuth = first.azimuth + uniform(keys[2], ranges.sun_azimuth_change_deg)
    elevation = first.elevation + uniform(keys[3], ranges.sun_elevation_change_deg)
    return jax.tree.map(jnp.deg2rad, first), jax.tree.map(jnp.deg2rad, Sun(azimuth, elevation))


def simulate_scene(key: Array, height: int, width: int, ranges: SceneRanges, sun_azimuth: Array) -> Scene:
    """Ground of any size: fractal relief, craters, albedo, a slope of the whole.

    Args:
        key: PRNG key.
        height, width: Size, pixels. The field is periodic.
        ranges: What to draw from.
        sun_azimuth: Radians; the slope faces within `tilt_from_sun_deg` of it.

    Returns:
        The `Scene`.
    """
    keys = jax.random.split(key, 12)
    rms_slope = jnp.tan(jnp.deg2rad(uniform(keys[0], ranges.rms_slope_deg)))
    relief = rough_relief(keys[1], height, width, uniform(keys[2], ranges.hurst), rms_slope)

    n = crater_slots(height, width, ranges)
    low, high = (math.log(d) for d in ranges.crater_density)
    share = jnp.exp(uniform(keys[3], (low, high)) - high)
    diameters = power_law(keys[4], n, *ranges.crater_px, ranges.crater_exponent)
    diameters = jnp.where(jax.random.uniform(keys[5], (n,), jnp.float32) < share, diameters, 0.0)
    rows = uniform(keys[6], (0.0, float(height)), (n,))
    cols = uniform(keys[7], (0.0, float(width)), (n,))
    relief = add_craters(relief, rows, cols, diameters, uniform(keys[8], ranges.crater_depth, (n,)))

    key_tilt, key_turn = jax.random.split(keys[9])
    turn = jnp.deg2rad(uniform(key_turn, (-ranges.tilt_from_sun_deg, ranges.tilt_from_sun_deg)))
    downslope = sun_azimuth + turn
    key_field, key_hurst, key_stretch = jax.random.split(keys[10], 3)
    pattern = fractal(
        key_field, height, width, uniform(key_hurst, ranges.albedo_hurst), uniform(key_stretch, ranges.albedo_stretch),
        downslope,
    )  # fmt: skip
    albedo = jnp.exp(uniform(keys[11], ranges.albedo_rms) * pattern)
    return Scene(relief, albedo, downslope, jnp.tan(jnp.deg2rad(uniform(key_tilt, ranges.tilt_deg))))


def radiance(scene: Scene, overlay: Overlay, sun: Sun, limb: Array, haze: Array) -> Array:
    """Light that leaves the scene with an overlay on it, on average 1 where the air adds nothing. [H, W]."""
    by_row, by_col = scene.tilt * jnp.cos(scene.downslope), -scene.tilt * jnp.sin(scene.downslope)
    light = shade(scene.relief + overlay.height, sun.azimuth, sun.elevation, limb, (by_row, by_col))
    light = light * scene.albedo * overlay.factor
    light = light / jnp.mean(light)
    return (1.0 - haze) * light + haze


def simulate_changes(
    key: Array, kind: Array, scene: Scene, suns: tuple[Sun, Sun], lo: Array, hi: Array, ranges: SceneRanges
) -> tuple[Overlay, Overlay]:
    """Overlays of the first and the second date.

    Args:
        key: PRNG key.
        kind: int32, index into `KINDS`.
        scene: The ground; gives size and downhill direction.
        suns: Sun of both dates, for a craft's shadow.
        lo, hi: [2] rows and columns between which the change is centred.
        ranges: What to draw from.
    """
    shape = scene.relief.shape
    key_place, key_impact, key_streaks, key_craft = jax.random.split(key, 4)
    place = jax.random.uniform(key_place, (2,), jnp.float32)
    centre = lo + place * (hi - lo)
    first = second = changes.no_change(*shape)
    if ranges.streaks is not None:
        first, second = _streak_overlays(key_streaks, kind == STREAKS, scene, ranges.streaks)
    if ranges.impact is not None:
        new = _impact_overlay(key_impact, shape, centre, ranges.impact)
        second = _where(kind == IMPACT, new, second)
    if ranges.craft is not None:
        new = _craft_overlay(key_craft, shape, centre, suns[1], ranges.craft)
        second = _where(kind == CRAFT, new, second)
    return first, second


def simulate_pair(key: Array, changed: Array, ranges: SceneRanges) -> SimulatedPair:
    """One pair of patches of a place, with or without a change between them.

    Args:
        key: PRNG key of the pair.
        changed: bool scalar.
        ranges: What to draw from; static under `jit`.

    Returns:
        The `SimulatedPair`; also an unchanged pair differs in light, registration, display and noise.
    """
    keys = jax.random.split(key, 10)
    pad = math.ceil(ranges.max_shift_px) + 8
    height, width = (n + 2 * pad + (n % 2) for n in (ranges.height, ranges.width))
    kind = _kind(keys[0], changed, ranges)
    suns = simulate_sun(keys[1], ranges)
    scene = simulate_scene(keys[2], height, width, ranges, suns[0].azimuth)
    shift = _shift(keys[3], ranges)

    size = jnp.array([ranges.height, ranges.width], jnp.float32)
    lo = pad + _CHANGE_MARGIN * size + jnp.maximum(-shift, 0.0)
    hi = pad + (1 - _CHANGE_MARGIN) * size - jnp.maximum(shift, 0.0)
    overlays = simulate_changes(keys[4], kind, scene, suns, lo, hi, ranges)

    limb, haze = uniform(keys[5], ranges.limb), uniform(keys[6], ranges.haze, (2,))
    psf = uniform(keys[7], ranges.psf_px, (2,))
    still = jnp.zeros((2,), jnp.float32)
    views = [
        blur_and_shift(radiance(scene, overlays[t], suns[t], limb, haze[t]), psf[t], (move[0], move[1]))
        for t, move in enumerate((still, shift))
    ]
    window = (slice(pad, pad + ranges.height), slice(pad, pad + ranges.width))
    before, after = display(keys[8], views[0][window], views[1][window], ranges)
    mask = _changed_pixels(*overlays)[window]
    return SimulatedPair(before, after, mask, kind, shift, *suns)


def display(key: Array, before: Array, after: Array, ranges: SceneRanges) -> tuple[Array, Array]:
    """Two radiances as stretched 8-bit images in [0, 1]: detector noise, level, contrast, gain, offset. [H, W] each."""
    keys = jax.random.split(key, 7)
    snr = uniform(keys[0], ranges.snr)
    level, spread = uniform(keys[1], ranges.level), uniform(keys[2], ranges.spread)
    before = before / jnp.mean(before) - 1.0
    after = after / jnp.mean(after) - 1.0
    contrast = jnp.minimum(spread / (jnp.std(before) + 1e-6), 6.0 * level)
    gain, offset = uniform(keys[3], ranges.gain_change), uniform(keys[4], ranges.offset_change)
    before = before + jax.random.normal(keys[5], before.shape, jnp.float32) / snr
    after = after + jax.random.normal(keys[6], after.shape, jnp.float32) / snr
    first, second = level + contrast * before, level + offset + gain * contrast * after
    return tuple(jnp.round(jnp.clip(x, 0.0, 1.0) * 255.0) / 255.0 for x in (first, second))


def _kind(key: Array, changed: Array, ranges: SceneRanges) -> Array:
    if ranges.streaks is not None:
        kind = jnp.int32(STREAKS)
    else:
        kind = jnp.where(jax.random.uniform(key) < ranges.craft_share, CRAFT, IMPACT).astype(jnp.int32)
    return jnp.where(changed, kind, NOTHING).astype(jnp.int32)


def _shift(key: Array, ranges: SceneRanges) -> Array:
    u = jax.random.uniform(key, (2,), jnp.float32, -1.0, 1.0)
    return ranges.max_shift_px * jnp.sign(u) * jnp.abs(u) ** ranges.shift_power


def _where(choose: Array, new: Overlay, old: Overlay) -> Overlay:
    return jax.tree.map(lambda a, b: jnp.where(choose, a, b), new, old)


def _changed_pixels(first: Overlay, second: Overlay) -> Array:
    brightness = jnp.abs(second.factor / first.factor - 1.0) > MASK_FACTOR
    return brightness | (jnp.abs(second.height - first.height) > MASK_HEIGHT)


def _impact_overlay(key: Array, shape: tuple[int, int], centre: Array, ranges) -> Overlay:
    keys = jax.random.split(key, 8)
    diameter = power_law(keys[0], 1, *ranges.diameter_px, ranges.diameter_exponent)[0]
    low, high = (math.log(r) for r in ranges.zone_radius_px)
    radius = jnp.exp(uniform(keys[1], (low, high)))
    outer = uniform(keys[2], ranges.outer) * jnp.where(jax.random.uniform(keys[3]) < ranges.outer_opposite, -1.0, 1.0)
    inner = uniform(keys[4], ranges.inner) * jnp.where(jax.random.uniform(keys[5]) < ranges.inner_opposite, -1.0, 1.0)
    cluster = jax.random.uniform(keys[6]) < ranges.cluster
    return changes.impact(keys[7], shape, (centre[0], centre[1]), diameter, radius, inner, outer, cluster)


def _streak_overlays(key: Array, changed: Array, scene: Scene, ranges) -> tuple[Overlay, Overlay]:
    """Streaks that stand on both dates, and in a changed pair streaks that grow or, time reversed, fade."""
    shape = scene.relief.shape
    keys = jax.random.split(key, 10)
    n_stand, n_new = ranges.standing[1], ranges.count[1]
    n = n_stand + n_new
    standing = jax.random.randint(keys[0], (), ranges.standing[0], n_stand + 1)
    new = jax.random.randint(keys[1], (), ranges.count[0], n_new + 1)
    order = jnp.arange(n)
    is_new = order >= n_stand
    present = jnp.where(is_new, (order - n_stand < new) & changed, order < standing)
    widths = jnp.exp(uniform(keys[2], (math.log(ranges.width_px[0]), math.log(ranges.width_px[1])), (n,)))
    lengths = jnp.where(present, uniform(keys[3], ranges.length_px, (n,)), 0.0)
    contrasts = uniform(keys[4], ranges.contrast, (n,))
    reach = 0.35 * min(shape)
    offsets = uniform(keys[5], (-reach, reach), (n,))
    starts = uniform(keys[6], (-0.5 * min(shape), 0.1 * min(shape)), (n,))
    early = jnp.where(is_new, lengths * uniform(keys[7], ranges.old_length, (n,)), lengths)
    fades = jax.random.uniform(keys[8]) < ranges.fading

    def lay(length):
        return changes.streaks(keys[9], shape, scene.downslope, starts, offsets, length, widths, contrasts)

    short, long = lay(early), lay(lengths)
    return _where(fades, long, short), _where(fades, short, long)


def _craft_overlay(key: Array, shape: tuple[int, int], centre: Array, sun: Sun, ranges) -> Overlay:
    keys = jax.random.split(key, 5)
    draws = (ranges.size_px, ranges.height_px, ranges.brightness, ranges.halo_radius_px, ranges.halo)
    size, height, brightness, radius, halo = (uniform(k, r) for k, r in zip(keys, draws, strict=True))
    return changes.craft(
        shape, (centre[0], centre[1]), size, height, brightness, radius, halo, sun.azimuth, sun.elevation
    )
