"""A user's own pairs: a table, or a folder whose names tell the dates apart."""

import pathlib
import re
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.pairs.files import FilePair, absent
from planetcd_jax.pairs.pair_set import UNKNOWN, listed
from planetcd_jax.pairs.tables import parse_label, read_rows
from planetcd_jax.words import counted

COLUMNS = ("id", "before", "after")

DATE_WORDS = (("before", "after"), ("t1", "t2"), ("pre", "post"))
"""Words that tell the two dates apart in file or folder names, whatever their case."""

LABEL_FOLDERS = {"change": 1, "changed": 1, "no_change": 0, "unchanged": 0}
"""Folders that say what is known of the pairs in them."""

IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .tif .tiff .jp2 .j2k .img .cub .vic .vicar .lbl .gif .bmp .webp".split())
"""Files that a folder is searched for. A PDS label (.lbl, or .xml by a table) stands for its image."""

_RAW = {".img", ".cub"}
"""Pixels that cannot be read without the label beside them."""

MISSING = ("error", "keep")


def csv_pairs(path: pathlib.Path, missing: str = "error") -> tuple[list[FilePair], dict[str, Any]]:
    """Pairs of a table with the columns id, before, after and, where known, label; paths relative to the table.

    Args:
        path: The table.
        missing: "error" if files that are not there are an error, "keep" if their pairs stay and fail when read.

    Raises:
        DataError: if a column or, with "error", a file is missing; all of them are named.
    """
    pairs = []
    for row in read_rows(path, COLUMNS):
        where = f"{path}, line {row['row']}"
        empty = [name for name in COLUMNS if not row[name]]
        if empty:
            raise DataError(f"{where}: nothing given for {', '.join(empty)}; wanted an id and two image files.")
        label = parse_label(row.get("label", ""), where)
        pairs.append(FilePair(row["id"], path.parent / row["before"], path.parent / row["after"], label))
    gone = absent(pairs)
    if gone and missing == "error":
        raise DataError(
            f"{path}: {counted(len(gone), 'file')} not there: {listed(gone)}; correct the paths (they are relative to "
            "the table), or go on without these pairs with --on_bad_pair=skip."
        )
    return pairs, {"layout": "table", "table": str(path), "sha256": {path.name: sha256_of_file(path)}}


