"""How the pixels of a file are laid out, where its header says more: turned, several pages, few bits, bands by name."""

import contextlib
import pathlib

import numpy as np

from planetcd_jax.errors import BadPairError
from planetcd_jax.extras import brought_by
from planetcd_jax.images.label_values import pds3_image, tags

_UPRIGHT = ("0", "1")
_ORIENTATION = 274  # tag of TIFF and of EXIF


def upright(dataset):
    """An open rasterio dataset as its header says that it is to be seen, and of one image only.

    JPEG files are turned by GDAL. A file with a place on a map is left: its coordinates are those of the stored pixels.

    Raises:
        BadPairError: if it is a TIFF that is stored turned or mirrored, or holds several images of one size; if it is a
            PDS3 file of a kind that GDAL reads wrongly.
    """
    found = _upright(dataset)
    with brought_by("images"):
        from rasterio._err import CPLE_BaseError  # no other name catches it
    # GDAL passes over a damaged tag and keeps the error, which rasterio raises at the next question, whatever that is.
    # Pixels that cannot be read are told when they are read.
    with contextlib.suppress(CPLE_BaseError):
        _ = found.colorinterp
    return found


def _upright(dataset):
    if dataset.driver == "PDS":
        _check_pds3(dataset)
    if dataset.driver == "GTiff":
        _check_pages(dataset)
    if gives_places(dataset.transform) or dataset.crs or dataset.gcps[0]:
        return dataset
    if dataset.driver == "JPEG" and tags(dataset).get("EXIF_Orientation", "1") not in _UPRIGHT:
        with brought_by("images"):
            import rasterio
        return rasterio.open(dataset.name, APPLY_ORIENTATION="YES")
    if dataset.driver == "GTiff" and (turned := _tiff_orientation(pathlib.Path(dataset.name))) not in _UPRIGHT:
        raise BadPairError(
            f"{dataset.name} is stored turned or mirrored (TIFF orientation {turned}), which GDAL does not undo; save "
            "it upright (magick IN.tif -auto-orient OUT.tif) and give that."
        )
    return dataset


def _check_pds3(dataset) -> None:
    """Raises BadPairError where GDAL takes pixels from wrong places, without a word.

    It takes bands that are interleaved by pixels for bands one after the other, and passes over bytes after each line.
    """
    said = pds3_image(dataset)
    storage = said.get("band_storage_type", "").upper()
    why = ""
    if dataset.count > 1 and storage.startswith(("SAMPLE", "PIXEL")):
        why = f"BAND_STORAGE_TYPE = {storage}"
    elif (suffix := said.get("line_suffix_bytes", "0").strip()) not in ("", "0"):
        why = f"LINE_SUFFIX_BYTES = {suffix}"
    if why:
        raise BadPairError(
            f"{dataset.name} is a PDS3 file with {why}, which GDAL reads wrongly; convert it with ISIS (pds2isis, "
            "hi2isis) or with the tools of its archive, and give that."
        )


def display(dataset) -> str:
    """In which way a PDS3 file without a place on a map is to be shown other than line after line downwards, in words.

    "" where in none. PDS4 files are turned by GDAL.
    """
    if gives_places(dataset.transform) or dataset.crs or dataset.gcps[0]:
        return ""
    said = pds3_image(dataset)
    ways = [
        words
        for key, way, words in (
            ("line_display_direction", "UP", "from bottom to top"),
            ("sample_display_direction", "LEFT", "from right to left"),
        )
        if said.get(key, "").strip().strip('"').upper() == way
    ]
    return " and ".join(ways)


def check_display(names: tuple[str, str], ways: tuple[str, str]) -> None:
    """Raises BadPairError if two files without places are to be shown in unlike ways: one would mirror the other."""
    if ways[0] != ways[1]:
        odd = 0 if ways[0] else 1
        raise BadPairError(
            f"the label of {names[odd]} says that it is to be shown {ways[odd]}, and that of {names[1 - odd]} does "
            f"not; turn one of them over (gdal_translate, then magick -flip for lines, -flop for samples)."
            if not ways[1 - odd]
            else f"{names[0]} is to be shown {ways[0]} and {names[1]} {ways[1]}; turn one of them over."
        )


