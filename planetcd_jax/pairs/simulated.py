"""Simulated stand-ins for data sets whose record has ranges, made chunk by chunk as they are read."""

import functools
import zlib

import jax
import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.pairs.dataset_spec import DATASETS, DatasetSpec, find_spec
from planetcd_jax.pairs.pair_set import PairSet, RawPair
from planetcd_jax.simulate import imaging
from planetcd_jax.simulate.ranges import SceneRanges

CHUNK = 8
"""Pairs made at once. Fixed, so that a pair does not depend on how a set is read."""


def labels_of(name: str | DatasetSpec, split: str, seed: int) -> np.ndarray:
    """Labels of a simulated set: one half changed (the larger half of an odd number), in an order drawn from the seed.

    The paper's LROC set has 5 and 5 pairs; how the other two are balanced it does not say, so they are taken as even.
    """
    spec = find_spec(name)
    n = spec.simulated_pairs[split]
    rank = np.argsort(np.asarray(jax.random.bits(_set_key(spec.name, split, seed, 1), (n,))), kind="stable")
    labels = np.zeros(n, np.int8)
    labels[rank[: (n + 1) // 2]] = 1
    return labels


def simulated_set(name: str | DatasetSpec, *, split: str | None = None, seed: int = 0) -> PairSet:
    """A simulated stand-in for "hirise_rsl", "ctx", "lroc", or another set whose record has ranges.

    Args:
        name: Data set that it stands in for.
        split: "test" (None means it), "train", "val", or "all". Each split has its own stream of keys.
        seed: The same seed gives the same pairs, whatever the order of reading.

    Returns:
        A `PairSet` with `source` "simulated". `details(i)` on it gives the `SimulatedPair` with mask and parameters.

    Raises:
        DataError: if there is no such set or split.
    """
    spec = _with_ranges(name)
    splits = _splits(spec, split)
    parts = [(s, i) for s in splits for i in range(spec.simulated_pairs[s])]
    labels = np.concatenate([labels_of(spec, s, seed) for s in splits])
    maker = _Maker(spec, seed)
    ids = [f"SIMULATED_{s}_{i:04d}" for s, i in parts]  # so that a table of ids alone says so too
    ranges = spec.simulated
    assert ranges is not None  # `_with_ranges` has seen to it
    return SimulatedSet(
        spec.name,
        "simulated",
        ids,
        lambda i: _raw(maker(*parts[i])),
        labels=labels,
        provenance={
            "simulator": "planetcd_jax.simulate.imaging",
            "ranges": f"planetcd_jax.simulate.ranges.{ranges.name.upper()}",
            "seed": seed,
            "split": "+".join(splits),
            "balance": "one half changed",
        },
        shape=lambda i: (ranges.height, ranges.width),
        details=lambda i: maker(*parts[i]),
    )


class SimulatedSet(PairSet):
    """A `PairSet` that also tells the truth about each pair."""

    def __init__(self, *args, details, **kwargs):
        super().__init__(*args, **kwargs)
        self._details = details

    def details(self, i: int) -> imaging.SimulatedPair:
        """The i-th pair with its change mask and parameters, as NumPy arrays."""
        return self._details(self._index(i))


def _with_ranges(name: str | DatasetSpec) -> DatasetSpec:
    if isinstance(name, str) and ":" not in name and name not in DATASETS:
        able = [spec.name for spec in DATASETS.values() if spec.simulated]
        raise DataError(f"there is no simulated set {name!r}; choose one of {', '.join(able)}.")
    spec = find_spec(name)
    if spec.simulated is None:
        raise DataError(f"there is no simulated set {spec.name!r}: its record has no ranges.")
    return spec


def _splits(spec: DatasetSpec, split: str | None) -> tuple[str, ...]:
    sizes = spec.simulated_pairs
    if split == "all":
        return tuple(sizes)
    chosen = split or "test"
    if chosen not in sizes:
        raise DataError(f"simulated set {spec.name!r} has no split {chosen!r}; choose {', '.join(sizes)} or all.")
    return (chosen,)


def _set_key(name: str, split: str, seed: int, purpose: int) -> jax.Array:
    """A key for one purpose (0 pairs, 1 labels) of one split of one set; crc32 because `hash` differs by process."""
    key = jax.random.key(seed)
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(f"{name}/{split}".encode()) % 2**31), purpose)


@functools.lru_cache(maxsize=4)
def _chunk_maker(ranges: SceneRanges):
    """The compiled simulator of one set: keys [CHUNK], changed [CHUNK] -> `SimulatedPair` with a leading axis."""

    def one(set_key, index, changed):
        return imaging.simulate_pair(jax.random.fold_in(set_key, index), changed, ranges)

    return jax.jit(jax.vmap(one, in_axes=(None, 0, 0)), compiler_options=_compiler_options())


def _compiler_options() -> dict[str, int]:
    """On CPU the full optimiser takes 10 s and more for a program that runs for 2 s; level 1 takes a third of that."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


class _Maker:
    """Makes pairs by chunks and keeps the last two chunks."""

    def __init__(self, spec: DatasetSpec, seed: int):
        self._spec, self._seed = spec, seed
        self._chunk = functools.lru_cache(maxsize=2)(self._make)
        self._labels = functools.lru_cache(maxsize=None)(lambda split: labels_of(spec, split, seed))

    def __call__(self, split: str, i: int) -> imaging.SimulatedPair:
        chunk = self._chunk(split, i // CHUNK)
        return jax.tree.map(lambda x: x[i % CHUNK], chunk)

    def _make(self, split: str, number: int) -> imaging.SimulatedPair:
        labels = self._labels(split)
        index = np.arange(number * CHUNK, (number + 1) * CHUNK)
        changed = labels[np.minimum(index, len(labels) - 1)] == 1  # the tail of the last chunk is thrown away
        key = _set_key(self._spec.name, split, self._seed, 0)
        made = _chunk_maker(self._spec.simulated)(key, index.astype(np.uint32), changed)
        return jax.tree.map(np.asarray, made)


def _raw(pair: imaging.SimulatedPair) -> RawPair:
    return RawPair(np.asarray(pair.before), np.asarray(pair.after))
