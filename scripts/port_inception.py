"""Converts a torchvision Inception-v3 checkpoint (.pth, a pickle) into .safetensors, which the package reads.

    python scripts/port_inception.py inception_v3_google-0cc3c7bd.pth inception_v3.safetensors

The pickle is read by torch.load(weights_only=True), which admits tensors and plain containers only. PyTorch is needed
for this script alone.
"""

import pathlib
import sys

import numpy as np
import safetensors.numpy
from absl import app

from planetcd_jax.baselines.inception_weights import from_torch


def converted(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint under their own names, float32; no batch counters, no auxiliary classifier."""
    import torch

    tensors = torch.load(path, map_location="cpu", weights_only=True)
    kept = {
        n: t for n, t in tensors.items() if not n.startswith("AuxLogits.") and not n.endswith("num_batches_tracked")
    }
    return {name: np.ascontiguousarray(tensor.to(torch.float32).numpy()) for name, tensor in kept.items()}


def main(argv: list[str]) -> None:
    """Reads argv[1], checks that it is an Inception-v3, writes argv[2]."""
    if len(argv) != 3:
        raise app.UsageError("give two paths: the .pth to read and the .safetensors to write.")
    arrays = converted(pathlib.Path(argv[1]))
    from_torch(arrays, argv[1])  # raises if a name or a shape is wrong
    safetensors.numpy.save_file(arrays, argv[2], metadata={"source": pathlib.Path(argv[1]).name})
    sys.stdout.write(f"{argv[2]}: {len(arrays)} arrays\n")


if __name__ == "__main__":
    app.run(main)
