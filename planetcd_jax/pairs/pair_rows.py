"""Rows of a published set, whatever it is stored as: images by column, a label, an id; and the pairs that they make."""

import collections
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError
from planetcd_jax.pairs.files import FilePair
from planetcd_jax.pairs.pair_set import UNKNOWN, listed
from planetcd_jax.pairs.tables import parse_label
from planetcd_jax.words import counted

LABEL_COLUMNS = ("label", "labels", "change", "changed", "class", "cls", "target")
ID_COLUMNS = ("id", "file_id", "pair_id", "name", "key")

BEFORE_WORDS = frozenset(("before", "pre", "t1", "1", "first"))
AFTER_WORDS = frozenset(("after", "post", "t2", "2", "second"))

EXPECTED = (
    "one column image (a composite of the two dates, as Mars-Bench stores it), or two columns such as before and "
    "after, image1 and image2 or t1 and t2, and a column label"
)
"""What a table of images must hold, in words."""


class Record(NamedTuple):
    """One row: id, split or None, label (1, 0 or -1), and image files by column name."""

    id: str
    split: str | None
    label: int
    images: Mapping[str, pathlib.Path]


class Found(NamedTuple):
    """What a reader of a layout found: its name, the rows, and facts for `PairSet.provenance`."""

    layout: str
    records: Sequence[Record]
    facts: Mapping[str, Any]


def date_of_column(column: str) -> str | None:
    """Which date, "before" or "after", a column's name says, in any case; None for another name."""
    word = re.sub(r"image|img|patch|file|name|path|[^a-z0-9]", "", column.lower())
    return "before" if word in BEFORE_WORDS else "after" if word in AFTER_WORDS else None


def column_named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the columns whose name, in any case, is one of `names`, in the order of `names`."""
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name] for name in names if name in lower), None)


def dates_of_columns(columns: Sequence[str], where: str) -> tuple[str, str] | None:
    """Columns of the before- and the after-image; None where one column is all that there is.

    Raises:
        DataError: if the names do not say which is which.
    """
    if len(columns) == 1:
        return None
    befores, afters = ([c for c in columns if date_of_column(c) == date] for date in ("before", "after"))
    if not len(befores) == len(afters) == 1:
        raise DataError(f"{where}: image columns {listed(columns) or 'none'}; wanted {EXPECTED}.")
    return befores[0], afters[0]


def class_values(names: Sequence[str], where: str) -> list[int]:
    """Labels of numbered classes: `["change", "no_change"]` makes 0 a change.

    Of two names that are none of the usual ones, one must deny the other, as "no_impact" does.

    Raises:
        DataError: if the names say neither change nor no change.
    """
    denied = [bool(re.match(r"(no|non|not|un|without|negative|absent)", name.lower())) for name in names]
    if len(names) == 2 and sum(denied) == 1:
        return [0 if deny else 1 for deny in denied]
    return [parse_label(name, where) for name in names]


def label_of(value: Any, classes: Sequence[int] | None, where: str) -> int:
    """A stored label as 1, 0 or -1.

    Args:
        value: Number, truth value, text or None.
        classes: `class_values` where the file numbers its classes.
        where: For the message.

    Raises:
        DataError: if it says neither change nor no change.
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if classes and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return parse_label(str(value), where)


def unique_ids(candidates: Sequence[str | None], fallback: Sequence[str]) -> list[str]:
    """The candidates as ids if every row has one and none repeats, else those that count the rows."""
    given = [c for c in candidates if c]
    return list(given) if len(given) == len(candidates) == len(set(given)) else list(fallback)


def numbered(rows: list[Record]) -> list[Record]:
    """The rows with ids of their own, or counted by split where those are missing or repeat."""
    counted = [f"{row.split or 'row'}_{i:05d}" for i, row in enumerate(rows)]
    ids = unique_ids([row.id for row in rows], counted)
    return [row._replace(id=id_) for row, id_ in zip(rows, ids, strict=True)]


def file_pairs(records: Sequence[Record], where: str) -> list[FilePair] | None:
    """The pairs of rows that hold two images each; None where each holds one.

    Raises:
        DataError: if rows differ in their columns, or the columns do not say which date is which.
    """
    kinds = collections.Counter(tuple(sorted(record.images)) for record in records)
    if len(kinds) > 1:
        told = "; ".join(
            f"{counted(count, 'row')} with {', '.join(names) or 'no image'}" for names, count in kinds.most_common(4)
        )
        raise DataError(f"{where}: rows hold different images ({told}); wanted {EXPECTED}.")
    columns = dates_of_columns(next(iter(kinds)), where)
    if columns is None:
        return None
    return [FilePair(r.id, r.images[columns[0]], r.images[columns[1]], r.label) for r in records]
