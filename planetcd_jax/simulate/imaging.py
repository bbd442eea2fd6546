"""Simulated pairs of planetary patches with known change: a pure, keyed function of one pair. Callers vmap.

The ranges are in `ranges.py`. Left out on purpose: cast shadows, parallax between the two views, detector artefacts.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.simulate import changes as changes
from planetcd_jax.simulate.changes import Overlay
from planetcd_jax.simulate.draws import draw, log_scaled, power_law, scaled, whole
from planetcd_jax.simulate.ranges import CraftRanges, ImpactRanges, SceneRanges, StreakRanges
from planetcd_jax.simulate.terrain import add_craters, blur_and_shift, fractal, rough_relief, shade
from planetcd_jax.types import Array

NOTHING, IMPACT, STREAKS, CRAFT = range(4)
KINDS = ("nothing", "impact", "streaks", "craft")
"""What happened between the dates, by the number in `SimulatedPair.kind`."""

MASK_FACTOR = 0.04
"""A pixel counts as changed where its brightness factor changes by more than this share, or its height by more than
`MASK_HEIGHT` pixels."""
MASK_HEIGHT = 0.05

MAX_CONTRAST = 4.0
"""Most that a display stretches a flat scene: brightness in units of its mean, times this."""

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
    azimuth, elevation, turn, climb = draw(
        key,
        ranges.sun_azimuth_deg,
        ranges.sun_elevation_deg,
        ranges.sun_azimuth_change_deg,
        ranges.sun_elevation_change_deg,
    )
    return jax.tree.map(jnp.deg2rad, (Sun(azimuth, elevation), Sun(azimuth + turn, elevation + climb)))


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
    key_numbers, key_white, key_craters = jax.random.split(key, 3)
    rms_slope, hurst, density, turn, tilt, rms, albedo_hurst, stretch = draw(
        key_numbers,
        ranges.rms_slope_deg,
        ranges.hurst,
        (0.0, 1.0),
        (-ranges.tilt_from_sun_deg, ranges.tilt_from_sun_deg),
        ranges.tilt_deg,
        ranges.albedo_rms,
        ranges.albedo_hurst,
        ranges.albedo_stretch,
    )
    white = jax.random.normal(key_white, (2, height, width), jnp.float32)
    relief = rough_relief(white[0], hurst, jnp.tan(jnp.deg2rad(rms_slope)))
    share = log_scaled(density, ranges.crater_density) / ranges.crater_density[1]
    relief = _cratered(key_craters, relief, share, ranges)
    downslope = sun_azimuth + jnp.deg2rad(turn)
    albedo = jnp.exp(rms * fractal(white[1], albedo_hurst, stretch, downslope))
    return Scene(relief, albedo, downslope, jnp.tan(jnp.deg2rad(tilt)))


def _cratered(key: Array, relief: Array, share: Array, ranges: SceneRanges) -> Array:
    """The relief with the set's crater population; `share` of the densest one."""
    height, width = relief.shape
    n = crater_slots(height, width, ranges)
    u = jax.random.uniform(key, (5, n), jnp.float32)
    diameters = jnp.where(u[0] < share, power_law(u[1], ranges.crater_px, ranges.crater_exponent), 0.0)
    return add_craters(relief, height * u[2], width * u[3], diameters, scaled(u[4], ranges.crater_depth))


def radiance(scene: Scene, overlay: Overlay, sun: Sun, limb: Array, haze: Array) -> Array:
    """Light that leaves the scene with an overlay on it, on average 1 where the air adds nothing. [H, W]."""
    by_row, by_col = scene.tilt * jnp.cos(scene.downslope), -scene.tilt * jnp.sin(scene.downslope)
    light = shade(scene.relief + overlay.height, sun.azimuth, sun.elevation, limb, (by_row, by_col))
    light = light * scene.albedo * overlay.factor
    light = light / jnp.mean(light)
    return (1.0 - haze) * light + haze


def simulate_changes(
    key: Array, kind: Array, scene: Scene, suns: tuple[Sun, Sun], room: tuple[Array, Array], ranges: SceneRanges
) -> tuple[Overlay, Overlay]:
    """Overlays of the first and the second date.

    Args:
        key: PRNG key.
        kind: int32, index into `KINDS`.
        scene: The ground; gives size and downhill direction.
        suns: Sun of both dates, for a craft's shadow.
        room: Least and largest row and column at which the change is centred, [2] each.
        ranges: What to draw from.
    """
    height, width = scene.relief.shape
    shape = height, width
    key_place, key_impact, key_streaks, key_craft = jax.random.split(key, 4)
    place = jax.random.uniform(key_place, (2,), jnp.float32)
    centre = room[0] + place * (room[1] - room[0])
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
    keys = jax.random.split(key, 6)
    pad = math.ceil(ranges.max_shift_px) + 8
    height, width = (n + 2 * pad + (n % 2) for n in (ranges.height, ranges.width))
    which, row, col, limb, *haze_psf = draw(
        keys[0], (0.0, 1.0), (-1.0, 1.0), (-1.0, 1.0), ranges.limb, *[ranges.haze] * 2, *[ranges.psf_px] * 2
    )
    haze, psf = haze_psf[:2], haze_psf[2:]
    kind = _kind(which, changed, ranges)
    shift = _shift(jnp.stack([row, col]), ranges)
    suns = simulate_sun(keys[1], ranges)
    scene = simulate_scene(keys[2], height, width, ranges, suns[0].azimuth)

    size = jnp.array([ranges.height, ranges.width], jnp.float32)
    lo = pad + _CHANGE_MARGIN * size + jnp.maximum(-shift, 0.0)
    hi = pad + (1 - _CHANGE_MARGIN) * size - jnp.maximum(shift, 0.0)
    overlays = simulate_changes(keys[3], kind, scene, suns, (lo, hi), ranges)

    still = jnp.zeros((2,), jnp.float32)
    views = [
        blur_and_shift(radiance(scene, overlays[t], suns[t], limb, haze[t]), psf[t], (move[0], move[1]))
        for t, move in enumerate((still, shift))
    ]
    window = (slice(pad, pad + ranges.height), slice(pad, pad + ranges.width))
    before, after = display(keys[4], views[0][window], views[1][window], ranges)
    mask = _changed_pixels(*overlays)[window]
    return SimulatedPair(before, after, mask, kind, shift, *suns)


