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

from planetcd_jax import augment, constants, score, vgg
from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.types import ApplyFn, Array, Params


def check_shareable(config: ChangeConfig) -> None:
    """Raises ConfigError if windows cannot share feature maps under `config`."""
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


def halo(config: ChangeConfig) -> int:
    """Pixels around a window that decide its score, rounded up to whole cells: 16 for conv3_2."""
    check_shareable(config)
    step = vgg.stride(config.layer)
    reach = (vgg.receptive_field(config.layer) - step) // 2
    return -(-reach // step) * step


def grid_step(config: ChangeConfig) -> int:
    """What windows and strides must be multiples of, pixels: 4, or the step of a deeper layer."""
    check_shareable(config)
    return math.lcm(4, vgg.stride(config.layer))


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
    step, side = vgg.stride(config.layer), vgg.receptive_field(config.layer)
    reach = (side - step) // 2
    seen = jnp.pad(valid, reach, constant_values=False).astype(jnp.uint8)  # [H + 2 reach, W + 2 reach]
    for size, steps in (((side, 1), (step, 1)), ((1, side), (1, step))):
        seen = jax.lax.reduce_window(seen, jnp.uint8(1), jax.lax.min, size, steps, "VALID")
    return seen > 0  # [H', W']


def features(params: Params, x: Array, config: ChangeConfig, *, apply: ApplyFn | None = None) -> Array:
    """Feature map that windows share: phi, without what is done for each window. [H, W(, C)] to [G, H', W', D]."""
    check_shareable(config)
    plain = dataclasses.replace(config, feature_clip=None, feature_standardize=False)
    return score.extract(params, x, plain, apply=apply)


def summary(cells: Array, usable: Array, config: ChangeConfig) -> Array:
    """Descriptor of one window from its usable cells: clip, standardise, pool, as `config` says.

    Args:
        cells: [G, h, w, D] float32, the window's part of a feature map.
        usable: [h, w] bool. If none is True, the result means nothing.
        config: How.

    Returns:
        [G, D] float32.
    """
    chex.assert_rank([cells, usable], [4, 2])
    inside = usable[None, :, :, None]
    count = jnp.maximum(usable.sum(dtype=jnp.float32), 1.0)

    def mean(x: Array) -> Array:
        return jnp.where(inside, x, 0.0).sum(axis=(1, 2), keepdims=True) / count  # [G, 1, 1, D]

    if config.feature_clip is not None:
        cells = jnp.clip(cells, -config.feature_clip, config.feature_clip)
    if config.feature_standardize:
        cells = cells - mean(cells)
        cells = cells * jax.lax.rsqrt(mean(jnp.square(cells)) + constants.STANDARDIZE_EPSILON)
    if config.pooling == "max":
        return jnp.where(inside, cells, -jnp.inf).max(axis=(1, 2))
    return mean(cells)[:, 0, 0]


def _check_images(before: Array, after: Array, valid: Array, window: int, margin: int, config: ChangeConfig) -> None:
    score.check_pair(before, after, config)
    if valid.shape != before.shape[:2] or valid.dtype != jnp.bool_:
        raise PatchError(
            f"valid is {valid.dtype} of shape {valid.shape}; give bool of shape {before.shape[:2]}, True where both "
            "images hold data."
        )
    if margin < 0 or margin % vgg.stride(config.layer):
        raise ConfigError(f"margin is {margin} px; give a multiple of {vgg.stride(config.layer)} px, 0 or more.")
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
    valid = jnp.ones(before.shape[:2], bool) if valid is None else valid
    _check_images(before, after, valid, window, margin, config)
    # Whatever stands in for a missing pixel reaches unusable cells only; it must be finite, because 0 * NaN is NaN.
    filled = [jnp.where(valid.reshape(valid.shape + (1,) * (x.ndim - 2)), x, 0.0) for x in (before, after)]
    usable = usable_cells(valid, config)  # [H', W']
    # One after the other, not side by side: the network's inner activations are by far the most memory.
    maps = jax.lax.map(lambda x: features(params, x, config, apply=apply), jnp.stack(filled))  # [2, G, H', W', D]
    step = vgg.stride(config.layer)
    rows, cols = map_shape(before.shape[0] - 2 * margin, before.shape[1] - 2 * margin, window, stride)
    corners = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(cols), indexing="ij"), axis=-1).reshape(-1, 2)
    one = partial(_window_score, maps, usable, window // step, min_valid, config)
    # One window after the other: its cells stay in the cache, and nothing of the size of all windows is ever held.
    return jax.lax.map(one, (margin + corners * stride) // step).reshape(rows, cols)


def _window_score(
    maps: Array, usable: Array, side: int, min_valid: float, config: ChangeConfig, corner: Array
) -> Array:
    """Rho of the window whose first cell is `corner`; NaN if too few cells are usable."""
    inside = jax.lax.dynamic_slice(usable, corner, (side, side))  # [h, w]
    zero = jnp.zeros((), corner.dtype)
    parts = [
        jax.lax.dynamic_slice(m, (zero, corner[0], corner[1], zero), (m.shape[0], side, side, m.shape[3])) for m in maps
    ]
    rho = score.compare(*(summary(part, inside, config) for part in parts), config)
    share = inside.mean(dtype=jnp.float32)
    return jnp.where((share > 0) & (share >= min_valid), rho, jnp.nan)


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
    apply: ApplyFn | None = None,
) -> Array:
    """Rho of each window of one pseudo-unchanged pair (x, h(x)), with the shift taken from real ground.

    One shift and one field of noise are drawn for the whole array: windows share it, as they share feature maps.

    Args:
        key: PRNG key of this array.
        params: As `load_vgg16` returns them.
        before: [H + 2 m, W + 2 m(, C)] float in [0, 1]: an array as `score_map` takes it, with m = `config.max_shift`
            more pixels on each side.
        config: How; `noise_sigma` and `max_shift` make h.
        window, stride, min_valid, margin, apply: As in `score_map`.
        valid: [H + 2 m, W + 2 m] bool, or None.

    Returns:
        [R, S] float32, NaN where a window is not scored.

    Raises:
        PatchError, ConfigError: as `score_map`.

    Source: Saha & Zhu, section III-D, equations 2 and 3.
    """
    m = config.max_shift
    valid = jnp.ones(before.shape[:2], bool) if valid is None else valid
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
        params,
        x,
        moved,
        config,
        window=window,
        stride=stride,
        valid=both,
        min_valid=min_valid,
        margin=margin,
        apply=apply,
    )
