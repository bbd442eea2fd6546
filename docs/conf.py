"""The documentation: `sphinx-build -W docs build/docs`."""

import re

from planetcd_jax.version import __version__

project = "planetcd_jax"
author = "The planetcd_jax authors"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"planetcd_jax {version}"
exclude_patterns = ["build", "**/.jupyter_cache"]
nb_execution_mode = "cache"  # tutorials are executed; again only where their code changed
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
napoleon_custom_sections = [("Source", "notes_style"), ("Source, and differs in", "notes_style")]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_type_aliases = {"Array": "Array", "Params": "Params"}
suppress_warnings = ["misc.highlighting_failure"]


def _plain(app, what, name, obj, options, lines):
    """Docstrings are plain text: signs that reStructuredText would read as markup are escaped."""
    del app, what, name, obj, options
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(`[^`]*`)", line)
        for k in range(0, len(parts), 2):
            parts[k] = re.sub(r"(?<=\w)_(?!\w)", r"\_", parts[k].replace("|", r"\|").replace("*", r"\*"))
        lines[i] = "".join(parts)


def setup(app):
    """Called by Sphinx; before napoleon, which listens at the usual priority."""
    app.connect("autodoc-process-docstring", _plain, priority=100)
