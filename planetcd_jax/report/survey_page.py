"""The page of a survey: one HTML file with a map of the body, footprints and places, and a table that stays fluid."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from planetcd_jax.report.script_data import script_json

_TEMPLATES = pathlib.Path(__file__).resolve().parent / "templates"

COLUMNS = (
    ("review", "Order"), ("rank", "Rank"), ("scene", "Scene"), ("lat", "Lat °"), ("lon", "Lon °"),
    ("rho_over_tau", "rho / tau"), ("p", "p"), ("expected_false", "Expected false"), ("fdr", "FDR"),
    ("discovery", "Discovery"), ("change", "Change"), ("last_not_seen", "Last not seen"), ("first_seen", "First seen"),
    ("kind", "Kind"), ("stratum", "Stratum"), ("mark", "Mark"), ("note", "Note"),
)  # fmt: skip
"""Columns of the table: name in the catalogue, and heading."""


def survey_page(
    places: Sequence[Mapping[str, Any]],
    footprints: Sequence[Sequence[Sequence[float]]],
    *,
    title: str,
    lede: str,
    survey: str,
    simulated: bool,
    version: str,
) -> str:
    """The page as HTML. Needs no network and no server; thumbnails and scenes are files beside it.

    Args:
        places: Rows by the names of `COLUMNS`, with "place", "report" (page of its scene) and "thumbnail"
            (address of a picture, or "").
        footprints: Outlines of the scenes: lists of longitude and latitude, degrees.
        title, lede: Texts.
        survey: Identifies the survey; marks are kept under it.
        simulated: Whether images are simulated.
        version: Of the program.
    """
    names = ["place", "report", "thumbnail", *(name for name, _ in COLUMNS)]
    data = {
        "survey": survey, "names": names, "columns": COLUMNS, "footprints": footprints,
        "places": [[_short(place.get(name)) for name in names] for place in places],
    }  # fmt: skip
    return _template().render(
        title=title,
        lede=lede,
        simulated=simulated,
        version=version,
        data=script_json(data),
        style=(_TEMPLATES / "survey.css").read_text(encoding="utf-8"),
        script=(_TEMPLATES / "survey.js").read_text(encoding="utf-8"),
    )


def _short(value: Any) -> Any:
    """Numbers to 8 digits."""
    return float(f"{value:.8g}") if isinstance(value, float) else value


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("survey.html")
