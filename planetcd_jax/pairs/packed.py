"""Pairs in one HDF5 file: `before` and `after` [N, H, W(, C)], and where known `id` and `label`; read by slices."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, cast

import h5py
import numpy as np

from planetcd_jax.errors import BadPairError, DataError, OutputError
from planetcd_jax.files.folders import whole_file
from planetcd_jax.images.missing import array_rule
from planetcd_jax.images.reading import Image
from planetcd_jax.images.stretch import describe, stretched
from planetcd_jax.pairs.pair_set import UNKNOWN, PairSet, RawPair, listed, naming, shape_text

UNIT = "values_in_unit_range"
"""Attribute of a file that this package packed: its values are in [0, 1] and are not stretched again."""


_DAMAGED = (OSError, RuntimeError, KeyError)
"""What h5py raises for a damaged file, by the part of it that is."""


def packed_set(
    path: pathlib.Path,
    *,
    name: str = "pairs",
    stretch: str = "auto",
    nodata: float | str | None = "auto",
    mask_bands: str = "any",
) -> PairSet:
    """A `PairSet` over an HDF5 file. The file stays open until the set is closed; one pair is in memory at a time.

    Args:
        path: The file.
        name: Name of the data set.
        stretch: See `stretch.describe`; a file packed by this package is taken as it is.
        nodata, mask_bands: See `missing.array_rule`.

    Raises:
        DataError: if the file cannot be opened, or `before` and `after` are missing or do not fit each other.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; correct the name, or make it with scripts/pack_pairs.py.")
    try:
        file = h5py.File(path, "r")
    except OSError as err:
        raise _unreadable(path, err) from err
    try:
        return _opened(file, path, name, stretch, {"nodata": nodata, "mask_bands": mask_bands})
    except DataError:
        file.close()
        raise
    except _DAMAGED as err:
        file.close()
        raise _unreadable(path, err) from err


def _unreadable(path: pathlib.Path, err: Exception) -> DataError:
    return DataError(f"{path}: cannot be opened as HDF5 (truncated, damaged or another format?): {err}; pack it again.")


def _opened(file: h5py.File, path: pathlib.Path, name: str, stretch: str, masking: dict[str, Any]) -> PairSet:
    before, after = _dates(file, path)
    if file.attrs.get(UNIT, False):
        stretch = "none"
    n = before.shape[0]
    ids = _column(file, path, "id", n)
    ids = (
        [f"{i:06d}" for i in range(n)] if ids is None else [i.decode() if isinstance(i, bytes) else str(i) for i in ids]
    )
    origin = _provenance(file, path)

    def load(i: int) -> RawPair:
        try:
            values = before[i], after[i]
        except _DAMAGED as err:
            raise BadPairError(
                f"pair {ids[i]!r} ({path}): cannot be read (file damaged?): {err}; pack it again."
            ) from err
        first, second = (_image(v, masking) for v in values)
        with naming(f"pair {ids[i]!r} ({path})"):
            return RawPair(*stretched(first, second, stretch), first.valid & second.valid)

    return PairSet(
        name,
        str(file.attrs.get("source", "real")),
        ids,
        load,
        labels=_column(file, path, "label", n),
        provenance={
            "layout": "HDF5",
            "file": str(path),
            "stretch": describe(stretch),
            **masking,
            "packed_from": origin,
        },
        files=lambda i: (str(path),),
        shape=lambda i: before.shape[1:3],
        close=file.close,
    )


def _dates(file: h5py.File, path: pathlib.Path) -> tuple[h5py.Dataset, h5py.Dataset]:
    found = {k: v for k, v in file.items() if isinstance(v, h5py.Dataset)}
    missing = [k for k in ("before", "after") if k not in found]
    if missing:
        raise DataError(
            f"{path}: no array {' and '.join(missing)}; found {', '.join(found) or 'none'}; wanted before and after "
            "[N, H, W] or [N, H, W, C], and where known id and label [N]."
        )
    before, after = found["before"], found["after"]
    if before.shape != after.shape or before.ndim not in (3, 4):
        raise DataError(
            f"{path}: before is {before.shape} and after {after.shape}; wanted both [N, H, W] or both [N, H, W, C]."
        )
    for array in (before, after):
        assert array.name is not None  # it was found by its name
        if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
            raise DataError(f"{path}: {array.name[1:]} has type {array.dtype}; wanted integers or floats.")
    return before, after


