"""Rho of every window of an image pair, from feature maps that all windows share.

A cell is one position of the feature map. It stands for a block of `stride x stride` pixels (4 x 4 for conv3_2) and
sees `receptive_field` pixels around it (32 x 32: the block and 14 pixels on each side). A window owns the cells whose
block lies inside it. A cell is usable if every pixel that it sees exists and is valid in both images; the others take
no part in any maximum, mean or standard deviation. So the score of a window depends on the ground within 14 pixels of
it and on nothing else: not on the array that it was cut from, not on padding.

Axes: H rows, W columns, C bands, D features, G groups of bands (see `score`), R rows and S columns of windows.
"""

import dataclasses
import math
from functools import partial

import chex
import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.networks import extraction, vgg16
from planetcd_jax.ops import windows
from planetcd_jax.scores import augment, pooled
from planetcd_jax.scores.registered import robust_map
from planetcd_jax.types import ApplyFn, Array, Params


def check_shareable(config: ChangeConfig) -> None:
    """Raises ConfigError if windows cannot share feature maps under `config`."""
    if config.comparison == "registered" and config.backbone == "vgg16":
        return
    if config.backbone != "vgg16":
        raise ConfigError(
            f"backbone is {config.backbone!r}, and windows can share feature maps only with 'vgg16': 'vgg16_bn' "
            "normalises with the statistics of each window, and the reach of a 'custom' network is not known; use "
            "backbone='vgg16', or cut patches and score them with change_scores."
        )
    if config.patch_standardize:
        raise ConfigError(
            "patch_standardize is True, and windows that share feature maps cannot each be standardised first; use "
            "patch_standardize=False (feature_standardize works: it is done for each window after the network)."
        )


TILE = 256
"""Side of the tiles in which the network goes over an image on a CPU, pixels. Changes speed and memory, not scores."""


def _reach(config: ChangeConfig) -> int:
    """Pixels that a cell sees on each side of its block."""
    return (vgg16.receptive_field(config.layer) - vgg16.stride(config.layer)) // 2


