"""Least squares of a few terms. Pure."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.types import Array

_SUBSETS = np.array([kept for kept in itertools.product((0, 1), repeat=3) if any(kept)], np.float32)
"""Which of three terms are used, [7, 3]."""


def non_negative(terms: Array, y: Array, weight: Array) -> Array:
    """Weighted least squares of y by three terms, none of whose coefficients is below 0.

    The best of the solutions for each choice of terms that has no negative coefficient, which is the solution: the
    sum of squares is convex.

    Args:
        terms: [3, N] float32, >= 0.
        y: [N] float32, >= 0.
        weight: [N] float32, >= 0.

    Returns:
        [3] float32. 0 for a term that is 0 everywhere, or that others hold.

    Source: Lawson & Hanson 1974, "Solving least squares problems", chapter 23, with all of the few choices tried.
    """
    every = jnp.concatenate([terms, y[None]])
    products = jnp.matmul(terms * weight, every.T, precision=jax.lax.Precision.HIGHEST)  # [3, 4]
    size = jnp.sqrt(jnp.diagonal(products))
    unit = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1.0), 0.0)
    square, right = products[:, :3] * unit[:, None] * unit, products[:, 3] * unit
    # A term that is left out has the equation 1 * coefficient = 0.
    chosen = square * _SUBSETS[:, :, None] * _SUBSETS[:, None] + np.eye(3, dtype=np.float32) * (1 - _SUBSETS[:, None])
    sides = right * _SUBSETS
    rows = [chosen[:, k] for k in range(3)]
    across = jnp.stack([jnp.cross(rows[1], rows[2]), jnp.cross(rows[2], rows[0]), jnp.cross(rows[0], rows[1])], axis=1)
    volume = (rows[0] * across[:, 0]).sum(axis=-1)  # the determinant, by Cramer's rule
    solved = volume > 1e-6
    found = (across * sides[:, :, None]).sum(axis=1) / jnp.where(solved, volume, 1.0)[:, None]
    # How much the sum of squares falls, of what was found: rounding may have spoilt it where terms are nearly alike.
    fitted = jnp.matmul(found, square, precision=jax.lax.Precision.HIGHEST)
    gain = (found * (2 * sides - fitted)).sum(axis=1)
    best = jnp.argmax(jnp.where(solved & (found >= 0).all(axis=1), gain, -1.0))
    return jnp.maximum(found[best], 0) * unit
