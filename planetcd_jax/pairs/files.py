"""Pairs of image files, decoded when asked for."""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.images.reading import Image, check_directions, image_shape, order_of_bands, read_image
from planetcd_jax.images.stretch import describe, stretched
from planetcd_jax.pairs import placing
from planetcd_jax.pairs.pair_set import UNKNOWN, PairSet, RawPair, naming, shape_text

SIZE_MISMATCHES = ("error", "crop")


class FilePair(NamedTuple):
    """Two files of one place: id, paths, label (1, 0 or -1)."""

    id: str
    before: pathlib.Path
    after: pathlib.Path
    label: int = UNKNOWN


def file_set(
    name: str,
    pairs: Sequence[FilePair],
    *,
    stretch: str = "auto",
    grey: bool = False,
    nodata: float | str | None = "auto",
    mask_bands: str = "any",
    size_mismatch: str = "error",
    placement: str = "auto",
    provenance: dict[str, Any] | None = None,
) -> PairSet:
    """A `PairSet` over image files.

    Args:
        name: Name of the data set.
        pairs: The files.
        stretch: See `stretch.describe`.
        grey: Read coloured files as the mean of their bands.
        nodata: A value that means no data, beside what files say themselves; "auto" (None is the same), or "none".
        mask_bands: "any" or "all": in how many bands a pixel must be no data to be missing.
        size_mismatch: "error", or "crop": of two images of different size, the centre that both share.
        placement: "auto": the ground that both dates show, where both files say where they lie and their grids differ
            (see `placing`); "pixels": pixel on pixel, whatever files say.
        provenance: What is known beside.

    Returns:
        The set; labels are None where no pair has one.

    Raises:
        DataError: if an option has an unknown value.
    """
    if size_mismatch not in SIZE_MISMATCHES:
        raise DataError(f"size_mismatch is {size_mismatch!r}; choose one of {', '.join(SIZE_MISMATCHES)}.")
    pairs = tuple(pairs)
    known = any(p.label != UNKNOWN for p in pairs)
    facts: dict[str, Any] = {"stretch": describe(stretch), "grey": grey, "nodata": nodata, "mask_bands": mask_bands}
    facts["size_mismatch"] = size_mismatch
    facts["placement"] = placement
    reading = {"grey": grey, "nodata": nodata, "mask_bands": mask_bands}
    placed: dict[str, str] = {}  # how, by id, of the pairs whose grids differ
    facts["laid_by_grids"] = placed

    def load(i: int) -> RawPair:
        pair = pairs[i]
        with naming(f"pair {pair.id!r}"):
            if placement == "auto" and placing.differ(pair.before, pair.after):
                first, second, placed[pair.id] = placing.read(pair.before, pair.after, **reading)
            else:
                check_directions(pair.before, pair.after)
                first, second = (read_image(path, **reading) for path in (pair.before, pair.after))
                if first.values.ndim == 3 and (order := order_of_bands(pair.before, pair.after)):
                    second = second._replace(values=second.values[..., order])
        if size_mismatch == "crop":
            first, second = centre_crops(first, second)
        elif first.values.shape[:2] != second.values.shape[:2]:
            before, after = (np.zeros(image.values.shape, np.float32) for image in (first, second))
            return RawPair(before, after)  # `checked` says it
        with naming(f"pair {pair.id!r} ({pair.before} and {pair.after})"):
            before, after = stretched(first, second, stretch)
        return RawPair(before, after, first.valid & second.valid)

    def shape(i: int) -> tuple[int, int]:
        pair = pairs[i]
        with naming(f"pair {pair.id!r}"):
            if placement == "auto" and placing.differ(pair.before, pair.after):
                return placing.shape(pair.before, pair.after)
            first, second = image_shape(pair.before), image_shape(pair.after)
        if size_mismatch == "crop":
            return min(first[0], second[0]), min(first[1], second[1])
        if first != second:
            raise BadPairError(f"pair {pair.id!r}: {shape_text(first)} and {shape_text(second)}")
        return first

    return PairSet(
        name,
        "real",
        [p.id for p in pairs],
        load,
        labels=[p.label for p in pairs] if known else None,
        provenance={**(provenance or {}), **facts},
        files=lambda i: (str(pairs[i].before), str(pairs[i].after)),
        shape=shape,
    )


def centre_crops(before: Image, after: Image) -> tuple[Image, Image]:
    """Both images cut to the size that they share, around their centres."""
    size = np.minimum(before.values.shape[:2], after.values.shape[:2])

    def cut(image: Image) -> Image:
        top, left = (np.array(image.values.shape[:2]) - size) // 2
        window = (slice(top, top + size[0]), slice(left, left + size[1]))
        return Image(image.values[window], image.valid[window], image.dtype)

    return cut(before), cut(after)


def hashes(paths: Sequence[pathlib.Path], root: pathlib.Path) -> dict[str, str]:
    """SHA-256 of files by their path under `root`, in order."""
    return {str(path.relative_to(root)): sha256_of_file(path) for path in paths}


def absent(pairs: Sequence[FilePair]) -> list[str]:
    """Which files of the pairs are not there, with the pair's id."""
    missing = collections.OrderedDict()
    for pair in pairs:
        for path in (pair.before, pair.after):
            if not path.is_file():
                missing[f"{pair.id} ({path})"] = None
    return list(missing)