def display(key: Array, before: Array, after: Array, ranges: SceneRanges) -> tuple[Array, Array]:
    """Two radiances as stretched 8-bit images in [0, 1]: detector noise, level, contrast, gain, offset. [H, W] each."""
    key_numbers, key_noise = jax.random.split(key)
    snr, level, spread, gain, offset = draw(
        key_numbers, ranges.snr, ranges.level, ranges.spread, ranges.gain_change, ranges.offset_change
    )
    before = before / jnp.mean(before) - 1.0
    after = after / jnp.mean(after) - 1.0
    contrast = jnp.minimum(spread / (jnp.std(before) + 1e-6), MAX_CONTRAST * level)
    noise = jax.random.normal(key_noise, (2, *before.shape), jnp.float32) / snr
    before, after = before + noise[0], after + noise[1]
    first, second = level + contrast * before, level + offset + gain * contrast * after
    first, second = (jnp.round(jnp.clip(x, 0.0, 1.0) * 255.0) / 255.0 for x in (first, second))
    return first, second


def _kind(u: Array, changed: Array, ranges: SceneRanges) -> Array:
    if ranges.streaks is not None:
        kind = jnp.int32(STREAKS)
    else:
        kind = jnp.where(u < ranges.craft_share, CRAFT, IMPACT).astype(jnp.int32)
    return jnp.where(changed, kind, NOTHING).astype(jnp.int32)


def _shift(u: Array, ranges: SceneRanges) -> Array:
    return ranges.max_shift_px * jnp.sign(u) * jnp.abs(u) ** ranges.shift_power


def _where(choose: Array, new: Overlay, old: Overlay) -> Overlay:
    return jax.tree.map(lambda a, b: jnp.where(choose, a, b), new, old)


def _changed_pixels(first: Overlay, second: Overlay) -> Array:
    brightness = jnp.abs(second.factor / first.factor - 1.0) > MASK_FACTOR
    return brightness | (jnp.abs(second.height - first.height) > MASK_HEIGHT)


def _impact_overlay(key: Array, shape: tuple[int, int], centre: Array, ranges: ImpactRanges) -> Overlay:
    key_numbers, key_shape = jax.random.split(key)
    unit = (0.0, 1.0)
    size, reach, flip_outer, flip_inner, many, outer, inner = draw(key_numbers, *[unit] * 5, ranges.outer, ranges.inner)
    diameter = power_law(size, ranges.diameter_px, ranges.diameter_exponent)
    radius = log_scaled(reach, ranges.zone_radius_px)
    outer = outer * jnp.where(flip_outer < ranges.outer_opposite, -1.0, 1.0)
    inner = inner * jnp.where(flip_inner < ranges.inner_opposite, -1.0, 1.0)
    made = changes.Impact(diameter, radius, inner, outer, many < ranges.cluster)
    return changes.impact(key_shape, shape, (centre[0], centre[1]), made)


def _streak_overlays(key: Array, changed: Array, scene: Scene, ranges: StreakRanges) -> tuple[Overlay, Overlay]:
    """Streaks that stand on both dates, and in a changed pair streaks that grow or, time reversed, fade."""
    height, width = scene.relief.shape
    shape = height, width
    n_stand, n = ranges.standing[1], ranges.standing[1] + ranges.count[1]
    u = jax.random.uniform(key, (n + 1, 12), jnp.float32)
    one, u = u[n], u[:n]
    order = jnp.arange(n)
    is_new = order >= n_stand
    standing, new = whole(one[0], ranges.standing), whole(one[1], ranges.count)
    order = order.astype(jnp.float32)
    present = jnp.where(is_new, (order - n_stand < new) & changed, order < standing)
    lengths = jnp.where(present, scaled(u[:, 0], ranges.length_px), 0.0)
    early = jnp.where(is_new, lengths * scaled(u[:, 1], ranges.old_length), lengths)
    widths, contrasts = log_scaled(u[:, 2], ranges.width_px), scaled(u[:, 3], ranges.contrast)
    side = float(min(shape))
    starts, offsets = scaled(u[:, 4], (-0.5 * side, 0.1 * side)), scaled(u[:, 5], (-0.35 * side, 0.35 * side))
    fades = one[2] < ranges.fading

    def lay(length):
        return changes.streaks(
            shape, scene.downslope, changes.Streaks(starts, offsets, length, widths, contrasts, u[:, 6:])
        )

    short, long = lay(early), lay(lengths)
    return _where(fades, long, short), _where(fades, short, long)


def _craft_overlay(key: Array, shape: tuple[int, int], centre: Array, sun: Sun, ranges: CraftRanges) -> Overlay:
    size, height, brightness, radius, halo = draw(
        key, ranges.size_px, ranges.height_px, ranges.brightness, ranges.halo_radius_px, ranges.halo
    )
    made = changes.Craft(size, height, brightness, radius, halo)
    return changes.craft(shape, (centre[0], centre[1]), made, (sun.azimuth, sun.elevation))
