"""One door to every data set."""

from planetcd_jax.data.pairs import PairSet
from planetcd_jax.errors import DataError

DATASETS = ("hirise_rsl", "ctx", "lroc", "pairs")


def open_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    pairs_csv: str | None = None,
    source: str = "auto",
    split: str | None = None,
    revision: str = "main",
    patch_size: int | None = None,
    margin: int = 10,
    stretch: str = "auto",
    seed: int = 0,
) -> PairSet:
    """A data set by name; real files are not open yet (see the next commit)."""
    from planetcd_jax.data.simulated_sets import simulated_set

    if name not in DATASETS:
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}.")
    return simulated_set(name, split=split, seed=seed)
