"""h: from one patch to a pseudo-unchanged one, drawn from a key, as a value.

PAPER.replace(null=NoiseAndShift(noise_sigma=0.05))
PAPER.replace(null=OwnNull(lambda key, patch: 0.9 * patch))
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.ops import extents
from planetcd_jax.records import MAIN, check_choice, check_pixels
from planetcd_jax.types import Array

SHIFT_FILLS = ("reflect", "edge", "crop", "wrap", "zero")

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


@dataclasses.dataclass(frozen=True)
class NoiseAndShift:
    """Noise and a shift, the paper's h.

    Attributes:
        noise_sigma: Standard deviation of the noise, for images in [0, 1].
        max_shift: Largest shift, pixels, in each axis and either direction.
        shift_fill: Where h finds the pixels that a shift brings in, when no real context is given: "reflect", "edge"
            (repeat the last row or column), "crop" (no fill: both patches of the pair lose `max_shift` on each side),
            "wrap" and "zero" (both bring in an artificial edge; for comparison only).

    Source: Saha & Zhu, section III-D, equation 2. The distribution of the shift, the noise and the filling are not
    stated there; uniform, Gaussian with `noise_sigma`, and `shift_fill` are this package's.
    """

    noise_sigma: float = dataclasses.field(default=constants.DEFAULT_NOISE_SIGMA, metadata=MAIN)
    max_shift: int = dataclasses.field(default=constants.PAPER_MAX_SHIFT, metadata=MAIN)
    shift_fill: str = dataclasses.field(default="reflect", metadata=MAIN)

    kind: ClassVar[str] = "noise_and_shift"

    def __post_init__(self):
        if not 0 <= self.noise_sigma <= 1:
            raise ConfigError(f"noise_sigma is {self.noise_sigma!r}; give a value in [0, 1] (images are in [0, 1]).")
        check_pixels("max_shift", self.max_shift)
        check_choice("shift_fill", self.shift_fill, SHIFT_FILLS)

    @property
    def margin_px(self) -> int:
        """Pixels of true ground on each side of a patch that take the place of `shift_fill`."""
        return self.max_shift

    @property
    def least_side_px(self) -> int:
        """Side of the smallest patch that it can be drawn for without a context."""
        return {"reflect": self.max_shift + 1, "crop": 2 * self.max_shift + 1}.get(self.shift_fill, 1)

    def describe(self) -> str:
        """In words."""
        return f"noise {self.noise_sigma:g}, shift up to {self.max_shift} px"

    def pair(self, key: Array, before: Array, context: Array | None = None) -> tuple[Array, Array]:
        """The pair (x, h(x)) of one patch, whose score is one sample of rho for unchanged ground.

        Args:
            key: Key of this patch.
            before: [H, W] or [H, W, C] float in [0, 1].
            context: None, or `before` with `max_shift` true pixels on each side, [H + 2m, W + 2m(, C)]; it then
                takes the place of `shift_fill`.

        Returns:
            x and h(x), both [H, W(, C)]; with shift_fill="crop" and no context both lose `max_shift` px on each side.
            Noise is added after the shift and the sum is not clipped.

        Raises:
            PatchError: if the context has the wrong shape, or the patch is too small for the shift.
        """
        m = self.max_shift
        key_shift, key_noise = jax.random.split(key)
        if extents.is_set(before.shape[:2]):
            noise = self.noise_sigma * extents.normal(key_noise, before.shape, before.dtype)
            return before, self._shifted_image(before, draw_shift(key_shift, m)) + noise
        if context is not None:
            wanted = (before.shape[0] + 2 * m, before.shape[1] + 2 * m, *before.shape[2:])
            if context.shape != wanted:
                raise PatchError(f"context has shape {context.shape}; with max_shift={m} it must be {wanted}.")
            x, source = before, context
        elif self.shift_fill == "crop":
            if min(before.shape[:2]) <= 2 * m:
                raise PatchError(
                    f"a patch of {before.shape[0]}x{before.shape[1]} px has nothing left after {m} px are cropped on "
                    "each side; lower max_shift or choose shift_fill='reflect'."
                )
            x, source = before[m : before.shape[0] - m, m : before.shape[1] - m], before
        else:
            x, source = before, _pad(before, m, self.shift_fill)
        shifted = _window(source, m + draw_shift(key_shift, m), x.shape)
        noise = self.noise_sigma * jax.random.normal(key_noise, x.shape, x.dtype)
        return x, shifted + noise

    def _shifted_image(self, x: Array, shift: Array) -> Array:
        """An image in a larger array (`extents`), shifted and filled as without the room around it; not by "crop"."""
        inner = extents.lengths(x.shape[:2])
        places = [jnp.arange(n, dtype=jnp.int32) + d for n, d in zip(x.shape[:2], shift, strict=True)]
        find = {"reflect": extents.mirrored_index, "wrap": jnp.mod}.get(
            self.shift_fill, lambda k, n: jnp.clip(k, 0, n - 1)
        )
        rows, columns = (find(k, n) for k, n in zip(places, inner, strict=True))
        moved = x[rows][:, columns]
        if self.shift_fill != "zero":
            return moved
        known = [(k >= 0) & (k < n) for k, n in zip(places, inner, strict=True)]
        return jnp.where((known[0][:, None] & known[1][None]).reshape(x.shape[:2] + (1,) * (x.ndim - 2)), moved, 0)

    def valid_in_both(self, key: Array, valid: Array, context: Array) -> Array:
        """Pixels that are valid in x and in h(x). [H, W] bool, and with its margin, to [H, W] bool."""
        mask = context.astype(jnp.float32)
        still = dataclasses.replace(self, noise_sigma=0.0)
        here, there = still.pair(key, valid.astype(jnp.float32), mask)
        return (here > 0.5) & (there > 0.5)


@dataclasses.dataclass(frozen=True)
class OwnNull:
    """A pseudo-unchanged function of one's own.

    Attributes:
        function: `function(key, patch)`: one patch [H, W] or [H, W, C] to another of the same shape. Hashable.
    """

    function: Callable[[Array, Array], Array] | None = None

    kind: ClassVar[str] = "own"
    margin_px: ClassVar[int] = 0
    least_side_px: ClassVar[int] = 1

    def __post_init__(self):
        if not callable(self.function):
            raise ConfigError(f"function is {self.function!r}; give function(key, patch), which returns a patch.")

    def describe(self) -> str:
        """In words."""
        return f"by {getattr(self.function, '__qualname__', 'a function of your own')}"

    def pair(self, key: Array, before: Array, context: Array | None = None) -> tuple[Array, Array]:
        """As `NoiseAndShift.pair`; the context is not used.

        Raises:
            PatchError: if the function changes the shape.
        """
        del context
        assert self.function is not None
        drawn = self.function(key, before)
        if drawn.shape != before.shape:
            raise PatchError(
                f"the pseudo-unchanged patch has shape {drawn.shape}, and the patch {before.shape}; keep the shape."
            )
        return before, drawn

    def valid_in_both(self, key: Array, valid: Array, context: Array) -> Array:
        """As `NoiseAndShift.valid_in_both`; the function is taken to leave pixels where they are."""
        del key, context
        return valid


Null = Any
"""`NoiseAndShift`, `OwnNull`, or another record with their properties and methods."""


def pseudo_unchanged(
    key: Array,
    before: Array,
    null: Null,
    *,
    context: Array | None = None,
    index: Array | None = None,
    batched: bool | None = None,
) -> Array:
    """h(x): a noisy, shifted version of one patch or of each patch of a batch.

    Args:
        key: Key of the run. Patch i uses `fold_in(key, i)`.
        before: [H, W] or [H, W, C] for one patch, [N, H, W] or [N, H, W, C] for a batch; float in [0, 1].
        null: How, such as `PAPER.score.null`.
        context: None, or `before` with `null.margin_px` true pixels on each side.
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
        return null.pair(own, before, context)[1]
    index = jnp.arange(before.shape[0], dtype=jnp.uint32) if index is None else index
    one = partial(pseudo_unchanged, key, null=null, batched=False)
    if context is None:
        return jax.vmap(lambda x, i: one(x, index=i))(before, index)
    return jax.vmap(lambda x, i, c: one(x, index=i, context=c))(before, index, context)
