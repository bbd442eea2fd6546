"""Which pixels of a file have data: one rule for scenes and for sets of pairs.

A pixel is missing where
1. a float is NaN, infinite, or beyond 1e38 either way (ISIS, PDS and ESRI keep their marks there);
2. the file's own mask, alpha or no-data value says so, or the value that the user names; of a mask and a no-data
   value in one file, either;
3. a label names its value, or names a range of valid values that it lies outside of (see `label_values`);
4. it has a special value of its type in ISIS and PDS: always where an ISIS label says that the file is a cube, and
   where the values themselves show it in 16-bit integers of any format (see `_shown_range`); or one of the numbers that
   are customary for it, where it stands alone (see `_shown_fills`): -9999 and its like in floats and signed
   integers, 0 and the largest in unsigned ones of 16 bits and more: dark and saturated ground has shades beside it;
5. its entry of a colour table is fully transparent;
6. it has the value that fills a corner of the image, 0 or the largest of its type, where the file names no value and
   has no mask: the collar of a frame that was map-projected. Images below 256 px a side have no collars.

Values of 8 bits are special only where a label or a mask says so: in a picture, 0 is black and 255 is white.

Where several bands are read, a pixel is missing where any of them says so; `mask_bands="all"` lets 2 count only where
all bands say so, for pictures in which one band may well be 0.
"""

import dataclasses
from typing import cast

import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.images.label_values import LabelValues, label_values
from planetcd_jax.images.values import differs

MASK_BANDS = ("any", "all")

NODATA_CHOICES = "a number, 'none', or 'auto'"

# Source: ISIS SpecialPixel.h, https://isis.astrogeology.usgs.gov (VALID_MIN and VALID_MAX of each type).
_ISIS_VALID = {
    "uint8": (1, 254),
    "uint16": (3, 65522),
    "int16": (-32752, 32767),
    "uint32": (3, 4294967282),
}

_SPECIAL = {"int16": (-32768, -32767, -32766, -32765, -32764), "uint16": (0, 1, 2, 65534, 65535)}

_FILLS = {
    "f": (
        -999.0,
        -9999.0,
        -99999.0,
        -999999.0,
        -32767.0,
        -32768.0,
        -1e20,
        1e20,
        -1e30,
        1e30,
        -1e32,
        9.969209968386869e36,
    ),
    "i": (-999.0, -9999.0, -99999.0, -999999.0, -2147483647.0, -2147483648.0, -9223372036854775808.0),
    "u": (0.0, 65535.0, 4294967295.0, 18446744073709551615.0),
}
"""Customary values of pixels without data, by kind of type; 9.97e36 is that of NetCDF. Not of 8 bits: see above."""

_FILL_PIXELS = 16
"""Fewest pixels that have such a value."""

_FILL_APART = 0.1
"""Least distance of such a value from all data, as a share of their range."""

_SHADES = 32
"""Levels that an image of unsigned integers has at least, beside its values without data."""

_APART = 1024
"""Levels of a 16-bit type between special values and data: nearer than this, they are data themselves."""

_MARK = 1e38
"""Floats beyond this are marks: -3.4e38 in 32 bits, -1.8e308 in 64."""

_WHOLE = 4_000_000
"""Images of at most this many pixels are sampled whole; larger ones in squares on a lattice."""

_LATTICE, _SQUARE = 6, 160
"""Squares along each axis, and their side, pixels."""

_COLLARED = 256
"""Least side of an image that may have a collar, pixels."""

_CORNER = 32
"""Corners of an image in its shorter side."""

_HALF = 0.5
"""A range of valid values that holds less than this share of the pixels is meant for other values than the stored."""


