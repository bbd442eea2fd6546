"""Data sets from the Hugging Face hub: a bound on how long a silent hub may take, and patience with a slow one."""

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError, MissingExtraError
from planetcd_jax.extras import require
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.files.hub_requests import DEADLINE_S, PATIENCE_S, Request, one_line, sign_of_life, transport_error
from planetcd_jax.pairs import contents
from planetcd_jax.runtime.ticking import ticking
from planetcd_jax.words import counted

_LEAST_S = 1.0
"""Seconds that the hub has at least, however long the import took."""


class HubUnreachable(DataError):
    """Neither the hub nor a stored copy gives the set: no answer, no client, no such repository, or another layout."""


class Listing(NamedTuple):
    """What the hub says of a revision: its commit, and its files with their sizes in bytes (None where not told)."""

    commit: str
    sizes: dict[str, int | None]


def fetch(
    repository: str, revision: str, *, choose: Callable[[Sequence[str]], list[str]]
) -> tuple[pathlib.Path, dict[str, Any]]:
    """A local copy of files of a data repository, fetched or from the hub client's cache. No code of it is run.

    Follows HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE. If the hub gives no sign of life within `DEADLINE_S`, a copy
    already in the cache is used. A hub that is slow is waited for; the client shows a progress bar, and goes on with a
    file whose connection broke.

    Args:
        repository: Owner and name on the hub.
        revision: Branch, tag or commit.
        choose: `choose(names)` are the files to fetch, none where the layout is not known.

    Returns:
        The folder, and what is known of it: repository, revision asked for, commit.

    Raises:
        DataError: if the hub knows the repository but not the revision.
        HubUnreachable: if there is neither an answer nor a copy, or `choose` finds nothing.
    """
    listing, reason = ask(repository, revision)
    if listing is None:
        return _stored(repository, revision, choose, reason)
    there = sorted(listing.sizes)
    names = choose(there)
    if not names:
        raise HubUnreachable(f"{repository} at commit {listing.commit}: {contents.unknown('its files', there)}")
    folder = _download(repository, revision, names)
    _keep_listing(repository, revision, listing._replace(commit=folder.name))  # snapshots lie by commit
    return folder, {"repository": repository, "revision": revision, "commit": folder.name}


def ask(repository: str, revision: str) -> tuple[Listing | None, str]:
    """What the hub says of a revision, or None and why it says nothing.

    Raises:
        DataError: if the hub knows the repository but not the revision.
    """
    start = time.monotonic()
    try:
        require("hub", "huggingface_hub", "pyarrow", "rasterio")
    except MissingExtraError as err:
        raise HubUnreachable(f"{repository}: {err}") from None
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return None, "HF_HUB_OFFLINE is set"
    return _resolve(repository, revision, max(DEADLINE_S - (time.monotonic() - start), _LEAST_S))


def _resolve(repository: str, revision: str, deadline: float) -> tuple[Listing | None, str]:
    """The listing of a revision, or None and why not; within `deadline` seconds if the hub is silent.

    The requests run in threads of their own, because neither a name look-up nor the client's retries can be bounded
    from outside; past the deadline the threads are left to end by themselves.
    """
    from huggingface_hub.errors import RevisionNotFoundError

    answer, alive = Request(lambda: _listing(repository, revision)), Request(sign_of_life)
    answer.join(deadline)
    if not answer.ended and alive.value is True:
        with _waiting(repository):
            answer.join(PATIENCE_S, heard=True)
    if not answer.ended:
        return None, f"the hub did not answer in time ({PATIENCE_S if alive.value is True else DEADLINE_S:g} s)"
    if isinstance(answer.value, RevisionNotFoundError):
        raise DataError(f"{repository} has no revision {revision!r}; give a branch, tag or commit that it has.")
    if isinstance(answer.value, BaseException):
        return None, f"the hub is not reachable: {one_line(answer.value)}"
    return answer.value, ""


def _listing(repository: str, revision: str) -> Listing:
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE_S, files_metadata=True)
    return Listing(str(info.sha), {file.rfilename: file.size for file in info.siblings or ()})


@contextlib.contextmanager
def _waiting(repository: str) -> Iterator[None]:
    """A bar with the seconds that a slow hub has taken so far."""
    from tqdm import tqdm

    with (
        tqdm(desc=f"waiting for the hub: {repository}", unit="s", bar_format="{desc} ({elapsed})") as bar,
        ticking(bar),
    ):
        yield


def _download(repository: str, revision: str, names: list[str]) -> pathlib.Path:
    """The folder that holds the files; over plain HTTP where the hub's chunk store (Xet) fails."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    errors = (HfHubHTTPError, OSError, RuntimeError, ValueError, transport_error())
    try:
        return _snapshot(repository, revision, names)
    except errors as err:
        if getattr(constants, "HF_HUB_DISABLE_XET", True) or isinstance(err, HfHubHTTPError):
            raise HubUnreachable(_no_copy(repository, f"fetching it failed: {one_line(err)}")) from err
    try:
        with _no_xet():
            return _snapshot(repository, revision, names)
    except errors as err:
        raise HubUnreachable(_no_copy(repository, f"fetching it failed: {one_line(err)}")) from err


def _snapshot(repository: str, revision: str, names: Sequence[str], local: bool = False) -> pathlib.Path:
    from huggingface_hub import snapshot_download

    patterns = [_literal(name) for name in names] or None
    options = {"repo_type": "dataset", "allow_patterns": patterns, "etag_timeout": PATIENCE_S}
    return pathlib.Path(snapshot_download(repository, revision=revision, local_files_only=local, **options))


def _literal(name: str) -> str:
    """A file name as a pattern that matches it alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


@contextlib.contextmanager
def _no_xet() -> Iterator[None]:
    """Plain HTTP downloads for a while; the client reads this constant at each download."""
    from huggingface_hub import constants

    kept, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = kept


def _listing_file(repository: str, revision: str) -> pathlib.Path:
    return cache_folder("hub") / (f"{repository}@{revision}".replace("/", "--") + ".json")


def _keep_listing(repository: str, revision: str, listing: Listing) -> None:
    """Notes which files the repository has, so that a copy that is not whole is told from one that is."""
    path = _listing_file(repository, revision)
    with contextlib.suppress(OSError):  # a cache that may only be read
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(listing._asdict()), encoding="utf-8")


def _kept_names(repository: str, revision: str) -> list[str] | None:
    try:
        return sorted(json.loads(_listing_file(repository, revision).read_text(encoding="utf-8"))["sizes"])
    except (OSError, ValueError, KeyError):
        return None


def _stored(repository: str, revision: str, choose, reason: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """The copy in the client's cache, if it has all that is wanted, with a note of why it is used."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    names = _kept_names(repository, revision)
    wanted = choose(names or ())
    try:
        folder = _snapshot(repository, revision, wanted, local=True)
    except (LocalEntryNotFoundError, OSError) as err:
        raise HubUnreachable(_no_copy(repository, reason)) from err
    gone = [name for name in wanted if not (folder / name).is_file()]
    if gone or not (wanted or choose(contents.files_below(folder))):
        raise HubUnreachable(
            _no_copy(repository, f"{reason}, the stored copy lacks {counted(len(gone), 'file')} of this split")
        )
    note = f"{repository}: used the stored copy of commit {folder.name}, since {reason}."
    return folder, {"repository": repository, "revision": revision, "commit": folder.name, "notes": [note]}


def _no_copy(repository: str, reason: str) -> str:
    return (
        f"{repository}: {reason}, and no copy of it is stored here; connect to the network, or name a folder or "
        "archive of it by --data_dir, or use --source=simulated."
    )
