"""The whole method as one pure function: pairs in, scores, threshold and decisions out."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import PatchError
from planetcd_jax.networks.extraction import check_pair
from planetcd_jax.scores.augment import patch_key, pseudo_unchanged_pair
from planetcd_jax.scores.pooled import change_score, compare, describe
from planetcd_jax.scores.registered.robust import robust_pair_scores
from planetcd_jax.thresholds import counted_nulls, p_values, threshold
from planetcd_jax.types import ApplyFn, Array, Detection, Params, PerturbFn

ScoreFn = Callable[[Params, Array, Array, ChangeConfig], Array]
"""`score(params, before, after, config)`: another change score of one pair, such as RCVA's."""


def pair_scores(
    key: Array,
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    context: Array | None = None,
    perturb: PerturbFn | None = None,
    apply: ApplyFn | None = None,
    score: ScoreFn | None = None,
) -> tuple[Array, Array]:
    """rho of one pair and rho' of its pseudo-unchanged pair; `before` goes through the network once.

    Args:
        key: Key of this pair (see `augment.patch_key`).
        params: As `load_vgg16` returns them, or whatever `apply` or `score` takes.
        before, after: [H, W] or [H, W, C] float in [0, 1], of one shape.
        config: How.
        context: None, or `before` with `max_shift` true pixels on each side.
        perturb: None for `augment.pseudo_unchanged_pair`, or a function of your own, `perturb(key, before)`.
        apply: None for the network of `config`, or one of your own (see `change_score`).
        score: None for `change_score`, or another score of one pair.

    Returns:
        rho and rho', two float32 scalars.

    Raises:
        PatchError, ConfigError, WeightsError: as `change_score`.
    """
    check_pair(before, after, config)
    if config.comparison == "registered" and score is None and perturb is None:
        return robust_pair_scores(key, params, before, after, config, apply=apply)
    if config.comparison == "registered" and score is None:
        score = partial(change_score, apply=apply)
    if perturb is not None:
        x, noisy = before, perturb(key, before)
    else:
        x, noisy = pseudo_unchanged_pair(key, before, config, context)
    if x.shape != noisy.shape:
        raise PatchError(
            f"the pseudo-unchanged patch has shape {noisy.shape}, and the patch {x.shape}; keep the shape."
        )
    if score is not None:
        return score(params, before, after, config), score(params, x, noisy, config)
    f = partial(describe, params, config=config, apply=apply)
    f_before = f(before)
    f_x = f_before if x is before else f(x)  # they differ when shift_fill="crop"
    return compare(f_before, f(after), config), compare(f_x, f(noisy), config)


def batch_scores(
    key: Array,
    params: Params,
    before: Array,
    after: Array,
    index: Array,
    config: ChangeConfig,
    *,
    context: Array | None = None,
    perturb: PerturbFn | None = None,
    apply: ApplyFn | None = None,
    score: ScoreFn | None = None,
    micro_batch: int | None = None,
) -> tuple[Array, Array]:
    """rho and rho' of each pair of a batch, [N] float32 each: `pair_scores`, mapped.

    Args:
        key: Key of the run; pair n draws from `fold_in(key, index[n])`.
        params, config, perturb, apply, score: As in `pair_scores`.
        before, after: [N, H, W] or [N, H, W, C] float in [0, 1].
        index: [N] integers, each pair's own number in its data set.
        context: None, or [N, H + 2m, W + 2m(, C)].
        micro_batch: Pairs that go through the network together; the micro-batches follow each other in one compiled
            loop. None: all at once. Changes speed and memory, not results.
    """
    if before.ndim not in (3, 4) or not before.shape[0] == after.shape[0] == index.shape[0]:
        raise PatchError(
            f"before has shape {before.shape}, after {after.shape} and index {index.shape}; give two [N, H, W(, C)] "
            "batches and [N] numbers."
        )

    def one(pair):
        x, y, i, around = pair
        return pair_scores(
            patch_key(key, i), params, x, y, config, context=around, perturb=perturb, apply=apply, score=score
        )

    batch = (before, after, index, context)
    if micro_batch is None or micro_batch >= before.shape[0]:
        return jax.vmap(one)(batch)
    return jax.lax.map(one, batch, batch_size=micro_batch)


def detect(
    key: Array,
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    context: Array | None = None,
    valid: Array | None = None,
    perturb: PerturbFn | None = None,
    apply: ApplyFn | None = None,
    score: ScoreFn | None = None,
    micro_batch: int | None = None,
) -> Detection:
    """Scores, threshold, decisions and p-values of N pairs.

    Pure: `jax.jit(detect, static_argnames=("config", "perturb", "apply", "score", "micro_batch"))` compiles once for
    each shape.

    Args:
        key: Key of the run. Pair n draws from `fold_in(key, n)`, so padding and batch size change nothing.
        params: As `load_vgg16` returns them, or whatever `apply` or `score` takes.
        before, after: [N, H, W] or [N, H, W, C] float in [0, 1].
        config: How; `PAPER` or `AUTHORS_CODE`, or any other.
        context: None, or `before` with `max_shift` true pixels on each side, [N, H + 2m, W + 2m(, C)].
        valid: [N] bool; False marks padding, whose results are NaN, False and NaN. None: all are valid.
        perturb: None, or a pseudo-unchanged function of your own: `perturb(key, patch) -> patch`.
        apply: None, or a network of your own: `apply(params, [N, H, W, 3]) -> dict of named activations`.
        score: None, or a change score of your own: `score(params, before, after, config) -> scalar`.
        micro_batch: Pairs that go through the network together; None: all.

    Returns:
        `Detection` with rho, rho_null, tau, changed and p_value.

    Raises:
        PatchError, ConfigError, WeightsError: as `change_score`.

    Source: Saha & Zhu, section III.
    """
    index = jnp.arange(before.shape[0], dtype=jnp.uint32)
    options = dict(context=context, perturb=perturb, apply=apply, score=score, micro_batch=micro_batch)
    rho, rho_null = batch_scores(key, params, before, after, index, config, **options)
    if valid is not None:
        rho = jnp.where(valid, rho, jnp.nan)
        rho_null = jnp.where(valid, rho_null, jnp.nan)
    return decide(rho, rho_null, config, valid=valid)


def decide(rho: Array, rho_null: Array, config: ChangeConfig, *, valid: Array | None = None) -> Detection:
    """Threshold, decisions and p-values from scores that are there already.

    Args:
        rho, rho_null: [N] float32.
        config: Its `quantile` and `null_fdr` are used.
        valid: [N] bool, False marks padding. None: all are valid.

    Returns:
        `Detection`; `changed` is False where rho is NaN.

    Raises:
        PatchError: if the scores are not vectors of at least one.
    """
    counted = counted_nulls(rho, rho_null, config, valid=valid)
    tau = threshold(rho_null, config, valid=counted)
    return Detection(rho, rho_null, tau, rho > tau, p_values(rho, rho_null, valid=counted))
