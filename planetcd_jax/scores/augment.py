"""h: from one patch to a pseudo-unchanged one, by noise and a shift, drawn from a key."""

from functools import partial

import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import PatchError
from planetcd_jax.types import Array

_PAD_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap", "zero": "constant"}

# A [N, H, W] batch and a [H, W, C] patch look alike; a last axis this short is taken for bands.
_MOST_BANDS = 16


def patch_key(key: Array, index: Array) -> Array:
    """The key of one patch: it depends on the patch's own index alone, not on batch, padding or device."""
    return jax.random.fold_in(key, index)


def draw_shift(key: Array, max_shift: int) -> Array:
    """Whole-pixel shift in rows and columns, [2] int32, each uniform over -max_shift ... max_shift."""
    return jax.random.randint(key, (2,), -max_shift, max_shift + 1, dtype=jnp.int32)


def _window(x: Array, corner: Array, shape: tuple[int, ...]) -> Array:
    start = (corner[0], corner[1]) + (jnp.int32(0),) * (x.ndim - 2)
    return jax.lax.dynamic_slice(x, start, shape)


def _pad(x: Array, margin: int, mode: str) -> Array:
    if mode == "reflect" and margin >= min(x.shape[:2]):
        raise PatchError(
            f"a patch of {x.shape[0]}x{x.shape[1]} px is too small to reflect {margin} px at its border; "
            f"lower max_shift below {min(x.shape[:2])} or choose shift_fill='edge'."
        )
    return jnp.pad(x, ((margin, margin),) * 2 + ((0, 0),) * (x.ndim - 2), mode=_PAD_MODES[mode])


def pseudo_unchanged_pair(
    key: Array, before: Array, config: ChangeConfig, context: Array | None = None
) -> tuple[Array, Array]:
    """The pair (x, h(x)) of one patch, whose score is one sample of rho for unchanged ground.

    Args:
        key: Key of this patch.
        before: [H, W] or [H, W, C] float in [0, 1].
        config: `noise_sigma`, `max_shift` and `shift_fill` are used.
        context: None, or `before` with `max_shift` true pixels on each side, [H + 2m, W + 2m(, C)]; it then
            takes the place of `shift_fill`.

    Returns:
        x and h(x), both [H, W(, C)]; with shift_fill="crop" and no context both lose `max_shift` px on each side.
        Noise is added after the shift and the sum is not clipped.

    Raises:
        PatchError: if the context has the wrong shape, or the patch is too small for the shift.

    Source: Saha & Zhu, section III-D, equation 2. The distribution of the shift, the noise and the filling are not
    stated there; uniform, Gaussian with `noise_sigma`, and `shift_fill` are this package's.
    """
    m = config.max_shift
    key_shift, key_noise = jax.random.split(key)
    if context is not None:
        wanted = (before.shape[0] + 2 * m, before.shape[1] + 2 * m, *before.shape[2:])
        if context.shape != wanted:
            raise PatchError(f"context has shape {context.shape}; with max_shift={m} it must be {wanted}.")
        x, source = before, context
    elif config.shift_fill == "crop":
        if min(before.shape[:2]) <= 2 * m:
            raise PatchError(
                f"a patch of {before.shape[0]}x{before.shape[1]} px has nothing left after {m} px are cropped on each "
                "side; lower max_shift or choose shift_fill='reflect'."
            )
        x, source = before[m : before.shape[0] - m, m : before.shape[1] - m], before
    else:
        x, source = before, _pad(before, m, config.shift_fill)
    shifted = _window(source, m + draw_shift(key_shift, m), x.shape)
    noise = config.noise_sigma * jax.random.normal(key_noise, x.shape, x.dtype)
    return x, shifted + noise


def pseudo_unchanged(
    key: Array,
    before: Array,
    config: ChangeConfig,
    *,
    context: Array | None = None,
    index: Array | None = None,
    batched: bool | None = None,
) -> Array:
    """h(x): a noisy, shifted version of one patch or of each patch of a batch.

    Args:
        key: Key of the run. Patch i uses `fold_in(key, i)`.
        before: [H, W] or [H, W, C] for one patch, [N, H, W] or [N, H, W, C] for a batch; float in [0, 1].
        config: `noise_sigma`, `max_shift` and `shift_fill` are used.
        context: None, or `before` with `max_shift` true pixels on each side.
        index: Index of the patch (scalar), or of each patch ([N]); 0, or 0 ... N-1, when None.
        batched: Whether `before` is a batch. None: three axes are one patch [H, W, C] if the last is at most 16
            long, and a batch [N, H, W] otherwise.

    Returns:
        The same shape as `before` (smaller with shift_fill="crop").

    Raises:
        PatchError: if `before` has fewer than 2 or more than 4 axes, or is too small for the shift.
    """
    if before.ndim not in (2, 3, 4):
        raise PatchError(f"before has shape {before.shape}; give [H, W], [H, W, C], [N, H, W] or [N, H, W, C].")
    if batched is None:
        batched = before.ndim == 4 or (before.ndim == 3 and before.shape[-1] > _MOST_BANDS)
    if not batched:
        own = patch_key(key, jnp.uint32(0) if index is None else index)
        return pseudo_unchanged_pair(own, before, config, context)[1]
    index = jnp.arange(before.shape[0], dtype=jnp.uint32) if index is None else index
    one = partial(pseudo_unchanged, key, config=config, batched=False)
    if context is None:
        return jax.vmap(lambda x, i: one(x, index=i))(before, index)
    return jax.vmap(lambda x, i, c: one(x, index=i, context=c))(before, index, context)
