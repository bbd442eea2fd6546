"""Simulated pairs written as the hub stores a set: parquet shards of RGB composites, marked as simulated."""

import pathlib
import warnings

import numpy as np

from planetcd_jax.pairs import DATASETS, PairSet, open_dataset
from planetcd_jax.pairs.packed import pack
from planetcd_jax.pairs.parquet import SOURCE


def _png(image: np.ndarray) -> bytes:
    """An image [H, W, 3] uint8 as PNG."""
    import rasterio

    height, width, bands = image.shape
    with rasterio.MemoryFile() as memory:
        options = {"driver": "PNG", "height": height, "width": width, "count": bands, "dtype": "uint8"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with memory.open(**options) as out:
                out.write(np.moveaxis(image, -1, 0))
        return memory.read()


def _composite(pairs: PairSet, i: int) -> bytes:
    """One pair as Mars-Bench stacks it: red 0, green after, blue before."""
    before, after = (np.rint(255 * image).astype(np.uint8) for image in pairs.read(i)[:2])
    return _png(np.stack([np.zeros_like(after), after, before], -1))


def write_shard(pairs: PairSet, path: pathlib.Path) -> None:
    """One split as one shard with the columns image and label."""
    import pyarrow
    from pyarrow import parquet

    images = [{"bytes": _composite(pairs, i), "path": f"{pairs.ids[i]}.png"} for i in range(len(pairs))]
    data = pyarrow.table({"image": images, "label": pairs.labels.astype(int).tolist()})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(data.replace_schema_metadata({SOURCE: b"simulated"}), path)


def write(dataset: str, folder: pathlib.Path) -> pathlib.Path:
    """Stand-ins of a data set, made once: a folder as the hub lays it out, or an HDF5 file for a set without splits.

    CTX is as large as Mars-Bench's (36, 10 and 10 pairs). RSL has as many test pairs as the paper's set, and a tenth of
    Mars-Bench's pairs to train on, which two cores learn from in minutes.
    """
    if not DATASETS[dataset].splits:
        return _write_packed(dataset, folder.with_suffix(".h5"))
    sizes = {"train": 36, "val": 10, "test": 10} if dataset == "ctx" else {"train": 310, "val": 67, "test": 254}
    for split, size in sizes.items():
        path = folder / f"data/{split}-00000-of-00001.parquet"
        if not path.exists():
            with open_dataset(dataset, source="simulated", split=split, seed=1) as pairs:
                write_shard(_first(pairs, size), path)
    return folder


def _first(pairs: PairSet, size: int) -> PairSet:
    return PairSet(pairs.name, pairs.source, pairs.ids[:size], pairs.raw, labels=pairs.labels[:size])


def _write_packed(dataset: str, path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with open_dataset(dataset, source="simulated", seed=1) as pairs:
            pack(pairs, path)
    return path
