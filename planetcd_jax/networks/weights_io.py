"""Weights files: the shipped one, and those of other origin that a user names. No pickle is read here."""

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import h5py
import jax.numpy as jnp
import numpy as np

from planetcd_jax import constants
from planetcd_jax.errors import WeightsError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.files.hub_requests import DEADLINE_S, Request, one_line, sign_of_life
from planetcd_jax.networks import porting
from planetcd_jax.types import Params

FORMAT = "planetcd_jax weights 1"
"""Value of the "format" attribute of this package's own HDF5 files."""

SHIPPED = "vgg16_conv1_1-conv3_3.h5"
MANIFEST = "manifest.json"
HUB_FILE = "model.safetensors"

_PICKLES = (".pth", ".pt", ".ckpt", ".pkl", ".bin")
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


class Weights(NamedTuple):
    """Parameters and what is known of them.

    Attributes:
        params: Pytree of float32 arrays, as `VGG16.apply({"params": params}, x)` takes it.
        backbone: "vgg16" or "vgg16_bn".
        input_mean, input_std: The input normalisation that these parameters expect, RGB, images in [0, 1].
        sha256: Of the file.
        origin: Where they come from, in words.
        path: Of the file.
    """

    params: Params
    backbone: str
    input_mean: tuple[float, float, float]
    input_std: tuple[float, float, float]
    sha256: str
    origin: str
    path: str


def shipped_path() -> pathlib.Path:
    """Path of the weights that come with the package: inside it when installed, beside it in a checkout."""
    installed = _PACKAGE / "weights" / SHIPPED
    return installed if installed.is_file() else _PACKAGE.parent / "weights" / SHIPPED


def _check_hash(path: pathlib.Path, sha256: str) -> None:
    """Compares with the manifest beside the file, if it lists the file; the shipped file must be listed."""
    manifest = path.parent / MANIFEST
    listed = json.loads(manifest.read_text()) if manifest.is_file() else {}
    entry = listed.get(path.name)
    if entry is None and path == shipped_path():
        raise WeightsError(f"{manifest} does not list {path.name}; install the package again.")
    if entry is not None and entry["sha256"] != sha256:
        raise WeightsError(
            f"{path} has SHA-256 {sha256[:12]}..., and {manifest} says {entry['sha256'][:12]}...: the file was altered "
            "or cut short; install the package again, or port the weights anew with scripts/port_weights.py."
        )


def _datasets(file: h5py.File) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (1, 4):
            found[name] = item[()]

    file.visititems(visit)
    return found


