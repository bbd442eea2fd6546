"""Pictures of a run: the histogram of the scores, and pairs as in the paper's figures 2 to 4.

Each function returns a Matplotlib `Figure` made without pyplot, so nothing is shared between calls or threads.
Pictures of simulated data carry the word SIMULATED.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from planetcd_jax.ops.filters import grey
from planetcd_jax.report.table import SIMULATED

# Okabe & Ito's colours, told apart with any colour vision.
_BLUE, _ORANGE, _GREY, _BLACK, _RED = "#0072B2", "#E69F00", "#9A9A9A", "#222222", "#C1272D"
_NO_DATA = "#B9C7D6"
PROGRAM = "planetcd_jax"

FORMATS = ("png", "pdf", "svg")
"""Kinds of file that `save_figure` writes."""

_LABELS = {1: "changed", 0: "unchanged", -1: "not known"}

# Shares of the pixels at which a picture is stretched from black to white.
_STRETCH = (0.5, 99.5)


class PairPicture(NamedTuple):
    """One pair as it is drawn.

    Attributes:
        pair_id: Its id.
        before, after: [H, W] or [H, W, C] float; NaN is drawn as no data.
        rank: 1 for the largest rho, or None.
        rho, p_value: Its score.
        changed: The decision.
        label: 1 changed, 0 unchanged, -1 or None not known.
        heat: None, or [H, W] float, size of the change at each pixel, standard deviations; NaN where not compared.
        mask: None, or [H, W] bool, the pixels decided as changed.
        level: None, or the size of change that chance alone stays below.
        saliency: None, or [H, W] float >= 0, size of the gradient of rho at each pixel.
    """

    pair_id: str
    before: np.ndarray
    after: np.ndarray
    rho: float
    p_value: float
    changed: bool
    rank: int | None = None
    label: int | None = None
    heat: np.ndarray | None = None
    mask: np.ndarray | None = None
    saliency: np.ndarray | None = None
    level: np.ndarray | float | None = None


def _limits(*images: np.ndarray) -> tuple[float, float]:
    """Black and white point over all images; one apart where they are constant or empty."""
    values = np.concatenate([image[np.isfinite(image)].ravel() for image in images])
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, _STRETCH))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _stretched(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.clip((image - limits[0]) / (limits[1] - limits[0]), 0.0, 1.0)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """[H, W, 3] for display: three bands as they are, any other count as its mean; NaN in the no-data colour."""
    rgb = image if image.ndim == 3 and image.shape[-1] == 3 else np.repeat(grey(image)[..., None], 3, axis=-1)
    empty = np.array([int(_NO_DATA[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(np.isfinite(rgb).all(axis=-1, keepdims=True), rgb, empty)


def false_colour(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """[H, W, 3] in [0, 1] with R = before, G = after, B = before, as in the paper's figure 2 (c).

    Each date is stretched by itself, so that what is equal but for gain and offset is grey; what became brighter is
    green, what became darker magenta.

    Args:
        before, after: [H, W] or [H, W, C] float of one shape; bands are averaged.
    """
    dates = [_stretched(image, _limits(image)) for image in (grey(before), grey(after))]
    return _as_rgb(np.stack([dates[0], dates[1], dates[0]], axis=-1))


def _bare(axes: Axes) -> None:
    axes.set_anchor("N")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#CCCCCC")


def _panels(pair: PairPicture) -> list[str]:
    more = (("pixel change", pair.heat), ("saliency", pair.saliency))
    return ["before", "after", "false colour", *(name for name, image in more if image is not None)]


def _draw_panel(axes: Axes, pair: PairPicture, panel: str, line: float = 1.0) -> None:
    _bare(axes)
    limits = _limits(pair.before, pair.after)
    if panel == "false colour":
        axes.imshow(false_colour(pair.before, pair.after), interpolation="nearest")
    elif panel == "pixel change" and pair.heat is not None:
        axes.set_facecolor(_NO_DATA)
        drawn = axes.imshow(pair.heat, cmap="magma", interpolation="nearest", vmin=0.0, vmax=_top(pair))
        _colour_bar(axes, drawn, pair.level)
        if pair.mask is not None and pair.mask.any() and not pair.mask.all():
            axes.contour(pair.mask.astype(float), levels=[0.5], colors=["#56F0FF"], linewidths=line)
    elif panel == "saliency" and pair.saliency is not None:
        axes.imshow(pair.saliency, cmap="viridis", interpolation="nearest", vmin=0.0)
    else:
        image = pair.before if panel == "before" else pair.after
        axes.imshow(_as_rgb(_stretched(image, limits)), interpolation="nearest")


def _top(pair: PairPicture) -> float:
    """Size of the brightest colour: the largest of the map, and no less than makes the level visible."""
    assert pair.heat is not None
    known = pair.heat[np.isfinite(pair.heat)]
    return max(float(known.max(initial=0.0)), 1.25 * float(pair.level or 0.0)) or 1.0


def _colour_bar(axes: Axes, drawn: AxesImage, level: np.ndarray | float | None) -> None:
    """A colour bar inside a panel, with a mark at the level."""
    inset = axes.inset_axes((0.05, 0.045, 0.42, 0.035))
    assert axes.figure is not None
    axes.figure.colorbar(drawn, cax=inset, orientation="horizontal")
    inset.xaxis.set_ticks_position("top")
    inset.xaxis.set_major_locator(MaxNLocator(3))
    inset.tick_params(labelsize=6, colors="white", pad=1, length=2)
    if level is not None:
        inset.axvline(float(level), color="#56F0FF", linewidth=1.5)


def _caption(pair: PairPicture, panel: str) -> str:
    if panel != "pixel change" or pair.level is None:
        return _CAPTIONS[panel]
    return f"(d) pixel change, in sd; contour from {float(pair.level):.2g}"


def _scale_bar(axes: Axes, width: int) -> None:
    """A bar of a round number of pixels, about a quarter of the picture long, with its length."""
    most = 0.3 * width
    length = max(n * 10**k for k in range(6) for n in (1, 2, 5) if n * 10**k <= max(most, 1))
    outline: list[patheffects.AbstractPathEffect] = [patheffects.withStroke(linewidth=3.5, foreground="black")]
    line = axes.plot([0.05, 0.05 + length / width], [0.05, 0.05], color="white", linewidth=2, transform=axes.transAxes)
    text = axes.text(0.05, 0.075, f"{length} px", color="white", fontsize=8, transform=axes.transAxes, va="bottom")
    line[0].set_path_effects(outline)
    text.set_path_effects(outline)


def _verdict(pair: PairPicture) -> str:
    label = "" if pair.label is None else f"label: {_LABELS[int(pair.label)]}"
    return "   ".join(filter(None, ["changed" if pair.changed else "not changed", label]))


def _score(pair: PairPicture) -> str:
    return f"rho {pair.rho:.4g}   p {pair.p_value:.3g}"


def _shortened(text: str, length: int) -> str:
    """Text of at most `length` characters, its middle left out if need be."""
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[len(text) - length // 2 :]}"


def _plain(text: str) -> str:
    """Text that Matplotlib sets as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def _stamp(figure: Figure, simulated: bool) -> None:
    """SIMULATED in the upper right corner of a picture of simulated data."""
    if simulated:
        box = {"boxstyle": "round,pad=0.35", "facecolor": _RED, "edgecolor": "none"}
        corner = (1 - 0.12 / figure.get_figwidth(), 1 - 0.12 / figure.get_figheight())
        style = {"ha": "right", "va": "top", "color": "white", "weight": "bold", "fontsize": 9, "bbox": box}
        figure.text(*corner, SIMULATED, **style)


