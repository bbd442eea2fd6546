"""Changed or not by clustering the scores of all pairs into two, in place of a threshold from pseudo-unchanged pairs.

What was found: Saha & Zhu cluster the rho of all pairs with k-means, k = 2, into changed and unchanged (section IV-B).
What was assumed: the cluster of the larger mean is the changed one; ten starts; scores that are all equal, and a single
score, form one cluster, of which nothing is called changed.
"""

from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.extras import brought_by

STARTS = 10
"""Starts of k-means, of which the tightest clustering is kept."""


class Clusters(NamedTuple):
    """Two clusters of scores.

    Attributes:
        changed: [N] bool, whether a pair lies in the cluster of the larger mean.
        tau: Midpoint between the two clusters, so that `changed == (rho > tau)`; infinite if there is one cluster.
        means: Mean score of the unchanged and of the changed cluster; the second is NaN if there is one cluster.
    """

    changed: np.ndarray
    tau: float
    means: tuple[float, float]


def cluster_scores(rho: np.ndarray, *, seed: int = 0) -> Clusters:
    """Splits N scores into unchanged and changed by k-means with k = 2.

    Args:
        rho: [N] float, N >= 1, finite.
        seed: Seed of the starts.

    Returns:
        `Clusters`. With N = 1 or equal scores nothing is changed.

    Raises:
        DataError: if `rho` is not a vector of at least one finite score.

    Example:
        >>> cluster_scores(np.array([1.0, 2.0, 8.0, 9.0]), seed=0).changed
        array([False, False,  True,  True])
    """
    rho = np.asarray(rho, np.float64)
    if rho.ndim != 1 or rho.size == 0:
        raise DataError(f"rho has shape {rho.shape}; give a vector of at least one score to cluster.")
    if not np.isfinite(rho).all():
        bad = np.flatnonzero(~np.isfinite(rho))
        raise DataError(
            f"rho is not finite for {bad.size} of {rho.size} pairs (first: number {bad[0]}); leave them out."
        )
    if np.unique(rho).size == 1:
        return Clusters(np.zeros(rho.shape, bool), float("inf"), (float(rho[0]), float("nan")))
    with brought_by("supervised"):
        from sklearn.cluster import KMeans  # imported late: slow, and needed for this alone

    spread = (rho - rho.min()) / np.ptp(rho)  # in [0, 1], so that scikit-learn's tolerance suits any unit
    start: Any = STARTS  # scikit-learn's own annotation knows the word "auto" alone
    labels = KMeans(n_clusters=2, n_init=start, random_state=seed).fit_predict(spread[:, None])
    if rho[labels == 0].mean() > rho[labels == 1].mean():
        labels = 1 - labels
    changed = labels == 1
    low, high = rho[~changed], rho[changed]
    return Clusters(changed, float((low.max() + high.min()) / 2), (float(low.mean()), float(high.mean())))
