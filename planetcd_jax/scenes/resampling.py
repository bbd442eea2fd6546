"""Images sampled at any place: interpolated where pixels grow, averaged over the new pixel where they shrink."""

import numpy as np

from planetcd_jax.scenes.pixel_map import Places

# Points that may be averaged along one side of a pixel. The largest is enough for noise and detail, and it bounds the
# work at a pole; few sizes keep points of one kind together.
_COUNTS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])

# Points that are interpolated at once; their weights fit a processor's cache.
_BATCH = 1 << 17

# Pixels that the kernel reaches on each side.
REACH = {"nearest": 1, "bilinear": 1, "cubic": 2, "lanczos": 3}


def _weights(kernel: str, t: np.ndarray) -> list[np.ndarray]:
    """Weights of the pixels at -reach + 1 ... reach from the one before a point that lies t (0 to 1) after it."""
    if kernel == "bilinear":
        return [1.0 - t, t]
    if kernel == "cubic":  # Catmull and Rom's, a = -1/2
        return [
            ((-0.5 * t + 1.0) * t - 0.5) * t, (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t, (0.5 * t - 0.5) * t * t,
        ]  # fmt: skip
    taps = [np.sinc(t - k) * np.sinc((t - k) / 3.0) for k in range(-2, 4)]
    total = sum(taps)
    return [tap / total for tap in taps]


_Step = tuple[np.ndarray, np.ndarray]  # columns, rows


class _Image:
    """Pixels [h, w, B] and mask [h, w] to be sampled at many points, prepared once."""

    def __init__(self, pixels: np.ndarray, valid: np.ndarray, kernel: str):
        self.height, self.width, self.bands = pixels.shape
        self.dtype, self.kernel, self.reach = pixels.dtype, kernel, REACH[kernel]
        self._flat, self._whole = pixels.reshape(-1, self.bands), valid.ravel()
        self._holes = None
        if not valid.all():  # sums of invalid pixels above and to the left
            self._holes = np.zeros((self.height + 1, self.width + 1), np.int64)
            self._holes[1:, 1:] = np.cumsum(np.cumsum(~valid, axis=0), axis=1)

    def pick(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [N, B] at points [N], and which are valid: those in a valid pixel."""
        c, r = np.floor(cols).astype(int), np.floor(rows).astype(int)
        good = (c >= 0) & (c < self.width) & (r >= 0) & (r < self.height)
        index = np.clip(r, 0, self.height - 1) * self.width + np.clip(c, 0, self.width - 1)
        good &= self._whole[index]
        if self.kernel == "nearest":
            return self._flat[index], good
        x, y = cols - 0.5, rows - 0.5
        first_col, first_row = np.floor(x).astype(int), np.floor(y).astype(int)
        wx, wy = ([w.astype(self.dtype) for w in _weights(self.kernel, t)] for t in (x - first_col, y - first_row))
        steps = range(1 - self.reach, self.reach + 1)
        at_cols = [np.clip(first_col + k, 0, self.width - 1) for k in steps]
        at_rows = [np.clip(first_row + k, 0, self.height - 1) * self.width for k in steps]
        values = np.zeros((cols.size, self.bands), self.dtype)
        for base, w in zip(at_rows, wy, strict=True):
            line = sum(self._flat[base + at] * v[:, None] for at, v in zip(at_cols, wx, strict=True))
            values += line * w[:, None]
        edge = good & self._beside_a_hole(first_col - self.reach + 1, first_row - self.reach + 1)
        if edge.any():
            values[edge] = self._mean_of_valid(
                *(np.stack([t[edge] for t in part]) for part in (at_cols, at_rows, wx, wy))
            )
        return values, good

    def _beside_a_hole(self, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether the pixels under a kernel that begins at a column and row hold an invalid one, or leave the image."""
        side = 2 * self.reach
        out = (cols < 0) | (rows < 0) | (cols + side > self.width) | (rows + side > self.height)
        if self._holes is None:
            return out
        left, right = np.clip(cols, 0, self.width), np.clip(cols + side, 0, self.width)
        top, bottom = np.clip(rows, 0, self.height), np.clip(rows + side, 0, self.height)
        sums = self._holes
        return out | (sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] > 0)

    def _mean_of_valid(self, at_cols, at_rows, wx, wy) -> np.ndarray:
        """Beside invalid pixels: the mean of the valid ones, without the kernel's negative lobes. Taps [2 reach, N]."""
        index = at_rows[:, None] + at_cols[None]
        weights = np.maximum(wy, 0.0)[:, None] * np.maximum(wx, 0.0)[None] * self._whole[index]
        total = np.maximum(weights.sum(axis=(0, 1)), 1e-12)
        return ((weights / total)[..., None] * self._flat[index]).sum(axis=(0, 1)).astype(self.dtype)


def _footprint(places: Places) -> tuple[np.ndarray, np.ndarray, _Step, _Step]:
    """How a pixel is averaged: counts and steps (columns, rows) of points along two directions at right angles.

    A pixel of the source is a mean over its own square already. The points add what it lacks: their scatter is that of
    the new pixel's square less that of the source's, so for a ratio of 4 they are the middles of 4 x 4 pixels, and for
    a ratio of 1 or less a single point. Directions are those in which the map stretches most and least.
    """
    a, b, d, e = places.col_by_col, places.col_by_row, places.row_by_col, places.row_by_row
    xx, xy, yy = a * a + d * d, a * b + d * e, b * b + e * e
    mean, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
    spread = np.hypot(half, xy)
    turned = spread > 1e-3 * mean  # otherwise all directions are alike
    angle = np.where(turned, 0.5 * np.arctan2(xy, half), 0.0)
    cos, sin = np.cos(angle), np.sin(angle)
    counts, steps = [], []
    for square, x, y in ((mean + spread, cos, sin), (np.maximum(mean - spread, 0.0), -sin, cos)):
        ratio = np.sqrt(np.where(np.isfinite(square), square, 1.0))
        count = _COUNTS[np.minimum(np.searchsorted(_COUNTS, ratio - 0.02), len(_COUNTS) - 1)]
        scatter = np.sqrt(np.maximum(0.0, 1.0 - 1.0 / np.maximum(ratio, 1.0) ** 2))
        step = np.where(count > 1, scatter / np.sqrt(np.maximum(count.astype(float) ** 2 - 1.0, 1.0)), 0.0)
        counts.append(count)
        steps.append(((a * x + b * y) * step, (d * x + e * y) * step))
    return counts[0], counts[1], steps[0], steps[1]


def extent(places: Places) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows by which the points that `resample` averages lie on either side of a place, at most."""
    sides = np.hypot(places.col_by_col, places.col_by_row), np.hypot(places.row_by_col, places.row_by_row)
    wide, high = (np.where(side > 1.0, side, 0.0) for side in sides)
    return wide, high


def resample(image: np.ndarray, valid: np.ndarray, places: Places, kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """An image seen by other pixels.

    Args:
        image: [h, w, B] float32 or float64; what is not valid is 0.
        valid: [h, w] bool.
        places: Where in the image each new pixel has its middle, [H, W] each; (0, 0) is the image's outer corner.
        kernel: "nearest", "bilinear", "cubic" or "lanczos". All but the first average where the new pixels are larger.

    Returns:
        [H, W, B] of the image's type, 0 where not valid; [H, W] bool, True where at least half of the points lie in
        valid pixels.
    """
    shape, bands = places.cols.shape, image.shape[-1]
    values, good = np.zeros((places.cols.size, bands), image.dtype), np.zeros(places.cols.size, bool)
    known = np.isfinite(places.cols) & np.isfinite(places.rows)
    chosen = np.nonzero(known.ravel())[0]
    cols, rows = places.cols.ravel()[chosen], places.rows.ravel()[chosen]
    with np.errstate(invalid="ignore", over="ignore"):
        count, other_count, step, other_step = _footprint(places)
        first, second = count.ravel()[chosen], other_count.ravel()[chosen]
        axes = [along.ravel()[chosen] for along in (*step, *other_step)]
    if kernel == "nearest":
        first, second = np.ones_like(first), np.ones_like(second)
    seen = _Image(image, valid, kernel)
    kinds = first * (_COUNTS[-1] + 1) + second
    order = np.argsort(kinds, kind="stable")
    for group in np.split(order, np.nonzero(np.diff(kinds[order]))[0] + 1):
        for k in range(0, group.size, _BATCH):
            part = group[k : k + _BATCH]
            n, m = int(first[part[0]]), int(second[part[0]])
            steps = [axis[part] for axis in axes]
            values[chosen[part]], good[chosen[part]] = _mean(seen, cols[part], rows[part], n, m, steps)
    values[~good] = 0
    return values.reshape(*shape, bands), good.reshape(shape)


def _mean(image: _Image, cols, rows, n: int, m: int, steps) -> tuple[np.ndarray, np.ndarray]:
    """Mean over n x m points round each place, of those in valid pixels."""
    if n == m == 1:
        return image.pick(cols, rows)
    total, count = np.zeros((cols.size, image.bands)), np.zeros(cols.size, int)
    for i in np.arange(n) - 0.5 * (n - 1):
        for j in np.arange(m) - 0.5 * (m - 1):
            value, good = image.pick(cols + i * steps[0] + j * steps[2], rows + i * steps[1] + j * steps[3])
            total += np.where(good[:, None], value, 0.0)
            count += good
    return (total / np.maximum(count, 1)[:, None]).astype(image.dtype), 2 * count >= n * m
