"""Special values that a label names: PDS3, PDS4 and ISIS2 keywords, in the file or in a label beside it.

A special value marks a pixel that was not measured (null, missing) or not well (saturated). PDS3 Standards Reference,
chapter "Data Type and Special Values"; PDS4 class `Special_Constants`.
"""

import json
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

_MARKS = {
    "null", "null_constant", "missing", "missing_constant", "invalid", "invalid_constant", "unknown_constant",
    "error_constant", "not_applicable_constant", "saturated_constant", "low_repr_saturation", "low_instr_saturation",
    "high_repr_saturation", "high_instr_saturation", "high_instrument_saturation", "high_representation_saturation",
    "low_instrument_saturation", "low_representation_saturation",
}  # fmt: skip
"""Keywords whose value marks pixels, in lower case and without the prefix CORE_ that cubes give them."""

_IMAGE_OBJECTS = {"image", "qube", "spectral_qube", "cube", "spectral_image_qube"}
"""Objects of a PDS3 label that describe the pixels; tables and calibration images have constants of their own."""

_LABEL_BYTES = 1_000_000
"""A label beside a file that is longer than this is none."""

_RADIX = re.compile(r"\s*(\d+)#([0-9A-Fa-f]+)#\s*$")
_HEXADECIMAL = re.compile(r"\s*0[xX]([0-9A-Fa-f]+)\s*$")
_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class LabelValues(NamedTuple):
    """What a label says about stored values.

    Attributes:
        marks: Values that mark pixels without a measurement.
        low, high: Smallest and largest valid value, or None.
        isis: Whether the label is that of an ISIS cube, whose special values are those of its type.
        misread: Value that GDAL takes for no-data because it reads 16#FF# as 16, or None.
    """

    marks: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    isis: bool = False
    misread: float | None = None


def label_values(dataset, dtype: str) -> LabelValues:
    """What the label of an open rasterio dataset names, its own or one beside it with the same stem.

    Args:
        dataset: Open rasterio dataset.
        dtype: Type of its pixels: a value written by its bits, such as 16#FF7FFFFB#, is read as this type.
    """
    pairs: list[tuple[str, Any]] = []
    isis = dataset.driver in ("ISIS3", "ISIS2") or "json:ISIS3" in dataset.tag_namespaces()
    for space in dataset.tag_namespaces():
        if space in ("json:PDS", "json:ISIS2"):
            pairs += _of_image(_document(dataset, space))
        elif space == "xml:PDS4":
            pairs += _of_pds4(document(dataset, space))
    if not pairs and not isis:
        text = _label_beside(dataset)
        isis = re.search(r"^\s*Object\s*=\s*IsisCube", text, re.MULTILINE | re.IGNORECASE) is not None
        pairs = _of_pds4(text) if text.lstrip().startswith("<") else _of_image(parse_pds3(text))
    return _read(pairs, dtype, isis)


def tags(dataset, space: str | None = None) -> dict[str, str]:
    """Tags of a dataset, of a domain where one is named; none where they are no UTF-8, which rasterio cannot give."""
    try:
        return dataset.tags(ns=space)
    except UnicodeDecodeError:
        return {}


def document(dataset, space: str) -> str:
    """Text of a label in a domain such as xml:PDS4; "" where it is no UTF-8."""
    # rasterio takes a document for a list of NAME=VALUE or NAME:VALUE and splits it at the first.
    return ":".join(part for pair in tags(dataset, space).items() for part in pair)


def _document(dataset, space: str) -> dict[str, Any]:
    try:
        found = json.loads(document(dataset, space))
    except ValueError:  # an `=` before the first `:`, or a damaged label
        return {}
    return found if isinstance(found, dict) else {}


def pds3_image(dataset) -> dict[str, str]:
    """Keywords of the objects of a PDS3 label that describe the pixels, in lower case; none for other files."""
    if dataset.driver != "PDS":
        return {}
    return {name.lower(): str(value) for name, value in _of_image(_document(dataset, "json:PDS"))}


