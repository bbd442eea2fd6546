"""The page of a survey: one HTML file with a map of the body, footprints and places, and a table that stays fluid."""

from collections.abc import Mapping, Sequence
from typing import Any

from planetcd_jax.report.templating import rendered

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
    return rendered("survey", data, title=title, lede=lede, simulated=simulated, version=version)


def _short(value: Any) -> Any:
    """Numbers to 8 digits."""
    return float(f"{value:.8g}") if isinstance(value, float) else value
