"""Settings as frozen records inside records: checks of their fields, changes by name, and how they are written down.

A field is named by its own name where only one of the records inside has it ("quantile"), else by its path
("score.null.outlier").
"""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from planetcd_jax.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

MAIN = {"main": True}
"""Metadata of a field that the start of a run shows even where it has its default."""


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")


def check_triple(name: str, value: Any, *, positive: bool = False) -> None:
    """Raises ConfigError unless `value` is a tuple of three numbers, all above 0 if `positive`."""
    ok = isinstance(value, tuple) and len(value) == 3 and all(isinstance(v, int | float) for v in value)
    if not ok or (positive and min(value) <= 0):
        sort = "three positive numbers" if positive else "three numbers"
        raise ConfigError(f"{name} is {value!r}; give a tuple of {sort}, one for each input channel.")


def check_flag(name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; give True or False.")


def check_pixels(name: str, value: Any, *, least: int = 0) -> None:
    """Raises ConfigError unless `value` is a whole number of pixels, `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r}; give a whole number of pixels, {least} or more.")


def check_above_zero(record: Any, *names: str) -> None:
    """Raises ConfigError unless the named fields of a record are numbers above 0."""
    for name in names:
        value = getattr(record, name)
        if not value > 0:
            raise ConfigError(f"{name} is {value!r}; give a number above 0.")


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def paths(record: Any, prefix: str = "") -> Iterator[str]:
    """Paths of all fields that hold values, such as "score.null.outlier", in order."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if _is_record(value):
            yield from paths(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def short_names(record: Any) -> dict[str, str]:
    """For each field the shortest end of its path by which `replaced` knows it; and its path."""
    known = list(paths(record))
    named = {}
    for path in known:
        parts = path.split(".")
        ends = [".".join(parts[-k:]) for k in range(1, len(parts) + 1)]
        named[next(end for end in ends if _meant(end, known) == [path])] = path
    return named


def _meant(name: str, known: Sequence[str]) -> list[str]:
    """Of the known paths those that a name stands for: the outermost that end in it."""
    ending = [path for path in known if ("." + path).endswith("." + name)]
    outermost = min((path.count(".") for path in ending), default=0)
    return [path for path in ending if path.count(".") == outermost]


def _find(record: Any, name: str) -> str:
    """The path of the field, or record inside, that is named.

    Raises:
        ConfigError: if there is none, or several.
    """
    fields = list(paths(record))
    inside = {".".join(path.split(".")[:k]) for path in fields for k in range(1, path.count(".") + 1)}
    found = _meant(name, [*fields, *sorted(inside)])
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{name} is a field of several settings; name one of {', '.join(found)}.")
    near = difflib.get_close_matches(name, short_names(record), 3)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise ConfigError(f"{name} is no field of these settings{hint}; they have {', '.join(short_names(record))}.")


def value_of(record: Any, name: str) -> Any:
    """The value of a named field; None where there is none of this name."""
    found = _meant(name, list(paths(record)))
    for part in found[0].split(".") if len(found) == 1 else ():
        record = getattr(record, part)
    return record if len(found) == 1 else None


def as_kind(kind: type[Record], record: Any) -> Record:
    """A record of another class, with the values of the fields that both have."""
    common = {field.name for field in dataclasses.fields(record)} & {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: getattr(record, name) for name in common})


def replaced(record: Record, changes: Mapping[str, Any]) -> Record:
    """The record with other values in some fields.

    Args:
        record: With records inside.
        changes: Values by name or path.

    Raises:
        ConfigError: if a name is not there or stands for several fields, or a value is outside its field's domain.

    Example:
        >>> from planetcd_jax import ROBUST
        >>> replaced(ROBUST, {"quantile": 0.99, "score.null.outlier": 4.0}).decision.quantile
        0.99
    """
    for name, value in changes.items():
        record = _replaced_at(record, _find(record, name).split("."), value)
    return record


def _replaced_at(record: Any, path: list[str], value: Any) -> Any:
    inner = value if len(path) == 1 else _replaced_at(getattr(record, path[0]), path[1:], value)
    return dataclasses.replace(record, **{path[0]: inner})


def kind_of(record: Any) -> str:
    """Name of what a record is: its `kind` where it has one, else its class."""
    return getattr(record, "kind", type(record).__name__)


def plain(value: Any) -> Any:
    """A record as dictionaries, lists, numbers and texts, with the kind of each record: what JSON can hold."""
    if _is_record(value):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": kind_of(value), **fields}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    if callable(value):
        owner = getattr(value, "__self__", None)
        name = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__qualname__)}"
        return name if owner is None else f"{name} of {' '.join(repr(owner).split())}"
    return value


def summary(record: Any) -> str:
    """Main fields of a record, and those that do not have their defaults, by their short names, in one line."""
    names = {path: name for name, path in short_names(record).items()}
    return "  ".join(f"{names[path]}={plain(value)}" for path, value in _notable(record))


def _notable(record: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if _is_record(value):
            yield from _notable(value, f"{prefix}{field.name}.")
        elif field.metadata.get("main") or value != field.default:
            yield f"{prefix}{field.name}", value
