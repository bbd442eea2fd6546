"""CSV tables and labels in, with errors that name file, row and column."""

import csv
import pathlib
from collections.abc import Sequence

from planetcd_jax.errors import DataError
from planetcd_jax.pairs.pair_set import UNKNOWN

_CHANGED = {"1", "1.0", "change", "changed", "true"}
_UNCHANGED = {"0", "0.0", "no_change", "no change", "nochange", "unchanged", "false"}
_UNKNOWN = {"", "-1", "unknown"}


def read_rows(path: pathlib.Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table with commas, semicolons or tabs: stripped text by column, and "row", the line in the file.

    Args:
        path: The table; UTF-8, first line has the column names.
        wanted: Columns that must be there, in lower case; others are kept too. Capitals in the file do not matter.

    Raises:
        DataError: if the file is missing, is no such text, lacks a column, has a short row or none.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; correct the name of the table.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.DictReader(file, skipinitialspace=True, delimiter=separator)
            found = [_known((name or "").strip(), wanted) for name in reader.fieldnames or []]
            reader.fieldnames = found
            rows = [{**row, "row": str(reader.line_num)} for row in reader]
    except (UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: not a comma-separated table in UTF-8 ({err}); export it again.") from err
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(found) or 'none'}; wanted {', '.join(wanted)}: "
            "rename or add them in the first line."
        )
    if not rows:
        raise DataError(f"{path}: the table has no rows; list one pair in each.")
    for row in rows:
        if any(row[name] is None for name in wanted):
            raise DataError(f"{path}, line {row['row']}: fewer values than columns; wanted {', '.join(found)}.")
    return [{k: v.strip() for k, v in row.items() if isinstance(v, str)} for row in rows]


def _known(name: str, wanted: Sequence[str]) -> str:
    """A column's name, in lower case if it is one of those wanted, or the label."""
    return name.lower() if name.lower() in (*wanted, "label") else name


def parse_label(text: str, where: str) -> int:
    """A label as number: 1 changed, 0 unchanged, -1 unknown (empty).

    Raises:
        DataError: if the text is none of the accepted ones.
    """
    word = text.strip().lower()
    if word in _CHANGED:
        return 1
    if word in _UNCHANGED:
        return 0
    if word in _UNKNOWN:
        return UNKNOWN
    raise DataError(f"{where}: label {text!r}; wanted 1 or change, 0 or no_change, or nothing where it is unknown.")
