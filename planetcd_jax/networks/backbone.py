"""A network as a value: what it is fed, what it computes, and how far one of its features sees.

Another network is a subclass of `Backbone` in a file of its own (docs/extending.md).

Axes: N images, H rows, W columns, C bands, h and w the same in cells of the feature map, D features, G groups of bands
that go through the network by themselves (1 for one band or RGB).
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import chex
import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.ops import extents
from planetcd_jax.records import MAIN, check_flag, check_triple
from planetcd_jax.types import Array, Params

if TYPE_CHECKING:
    from planetcd_jax.networks.weights_io import Weights


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network, cut at one layer, with its input normalisation. Hashable: a static argument of `jax.jit`.

    Attributes:
        layer: Name of the activation that is used.
        input_mean, input_std: Network input is (x - mean) / std in each of three channels, x in [0, 1].
        patch_standardize: Bring each patch to zero mean and unit standard deviation first; the result takes the place
            of the input normalisation. Makes features blind to gain and offset of a patch.
        bands: None, or three band indices to use as R, G, B of a patch with more bands. With None and a band count
            other than 1 and 3, each band goes through the network by itself.

    A subclass gives `apply`, and, where scenes are to share feature maps, `stride` and `receptive_field`.

    Raises:
        ConfigError: if a field has a value outside its domain.
    """

    layer: str = dataclasses.field(metadata=MAIN)
    input_mean: tuple[float, float, float] = constants.IMAGENET_MEAN
    input_std: tuple[float, float, float] = constants.IMAGENET_STD
    patch_standardize: bool = dataclasses.field(default=False, metadata=MAIN)
    bands: tuple[int, int, int] | None = None

    kind: ClassVar[str] = "custom"
    whole_image: ClassVar[bool] = False
    """Whether a feature depends on all of the image, as with statistics of it: windows cannot share maps then."""
    pads: ClassVar[bool] = False
    """Whether features of an image in a larger array, inside `extents.extent`, are those of the image alone."""

    def __post_init__(self):
        if not isinstance(self.layer, str) or not self.layer:
            raise ConfigError(f"layer is {self.layer!r}; name an activation that the network returns.")
        check_triple("input_mean", self.input_mean)
        check_triple("input_std", self.input_std, positive=True)
        check_flag("patch_standardize", self.patch_standardize)
        if self.bands is not None:
            check_triple("bands", self.bands)
            if not all(isinstance(b, int) and b >= 0 for b in self.bands):
                raise ConfigError(f"bands is {self.bands!r}; give three band indices, counted from 0.")

    # What a subclass gives.

    def apply(self, params: Params, x: Array) -> Mapping[str, Array]:
        """Named activations [N, h, w, D] of normalised images [N, H, W, 3] float32, zero-padded at the border."""
        raise NotImplementedError(f"{type(self).__name__} has no apply")

    @property
    def stride(self) -> int | None:
        """Pixels from one feature to the next; None where it is not known."""
        return None

    @property
    def receptive_field(self) -> int | None:
        """Side of the square of pixels that one feature sees, centred on its block of `stride` pixels, or None."""
        return None

    @property
    def map_layers(self) -> tuple[str, ...]:
        """Layers from which a pixel map is made (`scores.dcva`)."""
        return (self.layer,)

    def prepare(self, params: Params) -> Params:
        """Parameters in the form that `apply` takes; done once, before pairs are looped over."""
        return params

    def load(self, source: str | None) -> "Weights":
        """Weights for this network, where a program is asked to find them: None for its default.

        Raises:
            WeightsError: if they cannot be used.
        """
        from planetcd_jax.networks.weights_io import load_weights  # it knows VGG-16, which is a backbone

        return load_weights(source)

    def check_parameters(self, params: Params) -> None:
        """Raises WeightsError, with what is missing, if `params` cannot serve."""

    # What follows from it.

    @property
    def activation_name(self) -> str:
        """The key of the chosen activation in what `apply` returns."""
        return self.layer

    @property
    def context_px(self) -> int:
        """Pixels on each side of an image that `unpadded` gives no cells for, a multiple of `stride`."""
        self.check_shares()
        assert self.stride and self.receptive_field
        return -(-((self.receptive_field - self.stride) // 2) // self.stride) * self.stride

    def check_shares(self) -> None:
        """Raises ConfigError if windows of an image cannot share feature maps."""
        if self.whole_image:
            raise ConfigError(
                f"backbone is {self.kind!r}, and windows cannot share its feature maps: it normalises with the "
                "statistics of each window; use backbone vgg16, or cut patches and score them with change_scores."
            )
        if self.stride is None or self.receptive_field is None:
            raise ConfigError(
                f"backbone is {self.kind!r}, and its stride and receptive field are not stated, so windows cannot "
                "share feature maps; state both, or cut patches and score them with change_scores."
            )
        if self.receptive_field < self.stride or (self.receptive_field - self.stride) % 2:
            raise ConfigError(
                f"a feature of {self.layer} sees {self.receptive_field} px and steps by {self.stride} px; state an "
                "even difference, 0 or more: a feature is taken to see as far on each side of its block."
            )

    def check_patch(self, name: str, x: Array) -> None:
        """Raises PatchError unless `x` is a float patch [H, W] or [H, W, C] large enough for the layer."""
        check_image(name, x)
        shape = tuple(x.shape)
        if self.bands is not None and (x.ndim == 2 or max(self.bands) >= shape[-1]):
            raise PatchError(f"{name} has shape {shape}, without all of the bands {self.bands} (counted from 0).")
        smallest = self.stride or 1
        if min(shape[:2]) < smallest:
            raise PatchError(
                f"{name} is {shape[0]}x{shape[1]} px, and {self.layer} needs at least {smallest} px in each axis; "
                "use larger patches or an earlier layer."
            )

    def check_pair(self, before: Array, after: Array) -> None:
        """Raises PatchError unless both are patches of one shape."""
        self.check_patch("before", before)
        self.check_patch("after", after)
        check_alike(before, after)

    def band_groups(self, x: Array) -> Array:
        """A patch as [G, H, W] (equal channels, G scored one by one) or [1, H, W, 3] (colour)."""
        if x.ndim == 2:
            return x[None]
        if self.bands is not None:
            return x[None, :, :, jnp.asarray(self.bands)]
        if x.shape[-1] == 3:
            return x[None]
        return jnp.moveaxis(x, -1, 0)

    def standardized(self, x: Array) -> Array:
        """`x` with zero mean and unit standard deviation, all channels together: the ratios of bands stay."""
        centred = x - extents.mean(x).mean()
        power = extents.mean(jnp.square(centred)).mean()
        return centred * jax.lax.rsqrt(power + constants.STANDARDIZE_EPSILON)

    def normalise(self, x: Array) -> Array:
        """What the network is given for one group of bands: [H, W] or [H, W, 3] in [0, 1] to [H, W, 3] float32."""
        x = x.astype(jnp.float32)
        x = self.standardized(x) if self.patch_standardize else x
        x = jnp.stack([x, x, x], axis=-1) if x.ndim == 2 else x
        if self.patch_standardize:
            return x
        return (x - jnp.asarray(self.input_mean, jnp.float32)) / jnp.asarray(self.input_std, jnp.float32)

    def pick(self, activations: Mapping[str, Array]) -> Array:
        """The chosen activation of one image, [h, w, D] float32."""
        name = self.activation_name
        if name not in activations:
            raise ConfigError(f"the network returns no activation named {name!r}; it has {', '.join(activations)}.")
        chex.assert_rank(activations[name], 4)
        return activations[name][0].astype(jnp.float32)

    def group_activations(self, params: Params, x: Array, layers: tuple[str, ...]) -> Mapping[str, Array]:
        """Named activations [1, h, w, D] of one group of bands, [H, W] or [H, W, 3].

        Args:
            params, x: As in `group_features`.
            layers: Those that are wanted, the own one among them; which of them one run gives is the network's.
        """
        del layers
        return self.apply(params, self.normalise(x)[None])

    def group_features(self, params: Params, x: Array) -> Array:
        """Features of one group of bands: [H, W] or [H, W, 3] to [h, w, D] float32."""
        return self.pick(self.group_activations(params, x, (self.layer,)))

    def unpadded_group_features(self, params: Params, x: Array) -> Array:
        """`group_features` without those that the padding reaches: `context_px` are lost on each side."""
        found = self.group_features(params, x)
        rim = self.context_px // (self.stride or 1)
        return found[rim : found.shape[0] - rim, rim : found.shape[1] - rim]

    def features(self, params: Params, x: Array) -> Array:
        """Feature map of one patch, phi: [H, W] or [H, W, C] float in [0, 1] to [G, h, w, D] float32.

        Raises:
            PatchError: if `x` is no patch.
            ConfigError, WeightsError: if network and parameters do not fit.
        """
        self.check_patch("patch", x)
        return jax.vmap(lambda group: self.group_features(params, group))(self.band_groups(x))

    def features_of(self, params: Params, x: Array, layers: tuple[str, ...]) -> tuple[Array, ...]:
        """`features` of each of some layers; one run of the network where its last layer's run gives all of them.

        Args:
            params, x: As in `features`.
            layers: In network order.
        """
        self.check_patch("patch", x)
        cuts = [dataclasses.replace(self, layer=layer) for layer in layers]

        def of_group(group: Array) -> tuple[Array, ...]:
            found = cuts[-1].group_activations(params, group, layers)
            return tuple(
                cut.pick(found) if cut.activation_name in found else cut.group_features(params, group) for cut in cuts
            )

        return jax.vmap(of_group)(self.band_groups(x))

    def unpadded_features(self, params: Params, x: Array) -> Array:
        """`features` without those that the padding reaches, [G, (H - 2 context_px) / stride, ..., D]."""
        return jax.vmap(lambda group: self.unpadded_group_features(params, group))(self.band_groups(x))


class Network:
    """A backbone with its parameters, as scores use it.

    Attributes:
        backbone: The `Backbone`.
        params: In the form that it takes them (`Backbone.prepare`).
    """

    def __init__(self, backbone: Backbone, params: Params):
        self.backbone, self.params = backbone, params

    def features(self, x: Array) -> Array:
        """[H, W] or [H, W, C] float in [0, 1] to [G, h, w, D] float32."""
        return self.backbone.features(self.params, x)

    def features_of(self, x: Array, layers: tuple[str, ...]) -> tuple[Array, ...]:
        """As `features`, for each of some layers."""
        return self.backbone.features_of(self.params, x, layers)

    def step_px(self, layer: str) -> int:
        """Pixels in a cell of one of its layers; 1 where it is not known."""
        return dataclasses.replace(self.backbone, layer=layer).stride or 1


def prepared(backbone: Backbone, params: Params) -> Network:
    """The network, with its parameters made ready once."""
    return Network(backbone, backbone.prepare(params))


def check_image(name: str, x: Array) -> None:
    """Raises PatchError unless `x` is a float array [H, W] or [H, W, C]."""
    shape = tuple(x.shape)
    if x.ndim not in (2, 3):
        raise PatchError(f"{name} has shape {shape}; give one patch, [H, W] or [H, W, C] (batches: change_scores).")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise PatchError(f"{name} has dtype {x.dtype}; give floats in [0, 1] (divide 8-bit images by 255).")
    if x.ndim == 3 and x.shape[-1] == 0:
        raise PatchError(f"{name} has shape {shape}, so no band; give at least one.")


def check_alike(before: Array, after: Array) -> None:
    """Raises PatchError unless both have one shape."""
    if before.shape != after.shape:
        raise PatchError(f"before has shape {before.shape} and after {after.shape}; crop or resample to one grid.")
