"""Pairs of one shape, stacked into batches of one size; the last of each shape is padded."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from planetcd_jax.errors import BadPairError, ConfigError


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


class Batch(NamedTuple):
    """Pairs of one shape.

    Attributes:
        before, after: [B, H, W] or [B, H, W, C] float32.
        context: None or [B, H + 2m, W + 2m(, C)] float32.
        index: [B] uint32, each pair's number in its set; 0 for padding.
        count: How many of the B are pairs; the rest is padding.
    """

    before: np.ndarray
    after: np.ndarray
    context: np.ndarray | None
    index: np.ndarray
    count: int


def _stack(pairs: list[tuple[int, PairLike]], size: int) -> Batch:
    count = len(pairs)
    # Padding repeats the last pair: real numbers cost what others cost, and their results are dropped.
    padded = pairs + [pairs[-1]] * (size - count)
    index = np.array([i for i, _ in pairs] + [0] * (size - count), np.uint32)
    contexts = [p.context for _, p in padded if p.context is not None]
    context = np.stack(contexts) if len(contexts) == size else None
    before = np.stack([p.before for _, p in padded])
    after = np.stack([p.after for _, p in padded])
    return Batch(before, after, context, index, count)


def batches(
    source: PairSource,
    batch_size: Callable[[tuple[int, ...]], int],
    *,
    on_bad_pair: str = "error",
    skipped: list[tuple[str, str]] | None = None,
    multiple: int = 1,
) -> Iterator[Batch]:
    """Batches of the pairs of a set, grouped by shape in the order of their first pair.

    Args:
        source: Read once, in order, one pair at a time, so that it may be larger than memory.
        batch_size: From the shape of a patch to the pairs in a batch. A smaller set gets batches of its own size.
        on_bad_pair: "error" raises the pair's own error; "skip" goes on.
        skipped: With "skip", (id, message) of each bad pair is appended here.
        multiple: Batch sizes are rounded up to a multiple of this (the number of devices).

    Yields:
        `Batch`; all batches of one shape have one size.

    Raises:
        BadPairError: of the first bad pair, with on_bad_pair="error".
        ConfigError: for another value of `on_bad_pair`.
    """
    if on_bad_pair not in ("error", "skip"):
        raise ConfigError(f"on_bad_pair is {on_bad_pair!r}; choose one of error, skip.")

    def size(shape: tuple) -> int:
        return -(-min(batch_size(shape[0]), len(source)) // multiple) * multiple

    waiting: dict[tuple, list[tuple[int, PairLike]]] = {}
    yielded: set[tuple] = set()
    for i in range(len(source)):
        try:
            pair = source.read(i)
        except BadPairError as error:
            if on_bad_pair == "error":
                raise
            if skipped is not None:
                skipped.append((source.ids[i], str(error)))
            continue
        shape = (pair.before.shape, None if pair.context is None else pair.context.shape)
        group = waiting.setdefault(shape, [])
        group.append((i, pair))
        if len(group) == size(shape):
            yield _stack(group, size(shape))
            yielded.add(shape)
            waiting[shape] = []
    for shape, group in waiting.items():
        if group:  # padded to the size of its shape's other batches; the only one of its shape needs no more than that
            yield _stack(group, size(shape) if shape in yielded else -(-len(group) // multiple) * multiple)
