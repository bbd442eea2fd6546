"""Pairs stacked into batches: of one shape, or of many that lie in arrays of a few.

Each shape of an array and each number of pairs in a batch is a program to compile. So what is left of shapes that do
not fill a batch, which is all of a set where each pair has its own, is padded into larger arrays (`ops.extents`) where
the score allows it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from planetcd_jax.errors import BadPairError, ConfigError
from planetcd_jax.ops.extents import LEAST_SIDE, SIDE_STEP

MIXED_BATCH = 4
"""Pairs of different shapes in one batch, on each device."""

MOST_WAITING = 64
"""Shapes of which pairs wait in memory for others, at most."""

SMALL_AREA = 128 * 128
"""Pixels of an array that is small enough for all smaller pairs: the unused part costs less than another program."""

LARGEST_GROWTH = 2.5
"""Largest area of an array over that of the smaller array whose pairs it takes in: fewer programs for more pixels."""

Shape = tuple[int, ...]
ArraySides = tuple[int, int]


class PairLike(Protocol):
    """One pair: float32 arrays in [0, 1], `context` None or `before` with true pixels around it."""

    @property
    def before(self) -> np.ndarray:
        """[H, W] or [H, W, C]."""
        ...

    @property
    def after(self) -> np.ndarray:
        """The same shape."""
        ...

    @property
    def context(self) -> np.ndarray | None:
        """None or [H + 2m, W + 2m(, C)]."""
        ...


class PairSource(Protocol):
    """A sequence of pairs with names; `planetcd_jax.pairs.PairSet` is one."""

    @property
    def ids(self) -> Sequence[str]:
        """Name of each pair."""
        ...

    def __len__(self) -> int:
        """Number of pairs."""
        ...

    def read(self, i: int) -> PairLike:
        """Pair i; raises BadPairError if it cannot be scored."""
        ...


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pairs in arrays of one shape.

    Attributes:
        before, after: [B, H, W] or [B, H, W, C] float32.
        context: None or [B, H + 2m, W + 2m(, C)] float32.
        index: [B] uint32, each pair's number in its set; 0 for padding.
        count: How many of the B are pairs; the rest is padding.
        size: None where pairs fill their arrays, or [B, 2] int32: rows and columns of each, which lies in the upper
            left corner of its array, with zeros beyond.
    """

    before: np.ndarray
    after: np.ndarray
    context: np.ndarray | None
    index: np.ndarray
    count: int
    size: np.ndarray | None = None


Numbered = tuple[int, PairLike]


def _stack(pairs: Sequence[Numbered], size: int) -> Batch:
    count = len(pairs)
    # Padding repeats the last pair: real numbers cost what others cost, and their results are dropped.
    padded = [*pairs, *[pairs[-1]] * (size - count)]
    index = np.array([i for i, _ in pairs] + [0] * (size - count), np.uint32)
    contexts = [p.context for _, p in padded if p.context is not None]
    context = np.stack(contexts) if len(contexts) == size else None
    before = np.stack([p.before for _, p in padded])
    after = np.stack([p.after for _, p in padded])
    return Batch(before, after, context, index, count)


class _PaddedPair(NamedTuple):
    """A pair in the corner of larger arrays."""

    before: np.ndarray
    after: np.ndarray
    context: None = None


