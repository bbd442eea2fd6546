"""Tau and p-values, by hand and against plain counting."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import planetcd_jax as pcd
from planetcd_jax import detection, thresholds
from planetcd_jax.errors import PatchError


def tau_by_hand(scores, percent_dropped):
    """The rule in whole numbers: sort, drop floor(N p / 100) from the top, take the largest left."""
    dropped = len(scores) * percent_dropped // 100
    return sorted(scores)[len(scores) - 1 - dropped]


THRESHOLD = jax.jit(pcd.threshold, static_argnames="decision")


class ThresholdTest(chex.TestCase):
    """The paper's rule, exactly."""

    @parameterized.parameters(1, 2, 19, 20, 21, 39, 40, 96, 100, 254, 1000, 3103)
    def test_the_top_five_percent_are_dropped(self, n):
        scores = np.random.default_rng(n).permutation(n).astype(np.float32)
        assert THRESHOLD(scores, pcd.PAPER.decision) == tau_by_hand(scores, 5)

    def test_without_jit_too(self):
        scores = np.random.default_rng(20).permutation(20).astype(np.float32)
        assert pcd.threshold(scores, pcd.PAPER.decision) == tau_by_hand(scores, 5)

    def test_one_and_nineteen_drop_nothing_and_twenty_drop_one(self):
        assert pcd.threshold(jnp.array([3.0]), pcd.PAPER.decision) == 3.0
        assert pcd.threshold(jnp.arange(19.0), pcd.PAPER.decision) == 18.0
        assert pcd.threshold(jnp.arange(20.0), pcd.PAPER.decision) == 18.0

    @parameterized.parameters((1.0, 0), (0.99, 1), (0.9, 10), (0.8, 20), (0.7, 30), (0.5, 50), (0.35, 65))
    def test_other_quantiles(self, quantile, percent):
        cfg = pcd.Decision(quantile=quantile)
        for n in (1, 10, 20, 100, 140, 1000):
            scores = np.arange(1000, dtype=np.float32)  # filled up, so that one program serves all
            tau = THRESHOLD(scores, cfg, valid=np.arange(1000) < n)
            assert tau == tau_by_hand(scores[:n], percent), n

    @chex.variants(with_jit=True, without_jit=True)
    def test_padding_is_inert(self):
        scores = np.random.default_rng(0).random(37).astype(np.float32)
        padded = np.concatenate([scores, np.full(27, np.nan, np.float32)])
        padded[50] = 1e9
        valid = np.arange(64) < 37
        tau = self.variant(lambda s, v: pcd.threshold(s, pcd.PAPER.decision, valid=v))(padded, valid)
        assert tau == pcd.threshold(scores, pcd.PAPER.decision)
        p = self.variant(lambda r, s, v: pcd.p_values(r, s, valid=v))(scores, padded, valid)
        np.testing.assert_array_equal(p, pcd.p_values(scores, scores))

    def test_ties_and_repeated_values(self):
        assert pcd.threshold(jnp.full(50, 2.5), pcd.PAPER.decision) == 2.5


def test_p_value_counts_null_scores_at_or_above():
    rng = np.random.default_rng(1)
    rho, null = (rng.integers(0, 20, n).astype(np.float32) for n in (30, 50))
    wanted = [(1 + sum(s >= r for s in null)) / 51 for r in rho]
    np.testing.assert_allclose(pcd.p_values(rho, null), wanted, rtol=1e-6)


def test_nan_is_not_hidden():
    scores = jnp.array([1.0, jnp.nan, 3.0])
    assert jnp.isnan(pcd.threshold(scores, pcd.PAPER.decision))
    assert jnp.isnan(pcd.p_values(jnp.array([1.0]), scores)).all()
    assert np.isnan(pcd.p_values(jnp.array([jnp.nan, 1.0]), jnp.array([1.0])))[0]
    assert jnp.isnan(pcd.threshold(jnp.ones(3), pcd.PAPER.decision, valid=jnp.zeros(3, bool)))


def test_decisions_are_strict_and_nan_is_not_changed():
    found = pcd.decide(jnp.array([1.0, 2.0, 2.5, jnp.nan]), jnp.array([2.0, 1.0, 0.5, 0.25]), pcd.PAPER)
    assert found.tau == 2.0
    np.testing.assert_array_equal(found.changed, [False, False, True, False])


def test_no_scores_are_refused():
    with pytest.raises(pcd.PatchError, match=r"rho_null has shape \(0,\); give a vector of at least one score"):
        pcd.threshold(jnp.zeros(0), pcd.PAPER.decision)
    with pytest.raises(pcd.PatchError, match=r"rho has shape \(2, 2\)"):
        pcd.p_values(jnp.zeros((2, 2)), jnp.zeros(3))


