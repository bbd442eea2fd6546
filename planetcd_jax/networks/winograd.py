"""An optional engine for CPUs: VGG-16's convolutions in C++ by Winograd's algorithm, called through `jax.ffi`.

    engine = winograd_engine(params, config)                 # compiles winograd.cc, once for each machine
    detect(key, engine.params, before, after, config, apply=engine.apply)

It gives the float32 network's activations to about 1e-6 of their range with a quarter of the multiplications, under
`jit`, `vmap`, `lax.map`, `shard_map` and reverse-mode `grad` (whose backward pass is XLA's own network). It needs a C++
compiler when it is used for the first time. Nothing of this is imported or compiled unless it is asked for by name.

Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", section 4.1.
"""

import ctypes
import functools
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.config import VGG16_LAYERS, ChangeConfig
from planetcd_jax.errors import ConfigError
from planetcd_jax.files.caches import cache_folder
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.networks import vgg16
from planetcd_jax.types import ApplyFn, Array, Params

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


class Engine(NamedTuple):
    """A network in another form than XLA's.

    Attributes:
        params: In place of the parameters, wherever `apply` is given.
        apply: As `detect` and `run_detection` take it; None for XLA's own network.
    """

    params: Params
    apply: ApplyFn | None


def network_engine(name: str, params: Params, config: ChangeConfig) -> Engine:
    """The engine of a name in `ENGINES`; "xla" is the network as it is. `why_xla` tells what "auto" means here.

    Raises:
        ConfigError: for another name, or where the engine cannot serve.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine is {name!r}; choose one of {', '.join(ENGINES)}.")
    return winograd_engine(params, config) if chosen_engine(name, config) == "winograd" else Engine(params, None)


def chosen_engine(name: str, config: ChangeConfig) -> str:
    """The engine that a name in `ENGINES` stands for on this machine: what "auto" means, and the others themselves.

    Raises:
        ConfigError: where "winograd" is asked for and cannot serve.
    """
    if name == "xla":
        return name
    reason = why_xla(config)
    if name == "winograd" and reason is not None:
        raise ConfigError(f"{reason}; use the xla engine.")
    return "xla" if reason else "winograd"


def why_xla(config: ChangeConfig) -> str | None:
    """Why the winograd engine cannot serve a configuration on this machine; None if it can, and is compiled now."""
    if config.backbone != "vgg16" or config.layer not in LAYERS or config.precision != "float32":
        return (
            f"the winograd engine does vgg16 up to conv3_3 in float32, not {config.backbone} to {config.layer} in "
            f"{config.precision}"
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

    The first kernel as it is, [3, 3, 3, 64]; the others as [36 points, D / 64 panels, C, 64].
    """
    parts = []
    for layer in layers:
        kernel = np.asarray(params[layer]["kernel"], np.float64)
        if layer != layers[0]:
            g = _KERNEL_TRANSFORM
            points = np.einsum("pr,rscd,qs->pqcd", g, kernel, g).reshape(36, kernel.shape[2], -1, _PANEL)
            kernel = points.transpose(0, 2, 1, 3)  # [36, D / 64, C, 64]
        parts += [kernel.ravel(), np.asarray(params[layer]["bias"], np.float64)]
    return jnp.asarray(np.concatenate(parts).astype(np.float32))


def winograd_engine(params: Params, config: ChangeConfig) -> Engine:
    """The network of a configuration on this CPU.

    Args:
        params: As `load_vgg16` returns them; arrays, not traced values.
        config: Plain VGG-16 cut at conv1_1 to conv3_3, float32.

    Raises:
        ConfigError: if the configuration asks for something else, or the engine cannot be compiled here.
        WeightsError: if parameters are missing.
    """
    chosen_engine("winograd", config)  # raises where it cannot serve
    vgg16.check_parameters(params, config)
    layers = LAYERS[: LAYERS.index(config.layer) + 1]
    return Engine({"packed": pack(params, layers), "vgg16": params}, _apply(config))


def _apply(config: ChangeConfig) -> ApplyFn:
    layer = config.layer
    step, features = vgg16.stride(layer), vgg16.CHANNELS[vgg16.block_of(layer)]
    network = vgg16.network(config)

    @jax.custom_vjp
    def convolutions(params: Params, x: Array) -> Array:
        shape = (*x.shape[:-3], x.shape[-3] // step, x.shape[-2] // step, features)
        call = jax.ffi.ffi_call(_TARGET, jax.ShapeDtypeStruct(shape, jnp.float32), vmap_method="expand_dims")
        return call(x, params["packed"], layers=np.int32(LAYERS.index(layer) + 1))

    def forward(params, x):
        return convolutions(params, x), (params, x)

    def backward(saved, slope):
        params, x = saved
        _, pull = jax.vjp(lambda p, x: network.apply({"params": p}, x)[layer], params["vgg16"], x)
        by_params, by_x = pull(slope)
        return {"packed": jnp.zeros_like(params["packed"]), "vgg16": by_params}, by_x

    convolutions.defvjp(forward, backward)

    def apply(params: Params, x: Array) -> dict[str, Array]:
        """[N, H, W, 3] normalised float32 to the chosen convolution's output, before and after its ReLU."""
        y = convolutions(params, x)
        return {layer: y, layer.replace("conv", "relu"): jax.nn.relu(y)}

    return apply
