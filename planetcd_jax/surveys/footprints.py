"""What is known of an image before it is opened: where it lies, when it was taken, and in which light."""

import dataclasses
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


def number(text: object) -> float:
    """A number out of a cell or keyword, units left aside; NaN for what is none."""
    match = re.match(r"\s*\"?\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", str(text))
    return float(match[1]) if match else math.nan
