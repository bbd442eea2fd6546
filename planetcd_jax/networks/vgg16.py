"""VGG-16 as a Flax module whose every activation has the name that the paper gives it.

Source: Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", table 1, column
D. Padding is zero, pooling is 2x2 with stride 2 and drops an odd last row or column, as in torchvision and Keras.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, cast

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax import constants
from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.errors import WeightsError
from planetcd_jax.networks.backbone import Backbone
from planetcd_jax.ops import extents
from planetcd_jax.records import MAIN, check_choice
from planetcd_jax.types import Array, Params

CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
"""Features of the convolutions of each block."""


def block_of(layer: str) -> int:
    """Block number, 1 to 5, of a convolution such as "conv3_2"."""
    return int(layer[4])


def stride_of(layer: str) -> int:
    """Pixels between neighbouring features of a convolution: 2 for each pooling before it."""
    return 2 ** (block_of(layer) - 1)


def receptive_field_of(layer: str) -> int:
    """Side of the square of pixels that one feature of a convolution sees: 32 for conv3_2."""
    side, step = 1, 1
    for name in VGG16_LAYERS[: VGG16_LAYERS.index(layer) + 1]:
        if name.endswith("_1") and name != "conv1_1":
            side, step = side + step, 2 * step  # the 2x2 pooling before this block
        side += 2 * step  # a 3x3 convolution
    return side


class ImageNorm(nn.Module):
    """Batch normalisation with the statistics of each image by itself: biased variance, then scale and shift.

    This is what torch.nn.BatchNorm2d computes in training mode for a batch of one image, which is how the authors'
    script runs it; unlike there, a batch of many images changes nothing.
    """

    epsilon: float = constants.BATCH_NORM_EPSILON

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, H, W, D] to the same shape and dtype; statistics in float32."""
        chex.assert_rank(x, 4)
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        mean = wide.mean(axis=(1, 2), keepdims=True)  # [N, 1, 1, D]
        variance = jnp.square(wide - mean).mean(axis=(1, 2), keepdims=True)  # [N, 1, 1, D]
        normed = (wide - mean) * jax.lax.rsqrt(variance + self.epsilon)  # [N, H, W, D]
        return (normed * scale + bias).astype(x.dtype)


class VGG16(nn.Module):
    """The convolutional part of VGG-16, cut after any layer.

    Attributes:
        last_layer: Convolution after which to stop, "conv1_1" to "conv5_3".
        batch_norm: Whether each convolution is followed by `ImageNorm`.
        dtype: Type in which the convolutions run; parameters stay float32.
        precision: `jax.lax.Precision` of the convolutions.
        padding: "SAME" pads with zeros; "VALID" keeps only what the image itself decides, so each side of the last
            activation loses (receptive field - stride) / 2 pixels.

    Example:
        >>> x = jnp.zeros((2, 64, 64, 3))  # [N, H, W, 3], normalised
        >>> acts = VGG16("conv3_2").apply({"params": params}, x)
        >>> acts["conv3_2"].shape  # [N, H // 4, W // 4, 256]
        (2, 16, 16, 256)
    """

    last_layer: str = "conv3_2"
    batch_norm: bool = False
    dtype: jnp.dtype = jnp.float32
    precision: jax.lax.Precision | None = jax.lax.Precision.HIGHEST
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> dict[str, Array]:
        """Named activations of normalised images.

        Args:
            x: [N, H, W, C'] float32. C' is 3 unless the first kernel was made for another count.

        Returns:
            Dict in network order: "conv1_1" (before its ReLU), "bn1_1" (where there is one), "relu1_1", ..., "pool1",
            ..., up to "convB_I" and "reluB_I" of the last layer; each [N, H / stride, W / stride, D].
        """
        chex.assert_rank(x, 4)
        acts = {}
        for layer in VGG16_LAYERS[: VGG16_LAYERS.index(self.last_layer) + 1]:
            suffix, block = layer[4:], block_of(layer)
            if suffix.endswith("_1") and block > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))  # [N, H/2, W/2, D]
                x = acts[f"pool{block - 1}"] = extents.blank(x, stride_of(layer))
            conv = nn.Conv(
                CHANNELS[block], (3, 3), padding=self.padding, dtype=self.dtype, precision=self.precision, name=layer
            )
            x = acts[layer] = conv(x)  # [N, H', W', D]
            if self.batch_norm:
                x = acts[f"bn{suffix}"] = ImageNorm(name=f"bn{suffix}")(x)
            x = acts[f"relu{suffix}"] = extents.blank(nn.relu(x), stride_of(layer))
        return acts


