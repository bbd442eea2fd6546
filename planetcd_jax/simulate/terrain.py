"""Synthetic planetary terrain and its light: fractal relief, craters, albedo, shading. Pure and keyed.

Lengths are in pixels, heights too, so that a slope is a plain ratio. Rows grow downwards, columns to the right; an
azimuth is in radians clockwise from up (towards smaller rows).
"""

import chex
import jax
import jax.numpy as jnp

from planetcd_jax.types import Array

FRESH_DEPTH = 0.2
"""Depth over diameter of a fresh simple crater (Pike 1977)."""


def wave_numbers(height: int, width: int) -> tuple[Array, Array]:
    """Angular frequencies of the rows [H, 1] and columns [1, W//2+1] of `rfft2`, radians per pixel."""
    rows = 2 * jnp.pi * jnp.fft.fftfreq(height).astype(jnp.float32)[:, None]
    cols = 2 * jnp.pi * jnp.fft.rfftfreq(width).astype(jnp.float32)[None, :]
    return rows, cols


def fractal(white: Array, hurst: Array, stretch: Array | float = 1.0, azimuth: Array | float = 0.0) -> Array:
    """A self-affine field with zero mean and unit standard deviation; periodic.

    Its power spectrum falls as k^-(2 H + 2) for a Hurst exponent H.

    Args:
        white: [H, W] float32, Gaussian white noise.
        hurst: Hurst exponent, scalar; 0.5 rough, 1 smooth; -1 is white noise.
        stretch: Correlation length along `azimuth` over the length across it; 1 is isotropic.
        azimuth: Direction of that stretch, radians clockwise from up.

    Returns:
        [H, W] float32.
    """
    chex.assert_rank(white, 2)
    rows, cols = wave_numbers(*white.shape)
    along = -jnp.cos(azimuth) * rows + jnp.sin(azimuth) * cols  # [H, W//2+1]
    across = jnp.sin(azimuth) * rows + jnp.cos(azimuth) * cols
    k2 = (along * stretch) ** 2 + across**2
    amplitude = jnp.where(k2 > 0, jnp.where(k2 > 0, k2, 1.0) ** (-0.5 * (hurst + 1.0)), 0.0)
    field = jnp.fft.irfft2(jnp.fft.rfft2(white) * amplitude.astype(jnp.complex64), s=white.shape)
    return (field / jnp.std(field)).astype(jnp.float32)


def gradient(relief: Array) -> tuple[Array, Array]:
    """Central differences of heights by row and by column; the two edges are joined. [H, W] -> two of [H, W]."""
    chex.assert_rank(relief, 2)
    by_row = 0.5 * (jnp.roll(relief, -1, 0) - jnp.roll(relief, 1, 0))
    by_col = 0.5 * (jnp.roll(relief, -1, 1) - jnp.roll(relief, 1, 1))
    return by_row, by_col


def rough_relief(white: Array, hurst: Array, rms_slope: Array) -> Array:
    """Fractal heights in pixels, scaled so that the slope from pixel to pixel has the given RMS (a ratio)."""
    relief = fractal(white, hurst)
    by_row, by_col = gradient(relief)
    return relief * rms_slope / jnp.sqrt(jnp.mean(by_row**2 + by_col**2))


def crater_profile(radius: Array, depth_ratio: Array) -> Array:
    """Height of a simple crater of unit diameter against the distance from its centre.

    Fresh: a parabolic bowl up to the rim, which falls outside with the cube of the distance (McGetchin et al. 1973);
    depth 0.196 and rim 0.036 diameters (Pike 1977). Worn ones are shallower and their rim is rounded off, as slow
    downhill creep leaves them: a blend of the fresh shape and a Gaussian bowl by how shallow the crater is.

    Args:
        radius: Distance from the centre in crater radii, >= 0.
        depth_ratio: Depth from rim to floor over diameter, at most `FRESH_DEPTH`.

    Returns:
        Height over diameter, same shape as `radius`.
    """
    rim = 0.18 * depth_ratio
    bowl = rim - depth_ratio * (1.0 - radius**2)
    apron = rim * jnp.maximum(radius, 1.0) ** -3
    fresh = jnp.where(radius < 1.0, bowl, apron)
    worn = depth_ratio * (0.12 * jnp.exp(-((radius - 1.15) ** 2) / 0.18) - jnp.exp(-1.6 * radius**2))
    share = jnp.clip(depth_ratio / FRESH_DEPTH, 0.0, 1.0)
    return jnp.where(radius < 5.0, share * fresh + (1.0 - share) * worn, 0.0)


