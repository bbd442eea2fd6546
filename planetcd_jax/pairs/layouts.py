"""Published folder layouts: Mars-Bench's, and that of the authors of the method."""

import collections
import pathlib
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.pairs.files import FilePair, hashes
from planetcd_jax.pairs.pair_set import UNKNOWN, listed
from planetcd_jax.pairs.splits import split_named
from planetcd_jax.pairs.tables import parse_label, read_rows
from planetcd_jax.words import counted

ANNOTATION = "annotation.csv"
COLUMNS = ("file_id", "split", "feature_name", "label")

AUTHORS_IMAGES = "hirise_before_after_grayscale/garni_029213_029780_siamese/grayscale"
AUTHORS_LABELS = "hirise_rsl/rsl_coregistered/garni_029213_029780/garni_029213_029780_signdiff_lcn"
"""Where the public script looks for images and, in `change` and `no_change`, labels."""


def mars_bench(root: pathlib.Path, split: str | None) -> tuple[list[FilePair], dict[str, Any]]:
    """Pairs of a folder in the Mars-Bench layout.

    `annotation.csv` has the columns file_id, split, feature_name, label; images lie at
    `data/<split>/<feature_name>/<file_id>`; the after-image's path is the before-image's with "before" replaced by
    "after". Rows may list the before-images alone or both dates; a file_id may lack its extension.

    Args:
        root: The folder.
        split: "train", "val", "test", "all", or None for "test", which the paper evaluates on.

    Returns:
        The pairs in the order of the table, and provenance: split and SHA-256 of table and images.

    Raises:
        DataError: if the table is wrong, an image lacks its other date, or the split does not exist.

    Source: Purohit et al. 2025, Mars-Bench.
    """
    table = root / ANNOTATION
    rows = read_rows(table, COLUMNS)
    rows, split = _of_split(rows, split, table)
    befores = [row for row in rows if "before" in row["file_id"]]
    afters = [row for row in rows if "before" not in row["file_id"]]
    strange = [row["file_id"] for row in afters if "after" not in row["file_id"]]
    if strange:
        raise DataError(f"{table}: file_id holds neither 'before' nor 'after': {listed(strange)}; correct the table.")
    pairs = [_mars_bench_pair(root, table, row) for row in befores]
    _no_half_pairs(table, pairs, [_image_path(root, row) for row in afters])
    pairs = _unique(pairs, root)
    files = [table, *(path for p in pairs for path in (p.before, p.after))]
    return pairs, {"layout": "Mars-Bench archive", "root": str(root), "split": split, "sha256": hashes(files, root)}


def _of_split(rows: list[dict[str, str]], split: str | None, table: pathlib.Path) -> tuple[list[dict[str, str]], str]:
    chosen = split or "test"
    found = sorted({row["split"] for row in rows})
    if chosen != "all":
        rows = [row for row in rows if chosen in (row["split"], split_named(row["split"]))]
    if not rows:
        raise DataError(f"{table}: no split {chosen!r}; choose --split from {', '.join(found)} or all.")
    return rows, chosen


def _image_path(root: pathlib.Path, row: dict[str, str]) -> pathlib.Path:
    path = root / "data" / row["split"] / row["feature_name"] / row["file_id"]
    if not path.is_file() and path.parent.is_dir():
        named = [p for p in path.parent.glob(f"{path.name}.*") if p.stem == path.name]
        if len(named) == 1:
            return named[0]
    return path


def _mars_bench_pair(root: pathlib.Path, table: pathlib.Path, row: dict[str, str]) -> FilePair:
    before = _image_path(root, row)
    after = root / str(before.relative_to(root)).replace("before", "after")
    label = parse_label(row["label"], f"{table}, line {row['row']}")
    return FilePair(before.stem, before, after, label)


def _no_half_pairs(table: pathlib.Path, pairs: list[FilePair], listed_afters: list[pathlib.Path]) -> None:
    """Raises if a date is missing on disk, or the table lists an after-image that belongs to no before-image."""
    alone = [p.id for p in pairs if p.before.is_file() and not p.after.is_file()]
    if alone:
        raise DataError(
            f"{table}: {counted(len(alone), 'before-image')} without an after-image: {listed(alone)}; fetch the "
            "set again, or take them out of the table."
        )
    missing = [p.id for p in pairs if not p.before.is_file()]
    if missing:
        first = next(p.before for p in pairs if p.id == missing[0])
        raise DataError(
            f"{table}: {counted(len(missing), 'image')} listed but not there: {listed(missing)} (wanted {first}); "
            "fetch the set again, or take them out of the table."
        )
    known = {p.after for p in pairs}
    orphans = [path.stem for path in listed_afters if path not in known]
    if orphans:
        raise DataError(f"{table}: {len(orphans)} after-images have no before-image: {listed(orphans)}.")


def _unique(pairs: list[FilePair], root: pathlib.Path) -> list[FilePair]:
    """The pairs, with split and feature in front of the id where file names alone repeat."""
    counts = collections.Counter(p.id for p in pairs)
    return [
        p if counts[p.id] == 1 else p._replace(id="_".join((*p.before.relative_to(root / "data").parts[:-1], p.id)))
        for p in pairs
    ]


def has_authors_layout(root: pathlib.Path) -> bool:
    """Whether a folder is laid out as the authors' public script expects it."""
    return (root / AUTHORS_IMAGES).is_dir()


def authors_folders(root: pathlib.Path) -> tuple[list[FilePair], dict[str, Any]]:
    """Pairs of the authors' original HiRISE folders.

    The id is the file name up to three characters before the last "before"; the after-image's name has "after" in
    place of it; the label is the folder, `change` or `no_change`, in which `<id>.jpg` lies. A pair in neither is
    unlabelled.

    Raises:
        DataError: if a before-image has no after-image, no image has a label, or one has both.

    Source: the authors' public script (see `PAPER` and `AUTHORS_CODE` in `planetcd_jax.config`).
    """
    folder, labels = root / AUTHORS_IMAGES, root / AUTHORS_LABELS
    truth: dict[str, int] = {}
    for name, value in (("change", 1), ("no_change", 0)):
        for path in sorted((labels / name).glob("*.jpg")):
            if truth.setdefault(path.stem, value) != value:
                raise DataError(f"{labels}: {path.name} lies in both change and no_change; take it out of one.")
    pairs = []
    for before in sorted(folder.glob("*before*.jpg")):
        head, _, tail = before.name.rpartition("before")
        id_ = head[:-3]
        pairs.append(FilePair(id_, before, folder / f"{head}after{tail}", truth.get(id_, UNKNOWN)))
    if not pairs:
        raise DataError(f"{folder}: no images named *before*.jpg; copy the authors' images there.")
    alone = [p.id for p in pairs if not p.after.is_file()]
    if alone:
        raise DataError(f"{folder}: {counted(len(alone), 'before-image')} without an after-image: {listed(alone)}.")
    if all(p.label == UNKNOWN for p in pairs):
        raise DataError(f"{labels}: no label for any image; wanted for example change/{pairs[0].id}.jpg.")
    unlabelled = sum(p.label == UNKNOWN for p in pairs)
    notes = [f"no label in {labels}: {counted(unlabelled, 'pair')}."] if unlabelled else []
    files = [path for p in pairs for path in (p.before, p.after)]
    return pairs, {"layout": "authors", "root": str(root), "sha256": hashes(files, root), "notes": notes}
