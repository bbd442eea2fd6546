"""What is known of an image before it is opened: where it lies, when it was taken, and in which light."""

import dataclasses
import datetime
import math
import re

import numpy as np


@dataclasses.dataclass(frozen=True)
class Footprint:
    """One image of an archive.

    Attributes:
        name: Path or URL, as GDAL reads it.
        ring: [V, 2] float, longitude (east) and latitude of its outline in order, degrees, not closed; edges are arcs
            of great circles.
        time: Seconds since 1970, UTC; NaN where not known.
        pixel_m: Side of a pixel on the ground, metres; NaN where not known.
        incidence, emission, phase: Angles, degrees; NaN where not known.
        sun_azimuth: Direction of the sun, degrees; NaN where not known.
        body: Name of the planet or moon; "" where not known.
    """

    name: str
    ring: np.ndarray
    time: float = math.nan
    pixel_m: float = math.nan
    incidence: float = math.nan
    emission: float = math.nan
    phase: float = math.nan
    sun_azimuth: float = math.nan
    body: str = ""


_DAY_OF_YEAR = re.compile(r"(\d{4})-(\d{3})(?=T|$)")


def seconds_of(text: str | None) -> float:
    """A UTC time as labels write it, in seconds since 1970; NaN for what is none.

    >>> seconds_of("2010-032T01:02:03.5Z") - seconds_of("2010-02-01T01:02:03.5")
    0.0
    """
    said = (text or "").strip().strip('"').removesuffix("Z")
    match = _DAY_OF_YEAR.match(said)
    if match:
        date = datetime.date(int(match[1]), 1, 1) + datetime.timedelta(days=int(match[2]) - 1)
        said = f"{date.isoformat()}{said[match.end() :]}"
    said = re.sub(r"^(\d{4}):(\d\d):(\d\d) ", r"\1-\2-\3T", said)  # as TIFF writes it
    said = re.sub(r"(\.\d{6})\d+", r"\1", said)
    try:
        moment = datetime.datetime.fromisoformat(said)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def time_text(seconds: float) -> str:
    """Seconds since 1970 as a UTC time; "" for NaN.

    >>> time_text(0.0)
    '1970-01-01T00:00:00Z'
    """
    if math.isnan(seconds):
        return ""
    return f"{datetime.datetime.fromtimestamp(round(seconds), datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def number(text: object) -> float:
    """A number out of a cell or keyword, units left aside; NaN for what is none."""
    match = re.match(r"\s*\"?\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", str(text))
    return float(match[1]) if match else math.nan
