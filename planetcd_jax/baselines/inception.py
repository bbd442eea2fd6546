"""Inception-v3 as a Flax module, with the ten-and-one mixed stages by the names that Keras gives them.

Source: Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision", in the form that Keras and
torchvision distribute. One table, `BLOCKS`, defines the network; the order of weights in Keras files and the names in
torch files follow from it. The two distributed forms differ in two points, told apart by `flavour`: Keras has no
learned scale in its batch normalisation and leaves the padding out of its average pooling; torchvision and timm have
the one and count the other.
"""

from collections.abc import Iterator
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.types import Array

FLAVOURS = ("keras", "torch")
BATCH_NORM_EPSILON = 1e-3
MIN_SIZE = 75
"""Least height and width of an image, pixels: the last stage is then 1x1."""


class Unit(NamedTuple):
    """A convolution without bias, batch normalisation, ReLU. `features` is for width 1."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


AVERAGE, MAXIMUM = "average", "maximum"
_HALVE = {"stride": 2, "padding": "VALID"}

STEM = (
    Unit("stem_1a", 32, (3, 3), **_HALVE),
    Unit("stem_2a", 32, (3, 3), padding="VALID"),
    Unit("stem_2b", 64, (3, 3)),
    MAXIMUM,
    Unit("stem_3b", 80, padding="VALID"),
    Unit("stem_4a", 192, (3, 3), padding="VALID"),
    MAXIMUM,
)


def _block_a(pooled: int):
    """Branches of mixed0 to mixed2."""
    double = (
        Unit("branch3x3dbl_1", 64),
        Unit("branch3x3dbl_2", 96, (3, 3)),
        Unit("branch3x3dbl_3", 96, (3, 3)),
    )
    five = (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5)))
    return ((Unit("branch1x1", 64),), five, double, (AVERAGE, Unit("branch_pool", pooled)))


def _block_b():
    """Branches of mixed3, which halves the grid."""
    double = (
        Unit("branch3x3dbl_1", 64),
        Unit("branch3x3dbl_2", 96, (3, 3)),
        Unit("branch3x3dbl_3", 96, (3, 3), **_HALVE),
    )
    return ((Unit("branch3x3", 384, (3, 3), **_HALVE),), double, (MAXIMUM,))


def _block_c(c: int):
    """Branches of mixed4 to mixed7; `c` features between the two factors of a 7x7 convolution."""
    seven = (Unit("branch7x7_1", c), Unit("branch7x7_2", c, (1, 7)), Unit("branch7x7_3", 192, (7, 1)))
    double = (
        Unit("branch7x7dbl_1", c),
        Unit("branch7x7dbl_2", c, (7, 1)),
        Unit("branch7x7dbl_3", c, (1, 7)),
        Unit("branch7x7dbl_4", c, (7, 1)),
        Unit("branch7x7dbl_5", 192, (1, 7)),
    )
    return ((Unit("branch1x1", 192),), seven, double, (AVERAGE, Unit("branch_pool", 192)))


def _block_d():
    """Branches of mixed8, which halves the grid."""
    seven = (
        Unit("branch7x7x3_1", 192),
        Unit("branch7x7x3_2", 192, (1, 7)),
        Unit("branch7x7x3_3", 192, (7, 1)),
        Unit("branch7x7x3_4", 192, (3, 3), **_HALVE),
    )
    return ((Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), **_HALVE)), seven, (MAXIMUM,))


def _block_e():
    """Branches of mixed9 and mixed10; a tuple within a branch is a fork whose ends are concatenated."""
    three = (Unit("branch3x3_1", 384), (Unit("branch3x3_2a", 384, (1, 3)), Unit("branch3x3_2b", 384, (3, 1))))
    double = (
        Unit("branch3x3dbl_1", 448),
        Unit("branch3x3dbl_2", 384, (3, 3)),
        (Unit("branch3x3dbl_3a", 384, (1, 3)), Unit("branch3x3dbl_3b", 384, (3, 1))),
    )
    return ((Unit("branch1x1", 320),), three, double, (AVERAGE, Unit("branch_pool", 192)))


BLOCKS = {
    "mixed0": _block_a(32),
    "mixed1": _block_a(64),
    "mixed2": _block_a(64),
    "mixed3": _block_b(),
    "mixed4": _block_c(128),
    "mixed5": _block_c(160),
    "mixed6": _block_c(160),
    "mixed7": _block_c(192),
    "mixed8": _block_d(),
    "mixed9": _block_e(),
    "mixed10": _block_e(),
}
"""Branches of each mixed stage, in the order in which their outputs are concatenated."""


LAST_STAGE = "mixed10"


def units() -> Iterator[tuple[str | None, Unit]]:
    """Every (stage, unit) in the order in which Keras and torchvision create them; the stage is None in the stem."""
    yield from ((None, step) for step in STEM if isinstance(step, Unit))
    for name, branches in BLOCKS.items():
        for branch in branches:
            for step in branch:
                if isinstance(step, Unit):
                    yield name, step
                elif isinstance(step, tuple):
                    yield from ((name, end) for end in step)


def _average(x: Array, *, counted: bool) -> Array:
    """Means of 3x3 windows, same size; whether the zeros of the padding count."""
    if not counted:
        return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
    return jax.lax.reduce_window(x, jnp.zeros((), x.dtype), jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME") / 9


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU, as a `Unit` says."""

    unit: Unit
    width: float
    flavour: str
    momentum: float

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[N, H, W, D] to [N, H', W', D']."""
        u = self.unit
        features = max(1, round(u.features * self.width))
        strides = (u.stride, u.stride)
        conv = nn.Conv(
            features,
            u.kernel,
            strides,
            padding=u.padding,
            use_bias=False,
            precision=jax.lax.Precision.HIGHEST,
            name="conv",
        )
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=BATCH_NORM_EPSILON,
            use_scale=self.flavour == "torch",
            name="bn",
        )
        return nn.relu(norm(conv(x)))


