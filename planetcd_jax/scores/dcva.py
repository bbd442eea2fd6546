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
from planetcd_jax.ops import extents
from planetcd_jax.records import check_choice
from planetcd_jax.scores.features import standardized
from planetcd_jax.types import Array

SCALINGS = ("saturate", "standardize", "none")


def _place(percent: float, count: Any) -> tuple[Any, Any]:
    """Rank of a percentile among `count` values, and what part of the way to the next it lies, in whole hundredths."""
    parts = round(percent * 100)
    whole, rest = (count - 1) // 10000, (count - 1) % 10000  # apart, so that no product leaves 32 bits
    return whole * parts + rest * parts // 10000, (rest * parts % 10000) / 10000


def _percentile(features: Array, percent: float, step: int = 1, every: int = 1) -> Array:
    """Percentile of each feature, interpolated linearly; [H', W', D] float32 to [D].

    Found bit by bit, by counting: 32 passes take a fifth of the time of a sort on a CPU, else most of the time
    of a map. Integers of the same bits are in the order of the floats once those below 0 are flipped.

    Args:
        features: [H', W', D].
        percent: In [0, 100].
        step: Pixels in a cell.
        every: Rows and columns from one that is looked at to the next.
    """
    shape = features.shape[:2]
    rows, columns = (-(-n // every) for n in extents.lengths(shape, step))
    rank, part = _place(percent, rows * columns)
    values = features[::every, ::every].reshape(-1, features.shape[-1])  # [K, D]
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(values), jnp.int32)
    order = jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)  # [K, D]
    if extents.is_set(shape, step):  # what lies beyond the image is the largest of all
        own = extents.inside(shape, step)[::every, ::every].reshape(-1, 1)
        order, values = jnp.where(own, order, jnp.iinfo(jnp.int32).max), jnp.where(own, values, jnp.inf)

    def settle(k: Array, found: Array) -> Array:
        """Adds bit 31 - k where at most `rank` values lie below; the first step picks the sign."""
        higher = found + jnp.left_shift(jnp.int32(1), 31 - k)
        return jnp.where((order < higher).sum(axis=0, dtype=jnp.int32) <= rank, higher, found)

    lowest = jnp.full(values.shape[1:], jnp.iinfo(jnp.int32).min, jnp.int32)
    found = jax.lax.fori_loop(0, 32, settle, lowest)  # [D]
    low = jnp.where(order <= found, values, -jnp.inf).max(axis=0)
    above = jnp.where(order > found, values, jnp.inf).min(axis=0)
    high = jnp.where((order <= found).sum(axis=0, dtype=jnp.int32) > rank + 1, low, above)
    return low + jnp.where(part > 0, high - low, 0) * part


def enlarged(vectors: Array, shape: tuple[int, ...], step: int) -> Array:
    """[h, w, D] on a finer grid by linear interpolation, [H, W, D]; cells of `step` pixels."""
    if not extents.is_set(shape):
        return jax.image.resize(vectors, (*shape, vectors.shape[-1]), "linear")

    def matrix(length: int, cells: int, inner: Array, own: Array) -> Array:
        inner, own = inner.astype(jnp.float32), own.astype(jnp.float32)
        at = jnp.clip((jnp.arange(length, dtype=jnp.float32) + 0.5) * own / inner - 0.5, 0, own - 1)
        return jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(cells, dtype=jnp.float32)), 0)

    lengths = extents.lengths(shape), extents.lengths(vectors.shape[:2], step)
    rows, columns = map(matrix, shape, vectors.shape[:2], *lengths)
    return jnp.einsum("ah,hwd,bw->abd", rows, vectors, columns, precision=jax.lax.Precision.HIGHEST)


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
        chosen = jnp.zeros(features, bool)
        lengths = extents.lengths(difference.shape[:2], step)
        by_row, by_column = (self._parts(n, k) for n, k in zip(difference.shape[:2], lengths, strict=True))
        for rows in by_row:
            for columns in by_column:
                weight = (rows[:, None] & columns[None])[..., None].astype(difference.dtype)
                mean = (difference * weight).sum(axis=(0, 1)) / weight.sum()
                variance = (jnp.square(difference - mean) * weight).sum(axis=(0, 1)) / weight.sum()
                _, best = jax.lax.top_k(variance, count)  # [count]
                chosen = chosen.at[best].set(True)
        return chosen

    def _parts(self, length: int, inner: Any) -> list[Array]:
        """Which rows or columns are in each part of an image, `splits` of [length] bool."""
        at = jnp.arange(length)
        ends = [(k * inner // self.splits, (k + 1) * inner // self.splits) for k in range(self.splits)]
        return [(at >= first) & (at < jnp.maximum(last, first + 1)) for first, last in ends]

    def change_vectors(self, network: Network, before: Array, after: Array) -> Array:
        """Deep change vector of each position of the network's layer, zero for the features that are not chosen.

        Args:
            network: Cut at one layer.
            before, after: [H, W] or [H, W, C] float in [0, 1].

        Returns:
            [h, w, D] float32.
        """
        maps = [self._layer_map(network, x) for x in (before, after)]  # [h, w, D] each
        step = network.backbone.stride or 1
        first, second = (self._scaled(m, step) for m in maps)
        if self.keep == 1:
            return second - first
        chosen = self.chosen_features(maps[1] - maps[0], step)  # [D]
        return jnp.where(chosen, second - first, 0)

    def scaled_map(self, network: Network, x: Array) -> Array:
        """Features of one date, scaled: what `change_vectors` takes the difference of where all are kept. [h, w, D]."""
        return self._scaled(self._layer_map(network, x), network.backbone.stride or 1)

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
        squares = jnp.zeros(before.shape[:2], jnp.float32)
        for layer in network.backbone.map_layers if self.layers is None else self.layers:
            vectors = self.change_vectors(network.at(layer), before, after)  # [h, w, D]
            pixels = enlarged(vectors, before.shape[:2], network.at(layer).backbone.stride or 1)  # [H, W, D]
            squares = squares + jnp.square(pixels).sum(axis=-1)
        return jnp.sqrt(squares)

    def _layer_map(self, network: Network, x: Array) -> Array:
        """Features of one patch with the groups of bands side by side, [h, w, G * D]."""
        features = network.features(x)  # [G, h, w, D]
        if self.feature_clip is not None:
            features = jnp.clip(features, -self.feature_clip, self.feature_clip)
        return jnp.concatenate(list(features), axis=-1)

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
