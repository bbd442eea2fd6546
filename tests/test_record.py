"""Scores stay as they were: compared with a record of stored pairs and a scene (`scripts/make_record.py`)."""

import jax
import numpy as np
import pytest

import planetcd_jax as pcd
from scripts import make_record

# Another processor adds in another order, which a comparison of nearly equal numbers can turn into a little more.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def compare(found, prefix):
    with np.load(make_record.PATH) as stored:
        for name in found:
            np.testing.assert_allclose(found[name], stored[f"{prefix}/{name}"], **TOLERANCE, err_msg=f"{prefix}/{name}")


@pytest.mark.parametrize("config", ["paper", pytest.param("robust", marks=pytest.mark.slow)])
def test_pairs(config):
    found = make_record.pair_scores(config, "grey")
    compare({name: found[name] for name in ("rho", "rho_null", "tau")}, f"{config}/grey")


def test_scores_of_the_registered_preset():
    """Without its null, whose program takes several times as long to compile; every second pair."""
    before, after = (x[::2] for x in make_record.images("grey"))
    score, params = jax.jit(pcd.change_score, static_argnames="config"), pcd.load_vgg16()
    rho = [score(params, *pair, config=make_record.CONFIGS["robust"]) for pair in zip(before, after, strict=True)]
    with np.load(make_record.PATH) as stored:
        np.testing.assert_allclose(rho, stored["robust/grey/rho"][::2], **TOLERANCE)


def test_rcva():
    found = make_record.pair_scores("rcva", "grey")
    compare({name: found[name] for name in ("rho", "tau")}, "rcva/grey")
