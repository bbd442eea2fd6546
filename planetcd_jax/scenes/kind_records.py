"""What the kind of a place is told from: the place as it looks, and what is measured of it.

Axes: H rows, W columns of a part of the ground around the place, both dates on one grid.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class View:
    """A place and the ground around it.

    Attributes:
        before, after: [H, W] float, grey, on one grid.
        valid: [H, W] bool, both dates have data.
        changed: [H, W] bool, the ground inside the outline.
        shift: Rows and columns by which the content of the second date lies further down and right; NaN: none known.
        suns: Where the light of both dates comes from, degrees clockwise from the top; NaN where not known.
    """

    before: np.ndarray
    after: np.ndarray
    valid: np.ndarray
    changed: np.ndarray
    shift: tuple[float, float] = (math.nan, math.nan)
    suns: tuple[float, float] = (math.nan, math.nan)


class Part(NamedTuple):
    """A connected part of the change, of one sign.

    Attributes:
        mask: [H, W] bool.
        sign: 1 where the second date is brighter, -1 where it is darker.
        energy: Sum of squared differences.
        appeared: 1 where the second date alone shows it against the ground around it, -1 where the first alone does.
    """

    mask: np.ndarray
    sign: int
    energy: float
    appeared: float


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is measured of a place; NaN where it could not be.

    Attributes:
        contrast: Largest difference (blurred) in standard deviations of the differences of the ground around.
        sign: 1 where the second date is brighter, -1 where it is darker.
        appeared: As in `Part`, of the core.
        elongation: Area of the core over the square of its width: 0.8 for a disc, 3 for a bar three times as long.
        stretch: Long axis of the ellipse of the same moments over its short one.
        compact: Area of the core over that of the ellipse of the same moments: 1 for a disc, less where it is ragged.
        area: Of the core, pixels.
        axis: Direction of the core's long axis, degrees clockwise from the top, in [0, 180).
        halo: How far a fainter difference of the same sign goes on around the core, in radii of the core.
        ring: Share of the directions around the core in which a ring of the other sign lies.
        smooth: Correlation of the difference of neighbouring pixels, the smaller of rows and columns.
        line: Whether the core is a line of at most two pixels along a row or a column.
        flat: Largest share of the core that has one single value in one of the dates.
        missing: Share of the pixels of the change and just around it that have no data.
        moved_ground: Share of the squared difference that goes away when all ground at the place is moved.
        moved_px: By how far, pixels, beside what the ground around is moved by.
        common_shift: Share of the squared difference that goes away when the second date is moved as around the place.
        light: Share of the squared difference that another direction of the light explains.
        light_turn: Size of that change of light in the ground around, as `Explanation.light_turn`.
        floor: Whether the darker of the dates is among the darkest of its ground there, as the share of the core.
        beside_shadow: Ground beside the core that is among the darkest on both dates, over the core's area.
        pair_like: Correlation of the lost and the gained part once one is laid on the other; 0 without a second part.
        pair_apart: Distance of their centres in widths of the smaller one.
        pair_share: Share of the squared difference around that both hold.
        pair_energy: The smaller energy of the two over the larger.
        pair_appeared: `appeared` of the other part.
        pair_gap: Least distance of the parts, pixels.
        sun_offset: Angle between the core, seen from what stands beside it, and the direction away from the sun,
            degrees; NaN without a known sun or anything beside it.
    """

    contrast: float
    sign: int = 0
    appeared: float = math.nan
    elongation: float = math.nan
    stretch: float = math.nan
    compact: float = math.nan
    area: int = 0
    axis: float = math.nan
    halo: float = 0.0
    ring: float = 0.0
    smooth: float = math.nan
    line: bool = False
    flat: float = 0.0
    missing: float = 0.0
    moved_ground: float = 0.0
    moved_px: float = 0.0
    common_shift: float = 0.0
    light: float = 0.0
    light_turn: float = 0.0
    floor: float = 0.0
    beside_shadow: float = 0.0
    pair_like: float = 0.0
    pair_apart: float = 0.0
    pair_share: float = 0.0
    pair_energy: float = 0.0
    pair_appeared: float = 0.0
    pair_gap: float = math.inf
    sun_offset: float = math.nan
