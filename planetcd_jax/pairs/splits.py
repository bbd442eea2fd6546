"""Names of splits, as files, folders and tables write them."""

import re
from collections.abc import Iterable

from planetcd_jax.errors import DataError

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_TOKEN = re.compile(rf"(?<![a-z0-9])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![a-z0-9])")


def split_named(text: str) -> str | None:
    """Its name here, "train", "val" or "test" of a word as a table writes it; None for any other word."""
    return _WORDS.get(text.strip().lower())


def split_of_path(path: str) -> str | None:
    """The split that a relative path names, its first folder before its file name; None if it names none."""
    found = _TOKEN.search(path.lower())
    return _WORDS[found[1]] if found else None


def is_wanted(found: str | None, wanted: str | None) -> bool:
    """Whether a file of split `found` belongs to `--split=wanted`, None being "test".

    A file that names no split belongs to every one, so that a set without splits can be read.
    """
    return found is None or wanted == "all" or found == (wanted or "test")


def chosen_split(found: Iterable[str | None], wanted: str | None, where: str) -> str:
    """The split that is read: `wanted`, "test" for None, or "all" where nothing has splits.

    Args:
        found: Splits that there are; None for what names none.
        wanted: Value of `--split`.
        where: What is read, for the message.

    Raises:
        DataError: if the split is not there.
    """
    names = sorted({name for name in found if name})
    if not names:
        if wanted not in (None, "all"):
            raise DataError(f"{where}: names no splits, so --split={wanted} cannot be chosen; leave --split out.")
        return "all"
    chosen = wanted or "test"
    if chosen != "all" and chosen not in names:
        raise DataError(f"{where}: no split {chosen!r}; choose --split from {', '.join(names)} or all.")
    return chosen
