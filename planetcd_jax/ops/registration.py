"""Registration of the second date to the first: a whole shift of the patch, then a smooth field of small ones.

Both steps look at local contrast, so gain, offset and slow changes of light do not steer them, and both leave out
pixels that are not valid.

Axes: H rows, W columns, h and w the same in cells of `Registering.cell_px`.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax import constants
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur, blur_weights, both_axes, fast_length, grey
from planetcd_jax.ops.shifted import Registration, resample
from planetcd_jax.records import MAIN, check_above_zero, check_pixels
from planetcd_jax.types import Array

_SAME = 1e-6
"""Largest difference of a pixel that is the same in both dates, of full scale."""


def _vertex(low: Array, middle: Array, high: Array) -> Array:
    """Place of the least value of the parabola through three values at -1, 0, 1; within half a step."""
    bend = low + high - 2 * middle
    safe = jnp.where(bend > 1e-6, bend, 1.0)
    return jnp.clip(jnp.where(bend > 1e-6, (low - high) / (2 * safe), 0.0), -0.5, 0.5)


def shrink(x: Array, valid: Array, by: int) -> tuple[Array, Array]:
    """Means over the valid pixels of blocks of `by` x `by`, and what share of each is valid, float32.

    Args:
        x, valid: [H, W] float32, 0 where not valid, and bool.
        by: Side of a block; the last ones may be smaller.

    Returns:
        [ceil(H / by), ceil(W / by)] twice.
    """
    weight = valid.astype(jnp.float32)
    if by == 1:
        return x * weight, weight
    rest = [(0, -n % by) for n in x.shape]
    blocks = [
        jnp.pad(y, rest).reshape(-(-x.shape[0] // by), by, -(-x.shape[1] // by), by).sum(axis=(1, 3)) / by**2
        for y in (x * weight, weight)
    ]
    return blocks[0] / jnp.maximum(blocks[1], 1e-6), blocks[1]


def _shifted(x: Array, reach: int) -> Array:
    """[H, W] seen at every shift of up to `reach`, rows first, 0 from beyond the border; [(2 reach + 1)^2, H, W]."""
    height, width = x.shape
    side = 2 * reach + 1
    x = jnp.pad(x, reach)
    # Slices at fixed places, which stay slices in a batch; in a loop, one shift at a time takes half as long again.
    by_row = jnp.stack([x[k : k + height] for k in range(side)])
    both = jnp.stack([by_row[:, :, k : k + width] for k in range(side)], axis=1)
    return both.reshape(side * side, height, width)


def linear_matrix(at: np.ndarray, count: int) -> np.ndarray:
    """Linear interpolation of `count` values at places, constant beyond the outer ones; [places, count] float32."""
    at = np.clip(at, 0, count - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(count)), 0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Registering:
    """How the second date is registered to the first; its methods do it.

    Attributes:
        max_misalignment: Largest whole shift that is looked for, pixels in each axis.
        contrast_scale_px: Local contrast is what a Gaussian of this standard deviation leaves, divided by its local
            spread.
        contrast_floor: Least spread that local contrast is divided by, as a share of the patch's own: keeps noise of
            flat ground small.
        cell_px: Local shifts are sought for cells of this side.
        passes: Local shifts beside the whole one are sought from coarse to fine: steps in each direction, and pixels
            in a step, by which the images are shrunk. The outermost step only says which way the parabola bends.
        flow_scale_px: Standard deviation of the window that a local shift is sought in, and of the smoothing of the
            field.
        exact: Squared difference of local contrast below which two dates are the same.
        same_px: Ground whose pixels are the same in both dates, so far around, is not moved: a local shift there comes
            from a change near by.
        same_range: Least range of brightness so far around, of full scale: flat ground is the same in any two dates.
        fine: Whether the second date is resampled on a grid twice as fine, which blurs less.
        block_px, block_step_px: Side and step of the blocks of a large array whose whole shifts are sought one by one.
        least_share: Share of a block that must be valid.

    Chosen on the development split of `scripts/evaluate.py`; docs/evaluation.md has the ablation.
    """

    max_misalignment: int = dataclasses.field(default=constants.LARGEST_MISALIGNMENT, metadata=MAIN)
    contrast_scale_px: float = 8.0
    contrast_floor: float = 0.3
    cell_px: int = 4
    passes: tuple[tuple[int, int], ...] = ((3, 4), (2, 2), (1, 1))
    flow_scale_px: float = 8.0
    exact: float = 1e-3
    same_px: int = 4
    same_range: float = 0.02
    fine: bool = True
    block_px: int = 128
    block_step_px: int = 64
    least_share: float = 0.25

    def __post_init__(self):
        check_pixels("max_misalignment", self.max_misalignment)
        check_pixels("same_px", self.same_px)
        check_above_zero(self, "contrast_scale_px", "contrast_floor", "cell_px", "flow_scale_px")
        check_above_zero(self, "block_px", "block_step_px")

    def local_contrast(self, x: Array, valid: Array) -> Array:
        """What is left of a patch [H, W] without its slow changes, divided by its local spread; 0 where not valid."""
        weight = valid.astype(jnp.float32)
        share = blur(weight, self.contrast_scale_px) + 1e-3
        count = jnp.maximum(weight.sum(), 1.0)
        mean = (x * weight).sum() / count
        x = (x - mean) / (jnp.sqrt((jnp.square(x - mean) * weight).sum() / count) + 1e-4) * weight
        detail = (x - blur(x, self.contrast_scale_px) / share) * weight
        power = jnp.square(detail)
        floor = self.contrast_floor**2 * power.sum() / count + 1e-12
        return detail / jnp.sqrt(blur(power, self.contrast_scale_px) / share + floor)

    def whole_shift(self, a: Array, b: Array, valid_a: Array, valid_b: Array, reach: int) -> Array:
        """Shift of the largest normalised correlation of the common area, [2] int32, each within -reach ... reach.

        Args:
            a, b: [H, W] float32, mean about 0, 0 where not valid.
            valid_a, valid_b: [H, W] bool.
            reach: Pixels, below H and W.
        """
        height, width = a.shape
        size = (fast_length(height + reach), fast_length(width + reach))

        def transform(x):
            return jnp.fft.rfft2(x.astype(jnp.float32), s=size)

        def correlate(u, v):
            return jnp.fft.irfft2(jnp.conj(u) * v, s=size)

        one_a, one_b = transform(valid_a), transform(valid_b)
        least_a, least_b = (1e-3 * jnp.square(x).sum() + 1e-12 for x in (a, b))
        own_a = jnp.maximum(correlate(transform(jnp.square(a)), one_b), least_a)
        own_b = jnp.maximum(correlate(one_a, transform(jnp.square(b))), least_b)
        common = jnp.maximum(correlate(one_a, one_b), 0) / (height * width)
        # A small common area correlates well by chance: the root of its size makes up for that.
        score = correlate(transform(a), transform(b)) * jnp.sqrt(common / (own_a * own_b))
        steps = jnp.arange(-reach, reach + 1)
        score = score[steps[:, None] % size[0], steps[None] % size[1]]
        if extents.is_set(a.shape):  # an image cannot be moved further than it is long
            rows, columns = extents.lengths(a.shape)
            score = jnp.where((jnp.abs(steps) < rows)[:, None] & (jnp.abs(steps) < columns)[None], score, -jnp.inf)
        best = jnp.argmax(score)
        both = (valid_a & valid_b).astype(jnp.float32)
        # Dates that agree as they lie are not moved: where they are flat, every shift correlates alike.
        agree = (jnp.square(a - b) * both).sum() <= self.exact * both.sum()
        best = jnp.where(agree, reach * (2 * reach + 2), best)
        return jnp.stack([steps[best // (2 * reach + 1)], steps[best % (2 * reach + 1)]]).astype(jnp.int32)

    def _cell_blur(self, cells: int, inner: Any) -> Any:
        """Blur of a line of cells, of which the first `inner` are the image's; [cells, cells] float32."""
        return blur_weights(cells, self.flow_scale_px / self.cell_px, inner)

    def _spread_matrix(self, length: int, inner: Any) -> Any:
        """Linear interpolation from cells to pixels, [length, cells] float32; `inner` cells are the image's."""
        if isinstance(inner, int):
            return linear_matrix((np.arange(length) + 0.5) / self.cell_px - 0.5, inner)
        cells = -(-length // self.cell_px)
        last = (inner - 1).astype(jnp.float32)
        at = jnp.clip((jnp.arange(length, dtype=jnp.float32) + 0.5) / self.cell_px - 0.5, 0, last)
        return jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(cells, dtype=jnp.float32)), 0)

    def local_shifts(self, a: Array, b: Array, valid_a: Array, valid_b: Array, *, reach: int, step: int) -> Array:
        """Smooth field of shifts that lays b on a: least windowed squared difference, to a fraction of a step.

        Args:
            a, b: [H, W] float32 local contrast.
            valid_a, valid_b: [H, W] bool.
            reach: Steps that are tried in each direction.
            step: Pixels in a step, by which the images are shrunk; a divisor of `cell_px`.

        Returns:
            [2, H, W] float32, rows and columns, pixels.
        """
        height, width = a.shape
        (a, weight), (b, known) = shrink(a, valid_a, step), shrink(b, valid_b, step)
        side, cell = 2 * reach + 1, self.cell_px // step
        rows, columns = -(-a.shape[0] // cell), a.shape[1]
        seen, both = _shifted(b, reach), _shifted(known, reach) * weight
        whole = jnp.stack([jnp.square(a - seen) * both, both], axis=1)  # [side^2, 2, height, columns]
        whole = jnp.pad(whole, ((0, 0), (0, 0), (0, rows * cell - a.shape[0]), (0, 0)))
        sums = whole.reshape(side * side, 2, rows, cell, columns).sum(axis=3)
        inner = extents.lengths((height, width), up=True)
        inner = [-(-n // self.cell_px) for n in inner]  # cells of the image
        by_column = (np.arange(columns) // cell == np.arange(-(-columns // cell))[:, None]).astype(np.float32)
        by_column = self._cell_blur(len(by_column), inner[1]) @ by_column  # summed over cells, then blurred
        sums = both_axes(self._cell_blur(rows, inner[0]), by_column, sums)  # [..., h, w]
        cells = sums.shape[-2:]
        error = (sums[:, 0] + 1e-3) / (sums[:, 1] + 1e-3)
        error = error.reshape(side, side, -1)  # [side, side, h w]
        # Where the dates agree to a thousandth as they lie there is no shift, though flat ground agrees at every shift,
        # and nothing to refine, as the parabola is only lopsided. Their sums tell it, also for cells of which little is
        # valid.
        still = sums[reach * (side + 1)].reshape(2, -1)
        agree = still[0] <= self.exact * still[1]
        best = jnp.where(agree, reach * (side + 1), jnp.argmin(error.reshape(side * side, -1), axis=0))
        row, column = (jnp.clip(k, 1, side - 2) for k in (best // side, best % side))
        cell = jnp.arange(error.shape[-1])
        middle = error[row, column, cell]
        by_row = _vertex(error[row - 1, column, cell], middle, error[row + 1, column, cell])
        by_column = _vertex(error[row, column - 1, cell], middle, error[row, column + 1, cell])
        rest = jnp.where(agree | (middle < self.exact), 0.0, jnp.stack([by_row, by_column]))
        field = step * (jnp.stack([row - reach, column - reach]).astype(jnp.float32) + rest)
        by_row, by_column = map(self._cell_blur, cells, inner)
        smooth = both_axes(by_row, by_column, field.reshape(2, *cells))
        by_row, by_column = map(self._spread_matrix, (height, width), inner)
        return both_axes(by_row, by_column, smooth)

    def flow_field(self, a: Array, b: Array, valid_a: Array, valid_b: Array, first: Array) -> Array:
        """A field of shifts, made better by each of `passes`. Arguments as in `local_shifts`; first: [2, H, W]."""
        field, none = first, jnp.zeros(2, jnp.int32)
        for reach, step in self.passes:
            moved = resample(b, valid_a, valid_b, none, field)
            seen = jnp.where(moved.valid, moved.after, 0)
            field = field + self.local_shifts(a, seen, valid_a, moved.valid, reach=reach, step=step)
        return field

    def register(self, before: Array, after: Array, *, valid: tuple[Array, Array] | None = None) -> Registration:
        """The second date on the grid of the first.

        Args:
            before, after: [H, W] or [H, W, C] float32; finite, also where not valid.
            valid: [H, W] bool for each date; None: everywhere.

        Returns:
            `Registration`. Gradients flow through the brightness, not through the shifts.
        """
        chex.assert_equal_shape([before, after])
        height, width = before.shape[:2]
        here, there = valid or (extents.everywhere((height, width)),) * 2
        reach = min(self.max_misalignment, height - 1, width - 1)
        a, b = (self.local_contrast(jax.lax.stop_gradient(grey(x)), v) for x, v in ((before, here), (after, there)))
        shift = self.whole_shift(a, b, here, there, reach)
        whole = jnp.broadcast_to(shift.astype(jnp.float32)[:, None, None], (2, height, width))
        flow = self.flow_field(a, b, here, there, whole) - whole
        return self._resampled(before, after, (here, there), shift, flow)

    def _resampled(
        self, before: Array, after: Array, valid: tuple[Array, Array], shift: Array, flow: Array
    ) -> Registration:
        """The second date where it lies, and as it is where it is the first one."""
        found = resample(after, *valid, shift, flow, fine=self.fine)
        one, two = (jax.lax.stop_gradient(x).reshape(*flow.shape[1:], -1) for x in (before, after))
        same = masked.erode((jnp.abs(two - one).max(axis=-1) <= _SAME) & valid[0] & valid[1], self.same_px)
        same &= masked.range_around(one.mean(axis=-1), self.same_px) >= self.same_range
        return found._replace(after=jnp.where(same.reshape(same.shape + (1,) * (after.ndim - 2)), after, found.after))

    def _between_matrix(self, length: int, blocks: int) -> np.ndarray:
        """Linear interpolation from centres of blocks to pixels, constant beyond the outer ones; [length, blocks]."""
        return linear_matrix((np.arange(length) - (self.block_px - 1) / 2) / self.block_step_px, blocks)

    def block_shifts(self, a: Array, b: Array, valid_a: Array, valid_b: Array, reach: int) -> Array:
        """Whole shift of each block, each the median of its neighbourhood of 3 x 3; 0 where too little is valid.

        Args:
            a, b: [H, W] float32 local contrast.
            valid_a, valid_b: [H, W] bool.
            reach: Largest shift, pixels.

        Returns:
            [2, blocks, blocks] float32.
        """
        counts = [1 + -(-max(n - self.block_px, 0) // self.block_step_px) for n in a.shape]
        rest = [(0, (k - 1) * self.block_step_px + self.block_px - n) for k, n in zip(counts, a.shape, strict=True)]
        fields = [jnp.pad(x, rest) for x in (a, b, valid_a, valid_b)]

        def one(corner):
            one_a, one_b, here, there = (
                jax.lax.dynamic_slice(x, corner, (self.block_px, self.block_px)) for x in fields
            )
            enough = (here & there).mean(dtype=jnp.float32) >= self.least_share
            shift = self.whole_shift(one_a, one_b, here, there, reach)
            return jnp.where(enough, shift.astype(jnp.float32), jnp.nan)

        corners = jnp.stack(jnp.meshgrid(*(jnp.arange(k) * self.block_step_px for k in counts), indexing="ij"), axis=-1)
        shifts = jnp.moveaxis(jax.lax.map(one, corners.reshape(-1, 2)).reshape(*counts, 2), -1, 0)
        around = jnp.pad(shifts, ((0, 0), (1, 1), (1, 1)), constant_values=jnp.nan)
        views = [around[:, i : i + counts[0], j : j + counts[1]] for i in range(3) for j in range(3)]
        return jnp.nan_to_num(jnp.nanmedian(jnp.stack(views), axis=0))

    def register_parts(self, before: Array, after: Array, *, valid: tuple[Array, Array]) -> Registration:
        """As `register`, for an array too large for one whole shift: each block of `block_px` has its own.

        `Registration.shift` is then 0, and `flow` holds all.
        """
        chex.assert_equal_shape([before, after])
        here, there = valid
        a, b = (self.local_contrast(jax.lax.stop_gradient(grey(x)), v) for x, v in ((before, here), (after, there)))
        blocks = self.block_shifts(a, b, here, there, min(self.max_misalignment, self.block_px - 1))
        by_row, by_column = (self._between_matrix(n, k) for n, k in zip(a.shape, blocks.shape[1:], strict=True))
        coarse = both_axes(by_row, by_column, blocks)
        flow = self.flow_field(a, b, here, there, coarse)
        return self._resampled(before, after, (here, there), jnp.zeros(2, jnp.int32), flow)
