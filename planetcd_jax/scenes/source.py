"""One image file, anything that GDAL opens, as float pixels with a mask, read by windows."""

import contextlib
import os
import pathlib
import warnings
from collections.abc import Iterator

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from planetcd_jax.errors import DataError
from planetcd_jax.images.label_values import tags
from planetcd_jax.images.layout import band_names, black_is_0, display, order_like, upright
from planetcd_jax.images.missing import Missing, missing_rule, parse_nodata
from planetcd_jax.images.values import colour_table
from planetcd_jax.scenes import labels
from planetcd_jax.scenes.georeference import grid_of, lacks_system
from planetcd_jax.scenes.grids import Grid
from planetcd_jax.scenes.longitudes import closes
from planetcd_jax.scenes.times import seconds_of, stated_time


@contextlib.contextmanager
def no_grid_warning() -> Iterator[None]:
    """Silences rasterio's warning that a file has no grid; the alignment says so in words of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _window(col: int, row: int, width: int, height: int) -> Window:
    # rasterio makes its fields with attr.ib() and no annotation, so no constructor is seen.
    return Window(col, row, width, height)  # pyright: ignore[reportCallIssue]


class Source:
    """An open image. Reads give pixels and a mask; use it from one thread at a time.

    Pixels are float32, which holds every level of up to 16 bits; float64 where the file has 32-bit integers or
    wider types, until a stretch has taken a large offset off.

    Attributes:
        name: Path or URL as given.
        grid: Its `Grid`, or a `ControlGrid` where control points or RPCs place it.
        closed: Whether it goes once round the body, so that its last column touches its first.
        note: How it was placed and what was left aside, in words; empty where a transform says all.
        bands: The bands that are read, counted from 1. One with a colour table is looked up: it is one band where
            all colours are grey, else it stands here three times, for red, green and blue.
        nodata_rule: What is masked, in words.
        dtype: Type of the pixels in the file.
        exact: Type of the pixels that reads give.
    """

    def __init__(
        self, name: str, *, bands: tuple[int, ...] | None = None, nodata: str = "auto", mask_bands: str = "any"
    ):
        """Opens an image.

        Args:
            name: Path, or a URL or /vsi path that GDAL reads.
            bands: Bands to read, counted from 1; None: all but alpha.
            nodata: "auto" (what the file says), "none" (nothing but NaN and alpha is masked), or a number, compared
                with stored values after rounding to the file's type. See `missing`.
            mask_bands: "any" or "all": in how many bands a pixel must be no data to be missing.

        Raises:
            DataError: if the file cannot be opened, has complex pixels, or lacks the bands.
        """
        self.name = os.fspath(name)
        self._dataset = _open(self.name)
        self.dtype = self._dataset.dtypes[0]
        self._asked = bands is not None
        self.bands = self._choose_bands(bands)
        self._table = self._colours()
        if self._table is not None:
            self.bands *= self._table[0].shape[1]
        self.exact = np.result_type(np.float32, *(self._dataset.dtypes[band - 1] for band in self.bands))
        self.place()
        self._missing = self._missing_rule(nodata, mask_bands)
        self.nodata_rule = self._missing.said

    def place(self, unnamed: CRS | None = None) -> None:
        """Finds its grid; `unnamed` is the system of control points or RPCs that name none (see `grid_of`).

        Raises:
            DataError: as `grid_of`.
        """
        with no_grid_warning():
            self.grid, self.note = grid_of(self._dataset, self.name, unnamed)
        self.closed = closes(self.grid)

    @property
    def unnamed(self) -> str:
        """ "control points" or "RPCs" where these place it and name no system; else ""."""
        return lacks_system(self._dataset)

    def _choose_bands(self, bands: tuple[int, ...] | None) -> tuple[int, ...]:
        data = self._dataset
        for band, dtype in enumerate(data.dtypes, start=1):
            if dtype.startswith("complex"):
                raise DataError(
                    f"{self.name} has pixels of type {dtype} in band {band}; give an image of 8-, 16- or 32-bit "
                    "integers or floats (for radar, convert to amplitude first)."
                )
        colour = [i for i, interp in zip(data.indexes, data.colorinterp, strict=True) if interp != ColorInterp.alpha]
        missing = [band for band in bands or () if band not in data.indexes]
        if missing:
            raise DataError(
                f"{self.name} has {data.count} band(s), and band {missing[0]} was asked for; bands count from 1."
            )
        return tuple(bands or colour)

    def _colours(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Colour table of the only band that is read (see `colour_table`), or None where it has none."""
        interps = [self._dataset.colorinterp[band - 1] for band in self.bands]
        return colour_table(self._dataset, self.bands[0]) if interps == [ColorInterp.palette] else None

    def _missing_rule(self, nodata: str, mask_bands: str) -> Missing:
        asked = parse_nodata(nodata, f"of {self.name}")
        try:
            return missing_rule(self._dataset, self.bands, asked, mask_bands)
        except RasterioError as error:
            raise self._damaged("", error) from None

    def _damaged(self, where: str, error: RasterioError) -> DataError:
        cause = str(error.__cause__ or error).splitlines()[0]
        return DataError(f"{self.name} cannot be read{where} ({cause}); it is damaged or cut short: fetch it again.")

    @property
    def has_colours(self) -> bool:
        """Whether the pixels are looked up in a colour table that is not grey."""
        return self._table is not None and self._table[0].shape[1] == 3

    @property
    def display(self) -> str:
        """In which way it is to be shown other than line after line downwards, in words; "" where in none."""
        return display(self._dataset)

    @property
    def band_names(self) -> tuple[str, ...]:
        """What its bands show, by its descriptions or colours; () where these do not tell them apart."""
        return band_names(self._dataset, self.bands) if self._table is None else ()

    def order_like(self, other: "Source") -> None:
        """Reads the bands in the order of another image's, where both name the same bands, and says so.

        Bands that were asked for by number stay as they are.
        """
        asked = self._asked or other._asked
        order = None if asked else order_like(self.band_names, other.band_names)
        if order is not None:
            self.bands = tuple(self.bands[i] for i in order)
            said = f"its bands {', '.join(map(str, self.bands))} taken in the order of {other.name}, by their names"
            self.note = "; ".join(part for part in (self.note, said) if part)

    def read(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of a window, and which of them are valid; outside the image nothing is.

        A closed image has no outside along its rows: there the window goes on at its other edge.

        Args:
            row, col: First row and column; may lie outside the image.
            height, width: Size, pixels.

        Returns:
            [height, width, B] float32 or float64 (see `Source`), 0 where not valid; [height, width] bool.

        Raises:
            DataError: if the file cannot be read there.
        """
        if not self.closed or (col >= 0 and col + width <= self.grid.width):
            return self._read_inside(row, col, height, width)
        parts, at = [], col
        while at < col + width:  # up to the next seam
            start = at % self.grid.width
            n = min(self.grid.width - start, col + width - at)
            parts.append(self._read_inside(row, start, height, n))
            at += n
        pixels, valid = zip(*parts, strict=True)
        return np.concatenate(pixels, axis=1), np.concatenate(valid, axis=1)

    def _read_inside(self, row: int, col: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.zeros((height, width, len(self.bands)), self.exact)
        valid = np.zeros((height, width), bool)
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + height, self.grid.height), min(col + width, self.grid.width)
        if top >= bottom or left >= right:
            return pixels, valid
        window = _window(left, top, right - left, bottom - top)
        try:
            block = self._dataset.read(list(self.bands), window=window)  # [B, h, w]
            good = self._good(block, window)
        except RasterioError as error:
            raise self._damaged(f" at rows {top} to {bottom - 1}", error) from None
        inside = (slice(top - row, bottom - row), slice(left - col, right - col))
        pixels[inside] = self._pixels(block, good)
        valid[inside] = good
        return pixels, valid

    def read_reduced(self, row: int, col: int, height: int, width: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        """A window inside the image, reduced so that its longer side has at most `most` pixels; for display.

        Returns:
            [h, w, B] of the type that `read` gives, [h, w] bool.

        Raises:
            DataError: if the file cannot be read.
        """
        shrink = max(1.0, max(height, width) / most)
        shape = max(1, round(height / shrink)), max(1, round(width / shrink))
        before_seam = self.grid.width - col
        if not self.closed or width <= before_seam:
            return self._read_reduced_inside(_window(col, row, width, height), shape)
        first = min(max(1, round(before_seam / shrink)), shape[1] - 1)
        parts = [
            (_window(col, row, before_seam, height), first),
            (_window(0, row, width - before_seam, height), shape[1] - first),
        ]
        reads = [self._read_reduced_inside(window, (shape[0], n)) for window, n in parts]
        pixels, valid = zip(*reads, strict=True)
        return np.concatenate(pixels, axis=1), np.concatenate(valid, axis=1)

    def _read_reduced_inside(self, window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        try:
            block = self._dataset.read(list(self.bands), window=window, out_shape=(len(self.bands), *shape))
            good = self._good(block, window, shape)
        except RasterioError as error:
            raise self._damaged("", error) from None
        return self._pixels(block, good), good

    def _pixels(self, block: np.ndarray, good: np.ndarray) -> np.ndarray:
        """[B, h, w] as stored and [h, w] bool to [h, w, B] pixels, 0 where not valid."""
        if self._table is not None:
            block = self._table[0][block[0]].transpose(2, 0, 1)
        else:
            block = black_is_0(block, self._dataset, self.bands[0])
            # Scores are blind to gain and offset, but not to their sign.
            signs = np.array([-1 if self._dataset.scales[band - 1] < 0 else 1 for band in self.bands])
            block = block if (signs > 0).all() else block.astype(self.exact) * signs[:, None, None]
        return np.where(good[..., None], np.moveaxis(block, 0, -1), 0).astype(self.exact)

    def _good(self, block: np.ndarray, window: Window, shape: tuple[int, int] | None = None) -> np.ndarray:
        """[h, w] bool: pixels that have data."""
        masks = None
        if self._missing.own_mask:
            out = None if shape is None else (len(self.bands), *shape)
            masks = self._dataset.read_masks(list(self.bands), window=window, out_shape=out) > 0
        good = self._missing.valid(block, masks)
        return good if self._table is None else good & self._table[1][block[0]]

    def describe(self) -> dict:
        """What a report needs to name this image and to tell whether it is still the same one."""
        path = pathlib.Path(self.name)
        return {
            "name": self.name,
            "driver": self._dataset.driver,
            "size": [self.grid.height, self.grid.width],
            "bytes": path.stat().st_size if path.is_file() else None,
            "bands": list(self.bands),
            "dtype": self.dtype,
            "crs": self.grid.crs.to_wkt() if self.grid.crs else None,
            "transform": list(self.grid.transform)[:6] if isinstance(self.grid, Grid) else None,
            "placed": self.note or "by its transform",
            "masked": self.nodata_rule,
            "angles": labels.angles(self._dataset),
            "sun": labels.sun_direction(self._dataset),
            "tags": {key: value for key, value in tags(self._dataset).items() if len(value) < 200},
        }

    @property
    def time(self) -> float:
        """When it was taken, as its label states it: seconds since 1970, UTC; NaN where it states no time."""
        return seconds_of(stated_time(self._dataset))

    def close(self) -> None:
        """Closes the file."""
        self._dataset.close()


def _open(name: str) -> rasterio.DatasetReader:
    if "://" not in name and not name.startswith("/vsi") and ":" not in name:
        path = pathlib.Path(name)
        if not path.exists():
            raise DataError(f"{name} does not exist; check the path.")
        if path.is_file() and path.stat().st_size == 0:
            raise DataError(f"{name} is empty; fetch it again.")
    try:
        with no_grid_warning():
            dataset = upright(rasterio.open(name))
    except (RasterioError, UnicodeDecodeError) as error:  # Unicode: a name in a damaged header
        reason = str(error).splitlines()[0]
        if name.startswith(("http://", "https://")):
            raise DataError(
                f"{name} cannot be opened as an image ({reason}); check the address and the network, and that GDAL "
                "reads such a file by windows (a GeoTIFF does best)."
            ) from None
        raise DataError(
            f"{name} cannot be opened as an image ({reason}); it is damaged (fetch it again) or of a kind that GDAL "
            "does not read: give a GeoTIFF, JPEG 2000, ISIS cube, PDS label or VRT."
        ) from None
    if dataset.count == 0:
        subdatasets = len(dataset.subdatasets)
        raise DataError(f"{name} holds no band but {subdatasets} subdatasets; name one of them (see gdalinfo).")
    return dataset