def halo(config: ChangeConfig) -> int:
    """Pixels around a window that decide its score, rounded up to whole cells: 16 for conv3_2."""
    check_shareable(config)
    if config.comparison == "registered":
        return robust_map.MARGIN_PX
    step = vgg16.stride(config.layer)
    return -(-_reach(config) // step) * step


def grid_step(config: ChangeConfig) -> int:
    """What windows and strides must be multiples of, pixels: 4, or the step of a deeper layer."""
    check_shareable(config)
    return math.lcm(4, vgg16.stride(config.layer))


def check_windows(window: int, stride: int, config: ChangeConfig) -> None:
    """Raises ConfigError unless window and stride fit the grid of cells."""
    step = grid_step(config)
    for name, value in (("window", window), ("stride", stride)):
        if value < step or value % step:
            raise ConfigError(f"{name} is {value} px; give a multiple of {step} px, the step of {config.layer}.")


def map_shape(height: int, width: int, window: int, stride: int) -> tuple[int, int]:
    """Rows and columns of windows that lie wholly inside an image; 0 where it is smaller than one window."""
    return max(0, (height - window) // stride + 1), max(0, (width - window) // stride + 1)


def usable_cells(valid: Array, config: ChangeConfig) -> Array:
    """Cells whose whole receptive field lies inside the array and is valid. [H, W] bool to [H', W'] bool."""
    chex.assert_rank(valid, 2)
    step, side, reach = vgg16.stride(config.layer), vgg16.receptive_field(config.layer), _reach(config)
    seen = jnp.pad(valid, reach, constant_values=False).astype(jnp.uint8)  # [H + 2 reach, W + 2 reach]
    for size, steps in (((side, 1), (step, 1)), ((1, side), (1, step))):
        seen = jax.lax.reduce_window(seen, jnp.uint8(1), jax.lax.min, size, steps, "VALID")
    return seen > 0  # [H', W']


def features(
    params: Params,
    images: Array,
    config: ChangeConfig,
    *,
    margin: int = 0,
    tile: int | None = TILE,
    apply: ApplyFn | None = None,
) -> Array:
    """Feature maps that windows share: phi, without what is done for each window.

    The network goes over each image in tiles of equal size, one after the other, each with the ground around it that
    decides its cells; so its inner activations stay in the cache, and memory does not grow with the image.

    Args:
        params: As `load_vgg16` returns them.
        images: [N, H, W] or [N, H, W, C] float, finite.
        config: How; clip and standardisation are left out.
        margin: Pixels on each side that get no cells of their own; a multiple of the layer's stride.
        tile: Largest side of a tile, pixels; None: the whole image at once, which is faster on GPUs.
        apply: None, or the same network computed in another way, zero-padded as usual (`runtime.winograd_engine`).

    Returns:
        [N, G, H', W', D] float32, H' = (H - 2 margin) // stride. Cells that see beyond the image hold any finite value.
    """
    check_shareable(config)
    raw = dataclasses.replace(config, feature_clip=None, feature_standardize=False)
    step, reach = vgg16.stride(config.layer), _reach(config)
    rim = 0  # cells around a tile that see the zeros which `apply` pads it with
    if apply is None:
        vgg16.check_parameters(params, config)
        network = vgg16.network(config, padding="VALID")
        apply = lambda p, planes: network.apply({"params": p}, planes)  # noqa: E731
    else:
        rim = -(-reach // step)
        reach = rim * step
    bands = images.shape[3:]
    cells = [(n - 2 * margin) // step for n in images.shape[1:3]]
    most = max(cells) if tile is None else max(1, tile // step)
    counts = [-(-n // most) for n in cells]
    sides = [-(-n // count) for n, count in zip(cells, counts, strict=True)]  # cells of a tile
    sees = [side * step + 2 * reach for side in sides]
    short = [c * s * step + reach + margin - n for c, s, n in zip(counts, sides, images.shape[1:3], strict=True)]
    lead = reach - margin  # below 0 the images are cut
    padding = [(0, 0, 0), *((lead, n, 0) for n in short), *[(0, 0, 0)] * len(bands)]
    images = jax.lax.pad(images, jnp.zeros((), images.dtype), padding)  # the tiles, and `reach` around them
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, (images.shape[0], *counts)), indexing="ij"), axis=-1)

    def one(place: Array) -> Array:
        zero = jnp.zeros((), place.dtype)
        start = (place[0], place[1] * sides[0] * step, place[2] * sides[1] * step) + (zero,) * len(bands)
        cut = jax.lax.dynamic_slice(images, start, (1, *sees, *bands))[0]
        found = extraction.extract(params, cut, raw, apply=apply)
        return found[:, rim : found.shape[1] - rim, rim : found.shape[2] - rim]  # [G, h, w, D]

    parts = jax.lax.map(one, places.reshape(-1, 3))  # [N * R * S, G, h, w, D]
    parts = parts.reshape(images.shape[0], *counts, *parts.shape[1:])  # [N, R, S, G, h, w, D]
    parts = parts.transpose(0, 3, 1, 4, 2, 5, 6)  # [N, G, R, h, S, w, D]
    whole = parts.reshape(*parts.shape[:2], counts[0] * sides[0], counts[1] * sides[1], parts.shape[-1])
    return whole[:, :, : cells[0], : cells[1]]


def _everywhere(image: Array) -> Array:
    """A mask of ones that XLA does not take for a constant: it would blur it while compiling, which takes minutes."""
    return jax.lax.optimization_barrier(jnp.ones(image.shape[:2], bool))


def _check_images(before: Array, after: Array, valid: Array, window: int, margin: int, config: ChangeConfig) -> None:
    extraction.check_pair(before, after, config)
    if valid.shape != before.shape[:2] or valid.dtype != jnp.bool_:
        raise PatchError(
            f"valid is {valid.dtype} of shape {valid.shape}; give bool of shape {before.shape[:2]}, True where both "
            "images hold data."
        )
    if margin < 0 or margin % vgg16.stride(config.layer):
        raise ConfigError(f"margin is {margin} px; give a multiple of {vgg16.stride(config.layer)} px, 0 or more.")
    if min(before.shape[:2]) - 2 * margin < window:
        raise PatchError(
            f"the images are {before.shape[0]}x{before.shape[1]} px with a margin of {margin} px, and a window is "
            f"{window} px; use larger images or a smaller window."
        )


def score_map(
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    window: int = 100,
    stride: int = 24,
    valid: Array | None = None,
    min_valid: float = 0.5,
    margin: int = 0,
    tile: int | None = TILE,
    apply: ApplyFn | None = None,
) -> Array:
    """Rho of each window of a pair of images; the network sees every pixel once.

    Window (r, s) covers the rows from margin + r * stride to margin + r * stride + window - 1, and the columns alike.
    Its score is that of `change_score` for the cells that it owns, computed with the true ground around the window
    instead of zero padding. Pure: works under `jit` with all but the arrays static, `vmap` and `grad`.

    Args:
        params: As `load_vgg16` returns them.
        before, after: [H, W] or [H, W, C] float in [0, 1], on one grid. Any value where not valid, NaN too.
        config: How. `patch_standardize` and backbones other than "vgg16" cannot share feature maps.
        window, stride: Side of a window and step from one to the next, pixels; multiples of 4.
        valid: [H, W] bool, True where both images hold data. None: everywhere.
        min_valid: Share of a window's cells that must be usable; a window with less is not scored. In [0, 1].
        margin: Pixels on each side of the arrays that are context only: no window reaches into them. A multiple
            of 4. With at least `halo(config)` the scores do not depend on where the arrays were cut.
        tile: Side of the tiles in which the network goes over the images, pixels; None: all at once, which is faster
            on GPUs and slower on CPUs. Changes no score.
        apply: None, or the same network computed in another way (`runtime.winograd_engine`).

    Returns:
        [R, S] float32, >= 0; NaN where a window is not scored. R = (H - 2 margin - window) // stride + 1.

    Raises:
        PatchError: if the arrays do not fit each other, or are smaller than a window.
        ConfigError: if `config`, window, stride or margin do not allow shared feature maps.

    Source: Saha & Zhu, equation 1, for each window; sharing the feature maps is this package's.

    Example:
        >>> rho = jax.jit(score_map, static_argnums=3)(params, before, after, pcd.PAPER)  # [R, S]
    """
    check_shareable(config)
    check_windows(window, stride, config)
    valid = _everywhere(before) if valid is None else valid
    _check_images(before, after, valid, window, margin, config)
    if config.comparison == "registered":
        return robust_map.score_map(
            params, before, after, config,
            window=window, stride=stride, valid=valid, min_valid=min_valid, margin=margin, apply=apply,
        )  # fmt: skip
    # Whatever stands in for a missing pixel reaches unusable cells only; it must be finite, because 0 * NaN is NaN.
    filled = [jnp.where(valid.reshape(valid.shape + (1,) * (x.ndim - 2)), x, 0.0) for x in (before, after)]
    step = vgg16.stride(config.layer)
    edge = margin // step
    usable = usable_cells(valid, config)  # [H' + 2 edge, W' + 2 edge]
    usable = usable[edge : usable.shape[0] - edge, edge : usable.shape[1] - edge]  # [H', W']
    maps = features(params, jnp.stack(filled), config, margin=margin, tile=tile, apply=apply)  # [2, G, H', W', D]
    rows, cols = map_shape(before.shape[0] - 2 * margin, before.shape[1] - 2 * margin, window, stride)
    descriptors, share = windows.summaries(maps, usable, window // step, stride // step, (rows, cols), config)
    rho = jax.vmap(jax.vmap(partial(pooled.compare, config=config)))(
        *jnp.moveaxis(descriptors, 1, 3)
    )  # 2 x [R, S, G, D]
    return jnp.where((share > 0) & (share >= min_valid), rho, jnp.nan)  # [R, S]


def null_score_map(
    key: Array,
    params: Params,
    before: Array,
    config: ChangeConfig,
    *,
    window: int = 100,
    stride: int = 24,
    valid: Array | None = None,
    min_valid: float = 0.5,
    margin: int = 0,
    tile: int | None = TILE,
    after: Array | None = None,
    apply: ApplyFn | None = None,
) -> Array:
    """Rho of each window of one pseudo-unchanged pair (x, h(x)), with the shift taken from real ground.

    One shift and one field of noise are drawn for the whole array: windows share it, as they share feature maps. With
    a registered comparison, h(x) is made of the pair's own differences instead (`residual_null`).

    Args:
        key: PRNG key of this array.
        params: As `load_vgg16` returns them.
        before: [H + 2 m, W + 2 m(, C)] float in [0, 1]: an array as `score_map` takes it, with m = `config.max_shift`
            more pixels on each side.
        config: How; `noise_sigma` and `max_shift` make h.
        window, stride, min_valid, margin, tile, apply: As in `score_map`.
        valid: [H + 2 m, W + 2 m] bool, or None.
        after: The second date, for a registered comparison, whose arrays are [H, W(, C)]: m is 0. Else not used.

    Returns:
        [R, S] float32, NaN where a window is not scored.

    Raises:
        PatchError, ConfigError: as `score_map`.

    Source: Saha & Zhu, section III-D, equations 2 and 3.
    """
    valid = _everywhere(before) if valid is None else valid
    if config.comparison == "registered":
        if after is None:
            raise ConfigError("a registered comparison draws its null from both dates; give after=.")
        check_windows(window, stride, config)
        _check_images(before, after, valid, window, margin, config)
        return robust_map.score_map(
            params, before, after, config,
            window=window, stride=stride, valid=valid, min_valid=min_valid, margin=margin, apply=apply,
            null_key=key,
        )  # fmt: skip
    m = config.max_shift
    height, width = before.shape[0] - 2 * m, before.shape[1] - 2 * m
    if min(height, width) < window:
        raise PatchError(
            f"the image is {before.shape[0]}x{before.shape[1]} px with {m} px on each side for the shift, and a window "
            f"is {window} px; use a larger image, a smaller window or a smaller max_shift."
        )
    inner = before[m : m + height, m : m + width]
    x, moved = augment.pseudo_unchanged_pair(key, inner, config, context=before)
    # The mask goes through the same h without noise; a pixel counts if it is valid in both places.
    still = dataclasses.replace(config, noise_sigma=0.0)
    mask = valid.astype(jnp.float32)
    here, there = augment.pseudo_unchanged_pair(key, mask[m : m + height, m : m + width], still, context=mask)
    both = (here > 0.5) & (there > 0.5)
    return score_map(
        params, x, moved, config, window=window, stride=stride, valid=both, min_valid=min_valid, margin=margin,
        tile=tile, apply=apply,
    )  # fmt: skip
