"""Connected ground of a map: what seeds reach, holes, borders moved outwards. Pure; axes: H rows, W columns."""

import jax
import jax.numpy as jnp

from planetcd_jax.types import Array


def _highest_in_line(x: Array, axis: int) -> Array:
    """Largest value of each pixel and its two neighbours along an axis: slices, which XLA fuses on CPUs."""
    padded = jnp.pad(x, [(1, 1) if k == axis else (0, 0) for k in range(x.ndim)], constant_values=-jnp.inf)
    count = x.shape[axis]
    before, here, after = (jax.lax.slice_in_dim(padded, k, k + count, axis=axis) for k in range(3))
    return jnp.maximum(jnp.maximum(before, here), after)


def _highest_around(x: Array) -> Array:
    """Largest value of each pixel and its eight neighbours, [H, W] float32 to the same."""
    return _highest_in_line(_highest_in_line(x, 0), 1)


def highest_reached(values: Array, seed: Array, domain: Array) -> Array:
    """The largest value of the seeds that each pixel is connected with through a domain; -inf where with none.

    Args:
        values: [H, W] float32.
        seed, domain: [H, W] bool; seeds outside the domain do not count. Diagonal neighbours are connected.

    Returns:
        [H, W] float32. Source: geodesic reconstruction (Vincent 1993, IEEE Trans. Image Process. 2, 176).
    """

    def grow(state: tuple[Array, Array]) -> tuple[Array, Array]:
        wider = jnp.where(domain, _highest_around(state[0]), -jnp.inf)
        return wider, (wider > state[0]).any()

    start = jnp.where(seed & domain, values, -jnp.inf)
    return jax.lax.while_loop(lambda state: state[1], grow, (start, (seed & domain).any()))[0]


def reached(seed: Array, domain: Array) -> Array:
    """Pixels of a domain that are connected with a seed, [H, W] bool each."""
    return highest_reached(jnp.ones(seed.shape, jnp.float32), seed, domain) > 0


def without_holes(mask: Array) -> Array:
    """A mask with the ground that it encloses, [H, W] bool to the same."""
    edge = jnp.ones(mask.shape, bool).at[1:-1, 1:-1].set(False)
    return ~reached(edge & ~mask, ~mask)


def depth(mask: Array, most: int) -> Array:
    """Steps from outside to each pixel of a mask, up to `most`; 0 outside. [H, W] bool to float32.

    Steps are taken in turn to four and to eight neighbours, so that circles stay nearly round.
    """

    def deeper(step: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        inside, found = state
        return ~_wider(~inside, step), found + inside.astype(jnp.float32)

    return jax.lax.fori_loop(0, most, deeper, (mask, jnp.zeros(mask.shape, jnp.float32)))[1]


def _wider(mask: Array, step: Array) -> Array:
    """A mask and its four neighbours, or all eight in every other step, the second one first."""
    x = mask.astype(jnp.float32)
    by_row, by_column = _highest_in_line(x, 0), _highest_in_line(x, 1)
    return jnp.where(step % 2 == 1, _highest_in_line(by_row, 1), jnp.maximum(by_row, by_column)) > 0


def widened(mask: Array, share: float, most: int) -> Array:
    """A mask whose parts are moved outwards by a share of their own half-thickness.

    Args:
        mask: [H, W] bool.
        share: Of the depth of the deepest pixel of a part.
        most: Largest depth that is measured, pixels.
    """
    deep = depth(mask, most)
    thick = jnp.where(mask, highest_reached(deep, mask, mask), 0)

    def grown(step: Array, made: Array) -> Array:
        ring = jnp.round(share * thick) >= step
        return made | jax.lax.fori_loop(0, step, lambda k, x: _wider(x, k), ring)

    return jax.lax.fori_loop(1, round(share * most) + 1, grown, mask)
