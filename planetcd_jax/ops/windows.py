"""Descriptors of overlapping windows of one feature map, each cell read once.

Windows every `stride` cells share blocks of `stride` cells. What a window needs (count, mean, sum of squared
deviations, maximum) is found for each block, and windows are put together from their blocks, first along rows and then
along columns. Axes: h, w cells of the map, R rows and S columns of windows; anything may stand before them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.types import Array


class Moments(NamedTuple):
    """What is known of a set of cells: [..., 1] number and [..., D] each of mean, squared deviations and maximum.

    A field is None where it is not asked for.
    """

    number: Array
    mean: Array | None
    deviations: Array | None
    top: Array | None


def _join(sets: list[Moments]) -> Moments:
    """Of the union of disjoint sets.

    Source: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    number = functools.reduce(jnp.add, [s.number for s in sets])
    mean = deviations = top = None
    means = [s.mean for s in sets if s.mean is not None]
    if means:
        sums = [m * s.number for m, s in zip(means, sets, strict=True)]
        mean = functools.reduce(jnp.add, sums) / jnp.maximum(number, 1.0)
        spreads = [s.deviations for s in sets if s.deviations is not None]
        if spreads:
            known = zip(spreads, means, sets, strict=True)
            deviations = functools.reduce(jnp.add, [d + s.number * jnp.square(m - mean) for d, m, s in known])
    tops = [s.top for s in sets if s.top is not None]
    if tops:
        top = functools.reduce(jnp.maximum, tops)
    # Computed once and kept: fused into what follows, every block would be computed again for each of its windows.
    return jax.lax.optimization_barrier(Moments(number, mean, deviations, top))


def _each(cells: Moments, change: Callable[..., Array], *values: Any) -> Moments:
    """`change` of every field that is there."""
    number, *others = (None if x is None else change(x, *v) for x, *v in zip(cells, *values, strict=True))
    assert number is not None  # it is always there
    return Moments(number, *others)


def _slide(cells: Moments, side: int, stride: int, many: int, axis: int) -> Moments:
    """Of `many` windows of `side` cells every `stride` cells along `axis`."""
    whole, rest = divmod(side, stride)
    blocks = many + whole

    def in_blocks(x: Array, empty: float) -> Array:
        edges = [(0, 0, 0)] * x.ndim
        edges[axis] = (0, blocks * stride - x.shape[axis], 0)  # cut beyond the last window, or filled up
        padded = jax.lax.pad(x, jnp.asarray(empty, x.dtype), edges)
        return padded.reshape(*x.shape[:axis], blocks, stride, *x.shape[axis + 1 :])

    cut = _each(cells, in_blocks, (0.0, 0.0, 0.0, -jnp.inf))  # [..., blocks, stride, ...]
    members = [_each(cut, lambda x, k=k: jax.lax.index_in_dim(x, k, axis + 1, keepdims=False)) for k in range(stride)]
    parts: list[tuple[Moments, Sequence[int]]] = [(_join(members), range(whole))] if whole else []
    if rest:
        parts.append((_join(members[:rest]), (whole,)))
    return _join([
        _each(part, lambda x, first=first: jax.lax.slice_in_dim(x, first, first + many, axis=axis))
        for part, firsts in parts
        for first in firsts
    ])  # fmt: skip


def summaries(
    maps: Array, usable: Array, side: int, stride: int, shape: tuple[int, int], *, largest: bool, standardize: bool
) -> tuple[Array, Array]:
    """Descriptors of all windows: standardise if asked for, pool over the usable cells of each.

    Args:
        maps: [..., h, w, D] float32, feature maps; finite.
        usable: [h, w] bool.
        side, stride: Side of a window and step to the next, cells.
        shape: R, S; all windows lie inside the map.
        largest: Take the largest value of each feature, else the mean.
        standardize: Bring each feature of a window to zero mean and unit standard deviation first.

    Returns:
        [..., R, S, D] float32, 0 where a window has no usable cell; and [R, S], the share of its cells that are usable.
    """
    chex.assert_rank(usable, 2)
    chex.assert_equal(maps.shape[-3:-1], usable.shape)
    inside = usable[..., None]  # [h, w, 1]
    mean = standardize or not largest
    cells = Moments(
        jnp.broadcast_to(inside.astype(jnp.float32), (*maps.shape[:-1], 1)),
        jnp.where(inside, maps, 0.0) if mean else None,
        jnp.zeros_like(maps) if standardize else None,
        jnp.where(inside, maps, -jnp.inf) if largest else None,
    )
    found = _slide(cells, side, stride, shape[0], maps.ndim - 3)  # [..., R, w, D]
    found = _slide(found, side, stride, shape[1], maps.ndim - 2)  # [..., R, S, D]
    some = found.number > 0
    pooled = found.mean if found.top is None else jnp.where(some, found.top, 0.0)
    assert pooled is not None  # either the largest or the mean was asked for
    if found.deviations is not None and found.mean is not None:
        variance = found.deviations / jnp.maximum(found.number, 1.0)
        pooled = (pooled - found.mean) * jax.lax.rsqrt(variance + constants.STANDARDIZE_EPSILON)
    share = found.number.reshape(-1, *shape)[0] / side**2
    return pooled, share
