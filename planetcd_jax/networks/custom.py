"""Your own network: any function of parameters and images, such as the `apply` of a Flax module."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from planetcd_jax.errors import ConfigError, WeightsError
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.networks.backbone import Backbone
from planetcd_jax.networks.flax_files import load_variables
from planetcd_jax.networks.weights_io import Weights
from planetcd_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class Custom(Backbone):
    """A network given as a function.

    Attributes:
        layer: Name of the activation that is used; free where the function returns a single array.
        function: `function(params, x)`, x [N, H, W, 3] float32 normalised: a dict of named activations [N, h, w, D], or
            one of them. Hashable, as functions and the bound methods of Flax modules are. It pads with zeros, so that
            h = H // stride.
        step: Pixels from one feature to the next, at `layer`; None where scenes are not scored with it.
        sees: Side of the square of pixels that one feature sees; None likewise.
        input_mean, input_std, patch_standardize, bands: As in `Backbone`.

    Example:
        >>> import flax.linen as nn
        >>> stem = nn.Conv(8, (3, 3), strides=2)
        >>> Custom(layer="stem", function=stem.apply, step=2, sees=3).stride
        2
    """

    function: Callable[[Params, Array], Any] | None = None
    step: int | None = None
    sees: int | None = None

    kind: ClassVar[str] = "custom"

    def __post_init__(self):
        super().__post_init__()
        if not callable(self.function):
            raise ConfigError(f"function is {self.function!r}; give function(params, images), such as module.apply.")
        for name in ("step", "sees"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name} is {value!r}; give None or a number of pixels, 1 or more.")

    @property
    def stride(self) -> int | None:
        """`step`."""
        return self.step

    @property
    def receptive_field(self) -> int | None:
        """`sees`."""
        return self.sees

    def apply(self, params: Params, x: Array) -> Mapping[str, Array]:
        """Named activations."""
        assert self.function is not None  # `__post_init__` has seen to it
        found = self.function(params, x)
        return found if isinstance(found, Mapping) else {self.layer: found}

    def load(self, source: str | None) -> Weights:
        """Variables from a file of a Flax model (`flax_files.load_variables`).

        Raises:
            WeightsError: if none is named, or it cannot be used.
        """
        if source is None:
            raise WeightsError(
                f"the network {self.layer!r} of your own has no default weights; name a .msgpack or .safetensors file "
                "with --weights, or override Backbone.load."
            )
        path = pathlib.Path(source)
        variables = load_variables(path)
        return Weights(
            variables, self.kind, self.input_mean, self.input_std, sha256_of_file(path), f"file {path.name}", str(path)
        )
