"""A small simulated archive: some places on Mars, each seen three times, some changed, and files that are broken.

Ground and light are those of the simulated CTX set where that has numbers. Every image says when it was taken and where
the sun stood, in tags, as a label would.
"""

import csv
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rasterio
from affine import Affine

from planetcd_jax.simulate import changes
from planetcd_jax.simulate.changes import Overlay
from planetcd_jax.simulate.demo_scene import PIXEL_M, SIMULATED
from planetcd_jax.simulate.imaging import Scene, Sun, display, radiance
from planetcd_jax.simulate.ranges import CTX
from planetcd_jax.simulate.terrain import blur_and_shift, fractal, rough_relief
from planetcd_jax.types import Array

DATES = ("2008-03-11T10:15:00", "2012-07-02T09:40:00", "2017-01-23T10:05:00")
"""When each place was seen."""

_CRS = "IAU_2015:49900"  # Mars (2015), sphere, longitude and latitude
_DEGREE_M = np.pi / 180.0 * 3396190.0
_PAD = 64
_MARGIN = 70  # of a change from the edge, pixels


class Change(NamedTuple):
    """A change: its place, the date from which on it is seen, longitude, latitude and radius in metres."""

    place: int
    since: int
    lon: float
    lat: float
    radius_m: float


def _impact(key: Array, ground: int, at: np.ndarray, radius: float) -> Overlay:
    made = changes.Impact(
        jnp.float32(4.0), jnp.float32(radius), jnp.float32(-0.3), jnp.float32(-0.22), jnp.bool_(False)
    )
    return changes.impact(key, (ground, ground), (jnp.float32(at[0]), jnp.float32(at[1])), made)


def _views(key: Array, side: int, since: int | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, float]:
    """Three images [side, side] in [0, 1] of one place, the suns (azimuth, incidence), and where the change is."""
    ground = side + 2 * _PAD
    keys = jax.random.split(key, 5)
    white = jax.random.normal(keys[0], (2, ground, ground), jnp.float32)
    relief = rough_relief(white[0], jnp.float32(0.8), jnp.tan(jnp.deg2rad(jnp.float32(2.5))))
    albedo = jnp.exp(0.03 * fractal(white[1], jnp.float32(0.6), jnp.float32(2.0), jnp.float32(0.8)))
    scene = Scene(relief, albedo, jnp.float32(0.0), jnp.float32(0.0))
    u = np.asarray(jax.random.uniform(keys[1], (9,), jnp.float32))
    at = _PAD + _MARGIN + u[:2] * (side - 2 * _MARGIN)
    radius = float(18 + 14 * u[2])
    suns = np.stack([265 + 14 * u[3:6], 45 + 6 * u[6:9]], axis=-1)  # azimuth, incidence
    still = changes.no_change(ground, ground)
    new = _impact(keys[2], ground, at, radius)
    seen = []
    for date, (azimuth, incidence) in enumerate(suns):
        sun = Sun(jnp.deg2rad(jnp.float32(azimuth)), jnp.deg2rad(jnp.float32(90 - incidence)))
        light = radiance(
            scene, new if since is not None and date >= since else still, sun, jnp.float32(0.55), jnp.float32(0.2)
        )
        seen.append(blur_and_shift(light, jnp.float32(0.75), (jnp.float32(0.7 * date), jnp.float32(-0.6 * date))))
    first, second = display(keys[3], seen[0], seen[1], CTX)
    _, third = display(keys[3], seen[0], seen[2], CTX)
    inside = slice(_PAD, _PAD + side)
    return [np.asarray(view)[inside, inside] for view in (first, second, third)], suns, at - _PAD, radius


def write_archive(folder: pathlib.Path, *, places: int = 10, side: int = 300, seed: int = 0) -> list[Change]:
    """Writes an image of each place at each date, three of them broken, and truth.csv.

    Args:
        folder: Where; it must exist.
        places: How many places; two of three change.
        side: Of the images, pixels.
        seed: Decides everything.

    Returns:
        The changes, of which some lie on images that are broken.
    """
    truth = []
    pixel = PIXEL_M / _DEGREE_M
    for place in range(places):
        since = (None, 1, 2)[place % 3]
        views, suns, at, radius = _views(jax.random.fold_in(jax.random.key(seed), place), side, since)
        west, north = 179.995 if place == 0 else 20.0 + 31.0 * place - 360.0 * (place > 5), 40.0 - 9.0 * place
        wide = pixel / np.cos(np.deg2rad(north))
        if since is not None:
            lon = (west + at[1] * wide + 180.0) % 360.0 - 180.0
            truth.append(Change(place, since, lon, north - at[0] * pixel, radius * PIXEL_M))
        for date, view in enumerate(views):
            path = folder / f"place{place:02d}_{DATES[date][:4]}.tif"
            _write(path, view, Affine(wide, 0, west, 0, -pixel, north), DATES[date], suns[date])
            if (place, date) == (7, 1):  # cut short, as a download that ended early
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            elif (place, date) == (8, 0):
                path.write_bytes(b"<html>404 Not Found</html>")
            elif (place, date) == (9, 2):
                path.write_bytes(b"")
    with open(folder / "truth.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Change._fields)
        writer.writerows(truth)
    return truth


def _write(path: pathlib.Path, view: np.ndarray, transform: Affine, date: str, sun: np.ndarray) -> None:
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": view.shape[0], "width": view.shape[1], "nodata": 0,
        "crs": _CRS, "transform": transform, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(np.round(1 + view * 254).astype(np.uint8), 1)
        angles = {"SUB_SOLAR_AZIMUTH": f"{sun[0]:.2f}", "INCIDENCE_ANGLE": f"{sun[1]:.2f}", "EMISSION_ANGLE": "2.0"}
        out.update_tags(NOTE=SIMULATED, START_TIME=date, **angles)