class Steps(nn.Module):
    """Branches side by side, concatenated over features; the stem is one branch."""

    branches: tuple
    width: float
    flavour: str
    momentum: float

    def _step(self, x: Array, step, train: bool) -> Array:
        if step == MAXIMUM:
            return nn.max_pool(x, (3, 3), (2, 2), "VALID")
        if step == AVERAGE:
            return _average(x, counted=self.flavour == "torch")
        if isinstance(step, Unit):
            return ConvUnit(step, self.width, self.flavour, self.momentum, name=step.name)(x, train)
        return jnp.concatenate([self._step(x, end, train) for end in step], axis=-1)

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[N, H, W, D] to [N, H', W', sum of D']."""
        ends = []
        for branch in self.branches:
            y = x
            for step in branch:
                y = self._step(y, step, train)
            ends.append(y)
        return jnp.concatenate(ends, axis=-1)


class InceptionV3(nn.Module):
    """Inception-v3, all stages named.

    Attributes:
        classes: Outputs of the last layer, or None to stop at the pooled features.
        width: Multiplier of every feature count; 1 is the published network, less is for small runs.
        flavour: "keras" or "torch", see the module's text.
        momentum: Share of the old running statistics that a training step keeps.
        last_stage: Stage after which to stop, "mixed0" to "mixed10"; an early one makes a smaller network.

    Example:
        >>> model = InceptionV3(classes=1000, last_stage="mixed2")
        >>> x = jnp.zeros((1, 75, 75, 3))  # [N, H, W, 3] in [-1, 1], H and W at least 75
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), x)
        >>> jax.eval_shape(model.apply, variables, x)["mixed2"].shape  # [N, H', W', D]
        (1, 7, 7, 288)
    """

    classes: int | None = 1000
    width: float = 1.0
    flavour: str = "keras"
    momentum: float = 0.9
    last_stage: str = LAST_STAGE

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        """Named activations.

        Args:
            x: [N, H, W, 3] float32 in [-1, 1] (2 v - 1 for v in [0, 1]).
            train: Whether batch normalisation uses, and updates, the statistics of the batch.

        Returns:
            "stem", "mixed0" ... up to the last stage [N, H', W', D], its mean "pool" [N, D] and, with `classes`,
            "logits" [N, classes].

        Raises:
            ConfigError: if width, flavour or last stage is out of its domain.
            PatchError: if the image is smaller than 75x75.
        """
        chex.assert_rank(x, 4)
        if self.flavour not in FLAVOURS:
            raise ConfigError(f"flavour is {self.flavour!r}; choose one of {', '.join(FLAVOURS)}.")
        if self.last_stage not in BLOCKS:
            raise ConfigError(f"last_stage is {self.last_stage!r}; choose one of {', '.join(BLOCKS)}.")
        if not 0 < self.width <= 1:
            raise ConfigError(f"width is {self.width!r}; give a multiplier in (0, 1].")
        if min(x.shape[1:3]) < MIN_SIZE:
            height, width = x.shape[1:3]
            raise PatchError(
                f"an image of {height}x{width} px is too small for Inception-v3; give {MIN_SIZE} px or more."
            )
        options = {"width": self.width, "flavour": self.flavour, "momentum": self.momentum}
        x = Steps((STEM,), **options, name="stem")(x, train)  # [N, H/8, W/8, 192], nearly
        acts = {"stem": x}
        for name, branches in BLOCKS.items():
            x = acts[name] = Steps(branches, **options, name=name)(x, train)  # [N, H', W', D]
            if name == self.last_stage:
                break
        x = acts["pool"] = x.mean(axis=(1, 2))  # [N, D]
        if self.classes is not None:
            dense = nn.Dense(self.classes, precision=jax.lax.Precision.HIGHEST, name="head")
            acts["logits"] = dense(x)  # [N, classes]
        return acts
