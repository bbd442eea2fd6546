"""k-means on rho against the best of all splits of the sorted scores."""

import numpy as np
import pytest

from planetcd_jax.baselines.kmeans import cluster_scores
from planetcd_jax.errors import DataError


def best_split(rho):
    """Oracle: of all N - 1 splits of the sorted scores, the one with the least sum of squares within."""
    order = np.sort(rho)
    within = [
        ((p - p.mean()) ** 2).sum() + ((q - q.mean()) ** 2).sum()
        for p, q in ((order[:i], order[i:]) for i in range(1, len(order)))
    ]
    i = 1 + int(np.argmin(within))
    return rho >= order[i], (order[:i].mean(), order[i:].mean())


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_exhaustive_split(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, 2)
    rho = rng.permutation(
        np.concatenate([rng.normal(1, 0.3, sizes[0]), rng.gamma(2, 2, sizes[1])]) * 10.0 ** (seed - 6)
    )
    changed, means = best_split(rho)
    got = cluster_scores(rho.astype(np.float64), seed=seed)
    np.testing.assert_array_equal(got.changed, changed)
    np.testing.assert_allclose(got.means, means)
    np.testing.assert_array_equal(rho > got.tau, changed)


def test_the_cluster_of_the_larger_mean_is_the_changed_one():
    got = cluster_scores(np.float32([9, 1, 1.1, 8, 0.9]))
    assert got.changed.tolist() == [True, False, False, True, False]
    assert got.tau == pytest.approx((1.1 + 8) / 2)  # by hand


@pytest.mark.parametrize("rho", [[2.5], [3.0, 3.0, 3.0]])
def test_one_cluster_means_nothing_changed(rho):
    got = cluster_scores(np.float32(rho))
    assert not got.changed.any() and got.tau == np.inf and np.isnan(got.means[1])


@pytest.mark.parametrize(
    ("rho", "text"),
    [
        ([], "shape (0,)"),
        ([[1.0]], "shape (1, 1)"),
        ([1, np.nan, np.inf], "not finite for 2 of 3 pairs (first: number 1)"),
    ],
)
def test_scores_that_cannot_be_clustered(rho, text):
    with pytest.raises(DataError) as error:
        cluster_scores(np.float32(rho))
    assert text in str(error.value)
