"""Tables of images as the `datasets` library writes them: parquet shards with columns of encoded images and a label.

Each shard is unpacked once into image files beside a list of its rows, so that memory holds a few rows at a time.
"""

import functools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.hub_requests import one_line
from planetcd_jax.pairs import pair_rows
from planetcd_jax.pairs.files import hashes
from planetcd_jax.pairs.pair_rows import Found, Record
from planetcd_jax.pairs.pair_set import listed
from planetcd_jax.pairs.splits import is_wanted, split_of_path
from planetcd_jax.pairs.unpacking import unpacked

ROWS = "rows.json"
"""The rows of an unpacked shard: id, label, and a file for each image column."""

SOURCE = b"planetcd_jax.source"
"""Key of a shard's schema that says "simulated" where its pairs were made up, so that they are never taken for real."""

BATCH = 16
"""Rows that are decoded from parquet at once."""

_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"GIF8": ".gif"}


def read_shards(root: pathlib.Path, names: Sequence[str], split: str | None) -> Found:
    """Rows of all shards of a split, in the order of the shards' names.

    Args:
        root: Folder of the set.
        names: The shards, relative to it.
        split: As in `splits.is_wanted`.

    Raises:
        DataError: if a shard is damaged, or holds no images, with its columns.
    """
    shards = [name for name in sorted(names) if is_wanted(split_of_path(name), split)]
    rows = [record for name in shards for record in _records(root, name)]
    facts = {"shards": shards, "sha256": hashes([root / name for name in shards], root)}
    if any(_is_simulated(root / name) for name in shards):
        facts["source"] = "simulated"
    return Found("parquet", pair_rows.numbered(rows), facts)


def _is_simulated(path: pathlib.Path) -> bool:
    from pyarrow import parquet

    return (parquet.read_schema(path).metadata or {}).get(SOURCE) == b"simulated"


def _records(root: pathlib.Path, name: str) -> Iterator[Record]:
    folder = unpacked(root / name, functools.partial(_write_shard, root=root), "parquet1")
    split = split_of_path(name)
    for row in json.loads((folder / ROWS).read_text(encoding="utf-8")):
        images = {column: folder / file for column, file in row["images"].items()}
        yield Record(row["id"] or "", split, row["label"], images)


def _write_shard(path: pathlib.Path, folder: pathlib.Path, *, root: pathlib.Path) -> None:
    """Writes the images of a shard, and `ROWS`, into a folder."""
    with brought_by("hub"):
        import pyarrow
        from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = image_columns(schema, str(path))
            label = pair_rows.column_named(schema.names, pair_rows.LABEL_COLUMNS)
            id_ = pair_rows.column_named(schema.names, pair_rows.ID_COLUMNS)
            wanted = [name for name in (*columns, label, id_) if name]
            batches = file.iter_batches(batch_size=BATCH, columns=wanted)
            rows = (row for batch in batches for row in batch.to_pylist())
            classes = _classes(schema, label, str(path))
            found = [_unpack(row, i, folder, root, (columns, label, id_, classes), path) for i, row in enumerate(rows)]
    except pyarrow.ArrowException as err:
        raise DataError(f"{path}: cannot be read as parquet ({one_line(err)}); fetch it again.") from err
    (folder / ROWS).write_text(json.dumps(found), encoding="utf-8")


def image_columns(schema: Any, where: str) -> list[str]:
    """Columns that hold images: encoded bytes, the library's struct of bytes and path, or paths under a date's name.

    Args:
        schema: `pyarrow.Schema`.
        where: For the message.

    Raises:
        DataError: if there is none, naming all columns and their types.
    """
    import pyarrow.types as kinds

    def is_image(field: Any) -> bool:
        if kinds.is_struct(field.type):
            return {"bytes", "path"} & {part.name for part in field.type} != set()
        return kinds.is_binary(field.type) or kinds.is_large_binary(field.type)

    found = [field.name for field in schema if is_image(field)]
    texts = [field.name for field in schema if kinds.is_string(field.type) or kinds.is_large_string(field.type)]
    found = found or [name for name in texts if name.lower() == "image" or pair_rows.date_of_column(name)]
    if not found:
        told = [f"{field.name} ({field.type})" for field in schema]
        raise DataError(f"{where}: no column of images; columns are {listed(told)}; wanted {pair_rows.EXPECTED}.")
    dated = [name for name in found if pair_rows.date_of_column(name)]
    return dated if {pair_rows.date_of_column(name) for name in dated} == {"before", "after"} else found


def _classes(schema: Any, label: str | None, where: str) -> list[int] | None:
    """Values of numbered classes, from what the `datasets` library keeps in the schema; None without."""
    kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = kept.get("info", {}).get("features", {}).get(label) or {}
    return pair_rows.class_values(feature["names"], f"{where}, column {label}") if "names" in feature else None


def _unpack(row: dict[str, Any], i: int, folder: pathlib.Path, root: pathlib.Path, columns: tuple, path) -> dict:
    """One row as `ROWS` lists it, its images written."""
    images, label, id_, classes = columns
    where = f"{path}, row {i}"
    stored = {name: _write_image(row[name], folder / f"{i:06d}_{n}", root, f"{where}, column {name}")
              for n, name in enumerate(images)}  # fmt: skip
    named = [row[id_]] if id_ else [_path_of(row[name]) for name in images[:1]]
    name = next((pathlib.PurePosixPath(str(n)).stem for n in named if n is not None), None)
    value = pair_rows.label_of(row[label] if label else None, classes, where)
    return {"id": name, "label": value, "images": stored}


def _path_of(value: Any) -> str | None:
    return value if isinstance(value, str) else value.get("path") if isinstance(value, dict) else None


def _write_image(value: Any, stem: pathlib.Path, root: pathlib.Path, where: str) -> str:
    """Writes an image's bytes; returns the file's name, or the absolute path of a file that the row only names."""
    data = value.get("bytes") if isinstance(value, dict) else value if isinstance(value, bytes) else None
    if data is not None:
        suffix = next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".image")
        stem.with_suffix(suffix).write_bytes(data)
        return stem.with_suffix(suffix).name
    named = _path_of(value)
    if named is None or not (root / named).is_file():
        raise DataError(f"{where}: neither bytes nor a file that is there ({named}); fetch the set again.")
    return str((root / named).resolve())
