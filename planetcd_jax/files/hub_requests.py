"""Requests to the Hugging Face hub that cannot hold a program up: each in a thread of its own."""

import logging
import threading
from collections.abc import Callable
from typing import Any

DEADLINE_S = 3.5
"""Seconds until the hub must have given a sign of life: import of the client, name look-up and the client's own retries
included."""

PATIENCE_S = 60.0
"""Seconds for one answer of a hub that has given a sign of life."""


_unheard: set[int] = set()
"""Identifiers of the threads whose log nobody wants to read."""


def _wanted(record: logging.LogRecord) -> bool:
    return record.thread not in _unheard


class Request:
    """A call in a thread of its own; `value` is its result, or the error of the network that ended it.

    What the hub's client logs there, such as its retries, is shown only during `join` with heard=True: where the hub is
    silent the caller says so in one line, and a thread that was given up goes on retrying for some seconds.
    """

    def __init__(self, call: Callable[[], Any]):
        self.value: Any = None
        self._call = call
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub-request", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there is a result or an error."""
        return self._done.is_set()

    def join(self, seconds: float | None, *, heard: bool = False) -> None:
        """Waits for the end, `seconds` at most; None: however long it takes. If `heard`, the client's log is shown."""
        if heard:
            _unheard.discard(self._thread.ident or 0)
        self._done.wait(seconds)
        if not self.ended:
            _unheard.add(self._thread.ident or 0)

    def _run(self) -> None:
        _unheard.add(threading.get_ident())
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils.logging import get_logger  # this module gives the client's log its handler

        # A record is handed to the handlers of its library and to those of the root.
        for log in (get_logger("huggingface_hub"), logging.getLogger()):
            for handler in log.handlers:
                handler.addFilter(_wanted)
        try:
            self.value = self._call()
        except (HfHubHTTPError, OSError, ValueError, RuntimeError, transport_error()) as err:
            self.value = err
        except (LookupError, TypeError) as err:  # an answer of another form than the hub's
            self.value = RuntimeError(f"it does not answer as the hub does ({type(err).__name__}: {err})")
        finally:
            self._done.set()
            _unheard.discard(threading.get_ident())


def sign_of_life() -> bool:
    """True once the hub's server answers anything at all, an error too."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    return True


def transport_error() -> type[Exception]:
    """Base class of the errors of the HTTP client that this version of huggingface_hub is built on."""
    from huggingface_hub.utils import get_session

    for base in type(get_session()).__mro__:
        module = base.__module__.split(".")[0]
        if module in ("httpx", "httpx2", "requests"):
            client = __import__(module)
            return getattr(client, "HTTPError", None) or client.RequestException
    return OSError


def one_line(err: BaseException) -> str:
    """An error in one line of at most 160 characters."""
    text = " ".join(str(err).split()) or type(err).__name__
    return text if len(text) <= 160 else text[:157] + "..."
