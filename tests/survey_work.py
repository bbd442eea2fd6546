"""Pairs and tasks of surveys that the stand-in for planetcd-scene scores, and what it wrote down."""

import collections
import os
import pathlib
import sys

from planetcd_jax.surveys.attempt import Task
from planetcd_jax.surveys.limits import Limits
from planetcd_jax.surveys.pair_table import Pair

ROOT = pathlib.Path(__file__).resolve().parents[1]
STANDIN = (sys.executable, "-S", str(ROOT / "tests" / "standin_scene.py"))
SERVER = (*STANDIN, "serve")


def pairs(*names):
    """Pairs of these names."""
    return [Pair(name, f"/images/{name}.tif", f"/images/{name}-after.tif") for name in names]


def task(folder, name, *, most=0, **limits):
    """A pair in a process of its own, or in one that scores `most` pairs."""
    served = (SERVER, (), most) if most else ()
    return Task(name, f"/images/{name}.tif", "/images/b.tif", os.fspath(folder), STANDIN, Limits(**limits), *served)


def lines(folder, file):
    """How often each line is in a file that the stand-in writes."""
    path = folder / file
    return collections.Counter(path.read_text().split()) if path.exists() else collections.Counter()


def results(folder):
    """Every file of every scene, by its path."""
    return {os.fspath(p.relative_to(folder)): p.read_bytes() for p in folder.glob("scenes/*/*/*")}
