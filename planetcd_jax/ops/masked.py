"""Statistics over the pixels of a map that count, and the masks themselves. Pure, for one map.

Axes: H rows, W columns.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.types import Array

_HALVINGS = 24
"""Steps of the search for a quantile: its error is the range of the values times 2^-24, as float32 has."""

_PARTS, _LANES = 8, 32
"""How values are laid out to be counted: on CPUs XLA's sum over rows takes a fifth of the time where eight of them are
added to each other first."""


def in_parts(values: Array, fill: float) -> Array:
    """[K, ...] as [8, K / 8, ...], filled up, for `count`."""
    whole = jnp.pad(values, [(0, -len(values) % _PARTS)] + [(0, 0)] * (values.ndim - 1), constant_values=fill)
    return whole.reshape(_PARTS, -1, *values.shape[1:])


def count(parts: Array) -> Array:
    """How many are True in each column, [8, K, ...] bool from `in_parts` to [...] int32."""
    return functools.reduce(jnp.add, [part.astype(jnp.int32) for part in parts]).sum(axis=0)


def mean(x: Array, weight: Array) -> Array:
    """Weighted mean; 0 where nothing has weight. [H, W] float32 each to a scalar."""
    return (x * weight).sum() / jnp.maximum(weight.sum(), 1.0)


def moments(x: Array, keep: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the values that count, [H, W] float32 and bool to two scalars."""
    weight = keep.astype(jnp.float32)
    middle = mean(x, weight)
    return middle, jnp.sqrt(mean(jnp.square(x - middle), weight) + 1e-8)


def thin(x: Array) -> Array:
    """Every second row and column: enough for a median or a spread, for a quarter of the work."""
    return x[::2, ::2]


def quartiles(x: Array, keep: Array) -> tuple[Array, Array, Array]:
    """Lower quartile, median and upper quartile of the values that count, as in `median`; three scalars."""
    found = _quartiles(x, keep, (1, 2, 3))
    lower, middle, upper = (jax.lax.index_in_dim(found, k, keepdims=False) for k in range(3))
    return lower, middle, upper


def median(x: Array, keep: Array) -> Array:
    """Median of the values that count; 0 where none does. [H, W] float32 and bool to a scalar.

    The k-th quartile is the value of rank k n / 4, rounded down, of n, without interpolation: halved intervals close in
    on it, which on CPUs takes a tenth of the time of sorting.
    """
    return _quartiles(x, keep, (2,))[0]


def _quartiles(x: Array, keep: Array, which: tuple[int, ...]) -> Array:
    total = keep.sum(dtype=jnp.int32)
    rank = jax.lax.div(np.array(which, np.int32) * total, np.int32(4)).astype(jnp.float32)
    values, ones = jnp.where(keep, x, jnp.inf).ravel(), jnp.ones(x.size, jnp.float32)
    lanes = jnp.pad(values, (0, -x.size % _LANES), constant_values=jnp.inf).reshape(-1, _LANES)
    parts = in_parts(lanes, jnp.inf)
    low = jnp.broadcast_to(values.min(), rank.shape)
    high = jnp.broadcast_to(jnp.where(keep, x, -jnp.inf).max(), rank.shape)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        if len(which) == 1:  # in float32, which is exact up to 16 million: a product takes half as long on CPUs
            below = jnp.matmul((values <= middle[:, None]).astype(jnp.float32), ones)
        else:
            below = jax.vmap(lambda level: count(parts <= level).sum().astype(jnp.float32))(middle)
        above = below > rank
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    # A loop and not a row of steps, into each of which XLA would pull the making of the values.
    _, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    return jnp.where(total > 0, high, 0.0)


def spread(x: Array, keep: Array) -> tuple[Array, Array]:
    """Median, and median absolute deviation times 1.4826, of every second row and column."""
    x, keep = thin(x), thin(keep)
    middle = median(x, keep)
    return middle, 1.4826 * median(jnp.abs(x - middle), keep)


def top_mean(x: Array, keep: Array, share: float) -> Array:
    """Mean of the largest `share` of the values that count, at least one of them; 0 where none counts."""
    kept = jnp.maximum(jnp.round(share * keep.sum(dtype=jnp.float32)), 1.0)
    largest, _ = jax.lax.top_k(jnp.where(keep, x, -jnp.inf).ravel(), max(1, round(share * x.size)))
    first = jnp.arange(largest.size).astype(jnp.float32) < kept
    return jnp.where(first & jnp.isfinite(largest), largest, 0).sum() / kept


def erode(valid: Array, reach: int) -> Array:
    """Pixels all of whose neighbours up to `reach` away exist and are valid; [H, W] bool to the same."""
    x = jnp.pad(valid, reach).astype(jnp.float32)
    for size in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        x = jax.lax.reduce_window(x, 1.0, jax.lax.min, size, (1, 1), "VALID")
    return x > 0


def range_around(x: Array, reach: int) -> Array:
    """Largest less least value within `reach` pixels, of which those beyond the edge have no part; [H, W] float32."""
    most = least = x
    for size in ((2 * reach + 1, 1), (1, 2 * reach + 1)):  # one axis after the other: a ninth of the work at 4 px
        most = jax.lax.reduce_window(most, -jnp.inf, jax.lax.max, size, (1, 1), "SAME")
        least = jax.lax.reduce_window(least, jnp.inf, jax.lax.min, size, (1, 1), "SAME")
    return most - least


def dilate(mask: Array, reach: int) -> Array:
    """Pixels with a True one up to `reach` away; [H, W] bool to the same."""
    around = jnp.pad(~mask, reach, constant_values=True)
    return ~erode(around, reach)[reach : reach + mask.shape[0], reach : reach + mask.shape[1]]
