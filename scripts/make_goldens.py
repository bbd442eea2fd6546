"""Writes the stored results of PyTorch that the tests compare with: tests/goldens/.

    pip install torch==2.13.0
    python scripts/make_goldens.py

`vgg16_activations.npz` and `vgg16_bn_activations.npz`: activations of a network built here from torch.nn layers with
the shipped convolutions (batch normalisation: scale and bias from the seed, training mode, one image), on one seeded
image. `vgg16.pth` and `vgg16_bn.pth`: the first layers of such networks, written by `torch.save`.
"""

import collections
import json
import pathlib

import numpy as np
import torch
from absl import app, flags

from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.networks import weights_io

SEED = 20210927
SHAPE = (12, 16)
LAYERS = VGG16_LAYERS[:7]


def image(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A normalised image [H, W, 3] float32 from the seed."""
    return np.random.default_rng(SEED).standard_normal((*shape, 3)).astype(np.float32)


def norm_parameters(features: int, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Scale and bias of a batch normalisation, [D] float32 each, from the seed and the layer's place."""
    rng = np.random.default_rng([SEED, VGG16_LAYERS.index(layer)])
    return rng.uniform(0.5, 1.5, features).astype(np.float32), rng.normal(0, 0.3, features).astype(np.float32)


def build(batch_norm: bool) -> tuple[torch.nn.Sequential, dict[str, int]]:
    """torchvision's `features`, up to conv3_3, and the place of each named activation in it."""
    params = weights_io.load_vgg16()
    layers: list[torch.nn.Module] = []
    places: dict[str, int] = {}
    for layer in LAYERS:
        if layer.endswith("_1") and layer != "conv1_1":
            layers.append(torch.nn.MaxPool2d(2, 2))
        kernel = np.asarray(params[layer]["kernel"]).transpose(3, 2, 0, 1)
        conv = torch.nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        conv.weight.data = torch.tensor(kernel)
        conv.bias.data = torch.tensor(np.asarray(params[layer]["bias"]))
        places[layer] = len(layers)
        layers.append(conv)
        if batch_norm:
            norm = torch.nn.BatchNorm2d(kernel.shape[0])
            scale, bias = norm_parameters(kernel.shape[0], layer)
            norm.weight.data, norm.bias.data = torch.tensor(scale), torch.tensor(bias)
            places[f"bn{layer[4:]}"] = len(layers)
            layers.append(norm)
        layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers).train(), places


def main(argv: list[str]) -> None:
    """Writes all goldens."""
    del argv
    output = pathlib.Path(flags.FLAGS.output_dir)
    x = torch.tensor(image()).permute(2, 0, 1)[None]
    about = {"torch": torch.__version__, "seed": SEED, "shape": SHAPE, "weights": weights_io.load_weights().sha256}
    for name, batch_norm in (("vgg16", False), ("vgg16_bn", True)):
        network, places = build(batch_norm)
        acts, y = {}, x
        with torch.no_grad():
            for i, layer in enumerate(network):
                y = layer(y)
                for key in (key for key, place in places.items() if place == i):
                    acts[key] = y[0].permute(1, 2, 0).contiguous().numpy().copy()
        np.savez_compressed(output / f"{name}_activations.npz", about=json.dumps(about), **acts)
        last = places["conv1_2"] if not batch_norm else places["bn1_1"]
        state = collections.OrderedDict(
            (f"features.{key}", value) for key, value in network[: last + 1].state_dict().items()
        )
        state["classifier.6.bias"] = torch.zeros(10)
        torch.save(state, output / f"{name}.pth")
    print(f"{output}: {json.dumps(about)}")


if __name__ == "__main__":
    goldens = pathlib.Path(__file__).parents[1] / "tests" / "goldens"
    flags.DEFINE_string("output_dir", str(goldens), "Folder to write to.")
    app.run(main)