_CAPTIONS = {
    "before": "(a) before",
    "after": "(b) after",
    "false colour": "(c) R, B: before   G: after",
    "pixel change": "(d) pixel change map",
    "saliency": "(e) |gradient of rho|",
}


def pair_figure(pair: PairPicture, *, simulated: bool) -> Figure:
    """A pair as in the paper's figures 2 to 4: before, after, false colour, and the pixel change map where given.

    Before and after share one stretch, so a difference in brightness is seen as it is; the false colour stretches each
    date by itself.
    """
    panels = _panels(pair)
    height, width = pair.before.shape[:2]
    side = 2.9
    figure = Figure(figsize=(side * len(panels) + 0.2, side * height / width + 0.98), facecolor="white")
    top = 0.66 / figure.get_figheight()
    grid = figure.subplots(1, len(panels), gridspec_kw={"wspace": 0.05})
    figure.subplots_adjust(
        left=0.1 / figure.get_figwidth(),
        right=1 - 0.1 / figure.get_figwidth(),
        bottom=0.32 / figure.get_figheight(),
        top=1 - top,
    )
    for axes, panel in zip(grid, panels, strict=True):
        _draw_panel(axes, pair, panel)
        if panel == "before":
            _scale_bar(axes, width)
        axes.set_xlabel(_caption(pair, panel), fontsize=9, color=_BLACK)
    left = 0.1 / figure.get_figwidth()
    name = _plain(_shortened(pair.pair_id, 22 * len(panels) - 4))
    rank = "" if pair.rank is None else f"#{pair.rank}   "
    figure.text(
        left, 1 - 0.13 / figure.get_figheight(), rank + name, va="top", fontsize=12, weight="bold", color=_BLACK
    )
    line = f"{_score(pair)}   {_verdict(pair)}"
    figure.text(left, 1 - 0.39 / figure.get_figheight(), line, va="top", fontsize=10, color="#444444")
    _stamp(figure, simulated)
    return figure


