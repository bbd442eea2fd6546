"""Coordinates of one system in another, where a longitude and the same plus 360 degrees are one place."""

import functools

import numpy as np
import pyproj
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import body

ALL_TURNS = (0, 1, -1, 2, -2)
"""Whole turns to try: longitudes of -180 to 180 degrees, moved so far, meet every map that is in use."""

# Columns by which the width of an image may differ from once round the body, for its two edges to be one meridian.
_CLOSES = 0.5


class Crossing:
    """Maps coordinates of one system to another's, `turns` times 360 degrees of longitude further on.

    The target's coordinates go on beyond the edge of its map, as those of an image across that edge do, where the
    projection allows that; turns change nothing where it does not.

    Attributes:
        same: Whether both systems put every point at the same coordinates.
        circular: Whether both know longitudes, so that turns have a meaning.
        latitudes: What the tangent of a latitude is multiplied by on the way, 1 where both systems count them alike: a
            sphere of a planet counts planetocentric latitudes, an ellipsoid mostly planetographic ones, and PROJ
            would take the one for the other, which is 20 km on Mars.
    """

    def __init__(self, source: CRS | None, target: CRS | None):
        """Prepares the way from one system to the other; the target counts to the east, as every `Grid` does.

        Raises:
            DataError: if there is no way, as between a local system and a map.
        """
        known = source is not None and target is not None
        self.same = body.same_system(source, target) if known else source is target
        degrees = None if target is None else body.degrees_of(target)
        self.latitudes = 1.0
        self.circular = degrees is not None and source is not None and body.degrees_of(source) is not None
        if not self.circular:
            if not self.same:
                raise DataError(_no_way(source, target))
            return
        here, self._sign = body.eastward(source)
        there = body.system_of(target)
        self.latitudes = body.centric_factor(source) / body.centric_factor(target)
        try:
            known = degrees if self.latitudes == 1.0 else body.degrees_of(source)
            self._to_degrees = pyproj.Transformer.from_crs(here, known, always_xy=True)
        except ProjError:  # two radii of one body, which PROJ takes for two bodies
            self._to_degrees = pyproj.Transformer.from_crs(here, body.degrees_of(source), always_xy=True)
        self._from_degrees = pyproj.Transformer.from_crs(degrees, there, always_xy=True, force_over=True)
        if not self._goes_on(pyproj.Transformer.from_crs(there, degrees, always_xy=True)):
            self._from_degrees = pyproj.Transformer.from_crs(degrees, there, always_xy=True)

    def _goes_on(self, back: pyproj.Transformer) -> bool:
        """Whether the target's map goes on beyond its edge: not a cone's, where another place lies there."""
        lon, lat = np.meshgrid(np.arange(-150.0, 180.0, 60.0), np.arange(-60.0, 90.0, 30.0))
        for turn in (-360.0, 360.0):
            found = back.transform(*self.from_degrees(lon + turn, lat))
            with np.errstate(invalid="ignore"):
                apart = np.maximum(abs(short_way(found[0] - lon)), abs(found[1] - lat))
            if (apart[np.isfinite(apart)] > 1e-6).any():
                return False
        return True

    def degrees(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """East longitude (-180 to 180) and latitude as the target counts it, degrees; infinite for no such place."""
        lon, lat = self._to_degrees.transform(self._sign * np.asarray(x, float), np.asarray(y, float))
        if self.latitudes != 1.0:
            with np.errstate(invalid="ignore"):
                lat = np.rad2deg(np.arctan(self.latitudes * np.tan(np.deg2rad(lat))))
        return short_way(lon), lat

    def from_degrees(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the target; a longitude 360 degrees further on is a turn further on in the map."""
        return self._from_degrees.transform(lon, lat)

    def length_of_a_turn(self) -> float | None:
        """By how much x grows over 360 degrees of longitude on the target's map; None where that is no one number."""
        lon, lat = np.array([0.0, 10.0, -5.0]), np.array([0.0, 20.0, -30.0])
        first, second = self.from_degrees(lon, lat), self.from_degrees(lon + 360.0, lat)
        with np.errstate(invalid="ignore"):  # a map that does not show these places
            along, across = np.subtract(second, first)
            one = np.ptp(along) <= 1e-9 * abs(along[0]) and np.abs(across).max() <= 1e-9 * abs(along[0])
        return float(along[0]) if one and along[0] > 0 else None

    def __call__(self, x: np.ndarray, y: np.ndarray, turns: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates x, y of the source to those of the target."""
        if not self.circular:
            return x, y
        lon, lat = self.degrees(x, y)
        return self.from_degrees(lon + 360.0 * turns, lat)


@functools.lru_cache(maxsize=64)
def crossing(source: CRS | None, target: CRS | None) -> Crossing:
    """A `Crossing`; a scene needs few, many times, and PROJ takes a while to prepare one."""
    return Crossing(source, target)


def _no_way(source: CRS | None, target: CRS | None) -> str:
    names = ["no system" if crs is None else repr(body.system_of(crs).name) for crs in (source, target)]
    return (
        f"coordinates in {names[0]} cannot be brought to {names[1]}, since one of them has no longitude and latitude; "
        "give both in one system (gdal_edit.py -a_srs, or gdalwarp)."
    )


def short_way(degrees: np.ndarray | float) -> np.ndarray:
    """An angle or a difference of two, brought to -180 (with it) to 180 (without); what is not finite stays."""
    with np.errstate(invalid="ignore"):
        turned = (np.asarray(degrees, float) + 180.0) % 360.0 - 180.0
    return np.where(np.isfinite(degrees), turned, degrees)


def closes(grid) -> bool:
    """Whether an image goes once round the body along its rows, so that its last column touches its first."""
    if grid.crs is None or not grid.is_affine or body.degrees_of(grid.crs) is None:
        return False
    turn, t = crossing(grid.crs, grid.crs).length_of_a_turn(), grid.transform
    if turn is None:
        return False
    cols, rows = turn * t.e / t.determinant, -turn * t.d / t.determinant
    return abs(abs(cols) - grid.width) < _CLOSES and abs(rows) < 0.01
