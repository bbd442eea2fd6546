"""Requests to the hub in threads of their own: what the client logs there is shown only while waited for."""

import logging
import threading

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")

from planetcd_jax.files import hub_requests
from planetcd_jax.files.hub_requests import Request

LOG = logging.getLogger("huggingface_hub.utils._http")


@pytest.fixture
def lines():
    """What a handler of the client's own library logger writes."""
    found = []

    class Kept(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    handler = Kept()
    library = logging.getLogger("huggingface_hub")
    library.addHandler(handler)
    yield found
    library.removeHandler(handler)


def retrying(steps, done):
    """A call that logs one line for each step that it is allowed."""

    def call():
        for number, step in enumerate(steps):
            step.wait(10)
            LOG.warning("retry %d", number)
            done[number].set()
        return "answer"

    return call


def test_the_log_is_shown_while_waited_for_and_not_before_or_after_giving_up(lines):
    steps, done = ([threading.Event() for _ in range(4)] for _ in range(2))
    request = Request(retrying(steps, done))
    steps[0].set()
    assert done[0].wait(10) and lines == []  # no sign of life yet
    waiting = threading.Thread(target=lambda: request.join(1.0, heard=True))
    waiting.start()
    for _ in range(1000):  # until the wait has begun
        if request._thread.ident not in hub_requests._unheard:
            break
        threading.Event().wait(0.001)
    steps[1].set()
    assert done[1].wait(10) and lines == ["retry 1"]
    waiting.join()
    assert not request.ended
    steps[2].set()
    assert done[2].wait(10) and lines == ["retry 1"]  # given up
    steps[3].set()
    request.join(10)
    assert request.value == "answer" and lines == ["retry 1"]


def test_the_log_of_other_threads_is_untouched(lines):
    request = Request(lambda: "answer")
    request.join(10)
    LOG.warning("of the caller")
    assert request.value == "answer" and lines == ["of the caller"]