def activations(module: VGG16, params: Params, x: Array) -> Mapping[str, Array]:
    """Named activations of normalised images, [N, H, W, C'], by a module and its parameters."""
    return cast(Mapping[str, Array], module.apply({"params": params}, x))  # Flax types it as of any module


def parameter_shapes(layers: tuple[str, ...] = VGG16_LAYERS, *, batch_norm: bool = False) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of some layers, keyed "conv1_1/kernel", "conv1_1/bias", "bn1_1/scale", ..."""
    shapes = {}
    for layer in layers:
        block = block_of(layer)
        if layer == "conv1_1":
            bands = 3
        else:
            bands = CHANNELS[block - 1] if layer.endswith("_1") else CHANNELS[block]
        shapes[f"{layer}/kernel"] = (3, 3, bands, CHANNELS[block])
        shapes[f"{layer}/bias"] = (CHANNELS[block],)
        if batch_norm:
            for part in ("scale", "bias"):
                shapes[f"bn{layer[4:]}/{part}"] = (CHANNELS[block],)
    return shapes


def fold_equal_channels(params: Params, mean: tuple[float, ...], std: tuple[float, ...]) -> Params:
    """Parameters for an image whose three channels are equal, given as two planes: (x - m, 1), m the mean of `mean`.

    With kernels K_c and the normalised channel (x - mean_c) / std_c, the first convolution is
    sum_c K_c * (x - mean_c) / std_c = (sum_c K_c / std_c) * (x - m) + (sum_c K_c (m - mean_c) / std_c) * 1.
    The plane of ones is zero in the padding, like every normalised channel, so borders are exact too.

    Args:
        params: As `load_vgg16` returns them.
        mean, std: The three-channel input normalisation, images in [0, 1].

    Returns:
        `params` with a first kernel of [3, 3, 2, 64].
    """
    kernel = params["conv1_1"]["kernel"]  # [3, 3, 3, 64]
    chex.assert_shape(kernel, (3, 3, 3, None))
    centre = float(np.mean(mean))
    scale = jnp.asarray([1.0 / s for s in std], kernel.dtype)[:, None]  # [3, 1]
    offset = jnp.asarray([(centre - m) / s for m, s in zip(mean, std, strict=True)], kernel.dtype)[:, None]
    folded = jnp.stack([(kernel * scale).sum(axis=2), (kernel * offset).sum(axis=2)], axis=2)  # [3, 3, 2, 64]
    return {**params, "conv1_1": {**params["conv1_1"], "kernel": folded}}


@dataclasses.dataclass(frozen=True)
class Vgg16(Backbone):
    """Plain VGG-16, computed by XLA.

    Attributes:
        layer: Convolution at which it is cut, "conv1_1" to "conv5_3". Paper: the sixth, "conv3_2".
        activation: "pre" or "post" the ReLU that follows the layer. Not stated in the paper; the authors' script cuts
            before it. With batch normalisation, "pre" is also before that.
        precision: "float32" (true float32 on every device), "tf32" (float32 storage, fast matrix units on GPUs), or
            "bfloat16" (network in bfloat16; what follows it in float32).
        input_mean, input_std, patch_standardize, bands: As in `Backbone`.
    """

    layer: str = dataclasses.field(default="conv3_2", metadata=MAIN)
    activation: str = dataclasses.field(default="pre", metadata=MAIN)
    precision: str = dataclasses.field(default="float32", metadata=MAIN)

    kind: ClassVar[str] = "vgg16"
    batch_norm: ClassVar[bool] = False
    pads: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        check_choice("layer", self.layer, VGG16_LAYERS)
        check_choice("activation", self.activation, constants.ACTIVATIONS)
        check_choice("precision", self.precision, constants.PRECISIONS)

    @property
    def stride(self) -> int:
        """2 for each pooling before the layer: 4 for conv3_2."""
        return stride_of(self.layer)

    @property
    def receptive_field(self) -> int:
        """32 for conv3_2."""
        return receptive_field_of(self.layer)

    @property
    def map_layers(self) -> tuple[str, ...]:
        """Those that stand for DCVA's, as far as the network goes: 64, 128 and 256 features on grids of 1, 1/2, 1/4."""
        return tuple(layer for layer in constants.DCVA_LAYERS if layer in self.layers) or (self.layer,)

    @property
    def layers(self) -> tuple[str, ...]:
        """Its convolutions, in order."""
        return VGG16_LAYERS[: VGG16_LAYERS.index(self.layer) + 1]

    @property
    def activation_name(self) -> str:
        """Such as "conv3_2" or "relu3_2"."""
        return self.layer if self.activation == "pre" else self.layer.replace("conv", "relu")

    def module(self, padding: str = "SAME") -> VGG16:
        """The Flax module."""
        low = self.precision == "bfloat16"
        # HIGHEST is true float32 on every device. HIGH lets a GPU use TF32 (and a TPU three bfloat16 passes).
        precision = {"float32": jax.lax.Precision.HIGHEST, "tf32": jax.lax.Precision.HIGH, "bfloat16": None}
        return VGG16(
            last_layer=self.layer,
            batch_norm=self.batch_norm,
            dtype=jnp.bfloat16 if low else jnp.float32,
            precision=precision[self.precision],
            padding=padding,
        )

    def apply(self, params: Params, x: Array) -> Mapping[str, Array]:
        """See `VGG16`."""
        return activations(self.module(), params, x)

    def check_parameters(self, params: Params) -> None:
        """Raises WeightsError, with what is missing."""
        names = [*self.layers, *(f"bn{layer[4:]}" for layer in self.layers if self.batch_norm)]
        missing = [name for name in names if name not in params]
        if missing:
            have = [name for name in params if name.startswith("conv")] if isinstance(params, Mapping) else []
            raise WeightsError(
                f"{self.kind} cut at {self.layer} needs the parameters of {', '.join(missing)}, and the given ones "
                f"hold {have[0] + ' to ' + have[-1] if have else 'no convolution'}"
                f"{' without batch normalisation' if missing[0].startswith('bn') else ''}; choose a layer and backbone "
                "that they cover, or load other weights (see weights/README.md)."
            )

    def group_activations(self, params: Params, x: Array, layers: tuple[str, ...]) -> Mapping[str, Array]:
        """As `Backbone.group_activations`; three equal channels are folded into two planes."""
        del layers
        return self._run(params, x, self.module())

    @property
    def context_px(self) -> int:
        """(receptive field - stride) / 2: without padding the network itself leaves the outer cells away."""
        return (self.receptive_field - self.stride) // 2

    def unpadded_group_features(self, params: Params, x: Array) -> Array:
        """As `Backbone.unpadded_group_features`."""
        return self.pick(self._run(params, x, self.module(padding="VALID")))

    def _run(self, params: Params, x: Array, module: VGG16) -> Mapping[str, Array]:
        """Activations of one group of bands, [H, W] or [H, W, 3]."""
        self.check_parameters(params)
        if x.ndim == 3:
            return activations(module, params, extents.blank(self.normalise(x))[None])
        x, mean, std = x.astype(jnp.float32), self.input_mean, self.input_std
        if self.patch_standardize:
            x, mean, std = self.standardized(x), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        planes = jnp.stack([x - sum(mean) / 3, jnp.ones_like(x)], axis=-1)  # [H, W, 2]
        return activations(module, fold_equal_channels(params, mean, std), extents.blank(planes)[None])


@dataclasses.dataclass(frozen=True)
class Vgg16Bn(Vgg16):
    """VGG-16 with batch normalisation by the statistics of each image, as the authors' script runs it."""

    kind: ClassVar[str] = "vgg16_bn"
    batch_norm: ClassVar[bool] = True
    whole_image: ClassVar[bool] = True
    pads: ClassVar[bool] = False
