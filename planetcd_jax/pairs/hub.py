"""Data sets from the Hugging Face hub: a bound on how long a silent hub may take, and patience with a slow one."""

import contextlib
import json
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError, MissingExtraError
from planetcd_jax.extras import require
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.pairs import contents

DEADLINE_S = 3.5
"""Seconds until the hub must have given a sign of life: import of the client, name look-up and the client's own retries
included."""

_LEAST_S = 1.0
"""Seconds that the hub has at least, however long the import took."""

PATIENCE_S = 60.0
"""Seconds for one answer of a hub that has given a sign of life."""


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

    answer, alive = _Request(lambda: _listing(repository, revision)), _Request(_sign_of_life)
    answer.join(deadline)
    if not answer.ended and alive.value is True:
        with _waiting(repository):
            answer.join(PATIENCE_S)
    if not answer.ended:
        return None, f"the hub did not answer in time ({PATIENCE_S if alive.value is True else DEADLINE_S:g} s)"
    if isinstance(answer.value, RevisionNotFoundError):
        raise DataError(f"{repository} has no revision {revision!r}; give a branch, tag or commit that it has.")
    if isinstance(answer.value, BaseException):
        return None, f"the hub is not reachable: {_one_line(answer.value)}"
    return answer.value, ""


class _Request:
    """A call in a thread of its own; `value` is its result, or the error of the network that ended it."""

    def __init__(self, call: Callable[[], Any]):
        self.value: Any = None
        self._call = call
        self._done = threading.Event()
        threading.Thread(target=self._run, name="hub-request", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether there is a result or an error."""
        return self._done.is_set()

    def join(self, seconds: float) -> None:
        """Waits for the end, `seconds` at most."""
        self._done.wait(seconds)

    def _run(self) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self.value = self._call()
        except (HfHubHTTPError, OSError, ValueError, RuntimeError, _transport_error()) as err:
            self.value = err
        except (LookupError, TypeError) as err:  # an answer of another form than the hub's
            self.value = RuntimeError(f"it does not answer as the hub does ({type(err).__name__}: {err})")
        finally:
            self._done.set()


def _listing(repository: str, revision: str) -> Listing:
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE_S, files_metadata=True)
    return Listing(str(info.sha), {file.rfilename: file.size for file in info.siblings or ()})


def _sign_of_life() -> bool:
    """True once the hub's server answers anything at all, an error too."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    return True


@contextlib.contextmanager
def _waiting(repository: str) -> Iterator[None]:
    """A bar with the seconds that a slow hub has taken so far."""
    from tqdm import tqdm

    ended = threading.Event()
    with tqdm(desc=f"waiting for the hub: {repository}", unit="s", bar_format="{desc} ({elapsed})") as bar:
        ticker = threading.Thread(
            target=lambda: [bar.refresh() for _ in iter(lambda: ended.wait(1), True)], daemon=True
        )
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join()


def _download(repository: str, revision: str, names: list[str]) -> pathlib.Path:
    """The folder that holds the files; over plain HTTP where the hub's chunk store (Xet) fails."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    errors = (HfHubHTTPError, OSError, RuntimeError, ValueError, _transport_error())
    try:
        return _snapshot(repository, revision, names)
    except errors as err:
        if getattr(constants, "HF_HUB_DISABLE_XET", True) or isinstance(err, HfHubHTTPError):
            raise HubUnreachable(_no_copy(repository, f"fetching it failed: {_one_line(err)}")) from err
    try:
        with _no_xet():
            return _snapshot(repository, revision, names)
    except errors as err:
        raise HubUnreachable(_no_copy(repository, f"fetching it failed: {_one_line(err)}")) from err


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
        raise HubUnreachable(_no_copy(repository, f"{reason}, the stored copy lacks {len(gone)} files of this split"))
    note = f"{repository}: used the stored copy of commit {folder.name}, since {reason}."
    return folder, {"repository": repository, "revision": revision, "commit": folder.name, "notes": [note]}


def _transport_error() -> type[Exception]:
    """Base class of the errors of the HTTP client that this version of huggingface_hub is built on."""
    from huggingface_hub.utils import get_session

    for base in type(get_session()).__mro__:
        module = base.__module__.split(".")[0]
        if module in ("httpx", "httpx2", "requests"):
            client = __import__(module)
            return getattr(client, "HTTPError", None) or client.RequestException
    return OSError


def _no_copy(repository: str, reason: str) -> str:
    return (
        f"{repository}: {reason}, and no copy of it is stored here; connect to the network, or name a folder or "
        "archive of it by --data_dir, or use --source=simulated."
    )


def _one_line(err: BaseException) -> str:
    text = " ".join(str(err).split()) or type(err).__name__
    return text if len(text) <= 160 else text[:157] + "..."
