"""Rows of a cumulative index table of the PDS, by its label."""

import csv
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.images.label_values import parse_pds3


def index_rows(path: pathlib.Path, longitudes: str) -> tuple[list[dict[str, Any]], bool]:
    """Rows of an index table of the PDS and whether its longitudes count to the west, from its label (.LBL)."""
    label = next((p for s in (".lbl", ".LBL") if (p := path.with_suffix(s)).is_file()), path)
    text = label.read_text(encoding="latin-1")
    columns = [
        parse_pds3(block) for block in re.findall(r"OBJECT\s*=\s*COLUMN\s(.*?)END_OBJECT\s*=\s*COLUMN", text, re.S)
    ]
    pointed = re.search(r"\^\w*TABLE\s*=\s*\(?\s*\"([^\"]+)\"", text)
    if not columns or pointed is None:
        raise DataError(f"{label} describes no table (columns and ^INDEX_TABLE); name the label of a cumulative index.")
    table = next(
        (p for n in (pointed[1], pointed[1].lower(), pointed[1].upper()) if (p := path.parent / n).is_file()), None
    )
    if table is None:
        raise DataError(f"{label} names the table {pointed[1]}, which is not beside it; fetch it too.")
    west = longitudes == "west" or (
        longitudes == "auto"
        and re.search(r"POSITIVE_LONGITUDE_DIRECTION\s*=\s*\"?WEST|west\s+longitude", text, re.I) is not None
    )
    names = [str(column.get("NAME", f"column{n}")) for n, column in enumerate(columns)]
    if all("START_BYTE" in column and "BYTES" in column for column in columns):
        return list(_fixed(table, names, columns)), west
    with open(table, newline="", encoding="latin-1") as file:
        cells = csv.reader(file, skipinitialspace=True)
        return [dict(zip(names, (cell.strip() for cell in row), strict=False)) for row in cells if row], west


def _fixed(table: pathlib.Path, names: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    spans = [(int(c["START_BYTE"]) - 1, int(c["START_BYTE"]) - 1 + int(c["BYTES"])) for c in columns]
    with open(table, encoding="latin-1", newline="\n") as file:
        for line in file:
            if line.strip():
                yield {name: line[a:b].strip().strip('"').strip() for name, (a, b) in zip(names, spans, strict=True)}
