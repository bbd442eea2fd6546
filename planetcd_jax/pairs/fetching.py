"""Fetching a data set ahead of its use: sizes told before, the folder told after, checksums kept."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from planetcd_jax.errors import DataError, OutputError
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.pairs import contents, hub, zenodo
from planetcd_jax.pairs.dataset_spec import DatasetSpec
from planetcd_jax.pairs.files import hashes
from planetcd_jax.pairs.pair_set import listed
from planetcd_jax.words import counted


class Fetched(NamedTuple):
    """What was fetched: the folder, and the file of checksums, as `sha256sum --check` reads it."""

    folder: pathlib.Path
    checksums: pathlib.Path


def size_text(count: int | None) -> str:
    """A number of bytes in words: "3.1 MB"; "unknown size" for None."""
    if count is None:
        return "unknown size"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def fetch_files(spec: DatasetSpec, revision: str, split: str | None, say: Callable[[str], None]) -> Fetched:
    """Downloads a data set from the hub, or finds it in the cache, where it lies already.

    Args:
        spec: The data set.
        revision: Branch, tag or commit.
        split: One split, or None for all.
        say: Told what will be fetched and how large it is, before anything is.

    Raises:
        DataError: if the data set is on no hub, the hub gives none and no copy is stored, or a file differs from its
            kept checksum.
        OutputError: if the checksums cannot be written.
    """
    if spec.repository is None:
        raise DataError(f"{spec.name} is on no hub; name your own folder by --data_dir.")

    def choose(names) -> list[str]:
        return contents.files_to_fetch(names, split or "all")

    listing, _ = hub.ask(spec.repository, revision)
    if listing is not None:
        say(_announcement(spec.repository, listing, choose(sorted(listing.sizes))))
    folder, facts = hub.fetch(spec.repository, revision, choose=choose)
    for note in facts.get("notes", ()):
        say(note)
    return Fetched(folder, _keep_checksums(spec, folder, choose(contents.files_below(folder))))


def fetch_archive(spec: DatasetSpec, archive: str, split: str | None, say: Callable[[str], None]) -> Fetched:
    """Downloads a record of Zenodo, or finds it in the cache; a download that broke goes on where it ended.

    Args:
        spec: The data set, one with splits.
        archive: "zenodo", which looks for the record by its title, or "zenodo:NUMBER".
        split: Must be None, since a record is fetched whole.
        say: As in `fetch_files`.

    Raises:
        DataError: if the record cannot be found or fetched, or a file differs from its checksum.
        OutputError: if it cannot be written.
    """
    if not spec.splits:
        raise DataError(f"{spec.name} is in no archive; name your own folder by --data_dir.")
    if split is not None:
        raise DataError(f"--split={split}: a record of Zenodo is fetched whole; leave --split out.")
    record = zenodo.find_record(spec, zenodo.record_number(archive))
    origin = f"record {record.number} of Zenodo, {record.title!r}"
    say(_sizes_told(origin, [file.name for file in record.files], [file.size for file in record.files]))
    folder = zenodo.fetch(spec, record)
    return Fetched(folder, _keep_checksums(spec, folder, [file.name for file in record.files]))


def _announcement(repository: str, listing: hub.Listing, names: list[str]) -> str:
    return _sizes_told(f"{repository} at commit {listing.commit}", names, [listing.sizes[name] for name in names])


def _sizes_told(origin: str, names: list[str], sizes: Sequence[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(sizes) else None
    each = [f"{name} ({size_text(size)})" for name, size in zip(names, sizes, strict=True)]
    return f"{origin}: {counted(len(names), 'file')}, {size_text(total)}: {listed(each)}"


def _keep_checksums(spec: DatasetSpec, folder: pathlib.Path, names: list[str]) -> pathlib.Path:
    """Writes the SHA-256 of each file, after a comparison with those that were kept before."""
    path = cache_folder("hub") / f"{spec.name}-{folder.name}.sha256"
    kept = _kept_checksums(path)
    found = {str(folder / name): value for name, value in hashes([folder / n for n in names], folder).items()}
    altered = [name for name, value in found.items() if kept.get(name, value) != value]
    if altered:
        raise DataError(f"{listed(altered)}: not as fetched before ({path}); remove them and fetch them again.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{value}  {name}\n" for name, value in (kept | found).items()), encoding="utf-8")
    except OSError as err:
        raise OutputError(f"{path}: cannot be written ({err.strerror}); name another cache by XDG_CACHE_HOME.") from err
    return path


def _kept_checksums(path: pathlib.Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}
