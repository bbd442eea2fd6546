"""Mars-Bench sets from the Hugging Face hub, with a bound on how long an unreachable hub may take."""

import pathlib
import threading
import time
from typing import Any

from planetcd_jax.errors import DataError, MissingExtraError
from planetcd_jax.extras import require

REPOSITORIES = {"hirise_rsl": "Mirali33/mb-change_cls_hirise", "ctx": "Mirali33/mb-change_cls_ctx"}
"""Mars-Bench (Purohit et al. 2025, CC BY 4.0) on the hub, by data set."""

DEADLINE_S = 3.5
"""Seconds until the hub must have said which commit a revision is: import of the client, name look-up and the client's
own retries included."""

_LEAST_S = 1.0
"""Seconds that the hub has at least, however long the import took."""


class HubUnreachable(DataError):
    """Neither the hub nor a stored copy gives the set: no answer, no client, no such repository, or another layout."""


def fetch(repository: str, revision: str, *, patterns: list[str] | None = None) -> tuple[pathlib.Path, dict[str, Any]]:
    """A local copy of a data repository, fetched or from the hub client's cache.

    Follows HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE. If the hub does not answer within `DEADLINE_S`, a copy already in
    the cache is used.

    Args:
        repository: Owner and name on the hub.
        revision: Branch, tag or commit.
        patterns: Files wanted, as glob patterns; None for all.

    Returns:
        The folder, and what is known of it: repository, revision asked for, commit.

    Raises:
        DataError: if the hub knows the repository but not the revision.
        HubUnreachable: if there is neither an answer nor a copy.
    """
    start = time.monotonic()
    try:
        require("hub", "huggingface_hub", "rasterio")
    except MissingExtraError as err:
        raise HubUnreachable(f"{repository}: {err}") from None
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    commit, reason = None, "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        commit, reason = _resolve(repository, revision, max(DEADLINE_S - (time.monotonic() - start), _LEAST_S))
    options = {"repo_type": "dataset", "allow_patterns": patterns}
    try:
        folder = snapshot_download(repository, revision=revision, local_files_only=commit is None, **options)
    except LocalEntryNotFoundError as err:
        raise HubUnreachable(_no_copy(repository, reason)) from err
    except (HfHubHTTPError, OSError) as err:
        reason = f"fetching it failed: {_one_line(err)}"
        raise HubUnreachable(_no_copy(repository, reason)) from err
    folder = pathlib.Path(folder)
    facts = {"repository": repository, "revision": revision, "commit": folder.name}  # snapshots are kept by commit
    if commit is None:
        facts["notes"] = [f"{repository}: used the stored copy of commit {folder.name}, since {reason}."]
    return folder, facts


def _resolve(repository: str, revision: str, patience: float) -> tuple[str | None, str]:
    """Commit of a revision, or None and why not; within `patience` seconds.

    The request runs in a thread of its own, because neither a name look-up nor the client's retries can be bounded
    from outside; past the deadline the thread is left to end by itself.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(HfApi().dataset_info(repository, revision=revision, timeout=patience).sha)
        except (HfHubHTTPError, OSError, ValueError, RuntimeError, _transport_error()) as err:
            answer.append(err)

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(patience)
    if not answer:
        return None, f"the hub did not answer in time ({DEADLINE_S:g} s)"
    if isinstance(answer[0], RevisionNotFoundError):
        raise DataError(f"{repository} has no revision {revision!r}; give a branch, tag or commit that it has.")
    if isinstance(answer[0], BaseException):
        return None, f"the hub is not reachable: {_one_line(answer[0])}"
    return str(answer[0]), ""


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
        f"{repository}: {reason}, and no copy of it is stored here; connect to the network, or name a folder in the "
        "Mars-Bench layout by --data_dir, or use --source=simulated."
    )


def _one_line(err: BaseException) -> str:
    text = " ".join(str(err).split()) or type(err).__name__
    return text if len(text) <= 160 else text[:157] + "..."
