"""A pair of patches and a set of pairs that is read one pair at a time."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.words import counted

SOURCES = ("real", "simulated")

UNKNOWN = -1
"""Label of a pair of which nobody has said whether it changed."""


class Pair(NamedTuple):
    """Two patches of one place.

    Attributes:
        before: [H, W] or [H, W, C] float32 in [0, 1].
        after: the same shape, type and range.
        context: None, or [H+2m, W+2m(, C)] float32: `before` with a margin of m true neighbouring pixels on each side.
    """

    before: np.ndarray
    after: np.ndarray
    context: np.ndarray | None = None


class RawPair(NamedTuple):
    """Two images as a loader hands them over, before any check.

    Attributes:
        before, after: [H, W] or [H, W, C] float32; the two shapes may still differ.
        valid: None where every pixel counts, or [H, W] bool, True where both dates have data.
        context: as in `Pair`.
    """

    before: np.ndarray
    after: np.ndarray
    valid: np.ndarray | None = None
    context: np.ndarray | None = None


class PairSet:
    """Named pairs with ids, labels and origin; the images are read only when asked for.

    Args:
        name: Name of the data set, as on the command line.
        source: "real" or "simulated". Whatever is made from a simulated set must say so.
        ids: One id for each pair, unique.
        load: `load(i)` returns the i-th `RawPair`, or raises BadPairError.
        labels: None, or N values: 1 changed, 0 unchanged, -1 unknown.
        provenance: What is known of the origin, JSON-able: files, hashes, revision, stretch, notes.
        files: `files(i)` names the files of the i-th pair; nothing for a pair that comes from no file.
        shape: `shape(i)` is (H, W) of the i-th image without reading it, or raises BadPairError.
        close: Called once when the set is closed.

    Attributes:
        least_side: Pixels that a pair must have in rows and in columns; smaller ones are bad. 1, unless it is set.

    Raises:
        DataError: if ids repeat, or there are no pairs, or the number of labels differs.
    """

    def __init__(
        self,
        name: str,
        source: str,
        ids: Sequence[str],
        load: Callable[[int], RawPair],
        *,
        labels: Sequence[int] | np.ndarray | None = None,
        provenance: dict[str, Any] | None = None,
        files: Callable[[int], tuple[str, ...]] | None = None,
        shape: Callable[[int], tuple[int, int]] | None = None,
        close: Callable[[], None] | None = None,
    ):
        if source not in SOURCES:
            raise DataError(f"source of {name!r} is {source!r}; wanted one of {', '.join(SOURCES)}.")
        self.name = name
        self.source = source
        self.ids = tuple(str(i) for i in ids)
        self.provenance = dict(provenance or {})
        self.labels = _labels(name, labels, len(self.ids))
        self._load = load
        self._files = files
        self._shape = shape
        self._close = close
        self.least_side = 1
        self._kept: dict[int, Pair] = {}
        self._room = 0
        _check_ids(name, self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __enter__(self) -> "PairSet":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        """Gives back open files; the set cannot be read afterwards."""
        if self._close is not None:
            self._close()
            self._close = None

    def files(self, i: int) -> tuple[str, ...]:
        """Names of the files that the i-th pair is read from; empty where there is none."""
        return self._files(self._index(i)) if self._files else ()

    def where(self, i: int) -> str:
        """The i-th pair in words, for messages: its id and its files."""
        names = " and ".join(self.files(i))
        return f"pair {self.ids[i]!r}" + (f" ({names})" if names else "")

    def shape(self, i: int) -> tuple[int, int]:
        """(H, W) of the i-th pair; from the file's header where it has one."""
        if self._shape is not None:
            return self._shape(self._index(i))
        return self._load(self._index(i)).before.shape[:2]

    def raw(self, i: int) -> RawPair:
        """The i-th pair unchecked, for code that cuts it further."""
        return self._load(self._index(i))

    def read(self, i: int) -> Pair:
        """The i-th pair, checked.

        Args:
            i: Position in the set, 0 to N - 1.

        Returns:
            A `Pair` of equal shapes, finite, in [0, 1], neither date constant.

        Raises:
            BadPairError: naming pair and files, and what to do about it.
        """
        number = self._index(i)
        if number in self._kept:
            return self._kept[number]
        pair = checked(self._load(number), self.where(i))
        height, width = pair.before.shape[:2]
        if min(height, width) < self.least_side:
            raise BadPairError(
                f"{self.where(i)}: {height}x{width} px are too few; wanted {self.least_side} or more a side: give the "
                "whole images, or lower --max_shift."
            )
        size = sum(array.nbytes for array in pair if array is not None)
        if size <= self._room:
            self._kept[number], self._room = pair, self._room - size
        return pair

    def remember(self, most: int) -> None:
        """From now on keeps the pairs that are read first in memory, for later reads.

        Args:
            most: Bytes that they may take.
        """
        self._room = most

    def _index(self, i: int) -> int:
        if not 0 <= i < len(self):
            raise IndexError(f"pair {i} of {self.name!r}: the set has {counted(len(self), 'pair')}, counted from 0")
        return int(i)


