"""From the scores of pseudo-unchanged pairs to a threshold and p-values."""

import dataclasses
import fractions
from typing import ClassVar

import chex
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.records import MAIN
from planetcd_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Decision:
    """How tau is found from null scores.

    Attributes:
        quantile: Share of pseudo-unchanged scores that lie at or below tau, in (0, 1].
        least_null_wins: None, or a share in (0, 1/2): scores at which the null score of a pair is the larger one less
            often than this are those of changed pairs, whose null scores do not count for tau and p-values
            (`thresholds.counted_nulls`).
        prior_pairs: Unchanged pairs that are thought to lie above all, so that a few changed ones by chance at the top
            are not believed.
        least_left: Least share of the null scores that must be left; with less, all count: where nearly all pairs
            differ by more than their nulls say, it is as well the nulls that are too low, as with frost, and tau is
            rather too high than too low.
    """

    quantile: float = dataclasses.field(default=constants.PAPER_QUANTILE, metadata=MAIN)
    least_null_wins: float | None = None
    prior_pairs: int = 16
    least_left: float = 1 / 3

    kind: ClassVar[str] = "quantile"

    def __post_init__(self):
        if not 0 < self.quantile <= 1:
            raise ConfigError(f"quantile is {self.quantile!r}; give a share in (0, 1], such as 0.95.")
        wins = self.least_null_wins
        if wins is not None and not 0 < wins < 0.5:
            raise ConfigError(f"least_null_wins is {wins!r}; give None or a share in (0, 0.5), such as 0.24.")
        if not isinstance(self.prior_pairs, int) or self.prior_pairs < 0:
            raise ConfigError(f"prior_pairs is {self.prior_pairs!r}; give a whole number, 0 or more.")
        if not 0 < self.least_left < 1:
            raise ConfigError(f"least_left is {self.least_left!r}; give a share in (0, 1), such as 0.1.")


def _check_scores(name: str, scores: Array) -> None:
    if scores.ndim != 1 or scores.shape[0] == 0:
        raise PatchError(f"{name} has shape {scores.shape}; give a vector of at least one score.")


def threshold(rho_null: Array, decision: Decision, *, valid: Array | None = None) -> Array:
    """tau: the largest pseudo-unchanged score after the top 1 - `decision.quantile` of them are dropped.

    Of N scores, floor((1 - quantile) N) are dropped: none of 19 at 0.95, one of 20. No interpolation.

    Args:
        rho_null: [N] float, scores of pseudo-unchanged pairs, N >= 1.
        decision: Its `quantile` is used.
        valid: [N] bool; False marks padding, which changes nothing. None means that all are valid.

    Returns:
        Scalar of the dtype of `rho_null`. NaN if a valid score is NaN, or if none is valid.

    Raises:
        PatchError: if `rho_null` is not a vector of at least one score.

    Source: Saha & Zhu, section III-D, equation 4.
    """
    rho_null = jnp.asarray(rho_null)
    _check_scores("rho_null", rho_null)
    valid = jnp.ones(rho_null.shape, bool) if valid is None else valid
    chex.assert_equal_shape([rho_null, valid])
    # As a fraction, because 0.05 * 20 must be 1 and neither a little more nor a little less.
    tail = fractions.Fraction(1.0 - decision.quantile).limit_denominator(10_000)
    n = valid.sum(dtype=jnp.int32)
    whole, rest = n // tail.denominator, n % tail.denominator  # apart, so that int32 holds the product
    dropped = whole * tail.numerator + rest * tail.numerator // tail.denominator
    ordered = jnp.sort(jnp.where(valid, rho_null, jnp.inf))  # [N], padding last
    tau = ordered[jnp.clip(n - 1 - dropped, 0, rho_null.shape[0] - 1)]
    bad = jnp.any(valid & jnp.isnan(rho_null)) | (n == 0)
    return jnp.where(bad, jnp.asarray(jnp.nan, rho_null.dtype), tau)


def p_values(rho: Array, rho_null: Array, *, valid: Array | None = None) -> Array:
    """Share of pseudo-unchanged scores at or above each score: (1 + #{rho_null >= rho}) / (1 + N).

    Args:
        rho: [M] float, scores to judge.
        rho_null: [N] float, scores of pseudo-unchanged pairs.
        valid: [N] bool, False marks padding in `rho_null`. None means that all are valid.

    Returns:
        [M] float32 in (0, 1]; NaN where `rho` is NaN, and everywhere if a valid null score is NaN.

    Raises:
        PatchError: if either argument is not a vector of at least one score.

    Source: the Monte Carlo p-value of Davison & Hinkley 1997, equation 4.11, which counts the observed score itself.
    """
    rho, rho_null = jnp.asarray(rho), jnp.asarray(rho_null)
    _check_scores("rho", rho)
    _check_scores("rho_null", rho_null)
    valid = jnp.ones(rho_null.shape, bool) if valid is None else valid
    chex.assert_equal_shape([rho_null, valid])
    ordered = jnp.sort(jnp.where(valid, rho_null, -jnp.inf))  # [N], padding first
    below = jnp.searchsorted(ordered, rho, side="left")  # [M]
    above = (rho_null.shape[0] - below).astype(jnp.float32)
    p = (1.0 + above) / (1.0 + valid.sum(dtype=jnp.float32))
    bad = jnp.isnan(rho) | jnp.any(valid & jnp.isnan(rho_null))
    return jnp.where(bad, jnp.nan, p)