def add_craters(relief: Array, rows: Array, cols: Array, diameters: Array, depth_ratios: Array) -> Array:
    """The relief with craters added one after another, in the order given. A diameter of 0 is no crater.

    Args:
        relief: [H, W] heights, pixels.
        rows, cols: [K] centres, pixels.
        diameters: [K], pixels.
        depth_ratios: [K] depth over diameter.
    """
    chex.assert_rank([relief, rows, cols, diameters, depth_ratios], [2, 1, 1, 1, 1])
    grid_rows, grid_cols = grid(*relief.shape)

    def lay(heights, crater):
        row, col, diameter, depth = crater
        distance = jnp.sqrt((grid_rows - row) ** 2 + (grid_cols - col) ** 2)
        size = jnp.maximum(diameter, 1e-3)
        return heights + diameter * crater_profile(2.0 * distance / size, depth), None

    return jax.lax.scan(lay, relief, (rows, cols, diameters, depth_ratios))[0]


def grid(height: int, width: int) -> tuple[Array, Array]:
    """Row and column numbers as float32, [H, 1] and [1, W]."""
    return jnp.arange(height, dtype=jnp.float32)[:, None], jnp.arange(width, dtype=jnp.float32)[None, :]


def shade(relief: Array, sun_azimuth: Array, sun_elevation: Array, limb: Array, tilt: tuple[Array, Array]) -> Array:
    """Brightness of a surface of albedo 1 seen from above: the lunar-Lambert law.

    B = L * 2 mu0 / (mu0 + mu) + (1 - L) * mu0, with mu0 and mu the cosines of incidence and emission.

    Args:
        relief: [H, W] heights, pixels; periodic.
        sun_azimuth: Direction of the sun, radians clockwise from up.
        sun_elevation: Radians above the horizon.
        limb: L, in [0, 1]: 0 is Lambert (dusty, hazy Mars), 1 Lommel-Seeliger (Moon).
        tilt: Slope of the ground by row and by column that is added to that of `relief`.

    Returns:
        [H, W] float32, >= 0; 0 where the ground faces away from the sun. Cast shadows are left out.

    Source: McEwen 1991, Icarus 92, 298.
    """
    by_row, by_col = gradient(relief)
    by_row, by_col = by_row + tilt[0], by_col + tilt[1]
    norm = jnp.sqrt(1.0 + by_row**2 + by_col**2)
    level = jnp.cos(sun_elevation)
    toward_row, toward_col = -level * jnp.cos(sun_azimuth), level * jnp.sin(sun_azimuth)
    mu = 1.0 / norm
    mu0 = jnp.maximum((-by_row * toward_row - by_col * toward_col + jnp.sin(sun_elevation)) / norm, 0.0)
    return limb * 2.0 * mu0 / (mu0 + mu) + (1.0 - limb) * mu0


def blur_and_shift(image: Array, sigma: Array, shift: tuple[Array, Array]) -> Array:
    """The image through a Gaussian point spread function, its content moved by a fraction of a pixel; periodic.

    Args:
        image: [H, W].
        sigma: Standard deviation of the point spread function, pixels.
        shift: Rows and columns by which content moves.
    """
    rows, cols = wave_numbers(*image.shape)
    phase = rows * shift[0] + cols * shift[1]
    damping = jnp.exp(-0.5 * sigma**2 * (rows**2 + cols**2))
    transfer = jax.lax.complex(damping * jnp.cos(phase), -damping * jnp.sin(phase))
    return jnp.fft.irfft2(jnp.fft.rfft2(image) * transfer, s=image.shape).astype(jnp.float32)
