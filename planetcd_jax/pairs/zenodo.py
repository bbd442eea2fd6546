"""Data sets from Zenodo: the archives of one record, compared with their MD5; a broken download is continued."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError, OutputError
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.files.hub_requests import one_line
from planetcd_jax.files.json_files import write_json
from planetcd_jax.pairs.dataset_spec import DatasetSpec
from planetcd_jax.pairs.pair_set import listed
from planetcd_jax.pairs.unpacking import is_archive

ENDPOINT = "https://zenodo.org"
COMMUNITY = "mars-bench"
"""Collection on Zenodo in which a record is looked for by the words of its title."""

PATIENCE_S = 30.0
"""Seconds for one answer, and for the next piece of a file."""

TRIES, PAUSE_S = 5, 1.0
"""Attempts to fetch one file, each continuing where the last one broke, and seconds between them."""

_PIECE = 1 << 20
_RECORD = ".record.json"
"""What is kept of a record beside its files, hidden, so that no layout takes it for one of them."""

_ERRORS = (OSError, http.client.HTTPException)


class RecordFile(NamedTuple):
    """One file of a record: its name, size in bytes, MD5 in hexadecimal, and where it is fetched."""

    name: str
    size: int
    md5: str
    address: str


class Record(NamedTuple):
    """One record of Zenodo: its number, title, DOI, and those of its files that are fetched."""

    number: int
    title: str
    doi: str
    files: tuple[RecordFile, ...]


def record_number(archive: str) -> int | None:
    """The number in "zenodo:NUMBER", or None for "zenodo", which is found by its title.

    Raises:
        DataError: if it is neither.
    """
    name, colon, number = archive.partition(":")
    if name != "zenodo" or bool(colon) != number.isdecimal():
        raise DataError(f"--archive={archive}: wanted zenodo, or zenodo:NUMBER of a record.")
    return int(number) if colon else None


def find_record(spec: DatasetSpec, number: int | None) -> Record:
    """What Zenodo says of a record.

    Args:
        spec: The data set; `spec.zenodo` are the words of its title.
        number: Of the record; None looks for the title in `COMMUNITY`.

    Raises:
        DataError: if Zenodo does not answer, has no such record, or has several that fit.
    """
    if number is not None:
        return _record(_ask(f"/api/records/{number}"))
    if spec.zenodo is None:
        raise DataError(f"{spec.name}: its title on Zenodo is not known; give the record as --archive=zenodo:NUMBER.")
    words = spec.zenodo.lower().split()
    query = urllib.parse.urlencode({"communities": COMMUNITY, "q": " ".join(f"+{word}" for word in words), "size": 25})
    hits = _ask(f"/api/records?{query}").get("hits", {}).get("hits", ())
    fitting = [hit for hit in hits if set(words) <= set(_words(hit["metadata"]["title"]))]
    if len(fitting) != 1:
        there = listed([f"{hit['id']} ({hit['metadata']['title']})" for hit in fitting or hits]) or "none"
        raise DataError(
            f"{spec.name}: {len(fitting)} records of Zenodo's community {COMMUNITY} have the words {spec.zenodo!r} in "
            f"their title, wanted one; found {there}. Choose one by --archive=zenodo:NUMBER."
        )
    return _record(fitting[0])


def _words(title: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in title.lower()).split()


def _ask(path: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(ENDPOINT + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as err:
        raise DataError(f"{ENDPOINT}{path}: {err.code} {err.reason}; check the number of the record.") from err
    except (*_ERRORS, ValueError) as err:
        raise DataError(f"{ENDPOINT}{path}: no answer ({one_line(err)}); check the network.") from err


def _record(answer: dict[str, Any]) -> Record:
    try:
        files = tuple(_file(entry) for entry in answer["files"])
        record = Record(int(answer["id"]), str(answer["metadata"]["title"]), str(answer.get("doi", "")), files)
    except (KeyError, TypeError, ValueError) as err:
        raise DataError(f"{ENDPOINT}: an answer of another form ({type(err).__name__}: {err}); try later.") from err
    archives = tuple(file for file in files if is_archive(pathlib.Path(file.name)))
    if not files:
        raise DataError(f"record {record.number} of Zenodo shows no files; it may be restricted: choose another.")
    return record._replace(files=archives or files)


def _file(entry: dict[str, Any]) -> RecordFile:
    kind, _, md5 = entry["checksum"].partition(":")
    name = entry["key"]
    if kind != "md5" or name != pathlib.PurePosixPath(name).name or name.startswith("."):
        raise ValueError(f"file {name!r} with checksum {entry['checksum']!r}")
    return RecordFile(name, int(entry["size"]), md5, entry["links"]["self"])


def fetch(spec: DatasetSpec, record: Record) -> pathlib.Path:
    """Folder with the files of a record; those that are whole are not fetched again.

    Raises:
        DataError: if a file cannot be fetched, or does not have the MD5 that Zenodo gives.
        OutputError: if it cannot be written, or the disk has no room for it.
    """
    folder = cache_folder("zenodo") / f"{spec.name}-{record.number}"
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [file for file in record.files if not _is_whole(folder / file.name, file)]
        needed = sum(file.size - _size(_part(folder, file)) for file in missing)
        if shutil.disk_usage(folder).free < needed:
            raise OutputError(f"{folder}: {needed / 1e6:.0f} MB are needed and less is free; make room.")
        for file in missing:
            _download(file, folder)
        write_json(folder / _RECORD, {**record._asdict(), "files": [file._asdict() for file in record.files]})
    return folder


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as err:
        raise OutputError(f"{folder}: cannot be written ({err.strerror}); name another by XDG_CACHE_HOME.") from err


def _part(folder: pathlib.Path, file: RecordFile) -> pathlib.Path:
    """Where a file lies until it is whole."""
    return folder / f".{file.name}.part"


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: pathlib.Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def _is_whole(path: pathlib.Path, file: RecordFile) -> bool:
    return _size(path) == file.size and path.is_file() and _md5(path) == file.md5


def _download(file: RecordFile, folder: pathlib.Path) -> None:
    """Fetches one file, from where an earlier try ended; it appears under its name when its MD5 is right."""
    from tqdm import tqdm

    part, reason = _part(folder, file), "the connection ended"
    if _size(part) > file.size:
        part.unlink()
    with tqdm(total=file.size, initial=_size(part), desc=file.name, unit="B", unit_scale=True) as bar:
        for attempt in range(TRIES):
            time.sleep(PAUSE_S if attempt else 0)
            try:
                _append(file, part, bar)
            except _ERRORS as err:
                reason = one_line(err)
            if _size(part) >= file.size:
                break
    if _size(part) < file.size:
        raise DataError(
            f"{file.address}: {reason} after {_size(part)} of {file.size} bytes; these are kept, and the same command "
            "goes on from there."
        )
    if _md5(part) != file.md5:
        part.unlink()
        raise DataError(f"{file.address}: what came does not have the MD5 that Zenodo gives ({file.md5}); try again.")
    os.replace(part, folder / file.name)


def _append(file: RecordFile, part: pathlib.Path, bar) -> None:
    """Adds what is missing to a file; begins anew where the server knows no ranges."""
    start = _size(part)
    request = urllib.request.Request(file.address, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        goes_on = answer.status == 206
        bar.update(0 if goes_on else -start)
        with open(part, "ab" if goes_on else "wb") as out:
            while piece := answer.read(_PIECE):
                out.write(piece)
                bar.update(len(piece))


def stored(spec: DatasetSpec) -> tuple[pathlib.Path, dict[str, Any]] | None:
    """The folder of a record that was fetched before, the last one, and what is known of it; None without one."""
    records = sorted(cache_folder("zenodo").glob(f"{spec.name}-*/{_RECORD}"), key=lambda path: path.stat().st_mtime)
    if not records:
        return None
    known = json.loads(records[-1].read_text(encoding="utf-8"))
    note = f"{spec.name}: read from record {known['number']} of Zenodo, fetched before."
    return records[-1].parent, {"zenodo_record": known["number"], "doi": known["doi"], "notes": [note]}