def benjamini_hochberg(p_value: Array, rate: float) -> Array:
    """Which of N tests are findings when at most a share `rate` of the findings may be false, on average.

    With p_(k) the k-th smallest: all up to the largest k with p_(k) <= k rate / N.

    Args:
        p_value: [N] float in (0, 1]; NaN is never a finding and not counted among the N.
        rate: False discovery rate, in (0, 1).

    Returns:
        [N] bool.

    Raises:
        ConfigError: if the rate is not a share.
        PatchError: if `p_value` is not a vector of at least one.

    What it guarantees: the expected share of false findings is at most `rate`, if the p-values are valid (the null
    scores are those of unchanged pairs) and independent or positively dependent, as overlapping windows are. It finds
    nothing where N is so small that 1 / (1 + N), the least p-value, exceeds k rate / N for all k.
    Source: Benjamini & Hochberg 1995, J. Royal Statistical Society B 57, 289.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"the false discovery rate is {rate!r}; give a share in (0, 1), such as 0.1.")
    p_value = jnp.asarray(p_value)
    _check_scores("p_value", p_value)
    known = ~jnp.isnan(p_value)
    count = known.sum(dtype=jnp.float32)
    ordered = jnp.sort(jnp.where(known, p_value, jnp.inf))
    rank = jnp.arange(1, p_value.size + 1, dtype=jnp.float32)
    passes = ordered <= rank * rate / jnp.maximum(count, 1.0)
    bound = jnp.where(passes, ordered, -jnp.inf).max()
    return known & (p_value <= bound)


def counted_nulls(
    rho: Array, rho_null: Array, decision: Decision, *, valid: Array | None = None, alike: int = 1
) -> Array:
    """Which null scores count: those at levels where the null score of a pair is often enough the larger of its two.

    A null made of a pair's own differences is too high where the pair did change. But the two scores of an unchanged
    pair are drawn from one law, so that either is the larger one in half of the pairs, at any level; and a change makes
    rho larger than even its own, too high, null score in most pairs. So pairs are put in order by the larger of their
    scores. From some level on up, the share with the larger null score is below `decision.least_null_wins` (the falling
    isotonic regression of it is): those pairs are taken for changed. Where nothing changed, all null scores count, but
    for one set in some ten thousand. To leave out the pairs of the highest rho would make tau too low instead: the null
    scores of unchanged pairs with a high rho are high too.

    Args:
        rho, rho_null: [N] float, scores of N pairs and of their pseudo-unchanged ones.
        decision: Its `least_null_wins`, `prior_pairs` and `least_left` are used; the first None: all valid ones count.
        valid: [N] bool, False marks padding. None: all are valid.
        alike: Pairs that repeat each other, as overlapping windows do; so many count as one for `prior_pairs`.

    Returns:
        [N] bool; all that are valid, if fewer than a share `decision.least_left` of them would be left.

    Raises:
        PatchError: if the scores are not two vectors of one length.

    Source: that a score competes with its own null, Elias & Gygi 2007, Nature Methods 4, 207, and Barber & Candes 2015,
    Annals of Statistics 43, 2055; that isotonic regression is below a level where the sum of what is missing to it is
    largest, Barlow et al. 1972, Statistical Inference under Order Restrictions, section 1.2.
    """
    rho, rho_null = jnp.asarray(rho), jnp.asarray(rho_null)
    valid = jnp.ones(rho_null.shape, bool) if valid is None else valid
    chex.assert_equal_shape([rho, rho_null, valid], exception_type=PatchError)
    least = decision.least_null_wins
    if least is None:
        return valid
    level = jnp.where(valid & ~jnp.isnan(rho) & ~jnp.isnan(rho_null), jnp.maximum(rho, rho_null), -jnp.inf)
    order = jnp.argsort(-level)  # [N], the highest first; padding last, and it lacks nothing
    lacking = jnp.where(level > -jnp.inf, least - (rho_null >= rho).astype(jnp.float32), 0.0)[order]
    lacked = jnp.cumsum(lacking)
    most = lacked.max()
    among_changed = jnp.arange(rho.shape[0]) <= jnp.argmax(lacked)
    believed = most > alike * decision.prior_pairs * (0.5 - least)
    left = valid & ~(jnp.zeros_like(valid).at[order].set(among_changed) & believed)
    enough = left.sum(dtype=jnp.float32) >= decision.least_left * valid.sum(dtype=jnp.float32)
    return jnp.where(enough, left, valid)  # where nearly all have changed, nothing says what unchanged looks like
