"""Optional dependencies: where one is missing, one line names the extra of this package that brings it."""

import contextlib
import importlib.util
from collections.abc import Iterator

from planetcd_jax.errors import MissingExtraError


def _missing(module: str | None, extra: str) -> MissingExtraError:
    return MissingExtraError(f"{module} is not installed; pip install 'planetcd_jax[{extra}]'.")


@contextlib.contextmanager
def brought_by(extra: str) -> Iterator[None]:
    """For imports of optional modules: says which extra brings a module that is not installed.

    >>> with brought_by("images"):
    ...     import no_such_module
    Traceback (most recent call last):
    ...
    planetcd_jax.errors.MissingExtraError: no_such_module is not installed; pip install 'planetcd_jax[images]'.

    Args:
        extra: Its name in setup.cfg.

    Raises:
        MissingExtraError: if a module that is imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise _missing(error.name, extra) from None


def require(extra: str, *modules: str) -> None:
    """Checks that modules are installed before long work begins; imports none of them.

    Args:
        extra: Name of the extra that brings them.
        *modules: Their names, without dots.

    Raises:
        MissingExtraError: for the first that is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise _missing(module, extra)
