"""Inception-v3 weights of other frameworks as Flax variables: Keras .h5, torchvision or timm .safetensors.

No pickle is read here; a torchvision .pth goes through `scripts/port_inception.py` once, which writes .safetensors.
All of these networks expect [-1, 1] RGB input: Keras as distributed, torchvision with its `transform_input`, timm's
`inception_v3.tv_in1k` with mean and standard deviation 0.5.
"""

import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h5py
import jax.numpy as jnp
import numpy as np

from planetcd_jax.baselines import inception
from planetcd_jax.errors import WeightsError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.networks import weights_io

TORCH_STEM = {
    "stem_1a": "Conv2d_1a_3x3",
    "stem_2a": "Conv2d_2a_3x3",
    "stem_2b": "Conv2d_2b_3x3",
    "stem_3b": "Conv2d_3b_1x1",
    "stem_4a": "Conv2d_4a_3x3",
}
TORCH_BLOCKS = dict(
    zip(
        inception.BLOCKS,
        [f"Mixed_{tail}" for tail in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")],
        strict=True,
    )
)


class InceptionWeights(NamedTuple):
    """Variables and what must be known to use them.

    Attributes:
        variables: {"params": ..., "batch_stats": ...} for `inception.InceptionV3`; with "head" where the file has it.
        flavour: "keras" or "torch".
        origin: Format, path and SHA-256 of the file, JSON-able.
    """

    variables: dict
    flavour: str
    origin: dict[str, str]


def _put(tree: dict, path: tuple[str, ...], value: np.ndarray) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = jnp.asarray(value, jnp.float32)


def _wanted_shape(features_in: int, unit: inception.Unit) -> tuple[int, ...]:
    return (*unit.kernel, features_in, unit.features)


def _features_in() -> list[int]:
    """Input features of each unit, in the order of `inception.units`."""
    counts, x = [], 3
    for step in inception.STEM:
        if isinstance(step, inception.Unit):
            counts.append(x)
            x = step.features
    for branches in inception.BLOCKS.values():
        out = 0
        for branch in branches:
            y = x
            for step in branch:
                ends = step if isinstance(step, tuple) and not isinstance(step, inception.Unit) else (step,)
                ends = [end for end in ends if isinstance(end, inception.Unit)]
                counts += [y] * len(ends)
                y = sum(end.features for end in ends) if ends else y
            out += y
        x = out
    return counts


def _assemble(unit_arrays: Callable[[int, str | None, inception.Unit], Mapping[str, np.ndarray]], where: str) -> dict:
    """Variables from a function that gives kernel, bias, mean, var (and scale) of one unit, checked for shape."""
    variables: dict = {}
    for number, ((stage, unit), bands) in enumerate(zip(inception.units(), _features_in(), strict=True)):
        arrays = unit_arrays(number, stage, unit)
        parent = (stage or "stem", unit.name)
        wanted = {"kernel": _wanted_shape(bands, unit)}
        for part, value in arrays.items():
            shape = wanted.get(part, (unit.features,))
            if value.shape != shape:
                raise WeightsError(
                    f"{where}: {part} of {'/'.join(parent)} has shape {value.shape}, wanted {shape}; "
                    "give the weights of an Inception-v3 of full width."
                )
            group = "batch_stats" if part in ("mean", "var") else "params"
            _put(variables, (group, *parent, "conv" if part == "kernel" else "bn", part), value)
    return variables


def from_torch(tensors: Mapping[str, np.ndarray], where: str = "weights") -> dict:
    """Flax variables from arrays with the names that torchvision and timm use.

    Args:
        tensors: "Conv2d_1a_3x3.conv.weight" [D', D, kh, kw], "Conv2d_1a_3x3.bn.weight" [D'], ... "fc.weight",
            "fc.bias". The auxiliary classifier and batch counters are left out.
        where: Name of the file, for errors.

    Returns:
        {"params", "batch_stats"} of the flavour "torch".

    Raises:
        WeightsError: if an array is missing or has another shape.
    """

    def arrays(number, stage, unit):
        name = TORCH_STEM[unit.name] if stage is None else f"{TORCH_BLOCKS[stage]}.{unit.name}"
        parts = {"kernel": "conv.weight", "scale": "bn.weight", "bias": "bn.bias"}
        parts |= {"mean": "bn.running_mean", "var": "bn.running_var"}
        missing = [f"{name}.{part}" for part in parts.values() if f"{name}.{part}" not in tensors]
        if missing:
            raise WeightsError(f"{where}: no array named {missing[0]}; give torchvision's or timm's inception_v3.")
        got = {part: np.asarray(tensors[f"{name}.{tail}"]) for part, tail in parts.items()}
        return got | {"kernel": got["kernel"].transpose(2, 3, 1, 0)}  # [kh, kw, D, D']

    variables = _assemble(arrays, where)
    if "fc.weight" in tensors:
        _put(variables, ("params", "head", "kernel"), np.asarray(tensors["fc.weight"]).T)
        _put(variables, ("params", "head", "bias"), np.asarray(tensors["fc.bias"]))
    return variables


def _keras_number(name: str) -> int:
    match = re.search(r"_(\d+)$", name)
    return int(match[1]) if match else 0


def _keras_layers(file: Any) -> dict[str, list[np.ndarray]]:
    """Arrays of each layer by its Keras name, from either of the two HDF5 layouts that Keras writes."""
    if "layers" in file:  # Keras 3, *.weights.h5
        found = {}
        for group in file["layers"].values():
            held = group.get("vars", {})
            if len(held):
                found[held.attrs["name"]] = [held[str(i)][()] for i in range(len(held))]
        return found
    root = file["model_weights"] if "model_weights" in file else file
    if "layer_names" not in root.attrs:
        return {}
    decode = [n.decode() if isinstance(n, bytes) else str(n) for n in root.attrs["layer_names"]]
    names = {
        layer: [n.decode() if isinstance(n, bytes) else str(n) for n in root[layer].attrs["weight_names"]]
        for layer in decode
    }
    return {layer: [root[layer][n][()] for n in parts] for layer, parts in names.items() if parts}


def from_keras(layers: Mapping[str, list[np.ndarray]], where: str = "weights") -> dict:
    """Flax variables from the arrays of Keras layers.

    Keras numbers its layers in the order in which the network creates them, and writes them in another; the numbers
    decide here.

    Args:
        layers: "conv2d_7" to [kernel], "batch_normalization_7" to [beta, moving mean, moving variance], ...,
            and perhaps "predictions" to [kernel, bias].
        where: Name of the file, for errors.

    Returns:
        {"params", "batch_stats"} of the flavour "keras".

    Raises:
        WeightsError: if there are not 94 convolutions, or a shape differs.
    """
    convs = sorted((n for n in layers if n.startswith("conv2d")), key=_keras_number)
    norms = sorted((n for n in layers if n.startswith("batch_normalization")), key=_keras_number)
    wanted = len(_features_in())
    if len(convs) != wanted or len(norms) != wanted:
        raise WeightsError(
            f"{where}: {len(convs)} convolutions and {len(norms)} batch normalisations, wanted {wanted} of each; "
            "give the weights of keras.applications.InceptionV3."
        )

    def arrays(number, stage, unit):
        del stage, unit
        bias, mean, var = layers[norms[number]]
        return {"kernel": layers[convs[number]][0], "bias": bias, "mean": mean, "var": var}

    variables = _assemble(arrays, where)
    if "predictions" in layers:
        for part, value in zip(("kernel", "bias"), layers["predictions"], strict=True):
            _put(variables, ("params", "head", part), value)
    return variables


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    with brought_by("supervised"):
        import safetensors.numpy
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: pathlib.Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} cannot be read as Inception-v3 weights ({error}); download it again.")


