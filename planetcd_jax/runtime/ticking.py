"""Progress bars whose seconds go on while one long step runs."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class Bar(Protocol):
    """What is needed of a progress bar; tqdm's have it."""

    def refresh(self) -> object:
        """Draws the bar anew, with the time that it has run."""


@contextlib.contextmanager
def ticking(bar: Bar, seconds: float = 1.0) -> Iterator[None]:
    """Draws a bar anew every so many seconds, from a thread of its own, until the block ends."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(seconds):
            bar.refresh()

    ticker = threading.Thread(target=tick, name="ticking", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()
