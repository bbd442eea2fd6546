"""WebDataset: tar archives in which the files of a row share a name up to its first dot."""

import collections
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import pair_rows
from planetcd_jax.pairs.files import hashes
from planetcd_jax.pairs.pair_rows import Found, Record
from planetcd_jax.pairs.splits import is_wanted, split_of_path
from planetcd_jax.pairs.unpacking import extract_archive, unpacked
from planetcd_jax.pairs.user_pairs import IMAGE_SUFFIXES

LABEL_FILES = (".cls", ".txt", ".json")


def read_tars(root: pathlib.Path, names: Sequence[str], split: str | None) -> Found:
    """Rows of all tar archives of a split: `a.before.png`, `a.after.png`, `a.cls`, or `a.png`, `a.json`.

    Args:
        root: Folder of the set.
        names: The archives, relative to it.
        split: As in `splits.is_wanted`.

    Raises:
        DataError: if an archive is damaged, or a label says neither change nor no change.
    """
    shards = [name for name in sorted(names) if is_wanted(split_of_path(name), split)]
    rows = [row for name in shards for row in _rows(root / name, split_of_path(name))]
    facts = {"shards": shards, "sha256": hashes([root / name for name in shards], root)}
    return Found("WebDataset", pair_rows.numbered(rows), facts)


def _rows(path: pathlib.Path, split: str | None) -> list[Record]:
    folder = unpacked(path, extract_archive, "archive")
    groups: dict[str, dict[str, pathlib.Path]] = collections.defaultdict(dict)
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        key, _, part = file.name.partition(".")
        groups[str(file.parent.relative_to(folder) / key)][f".{part}"] = file
    rows = [_row(key, parts, split or split_of_path(key), path) for key, parts in groups.items()]
    return [row for row in rows if row.images]


def _row(key: str, parts: dict[str, pathlib.Path], split: str | None, path: pathlib.Path) -> Record:
    images = {part: file for part, file in parts.items() if file.suffix.lower() in IMAGE_SUFFIXES}
    named = {pathlib.PurePosixPath(part[1:]).stem if part.count(".") > 1 else "image": f for part, f in images.items()}
    stored = next((parts[part] for part in LABEL_FILES if part in parts), None)
    label = pair_rows.label_of(None if stored is None else _stored_label(stored), None, f"{path}, {key}")
    return Record(pathlib.PurePosixPath(key).name, split, label, named)


def _stored_label(path: pathlib.Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return text
    try:
        values = json.loads(text)
    except json.JSONDecodeError as err:
        raise DataError(f"{path}: is no JSON ({err}); pack the archive again.") from err
    if not isinstance(values, dict):
        return values
    column = pair_rows.column_named(list(values), pair_rows.LABEL_COLUMNS)
    return values[column] if column else None
