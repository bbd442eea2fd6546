"""Where in a pair the change is: deep change vector analysis (DCVA), pixel by pixel.

What was found. Saha & Zhu (section III-E) compare the feature maps of section III-A pixel by pixel in the DCVA
framework of Saha, Bovolo & Bruzzone 2019. That framework, as its authors' public code (`sudipansaha/dcvaVHROptical`)
runs it: features of several layers on grids of 1, 1/2 and 1/4 of the image (64, 128 and 256 features); of each layer,
and in each quadrant of the image, the features whose difference has the largest standard deviation are chosen (the top
10 %, and 5 % of layers with 256 features), and the union over the quadrants is kept; each chosen feature of each date
is scaled from its minimum to its 95th percentile and cut there; the magnitude is the L2 norm over all chosen features
of all layers; Otsu's threshold decides. The planetary script of the same author keeps all features.

What was assumed. VGG-16 takes the place of that network, conv1_2, conv2_2 and conv3_2 that of its layers (same grids,
same numbers of features). Differs in: choice and scaling are done on each layer's own grid and the difference is
enlarged, where that code enlarges the features first; quadrants of odd grids differ by one row or column; there is no
clipping at 1 unless the configuration asks for it, and no closing of the mask.
"""

import dataclasses
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.errors import ConfigError
from planetcd_jax.networks.backbone import Network
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.rows import by_rows
from planetcd_jax.records import check_choice
from planetcd_jax.scores.features import standardized
from planetcd_jax.types import Array

SCALINGS = ("saturate", "standardize", "none")


def _place(percent: float, count: Any) -> tuple[Any, Any]:
    """Rank of a percentile among `count` values, and what part of the way to the next it lies, in whole hundredths."""
    parts = round(percent * 100)
    whole, rest = (count - 1) // 10000, (count - 1) % 10000  # apart, so that no product leaves 32 bits
    return whole * parts + rest * parts // 10000, (rest * parts % 10000) / 10000


def _ordered(bits: Array) -> Array:
    """Bits of float32 as int32 in the order of the floats, and back: those below 0 are flipped."""
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)


def _percentile(features: Array, percent: float, step: int = 1, every: int = 1) -> Array:
    """Percentile of each feature, interpolated linearly; [H', W', D] float32 to [D]. Gradients take it as constant.

    Found bit by bit, by counting: on a CPU 32 passes take a thirtieth of the time of a sort.

    Args:
        features: [H', W', D].
        percent: In [0, 100].
        step: Pixels in a cell.
        every: Rows and columns from one that is looked at to the next.
    """
    shape = features.shape[:2]
    rows, columns = (-(-n // every) for n in extents.lengths(shape, step))
    rank, part = _place(percent, rows * columns)
    values = jax.lax.stop_gradient(features)[::every, ::every].reshape(-1, features.shape[-1])  # [K, D]
    order = _ordered(jax.lax.bitcast_convert_type(values, jnp.int32))
    most = jnp.iinfo(jnp.int32).max
    if extents.is_set(shape, step):  # what lies beyond the image is the largest of all
        order = jnp.where(extents.inside(shape, step)[::every, ::every].reshape(-1, 1), order, most)
    parts = masked.in_parts(order, most)

    def settle(k: Array, found: Array) -> Array:
        """Adds bit 31 - k where at most `rank` values lie below; the first step picks the sign."""
        higher = found + jnp.left_shift(jnp.int32(1), 31 - k)
        return jnp.where(masked.count(parts < higher) <= rank, higher, found)

    low = jax.lax.fori_loop(0, 32, settle, jnp.full(features.shape[-1:], jnp.iinfo(jnp.int32).min, jnp.int32))  # [D]
    above = jnp.where(order > low, order, most).min(axis=0)
    high = jnp.where(masked.count(parts <= low) > rank + 1, low, above)
    low, high = (jax.lax.bitcast_convert_type(_ordered(x), jnp.float32) for x in (low, high))
    return low + jnp.where(part > 0, high - low, 0) * part


def enlarged(vectors: Array, shape: tuple[int, ...], step: int) -> Array:
    """[h, w, D] on a finer grid by linear interpolation, [H, W, D]; cells of `step` pixels."""
    rows, columns = _weights(shape, vectors.shape[:2], step)
    return jnp.einsum("ah,hwd,bw->abd", rows, vectors, columns, precision=jax.lax.Precision.HIGHEST)


def _weights(shape: tuple[int, ...], cells: tuple[int, ...], step: int) -> list[Array]:
    """Weights of linear interpolation from cells to pixels, [H, h] and [W, w]; at the border the outermost cell."""

    def matrix(length: int, cells: int, inner: Any, own: Any) -> Array:
        inner, own = jnp.float32(inner), jnp.float32(own)
        at = jnp.clip((jnp.arange(length, dtype=jnp.float32) + 0.5) * own / inner - 0.5, 0, own - 1)
        return jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(cells, dtype=jnp.float32)), 0)

    return list(map(matrix, shape, cells, extents.lengths(shape), extents.lengths(cells, step)))