def load_inception(source: str | pathlib.Path) -> InceptionWeights:
    """Inception-v3 variables from a file, or from a repository of the Hugging Face hub.

    Args:
        source: Path of a Keras .h5 or a .safetensors file, or "hf:OWNER/NAME[@REVISION]", such as
            "hf:timm/inception_v3.tv_in1k".

    Returns:
        The variables, their flavour and their origin.

    Raises:
        WeightsError: if the file is missing, of another kind, or does not fit the network.
    """
    if str(source).startswith("hf:"):
        repository, _, revision = str(source)[3:].partition("@")
        path = weights_io.fetch(repository, revision=revision or "main")
    else:
        path = pathlib.Path(source)
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give Inception-v3 weights as .h5 or .safetensors, or hf:OWNER/NAME.")
    if path.suffix in (".pth", ".pt"):
        raise WeightsError(
            f"{path} is a pickle, which is not read at run time; convert it with "
            f"`python scripts/port_inception.py {path} {path.with_suffix('.safetensors').name}` and give the result."
        )
    try:
        if path.suffix in (".h5", ".hdf5"):
            with h5py.File(path) as file:
                layers = _keras_layers(file)
            variables, flavour = from_keras(layers, str(path)), "keras"
        elif path.suffix == ".safetensors":
            variables, flavour = from_torch(_safetensors(path), str(path)), "torch"
        else:
            raise WeightsError(f"{path} ends in {path.suffix!r}; give Inception-v3 weights as .h5 or .safetensors.")
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from error
    origin = {"source": str(source), "format": path.suffix.lstrip("."), "sha256": sha256_of_file(path)}
    return InceptionWeights(variables, flavour, origin)
