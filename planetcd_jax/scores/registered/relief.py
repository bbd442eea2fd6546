"""The light of the second date of a registered pair as seen from the first: gain, and a sun that turned.

On gentle slopes brightness follows the slope along the sun's azimuth a, so each wave of the ground, of direction u, is
multiplied by cos(u - a). Under a sun turned by t it is multiplied by cos(u - a - t), which is cos t + sin t tan(u - a)
times as much, whatever the ground. That ratio is the same for u and u + pi, so its expansion over direction has even
orders only; the first of them, cos 2u and sin 2u, are fitted here, with the gain. It explains; no score is made of it
(docs/diary.md says what was measured).

Source: linear shading, Kube & Pentland 1988, IEEE PAMI 10, 704; the two maps are a second-order Riesz transform, Unser
& Van De Ville 2010, IEEE TIP 19, 636. The fit is this package's.

Pure, for one pair. Axes: H rows, W columns.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.errors import ConfigError
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import fast_length
from planetcd_jax.records import check_above_zero
from planetcd_jax.scores.brightness import Brightness, contrast
from planetcd_jax.types import Array

ReliefMaps = tuple[Array, Array]
"""A map's waves times cos 2u and sin 2u of their direction u, [H, W] float32 each."""


class Light(NamedTuple):
    """The light of the second date as seen from the first. Scalars, float32.

    Attributes:
        gain: Contrast of the second date over that of the first.
        turn: Shares of the two `ReliefMaps` that come with it; 0 under the same sun.
    """

    gain: Array
    turn: tuple[Array, Array]


def _directions(height: int, width: int) -> Array:
    """cos 2u and sin 2u of the direction u of each wave of `rfft2`, [2, height, width // 2 + 1] float32."""
    lines = np.fft.fftfreq(height).astype(np.float32), np.fft.rfftfreq(width).astype(np.float32)
    # Worked out as the program runs: as constants they are megabytes of it, and XLA would make them while it compiles.
    by_row, by_column = jax.lax.optimization_barrier(tuple(map(jnp.asarray, lines)))
    by_row, by_column = by_row[:, None], by_column[None]
    power = jnp.square(by_row) + jnp.square(by_column)  # 0 for the mean, which has no direction
    parts = jnp.stack([jnp.square(by_row) - jnp.square(by_column), 2 * by_row * by_column])
    return parts / jnp.where(power > 0, power, 1)


def relief_maps(x: Array) -> ReliefMaps:
    """Of a map [H, W] float32 with mean about 0; its opposite borders are taken for neighbours."""
    if extents.is_set(x.shape):
        return _relief_maps_of_extent(x)
    size = fast_length(x.shape[0]), fast_length(x.shape[1])
    waves = jnp.fft.rfft2(x, s=size) * _directions(*size).astype(jnp.complex64)
    even, odd = jnp.fft.irfft2(waves, s=size)[:, : x.shape[0], : x.shape[1]]
    return even, odd