@dataclasses.dataclass(frozen=True)
class Missing:
    """The rule for one file, by its stored values.

    Attributes:
        own_mask: Whether the file's own mask (no-data value, alpha, mask band) counts.
        nodata: A value that means no data, beside it, or None.
        marks: Special values, missing in whichever band they stand.
        low, high: Range of valid stored values, or None where there is no bound.
        mask_bands: "any" or "all", see above.
        said: The rule in words.
    """

    own_mask: bool = True
    nodata: float | None = None
    marks: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    mask_bands: str = "any"
    said: str = ""

    def valid(self, stored: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        """Which pixels have data.

        Args:
            stored: [B, h, w] values as stored, of the bands that are read.
            masks: [B, h, w] bool, the file's own masks; None where they do not count.

        Returns:
            [h, w] bool.
        """
        named = np.ones(stored.shape, bool) if masks is None else masks.copy()
        if self.nodata is not None:
            named &= differs(stored, self.nodata)
        good = cast(np.ndarray, named.all(axis=0) if self.mask_bands == "any" else named.any(axis=0))
        if stored.dtype.kind == "f":
            good &= (abs(stored) < _MARK).all(axis=0)  # NaN and infinity compare false
        for mark in self.marks:
            good &= differs(stored, mark).all(axis=0)
        if self.low is not None:
            good &= (stored >= self.low).all(axis=0)
        if self.high is not None:
            good &= (stored <= self.high).all(axis=0)
        return good


def parse_nodata(nodata: float | str | None, whose: str) -> float | str:
    """ "auto" (also for None), "none" or a number; `whose` is for the message.

    Raises:
        DataError: if it is something else.
    """
    if nodata is None or nodata in ("auto", "none"):
        return nodata or "auto"
    try:
        return float(nodata)
    except ValueError:
        raise DataError(f"no-data {whose} is {nodata!r}; give {NODATA_CHOICES}.") from None


def missing_rule(
    dataset, bands: tuple[int, ...], nodata: float | str | None = "auto", mask_bands: str = "any"
) -> Missing:
    """The rule for an open rasterio dataset.

    Args:
        dataset: Open rasterio dataset.
        bands: Bands that are read, counted from 1.
        nodata: "auto" (None is the same): rules 1 to 5. "none": NaN, infinity and alpha only. A number: a value that
            means no data beside all of them, as stored, and rounded to the file's type.
        mask_bands: "any" or "all".

    Raises:
        DataError: if `nodata` is something else.
        RasterioError: if a look at the values fails.
    """
    asked = parse_nodata(nodata, f"of {dataset.name}")
    if asked == "none":
        alpha = any(interp.name == "alpha" for interp in dataset.colorinterp)
        return Missing(alpha, mask_bands=mask_bands, said="nothing but NaN" + (" and alpha" if alpha else ""))
    label = label_values(dataset, dataset.dtypes[bands[0] - 1])
    names = [_named_by_file(dataset, bands, label)]
    low, high, why = _valid_range(dataset, bands, label)
    names += [f"{', '.join(f'{v:g}' for v in label.marks)} (named by the label)"] if label.marks else []
    names += [why] if why else []
    value = None if asked == "auto" else float(asked)
    if value is None and not label.marks and _is_hirise_like(dataset, bands):
        value = 0.0
        names.insert(0, "0 (the file names none; as in HiRISE's JP2)")
    elif value is not None:
        names.insert(0, f"{value:g}, as asked for")
    elif (value := _beside_mask(dataset, bands, label)) is not None:
        names[0] = f"no-data {value:g} and the mask beside it"
    elif (value := _collar(dataset, bands, label)) is not None:
        names.insert(0, f"{value:g} (fills a corner of the image; the file names no no-data)")
    misread = _misread(dataset, bands, label)
    # Last: where a damaged file cannot be read, GDAL gives the error once more to whoever asks next.
    fills = _fills_of(dataset, bands, label)
    names += [f"{', '.join(f'{v:g}' for v in fills)} (named nowhere, but it stands alone)"] if fills else []
    said = "; ".join(name for name in names if name) or "nothing but NaN (the file names no no-data)"
    if len(bands) > 1:
        said += f" in {mask_bands} band" + ("s" if mask_bands == "all" else "")
    return Missing(not misread, value, label.marks + fills, low, high, mask_bands, said)


def array_rule(stored: np.ndarray, nodata: float | str | None = "auto", mask_bands: str = "any") -> Missing:
    """The rule for values that come from no image file, such as an array of HDF5: 1, the value asked for, and 4.

    Args:
        stored: [B, H, W].
        nodata, mask_bands: As for `missing_rule`.

    Raises:
        DataError: if `nodata` is something else.
    """
    asked = parse_nodata(nodata, "value")
    if asked == "none":
        return Missing(False, mask_bands=mask_bands)
    value = None if asked == "auto" else float(asked)
    name = stored.dtype.name
    low, high, _ = _shown_range(name, {value}, stored.ravel()) if name in _SPECIAL else (None, None, "")
    return Missing(False, value, _shown_fills(stored.ravel(), {value}), low, high, mask_bands)


def _flags(dataset, bands: tuple[int, ...]) -> set[str]:
    return {flag.name for band in bands for flag in dataset.mask_flag_enums[band - 1]}


def _beside_mask(dataset, bands: tuple[int, ...], label: LabelValues) -> float | None:
    """The no-data value that a file names beside a mask of its own; GDAL's masks leave it out then."""
    values = {dataset.nodatavals[band - 1] for band in bands}
    if _flags(dataset, bands) != {"per_dataset"} or len(values) != 1 or _misread(dataset, bands, label):
        return None
    return values.pop()


def _misread(dataset, bands: tuple[int, ...], label: LabelValues) -> bool:
    """Whether the no-data value that GDAL gives is a number of the label that it read wrongly."""
    return label.misread is not None and {dataset.nodatavals[band - 1] for band in bands} == {label.misread}


def _named_by_file(dataset, bands: tuple[int, ...], label: LabelValues) -> str:
    if _misread(dataset, bands, label):
        return ""
    named = dataset.nodatavals[bands[0] - 1]
    if named is not None:
        return f"no-data {named:g}"
    return ", ".join(sorted(_flags(dataset, bands) - {"all_valid"}))


def _is_hirise_like(dataset, bands: tuple[int, ...]) -> bool:
    """HiRISE's JPEG 2000 products keep their CORE_NULL = 0 in the detached label only."""
    unsigned = all(dataset.dtypes[band - 1].startswith("uint") for band in bands)
    return dataset.driver.startswith("JP2") and _flags(dataset, bands) == {"all_valid"} and unsigned


def _collar(dataset, bands: tuple[int, ...], label: LabelValues) -> float | None:
    """The one value that fills a corner in all bands, if it is 0 or the largest of its type; rule 6."""
    from rasterio.errors import RasterioError

    try:
        return _filling_a_corner(dataset, bands, label)
    except RasterioError:  # what cannot be read is told where it is read
        return None


def _filling_a_corner(dataset, bands: tuple[int, ...], label: LabelValues) -> float | None:
    from rasterio.windows import Window

    height, width = dataset.height, dataset.width
    plain = _flags(dataset, bands) == {"all_valid"} and not label.marks
    if not plain or min(height, width) < _COLLARED or any(dataset.colorinterp[b - 1].name == "palette" for b in bands):
        return None
    side = min(height, width) // _CORNER
    for row in (0, height - side):
        for col in (0, width - side):
            corner = dataset.read(sorted(set(bands)), window=Window(col, row, side, side))  # pyright: ignore[reportCallIssue]
            ends = [0] if corner.dtype.kind == "f" else [0, int(np.iinfo(corner.dtype).max)]
            if filling := [float(end) for end in ends if (corner == end).all()]:
                return filling[0]
    return None


def _valid_range(dataset, bands: tuple[int, ...], label: LabelValues) -> tuple[float | None, float | None, str]:
    """Lowest and highest valid stored value, or None, and the reason in words."""
    dtype = dataset.dtypes[bands[0] - 1]
    if label.isis:
        low, high = _ISIS_VALID.get(dtype, (None, None))
        return low, high, f"ISIS special pixels of {dtype}"
    named = {*label.marks, *(dataset.nodatavals[band - 1] for band in bands)}
    if label.low is not None or label.high is not None:
        found = _named_range(_sampled_values(dataset, bands), named, label)
        if found[2]:
            return found
    return _shown_range(dtype, named, _sampled_values(dataset, bands)) if dtype in _SPECIAL else (None, None, "")


def _named_range(values: np.ndarray, named: set, label: LabelValues) -> tuple[float | None, float | None, str]:
    """VALID_MINIMUM and VALID_MAXIMUM, unless most pixels lie outside: then they are meant for scaled values."""
    marks = [*(mark for mark in named if mark is not None), *_SPECIAL.get(values.dtype.name, ())]
    values = values[~np.isin(values, marks)]
    low = -np.inf if label.low is None else label.low
    high = np.inf if label.high is None else label.high
    if values.size and np.mean((values >= low) & (values <= high)) < _HALF:
        return None, None, ""
    return label.low, label.high, f"values outside {low:g} to {high:g} (named by the label)"


def _shown_range(dtype: str, named: set, values: np.ndarray) -> tuple[float | None, float | None, str]:
    """The range of valid 16-bit values, as the values themselves show it.

    Special values stand alone at an end of the type: no pixel has a value between them and the data, over `_APART`
    levels. Signed, -32768 to -32764: where they lie apart, or the file names -32768 itself. Unsigned, where 0 to 2,
    65534 and 65535 may well be data: only where, besides, the file names 0 as no data, or three of them are there.
    """
    special = np.isin(values, _SPECIAL[dtype])
    data, seen = values[~special], np.unique(values[special])
    if data.size == 0:
        return None, None, ""
    bottom, top = float(data.min()), float(data.max())
    low, high = _ISIS_VALID[dtype]
    if dtype == "int16":
        shown = bottom - low >= (0 if -32768 in named else _APART)
        return (low, None, "special pixels of int16, below -32752") if shown else (None, None, "")
    if 0 not in named and seen.size < 3:
        return None, None, ""
    low = low if bottom - low >= _APART else None
    high = high if high - top >= _APART else None
    words = [text for text, bound in (("0 to 2", low), ("65534 and 65535", high)) if bound is not None]
    return low, high, f"special pixels of uint16, {' and '.join(words)}" if words else ""


def _fills_of(dataset, bands: tuple[int, ...], label: LabelValues) -> tuple[float, ...]:
    """Customary values that the pixels of a file show to be no data, and that nothing names."""
    if label.isis or not _has_fills(np.dtype(dataset.dtypes[bands[0] - 1])):
        return ()
    from rasterio.errors import RasterioError

    named = {*label.marks, *(dataset.nodatavals[band - 1] for band in bands)}
    try:
        return _shown_fills(_sampled_values(dataset, bands), named)
    except RasterioError:  # what cannot be read is told where it is read
        return ()


def _has_fills(dtype: np.dtype) -> bool:
    return dtype.kind in _FILLS and dtype != np.uint8


def _shown_fills(values: np.ndarray, named: set) -> tuple[float, ...]:
    """Customary fill values among [N] that are no data, beside those that are named.

    One is, where it is the least or the largest of all, several pixels have it, and all others lie apart from it.
    """
    if not _has_fills(values.dtype):
        return ()
    values = values[np.isfinite(values) & (abs(values.astype(np.float64)) < _MARK)]
    for mark in named:
        values = values if mark is None else values[differs(values, mark)]
    kind, most = values.dtype.kind, np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    ends = (0.0, float(most))
    known = [fill for fill in _FILLS[kind] if (fill in ends if kind == "u" else abs(fill) <= most + 1)]
    found: list[float] = []
    for fill in sorted(known, key=abs, reverse=True):
        has = ~differs(values, fill)
        rest = values[~has]
        if has.sum() < _FILL_PIXELS or rest.size < _FILL_PIXELS:
            continue
        if kind == "u" and np.unique(rest).size < _SHADES:  # a map of classes, whose 0 is one of them
            continue
        low, high = float(rest.min()), float(rest.max())
        if max(low - fill, fill - high) > _FILL_APART * (high - low):
            found.append(fill)
            values = rest
    return tuple(found)


def _sampled_values(dataset, bands: tuple[int, ...]) -> np.ndarray:
    """Values of the bands, [N], all of a small image and squares of a large one."""
    from rasterio.windows import Window

    height, width = dataset.height, dataset.width
    if height * width <= _WHOLE:
        return dataset.read(sorted(set(bands))).ravel()
    parts = []
    for row in np.linspace(0, max(0, height - _SQUARE), _LATTICE).astype(int):
        for col in np.linspace(0, max(0, width - _SQUARE), _LATTICE).astype(int):
            size = min(_SQUARE, width), min(_SQUARE, height)
            # rasterio makes its fields with attr.ib() and no annotation, so no constructor is seen.
            window = Window(int(col), int(row), *size)  # pyright: ignore[reportCallIssue]
            parts.append(dataset.read(sorted(set(bands)), window=window).ravel())
    return np.concatenate(parts)