def _column(file: h5py.File, path: pathlib.Path, key: str, n: int) -> np.ndarray | None:
    if key not in file:
        return None
    item = file[key]
    values = np.asarray(item[()]) if isinstance(item, h5py.Dataset) else np.zeros(())
    if values.shape != (n,):
        raise DataError(f"{path}: {key} has shape {values.shape}; wanted ({n},), one for each pair.")
    return values


def _provenance(file: h5py.File, path: pathlib.Path) -> dict[str, Any]:
    """What `pack` wrote of the origin of the pairs; nothing for a file of another program."""
    try:
        found = json.loads(cast("str | bytes", file.attrs.get("provenance", "{}")))
    except (ValueError, TypeError) as err:
        raise DataError(f"{path}: the attribute provenance is no JSON ({err}); remove or rename it.") from err
    return found if isinstance(found, dict) else {"provenance": found}


def _image(values: np.ndarray, masking: dict[str, Any]) -> Image:
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    stored = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    return Image(values, array_rule(stored, **masking).valid(stored, None), values.dtype)


def pack(
    pairs: PairSet,
    path: pathlib.Path,
    *,
    indices: list[int] | None = None,
    bad: Callable[[int, BadPairError], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Writes a set into one HDF5 file, a pair at a time; the file appears only when it is whole.

    Args:
        pairs: What to write; all of one shape.
        path: The file; its folder must exist.
        indices: Which pairs; None for all.
        bad: Called with each pair that cannot be read, which is then left out; None raises its error.
        progress: Called after each pair with the number read so far.

    Returns:
        The number of pairs written.

    Raises:
        BadPairError: if a pair cannot be read, and `bad` is None.
        DataError: if shapes differ, or no pair is left.
        OutputError: if the file cannot be written.
    """
    try:
        with whole_file(path) as stream, h5py.File(stream, "w") as file:
            kept = _write(file, pairs, range(len(pairs)) if indices is None else indices, bad, progress)
            _write_facts(file, pairs, kept)
    except OSError as err:
        raise OutputError(f"{path}: cannot be written ({err}); choose another --output.") from err
    return len(kept)


def _write(file: h5py.File, pairs: PairSet, indices, bad, progress) -> list[int]:
    kept: list[int] = []
    arrays = None
    for n, i in enumerate(indices, start=1):
        try:
            pair = pairs.read(i)
        except BadPairError as err:
            if bad is None:
                raise
            bad(i, err)
            continue
        shape = pair.before.shape
        if arrays is None:
            arrays = [
                file.create_dataset(
                    k,
                    (0, *shape),
                    np.float32,
                    maxshape=(None, *shape),
                    chunks=(1, *shape),
                    compression="gzip",
                    shuffle=True,
                )
                for k in ("before", "after")
            ]
        if shape != arrays[0].shape[1:]:
            raise DataError(
                f"{pairs.where(i)}: {shape_text(shape)}, where the first pair has {shape_text(arrays[0].shape[1:])}; "
                "one file holds one shape: pack with --by_shape, or cut with --patch_size."
            )
        for array, image in zip(arrays, (pair.before, pair.after), strict=True):
            array.resize(len(kept) + 1, axis=0)
            array[len(kept)] = image
        kept.append(i)
        if progress:
            progress(n)
    if not kept:
        raise DataError(f"data set {pairs.name!r}: no pair could be read, so there is nothing to pack.")
    return kept


def _write_facts(file: h5py.File, pairs: PairSet, kept: list[int]) -> None:
    file.create_dataset("id", data=[pairs.ids[i] for i in kept], dtype=h5py.string_dtype())
    if pairs.labels is not None and (pairs.labels[kept] != UNKNOWN).any():
        file.create_dataset("label", data=pairs.labels[kept])
    file.attrs[UNIT] = True
    file.attrs["name"] = pairs.name
    file.attrs["source"] = pairs.source
    facts = {k: v for k, v in pairs.provenance.items() if k != "sha256"}
    file.attrs["provenance"] = json.dumps(facts)
    hashes = pairs.provenance.get("sha256")
    if hashes:  # attributes hold at most 64 KiB
        file.create_dataset("sha256", data=json.dumps(hashes), dtype=h5py.string_dtype())


def shapes_of(
    pairs: PairSet, bad: Callable[[int, BadPairError], None] | None = None
) -> dict[tuple[int, ...], list[int]]:
    """Positions of the pairs by the shape of their patches, in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in range(len(pairs)):
        try:
            groups.setdefault(pairs.read(i).before.shape, []).append(i)
        except BadPairError as err:
            if bad is None:
                raise
            bad(i, err)
    if not groups:
        raise DataError(f"data set {pairs.name!r}: no pair could be read: {listed(pairs.ids)}.")
    return groups