def checked(raw: RawPair, where: str) -> Pair:
    """The pair, if it can be scored.

    Args:
        raw: What a loader returned.
        where: The pair in words, for the message.

    Raises:
        BadPairError: if shapes differ, pixels are missing or not finite, values leave [0, 1], or a date is constant.
    """
    before, after = np.asarray(raw.before, np.float32), np.asarray(raw.after, np.float32)
    if before.shape[:2] == after.shape[:2] and before.shape != after.shape:
        raise BadPairError(
            f"{where}: before has shape {shape_text(before.shape)} and after {shape_text(after.shape)}; give both "
            "dates the same bands, or take the mean of the bands with --grey."
        )
    if before.shape != after.shape:
        raise BadPairError(
            f"{where}: before has shape {shape_text(before.shape)} and after {shape_text(after.shape)}; the two must "
            "be on one grid: resample one onto the other, or take the centre that both share with "
            "--size_mismatch=crop."
        )
    if before.ndim not in (2, 3) or 0 in before.shape:
        raise BadPairError(f"{where}: shape {before.shape}; wanted an image [H, W] or [H, W, C].")
    if raw.valid is not None and not raw.valid.all():
        missing = int(np.size(raw.valid) - np.count_nonzero(raw.valid))
        raise BadPairError(
            f"{where}: {missing} of {np.size(raw.valid)} pixels have no data on one date or both; crop or cut "
            "the images to the covered area (--patch_size helps), or skip the pair with --on_bad_pair=skip; where "
            "these pixels are good, say so with --nodata=none."
        )
    for name, image in (("before", before), ("after", after)):
        _check_values(name, image, where)
    return Pair(before, after, None if raw.context is None else np.asarray(raw.context, np.float32))


def _check_values(name: str, image: np.ndarray, where: str) -> None:
    if not np.isfinite(image).all():
        raise BadPairError(
            f"{where}: {name} holds NaN or infinite pixels; mark them as no-data and crop to the covered area, or "
            "skip the pair with --on_bad_pair=skip."
        )
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        raise BadPairError(
            f"{where}: {name} has values from {low:g} to {high:g}; wanted [0, 1]: choose a stretch other than 'none'."
        )
    if low == high:
        raise BadPairError(
            f"{where}: {name} is constant ({low:g} everywhere) and carries nothing to compare; check the image, or "
            "skip the pair with --on_bad_pair=skip."
        )


def shape_text(shape: Sequence[int]) -> str:
    """A shape in words: rows x columns, and bands where there are any."""
    text = f"{shape[0]} x {shape[1]}" if len(shape) >= 2 else str(tuple(shape))
    return text + (f" x {shape[2]} bands" if len(shape) == 3 else "")


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Names in one line, the first `limit` of them and how many more there are."""
    head = ", ".join(str(n) for n in names[:limit])
    return head + (f" and {len(names) - limit} more" if len(names) > limit else "")


@contextlib.contextmanager
def naming(where: str):
    """Adds the pair to the message of a BadPairError that a reader of single files raised."""
    try:
        yield
    except BadPairError as err:
        raise BadPairError(f"{where}: {err}") from err


def _labels(name: str, labels: Any, n: int) -> np.ndarray | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (n,) or not np.isin(array, (UNKNOWN, 0, 1)).all():
        raise DataError(
            f"labels of {name!r}: got {array.shape} values {listed(sorted(set(array.ravel().tolist())))}; wanted {n} "
            "values, each 1 (changed), 0 (unchanged) or -1 (unknown)."
        )
    return array.astype(np.int8)


def _check_ids(name: str, ids: tuple[str, ...]) -> None:
    if not ids:
        raise DataError(f"data set {name!r} has no pairs; check the folder or table that it is read from.")
    seen: set[str] = set()
    twice = [i for i in ids if i in seen or seen.add(i)]
    if twice:
        raise DataError(f"data set {name!r}: ids must be unique; these come more than once: {listed(twice)}.")