def folder_pairs(root: pathlib.Path, missing: str = "error") -> tuple[list[FilePair], dict[str, Any]]:
    """Pairs of a folder in which the names of files or sub-folders differ by before/after, t1/t2 or pre/post.

    The id is the path without those words and without the extension, folders joined by "_". Sub-folders named `change`
    and `no_change` give labels. Files whose path has none of the words are left alone.

    Args:
        root: The folder, searched to any depth.
        missing: "error" if an image without its other date is an error, "keep" if it stays and fails when read.

    Raises:
        DataError: if there is no image or no date, an id comes twice for one date, or, with "error", an id lacks a
            date.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name the folder with your pairs by --data_dir.")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    files = _without_labels([p for p in files if not p.name.startswith(".")])
    words, dates = _best_dates(root, files)
    if not (dates[0] or dates[1]):
        raise _no_dates(root, files)
    halves = {key: i for i in (0, 1) for key in dates[i].keys() - dates[1 - i].keys()}
    if halves and missing == "error":
        told = [f"{key} (no {words[1 - i]})" for key, i in sorted(halves.items())]
        raise DataError(
            f"{root}: {counted(len(told), 'image')} without the other date: {listed(told)}; add or rename them, or go "
            "on without them with --on_bad_pair=skip."
        )
    pairs = []
    for key in sorted(dates[0].keys() | dates[1].keys()):
        before, after = (dates[i].get(key) or root / f"{key} ({words[i]} image not found)" for i in (0, 1))
        pairs.append(FilePair(key, before, after, _label_of(root, before)))
    used = len(dates[0]) + len(dates[1])
    facts = {"layout": "folder", "root": str(root), "date_words": "/".join(words), "other_images": len(files) - used}
    return pairs, facts


def _no_dates(root: pathlib.Path, files: list[pathlib.Path]) -> DataError:
    """Why no pair was found in a folder: it holds no image at all, or no name tells the dates apart."""
    table = "list the pairs in a table (id,before,after) and give it by --pairs_csv."
    if not files:
        others = sum(p.is_file() for p in root.rglob("*"))
        held = f"holds no image, only {counted(others, 'other file')}" if others else "the folder holds no files"
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        return DataError(f"{root}: {held}; name the folder of your images ({known}) by --data_dir, or {table}")
    found = counted(len(files), "image file")
    return DataError(
        f"{root}: {found}, and none with before/after, t1/t2 or pre/post in its name or folder; rename them, or {table}"
    )


def _without_labels(files: list[pathlib.Path]) -> list[pathlib.Path]:
    """One file of each image: not the label beside a JPEG 2000 or TIFF, nor raw pixels beside a label.

    The archives keep all three of some images under one name.
    """
    labels = {p.with_suffix("") for p in files if p.suffix.lower() == ".lbl"}
    suffixes: dict[pathlib.Path, set[str]] = {}
    for path in files:
        suffixes.setdefault(path.with_suffix(""), set()).add(path.suffix.lower())
    kept = []
    for path in files:
        stem, suffix = path.with_suffix(""), path.suffix.lower()
        others = suffixes[stem] - {".lbl"}
        is_spare_label = suffix == ".lbl" and bool(others - _RAW)
        is_labelled = stem in labels and suffix in _RAW
        if not (is_spare_label or is_labelled):
            kept.append(path)
    return kept


def dates_of_files(
    root: pathlib.Path, files: list[pathlib.Path]
) -> tuple[dict[str, pathlib.Path], dict[str, pathlib.Path]] | None:
    """Before- and after-images by id, as the names of files or folders below `root` tell them; None if none does."""
    _, dates = _best_dates(root, files)
    return dates if dates[0] or dates[1] else None


def _best_dates(root: pathlib.Path, files: list[pathlib.Path]):
    """The words that make the most pairs, and the files by id for each of the two dates."""
    schemes = [(words, _sorted_by_date(root, files, words)) for words in DATE_WORDS]
    words, dates = max(schemes, key=lambda s: len(s[1][0].keys() & s[1][1].keys()))
    if not (dates[0] or dates[1]):
        words, dates = max(schemes, key=lambda s: len(s[1][0]) + len(s[1][1]))
    return words, dates


def _sorted_by_date(root: pathlib.Path, files: list[pathlib.Path], words: tuple[str, str]):
    """Files by id, for each of the two dates."""
    dates: tuple[dict[str, pathlib.Path], dict[str, pathlib.Path]] = ({}, {})
    token = re.compile(rf"(?<![a-z0-9])({words[0]}|{words[1]})(?![a-z0-9])", re.IGNORECASE)
    inside = re.compile("(before|after)", re.IGNORECASE)
    for path in files:
        parts = (*path.relative_to(root).parts[:-1], path.stem)
        pattern = token
        found = {w.lower() for part in parts for w in token.findall(part)}
        if not found and words[0] == "before":  # such as "scenebefore.png"
            pattern, found = inside, {w.lower() for w in inside.findall(parts[-1])}
        if not found:
            continue
        if len(found) > 1:
            raise DataError(f"{path}: both {words[0]!r} and {words[1]!r} in its path; rename it to say one date.")
        date = words.index(found.pop())
        rest = [re.sub(r"[\W_]+$|^[\W_]+", "", pattern.sub("", part)) for part in parts]
        key = "_".join(re.sub(r"([_\W])[_\W]+", r"\1", part) for part in rest if part) or root.name
        if key in dates[date]:
            raise DataError(
                f"{root}: two {words[date]} images for id {key!r}: {dates[date][key]} and {path}; keep one."
            )
        dates[date][key] = path
    return dates


def _label_of(root: pathlib.Path, path: pathlib.Path) -> int:
    folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
    return next((LABEL_FOLDERS[f] for f in folders if f in LABEL_FOLDERS), UNKNOWN)
