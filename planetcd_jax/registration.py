"""Lays the second date on the first: a whole shift of the patch, then a smooth field of small ones.

Both steps look at local contrast, so gain, offset and slow changes of light do not steer them.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.types import Array

CONTRAST_SCALE_PX = 8.0
"""Local contrast is what a Gaussian of this standard deviation leaves, divided by its local spread."""

CONTRAST_FLOOR = 0.3
"""Least spread that local contrast is divided by, as a share of the patch's own: keeps noise of flat ground small."""

FLOW_REACH_PX = 4
"""Largest local shift beside the whole one, pixels."""

FLOW_SCALE_PX = 6.0
"""Standard deviation of the window that a local shift is sought in, and of the smoothing of the field."""


class Registration(NamedTuple):
    """The second date on the grid of the first.

    Attributes:
        after: As `before`, resampled linearly.
        valid: [H, W] bool, where the second date has ground to show.
        shift: [2] int32, whole shift in rows and columns: before[r, c] lies at after[r + shift[0], c + shift[1]].
        flow: [2, H, W] float32, the rest of the shift, pixels.
    """

    after: Array
    valid: Array
    shift: Array
    flow: Array


def blur(x: Array, sigma: float) -> Array:
    """Gaussian blur over the last two axes, mirrored at the border; [..., H, W] to the same."""
    reach = min(int(np.ceil(2.5 * sigma)), x.shape[-1] - 1, x.shape[-2] - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = jnp.asarray(kernel / kernel.sum(), jnp.float32)
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = jnp.pad(flat, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="reflect")
    high = jax.lax.Precision.HIGHEST
    flat = jax.lax.conv_general_dilated(flat, kernel[None, None, :, None], (1, 1), "VALID", precision=high)
    flat = jax.lax.conv_general_dilated(flat, kernel[None, None, None, :], (1, 1), "VALID", precision=high)
    return flat.reshape(x.shape)


def local_contrast(x: Array) -> Array:
    """What is left of a patch [H, W] without its slow changes, divided by its local spread."""
    x = (x - x.mean()) / (x.std() + 1e-4)
    detail = x - blur(x, CONTRAST_SCALE_PX)
    power = jnp.square(detail)
    return detail / jnp.sqrt(blur(power, CONTRAST_SCALE_PX) + CONTRAST_FLOOR**2 * power.mean() + 1e-12)


def whole_shift(a: Array, b: Array, reach: int) -> Array:
    """Shift of the largest normalised correlation of the common area, [2] int32, each within -reach ... reach.

    Args:
        a, b: [H, W] float32, mean about 0.
        reach: Pixels, below H and W.
    """
    height, width = a.shape
    size = (2 * height, 2 * width)

    def correlate(u, v):
        return jnp.fft.irfft2(jnp.conj(jnp.fft.rfft2(u, s=size)) * jnp.fft.rfft2(v, s=size), s=size)

    one, least = jnp.ones_like(a), 1e-3
    power_a, power_b = (jnp.square(x).sum() * least + 1e-12 for x in (a, b))
    own_a = jnp.maximum(correlate(jnp.square(a), one), power_a)
    own_b = jnp.maximum(correlate(one, jnp.square(b)), power_b)
    steps = jnp.arange(-reach, reach + 1)
    common = ((height - jnp.abs(steps))[:, None] * (width - jnp.abs(steps))[None]).astype(jnp.float32)
    score = (correlate(a, b) / jnp.sqrt(own_a * own_b))[steps[:, None] % size[0], steps[None] % size[1]]
    # A small common area correlates well by chance: the root of its size makes up for that.
    best = jnp.argmax(score * jnp.sqrt(common / (height * width)))
    return jnp.stack([steps[best // (2 * reach + 1)], steps[best % (2 * reach + 1)]]).astype(jnp.int32)


def _vertex(low: Array, middle: Array, high: Array) -> Array:
    """Place of the least value of the parabola through three values at -1, 0, 1; within half a step."""
    bend = low + high - 2 * middle
    safe = jnp.where(bend > 1e-6, bend, 1.0)
    return jnp.clip(jnp.where(bend > 1e-6, (low - high) / (2 * safe), 0.0), -0.5, 0.5)


def local_shifts(a: Array, b: Array, reach: int = FLOW_REACH_PX) -> Array:
    """Smooth field of shifts that lays b on a: least windowed squared difference, to a fraction of a pixel.

    Returns:
        [2, H, W] float32, rows and columns, pixels.
    """
    height, width = a.shape
    side = 2 * reach + 1
    padded = jnp.pad(b, reach, mode="edge")
    views = [padded[i : i + height, j : j + width] for i in range(side) for j in range(side)]
    error = blur(jnp.square(a - jnp.stack(views)), FLOW_SCALE_PX).reshape(side, side, -1)  # [side, side, H * W]
    best = jnp.argmin(error.reshape(side * side, -1), axis=0)
    row, column = (jnp.clip(k, 1, side - 2) for k in (best // side, best % side))
    pixel = jnp.arange(height * width)
    middle = error[row, column, pixel]
    by_row = _vertex(error[row - 1, column, pixel], middle, error[row + 1, column, pixel])
    by_column = _vertex(error[row, column - 1, pixel], middle, error[row, column + 1, pixel])
    whole = jnp.stack([row - reach, column - reach]).astype(jnp.float32)
    field = (whole + jnp.stack([by_row, by_column])).reshape(2, height, width)
    return blur(field, FLOW_SCALE_PX)


def register(before: Array, after: Array, reach: int) -> Registration:
    """The second date on the grid of the first.

    Args:
        before, after: [H, W] or [H, W, C] float32.
        reach: Largest whole shift, pixels.

    Returns:
        `Registration`. Gradients flow through the brightness, not through the shifts.
    """
    chex.assert_equal_shape([before, after])
    height, width = before.shape[:2]
    reach = min(reach, height - 1, width - 1)
    grey = [x if x.ndim == 2 else x.mean(axis=-1) for x in (before, after)]
    a, b = (local_contrast(jax.lax.stop_gradient(x)) for x in grey)
    shift = whole_shift(a, b, reach)
    rows, columns = jnp.arange(height) + shift[0], jnp.arange(width) + shift[1]
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    moved = b[jnp.clip(rows, 0, height - 1)][:, jnp.clip(columns, 0, width - 1)]
    flow = local_shifts(a, jnp.where(inside, moved, a))
    place = jnp.stack(jnp.meshgrid(rows.astype(jnp.float32), columns.astype(jnp.float32), indexing="ij")) + flow
    last = jnp.asarray([height - 1, width - 1], jnp.float32)[:, None, None]
    valid = ((place >= 0) & (place <= last)).all(axis=0)
    planes = after[..., None] if after.ndim == 2 else after
    seen = jnp.stack([_sample(planes[..., c], place) for c in range(planes.shape[-1])], axis=-1)
    return Registration(seen.reshape(after.shape), valid, shift, flow)


def _sample(x: Array, place: Array) -> Array:
    return jax.scipy.ndimage.map_coordinates(x, [place[0], place[1]], order=1, mode="nearest")
