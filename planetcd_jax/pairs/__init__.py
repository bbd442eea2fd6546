"""Data sets: pairs of patches from files, from the hub, or simulated, read one pair at a time."""

from planetcd_jax.pairs.pair_set import Pair, PairSet
from planetcd_jax.pairs.registry import DATASETS, open_dataset

__all__ = ["DATASETS", "Pair", "PairSet", "open_dataset"]
