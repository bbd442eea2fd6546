"""The examples in docstrings are run, and print what they say.

An example finds the names of its own module, and those of `given()`: shipped parameters, a key, two pairs of 64 px, the
public names and the usual modules. What an expression gives stands below it, as in any doctest.
"""

import doctest
import importlib
import pathlib

import numpy as np
import pytest

import planetcd_jax as pcd

PACKAGE = pathlib.Path(pcd.__file__).resolve().parent

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MARK = ">" * 3


def modules_with_examples():
    """Full names of the modules whose text holds an example."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if MARK in path.read_text(encoding="utf-8"):
            yield ".".join(("planetcd_jax", *path.relative_to(PACKAGE).with_suffix("").parts))


def given():
    """Names that every example may use."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    pairs = {date: rng.random((2, 64, 64), np.float32) for date in ("before", "after")}
    public = {name: getattr(pcd, name) for name in pcd.__all__}
    made = {"params": pcd.load_vgg16(), "key": jax.random.key(0), **pairs}
    return {"jax": jax, "jnp": jnp, "np": np, "pcd": pcd, **public, **made}


@pytest.mark.slow
def test_examples_in_docstrings_run_and_print_what_they_say():
    known, said, ran = given(), [], 0
    for name in modules_with_examples():
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=known):
            runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
            runner.run(test, out=said.append)
            ran += runner.tries
    assert not said, "\n".join(said)
    assert ran >= 10


def test_an_example_that_is_wrong_is_told():
    test = doctest.DocTestParser().get_doctest(f"{MARK} 1 + 1\n3\n", {}, "wrong", None, 0)
    said = []
    assert doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=said.append).failed == 1
    assert "Expected:" in "".join(said)
