"""rho of every window of an image pair. Axes: H rows, W columns, C bands, R rows and S columns of windows."""

import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.ops import extents
from planetcd_jax.scores.base import WindowGrid, check_grid
from planetcd_jax.scores.features import TILE
from planetcd_jax.types import Array, Params


def halo(config: ChangeConfig) -> int:
    """Pixels around a window that decide its score, in whole cells: 16 for `PAPER`, 48 for `ROBUST`."""
    return config.score.halo_px(config.backbone)


def grid_step(config: ChangeConfig) -> int:
    """What windows and strides must be multiples of, pixels: 4, or the step of a deeper layer."""
    return config.score.window_step_px(config.backbone)


def check_windows(window: int, stride: int, config: ChangeConfig) -> None:
    """Raises ConfigError unless windows can be scored under `config`, and fit the grid of cells."""
    config.score.check_windows(config.backbone)
    check_grid(WindowGrid(window, stride), grid_step(config), config.backbone.layer)


def map_shape(height: int, width: int, window: int, stride: int) -> tuple[int, int]:
    """Rows and columns of windows that lie wholly inside an image; 0 where it is smaller than one window."""
    return WindowGrid(window, stride).shape(height, width)


def _check_images(before: Array, after: Array, valid: Array, grid: WindowGrid, config: ChangeConfig) -> None:
    config.score.check_pair(config.backbone, before, after)
    _check_valid(before, valid, grid, config)
    if min(before.shape[:2]) - 2 * grid.margin < grid.window:
        raise PatchError(
            f"the images are {before.shape[0]}x{before.shape[1]} px with a margin of {grid.margin} px, and a window is "
            f"{grid.window} px; use larger images or a smaller window."
        )


def _check_valid(before: Array, valid: Array, grid: WindowGrid, config: ChangeConfig) -> None:
    if valid.shape != before.shape[:2] or valid.dtype != jnp.bool_:
        raise PatchError(
            f"valid is {valid.dtype} of shape {valid.shape}; give bool of shape {before.shape[:2]}, True where both "
            "images hold data."
        )
    step = config.score.cell_px(config.backbone)
    if grid.margin < 0 or grid.margin % step:
        raise ConfigError(f"margin is {grid.margin} px; give a multiple of {step} px, 0 or more.")


def score_layers(
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
) -> dict[str, Array]:
    """All maps that a score makes of the windows of a pair: `score_map` under "rho", and what else it gives.

    Arguments and errors as in `score_map`.
    """
    check_windows(window, stride, config)
    grid = WindowGrid(window, stride, min_valid, margin, tile)
    valid = extents.everywhere(before.shape[:2]) if valid is None else jnp.asarray(valid)
    _check_images(before, after, valid, grid, config)
    return config.score.window_maps(prepared(config.backbone, params), before, after, valid, grid)


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
) -> Array:
    """rho of each window of a pair of images; the network sees every pixel once.

    Window (r, s) covers the rows from margin + r * stride to margin + r * stride + window - 1, and the columns alike.
    Pure: works under `jit` with all but the arrays static, `vmap` and `grad`.

    Args:
        params: As `load_vgg16` returns them, or whatever the backbone takes.
        before, after: [H, W] or [H, W, C] float in [0, 1], on one grid. Any value where not valid, NaN too.
        config: How. Scores that share feature maps need a backbone that states its stride and receptive field.
        window, stride: Side of a window and step from one to the next, pixels; multiples of 4.
        valid: [H, W] bool, True where both images hold data. None: everywhere.
        min_valid: Share of a window's cells that must be usable; a window with less is not scored. In [0, 1].
        margin: Pixels on each side of the arrays that are context only: no window reaches into them. A multiple
            of 4. With at least `halo(config)` the scores do not depend on where the arrays were cut.
        tile: Side of the tiles in which the network goes over the images, pixels; None: all at once, which is faster
            on GPUs and slower on CPUs. Changes no score.

    Returns:
        [R, S] float32, >= 0; NaN where a window is not scored. R = (H - 2 margin - window) // stride + 1.

    Raises:
        PatchError: if the arrays do not fit each other, or are smaller than a window.
        ConfigError: if `config`, window, stride or margin do not allow windows.

    Source: Saha & Zhu, equation 1, for each window; sharing the feature maps is this package's.

    Example:
        >>> mapped = jax.jit(score_map, static_argnames=("config", "window", "stride"))
        >>> mapped(params, before[0], after[0], config=PAPER, window=48, stride=8).shape  # [R, S]
        (3, 3)
    """
    return score_layers(
        params, before, after, config,
        window=window, stride=stride, valid=valid, min_valid=min_valid, margin=margin, tile=tile,
    )["rho"]  # fmt: skip


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
) -> Array:
    """rho of each window of one pseudo-unchanged pair (x, h(x)), with a shift taken from real ground.

    One draw for the whole array: windows share it, as they share feature maps.

    Args:
        key: PRNG key of this array.
        params: As in `score_map`.
        before: [H + 2 m, W + 2 m(, C)] float in [0, 1]: an array as `score_map` takes it, with m pixels more on each
            side, m = `config.score.null.margin_px`: `max_shift` for `PAPER`, 0 for `ROBUST`.
        config: How; its null makes h.
        window, stride, min_valid, margin, tile: As in `score_map`.
        valid: [H + 2 m, W + 2 m] bool, or None.
        after: The second date [H, W(, C)], where the null is made of both, as for `ROBUST`. Else not used.

    Returns:
        [R, S] float32, NaN where a window is not scored.

    Raises:
        PatchError, ConfigError: as `score_map`.

    Source: Saha & Zhu, section III-D, equations 2 and 3.
    """
    check_windows(window, stride, config)
    grid = WindowGrid(window, stride, min_valid, margin, tile)
    valid = extents.everywhere(before.shape[:2]) if valid is None else jnp.asarray(valid)
    _check_valid(before, valid, grid, config)
    if after is not None and config.score.null_uses_after:
        _check_images(before, after, valid, grid, config)
    return config.score.null_window_map(key, prepared(config.backbone, params), before, after, valid, grid)
