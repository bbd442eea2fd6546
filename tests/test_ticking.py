"""A bar goes on being drawn while one long step runs."""

import threading

import pytest

from planetcd_jax.runtime.ticking import ticking


class Bar:
    def __init__(self):
        self.drawn, self.times = threading.Event(), 0

    def refresh(self):
        self.times += 1
        if self.times >= 3:
            self.drawn.set()


def test_a_bar_is_drawn_again_and_again_and_not_after_the_end():
    bar = Bar()
    with ticking(bar, 0.01):
        assert bar.drawn.wait(60)  # a long step, during which the bar is drawn three times
    times = bar.times
    assert not any(thread.name == "ticking" for thread in threading.enumerate())
    assert bar.times == times


def test_it_ends_with_an_error_too():
    with pytest.raises(ValueError, match="step"), ticking(Bar(), 60.0):
        raise ValueError("step")
    assert not any(thread.name == "ticking" for thread in threading.enumerate())
