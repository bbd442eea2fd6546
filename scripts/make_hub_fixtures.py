"""Writes the small data sets of tests/hub_fixtures with the `datasets` library, as its `push_to_hub` lays them out.

    pip install datasets pillow
    python scripts/make_hub_fixtures.py --output=tests/hub_fixtures

`composite`: one RGB image (zeros, after, before) for each pair, as Mars-Bench stacks them; splits train, val, test, the
last in two shards. `columns`: two image columns, splits train and validation and test, numbered classes.
The library's own `push_to_hub` runs; only its two calls of the network are answered here, by writing files.
"""

import contextlib
import pathlib
import unittest.mock

import numpy as np
from absl import app, flags

SIDE = 20
SIZES = {"train": 4, "val": 2, "test": 6}

_OUTPUT = flags.DEFINE_string("output", "tests/hub_fixtures", "Folder to write.")


def smooth(rng: np.random.Generator) -> np.ndarray:
    """[SIDE, SIDE] uint8: a smooth field with some noise, which compresses well."""
    coarse = rng.uniform(40, 200, (5, 5))
    cells = np.kron(coarse, np.ones((SIDE // 5, SIDE // 5)))
    return np.clip(cells + rng.integers(-3, 4, cells.shape), 1, 255).astype(np.uint8)


def pair(index: int, changed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Before and after [SIDE, SIDE] uint8; a changed pair has a dark square in the after-image."""
    rng = np.random.default_rng([7, index])
    before = smooth(rng)
    after = np.clip(before + rng.integers(-4, 5, before.shape), 1, 255).astype(np.uint8)
    if changed:
        after[6:14, 6:14] = 5
    return before, after


def numbers(split: str) -> list[tuple[int, bool]]:
    """Index and truth of the pairs of a split: even ones are changed."""
    start = {"train": 0, "val": 100, "test": 200}[split]
    return [(start + i, i % 2 == 0) for i in range(SIZES[split])]


def composite(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """[SIDE, SIDE, 3]: red 0, green after, blue before."""
    return np.stack([np.zeros_like(after), after, before], -1)


def make_composite(split: str):
    """The split as one image column, label 1 where changed."""
    import datasets
    import PIL.Image

    rows = [(PIL.Image.fromarray(composite(*pair(i, changed))), int(changed)) for i, changed in numbers(split)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict({"image": [r[0] for r in rows], "label": [r[1] for r in rows]}, features)


def make_columns(split: str):
    """The split as two image columns, and classes in alphabetical order, so that 0 is a change."""
    import datasets
    import PIL.Image

    rows = [(*pair(i, changed), changed, f"site_{i}") for i, changed in numbers(split)]
    features = {"ImageT2": datasets.Image(), "ImageT1": datasets.Image(), "pair_id": datasets.Value("string")}
    features["label"] = datasets.ClassLabel(names=["change", "no_change"])
    columns = {f"ImageT{date + 1}": [PIL.Image.fromarray(r[date]) for r in rows] for date in (0, 1)}
    columns |= {"pair_id": [r[3] for r in rows], "label": ["change" if r[2] else "no_change" for r in rows]}
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


def push(splits: dict, folder: pathlib.Path, shards: dict[str, int]) -> None:
    """Runs `DatasetDict.push_to_hub` and writes what it would upload into a folder."""
    import datasets
    import huggingface_hub

    def keep(additions) -> None:
        for operation in additions:
            if hasattr(operation, "path_or_fileobj"):
                target = folder / operation.path_in_repo
                target.parent.mkdir(parents=True, exist_ok=True)
                with operation.as_file() as file:
                    target.write_bytes(file.read())

    def upload(self, repo_id, additions, **options) -> None:
        keep(additions)

    def commit(self, repo_id, operations, **options):
        keep(operations)
        return unittest.mock.MagicMock(oid="0" * 40)

    api = huggingface_hub.HfApi
    answers = {
        "create_repo": lambda self, repo_id, **options: unittest.mock.MagicMock(repo_id=repo_id),
        "create_branch": lambda self, repo_id, **options: None,
        "preupload_lfs_files": upload,
        "create_commit": commit,
        "list_repo_tree": lambda self, repo_id, *path, **options: iter(()),
        "repo_info": lambda self, repo_id, **options: unittest.mock.MagicMock(id="owner/name", sha="0" * 40),
    }
    # After the shards, the library looks for the card of a repository that is not there.
    with unittest.mock.patch.multiple(api, **answers), contextlib.suppress(FileNotFoundError):
        datasets.DatasetDict(splits).push_to_hub("owner/name", num_shards=shards, token="none")


def main(argv: list[str]) -> None:
    """Writes both data sets."""
    del argv
    output = pathlib.Path(_OUTPUT.value)
    one = {split: make_composite(split) for split in SIZES}
    push(one, output / "composite", {"train": 1, "val": 1, "test": 2})
    two = {split.replace("val", "validation"): make_columns(split) for split in SIZES}
    push(two, output / "columns", {"train": 1, "validation": 1, "test": 1})
    for path in sorted(output.rglob("*.parquet")):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    app.run(main)