def ranking_figure(pairs: Sequence[PairPicture], *, title: str, simulated: bool) -> Figure:
    """The highest-ranked pairs on one sheet, a row for each: what it is, then the panels of `pair_figure`.

    Args:
        pairs: At least one; all with a pixel change map, or none.
        title: The line above.
        simulated: Whether the pairs are simulated.
    """
    panels = _panels(pairs[0])
    side, text_width, head = 1.75, 2.35, 0.75
    figure = Figure(figsize=(text_width + side * len(panels), side * len(pairs) + head), facecolor="white")
    width, height = figure.get_size_inches()
    for row, pair in enumerate(pairs):
        bottom = (len(pairs) - 1 - row) * side
        for column, panel in enumerate(panels):
            box = (text_width + column * side, bottom + 0.05, side - 0.08, side - 0.08)
            axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
            _draw_panel(axes, pair, panel, line=0.5)
            if panel == "before":
                _scale_bar(axes, pair.before.shape[1])
            if row == 0:
                axes.set_title(panel, fontsize=9, color=_BLACK)
        rank = "" if pair.rank is None else f"#{pair.rank}  "
        label = "" if pair.label is None else f"\nlabel: {_LABELS[int(pair.label)]}"
        name = _plain(_shortened(pair.pair_id, 19))
        at = (0.12 / width, (bottom + side - 0.12) / height)
        figure.text(*at, rank + name, va="top", fontsize=9.5, weight="bold", color=_BLACK)
        text = f"rho {pair.rho:.4g}\np {pair.p_value:.3g}\n{'changed' if pair.changed else 'not changed'}{label}"
        below = (at[0], at[1] - 0.25 / height)
        figure.text(*below, text, va="top", fontsize=9, color="#444444", linespacing=1.45)
    figure.text(0.12 / width, 1 - 0.14 / height, _plain(title), va="top", fontsize=12, weight="bold", color=_BLACK)
    _stamp(figure, simulated)
    return figure


