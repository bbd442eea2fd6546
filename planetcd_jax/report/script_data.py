"""Data inside a page, for its script."""

import json
from typing import Any

import markupsafe

from planetcd_jax.files.json_files import jsonable


def script_json(value: Any) -> markupsafe.Markup:
    """JSON that cannot end the script element it stands in, whatever names it holds.

    Raises:
        TypeError: as `jsonable`.
    """
    text = json.dumps(jsonable(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)
