"""One image file in: values and which pixels have data. Any format that GDAL reads.

Formats seen to work with rasterio's wheels: PNG, JPEG, TIFF and GeoTIFF, JP2, ISIS3, PDS3, PDS4, VICAR.
"""

import os
import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError
from planetcd_jax.extras import brought_by
from planetcd_jax.images.layout import (
    band_names,
    black_is_0,
    check_display,
    display,
    largest,
    order_like,
    upright,
    whole_bytes,
)
from planetcd_jax.images.missing import missing_rule, parse_nodata
from planetcd_jax.images.values import colour_table

# GDAL fills what is missing of a truncated PNG with zeros when it decodes the image at once, and only warns about
# some truncated JPEGs; both are errors here.
_STRICT: dict[str, Any] = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO", "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE"}


class Image(NamedTuple):
    """An image as stored.

    Attributes:
        values: [H, W] for one band, else [H, W, C]; the file's own type, no-data pixels included.
        valid: [H, W] bool, True where a pixel has data, by the rule of `missing`.
        dtype: Type in the file, which decides the stretch; `values` of a grey mean may be floats.
    """

    values: np.ndarray
    valid: np.ndarray
    dtype: np.dtype


def read_image(
    path: str | os.PathLike,
    *,
    grey: bool = False,
    nodata: float | str | None = "auto",
    mask_bands: str = "any",
) -> Image:
    """An image file.

    Values are the physical ones where the file gives a scale and an offset (ISIS cubes). The file's own shape
    decides: one band gives [H, W], more give [H, W, C]. An alpha band becomes part of the mask, not a band. A colour
    table is looked up; a table of greys gives one band. Nothing looks at the values to find out whether three bands
    are the same.

    Args:
        path: File.
        grey: Give the mean of the bands as [H, W], exact where they are equal: for grey images saved as RGB.
        nodata: "auto" (None is the same), "none", or a value that means no data, beside what the file itself says; a
            value as stored, before a scale, an offset or a colour table, and rounded to the file's type. See
            `missing`.
        mask_bands: "any" or "all": in how many bands a pixel must be no data to be missing.

    Returns:
        The `Image`.

    Raises:
        BadPairError: if the file is missing, empty, truncated, complex or of no known format.
        DataError: if `nodata` is neither a number nor "auto" nor "none".
    """
    with brought_by("images"):
        import rasterio
        import rasterio.errors

    asked = parse_nodata(nodata, "value")
    with rasterio.Env(**_STRICT), open_image(path) as src:
        colours = _colours(src)
        _check_type(src, colours, path)
        _check_memory(src, colours, path)
        try:
            rule = missing_rule(src, colours, asked, mask_bands)
            stored = src.read(list(colours))  # [B, H, W]
            valid = rule.valid(stored, src.read_masks(list(colours)) > 0 if rule.own_mask else None)
            table = colour_table(src, colours[0]) if _is_palette(src, colours) else None
            scaling = _scaling(src, colours)
            stored = whole_bytes(black_is_0(stored, src, colours[0]), src, colours[0]) if table is None else stored
        except (rasterio.errors.RasterioError, MemoryError) as err:
            raise _unreadable(path, err) from err
    if table is not None:
        bands, valid = table[0][stored[0]].transpose(2, 0, 1), valid & table[1][stored[0]]
    else:
        bands = _scaled(stored, *scaling, valid)
    return _masked(bands, valid, grey)


def as_image(path: str | os.PathLike, pixels: np.ndarray, valid: np.ndarray, grey: bool) -> Image:
    """The `Image` that `read_image` would give, of pixels that were read from a file and resampled.

    Args:
        path: The file: its scale and its type count.
        pixels: [B, H, W], as stored, or the colours of its colour table.
        valid: [H, W] bool.
        grey: Give the mean of the bands.
    """
    with open_image(path) as src:
        colours = _colours(src)
        scaling, stored = _scaling(src, colours), np.dtype(src.dtypes[colours[0] - 1])
        palette = _is_palette(src, colours)
        top = largest(src, colours[0])
    if stored == np.uint8 and top < 255 and not palette:
        pixels = pixels * (255.0 / top)
    bands = pixels if palette else _scaled(pixels, *scaling, valid)
    image = _masked(bands, valid, grey)
    unscaled = bands is pixels
    return image._replace(dtype=stored) if unscaled else image


