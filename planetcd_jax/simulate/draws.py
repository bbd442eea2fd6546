"""Random draws of the simulator. Few calls that draw much each: every call costs compile time."""

import math

import jax
import jax.numpy as jnp

from planetcd_jax.types import Array

Range = tuple[float, float]


def draw(key: Array, *bounds: Range) -> tuple[Array, ...]:
    """One independent uniform float32 scalar for each pair of bounds, from a single key."""
    u = jax.random.uniform(key, (len(bounds),), jnp.float32)
    return tuple(scaled(u[i], b) for i, b in enumerate(bounds))


def scaled(u: Array, bounds: Range) -> Array:
    """Uniform in [0, 1) to uniform between two bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * u


def log_scaled(u: Array, bounds: Range) -> Array:
    """Uniform in [0, 1) to log-uniform between two positive bounds."""
    return jnp.exp(scaled(u, (math.log(bounds[0]), math.log(bounds[1]))))


def whole(u: Array, bounds: tuple[int, int]) -> Array:
    """Uniform in [0, 1) to a whole number between two bounds, both included, as float32."""
    return jnp.floor(bounds[0] + (bounds[1] - bounds[0] + 1) * u)


def power_law(u: Array, bounds: Range, exponent: float) -> Array:
    """Uniform in [0, 1) to sizes of which N(> D) goes as D^-exponent between two bounds."""
    a, b = bounds[0] ** -exponent, bounds[1] ** -exponent
    return (a - u * (a - b)) ** (-1.0 / exponent)
