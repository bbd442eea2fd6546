"""Registration of the second date to the first: a whole shift of the patch, then a smooth field of small ones.

Both steps look at local contrast, so gain, offset and slow changes of light do not steer them, and both leave out
pixels that are not valid.

Axes: H rows, W columns, h and w the same in cells of `Registering.cell_px`.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax import constants
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import blur, both_axes, fast_length, grey
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


def _over_cells(x: Array, side: int) -> Array:
    """Sums over cells of `side` x `side`, [H, W] to [ceil(H / side), ceil(W / side)]: a row of additions, since a sum
    over short axes is slow on CPUs."""
    x = jnp.pad(x, [(0, -n % side) for n in x.shape])
    by_row = functools.reduce(jnp.add, [x[k::side] for k in range(side)])
    return functools.reduce(jnp.add, [by_row[:, k::side] for k in range(side)])


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
        block_shrink: How much smaller the images are on which that is done; `passes` find the rest.
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
    block_shrink: int = 2
    least_share: float = 0.25

    def __post_init__(self):
        check_pixels("max_misalignment", self.max_misalignment)
        check_pixels("same_px", self.same_px)
        check_above_zero(self, "contrast_scale_px", "contrast_floor", "cell_px", "flow_scale_px")
        check_above_zero(self, "block_px", "block_step_px", "block_shrink")

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
        row, column, _ = self._most_alike(self._correlations(a, b, valid_a, valid_b, reach), a, b, valid_a & valid_b)
        return jnp.stack([row - reach, column - reach])

    def _most_alike(self, score: Array, a: Array, b: Array, both: Array) -> tuple[Array, Array, Array]:
        """Row and column of the largest of `_correlations`, of no shift where the dates agree, and whether they do."""
        side = score.shape[0]
        best = jnp.argmax(score)
        # Dates that agree as they lie are not moved: where they are flat, every shift correlates alike.
        counted = both.astype(jnp.float32)
        agree = (jnp.square(a - b) * counted).sum() <= self.exact * counted.sum()
        best = jnp.where(agree, score.size // 2, best).astype(jnp.int32)
        return jax.lax.div(best, np.int32(side)), jax.lax.rem(best, np.int32(side)), agree

    def _correlations(self, a: Array, b: Array, valid_a: Array, valid_b: Array, reach: int) -> Array:
        """Normalised correlation at every shift up to `reach`, [2 reach + 1, 2 reach + 1]; as in `whole_shift`."""
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
        return score

    def _cell_blur(self, x: Array) -> Array:
        """Blur of maps of cells, [..., h, w] to the same."""
        return blur(x, self.flow_scale_px / self.cell_px, self.cell_px)

    def _spread(self, x: Array, shape: tuple[int, int]) -> Array:
        """Linear interpolation from cells to pixels, constant beyond the outer ones; [2, h, w] to [2, *shape]."""
        inner = extents.lengths(shape, up=True)
        for length, known in zip(shape, inner, strict=True):
            if not isinstance(known, int):  # the image ends within the array
                last = jax.lax.div(known - 1, np.int32(self.cell_px))
                x = jnp.take(x, jnp.minimum(jnp.arange(x.shape[1]), last), axis=1, mode="clip")
            x = self._rows_spread(x)[:, :length].swapaxes(1, 2)
        return x

    def _rows_spread(self, x: Array) -> Array:
        around = jnp.pad(x, [(0, 0), (1, 1), (0, 0)], mode="edge")
        lines = []
        for k in range(self.cell_px):
            at = (k + 0.5) / self.cell_px + 0.5
            low, part = int(at), at - int(at)
            lines.append((1 - part) * around[:, low : low + x.shape[1]] + part * around[:, low + 1 :][:, : x.shape[1]])
        return jnp.stack(lines, axis=2).reshape(x.shape[0], -1, x.shape[2])

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
        side, steps = 2 * reach + 1, self.cell_px // step
        around = [jnp.pad(x, reach) for x in (b, known)]

        def of_row(row: Array) -> Array:
            """Sums over cells of squared differences and of what is seen, [side, 2, h, w], of all shifts of a row."""
            seen = [jax.lax.dynamic_slice_in_dim(x, row, a.shape[0]) for x in around]
            found = []
            for column in range(side):
                moved, share = (x[:, column : column + a.shape[1]] for x in seen)
                both = share * weight
                found.append(jnp.stack([_over_cells(x, steps) for x in (jnp.square(a - moved) * both, both)]))
            return jnp.stack(found)

        # Row by row: all shifts at once leave the cache, and written out one by one they take long to compile.
        sums = jax.lax.map(of_row, jnp.arange(side))
        cells = sums.shape[-2:]
        sums = self._cell_blur(sums.reshape(side * side, 2, *cells))
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
        return self._spread(self._cell_blur(field.reshape(2, *cells)), (height, width))

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
        by = self.block_shrink
        (a, known_a), (b, known_b) = shrink(a, valid_a, by), shrink(b, valid_b, by)
        side, step = self.block_px // by, self.block_step_px // by
        counts = [1 + -(-max(n - side, 0) // step) for n in a.shape]
        rest = [(0, (k - 1) * step + side - n) for k, n in zip(counts, a.shape, strict=True)]
        fields = [jnp.pad(x, rest) for x in (a, b, known_a > 0.5, known_b > 0.5)]
        fields[:2] = [jnp.where(known, x, 0) for x, known in zip(fields[:2], fields[2:], strict=True)]

        def one(corner):
            one_a, one_b, here, there = (jax.lax.dynamic_slice(x, corner, (side, side)) for x in fields)
            enough = (here & there).mean(dtype=jnp.float32) >= self.least_share
            score = self._correlations(one_a, one_b, here, there, reach // by)
            row, column, agree = self._most_alike(score, one_a, one_b, here & there)
            around = jax.lax.dynamic_slice(jnp.pad(-score, 1, mode="edge"), (row, column), (3, 3))
            part = jnp.stack([_vertex(*around[:, 1]), _vertex(*around[1])])
            whole = (jnp.stack([row, column]) - reach // by).astype(jnp.float32)
            shift = by * (whole + jnp.where(agree, 0.0, part))
            return jnp.where(enough, shift, jnp.nan)

        corners = jnp.stack(jnp.meshgrid(*(jnp.arange(k) * step for k in counts), indexing="ij"), axis=-1)
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
