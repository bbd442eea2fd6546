"""Processes that start together compile a program once."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from planetcd_jax.files import compile_once

ROOT = pathlib.Path(__file__).resolve().parents[1]


def through(folder, count):
    """Begins and ends of blocks of threads that come together; the locks of open files hold between threads too."""
    times, start = [], threading.Barrier(count)

    def one():
        start.wait()
        with compile_once.turn(folder, "program"):
            begun = time.monotonic()
            time.sleep(0.3)
            times.append((begun, time.monotonic()))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(times)


def test_one_goes_through_alone_and_the_others_then_side_by_side(tmp_path):
    first, *others = through(tmp_path, 4)
    assert all(begun >= first[1] for begun, _ in others)
    assert max(begun for begun, _ in others) < min(end for _, end in others)
    again = through(tmp_path, 3)  # nobody waits any more
    assert max(begun for begun, _ in again) < min(end for _, end in again)


def test_a_failure_or_a_death_in_the_block_lets_the_next_one_in(tmp_path):
    with pytest.raises(ValueError, match="no"), compile_once.turn(tmp_path, "program"):
        raise ValueError("no")
    assert (tmp_path / "program.once").stat().st_size == 0
    code = (
        "import pathlib, sys, time; from planetcd_jax.files import compile_once\n"
        "with compile_once.turn(pathlib.Path(sys.argv[1]), 'program'): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as held:
        assert held.stdout.readline() == b"in\n"
        waited = threading.Timer(0.5, os.kill, (held.pid, signal.SIGKILL))
        began = time.monotonic()
        waited.start()
        with compile_once.turn(tmp_path, "program"):
            assert time.monotonic() - began >= 0.5
    assert (tmp_path / "program.once").read_text() == "compiled\n"


def test_a_folder_that_is_not_there_makes_nobody_wait(tmp_path):
    times = through(tmp_path / "none", 3)
    assert max(begun for begun, _ in times) < min(end for _, end in times) and not (tmp_path / "none").exists()


def test_programs_are_told_apart_by_what_they_do():
    def lowered(scale, size):
        return jax.jit(lambda x: jnp.sin(scale * x)).lower(jnp.zeros(size))

    names = [compile_once._digest(lowered(*about)) for about in ((1.5, 3), (1.5, 3), (2.5, 3), (1.5, 4))]
    assert names[0] == names[1] and len(set(names)) == 3
