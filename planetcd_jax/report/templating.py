"""Pages out of templates: one HTML file that holds its style, its script and its data."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from planetcd_jax.files.json_files import jsonable

_TEMPLATES = pathlib.Path(__file__).resolve().parent / "templates"


def script_json(value: Any) -> markupsafe.Markup:
    """JSON that cannot end the script element it stands in, whatever names it holds.

    Raises:
        TypeError: as `jsonable`.
    """
    text = json.dumps(jsonable(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


@functools.cache
def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)


def rendered(page: str, data: Any, *, scripts: Sequence[str] = (), styles: Sequence[str] = (), **texts: Any) -> str:
    """A page of the folder `templates`, as HTML. Needs no network, no other file and no server.

    Args:
        page: Its name: the template NAME.html, the style NAME.css and the script NAME.js.
        data: What the script reads; anything that `jsonable` takes.
        scripts: Names of further scripts that stand before its own, in one scope with it.
        styles: Names of further styles that stand after its own.
        texts: What the template shows, by name; any text.

    Raises:
        TypeError: as `jsonable`.
    """
    read = [(_TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in (*scripts, page)]
    style = "\n".join((_TEMPLATES / f"{name}.css").read_text(encoding="utf-8") for name in (page, *styles))
    return _template(f"{page}.html").render(data=script_json(data), style=style, script="\n".join(read), **texts)
