"""How much of a known change a difference holds. Pure, for one place. Axes: H rows, W columns."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from planetcd_jax.ops import masked
from planetcd_jax.ops.filters import fast_length
from planetcd_jax.types import Array


class Projection(NamedTuple):
    """A difference projected on a change. Scalars, float32.

    Attributes:
        share: sum(difference * change) / sum(change^2) over the place: 1 where the difference is the change, 0 where
            there is none of it; NaN where nothing is known.
        error: Robust standard deviation of the same at other places of the ground, which is what noise and light make
            of it; infinite where there is no such place.
        known: Share of the squared change that lies where the difference is known, in [0, 1].
    """

    share: Array
    error: Array
    known: Array


def _correlated(small: Array, large: Array) -> Array:
    """Sum of small * large moved by every shift, with nothing beyond the borders; [H, W] each to [2 H, 2 W] or more."""
    size = [fast_length(2 * n) for n in small.shape]
    one, two = (jnp.fft.rfft2(x, s=size) for x in (small, large))
    return jnp.fft.irfft2(jnp.conj(one) * two, s=size)


def project(
    difference: Array, change: Array, place: Array, known: Array, ground: Array, *, least_seen: float
) -> Projection:
    """How much of a change a difference holds at its place, and how much of it chance shows elsewhere.

    Args:
        difference: [H, W] float32, of another date from the first.
        change: [H, W] float32, of the date that changed from the first, in the same unit.
        place: [H, W] bool, ground that changed.
        known: [H, W] bool, where both differences are known.
        ground: [H, W] bool, ground that did not change; the projection there tells the error.
        least_seen: Share of the squared change that ground elsewhere must show for its projection to count as one of
            chance.

    Returns:
        `Projection`.
    """
    chex.assert_rank([difference, change, place, known, ground], 2)
    chex.assert_equal_shape([difference, change, place, known, ground])
    pattern = jnp.where(place, change, 0)
    power = jnp.square(pattern)
    whole, here = power.sum(), jnp.where(known, power, 0).sum()
    share = jnp.where(known, pattern * difference, 0).sum() / jnp.where(here > 0, here, 1)
    elsewhere = ground & known
    weight = elsewhere.astype(jnp.float32)
    seen = _correlated(power, weight) / jnp.where(whole > 0, whole, 1)
    found = _correlated(pattern, difference * weight) / (jnp.where(whole > 0, whole, 1) * jnp.maximum(seen, least_seen))
    counted = (seen >= least_seen) & (whole > 0)
    away = masked.median(jnp.abs(found), counted)
    error = jnp.where(counted.any(), 1.4826 * away, jnp.inf)
    covered = here / jnp.where(whole > 0, whole, 1)
    return Projection(jnp.where(here > 0, share, jnp.nan), error, covered)
