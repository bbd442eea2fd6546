"""One image file in: values and which pixels have data. Any format that GDAL reads.

Formats seen to work with rasterio's wheels: PNG, JPEG, TIFF and GeoTIFF, JP2, ISIS3, PDS3, PDS4, VICAR.
"""

import os
import pathlib
import warnings
from typing import NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError
from planetcd_jax.extras import brought_by
from planetcd_jax.images.values import colour_table, differs

# GDAL fills what is missing of a truncated PNG with zeros when it decodes the image at once, and only warns about
# some truncated JPEGs; both are errors here.
_STRICT = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO", "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE"}


class Image(NamedTuple):
    """An image as stored.

    Attributes:
        values: [H, W] for one band, else [H, W, C]; the file's own type, no-data pixels included.
        valid: [H, W] bool, True where every band has data and is finite.
        dtype: Type in the file, which decides the stretch; `values` of a grey mean may be floats.
    """

    values: np.ndarray
    valid: np.ndarray
    dtype: np.dtype


def read_image(path: str | os.PathLike, *, grey: bool = False, nodata: float | None = None) -> Image:
    """An image file.

    Values are the physical ones where the file gives a scale and an offset (ISIS cubes). The file's own shape
    decides: one band gives [H, W], more give [H, W, C]. An alpha band becomes part of the mask, not a band. A colour
    table is looked up; a table of greys gives one band. Nothing looks at the values to find out whether three bands
    are the same.

    Args:
        path: File.
        grey: Give the mean of the bands as [H, W], exact where they are equal: for grey images saved as RGB.
        nodata: A value that means no data, beside what the file itself says; a value as stored, before a scale, an
            offset or a colour table, and rounded to the file's type.

    Returns:
        The `Image`.

    Raises:
        BadPairError: if the file is missing, empty, truncated or of no known format.
    """
    with brought_by("images"):
        import rasterio

    with rasterio.Env(**_STRICT), _open(path) as src:
        try:
            bands = src.read()  # [C, H, W]
            valid = src.dataset_mask() > 0  # [H, W]
        except (rasterio.errors.RasterioError, MemoryError) as err:
            raise _unreadable(path, err) from err
        kinds = [c.name for c in src.colorinterp]
        scales, offsets = np.array(src.scales), np.array(src.offsets)
        palette = kinds.index("palette") + 1 if [kind for kind in kinds if kind != "alpha"] == ["palette"] else None
        table = colour_table(src, palette) if palette else None
    if nodata is not None:
        stored = bands[[i for i, kind in enumerate(kinds) if kind != "alpha"] or slice(None)]
        valid = valid & differs(stored, nodata).all(0)
    if table is not None:
        bands = table[bands[palette - 1]].transpose(2, 0, 1)
        kinds = ["grey"] * len(bands)
    elif not (np.allclose(scales, 1.0) and np.allclose(offsets, 0.0)):
        scaled = bands * scales[:, None, None] + offsets[:, None, None]
        bands = np.where(valid, scaled, 0.0)  # the marks of missing pixels are no physical values
    colours = [i for i, kind in enumerate(kinds) if kind != "alpha"] or list(range(len(bands)))
    bands = bands[colours]
    return _masked(bands, valid, grey, path)


def image_shape(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) of an image file, from its header alone.

    Raises:
        BadPairError: as `read_image`.
    """
    with _open(path) as src:
        return src.height, src.width


def _masked(bands: np.ndarray, valid: np.ndarray, grey: bool, path) -> Image:
    if np.iscomplexobj(bands):
        raise BadPairError(f"{path}: holds complex numbers; convert it to amplitudes first.")
    if np.issubdtype(bands.dtype, np.floating):
        # ISIS special pixels are the most negative floats; GDAL masks only one of them.
        valid = valid & np.isfinite(bands).all(0) & (bands > -1e38).all(0)
    if len(bands) == 1:
        return Image(bands[0], valid, bands.dtype)
    if grey:
        return Image(bands.mean(axis=0, dtype=np.float64), valid, bands.dtype)
    return Image(np.moveaxis(bands, 0, -1), valid, bands.dtype)


def _open(path: str | os.PathLike):
    with brought_by("images"):
        import rasterio

    file = pathlib.Path(path)
    if not file.is_file():
        raise BadPairError(f"{file}: no such file; correct the name or folder, or leave this pair out.")
    if file.stat().st_size == 0:
        raise BadPairError(f"{file}: the file is empty; fetch or export it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(file)
    except rasterio.errors.RasterioError as err:
        raise _unreadable(file, err) from err


def _unreadable(path: str | os.PathLike, err: BaseException) -> BadPairError:
    cause = err.__cause__ or err
    said = " ".join(str(cause).split())
    return BadPairError(f"{path}: cannot be read as an image (truncated or damaged?): {said}; fetch it again.")
