"""Images larger than a patch, cut into patches on a grid, each with the true pixels around it."""

import functools
from typing import NoReturn

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.pairs.pair_set import UNKNOWN, PairSet, RawPair, shape_text


def grid_origins(length: int, patch: int) -> tuple[int, ...]:
    """First pixels of patches that cover a length: one patch after the other, the last one flush with the end.

    Where the length is no multiple of the patch, the last two overlap, so that nothing is left out.
    """
    origins = list(range(0, length - patch + 1, patch))
    if origins and origins[-1] + patch < length:
        origins.append(length - patch)
    return tuple(origins)


def cut_patches(images: PairSet, patch_size: int, margin: int) -> PairSet:
    """The set cut into square patches.

    Ids get the suffix `_r{row}_c{col}` with the patch's first row and column in the image, pixels. An image that
    cannot be cut (unreadable, sizes differ, too small) stays one pair, which is bad when read. An unchanged image
    gives unchanged patches; the patches of a changed image are unlabelled, unless there is only one.

    Args:
        images: Set of whole images.
        patch_size: Side of a patch, pixels.
        margin: Width of the margin of true pixels in `Pair.context`, pixels. Where the image ends, or a pixel of the
            margin has no data, it is filled by reflection.

    Returns:
        A `PairSet` of patches; the last decoded image is kept, so that its patches are cut without decoding again.

    Raises:
        DataError: if `patch_size` or `margin` is out of range.
    """
    if patch_size < 1 or not 0 <= margin < patch_size:
        raise DataError(f"patch_size {patch_size} with margin {margin}; wanted 0 <= margin < patch_size.")
    places = [(i, place) for i in range(len(images)) for place in _places(images, i, patch_size)]
    counts = np.bincount([i for i, _ in places], minlength=len(images))
    keep = functools.lru_cache(maxsize=1)(images.raw)

    def load(n: int) -> RawPair:
        i, place = places[n]
        raw = keep(i)
        if raw.before.shape != raw.after.shape:
            return raw  # `read` says which sizes
        if place is None:
            _too_small(images, i, raw.before.shape, patch_size)
        return cut(raw, *place, patch_size, margin)

    labels = None
    if images.labels is not None:
        labels = [int(images.labels[i]) if images.labels[i] != 1 or counts[i] == 1 else UNKNOWN for i, _ in places]
    return PairSet(
        images.name,
        images.source,
        [images.ids[i] + ("" if place is None else f"_r{place[0]}_c{place[1]}") for i, place in places],
        load,
        labels=labels,
        provenance={**images.provenance, "patch_size": patch_size, "margin": margin, "images": len(images)},
        files=lambda n: images.files(places[n][0]),
        shape=lambda n: images.shape(places[n][0]) if places[n][1] is None else (patch_size, patch_size),
        close=images.close,
    )


def cut(raw: RawPair, row: int, col: int, size: int, margin: int) -> RawPair:
    """One patch of a pair of images, with context around its before-patch."""
    window = (slice(row, row + size), slice(col, col + size))
    valid = None if raw.valid is None else raw.valid[window]
    return RawPair(raw.before[window], raw.after[window], valid, _context(raw, row, col, size, margin))


def _context(raw: RawPair, row: int, col: int, size: int, margin: int) -> np.ndarray | None:
    if margin == 0:
        return None
    height, width = raw.before.shape[:2]
    top, bottom = max(row - margin, 0), min(row + size + margin, height)
    left, right = max(col - margin, 0), min(col + size + margin, width)
    window = (slice(top, bottom), slice(left, right))
    missing = (
        (margin - (row - top), margin - (bottom - row - size)),
        (margin - (col - left), margin - (right - col - size)),
    )
    image = raw.before[window]
    if raw.valid is not None and not raw.valid[window].all():
        image, missing = raw.before[row : row + size, col : col + size], ((margin, margin),) * 2
    return np.pad(image, missing + ((0, 0),) * (image.ndim - 2), mode="reflect")


def _places(images: PairSet, i: int, size: int) -> list[tuple[int, int] | None]:
    try:
        height, width = images.shape(i)
    except BadPairError:
        return [None]  # told when the pair is read
    return [(row, col) for row in grid_origins(height, size) for col in grid_origins(width, size)] or [None]


def _too_small(images: PairSet, i: int, shape: tuple[int, ...], size: int) -> NoReturn:
    raise BadPairError(
        f"{images.where(i)}: {shape_text(shape[:2])} pixels are too few for a patch of {size} x {size}; "
        f"choose a --patch_size of at most {min(shape[:2])}."
    )
