"""Footprints of images from the images themselves and their labels."""

import math
import os
from collections.abc import Mapping

import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.images.network import PATIENCE
from planetcd_jax.scenes import body, labels
from planetcd_jax.scenes.georeference import grid_of
from planetcd_jax.scenes.source import no_grid_warning
from planetcd_jax.scenes.times import seconds_of, stated_time
from planetcd_jax.surveys.footprints import Footprint

with brought_by("survey"):
    import rasterio
    from rasterio.errors import RasterioError

ALONG_AN_EDGE = 9
"""Points along an edge that bends on the sphere."""


def of_file(name: str) -> Footprint:
    """Footprint of an image, from the image and its label.

    Raises:
        DataError: if it cannot be opened, or does not say where it lies.
    """
    try:
        with no_grid_warning(), rasterio.Env(**PATIENCE), rasterio.open(name) as dataset:
            grid, _ = grid_of(dataset, name)
            along = np.linspace(0.0, 1.0, ALONG_AN_EDGE)[:-1]
            cols = np.concatenate([along, np.ones_like(along), 1 - along, np.zeros_like(along)]) * grid.width
            rows = np.concatenate([np.zeros_like(along), along, np.ones_like(along), 1 - along]) * grid.height
            ring = np.stack(body.lon_lat(grid.crs, *grid.coordinates(cols, rows)), axis=-1)
            if grid.crs is None or not np.isfinite(ring).all():
                raise DataError(
                    "it does not say where on its body it lies; bring it to a map, or give a CSV with footprints"
                )
            _check_whole(dataset)
            angles, pixel = labels.angles(dataset), _pixel(grid)
            time = seconds_of(stated_time(dataset))
    except (RasterioError, UnicodeDecodeError) as error:
        raise DataError(f"it cannot be opened ({str(error).splitlines()[0]}); fetch it again") from None
    return Footprint(
        name, ring, time, pixel, incidence_of(angles), angles.get("emission", math.nan),
        angles.get("phase", math.nan), angles.get("sun_azimuth", math.nan), body.body_name(grid.crs) or "",
    )  # fmt: skip


def _check_whole(dataset) -> None:
    """Reads the last block: a file that is cut short has none."""
    if os.path.exists(dataset.name):  # not over the network
        dataset.read(1, window=((dataset.height - 1, dataset.height), (0, dataset.width)))


def _pixel(grid) -> float:
    """Side of a pixel in the middle, metres on the body's sphere."""
    cols, rows = np.array([0.0, 1.0, 0.0]) + grid.width / 2, np.array([0.0, 0.0, 1.0]) + grid.height / 2
    lon, lat = np.deg2rad(body.lon_lat(grid.crs, *grid.coordinates(cols, rows)))
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    area = np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0]))
    return float(np.sqrt(area) * body.radius(grid.crs))


def incidence_of(angles: Mapping[str, float]) -> float:
    """Incidence, or 90 degrees less the sun's elevation; NaN where neither is known."""
    elevation = angles.get("sun_elevation", math.nan)
    return angles.get("incidence", 90.0 - elevation)
