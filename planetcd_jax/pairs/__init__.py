"""Data sets: pairs of patches from files, from the hub, or simulated, read one pair at a time."""

from planetcd_jax.pairs.dataset_spec import DATASETS, DatasetSpec, find_spec, register
from planetcd_jax.pairs.opening import open_as_asked, open_dataset
from planetcd_jax.pairs.pair_set import Pair, PairSet

__all__ = ["DATASETS", "DatasetSpec", "Pair", "PairSet", "find_spec", "open_as_asked", "open_dataset", "register"]