def _relief_maps_of_extent(x: Array) -> ReliefMaps:
    """`relief_maps` of an image in a larger array (`extents`), 0 beyond it.

    The same transform, as products of matrices, with the period that the image alone would have.
    """
    lengths = extents.lengths(x.shape)
    known = [np.array([fast_length(max(k, 1)) for k in range(n + 1)], np.int32) for n in x.shape]
    rows, columns = (jnp.asarray(table)[k] for table, k in zip(known, lengths, strict=True))
    sizes = [int(table[-1]) for table in known]
    k, j = np.arange(sizes[0], dtype=np.int32), np.arange(sizes[1] // 2 + 1, dtype=np.int32)

    def waves(k: np.ndarray, count: int, period: Array) -> Array:
        turn = 2 * np.pi * ((k[:, None] * np.arange(count, dtype=np.int32)) % period / period)
        known = (k[:, None] < period).astype(jnp.float32)
        return jax.lax.complex(jnp.cos(turn) * known, -jnp.sin(turn) * known)

    by_row = (jnp.where(2 * k < rows, k, k - rows) / rows)[:, None]
    by_column = (j / columns)[None]
    power = jnp.square(by_row) + jnp.square(by_column)
    directions = jnp.stack([jnp.square(by_row) - jnp.square(by_column), 2 * by_row * by_column])
    twice = jnp.where((j == 0) | (2 * j == columns), 1.0, 2.0)  # a real image has half of its waves
    share = jnp.where(2 * j <= columns, twice, 0) * directions / jnp.where(power > 0, power, 1)
    down, across = waves(k, x.shape[0], rows), waves(j, x.shape[1], columns)
    high = jax.lax.Precision.HIGHEST
    spectrum = jnp.einsum("kh,hw,jw->kj", down, x.astype(jnp.complex64), across, precision=high)
    spectrum = spectrum * share.astype(jnp.complex64)
    even, odd = jnp.einsum("kh,ckj,jw->chw", down.conj(), spectrum, across.conj(), precision=high).real
    count = (rows * columns).astype(jnp.float32)
    return even / count, odd / count


def relight(before: Array, maps: ReliefMaps, light: Light) -> Array:
    """`before` [H, W] as it would look in the light of the second date; `maps` are its `relief_maps`."""
    return light.gain * before + light.turn[0] * maps[0] + light.turn[1] * maps[1]


@dataclasses.dataclass(frozen=True)
class Relighting:
    """How the light of the second date is found, and when it is taken out of what the dates differ by.

    Attributes:
        least_explained, full_explained: Shares of the mean squared difference that a turn of the sun explains: up to
            the first nothing is taken out, from the second on all of it, and between them a part. Three of four
            unchanged development pairs, under much the same sun, are below the first.
        gain_bounds: What may pass for gain, once both dates are in standard deviations of their own: a date whose
            ground is another is not explained by making the first fade.
        rounds: Fits, each with weights from the last.
        outlier: Differences of more robust standard deviations than this count less.

    Chosen on the development split of `scripts/evaluate.py` and on simulated pairs of other seeds.
    """

    least_explained: float = 0.15
    full_explained: float = 0.3
    gain_bounds: tuple[float, float] = (0.8, 1.25)
    rounds: int = 2
    outlier: float = 3.0

    def __post_init__(self):
        check_above_zero(self, "rounds", "outlier")
        if not self.least_explained < self.full_explained:
            raise ConfigError(
                f"least_explained is {self.least_explained!r} and full_explained {self.full_explained!r}; give two "
                "shares of which the second is larger."
            )

    def relit(self, before: Brightness, after: Brightness, keep: Array) -> Brightness:
        """`before` in the light of `after`, as far as that explains their difference; contrast stays as it is.

        `keep`: [H, W] bool, pixels that are compared.
        """
        own = contrast(before.level, keep)
        one, two = before.fine / own, after.fine / contrast(after.level, keep)
        one, two = (jnp.where(keep, x - masked.mean(x, keep.astype(jnp.float32)), 0) for x in (one, two))
        light = self.fit(jax.lax.stop_gradient(one), jax.lax.stop_gradient(two), keep)

        def power(x: Array) -> Array:
            return masked.mean(jnp.square(x), keep.astype(jnp.float32))

        lit = relight(one, relief_maps(one), light)
        # As much contrast as before: a first date that may fade comes nearer to any other ground.
        lit *= jnp.sqrt(power(one) / (power(lit) + 1e-9))
        explained = (power(two - one) - power(two - lit)) / (power(two - one) + 1e-6)
        span = self.full_explained - self.least_explained
        shade = own * (lit - one) * jnp.clip((explained - self.least_explained) / span, 0, 1)
        return before._replace(level=before.level + shade, fine=before.fine + shade)

    def fit(self, before: Array, after: Array, keep: Array) -> Light:
        """Light under which `before` comes nearest to `after`, changes left out.

        Reweighted least squares of after = gain * before + turn * maps, the gain within its bounds. Every second row
        and column is looked at.

        Args:
            before, after: [H, W] float32, registered, mean about 0, in standard deviations of each.
            keep: [H, W] bool, pixels that are compared.

        Returns:
            `Light`. Source of the weights: Huber 1964, Ann. Math. Statist. 35, 73.
        """
        maps = relief_maps(jnp.where(keep, before, 0))
        parts = jnp.stack([masked.thin(z).ravel() for z in (*maps, before, after)])
        inside = masked.thin(keep)
        usable = inside.ravel().astype(jnp.float32)
        weight, found = usable, Light(jnp.float32(1), (jnp.float32(0), jnp.float32(0)))
        for step in range(self.rounds):
            if step:
                error = jnp.abs(parts[3] - relight(parts[2], (parts[0], parts[1]), found))
                usual = 1.4826 * masked.median(error.reshape(inside.shape), inside) + 1e-6
                weight = usable / jnp.maximum(1.0, error / (self.outlier * usual))
            sums = jnp.matmul(parts * weight, parts.T, precision=jax.lax.Precision.HIGHEST)
            found = _solve(sums, self.gain_bounds)
        return found


def _solve(sums: Array, gain_bounds: tuple[float, float]) -> Light:
    """Least squares from the sums of products of (maps, before, after), [4, 4]: the best gain within its bounds, and
    the best turn that goes with it."""
    # A little is added to the diagonal: where there is no relief there is no turn.
    least = 1e-3 * (sums[0, 0] + sums[1, 1]) + 1e-6
    pp, qq, pq = sums[0, 0] + least, sums[1, 1] + least, sums[0, 1]
    rank = pp * qq - jnp.square(pq)

    def turn(k):
        return (qq * sums[0, k] - pq * sums[1, k]) / rank, (pp * sums[1, k] - pq * sums[0, k]) / rank

    of_before, of_after = turn(2), turn(3)
    own = sums[2, 2] - sums[2, 0] * of_before[0] - sums[2, 1] * of_before[1]
    common = sums[2, 3] - sums[2, 0] * of_after[0] - sums[2, 1] * of_after[1]
    gain = jnp.clip(common / (own + 1e-6), *gain_bounds)
    return Light(gain, (of_after[0] - gain * of_before[0], of_after[1] - gain * of_before[1]))
