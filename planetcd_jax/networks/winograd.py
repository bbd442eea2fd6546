"""VGG-16's convolutions in C++ by Winograd's algorithm, for CPUs, called through `jax.ffi`: another backbone.

    config = with_engine(pcd.ROBUST, "winograd")             # compiles winograd.cc, once for each machine
    found = jax.jit(pcd.detect, static_argnames="config")(key, params, before, after, config)

It gives the float32 network's activations to about 1e-6 of their range with a quarter of the multiplications, under
`jit`, `vmap`, `lax.map`, `shard_map` and reverse-mode `grad` (whose backward pass is XLA's own network). It needs a C++
compiler when it is used for the first time. Nothing of this is imported or compiled unless it is asked for by name.

Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", section 4.1.
"""

import ctypes
import dataclasses
import functools
import math
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.errors import ConfigError
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.networks import vgg16
from planetcd_jax.networks.backbone import Backbone
from planetcd_jax.networks.vgg16 import Vgg16
from planetcd_jax.ops import extents
from planetcd_jax.records import as_kind
from planetcd_jax.types import Array, Params

ENGINES = ("auto", "xla", "winograd")
"""What can compute the network; auto is winograd where it can serve, and xla elsewhere."""

SOURCE = pathlib.Path(__file__).with_name("winograd.cc")
LAYERS = VGG16_LAYERS[:7]
"""Convolutions that it knows: conv1_1 to conv3_3."""

_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-w")
_TARGET = "planetcd_winograd"
_PANEL = 64

# G of F(4 x 4, 3 x 3): the 3 x 3 kernel k becomes G k G', 6 x 6.
_KERNEL_TRANSFORM = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24.0


def serve(name: str, backbone: Backbone) -> Backbone:
    """The backbone as an engine of `ENGINES` computes it; `why_xla` tells what "auto" means here.

    Raises:
        ConfigError: for another name, or where the engine that is asked for cannot serve.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine is {name!r}; choose one of {', '.join(ENGINES)}.")
    reason = None if name == "xla" else why_xla(backbone)
    if name == "winograd" and reason is not None:
        raise ConfigError(f"{reason}; use the xla engine.")
    if name == "xla" or reason is not None:
        return backbone
    return as_kind(Winograd, backbone)


def engine_of(backbone: Backbone) -> str:
    """Name of the engine that computes a backbone."""
    return "winograd" if isinstance(backbone, Winograd) else "xla"


def why_xla(backbone: Backbone) -> str | None:
    """Why the winograd engine cannot serve a backbone on this machine; None if it can, and is compiled now."""
    if not isinstance(backbone, Vgg16):
        return f"the winograd engine does vgg16 up to conv3_3 in float32, not {backbone.kind}"
    if backbone.batch_norm or backbone.layer not in LAYERS or backbone.precision != "float32":
        return (
            f"the winograd engine does vgg16 up to conv3_3 in float32, not {backbone.kind} to {backbone.layer} in "
            f"{backbone.precision}"
        )
    if jax.default_backend() != "cpu":
        return f"the winograd engine runs on CPUs, not on {jax.default_backend()}"
    try:
        _register()
    except ConfigError as error:
        return str(error)
    return None


def _compiler() -> str:
    named = os.environ.get("CXX")
    found = [shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])]
    if not any(found):
        raise ConfigError(
            f"the winograd engine needs a C++ compiler, and {named or 'g++, clang++ or c++'} is not here; install one, "
            "or name it in CXX"
        )
    return next(path for path in found if path)


def _fingerprint(compiler: str) -> str:
    """What a compiled file depends on: source, compiler, JAX's headers, and this processor's instructions."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    features = [line for line in lines if line.startswith(("flags", "Features")) or len(lines) == 1][:1]
    parts = [SOURCE.read_text(), version, jax.__version__, platform.machine(), *features, *_FLAGS]
    return sha256_of("\n".join(parts).encode())[:16]


def compiled_library(folder: pathlib.Path | None = None) -> pathlib.Path:
    """Path of the compiled engine; compiles it, in about ten seconds, where it is not there yet.

    Args:
        folder: Where it is kept. None: "native" in the package's cache folder.

    Raises:
        ConfigError: if there is no compiler, or it fails.
    """
    folder = cache_folder("native") if folder is None else folder
    compiler = _compiler()
    path = folder / f"winograd-{_fingerprint(compiler)}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:  # then renamed: another process may be doing the same
            made = pathlib.Path(work) / path.name
            command = [compiler, *_FLAGS, f"-I{jax.ffi.include_dir()}", os.fspath(SOURCE), "-o", os.fspath(made)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = " ".join(done.stderr.split())[:300]
                raise ConfigError(f"{compiler} cannot compile {SOURCE.name}: {said}")
            os.replace(made, path)
    return path


@functools.cache
def _register() -> None:
    library = ctypes.cdll.LoadLibrary(os.fspath(compiled_library()))
    jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(library.planetcd_winograd), platform="cpu")


def pack(params: Params, layers: tuple[str, ...]) -> Array:
    """Kernels and biases of some layers as the C++ code reads them: one float32 vector.

    The first kernel as it is, [3, 3, 3, 64]; the others as [36 points, D / 64 panels, C, 64]. Transformed in 64 bits,
    or, while JAX traces, in 32.
    """
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(params))
    transform = _transformed if traced else lambda kernel: _transformed_exactly(np.asarray(kernel, np.float64))
    parts = []
    for layer in layers:
        kernel, bias = params[layer]["kernel"], params[layer]["bias"]
        parts += [(kernel if layer == layers[0] else transform(kernel)).ravel(), bias]
    return jnp.concatenate([jnp.asarray(part, jnp.float32) for part in parts])


