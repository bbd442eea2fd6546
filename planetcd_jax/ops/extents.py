"""Images of unlike sizes in arrays of one size, so that one compiled program serves them all.

An image lies in the upper left corner of a larger array. Inside `extent` the operations that look across the border of
an image (blurs, resampling, convolutions, statistics) take the image's own border for that of the array. What stands
beyond it is finite and means nothing. Where no extent is set, or an array has another shape, nothing changes.

The extent is known while JAX traces a function, like the scope of a Flax module; it is set by the traced function
itself, which gets the size as an argument, so functions stay pure. Axes: H rows, W columns.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.types import Array

LEAST_SIDE = 32
"""Side of the smallest image that may lie in a larger array: the widest blur mirrors each border once."""

SIDE_STEP = 16
"""Sides of the arrays are multiples of this, so that cells of 2, 4, 8 and 16 px end where the array ends."""


class _Extent(NamedTuple):
    shape: tuple[int, ...]
    size: Array


_extent: contextvars.ContextVar[_Extent | None] = contextvars.ContextVar("extent", default=None)


@contextlib.contextmanager
def extent(shape: tuple[int, ...], size: Array | None) -> Iterator[None]:
    """Sets the size of the images that lie in arrays of a shape, for what is traced in the block.

    Args:
        shape: H, W of the arrays.
        size: [2] int32, rows and columns of the image; None: images fill their arrays.
    """
    token = _extent.set(None if size is None else _Extent(tuple(shape), size))
    try:
        yield
    finally:
        _extent.reset(token)


@contextlib.contextmanager
def of_blocks(step: int) -> Iterator[None]:
    """For what is traced in the block, images and arrays are those of the means of `step` x `step` pixels: only whole
    blocks count."""
    known = _extent.get()
    shape, size = ((), None) if known is None else (known.shape, jax.lax.div(known.size, np.int32(step)))
    with extent(tuple(n // step for n in shape), size):
        yield


def lengths(shape: tuple[int, ...], step: int = 1, *, up: bool = False) -> tuple[Any, Any]:
    """Rows and columns of the image in an array: its shape, or two int32 scalars where an extent is set.

    Args:
        shape: Of the array, in cells.
        step: Pixels in a cell.
        up: Count cells that are only partly inside too.
    """
    known = _extent.get()
    if known is None or tuple(n * step for n in shape) != known.shape:
        return shape[0], shape[1]
    cells = jax.lax.div(known.size + np.int32(step - 1 if up else 0), np.int32(step)) if step > 1 else known.size
    return jax.lax.index_in_dim(cells, 0, keepdims=False), jax.lax.index_in_dim(cells, 1, keepdims=False)


def is_set(shape: tuple[int, ...], step: int = 1) -> bool:
    """Whether images are smaller than arrays of this shape, in cells of `step` pixels."""
    known = _extent.get()
    return known is not None and tuple(n * step for n in shape) == known.shape


def inside(shape: tuple[int, ...], step: int = 1, *, rim: int = 0) -> Array:
    """Cells of an array that lie in the image, [h, w] bool; without the outermost `rim` on all four sides."""
    rows, columns = lengths(shape, step)
    by_row, by_column = (np.arange(n) for n in shape)
    row_in = (by_row >= rim) & (by_row < rows - rim)
    return row_in[:, None] & ((by_column >= rim) & (by_column < columns - rim))[None]


def everywhere(shape: tuple[int, ...]) -> Array:
    """The pixels of the image, [H, W] bool: a mask that XLA does not take for a constant, or it would blur it while it
    compiles, which takes minutes for a large one."""
    return jax.lax.optimization_barrier(jnp.asarray(inside(shape)))


def blank(x: Array, step: int = 1) -> Array:
    """[..., h, w, C] with zeros beyond the image; `x` itself where images fill their arrays."""
    shape = x.shape[-3:-1]
    return jnp.where(inside(shape, step)[..., None], x, 0) if is_set(shape, step) else x


def mirrored_index(place: Array, length: Any) -> Array:
    """Rows or columns beyond the ends of an image as those that they mirror, int32. `length` is above 1."""
    period = 2 * (length - 1)
    return jnp.abs((place + length - 1) % period - (length - 1))


def mirrored(x: Array) -> Array:
    """[H, W, ...] with the image mirrored at its border in the room beyond; `x` itself where it fills its array."""
    if not is_set(x.shape[:2]):
        return x
    rows, columns = (mirrored_index(jnp.arange(n), k) for n, k in zip(x.shape, lengths(x.shape[:2]), strict=False))
    return x[rows][:, columns]


def mean(x: Array, axis: tuple[int, int] = (0, 1), step: int = 1) -> Array:
    """Mean over rows and columns, kept as axes of length 1; of the image alone."""
    shape = tuple(x.shape[k] for k in axis)
    if not is_set(shape, step):
        return x.mean(axis=axis, keepdims=True)
    mask = inside(shape, step).reshape([n if k in axis else 1 for k, n in enumerate(x.shape)])
    rows, columns = lengths(shape, step)
    return jnp.where(mask, x, 0).sum(axis=axis, keepdims=True) / (rows * columns).astype(x.dtype)


def largest(x: Array, step: int = 1) -> Array:
    """Largest of each channel, [G, h, w, D] to [G, D]; of the image alone."""
    shape = x.shape[1:3]
    kept = jnp.where(inside(shape, step)[..., None], x, -jnp.inf) if is_set(shape, step) else x
    return kept.max(axis=(1, 2))


def normal(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Standard normal numbers for an image [H, W] or [H, W, C]: those that it gets without the room around it."""
    if not is_set(shape[:2]):
        return jax.random.normal(key, shape, dtype)
    _, columns = lengths(shape[:2])
    size = math.prod(shape)
    drawn = jax.random.normal(key, (size,), dtype)  # number k of a draw does not depend on how many there are
    first = jnp.arange(shape[0])[:, None] * columns + jnp.arange(shape[1])[None]
    bands = math.prod(shape[2:])
    places = (first[..., None] * bands + jnp.arange(bands)).reshape(shape)
    return drawn[jnp.minimum(places, size - 1)]
