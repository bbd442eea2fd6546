"""Writes the page of a survey, `index.html`, and the thumbnails of its places."""

import base64
import functools
import io
import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from planetcd_jax.extras import brought_by
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.files.folders import output_errors, write_whole
from planetcd_jax.report.survey_page import COLUMNS, survey_page
from planetcd_jax.scenes import body
from planetcd_jax.surveys import catalogue
from planetcd_jax.surveys.attempt import scene_folder
from planetcd_jax.surveys.catalogue_lock import alone
from planetcd_jax.surveys.ledger import Ledger, ledgers_of
from planetcd_jax.version import __version__
from planetcd_jax.words import counted

with brought_by("survey"):
    import pandas as pd
    from PIL import Image, UnidentifiedImageError
    from rasterio.crs import CRS

INDEX = "index.html"
MOST = 10_000
"""Most places on the page, the best first; the others are in the catalogue."""

_SIDE = 72  # of each date of a thumbnail, pixels
_DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)


def write_index(folder: pathlib.Path, places: pd.DataFrame, changes: pd.DataFrame) -> pathlib.Path:
    """Writes the page of what is done so far.

    Args:
        folder: Of the survey.
        places, changes: From `catalogue.build`.

    Raises:
        OutputError: if it cannot be written.
    """
    shown = places.head(MOST)
    with output_errors(os.fspath(folder), "free some space and repeat the command"):
        pictures = thumbnails(folder, shown)
        rows = _rows(shown, changes, pictures)
        done, rings, simulated = _scenes(folder)
        said = catalogue.summary(places, changes)
        more = f" The page shows the first {MOST}." if len(places) > MOST else ""
        html = survey_page(
            rows,
            rings,
            title=f"Survey {folder.resolve().name}",
            lede=f"{said} in {counted(done, 'scene')}.{more} {catalogue.why_none(places)}".strip(),
            survey=sha256_of(os.fspath(folder.resolve()).encode())[:16],
            simulated=simulated,
            version=__version__,
        )
        write_whole(folder / INDEX, html.encode("utf-8"))
    return folder / INDEX


def _rows(shown: pd.DataFrame, changes: pd.DataFrame, pictures: dict[str, str]) -> list[dict[str, Any]]:
    if not len(shown):
        return []
    dates = changes.set_index("change")[["last_not_seen", "first_seen"]]
    frame = shown.join(dates, on="change")
    names = ["place", "report", *(name for name, _ in COLUMNS)]
    columns = [frame[name].tolist() for name in names]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return [{**row, "thumbnail": pictures.get(str(row["place"]), "")} for row in rows]


def _scenes(folder: pathlib.Path) -> tuple[int, list[list[list[float]]], bool]:
    """How many scenes are done, the outlines of their before-images, and whether any is simulated."""
    count, rings, simulated = 0, [], False
    for path in ledgers_of(folder):
        ledger = Ledger(path)
        for _, _, facts, _ in ledger.scenes():
            count += 1
            simulated = simulated or facts.get("source") == "simulated"
            ring = _ring(facts)
            if ring is not None and ring not in rings[-3:]:
                rings.append(ring)
        ledger.close()
    return count, rings, simulated


_system = functools.lru_cache(maxsize=64)(CRS.from_wkt)


def _ring(facts: dict[str, Any]) -> list[list[float]] | None:
    """Corners of the before-image, longitude and latitude."""
    if not (facts.get("crs") and facts.get("transform") and facts.get("size")):
        return None
    a, b, c, d, e, f = facts["transform"]
    height, width = facts["size"]
    cols, rows = np.array([0, width, width, 0]), np.array([0, 0, height, height])
    lon, lat = body.lon_lat(_system(facts["crs"]), a * cols + b * rows + c, d * cols + e * rows + f)
    corners = np.stack([lon, lat], axis=-1)
    return corners.round(6).tolist() if np.isfinite(corners).all() else None


def thumbnails(folder: pathlib.Path, places: pd.DataFrame) -> dict[str, str]:
    """Addresses of pictures of places, both dates side by side, made of those on the pages of their scenes.

    Pictures that are there already stay; a place that the page of its scene does not show has none.
    """
    found = {}
    for scene, group in places.groupby("scene") if len(places) else ():
        own = scene_folder(pathlib.Path("thumbnails"), str(scene)).relative_to("thumbnails/scenes")
        wanted = {int(rank): pathlib.Path("thumbnails") / own / f"{rank}.jpg" for rank in group["rank_in_scene"]}
        lacking = {rank: path for rank, path in wanted.items() if not (folder / path).exists()}
        shown = _pictures(folder / scene_folder(pathlib.Path(), str(scene)) / "report.html") if lacking else {}
        for rank, path in lacking.items():
            if rank in shown:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                write_whole(folder / path, shown[rank])
        found |= {f"{scene}:{rank}": path.as_posix() for rank, path in wanted.items() if (folder / path).exists()}
    return found


def _pictures(page: pathlib.Path) -> dict[int, bytes]:
    """JPEG of both dates of each place on the page of a scene, by rank."""
    try:
        match = _DATA.search(page.read_text(encoding="utf-8"))
        listed = json.loads(match[1])["candidates"] if match else []
        chips = {int(place["rank"]): place["chip"] for place in listed if place.get("chip")}
        return {rank: _side_by_side(chip["before"], chip["after"]) for rank, chip in chips.items()}
    except (OSError, ValueError, KeyError, TypeError, UnidentifiedImageError):
        return {}  # a page of another version; the place is listed without a picture


def _side_by_side(before: str, after: str) -> bytes:
    out = Image.new("RGB", (2 * _SIDE + 2, _SIDE), (255, 255, 255))
    for n, url in enumerate((before, after)):
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
        out.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), (n * (_SIDE + 2), 0))
    buffer = io.BytesIO()
    out.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def rebuild(folder: pathlib.Path, *, rate: float = 0.1, strata: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes catalogue and page anew; returns places and changes.

    Clients and shards of one survey that end together wait for each other: they write the same files.
    """
    with alone(folder):
        places, changes = catalogue.build(folder, rate=rate, strata=strata)
        write_index(folder, places, changes)
    return places, changes
