"""Ctrl-C and SIGTERM that arrive inside a callback."""

import subprocess
import sys

import pytest

# The signal arrives during a garbage collection, in a callback as JAX has one: Python drops what is raised there.
PROGRAM = """
import gc, signal, sys, time
from planetcd_jax.cli import interruptions
if {handled}:
    interruptions.never_drop()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sent = []
def during(phase, info):
    if not sent:
        sent.append(1)
        signal.raise_signal(signal.{name})
gc.callbacks.append(during)
try:
    gc.collect()
    time.sleep({wait})
    print("went on")
except (KeyboardInterrupt, SystemExit) as stopped:
    print(type(stopped).__name__)
"""


def result(*, handled, name, wait):
    code = PROGRAM.format(handled=handled, name=name, wait=wait)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(("name", "raised"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "SystemExit")])
def test_an_interruption_in_a_callback_is_not_lost(name, raised):
    assert result(handled=True, name=name, wait=60) == (raised, "")


def test_python_alone_loses_it():
    """So that this module can go when Python, or JAX, changes."""
    said, reported = result(handled=False, name="SIGINT", wait=0.5)
    assert said == "went on" and "KeyboardInterrupt" in reported


def test_other_exceptions_of_finalisers_are_reported():
    code = """
from planetcd_jax.cli import interruptions
interruptions.never_drop()
class Broken:
    def __del__(self):
        raise ValueError("told")
one = Broken()
del one
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "ValueError: told" in done.stderr
