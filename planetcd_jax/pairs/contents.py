"""What a folder or a repository holds, told from the names of its files: one row of `LAYOUTS` for each layout."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import imagefolder, layouts, pair_rows, parquet, webdataset
from planetcd_jax.pairs.dataset_spec import DatasetSpec
from planetcd_jax.pairs.files import FilePair
from planetcd_jax.pairs.pair_rows import Found
from planetcd_jax.pairs.pair_set import listed
from planetcd_jax.pairs.splits import chosen_split, is_wanted, split_of_path
from planetcd_jax.pairs.unpacking import ZIP, is_archive, unpacked_archive

Names = Sequence[str]


class Contents(NamedTuple):
    """The pairs that a folder holds.

    Attributes:
        pairs: Two files each; of composites the same file twice.
        composite: Whether each file holds both dates.
        facts: Layout, split and hashes, for `PairSet.provenance`.
    """

    pairs: Sequence[FilePair]
    composite: bool
    facts: dict[str, Any]


class Layout(NamedTuple):
    """One way in which a set is stored.

    Attributes:
        title: Its name.
        holds: What its files are, in words.
        files: `files(names)`: those of the relative names by which it is told; empty where it is another layout.
        read: `read(root, files, spec, split)` returns the `Contents`.
    """

    title: str
    holds: str
    files: Callable[[Names], list[str]]
    read: Callable[[pathlib.Path, Names, DatasetSpec, str | None], Contents]


def _ending(*suffixes: str) -> Callable[[Names], list[str]]:
    return lambda names: [name for name in names if name.lower().endswith(suffixes)]


def _archive_files(names: Names) -> list[str]:
    if layouts.ANNOTATION not in names or any(name.endswith(".parquet") for name in names):
        return []
    return [layouts.ANNOTATION, *(name for name in names if name.startswith("data/"))]


def _authors_files(names: Names) -> list[str]:
    starts = (layouts.AUTHORS_IMAGES, layouts.AUTHORS_LABELS)
    found = [name for name in names if name.startswith(starts)]
    return found if any(name.startswith(layouts.AUTHORS_IMAGES) for name in found) else []


def _image_files(names: Names) -> list[str]:
    found = [name for name in names if imagefolder.is_image(name)]
    folders = [n for n in names if pathlib.PurePosixPath(n).name in imagefolder.METADATA]
    return [*folders, *found] if found else []


def _read_archive(root: pathlib.Path, files: Names, spec: DatasetSpec, split: str | None) -> Contents:
    del files, spec
    return Contents(*_and_no_composite(layouts.mars_bench(root, split)))


def _read_authors(root: pathlib.Path, files: Names, spec: DatasetSpec, split: str | None) -> Contents:
    del files
    if not spec.authors_folders:
        raise DataError(f"{root}: holds the folders of the authors' HiRISE script; open them as hirise_rsl.")
    chosen_split([None], split, f"{root}: the authors' folders")
    return Contents(*_and_no_composite(layouts.authors_folders(root)))


def _and_no_composite(found: tuple[list[FilePair], dict[str, Any]]) -> tuple[list[FilePair], bool, dict[str, Any]]:
    return found[0], False, found[1]


def _rows(reader: Callable[[pathlib.Path, Names, str | None], Found]) -> Callable[..., Contents]:
    """A reader of rows as a reader of `Contents`."""

    def read(root: pathlib.Path, files: Names, spec: DatasetSpec, split: str | None) -> Contents:
        del spec
        chosen = chosen_split([split_of_path(name) for name in files], split, str(root))
        found = reader(root, files, chosen)
        if not found.records:
            raise DataError(f"{root}: {found.layout} without a row of split {chosen!r}; choose another --split.")
        pairs = pair_rows.file_pairs(found.records, str(root))
        facts = {"layout": found.layout, "root": str(root), "split": chosen, **found.facts}
        if pairs is None:
            pairs = [FilePair(r.id, image, image, r.label) for r in found.records for image in r.images.values()]
            return Contents(pairs, True, facts)
        return Contents(pairs, False, facts)

    return read


def _read_zip(root: pathlib.Path, files: Names, spec: DatasetSpec, split: str | None) -> Contents:
    wanted = [name for name in files if is_wanted(split_of_path(name), split)] or list(files)
    if len(wanted) > 1:
        raise DataError(f"{root}: {len(wanted)} archives {listed(wanted)}; name the one to read by --data_dir.")
    return read_contents(root / wanted[0], spec, split)


LAYOUTS = (
    Layout("Mars-Bench archive", f"{layouts.ANNOTATION} and data/<split>/<feature_name>/<file>", _archive_files,
           _read_archive),
    Layout("authors' folders", f"{layouts.AUTHORS_IMAGES}/*before*.jpg", _authors_files, _read_authors),
    Layout("parquet", "<split>-*.parquet with a column image (or before and after) and a column label",
           _ending(".parquet"), _rows(parquet.read_shards)),
    Layout("WebDataset", "*.tar of <key>.before.png, <key>.after.png (or <key>.png) and <key>.cls", _ending(".tar"),
           _rows(webdataset.read_tars)),
    Layout("zip archive", "one .zip of any of these", _ending(*ZIP), _read_zip),
    Layout("imagefolder", "<split>/<change or no_change>/<file>, or metadata.csv", _image_files,
           _rows(imagefolder.read_folder)),
)  # fmt: skip
"""All layouts, in the order in which they are looked for."""


def layout_of(names: Names) -> Layout | None:
    """The layout that files of these relative names have; None for none that is known."""
    return next((layout for layout in LAYOUTS if layout.files(names)), None)


def unknown(where: str, names: Names) -> str:
    """What to say of a layout that is not known: what is there, and what was expected."""
    wanted = "; or ".join(layout.holds for layout in LAYOUTS)
    return f"{where}: found {listed(sorted(names)) or 'no files'}; wanted {wanted}"


def files_to_fetch(names: Names, split: str | None) -> list[str]:
    """Which files of a repository a split needs; empty where its layout is not known."""
    layout = layout_of(names)
    if layout is None:
        return []
    return [name for name in layout.files(names) if is_wanted(split_of_path(name), split)]


def files_below(root: pathlib.Path) -> list[str]:
    """Relative names of the files in a folder, hidden ones left out, sorted."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def read_contents(path: pathlib.Path, spec: DatasetSpec, split: str | None) -> Contents:
    """The pairs in a folder, an archive or a parquet file of any layout that is known.

    Args:
        path: A folder; a .zip or .tar; or one parquet file.
        spec: The data set.
        split: "train", "val", "test", "all" or None for "test".

    Raises:
        DataError: if nothing there is known, saying what is there and what was expected.
    """
    root, names = _opened(path)
    layout = layout_of(names)
    if layout is None:
        there = unknown(str(path), names) if path.exists() else unknown(f"{path}: no such folder", ())
        raise DataError(f"{there}; correct --data_dir, or use --source=simulated.")
    contents = layout.read(root, layout.files(names), spec, split)
    if path != root:
        contents.facts.setdefault("file", str(path))
    return contents


def _opened(path: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
    """The folder to read, and the names of its files; a tar of keyed files is a WebDataset and stays packed."""
    if not path.is_file():
        return path, files_below(path) if path.is_dir() else []
    if not is_archive(path):
        return path.parent, [path.name]
    root = unpacked_archive(path)
    names = files_below(root)
    keyed = any(name.endswith(webdataset.LABEL_FILES) for name in names) and layouts.ANNOTATION not in names
    return (path.parent, [path.name]) if keyed and path.suffix == ".tar" else (root, names)
