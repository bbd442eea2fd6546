"""An array taken row by row."""

from collections.abc import Callable
from typing import Any

import jax


def by_rows(one: Callable[..., Any], *arrays: Any) -> Any:
    """`one` of each row of arrays, [H, ...] each, its results stacked.

    On CPUs one row after the other, whose values stay in the cache: a sum over an array of features takes 4 to 20 times
    as long all at once. All at once on other devices.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda row: one(*row), arrays)
    return jax.vmap(one)(*arrays)
