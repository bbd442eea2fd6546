"""Feature maps that windows of one array share, and which of their cells count.

Axes: N images, H rows, W columns, h and w the same in cells, D features, G groups of bands.
"""

import chex
import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.networks.backbone import Backbone, Network
from planetcd_jax.ops import extents
from planetcd_jax.types import Array

TILE = 256
"""Side of the tiles in which a network goes over an image on a CPU, pixels. Changes speed and memory, not scores."""


def block_means(x: Array, side: int) -> Array:
    """Means of blocks of `side` x `side` pixels, [H, W(, C)] to [H // side, W // side(, C)]."""
    if side == 1:
        return x
    height, width = (n // side for n in x.shape[:2])
    whole = x[: height * side, : width * side]
    return whole.reshape(height, side, width, side, *x.shape[2:]).mean(axis=(1, 3))


def standardized(x: Array, step: int = 1) -> Array:
    """Zero mean and unit standard deviation over rows and columns, each channel by itself; 0 where constant.

    `step` is the pixels in a cell.
    """
    centred = x - extents.mean(x, step=step)
    variance = extents.mean(jnp.square(centred), step=step)
    return centred * jax.lax.rsqrt(variance + constants.STANDARDIZE_EPSILON)


def usable_cells(valid: Array, backbone: Backbone) -> Array:
    """Cells whose whole receptive field lies inside the array and is valid. [H, W] bool to [h, w] bool."""
    chex.assert_rank(valid, 2)
    backbone.check_shares()
    step, side = backbone.stride, backbone.receptive_field
    assert step and side
    seen = jnp.pad(valid, (side - step) // 2, constant_values=False).astype(jnp.uint8)
    for size, steps in (((side, 1), (step, 1)), ((1, side), (1, step))):
        seen = jax.lax.reduce_window(seen, jnp.uint8(1), jax.lax.min, size, steps, "VALID")
    return seen > 0


def shared_features(network: Network, images: Array, *, margin: int = 0, tile: int | None = TILE) -> Array:
    """Feature maps of whole images, phi.

    The network goes over each image in tiles of equal size, one after the other, each with the ground around it that
    decides its cells; so its inner activations stay in the cache, and memory does not grow with the image.

    Args:
        network: Its backbone states stride and receptive field.
        images: [N, H, W] or [N, H, W, C] float, finite.
        margin: Pixels on each side that get no cells of their own; a multiple of the layer's stride.
        tile: Largest side of a tile, pixels; None: the whole image at once, which is faster on GPUs.

    Returns:
        [N, G, h, w, D] float32, h = (H - 2 margin) // stride. Cells that see beyond the image hold any finite value.
    """
    backbone = network.backbone
    backbone.check_shares()
    step, reach = backbone.stride, backbone.context_px
    assert step
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
        return backbone.unpadded_features(network.params, cut)  # [G, h, w, D]

    parts = jax.lax.map(one, places.reshape(-1, 3))  # [N * R * S, G, h, w, D]
    parts = parts.reshape(images.shape[0], *counts, *parts.shape[1:])  # [N, R, S, G, h, w, D]
    parts = parts.transpose(0, 3, 1, 4, 2, 5, 6)  # [N, G, R, h, S, w, D]
    whole = parts.reshape(*parts.shape[:2], counts[0] * sides[0], counts[1] * sides[1], parts.shape[-1])
    return whole[:, :, : cells[0], : cells[1]]
