"""Outlines on a sphere: caps around them, which may touch, and how much of two is common.

Everything is done on unit vectors and in an equal-area map around each pair, so that the seam of longitudes and the
poles are places like others.

Source of the projection: Snyder, Map Projections, USGS Professional Paper 1395, eq. 24-1.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from planetcd_jax.extras import brought_by

with brought_by("survey"):
    import shapely

LARGEST = np.deg2rad(60.0)
"""Largest radius of a cap around an outline, radians: a wider one has no place in a map of the pair."""

_STEP = np.deg2rad(1.0)  # great circles are followed by points this close
_CHUNK = 20_000  # pairs at once
_BOXES = 5_000  # boxes asked for at once


def vectors(ring: np.ndarray) -> np.ndarray:
    """Unit vectors [V, 3] of longitudes and latitudes [V, 2], degrees."""
    lon, lat = np.deg2rad(np.asarray(ring, float)).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def lon_lat(points: np.ndarray) -> np.ndarray:
    """Longitudes (-180 to 180) and latitudes [..., 2], degrees, of vectors [..., 3]."""
    x, y, z = np.moveaxis(np.asarray(points, float), -1, 0)
    return np.rad2deg(np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=-1))


def angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angle between unit vectors [..., 3], radians; exact for small ones too."""
    return 2.0 * np.arcsin(np.clip(0.5 * np.linalg.norm(one - other, axis=-1), 0.0, 1.0))


def dense(ring: np.ndarray) -> np.ndarray:
    """The outline as unit vectors [D, 3], with points on each great circle between its corners."""
    corners = vectors(ring)
    following = np.roll(corners, -1, axis=0)
    counts = np.maximum(1, np.ceil(angle(corners, following) / _STEP)).astype(int)
    if counts.max() == 1:
        return corners
    starts = np.repeat(np.arange(len(corners)), counts)
    share = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[starts]
    points = (1 - share)[:, None] * corners[starts] + share[:, None] * following[starts]
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Outlines:
    """Outlines of N images.

    Attributes:
        points: [P, 3] unit vectors of all outlines, one after the other.
        starts: [N + 1] first point of each.
        centres: [N, 3] unit vectors of the middle of each.
        radii: [N] radius of a cap around the middle that holds all of it, radians.
    """

    points: np.ndarray
    starts: np.ndarray
    centres: np.ndarray
    radii: np.ndarray


def outlines(rings: Sequence[np.ndarray]) -> Outlines:
    """From rings of longitude and latitude [V, 2], degrees."""
    each = [dense(ring) for ring in rings]
    starts = np.concatenate([[0], np.cumsum([len(points) for points in each])]).astype(int)
    points = np.concatenate(each) if each else np.zeros((0, 3))
    sums = np.add.reduceat(points, starts[:-1]) if each else np.zeros((0, 3))
    lengths = np.linalg.norm(sums, axis=-1, keepdims=True)
    centres = np.where(lengths > 1e-9, sums / np.maximum(lengths, 1e-9), [0.0, 0.0, 1.0])
    apart = angle(points, np.repeat(centres, np.diff(starts), axis=0))
    radii = np.maximum.reduceat(apart, starts[:-1]) if each else np.zeros(0)
    return Outlines(points, starts, centres, radii)


def _boxes(shapes: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [B, 4] of longitude and latitude that hold the caps, and the outline [B] of each.

    A cap across the seam has two; one that holds a pole goes once round.
    """
    middle, radius = lon_lat(shapes.centres), np.rad2deg(shapes.radii) + 1e-6
    south, north = middle[:, 1] - radius, middle[:, 1] + radius
    polar = (south <= -90.0) | (north >= 90.0)
    with np.errstate(invalid="ignore"):
        half = np.rad2deg(np.arcsin(np.sin(np.deg2rad(radius)) / np.cos(np.deg2rad(middle[:, 1])))) + 1e-6
    west = np.where(polar, -180.0, middle[:, 0] - half)
    east = np.where(polar, 180.0, middle[:, 0] + half)
    boxes, owners = [np.stack([west, south, east, north], axis=-1)], [np.arange(len(middle))]
    for over, turn in ((west < -180.0, 360.0), (east > 180.0, -360.0)):
        boxes.append(boxes[0][over] + [turn, 0.0, turn, 0.0])
        owners.append(np.flatnonzero(over))
    return np.concatenate(boxes), np.concatenate(owners)


def neighbours(shapes: Outlines) -> np.ndarray:
    """Pairs [K, 2] of outlines whose caps meet, smaller number first, each once."""
    boxes, owners = _boxes(shapes)
    tree, parts = shapely.STRtree(shapely.box(*boxes.T)), [np.zeros((0, 2), int)]
    for first in range(0, len(boxes), _BOXES):
        found = tree.query(shapely.box(*boxes[first : first + _BOXES].T), predicate="intersects")
        pairs = np.stack([owners[found[0] + first], owners[found[1]]], axis=-1)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        apart = angle(shapes.centres[pairs[:, 0]], shapes.centres[pairs[:, 1]])
        parts.append(pairs[apart <= shapes.radii[pairs].sum(axis=1)])
    return np.unique(np.concatenate(parts), axis=0)  # boxes may meet on both sides of the seam


def _maps(shapes: Outlines, numbers: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Polygons [K] of outlines in equal-area maps around unit vectors [K, 3]; areas in steradians."""
    counts = np.diff(shapes.starts)[numbers]
    owner = np.repeat(np.arange(len(numbers)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    points = shapes.points[np.repeat(shapes.starts[numbers], counts) + within]
    up = middles[owner]
    along = np.cross(np.where(abs(middles[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]), middles)
    along = (along / np.linalg.norm(along, axis=-1, keepdims=True))[owner]
    across = np.cross(up, along)
    scale = np.sqrt(2.0 / np.maximum(1.0 + (points * up).sum(-1), 1e-9))
    flat = np.stack([scale * (points * along).sum(-1), scale * (points * across).sum(-1)], axis=-1)
    rings = shapely.linearrings(flat, indices=owner)
    polygons = np.asarray(shapely.polygons(rings))
    bad = ~shapely.is_valid(polygons)
    polygons[bad] = np.asarray(shapely.buffer(polygons[bad], 0.0))
    return polygons


def overlaps(shapes: Outlines, pairs: np.ndarray) -> np.ndarray:
    """Share [K] of the smaller outline of each pair [K, 2] that the other covers, 0 to 1."""
    shares = np.zeros(len(pairs))
    for first in range(0, len(pairs), _CHUNK):
        part = pairs[first : first + _CHUNK]
        smaller = np.where(shapes.radii[part[:, 0]] <= shapes.radii[part[:, 1]], part[:, 0], part[:, 1])
        middles = shapes.centres[smaller]
        one, other = _maps(shapes, part[:, 0], middles), _maps(shapes, part[:, 1], middles)
        least = np.minimum(shapely.area(one), shapely.area(other))
        common = shapely.area(shapely.intersection(one, other))
        shares[first : first + _CHUNK] = np.where(least > 0, common / np.maximum(least, 1e-300), 0.0)
    return np.clip(shares, 0.0, 1.0)