def _transformed(kernel: Array) -> Array:
    g = jnp.asarray(_KERNEL_TRANSFORM, jnp.float32)
    points = jnp.einsum("pr,rscd,qs->pqcd", g, kernel, g, precision=jax.lax.Precision.HIGHEST)
    return points.reshape(36, kernel.shape[2], -1, _PANEL).transpose(0, 2, 1, 3)  # [36, D / 64, C, 64]


def _transformed_exactly(kernel: np.ndarray) -> np.ndarray:
    points = np.einsum("pr,rscd,qs->pqcd", _KERNEL_TRANSFORM, kernel, _KERNEL_TRANSFORM)
    return points.reshape(36, kernel.shape[2], -1, _PANEL).transpose(0, 2, 1, 3)  # [36, D / 64, C, 64]


@dataclasses.dataclass(frozen=True)
class Winograd(Vgg16):
    """Plain VGG-16 up to conv3_3 in float32, computed in C++ on CPUs. Made by `serve` or `with_engine`."""

    kind: ClassVar[str] = "vgg16"  # the same network: what is recorded beside it is the engine

    def __post_init__(self):
        super().__post_init__()
        if self.layer not in LAYERS or self.precision != "float32":
            raise ConfigError(
                f"the winograd engine does {LAYERS[0]} to {LAYERS[-1]} in float32, not {self.layer} in "
                f"{self.precision}; use the xla engine."
            )

    def prepare(self, params: Params) -> Params:
        """The kernels packed, beside the plain ones, which the gradient needs. Those packed for this layer stay."""
        shapes = vgg16.parameter_shapes(self.layers)
        wanted = sum(math.prod(shape) * (4 if shape[:2] == (3, 3) and shape[2] > 3 else 1) for shape in shapes.values())
        if "packed" in params and params["packed"].size == wanted:
            return params
        plain = params.get("vgg16", params)
        self.check_parameters(plain)
        return {"packed": jax.lax.stop_gradient(pack(plain, self.layers)), "vgg16": plain}

    def apply(self, params: Params, x: Array) -> Mapping[str, Array]:
        """[N, H, W, 3] normalised float32 to the layer's output, before and after its ReLU."""
        return self._apply(params, x, (self.layer,))

    def group_activations(self, params: Params, x: Array, layers: tuple[str, ...]) -> Mapping[str, Array]:
        """As `Backbone.group_activations`: those layers."""
        return self._apply(params, self.normalise(x)[None], layers)

    def _apply(self, params: Params, x: Array, layers: tuple[str, ...]) -> Mapping[str, Array]:
        """The outputs of some of its layers, before and after their ReLU."""
        size = jnp.asarray(extents.lengths(x.shape[-3:-1]), jnp.int32)
        made = _convolutions(self, layers)(self.prepare(params), x, jnp.broadcast_to(size, (*x.shape[:-3], 2)))
        before = dict(zip(layers, made, strict=True))
        return before | {name.replace("conv", "relu"): jax.nn.relu(y) for name, y in before.items()}

    @property
    def context_px(self) -> int:
        """As `Backbone.context_px`."""
        return super(Vgg16, self).context_px

    unpadded_group_features = Backbone.unpadded_group_features


if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class _WithBackbone(DataclassInstance, Protocol):
        @property
        def backbone(self) -> Backbone: ...


Config = TypeVar("Config", bound="_WithBackbone")


def with_engine(config: Config, name: str = "winograd") -> Config:
    """Settings whose network an engine of `ENGINES` computes.

    Args:
        config: `ChangeConfig`, or any record with a `backbone`.
        name: "winograd", "auto" or "xla".

    Raises:
        ConfigError: if the engine cannot serve this network, or cannot be compiled here.
    """
    return dataclasses.replace(config, backbone=serve(name, config.backbone))


@functools.cache
def _convolutions(backbone: Winograd, layers: tuple[str, ...]) -> Callable[[Params, Array, Array], tuple[Array, ...]]:
    """The outputs of some layers up to the chosen one, in order, before their ReLU: of packed parameters,
    [..., H, W, 3] and [..., 2] rows and columns."""
    network = backbone.module()

    def output(x: Array, layer: str) -> jax.ShapeDtypeStruct:
        step, features = vgg16.stride_of(layer), vgg16.CHANNELS[vgg16.block_of(layer)]
        shape = (*x.shape[:-3], x.shape[-3] // step, x.shape[-2] // step, features)
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    @jax.custom_vjp
    def convolutions(params: Params, x: Array, size: Array) -> tuple[Array, ...]:
        _register()
        call = jax.ffi.ffi_call(_TARGET, [output(x, layer) for layer in layers], vmap_method="expand_dims")
        numbers = np.array([LAYERS.index(layer) for layer in layers], np.int32)
        return tuple(call(x, params["packed"], size, layers=numbers))

    def forward(params, x, size):
        return convolutions(params, x, size), (params, x)

    def backward(saved, slopes):
        params, x = saved

        def plain(p: Params, x: Array) -> tuple[Array, ...]:
            found = vgg16.activations(network, p, x)
            return tuple(found[layer] for layer in layers)

        by_params, by_x = jax.vjp(plain, params["vgg16"], x)[1](slopes)
        return {"packed": jnp.zeros_like(params["packed"]), "vgg16": by_params}, by_x, None

    convolutions.defvjp(forward, backward)
    return convolutions
