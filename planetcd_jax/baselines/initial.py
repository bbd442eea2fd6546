"""Initial variables of a Flax module from one random draw.

Flax draws each kernel with an operation of its own, and compiling one for each of Inception-v3's shapes takes longer
than a short training. Here one vector is drawn and cut up.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal cut at -2 and 2."""

_CONSTANTS = {"bias": 0.0, "mean": 0.0, "scale": 1.0, "var": 1.0}


def initial_variables(network: nn.Module, shape: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Variables for an input of that shape, float32.

    Kernels are truncated normal of variance 1 / fan-in (LeCun et al. 1998, Flax's own default), biases and running
    means 0, scales and running variances 1.

    Args:
        network: A module whose variables are kernels, biases, scales, means and variances.
        shape: Shape of its input.
        seed: Decides the draw.

    Returns:
        The variables, as `network.init` structures them.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(seed), jax.ShapeDtypeStruct(shape, jnp.float32))
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    drawn = [math.prod(leaf.shape) if path[-1].key == "kernel" else 0 for path, leaf in leaves]
    vector = np.asarray(jax.random.truncated_normal(jax.random.key(seed), -2.0, 2.0, (sum(drawn),), jnp.float32))
    pieces = np.split(vector, np.cumsum(drawn)[:-1])

    def value(path, leaf, piece):
        if path[-1].key != "kernel":
            return np.full(leaf.shape, _CONSTANTS[path[-1].key], np.float32)
        fan_in = math.prod(leaf.shape[:-1])
        return piece.reshape(leaf.shape) / np.float32(_TRUNCATED_STD * math.sqrt(fan_in))

    values = [value(path, leaf, piece) for (path, leaf), piece in zip(leaves, pieces, strict=True)]
    return jax.tree_util.tree_unflatten(structure, [jnp.asarray(v) for v in values])
