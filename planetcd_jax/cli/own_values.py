"""Values that users bring along, by "module:NAME"."""

import importlib
import os
import sys
from typing import TypeVar

from planetcd_jax.errors import ConfigError

Value = TypeVar("Value")


def named_value(text: str, kind: type[Value], flag: str) -> Value:
    """The value that a text names.

    Args:
        text: "module:NAME", such as "my_scores:MINE"; the module is imported, from the current folder too.
        kind: What it must be: a value of this class, or a subclass of it, which is then made with its defaults.
        flag: For messages, such as "--score".

    Raises:
        ConfigError: if there is no such module or name, or it is something else.
    """
    module, _, name = text.partition(":")
    if os.getcwd() not in sys.path:  # `python -m` looks there; an installed program does not
        sys.path.append(os.getcwd())
    try:
        value = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{flag}={text}: there is no module {error.name!r}; give module:NAME of a module in this folder or on "
            "PYTHONPATH."
        ) from None
    except AttributeError:
        raise ConfigError(f"{flag}={text}: {module} has no {name!r}; name a {kind.__name__} that it defines.") from None
    made = value() if isinstance(value, type) and issubclass(value, kind) else value
    if not isinstance(made, kind):
        raise ConfigError(f"{flag}={text} is {type(made).__name__}; name a {kind.__name__}.")
    return made