def test_threshold_vmaps_over_configs_scores():
    scores = np.random.default_rng(0).random((4, 60)).astype(np.float32)
    together = jax.vmap(lambda s: pcd.threshold(s, pcd.PAPER.decision))(scores)
    np.testing.assert_array_equal(together, [tau_by_hand(s, 5) for s in scores])


DECISION = pcd.ROBUST.decision
COUNTED = jax.jit(thresholds.counted_nulls, static_argnames=("decision", "alike"))
DECIDE = jax.jit(detection.decide, static_argnames="config")


def half_changed(rng, changed, count=200):
    """Scores of pairs of which some changed: their own null is higher too, as a null of their differences is."""
    rho, null = rng.gamma(9, 0.3, (2, count)).astype(np.float32)
    rho[:changed] += 6
    null[:changed] += 4
    return rho, null


def counted_by_hand(rho, null, least=0.24, prior=16):
    """Oracle: the isotonic regression of SciPy of who is larger, over the level, with pairs half won at the top."""
    order = np.argsort(np.maximum(rho, null))
    won = (null >= rho).astype(float)[order]
    share = optimize.isotonic_regression(np.append(won, np.full(prior, 0.5)), increasing=False).x[: len(won)]
    counted = np.empty(len(won), bool)
    counted[order] = share >= least
    return counted if counted.mean() >= 1 / 3 else np.ones_like(counted)


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.floats(0, 1), st.floats(-1, 8))
def test_null_scores_count_down_from_the_level_where_isotonic_regression_says_so(seed, count, share, change):
    rng = np.random.default_rng(seed)
    rho, null = rng.gamma(9, 0.3, (2, count)).astype(np.float32)
    rho[: int(share * count)] += np.float32(change)
    padded = (np.pad(x, (0, 80 - count)) for x in (rho, null))
    found = np.asarray(COUNTED(*padded, DECISION, valid=np.arange(80) < count))
    np.testing.assert_array_equal(found[:count], counted_by_hand(rho, null))


@pytest.mark.parametrize("changed", [40, 90, 120])
def test_null_scores_of_changed_pairs_do_not_count(changed):
    rho, null = half_changed(np.random.default_rng(0), changed)
    counted = np.asarray(COUNTED(rho, null, DECISION))
    assert counted[:changed].mean() < 0.2 and counted[changed:].mean() > 0.85
    plain, cleared = DECIDE(rho, null, pcd.PAPER), DECIDE(rho, null, pcd.ROBUST)
    unchanged = rho[changed:]
    assert (unchanged > float(plain.tau)).mean() < 0.02 <= (unchanged > float(cleared.tau)).mean() < 0.1


def test_all_null_scores_count_where_nothing_changed_or_nothing_is_asked():
    for seed in range(200):
        rho, null = half_changed(np.random.default_rng(seed), 0)
        assert np.asarray(COUNTED(rho, null, DECISION)).all()
    rho, null = half_changed(np.random.default_rng(0), 90)
    assert np.asarray(COUNTED(rho, null, pcd.Decision())).all()


def test_a_few_changed_pairs_are_not_enough_to_tell():
    rho, null = half_changed(np.random.default_rng(0), 12)
    assert np.asarray(COUNTED(rho, null, DECISION)).all()
    rho, null = half_changed(np.random.default_rng(0), 90)
    assert not np.asarray(COUNTED(rho, null, DECISION, alike=3)).all()
    assert np.asarray(COUNTED(rho, null, DECISION, alike=8)).all()


def test_padding_missing_scores_and_sets_that_changed_as_a_whole():
    rho, null = half_changed(np.random.default_rng(0), 90)
    whole = np.asarray(COUNTED(rho, null, DECISION))
    valid = np.arange(256) < 200
    padded = [np.pad(x, (0, 56), constant_values=value) for x, value in ((rho, 1e3), (null, 1e2))]
    found = np.asarray(COUNTED(*padded, DECISION, valid=valid))
    np.testing.assert_array_equal(found[:200], whole)
    assert not found[200:].any()
    lost = np.asarray(COUNTED(np.where(np.arange(200) < 5, np.nan, rho), null, DECISION))
    np.testing.assert_array_equal(lost[5:], whole[5:])
    assert lost[:5].all()  # nothing is known against them
    # Nearly all have changed: the null as it is says more than none.
    rho, null = half_changed(np.random.default_rng(0), 190)
    assert np.asarray(COUNTED(rho, null, DECISION)).all()
    with pytest.raises(PatchError):
        COUNTED(rho[:5], null, DECISION)