def _label_beside(dataset) -> str:
    """Text of the label in the file itself, or of NAME.LBL, NAME.lbl or NAME.xml beside NAME.*; "" for none."""
    path = pathlib.Path(dataset.name)
    for suffix in (path.suffix, ".LBL", ".lbl", ".xml", ".XML"):
        try:
            label = path.with_suffix(suffix)
            if label == path and dataset.driver in ("PDS", "PDS4"):  # a label that is no UTF-8, such as Latin-1
                return _head(label)
            if label != path and label.is_file() and label.stat().st_size <= _LABEL_BYTES:
                return label.read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError):  # ValueError: a name that is no path
            continue
    return ""


def _head(path: pathlib.Path) -> str:
    """The first megabyte of a file as text, up to the line END of a PDS3 label."""
    with path.open("rb") as file:
        return re.split(r"^END\s*$", file.read(_LABEL_BYTES).decode("latin-1"), maxsplit=1, flags=re.MULTILINE)[0]


def parse_pds3(text: str) -> dict[str, Any]:
    """Keywords of a PDS3 or ISIS label, nested by OBJECT and GROUP; values are texts without their units."""
    top: dict[str, Any] = {}
    stack = [top]
    for line in text.splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        if name.upper().startswith(("END_OBJECT", "END_GROUP")):
            stack = stack[:-1] or [top]
        elif equals and name.upper() in ("OBJECT", "GROUP"):
            stack.append({})
            stack[-2].setdefault(value, stack[-1])
        elif equals:
            stack[-1].setdefault(name, value.partition("<")[0].strip().strip('"'))
    return top


def _of_image(label: dict[str, Any]) -> list[tuple[str, Any]]:
    """Keywords and values of the objects that describe the pixels, at any depth."""
    found: list[tuple[str, Any]] = []
    for name, value in label.items():
        if isinstance(value, dict):
            if name.lower() in _IMAGE_OBJECTS:
                found += [(key, item) for key, item in value.items() if key != "_type"]
            found += _of_image(value)
    return found


def _of_pds4(text: str) -> list[tuple[str, Any]]:
    """Names and values of the first Special_Constants of a PDS4 label."""
    block = re.search(r"<(?:\w+:)?Special_Constants>(.*?)</(?:\w+:)?Special_Constants>", text, re.DOTALL)
    return re.findall(r"<(?:\w+:)?(\w+)(?:\s[^>]*)?>\s*([^<]+?)\s*</", block.group(1)) if block else []


def _read(pairs: list[tuple[str, Any]], dtype: str, isis: bool) -> LabelValues:
    marks, low, high, misread = set(), None, None, None
    for name, said in pairs:
        key = name.lower().removeprefix("core_")
        for value in said if isinstance(said, list) else [said]:
            value = value.get("value") if isinstance(value, dict) else value
            number = value_of(value, dtype)
            if number is None:
                continue
            if key in _MARKS:
                marks.add(number)
                radix = _RADIX.match(str(value).strip('"'))
                misread = float(radix.group(1)) if radix and float(radix.group(1)) != number else misread
            elif key == "valid_minimum":
                low = number
            elif key == "valid_maximum":
                high = number
    return LabelValues(tuple(sorted(marks)), low, high, isis, misread)


def value_of(said: Any, dtype: str) -> float | None:
    """A number as labels write it: 7, -3.4e38, 16#FF#, 0xFF7FFFFB, "16#FF7FFFFB#"; None where it is none.

    Hexadecimal digits are the bits of a pixel: of a float their value is that of the float, of a signed integer
    16#8000# is -32768.
    """
    if isinstance(said, bool) or said is None:
        return None
    text = str(said).strip().strip('"')
    radix, hexadecimal = _RADIX.match(text), _HEXADECIMAL.match(text)
    if radix is not None:
        base, digits = radix.groups()
    elif hexadecimal is not None:
        base, digits = "16", hexadecimal.group(1)
    else:
        return float(text) if _NUMBER.fullmatch(text) else None
    try:
        bits = int(digits, int(base))
        kind = np.dtype(dtype).newbyteorder(">")
        return float(np.frombuffer(bits.to_bytes(kind.itemsize, "big"), kind)[0]) if kind.kind in "iuf" else None
    except (ValueError, OverflowError, TypeError):
        return None
