"""Folders of images: by split and class (`test/change/a.png`), or listed in metadata.csv or metadata.jsonl."""

import contextlib
import csv
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import pair_rows
from planetcd_jax.pairs.files import hashes
from planetcd_jax.pairs.pair_rows import Found, Record
from planetcd_jax.pairs.pair_set import UNKNOWN, listed
from planetcd_jax.pairs.splits import is_wanted, split_of_path
from planetcd_jax.pairs.tables import parse_label
from planetcd_jax.pairs.user_pairs import IMAGE_SUFFIXES, dates_of_files
from planetcd_jax.words import counted

METADATA = ("metadata.csv", "metadata.jsonl")


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return pathlib.PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def read_folder(root: pathlib.Path, names: Sequence[str], split: str | None) -> Found:
    """Rows of a folder of images: those that its metadata lists, else its files by their names.

    Two files whose paths differ by before/after, t1/t2 or pre/post are one row; any other file is a row of its own.

    Args:
        root: The folder.
        names: Its files, relative to it.
        split: As in `splits.is_wanted`.

    Raises:
        DataError: if metadata name files that are not there, or an image lacks its other date.
    """
    wanted = [name for name in sorted(names) if is_wanted(split_of_path(name), split)]
    tables = [name for name in wanted if pathlib.PurePosixPath(name).name in METADATA]
    rows = [row for name in tables for row in _listed(root, name)] if tables else _unlisted(root, wanted)
    rows = [row for row in rows if is_wanted(row.split, split)]
    files = list(dict.fromkeys([root / t for t in tables] + [f for row in rows for f in row.images.values()]))
    return Found("imagefolder", _unique(rows), {"sha256": hashes(files, root)})


def _unique(rows: list[Record]) -> list[Record]:
    counted = [f"{row.split or 'row'}_{i:05d}" for i, row in enumerate(rows)]
    ids = pair_rows.unique_ids([row.id for row in rows], counted)
    return [row._replace(id=id_) for row, id_ in zip(rows, ids, strict=True)]


def _listed(root: pathlib.Path, name: str) -> list[Record]:
    """Rows of one metadata file; its columns of file names end in file_name, as the `datasets` library has it."""
    table = root / name
    rows = _table(table)
    columns = sorted({column for row in rows for column in row})
    images = [column for column in columns if column.lower().endswith("file_name")]
    if not images:
        raise DataError(f"{table}: columns {listed(columns) or 'none'}; wanted file_name, or before_file_name and "
                        "after_file_name, and label.")  # fmt: skip
    label = pair_rows.column_named(columns, pair_rows.LABEL_COLUMNS)
    return [_listed_row(table, i, row, images, label, split_of_path(name)) for i, row in enumerate(rows)]


def _listed_row(table: pathlib.Path, i: int, row: dict[str, Any], images, label, split: str | None) -> Record:
    paths = {column: table.parent / str(row[column]) for column in images if row.get(column)}
    gone = [str(path) for path in paths.values() if not path.is_file()]
    if gone:
        raise DataError(f"{table}, row {i}: {listed(gone)} not there; fetch the set again, or correct the table.")
    first = str(row[images[0]])
    value = pair_rows.label_of(row.get(label) if label else _class_of(first), None, f"{table}, row {i}")
    return Record(pathlib.PurePosixPath(first).stem, split or split_of_path(first), value, paths)


def _table(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix == ".csv":
                return list(csv.DictReader(file))
            return [json.loads(line) for line in file if line.strip()]
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as err:
        raise DataError(f"{path}: cannot be read ({err}); export it again in UTF-8.") from err


def _unlisted(root: pathlib.Path, names: Sequence[str]) -> list[Record]:
    images = [name for name in names if is_image(name)]
    dated = dates_of_files(root, [root / name for name in images])
    if dated is None:
        return [_lone_row(root, name) for name in images]
    befores, afters = dated
    alone = sorted(befores.keys() ^ afters.keys())
    if alone:
        raise DataError(
            f"{root}: {counted(len(alone), 'image')} without the other date: {listed(alone)}; add or remove them."
        )
    return [
        _row(root, key, {"before": befores[key], "after": afters[key]}, befores[key].relative_to(root).as_posix())
        for key in sorted(befores)
    ]


def _lone_row(root: pathlib.Path, name: str) -> Record:
    return _row(root, pathlib.PurePosixPath(name).stem, {"image": root / name}, name)


def _row(root: pathlib.Path, id_: str, images: dict[str, pathlib.Path], name: str) -> Record:
    del root
    return Record(id_, split_of_path(name), pair_rows.label_of(_class_of(name), None, name), images)


def _class_of(name: str) -> str | None:
    """The folder that names a class, the innermost first; None if none does."""
    for folder in reversed(pathlib.PurePosixPath(name).parts[:-1]):
        with contextlib.suppress(DataError):
            if parse_label(folder, name) != UNKNOWN:
                return folder
    return None