def keras_arrays(datasets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keras's names, "block1_conv1/kernel", from the paths in any HDF5 file that Keras wrote.

    Keras 1 and 2 (and the published notop file) keep layer names; Keras 3's `.weights.h5` keeps "conv2d", "conv2d_1",
    ... in order of creation, with kernel and bias as "0" and "1".
    """
    order = [f"block{b}_conv{i}" for b, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1)]
    named = {}
    for path, array in datasets.items():
        part = "kernel" if array.ndim == 4 else "bias"
        for component in path.split("/"):
            if re.fullmatch(r"block\d_conv\d", component):
                named[f"{component}/{part}"] = array
                break
            numbered = re.fullmatch(r"conv2d(?:_(\d+))?", component)
            if numbered and int(numbered[1] or 0) < len(order):
                named[f"{order[int(numbered[1] or 0)]}/{part}"] = array
                break
    return named


def _read_hdf5(path: pathlib.Path) -> tuple[dict, dict[str, Any]]:
    try:
        with h5py.File(path, "r") as file:
            attributes, datasets = dict(file.attrs), _datasets(file)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read as HDF5 ({error}); get the file again.") from error
    if attributes.get("format") == FORMAT:
        _check_normalisation(attributes, path)
        batch_norm = attributes["backbone"] == "vgg16_bn"
        params = porting.check_layers(datasets, batch_norm=batch_norm, origin=str(path))
        return params, attributes
    params = porting.from_keras(keras_arrays(datasets), origin=str(path))
    return params, {
        "backbone": "vgg16",
        "input_mean": constants.OXFORD_MEAN,
        "input_std": constants.OXFORD_STD,
        "origin": "Keras VGG-16 (Oxford VGG)",
    }


def _check_normalisation(attributes: Mapping[str, Any], path: pathlib.Path) -> None:
    """Raises WeightsError unless mean and deviation are three numbers each, the deviations above 0."""
    for name in ("input_mean", "input_std"):
        told = np.asarray(attributes.get(name, ()))
        numbers = told.shape == (3,) and np.issubdtype(told.dtype, np.number) and bool(np.isfinite(told).all())
        if not numbers or (name == "input_std" and not (told > 0).all()):
            raise WeightsError(
                f"{path}: its attribute {name} is {told.tolist()}; wanted three numbers"
                f"{' above 0' if name == 'input_std' else ''}: write it anew with scripts/port_weights.py."
            )


def _read_safetensors(path: pathlib.Path) -> tuple[dict, dict[str, Any]]:
    with brought_by("hub"):
        import safetensors
        import safetensors.numpy

    try:
        state = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}); get the file again.") from error
    params = porting.from_torch(state, origin=str(path))
    return params, {
        "backbone": "vgg16_bn" if "bn1_1" in params else "vgg16",
        "input_mean": constants.IMAGENET_MEAN,
        "input_std": constants.IMAGENET_STD,
        "origin": "torchvision or timm VGG-16 (ImageNet)",
    }


def fetch(repository: str, *, revision: str = "main") -> pathlib.Path:
    """Path of the safetensors file of a model repository on the Hugging Face hub, downloaded if need be.

    A copy in the client's cache serves where the hub gives no sign of life within `hub_requests.DEADLINE_S`.

    Args:
        repository: Such as "timm/vgg16_bn.tv_in1k".
        revision: Branch, tag or commit.

    Raises:
        WeightsError: if the hub cannot be reached and no copy is stored, or it has no such file.
    """
    with brought_by("hub"):
        import huggingface_hub

    def download(**options: Any) -> str:
        return huggingface_hub.hf_hub_download(repository, HUB_FILE, revision=revision, **options)

    answer, alive = Request(download), Request(sign_of_life)
    answer.join(DEADLINE_S)
    if alive.value is True:  # slow, or large: the client shows how far it is
        answer.join(None, heard=True)
    reason = f"the hub did not answer within {DEADLINE_S:g} s"
    if answer.ended and not isinstance(answer.value, BaseException):
        return pathlib.Path(answer.value)
    if isinstance(answer.value, BaseException):
        reason = one_line(answer.value)
    stored = huggingface_hub.try_to_load_from_cache(repository, HUB_FILE, revision=revision)
    if isinstance(stored, str):
        return pathlib.Path(stored)
    raise WeightsError(
        f"hf:{repository}@{revision}: {HUB_FILE} could not be fetched ({reason}); check name and network, or "
        "download it elsewhere and give its path."
    )


def load_weights(source: str | pathlib.Path | None = None) -> Weights:
    """Weights from a file, with the input normalisation that they expect.

    Args:
        source: None for the shipped file (VGG-16, conv1_1 to conv3_3); the path of an HDF5 file of this package or of
            Keras, or of a safetensors file with torchvision's names; or "hf:OWNER/NAME[@REVISION]", a model
            repository on the Hugging Face hub, such as "hf:timm/vgg16_bn.tv_in1k".

    Returns:
        `Weights`, parameters as float32 device arrays.

    Raises:
        WeightsError: if the file is missing, altered, of another format, or does not fit the network.
    """
    if source is None:
        path = shipped_path()
    elif isinstance(source, str) and source.startswith("hf:"):
        repository, _, revision = source[3:].partition("@")
        path = fetch(repository, revision=revision or "main")
    else:
        path = pathlib.Path(source)
    if path.suffix in _PICKLES:
        raise WeightsError(
            f"{path} is a pickle, which is never loaded here; convert it first: "
            f"python scripts/port_weights.py --source={path} --output=weights.h5"
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give the path of an HDF5 or safetensors file.")
    readers = {".h5": _read_hdf5, ".hdf5": _read_hdf5, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise WeightsError(f"{path}: cannot tell the format from {path.suffix!r}; give .h5, .hdf5 or .safetensors.")
    sha256 = sha256_of_file(path)
    _check_hash(path, sha256)
    params, about = readers[path.suffix](path)
    return Weights(
        params={layer: {part: jnp.asarray(a) for part, a in parts.items()} for layer, parts in params.items()},
        backbone=str(about["backbone"]),
        input_mean=cast("tuple[float, float, float]", tuple(float(v) for v in about["input_mean"])),
        input_std=cast("tuple[float, float, float]", tuple(float(v) for v in about["input_std"])),
        sha256=sha256,
        origin=str(about["origin"]),
        path=str(path),
    )


def load_vgg16(source: str | pathlib.Path | None = None) -> Params:
    """Parameters of VGG-16: the shipped ones (conv1_1 to conv3_3, torchvision's ImageNet weights), or a file's.

    Args:
        source: As in `load_weights`, which also tells the input normalisation that a file's weights expect.

    Returns:
        Pytree {"conv1_1": {"kernel": [3, 3, 3, 64], "bias": [64]}, ...} of float32 device arrays.

    Raises:
        WeightsError: if the file is missing, altered, of another format, or does not fit the network.
    """
    return load_weights(source).params


def save_weights(
    path: pathlib.Path,
    params: Mapping[str, Mapping[str, np.ndarray]],
    *,
    backbone: str,
    input_mean: tuple[float, ...],
    input_std: tuple[float, ...],
    origin: str,
    licence: str,
) -> str:
    """Writes parameters as HDF5 in this package's format and returns the file's SHA-256.

    The file holds no time stamp: the same parameters give the same bytes.
    """
    with h5py.File(path, "w", track_order=False) as file:
        file.attrs.update(
            format=FORMAT,
            backbone=backbone,
            channel_order="RGB",
            input_scale="[0, 1]",
            input_mean=input_mean,
            input_std=input_std,
            origin=origin,
            licence=licence,
        )
        for layer, parts in params.items():
            for part, array in parts.items():
                file.create_dataset(f"{layer}/{part}", data=np.asarray(array, np.float32), track_times=False)
    return sha256_of_file(path)
