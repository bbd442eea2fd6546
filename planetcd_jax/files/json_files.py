"""JSON that every reader takes: UTF-8, no NaN, keys in the order given."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from planetcd_jax.files.folders import write_whole


def jsonable(value: Any) -> Any:
    """The same value out of dicts, lists, strings, numbers and None that JSON has; NaN and infinity become None.

    >>> jsonable({"tau": float("nan"), "size": (3, 4)})
    {'tau': None, 'size': [3, 4]}

    Raises:
        TypeError: for a value that has no such form.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} has no form in JSON.")


def json_text(value: Any) -> str:
    """JSON of a value as `jsonable` makes it, indented, with a line end.

    Raises:
        TypeError: as in `jsonable`.
    """
    return json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes `json_text` of a value, whole or not at all.

    Raises:
        TypeError: as in `jsonable`.
        OSError: if the file cannot be written.
    """
    write_whole(path, json_text(value).encode("utf-8"))
