"""Variables of Flax models from the files that their users have: msgpack (flax.serialization) and safetensors."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from planetcd_jax.errors import WeightsError


def load_variables(path: pathlib.Path) -> dict[str, Any]:
    """The variables of a module, {"params": {...}, ...}, as device arrays.

    Args:
        path: .msgpack, as `flax.serialization.to_bytes` writes a tree, or .safetensors, whose names are the tree's,
            joined by dots or slashes. A tree without "params" at its top is taken for the parameters alone.

    Raises:
        WeightsError: if the file is missing, damaged, or of another format.
    """
    readers = {".msgpack": _from_msgpack, ".safetensors": _from_safetensors}
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give a .msgpack or .safetensors file of your network.")
    if path.suffix not in readers:
        raise WeightsError(f"{path}: cannot tell the format from {path.suffix!r}; give .msgpack or .safetensors.")
    tree = jax.tree.map(jnp.asarray, readers[path.suffix](path))
    return tree if "params" in tree else {"params": tree}


def _from_msgpack(path: pathlib.Path) -> dict[str, Any]:
    import flax.serialization

    try:
        tree = flax.serialization.msgpack_restore(path.read_bytes())
    except Exception as error:  # msgpack has no error of its own for damaged files
        raise WeightsError(f"{path} cannot be read as msgpack ({error}); write it anew.") from error
    if not isinstance(tree, dict):
        raise WeightsError(f"{path} holds {type(tree).__name__}; write a tree of parameters with flax.serialization.")
    return tree


def _from_safetensors(path: pathlib.Path) -> dict[str, Any]:
    import safetensors
    import safetensors.numpy

    try:
        flat = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}); get the file again.") from error
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *parents, leaf = name.replace("/", ".").split(".")
        inside = tree
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[leaf] = array
    return tree
