"""The table of pairs of a survey: a CSV with before, after and whatever else is known of each pair."""

import csv
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from planetcd_jax.errors import DataError, OutputError
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.files.folders import write_whole

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_MOST_OF_A_STEM = 40


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images of one ground.

    Attributes:
        id: Names the pair and the folder of its results; letters, digits, `_`, `.` and `-`.
        before, after: Paths, or URLs that GDAL reads.
        facts: Further columns of its row, as text.
    """

    id: str
    before: str
    after: str
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def pair_id(before: str, after: str) -> str:
    """A name that tells both images, and their full paths by a digest.

    >>> pair_id("/data/P01.tif", "/data/P02.tif")
    'P01--P02--89d16753'
    """
    stems = (re.sub(r"[^A-Za-z0-9_]+", "-", pathlib.PurePath(name).stem).strip("-") for name in (before, after))
    one, two = (stem[:_MOST_OF_A_STEM] or "image" for stem in stems)
    digest = sha256_of("\n".join((before, after)).encode())
    return f"{one}--{two}--{digest[:8]}"


def _placed(name: str, folder: pathlib.Path) -> str:
    """A path as it is to be opened; one that is not absolute is counted from the folder of the table."""
    if "://" in name or name.startswith("/vsi"):
        return name
    return os.path.normpath(folder / name)


def read_pairs(path: pathlib.Path) -> list[Pair]:
    """The pairs of a CSV with at least the columns `before` and `after`; without `id` they are named by `pair_id`.

    Raises:
        DataError: if the file cannot be read, lacks a column or a value, or names two pairs alike.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read ({reason}); give a CSV with the columns before,after.") from None
    if not rows:
        raise DataError(f"{path} holds no pair; give a CSV with the columns before,after and one row for each pair.")
    missing = [name for name in ("before", "after") if name not in rows[0]]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; give a CSV with the columns before,after.")
    pairs = [_pair(row, line, path) for line, row in enumerate(rows, start=2)]
    _check_unlike(pairs, path)
    return pairs


def _pair(row: Mapping[str, str | None], line: int, path: pathlib.Path) -> Pair:
    for name in ("before", "after"):
        if not row[name]:
            raise DataError(f"{path}, line {line}: {name} is empty; name both images of each pair.")
    before, after = (_placed(str(row[name]), pathlib.Path(path).parent) for name in ("before", "after"))
    named = row.get("id") or pair_id(before, after)
    if not _SAFE.fullmatch(named):
        raise DataError(
            f"{path}, line {line}: id {named!r} is no name for a folder; use letters, digits, '_', '.' and '-'."
        )
    facts = {name: value for name, value in row.items() if name not in ("id", "before", "after", None) and value}
    return Pair(named, before, after, facts)


def _check_unlike(pairs: Iterable[Pair], path: pathlib.Path) -> None:
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise DataError(f"{path} names two pairs {pair.id!r}; give each pair an id of its own.")
        seen.add(pair.id)


def write_table(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV, whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(lines).encode("utf-8"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); name another file.") from None


class _Lines(list):
    """What csv takes for a file."""

    write = list.append
