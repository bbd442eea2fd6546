"""The page of a scene: one HTML file with the ranked list, every place in full resolution, and a map."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planetcd_jax.report import page_images
from planetcd_jax.report.page_images import CodedPair
from planetcd_jax.report.templating import rendered

CLASSES = (
    "fresh impact", "slope streak", "recurring slope lineae", "mass wasting", "dust devil track", "frost or ice",
    "dune movement", "landed hardware", "light or shadow", "image artefact", "misregistration",
)  # fmt: skip
"""What a reader may call a place; anything else may be typed."""

SCRIPTS = ("scene_store", "scene_tones", "scene_stage", "scene_map", "scene_export")

DATES = ("scene_dates",)
"""Script and style of a page with several dates."""

_MOST_NULLS = 2000


@dataclasses.dataclass(frozen=True)
class Overview:
    """The map of the page.

    Attributes:
        dates: Before and after, [h, w] or [h, w, B] float in [0, 1]: the overlap, reduced.
        valid: Where each has data, [h, w] bool.
        rho: [R, S] float, NaN where not scored.
        height, width: Size of the overlap, pixels.
        window, stride: Of the score map, pixels.
    """

    dates: tuple[np.ndarray, np.ndarray]
    valid: tuple[np.ndarray, np.ndarray]
    rho: np.ndarray
    height: int
    width: int
    window: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Sun:
    """Where the light of one date comes from.

    Attributes:
        date: "before" or "after".
        bearing: Degrees clockwise from the top of the before-image.
    """

    date: str
    bearing: float


@dataclasses.dataclass(frozen=True)
class MapFrame:
    """Where the pixels of the before-image lie on the ground.

    Attributes:
        affine: a, b, c, d, e, f: x = a column + b row + c, y = d column + e row + f.
        system: Name of the coordinate reference system; "" without one.
        wkt: Its definition; "" without one.
        unit: Of x and y: "m", "°" or "px".
        metres: Ground along one pixel of a row, metres, in the middle; NaN where not known.
        north: Degrees clockwise from the top of the image to north, in the middle; NaN where not known.
        suns: Directions of the light, as far as the labels state them.
        graticule: Lines of equal longitude or latitude: "text" and "points" (column, row of the overlap).
    """

    affine: tuple[float, float, float, float, float, float]
    system: str = ""
    wkt: str = ""
    unit: str = "px"
    metres: float = math.nan
    north: float = math.nan
    suns: tuple[Sun, ...] = ()
    graticule: tuple[Mapping[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class PageCandidate:
    """One place of the page.

    Attributes:
        row: Of the table. "kind" and "tail_p" are shown where the table has them.
        chip: Both dates in full resolution.
        wide: Both dates of a wider part of the ground, reduced; None: not shown.
        heat: Its pixel map from `page_images.heat_picture`, or None.
        drawn: Where its window ("box": column, row, width, height) and outline ("rings": lists of column and row) lie
            on its chip, in pixels of the before-image; "heat_top" and "heat_level", the largest value of its map and
            the level of chance.
        dates: Of several dates, in the order of `About.dates`: "picture" of the place, and "told", "seen", "not seen"
            or "unsure".
    """

    row: Mapping[str, Any]
    chip: CodedPair
    wide: CodedPair | None
    heat: str | None
    drawn: Mapping[str, Any]
    dates: Sequence[Mapping[str, str]] = ()


@dataclasses.dataclass(frozen=True)
class About:
    """What the page tells of the run.

    Attributes:
        run: Identifies the run; marks are kept under it.
        tau: Its threshold.
        null: Its null scores, [N] float: what unchanged windows give.
        windows: Windows scored.
        changed: Places of the run above tau, on the page or not.
        expected: Places above tau that chance alone gives at most; NaN where the run does not tell.
        corner: Row and column of the overlap in the before-image.
        chip_side: Ground that a chip shows, pixels of the before-image.
        wide_side: Ground that a wide picture shows.
        frame: Where the pixels lie on the ground.
        before_name, after_name: Names of the images; any text.
        facts, inner_facts: Name and value of what is told to every reader, and to developers of the method; any text.
        simulated: Whether the images are simulated.
        version: Of the program.
        dates: What each of several dates is called, in order of time; () where there are but two.
    """

    run: str
    tau: float
    null: np.ndarray
    windows: int
    changed: int
    expected: float
    corner: tuple[int, int]
    chip_side: int
    wide_side: int
    frame: MapFrame
    before_name: str
    after_name: str
    facts: Sequence[tuple[str, str]]
    inner_facts: Sequence[tuple[str, str]]
    simulated: bool
    version: str
    dates: Sequence[str] = ()


def _number(value: Any) -> Any:
    """A number as short as the page needs; None for NaN."""
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.8g}")
    return value


def _coded(pair: CodedPair | None) -> dict[str, Any] | None:
    return None if pair is None else {**pair._asdict(), "knots": [_number(knot) for knot in pair.knots]}


def _sorted_null(null: np.ndarray) -> list[float]:
    """The null scores, sorted; of very many, equally spaced ones."""
    null = np.sort(np.asarray(null, float))
    if len(null) > _MOST_NULLS:
        null = null[np.linspace(0, len(null) - 1, _MOST_NULLS).round().astype(int)]
    return [float(f"{value:.6g}") for value in null if math.isfinite(value)]


def _overview(overview: Overview, top: float) -> dict[str, Any]:
    """Pictures of the map, and where the score map lies on it: a score fills the middle of its window."""
    rows, cols = overview.rho.shape
    lead = 0.5 * (overview.window - overview.stride)
    before, after = page_images.overview_pair(overview.dates, overview.valid)
    return {
        "before": before,
        "after": after,
        "heat": page_images.heat_overlay(overview.rho, top),
        "heat_box": [lead, lead, cols * overview.stride, rows * overview.stride],
        "width": overview.width,
        "height": overview.height,
        "ramp": page_images.ramp(),
    }


def _frame(frame: MapFrame) -> dict[str, Any]:
    told = {name: _number(value) for name, value in vars(frame).items()}
    return told | {"suns": [vars(sun) for sun in frame.suns]}


def page_data(found: Sequence[PageCandidate], overview: Overview, about: About) -> dict[str, Any]:
    """Everything that the page's script reads; `render` makes the page of it.

    Args:
        found: Places, best first.
        overview: The map.
        about: The run.
    """
    columns = [name for name in (found[0].row if found else {}) if name != "geometry"]
    finite = overview.rho[np.isfinite(overview.rho)]
    top = float(max(finite.max() if finite.size else 0.0, about.tau)) * 1.02 or 1.0
    rows = [
        {name: _number(place.row[name]) for name in columns}
        | {"chip": _coded(place.chip), "wide": _coded(place.wide), "heat": place.heat}
        | {name: _number(value) for name, value in place.drawn.items()}
        | ({"looks": list(place.dates)} if place.dates else {})
        for place in found
    ]
    apart = ("frame", "null", "corner", "facts", "dates")
    told = {name: _number(value) for name, value in vars(about).items() if name not in apart}
    told |= {"dates": list(about.dates)} if about.dates else {}
    return told | {
        "top": top, "null": _sorted_null(about.null), "frame": _frame(about.frame), "columns": columns,
        "row": about.corner[0], "col": about.corner[1], "window": overview.window, "facts": list(about.facts),
        "inner_facts": list(about.inner_facts), "levels": page_images.LEVELS, "percents": page_images.PERCENTS,
        "overview": _overview(overview, top), "candidates": rows,
    }  # fmt: skip


def render(data: Mapping[str, Any]) -> str:
    """The page as HTML from its data. Needs no network, no other file and no server."""
    heading = f"Changes from {data['before_name']} to {data['after_name']}"
    names = set(data["columns"])
    several = bool(data.get("dates"))
    return rendered(
        "scene",
        data,
        scripts=(*SCRIPTS, *DATES) if several else SCRIPTS,
        styles=DATES if several else (),
        several=several,
        title=f"{'SIMULATED: ' if data['simulated'] else ''}{heading}",
        heading=heading,
        simulated=data["simulated"],
        facts=data["facts"],
        inner_facts=data["inner_facts"],
        classes=CLASSES,
        kinds="kind" in names,
        tail="tail_p" in names,
        overview=data["overview"],
        top=f"{data['top']:.4g}",
        footer=f"planetcd_jax {data['version']}.",
    )


def scene_page(found: Sequence[PageCandidate], overview: Overview, about: About) -> str:
    """The page of a scene as HTML, UTF-8; arguments as of `page_data`."""
    return render(page_data(found, overview, about))
