"""The page of a scene: one HTML file with map, ranked list and every candidate in full resolution."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from planetcd_jax.report import page_images
from planetcd_jax.report.script_data import script_json

_TEMPLATES = pathlib.Path(__file__).resolve().parent / "templates"

PANELS = (
    ("before", "Before", ""),
    ("after", "After", ""),
    ("blink", "Blink", "before"),
    ("colour", "False colour", "green: brighter after; magenta: darker"),
    ("heat", "Pixel change", ""),
)


@dataclasses.dataclass(frozen=True)
class Overview:
    """The map of the page.

    Attributes:
        pixels: [h, w] or [h, w, B] float in [0, 1], the overlap in the before-image, reduced.
        valid: [h, w] bool.
        rho: [R, S] float, NaN where not scored.
        height, width: Size of the overlap, pixels.
        window, stride: Of the score map, pixels.
    """

    pixels: np.ndarray
    valid: np.ndarray
    rho: np.ndarray
    height: int
    width: int
    window: int
    stride: int


@dataclasses.dataclass(frozen=True)
class PageCandidate:
    """One candidate of the page.

    Attributes:
        row: Of the table.
        before, after, heat: Pictures as data URLs; `heat` may be None.
        drawn: Where its window ("box": column, row, width, height) and outline ("rings": lists of column and row) lie
            on its chip, in pixels of the before-image; "heat_top" and "heat_level", the brightest value of its map and
            the level of chance.
    """

    row: Mapping[str, Any]
    before: str
    after: str
    heat: str | None
    drawn: Mapping[str, Any]


def _overview_context(overview: Overview, top: float) -> dict[str, Any]:
    """Where the score map lies over the picture, percent: a score fills the middle of its window."""
    lead = 0.5 * (overview.window - overview.stride)
    rows, cols = overview.rho.shape
    return {
        "image": page_images.overview_picture(overview.pixels, overview.valid),
        "heat": page_images.heat_overlay(overview.rho, top),
        "width": overview.width,
        "height": overview.height,
        "left": round(100 * lead / overview.width, 4),
        "top": round(100 * lead / overview.height, 4),
        "wide": round(100 * cols * overview.stride / overview.width, 4),
        "high": round(100 * rows * overview.stride / overview.height, 4),
        "ramp": page_images.ramp(),
        "top_score": f"{top:.4g}",
    }


def _number(value: Any) -> Any:
    """A number as short as the page needs; None for NaN."""
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.8g}")
    return value


def scene_page(
    found: Sequence[PageCandidate],
    overview: Overview,
    *,
    tau: float,
    corner: tuple[int, int],
    side: int,
    chip_side: int,
    changed: int,
    run: str,
    before_name: str,
    after_name: str,
    facts: Sequence[tuple[str, str]],
    simulated: bool,
    version: str,
) -> str:
    """The page as HTML. Needs no network, no other file and no server.

    Args:
        found: Candidates, best first.
        overview: The map.
        tau: Threshold of the run.
        corner: Row and column of the overlap in the before-image.
        side: Side of the pictures of a candidate, pixels.
        chip_side: Side of what they show, pixels of the before-image.
        changed: Candidates of the run above tau, on the page or not.
        run: Identifies the run; marks are kept under it.
        before_name, after_name: Names of the images; any text.
        facts: Name and value of what is told about the run; any text.
        simulated: Whether the images are simulated.
        version: Of the program.

    Returns:
        HTML, UTF-8.
    """
    shrink = side / chip_side
    columns = [name for name in (found[0].row if found else {}) if name != "geometry"]
    finite = overview.rho[np.isfinite(overview.rho)]
    top = float(max(finite.max() if finite.size else 0.0, tau)) * 1.02 or 1.0
    rows = [
        {name: _number(c.row[name]) for name in columns}
        | {"before": c.before, "after": c.after, "heat": c.heat}
        | {name: _number(value) for name, value in c.drawn.items()}
        for c in found
    ]
    data = {
        "run": run, "tau": tau, "top": top, "changed": changed, "columns": columns, "window": overview.window,
        "row": corner[0], "col": corner[1], "side": side, "shrink": shrink, "candidates": rows,
    }  # fmt: skip
    more = f" This page shows the first {len(found)}." if changed > len(found) else ""
    title = f"{'SIMULATED: ' if simulated else ''}Changes from {before_name} to {after_name}"
    return _template().render(
        title=title,
        heading=f"Changes from {before_name} to {after_name}",
        lede=f"{changed} place{'' if changed == 1 else 's'} above tau = {tau:.4g}; ranked by score, the most changed "
        "first." + (more if changed else " Lower tau to see what comes closest."),
        simulated=simulated,
        facts=facts,
        overview=_overview_context(overview, top),
        scene={"width": overview.width, "height": overview.height},
        panels=PANELS,
        footer=f"planetcd_jax {version}.",
        data=script_json(data),
        style=(_TEMPLATES / "scene.css").read_text(encoding="utf-8"),
        script=(_TEMPLATES / "scene.js").read_text(encoding="utf-8"),
    )


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "scene.html"
    )