def _colours(src) -> tuple[int, ...]:
    """Bands that are no alpha, counted from 1; all where there is nothing else."""
    return tuple(i for i, c in enumerate(src.colorinterp, start=1) if c.name != "alpha") or src.indexes


def _scaling(src, bands: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """[B] scales and [B] offsets of bands."""
    scales, offsets = (np.array([values[i - 1] for i in bands]) for values in (src.scales, src.offsets))
    return scales, offsets


def _check_type(src, bands: tuple[int, ...], path) -> None:
    for band in bands:
        if src.dtypes[band - 1].startswith("complex"):
            raise BadPairError(
                f"{path}: band {band} holds complex numbers ({src.dtypes[band - 1]}); convert it to amplitudes first."
            )


def _check_memory(src, bands: tuple[int, ...], path) -> None:
    """Raises BadPairError if the image is larger than half of the machine's memory, or its header is damaged."""
    needed = src.height * src.width * sum(np.dtype(src.dtypes[band - 1]).itemsize for band in bands)
    if needed > _most_bytes():
        raise BadPairError(
            f"{path}: {src.height} x {src.width} pixels take {needed / 1e9:.1f} GB, more than half of the memory; "
            "compare whole scenes with planetcd-scene, or fetch the file again if it is not so large."
        )


def _most_bytes() -> float:
    try:
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, AttributeError):  # no such question on this system
        return np.inf


def _is_palette(src, bands: tuple[int, ...]) -> bool:
    return [src.colorinterp[band - 1].name for band in bands] == ["palette"]


def _scaled(stored: np.ndarray, scales: np.ndarray, offsets: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Physical values [B, H, W] where the file has a scale or an offset; 0 where not valid."""
    if np.allclose(scales, 1.0) and np.allclose(offsets, 0.0):
        return stored
    return np.where(valid, stored * scales[:, None, None] + offsets[:, None, None], 0.0)


def order_of_bands(before: str | os.PathLike, after: str | os.PathLike) -> tuple[int, ...] | None:
    """Positions of the second file's bands in the order of the first's, where both name the same in another order.

    Raises:
        BadPairError: as `open_image`.
    """
    names = []
    for path in (before, after):
        with open_image(path) as src:
            names.append(band_names(src, _colours(src)))
    return order_like(names[1], names[0])


def check_directions(before: str | os.PathLike, after: str | os.PathLike) -> None:
    """Raises BadPairError if two files are to be shown in unlike directions (see `layout.display`)."""
    ways = []
    for path in (before, after):
        with open_image(path) as src:
            ways.append(display(src))
    check_display((str(before), str(after)), (ways[0], ways[1]))


def image_shape(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) of an image file, from its header alone.

    Raises:
        BadPairError: as `read_image`.
    """
    with open_image(path) as src:
        return src.height, src.width


def _masked(bands: np.ndarray, valid: np.ndarray, grey: bool) -> Image:
    if len(bands) == 1:
        return Image(bands[0], valid, bands.dtype)
    if grey:
        return Image(bands.mean(axis=0, dtype=np.float64), valid, bands.dtype)
    return Image(np.moveaxis(bands, 0, -1), valid, bands.dtype)


def open_image(path: str | os.PathLike):
    """The file as an open rasterio dataset.

    Raises:
        BadPairError: if it is missing, empty, or no image.
    """
    with brought_by("images"):
        import rasterio
        import rasterio.errors

    file = pathlib.Path(path)
    if not file.is_file():
        raise BadPairError(f"{file}: no such file; correct the name or folder, or leave this pair out.")
    if file.stat().st_size == 0:
        raise BadPairError(f"{file}: the file is empty; fetch or export it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return upright(rasterio.open(file))
    except (rasterio.errors.RasterioError, UnicodeDecodeError) as err:  # Unicode: a name in a damaged header
        raise _unreadable(file, err) from err


def _unreadable(path: str | os.PathLike, err: BaseException) -> BadPairError:
    cause = err.__cause__ or err
    said = " ".join(str(cause).split()).removeprefix(f"'{path}' ").rstrip(".")  # GDAL repeats the name
    return BadPairError(f"{path}: cannot be read as an image (truncated or damaged?): {said}; fetch it again.")
