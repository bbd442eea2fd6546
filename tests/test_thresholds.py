"""Tau and p-values, by hand and against plain counting."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

import planetcd_jax as pcd
from planetcd_jax import detection, thresholds
from planetcd_jax.errors import PatchError


def tau_by_hand(scores, percent_dropped):
    """The rule in whole numbers: sort, drop floor(N p / 100) from the top, take the largest left."""
    dropped = len(scores) * percent_dropped // 100
    return sorted(scores)[len(scores) - 1 - dropped]


class ThresholdTest(chex.TestCase):
    """The paper's rule, exactly."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(1, 2, 19, 20, 21, 39, 40, 96, 100, 254, 1000, 3103)
    def test_the_top_five_percent_are_dropped(self, n):
        scores = np.random.default_rng(n).permutation(n).astype(np.float32)
        tau = self.variant(lambda s: pcd.threshold(s, pcd.PAPER.decision))(scores)
        assert tau == tau_by_hand(scores, 5)

    def test_one_and_nineteen_drop_nothing_and_twenty_drop_one(self):
        assert pcd.threshold(jnp.array([3.0]), pcd.PAPER.decision) == 3.0
        assert pcd.threshold(jnp.arange(19.0), pcd.PAPER.decision) == 18.0
        assert pcd.threshold(jnp.arange(20.0), pcd.PAPER.decision) == 18.0

    @parameterized.parameters((1.0, 0), (0.99, 1), (0.9, 10), (0.8, 20), (0.7, 30), (0.5, 50), (0.35, 65))
    def test_other_quantiles(self, quantile, percent):
        cfg = pcd.Decision(quantile=quantile)
        for n in (1, 10, 20, 100, 140, 1000):
            scores = np.arange(n, dtype=np.float32)
            assert pcd.threshold(scores, cfg) == tau_by_hand(scores, percent), n

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


def half_changed(rng, changed, count=200):
    """Scores of pairs of which some changed: their own null is higher too, as a null of their differences is."""
    rho, null = rng.gamma(9, 0.3, (2, count)).astype(np.float32)
    rho[:changed] += 6
    null[:changed] *= 1.6
    return rho, null


def test_null_scores_of_findings_do_not_count():
    rng = np.random.default_rng(0)
    rho, null = half_changed(rng, 90)
    config = pcd.PAPER.replace(null_fdr=0.1)
    counted = np.asarray(jax.jit(thresholds.counted_nulls, static_argnames="decision")(rho, null, config.decision))
    assert counted[:90].sum() < 5 and counted[90:].mean() > 0.85
    plain, cleared = detection.decide(rho, null, pcd.PAPER), detection.decide(rho, null, config)
    unchanged = rho[90:]
    assert (unchanged > float(plain.tau)).mean() < 0.02 <= (unchanged > float(cleared.tau)).mean() < 0.1


def test_all_null_scores_count_where_nothing_changed_or_nothing_is_asked():
    rho, null = half_changed(np.random.default_rng(1), 0)
    for rate in (None, 0.1):
        assert np.asarray(thresholds.counted_nulls(rho, null, pcd.Decision(null_fdr=rate))).all()


def test_padding_and_sets_that_changed_as_a_whole():
    rho, null = half_changed(np.random.default_rng(0), 90)
    config = pcd.PAPER.replace(null_fdr=0.1)
    whole = np.asarray(thresholds.counted_nulls(rho, null, config.decision))
    valid = np.arange(256) < 200
    padded = [np.pad(x, (0, 56), constant_values=value) for x, value in ((rho, 1e3), (null, 1e3))]
    found = np.asarray(thresholds.counted_nulls(*padded, config.decision, valid=valid))
    np.testing.assert_array_equal(found[:200], whole)
    assert not found[200:].any()
    # All are findings: the null as it is says more than none.
    assert np.asarray(thresholds.counted_nulls(null + 100, null, config.decision)).all()
    with pytest.raises(PatchError):
        thresholds.counted_nulls(rho[:5], null, config.decision)
