"""The catalogue while pairs end: written anew now and then by a process of its own, in a bounded share of the time."""

import pathlib
import subprocess
import time
from collections.abc import Callable, Sequence

from planetcd_jax.surveys.catalogue_lock import age_s
from planetcd_jax.surveys.limits import Limits, start

SHARE = 30.0
"""A catalogue is begun when this many times what the last one took have passed since it."""


class Keeper:
    """Writes the catalogue anew while a survey runs, so that a long one can be looked at.

    Attributes:
        command: What writes the catalogue.
        folder: Of the survey.
        least_s: Least time from the end of one catalogue to the start of the next, seconds; 0: none is written.
        failed: Catalogues that could not be written.
    """

    def __init__(self, command: Sequence[str], folder: pathlib.Path, least_s: float):
        self.command, self.folder, self.least_s, self.failed = tuple(command), folder, least_s, 0
        self._writing: subprocess.Popen | None = None
        self._began, self._next, self._seen = 0.0, time.monotonic() + least_s, 0

    def begin_if_due(self, done: Callable[[], int]) -> None:
        """Begins a catalogue if it is time, pairs have ended since the last one, and no other client has begun one.

        Args:
            done: Tells how many pairs are done.
        """
        now = time.monotonic()
        if self._writing is not None:
            status = self._writing.poll()
            if status is None:
                return
            self._writing, self.failed = None, self.failed + (status != 0)
            self._next = now + max(self.least_s, SHARE * (now - self._began))
        if not self.least_s or now < self._next:
            return
        self._next = now + self.least_s
        count = done()
        if count > self._seen and age_s(self.folder) >= self.least_s:  # a second client may have written one
            self._began, self._seen = now, count
            self._writing = start(self.command, Limits(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        """Waits for a catalogue that is being written."""
        if self._writing is not None:
            self._writing.wait()
            self._writing = None