def gives_places(transform) -> bool:
    """Whether an affine transform gives pixels places: finite, not the identity of files without one, nor onto a line.

    Some of GDAL's drivers give a transform of zeros for a file without one.
    """
    t, sides = transform, np.hypot(transform.a, transform.d) * np.hypot(transform.b, transform.e)
    return bool(np.isfinite(t[:6]).all() and abs(t.determinant) > 1e-12 * sides and not t.is_identity)


def _tiff_orientation(path: pathlib.Path) -> str:
    """The tag as text; "1" where there is none."""
    from PIL import TiffImagePlugin

    try:
        with path.open("rb") as file:
            head = file.read(8)
            head += file.read(8) if head[2:4] in (b"+\0", b"\0+") else b""  # BigTIFF
            directory = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(directory.next)
            directory.load(file)
            return str(directory.get(_ORIENTATION, 1))
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
    ):  # in an archive, or damaged: GDAL reports that when it reads the pixels
        return "1"


def _check_pages(dataset) -> None:
    """Raises BadPairError if further pages of a TIFF are as large as the first; smaller ones are thumbnails."""
    pages = dataset.subdatasets
    if len(pages) < 2:
        return
    with brought_by("images"):
        import rasterio
    with rasterio.open(pages[1]) as second:
        if second.shape != dataset.shape:
            return
    raise BadPairError(
        f"{dataset.name} holds {len(pages)} pages of one size, and one image is wanted; write each into a file of its "
        f"own (gdal_translate {pages[0]} first.tif)."
    )


def whole_bytes(stored: np.ndarray, dataset, band: int) -> np.ndarray:
    """Pixels of fewer than 8 bits (TIFF and PNG of 1, 2 or 4) over the range of 8; others as they are.

    Args:
        stored: Values of any shape.
        dataset: Open rasterio dataset that they come from.
        band: Any of its bands, from 1; all have as many bits.
    """
    top = largest(dataset, band)
    if stored.dtype != np.uint8 or top >= 255:
        return stored
    return np.rint(np.minimum(stored, top) * (255.0 / top)).astype(np.uint8)


def largest(dataset, band: int) -> int:
    """Largest value of a band of unsigned integers, by its bits (a TIFF may use 12 of 16); 0 for other types."""
    kind = dataset.dtypes[band - 1]
    if not kind.startswith("uint"):
        return 0
    bits = tags_of_band(dataset, band).get("NBITS", "")
    most = int(np.iinfo(kind).max)
    return min(most, 2 ** int(bits) - 1) if bits.isdigit() and int(bits) > 0 else most


def black_is_0(stored: np.ndarray, dataset, band: int) -> np.ndarray:
    """Pixels of a TIFF whose 0 is white (MINISWHITE, as scanners and faxes write) so that 0 is black; others as are.

    GDAL gives them as stored, and only where there is 1 bit a colour table. Signed integers and floats stay.

    Args:
        stored: Values of any shape, of the file's type.
        dataset: Open rasterio dataset that they come from.
        band: Any of its bands, from 1.
    """
    top = largest(dataset, band)
    is_white = dataset.driver in ("GTiff", "COG") and tags(dataset, "IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
    if top == 0 or not is_white:
        return stored
    return (top - np.minimum(stored, top)).astype(stored.dtype)


def tags_of_band(dataset, band: int) -> dict[str, str]:
    """How a band is stored, by GDAL's names; none where these are no UTF-8."""
    try:
        return dataset.tags(band, ns="IMAGE_STRUCTURE")
    except UnicodeDecodeError:
        return {}


def band_names(dataset, bands: tuple[int, ...]) -> tuple[str, ...]:
    """What bands show, in lower case: their descriptions, or else their colours; () where these do not tell them apart.

    Args:
        dataset: Open rasterio dataset.
        bands: Counted from 1.
    """
    described = tuple((dataset.descriptions[band - 1] or "").strip().lower() for band in bands)
    colours = tuple(dataset.colorinterp[band - 1].name for band in bands)
    for names in (described, colours):
        if all(names) and len(set(names)) == len(names) and not {"undefined", "gray"} & set(names):
            return names
    return ()


def order_like(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[int, ...] | None:
    """Positions in `names` that bring them into the order of `wanted`; None where they are in it, or are others."""
    if names == wanted or not names or set(names) != set(wanted):
        return None
    return tuple(names.index(name) for name in wanted)
