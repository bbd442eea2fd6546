"""How far ported networks are from torchvision's and timm's own forward passes, layer by layer.

    pip install torch torchvision timm
    python -m scripts.measure_ported_weights

Both libraries make vgg16, vgg16_bn and inception_v3 with random values and write them as a state dict and as
safetensors; the files are read as a user's are, and every layer is compared: the largest absolute error over the
largest absolute value of the layer.
"""

import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app

from planetcd_jax.baselines import inception_weights
from planetcd_jax.baselines.inception import InceptionV3
from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.networks import vgg16, weights_io
from scripts import port_inception, port_weights

BAR = 1e-4
"""Largest relative error that is allowed."""


class Agreement(NamedTuple):
    """One network of one library read from one kind of file.

    Attributes:
        library, network, file: "torchvision" or "timm"; "vgg16", ...; ".pth" or ".safetensors".
        worst: Largest relative error over all layers.
        layer: The layer that has it.
        layers: Number of layers compared.
    """

    library: str
    network: str
    file: str
    worst: float
    layer: str
    layers: int


def make(folder: pathlib.Path) -> None:
    """Lets both libraries write their files into a folder, in a process of its own."""
    program = pathlib.Path(__file__).with_name("torch_models.py")
    subprocess.run([sys.executable, program, folder], check=True, capture_output=True, text=True)


def _worst(ours: dict, theirs: dict) -> tuple[float, str]:
    errors = {
        name: np.abs(np.asarray(ours[name]) - value).max() / np.abs(value).max() for name, value in theirs.items()
    }
    name = max(errors, key=errors.__getitem__)
    return float(errors[name]), name


def compare_vgg(folder: pathlib.Path, library: str, name: str, suffix: str) -> Agreement:
    """VGG-16 from one file against the library's activations before each ReLU."""
    path = folder / f"{library}-{name}{suffix}"
    if suffix == ".pth":
        params, about = port_weights.port(path)
        backbone, mean, std = about["backbone"], about["input_mean"], about["input_std"]
    else:
        params, backbone, mean, std = weights_io.load_weights(path)[:4]
    kept = dict(np.load(folder / f"{library}-{name}.npz"))
    x = (jnp.asarray(kept.pop("x")) - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
    module = vgg16.VGG16("conv5_3", batch_norm=backbone == "vgg16_bn")
    acts = jax.jit(module.apply)({"params": params}, x)
    theirs = {layer: kept[f"layer_{i:02d}"] for i, layer in enumerate(VGG16_LAYERS)}
    return Agreement(library, name, suffix, *_worst(acts, theirs), len(theirs))


def compare_inception(folder: pathlib.Path, library: str, suffix: str) -> Agreement:
    """Inception-v3 from one file against the library's mixed stages and logits."""
    path = folder / f"{library}-inception_v3{suffix}"
    if suffix == ".pth":
        variables = inception_weights.from_torch(port_inception.converted(path), str(path))
    else:
        variables = inception_weights.load_inception(path).variables
    kept = dict(np.load(folder / f"{library}-inception_v3.npz"))
    acts = jax.jit(InceptionV3(classes=5, flavour="torch").apply)(variables, jnp.asarray(kept["x"]))
    theirs = {ours: kept[stage] for ours, stage in inception_weights.TORCH_BLOCKS.items()}
    return Agreement(
        library, "inception_v3", suffix, *_worst(acts, {**theirs, "logits": kept["logits"]}), len(theirs) + 1
    )


def measure(folder: pathlib.Path) -> list[Agreement]:
    """Every network of both libraries from both kinds of files in a folder that `make` filled."""
    found = []
    for library in ("torchvision", "timm"):
        for suffix in (".pth", ".safetensors"):
            found += [compare_vgg(folder, library, name, suffix) for name in ("vgg16", "vgg16_bn")]
            found.append(compare_inception(folder, library, suffix))
    return found


def main(argv: list[str]) -> None:
    """Prints the agreement of each file; status 1 if one is beyond the bar."""
    del argv
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(folder)
        found = measure(folder)
    for row in found:
        print(f"{row.library} {row.network}{row.file}: {row.worst:.1e} at {row.layer}, {row.layers} layers")
    if max(row.worst for row in found) > BAR:
        sys.exit(f"a ported network is further than {BAR:g} from its origin")


if __name__ == "__main__":
    app.run(main)
