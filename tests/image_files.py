"""Small image files for the tests of the data layer."""

import warnings

import numpy as np
import rasterio

DRIVERS = {".png": "PNG", ".jpg": "JPEG", ".tif": "GTiff", ".jp2": "JP2OpenJPEG"}


def write_image(path, image, **options):
    """Writes [H, W] or [H, W, C] as PNG, JPEG or TIFF, by the file's extension; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    count, height, width = bands.shape
    mask = options.pop("mask", None)
    colormap = options.pop("colormap", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver=DRIVERS[path.suffix],
            height=height,
            width=width,
            count=count,
            **{"dtype": bands.dtype, **options},
        ) as out:
            out.write(bands)
            if mask is not None:
                out.write_mask(mask)
            if colormap is not None:
                out.write_colormap(1, colormap)
    for extra in path.parent.glob(path.name + ".aux.xml"):
        extra.unlink()
    return path


def noise(seed, shape=(40, 50), dtype=np.uint8, low=0, high=None):
    """Random values of an integer type, or floats in [0, 1]."""
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape).astype(dtype)
    return rng.integers(low, np.iinfo(dtype).max if high is None else high, shape, dtype)
