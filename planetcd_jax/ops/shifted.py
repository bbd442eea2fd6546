"""A date seen at shifted places. Axes: H rows, W columns, C bands."""

from typing import NamedTuple

import jax.numpy as jnp

from planetcd_jax.ops import extents
from planetcd_jax.types import Array


class Registration(NamedTuple):
    """The second date on the grid of the first.

    Attributes:
        after: As `before`, resampled on a grid twice as fine.
        valid: [H, W] bool, where both dates have ground to show.
        shift: [2] int32, whole shift in rows and columns: before[r, c] lies at after[r + shift[0], c + shift[1]].
        flow: [2, H, W] float32, the rest of the shift, pixels.
    """

    after: Array
    valid: Array
    shift: Array
    flow: Array


def _doubled(x: Array) -> Array:
    """[H, W, C] on a grid twice as fine, [2 H - 1, 2 W - 1, C]: linear interpolation there blurs little.

    The values between are those of cubic convolution, (-1, 9, 9, -1) / 16, mirrored at the ends. Source: Keys 1981,
    IEEE ASSP 29, 1153.
    """
    return _rows_doubled(_rows_doubled(extents.mirrored(x)).swapaxes(0, 1)).swapaxes(0, 1)


def _rows_doubled(x: Array) -> Array:
    around = jnp.pad(x, [(1, 1), (0, 0), (0, 0)], mode="reflect")
    between = (9 * (around[1:-2] + around[2:-1]) - (around[:-3] + around[3:])) / 16
    pairs = jnp.stack([x[:-1], between], axis=1).reshape(-1, *x.shape[1:])
    return jnp.concatenate([pairs, x[-1:]])


def _between(x: Array, place: Array, last: Array) -> Array:
    """Values of [H, W, C] at [2, h, w] places within it, linearly between pixels, the last at `last`; [h, w, C]."""
    low = jnp.clip(jnp.floor(place), 0, jnp.maximum(last - 1, 0))
    part = jnp.clip(place - low, 0, 1)[..., None]
    row, column = low.astype(jnp.int32)
    down, right = jnp.minimum(jnp.stack([row, column]) + 1, last.astype(jnp.int32))
    above = x[row, column] * (1 - part[1]) + x[row, right] * part[1]
    below = x[down, column] * (1 - part[1]) + x[down, right] * part[1]
    return above * (1 - part[0]) + below * part[0]


def resample(after: Array, here: Array, there: Array, shift: Array, flow: Array, *, fine: bool = False) -> Registration:
    """The second date at places shifted by `shift` + `flow`; see `Registration`.

    Args:
        after: [H, W] or [H, W, C] float32.
        here, there: [H, W] bool, ground of each date.
        shift, flow: As in `Registration`.
        fine: Interpolate on a grid twice as fine, which blurs less.
    """
    height, width = after.shape[:2]
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(jnp.float32)
    place = grid + shift.astype(jnp.float32)[:, None, None] + flow
    last = (jnp.asarray(extents.lengths((height, width))) - 1).astype(jnp.float32)[:, None, None]
    inside = ((place >= 0) & (place <= last)).all(axis=0)
    planes = after.reshape(height, width, -1)
    moved = _between(_doubled(planes), 2 * place, 2 * last) if fine else _between(planes, place, last)
    known = _between(there[..., None].astype(jnp.float32), place, last)[..., 0] > 0.999
    return Registration(moved.reshape(after.shape), inside & known & here, shift, flow)