def _groups(rho: np.ndarray, labels: np.ndarray | None) -> list[tuple[str, np.ndarray, str]]:
    """Name, scores and colour of each group of pairs in the histogram."""
    if labels is None or (np.asarray(labels) == -1).all():
        return [("pairs", rho, _BLUE)]
    named = (("unchanged", 0, _BLUE), ("changed", 1, _ORANGE), ("no label", -1, _GREY))
    return [(name, rho[labels == value], colour) for name, value, colour in named if (labels == value).any()]


def _bin_edges(scores: np.ndarray, tau: float | None) -> np.ndarray:
    """Equal bins over all scores, one edge just above tau, so that no bin lies on both sides of the decision."""
    tau = float(scores.min() if tau is None else np.nextafter(tau, np.inf))  # a score of tau itself is unchanged
    low, high = min(float(scores.min()), tau), max(float(scores.max()), tau)
    step = (high - low or 1.0) / min(48, max(12, round(2 * len(scores) ** 0.5)))
    return tau + step * np.arange(np.floor((low - tau) / step), np.ceil((high - tau) / step) + 2)


def histogram_figure(
    rho: np.ndarray,
    rho_null: np.ndarray | None,
    tau: float | None,
    *,
    labels: np.ndarray | None,
    title: str,
    simulated: bool,
) -> Figure:
    """How the scores of the pairs and of the pseudo-unchanged pairs lie about tau.

    Args:
        rho: [N] float, scores; coloured by label where there are labels.
        rho_null: [N] float, scores of the pseudo-unchanged pairs, drawn below the axis; or None.
        tau: The threshold, drawn as a line; or None.
        labels: [N] int (1, 0, -1) or None.
        title: The line above.
        simulated: Whether the pairs are simulated.
    """
    figure = Figure(figsize=(7.6, 4.8), facecolor="white", layout="constrained")
    axes = figure.subplots()
    edges = _bin_edges(np.concatenate([rho, [] if rho_null is None else rho_null]), tau)
    groups = _groups(np.asarray(rho), labels)
    axes.hist(
        [values for _, values, _ in groups],
        bins=edges.tolist(),
        stacked=True,
        color=[colour for _, _, colour in groups],
        label=[f"rho, {name} ({len(values)})" for name, values, _ in groups],
        edgecolor="white",
        linewidth=0.4,
    )
    if rho_null is not None and len(rho_null):
        counts = np.histogram(rho_null, edges)[0]
        name = f"rho_null, pseudo-unchanged ({len(rho_null)})"
        axes.bar(
            edges[:-1], -counts, np.diff(edges), align="edge", color=_GREY, edgecolor="white", linewidth=0.4, label=name
        )
    axes.axhline(0, color=_BLACK, linewidth=0.8)
    if tau is not None:
        axes.axvline(tau, color=_RED, linewidth=1.6, label=f"tau = {tau:.4g}")
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 2.5, 5, 10), integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_xlabel("change score rho (no unit)", color=_BLACK)
    axes.set_ylabel("number of pairs", color=_BLACK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_plain(title), loc="left", fontsize=11, weight="bold", pad=10, color=_BLACK)
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=2)
    _stamp(figure, simulated)
    return figure


def save_figure(figure: Figure, path: pathlib.Path, *, simulated: bool) -> None:
    """Writes a figure as its suffix says: PNG of 150 dots per inch, or PDF or SVG with text and lines as such.

    The file says whether its data are SIMULATED. The same figure gives the same bytes.
    """
    told = SIMULATED if simulated else "real data"
    about = {
        ".png": {"Source": told, "Software": PROGRAM},
        ".pdf": {"Subject": told, "Creator": PROGRAM, "CreationDate": None},
        ".svg": {"Description": told, "Creator": PROGRAM, "Date": None},
    }[path.suffix]
    # Text stays text, so that a journal's typesetter can change it; ids do not vary from run to run.
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": PROGRAM}):
        figure.savefig(path, dpi=150, metadata=about)
