"""Array names used in signatures, and the result of `detect`.

Axes: N pairs, H rows, W columns, C bands, D features.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Mapping[str, Any]
"""A pytree of network parameters, as `load_vgg16` returns it."""


class Detection(NamedTuple):
    """What `detect` returns for N pairs.

    Attributes:
        rho: [N] float32, change score of each pair, >= 0.
        rho_null: [N] float32, score of each pseudo-unchanged pair (x, h(x)).
        tau: scalar float32, the threshold.
        changed: [N] bool, `rho > tau`.
        p_value: [N] float32 in (0, 1], (1 + #{rho_null >= rho}) / (1 + N).
    """

    rho: Array
    rho_null: Array
    tau: Array
    changed: Array
    p_value: Array