def enlarged_power(vectors: Array, shape: tuple[int, ...], step: int) -> Array:
    """Sum of squares over D of the `enlarged` vectors, [h, w, D] to [H, W] float32, without making them.

    With w_i the weights of the cells around a pixel it is sum_i sum_j w_i w_j <v_i, v_j>: products of neighbours, which
    lie on the coarse grid.
    """

    def product(one: Array, other: Array) -> Array:
        return (one * other).sum(axis=-1)

    if vectors.shape[:2] == tuple(shape):
        return product(vectors, vectors)

    def row(i: Array) -> tuple[Array, Array]:
        """Products in a row of cells and with the next one, [2, w] each."""
        here, below = vectors[i], vectors[jnp.minimum(i + 1, vectors.shape[0] - 1)]
        right, across = jnp.roll(here, -1, axis=0), jnp.roll(below, -1, axis=0)
        alone = jnp.stack([product(here, here), 2 * product(here, below)])
        return alone, 2 * jnp.stack([product(here, right), product(here, across) + product(right, below)])

    alone, mixed = by_rows(row, jnp.arange(vectors.shape[0]))  # [h, 2, w] each
    rows, columns = (
        jnp.stack(
            [jnp.square(x), x * jnp.pad(x[:, 1:], ((0, 0), (0, 1)))], axis=-1
        )  # of a cell alone and with the next
        for x in _weights(shape, vectors.shape[:2], step)
    )
    products = jnp.stack([alone, mixed], axis=-1)  # [h, 2, w, 2]
    return jnp.maximum(jnp.einsum("ahk,hkwl,bwl->ab", rows, products, columns, precision=jax.lax.Precision.HIGHEST), 0)