def padded_pairs(pairs: Sequence[PairLike], pads: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Each pair by itself, for one compiled program: before, after, and its size where it lies in a larger array.

    Pairs of one shape are given as they are. `pads` as in `batches`.
    """
    shapes = [pair.before.shape for pair in pairs]
    needed = pads and len(set(shapes)) > 1
    arrays = padded_shapes([shape for shape in shapes if min(shape[:2]) >= LEAST_SIDE]) if needed else {}
    for pair in pairs:
        if pair.before.shape not in arrays:
            yield pair.before, pair.after, None
        else:
            batch = _stack_padded([(0, pair)], arrays[pair.before.shape], 1)
            assert batch.size is not None
            yield batch.before[0], batch.after[0], batch.size[0]


def _stack_padded(pairs: list[Numbered], shape: tuple[int, int], size: int) -> Batch:
    """A batch whose pairs lie in arrays of a shape."""

    def enlarged(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, n - k) for n, k in zip(shape, x.shape[:2], strict=True)] + [(0, 0)] * (x.ndim - 2))

    padded = [(i, _PaddedPair(enlarged(p.before), enlarged(p.after))) for i, p in pairs]
    sizes = [p.before.shape[:2] for _, p in pairs]
    every = np.array(sizes + sizes[-1:] * (size - len(pairs)), np.int32)
    return dataclasses.replace(_stack(padded, size), size=every)


def padded_side(side: int) -> int:
    """The least side of a larger array, from a ladder with two steps to each doubling: 32, 48, 64, 96, 128, ..."""
    padded = LEAST_SIDE
    while padded < side:
        padded = padded * 3 // 2 if padded & (padded - 1) == 0 else padded * 4 // 3
    return -(-padded // SIDE_STEP) * SIDE_STEP


def padded_shapes(shapes: Sequence[Shape]) -> dict[Shape, ArraySides]:
    """The larger array for each shape of a pair: as few different ones as `LARGEST_GROWTH` and `SMALL_AREA` allow."""
    first = {shape: (padded_side(shape[0]), padded_side(shape[1])) for shape in shapes}
    shared: list[tuple[ArraySides, list[ArraySides]]] = []  # an array, and the smaller ones whose pairs it takes in
    for array in sorted(set(first.values()), key=lambda array: (-array[0] * array[1], array)):
        wider = [((max(k[0], array[0]), max(k[1], array[1])), members) for k, members in shared]
        near = [n for n, (k, _) in enumerate(wider) if _area(k) <= max(LARGEST_GROWTH * _area(array), SMALL_AREA)]
        if near:
            best = min(near, key=lambda n: _area(wider[n][0]))
            shared[best] = (wider[best][0], [*wider[best][1], array])
        else:
            shared.append((array, [array]))
    taken = {member: array for array, members in shared for member in members}
    return {shape: taken[array] for shape, array in first.items()}


def _area(array: ArraySides) -> int:
    return array[0] * array[1]


class _Waiting:
    """Pairs that were read and wait for others of their shape."""

    def __init__(self, size: Callable[[Shape], int], multiple: int, pads: bool):
        self._size, self._multiple, self._pads = size, multiple, pads
        self._groups: dict[tuple[Shape, Shape | None], list[Numbered]] = {}
        self._compiled: set[tuple[Shape, Shape | None]] = set()

    def add(self, i: int, pair: PairLike) -> Iterator[Batch]:
        """Takes a pair; gives the batch that it fills, or all that wait where they have many shapes."""
        shape = (pair.before.shape, None if pair.context is None else pair.context.shape)
        group = self._groups.setdefault(shape, [])
        group.append((i, pair))
        if len(group) == self._size(shape[0]):
            yield _stack(group, len(group))
            self._compiled.add(shape)
            del self._groups[shape]
        elif len(self._groups) >= MOST_WAITING:
            yield from self.rest()

    def rest(self) -> Iterator[Batch]:
        """All that wait, in larger arrays where that saves programs."""
        groups, self._groups = self._groups, {}
        new = [shape for shape in groups if shape not in self._compiled]
        alone = [shape for shape in new if self._pads and shape[1] is None and min(shape[0][:2]) >= LEAST_SIDE]
        if len(alone) > 1:
            yield from self._mixed([pair for shape in alone for pair in groups.pop(shape)])
        for shape, group in groups.items():
            # Padded to the size of its shape's other batches; the only one of its shape needs no more than that.
            own = -(-len(group) // self._multiple) * self._multiple
            yield _stack(group, self._size(shape[0]) if shape in self._compiled else own)

    def _mixed(self, pairs: list[Numbered]) -> Iterator[Batch]:
        arrays = padded_shapes([pair.before.shape for _, pair in pairs])
        size = MIXED_BATCH * self._multiple
        together: dict[tuple, list[Numbered]] = {}
        for i, pair in pairs:
            together.setdefault((arrays[pair.before.shape], pair.before.shape[2:]), []).append((i, pair))
        for (array, _), group in together.items():
            for first in range(0, len(group), size):
                yield _stack_padded(group[first : first + size], array, size)


def batches(
    source: PairSource,
    batch_size: Callable[[Shape], int],
    *,
    on_bad_pair: str = "error",
    skipped: list[tuple[str, str]] | None = None,
    multiple: int = 1,
    pads: bool = False,
) -> Iterator[Batch]:
    """Batches of the pairs of a set, grouped by shape in the order of their first pair.

    Args:
        source: Read once, in order, one pair at a time, so that it may be larger than memory.
        batch_size: From the shape of a patch to the pairs in a batch. A smaller set gets batches of its own size.
        on_bad_pair: "error" raises the pair's own error; "skip" goes on.
        skipped: With "skip", (id, message) of each bad pair is appended here.
        multiple: Batch sizes are rounded up to a multiple of this (the number of devices).
        pads: Whether pairs of different shapes may lie in larger arrays (`Score.pads`).

    Yields:
        `Batch`; few different shapes and sizes of them.

    Raises:
        BadPairError: of the first bad pair, with on_bad_pair="error".
        ConfigError: for another value of `on_bad_pair`.
    """
    if on_bad_pair not in ("error", "skip"):
        raise ConfigError(f"on_bad_pair is {on_bad_pair!r}; choose one of error, skip.")

    def size(shape: Shape) -> int:
        return -(-min(batch_size(shape), len(source)) // multiple) * multiple

    waiting = _Waiting(size, multiple, pads)
    for i in range(len(source)):
        try:
            pair = source.read(i)
        except BadPairError as error:
            if on_bad_pair == "error":
                raise
            if skipped is not None:
                skipped.append((source.ids[i], str(error)))
            continue
        yield from waiting.add(i, pair)
    yield from waiting.rest()