@dataclasses.dataclass(frozen=True)
class Dcva:
    """Magnitude of the deep change vector at each pixel of one pair: sqrt(sum over layers and features of d^2).

    Attributes:
        layers: Layers to combine; None for the network's own (`Backbone.map_layers`).
        keep: Share of each layer's features that each part of the image chooses, in (0, 1]; None for `own_keep`; 1 for
            all.
        own_keep: DCVA's own share, and that of layers with `many_features` and more. Source: DCVA's code.
        scaling: Of each feature of each date: "saturate" (DCVA), "standardize" (zero mean, unit standard deviation)
            or "none".
        splits: Parts of the image along each axis in which features are chosen: quadrants. Source: DCVA's code.
        saturated_percent: Percent of the values of a feature that are cut at the top. Source: DCVA's code.
        many_features: See `own_keep`.
        feature_clip: None, or the bound at which features are clipped to [-bound, bound] first.
        percentile_every: Rows and columns from one whose values count for that percentile to the next.

    Source: Saha & Zhu, section III-E; Saha, Bovolo & Bruzzone 2019, "Unsupervised deep change vector analysis for
    multiple-change detection in VHR images".
    """

    layers: tuple[str, ...] | None = None
    keep: float | None = None
    own_keep: tuple[float, float] = (0.10, 0.05)
    scaling: str = "saturate"
    splits: int = 2
    saturated_percent: float = 5.0
    many_features: int = 256
    feature_clip: float | None = None
    percentile_every: int = 1

    kind: ClassVar[str] = "dcva"

    def __post_init__(self):
        check_choice("scaling", self.scaling, SCALINGS)
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(f"keep is {self.keep!r}; give a share in (0, 1], or None for DCVA's own.")
        if not isinstance(self.percentile_every, int) or self.percentile_every < 1:
            raise ConfigError(f"percentile_every is {self.percentile_every!r}; give a whole number, 1 or more.")
        if self.layers is not None and not self.layers:
            raise ConfigError("layers is empty; name at least one layer.")

    def kept_share(self, features: int) -> float:
        """Share of the features of a layer that each part of the image keeps."""
        if self.keep is not None:
            return self.keep
        return self.own_keep[features >= self.many_features]

    def chosen_features(self, difference: Array, step: int = 1) -> Array:
        """Which features of a layer vary most between the dates, in any part of the image.

        Args:
            difference: [h, w, D] float, features of one date minus those of the other.
            step: Pixels in a cell.

        Returns:
            [D] bool, the union over the splits^2 parts of the floor(keep * D) features of largest standard deviation.
        """
        chex.assert_rank(difference, 3)
        features = difference.shape[-1]
        count = max(1, int(self.kept_share(features) * features + 1e-9))
        lengths = extents.lengths(difference.shape[:2], step)
        rows, columns = (self._parts(n, k) for n, k in zip(difference.shape[:2], lengths, strict=True))
        size = rows.sum(axis=1)[:, None, None] * columns.sum(axis=1)[None, :, None]

        def mean(sums: Array) -> Array:
            """Mean over each part, from the sums over the columns of each row; [H, b, D] to [a, b, D]."""
            return jnp.einsum("ah,hbd->abd", rows, sums, precision=jax.lax.Precision.HIGHEST) / size

        def squares(row: Array, part: Array) -> Array:
            """Sums of squared deviations of one row from the means of the part that it is in, [b, D]."""
            own = jnp.einsum("a,abd->bd", part, middle, precision=jax.lax.Precision.HIGHEST)
            return jax.vmap(lambda inside, value: (jnp.square(row - value) * inside[:, None]).sum(axis=0))(columns, own)

        middle = mean(by_rows(lambda row: jnp.matmul(columns, row, precision=jax.lax.Precision.HIGHEST), difference))
        variance = mean(by_rows(squares, difference, rows.T))  # [a, b, D]
        _, best = jax.lax.top_k(variance, count)
        return jnp.zeros(features, bool).at[best.ravel()].set(True)

    def _parts(self, length: int, inner: Any) -> Array:
        """Which rows or columns are in each part of an image, [splits, length] float32 of 0 and 1."""
        at = jnp.arange(length)
        ends = [(k * inner // self.splits, (k + 1) * inner // self.splits) for k in range(self.splits)]
        inside = [(at >= first) & (at < jnp.maximum(last, first + 1)) for first, last in ends]
        return jnp.stack(inside).astype(jnp.float32)

    def change_vectors(self, before: Array, after: Array, step: int = 1) -> Array:
        """Deep change vector of each position of a layer, zero for the features that are not chosen.

        Args:
            before, after: [h, w, D] float32, features of both dates.
            step: Pixels in a cell.

        Returns:
            [h, w, D] float32.
        """
        first, second = (self._scaled(x, step) for x in (before, after))
        if self.keep == 1:
            return second - first
        return jnp.where(self.chosen_features(after - before, step), second - first, 0)

    def scaled_maps(self, network: Network, x: Array, layers: tuple[str, ...]) -> tuple[Array, ...]:
        """Features of one date, scaled: what `change_vectors` takes the difference of where all are kept.

        [h, w, D] float32 for each layer, in network order.
        """
        maps = self._layer_maps(network, x, layers)
        return tuple(self._scaled(found, network.step_px(layer)) for layer, found in zip(layers, maps, strict=True))

    def change(self, network: Network, before: Array, after: Array) -> Array:
        """Size of the change at each pixel, [H, W] float32 >= 0.

        The images must be aligned to a few pixels; nothing here is pooled over positions.

        Args:
            network: Its backbone's `layers` are used.
            before, after: [H, W] or [H, W, C] float in [0, 1].

        Raises:
            PatchError: if the arrays are not two patches of one shape, large enough for the layers.
            ConfigError, WeightsError: if the network does not fit.
        """
        network.backbone.check_pair(before, after)
        layers = network.backbone.map_layers if self.layers is None else self.layers
        maps = (self._layer_maps(network, x, layers) for x in (before, after))
        squares = jnp.zeros(before.shape[:2], jnp.float32)
        for layer, one, two in zip(layers, *maps, strict=True):
            step = network.step_px(layer)
            squares = squares + enlarged_power(self.change_vectors(one, two, step), before.shape[:2], step)
        return jnp.sqrt(squares)

    def _layer_maps(self, network: Network, x: Array, layers: tuple[str, ...]) -> list[Array]:
        """Features of one patch at each layer, the groups of bands side by side, [h, w, G * D]."""
        found = network.features_of(x, layers)  # [G, h, w, D] each
        if self.feature_clip is not None:
            found = [jnp.clip(features, -self.feature_clip, self.feature_clip) for features in found]
        return [jnp.concatenate(list(features), axis=-1) for features in found]

    def _scaled(self, features: Array, step: int) -> Array:
        scale = {"standardize": standardized, "saturate": self._saturated, "none": lambda features, _: features}
        return scale[self.scaling](features, step)

    def _saturated(self, features: Array, step: int) -> Array:
        """Each feature from 0 at its minimum to 1 at its 95th percentile, cut there; [h, w, D] to the same."""
        low = -extents.largest(-features[None], step)[0]  # [D]
        span = _percentile(features, 100.0 - self.saturated_percent, step, self.percentile_every) - low  # [D]
        scaled = (features - low) / jnp.where(span > 0, span, 1)
        return jnp.where(span > 0, jnp.minimum(scaled, 1), 0)


def otsu_threshold(values: Array, *, bins: int = 256) -> Array:
    """The value that parts a histogram into two classes of greatest variance between them.

    With w the share and m the mean of the classes below and above: max over the bins of w1 w2 (m1 - m2)^2.

    Args:
        values: Float array of any shape.
        bins: Bins of the histogram, from the least value to the largest.

    Returns:
        Scalar: centre of the last bin of the lower class; the value itself if all are equal; NaN if one is NaN.

    Source: Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    chex.assert_type(values, float)
    flat = values.ravel().astype(jnp.float32)
    own = extents.inside(values.shape).ravel() if values.ndim == 2 else np.ones(flat.shape, bool)
    total = own.sum().astype(jnp.float32)
    flat = jnp.where(own, flat, flat[0])
    low, high = flat.min(), flat.max()
    span = high - low
    place = jnp.floor((flat - low) / jnp.where(span > 0, span, 1) * bins)
    place = jnp.clip(jnp.where(jnp.isnan(place), 0, place).astype(jnp.int32), 0, bins - 1)
    counts = jnp.zeros(bins, jnp.int32).at[place].add(own.astype(jnp.int32))  # [bins], exact
    share = counts.astype(jnp.float32) / total
    unit = (jnp.arange(bins, dtype=jnp.float32) + 0.5) / bins  # bin centres on a scale of 0 to 1
    below = jnp.cumsum(counts).astype(jnp.float32)[:-1] / total  # [bins - 1], share of the lower class
    moment = jnp.cumsum(share * unit)  # [bins]
    above = 1 - below
    lower = moment[:-1] / jnp.where(below > 0, below, 1)
    upper = (moment[-1] - moment[:-1]) / jnp.where(above > 0, above, 1)
    best = jnp.argmax(below * above * jnp.square(lower - upper))
    threshold = jnp.where(span > 0, low + span * unit[best], low)
    return jnp.where(jnp.isnan(flat).any(), jnp.nan, threshold)


def change_mask(heat: Array) -> Array:
    """Pixels above Otsu's threshold of a change map: [H, W] float to [H, W] bool."""
    return heat > otsu_threshold(heat)
