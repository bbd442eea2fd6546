"""From maps to changes: parts, outlines, tiles, what two tiles share, and the list of places."""

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="needs the extra 'scene'")

import shapely

from planetcd_jax.scenes import candidates, outlines
from planetcd_jax.scores.pixel_level import PixelChange


def maps(*boxes, side=80):
    """Changed ground in boxes (row, column, height, width); the size peaks in the middle of each."""
    changed, size = np.zeros((side, side), bool), np.ones((side, side), np.float32)
    for k, (r, c, h, w) in enumerate(boxes):
        changed[r : r + h, c : c + w] = True
        size[r + h // 2, c + w // 2] = 5 + k
    return PixelChange(size, np.float32(2), changed, np.where(changed, -1, 0).astype(np.float32), changed | True)


def test_each_part_is_a_change_with_its_centre_and_outline():
    found = list(outlines.parts(maps((10, 20, 8, 12), (50, 40, 6, 6)), 1000, 2000))
    assert [(x.row, x.col, x.size) for x in found] == [(1014, 2026, 5.0), (1053, 2043, 6.0)]
    assert found[0].outline.equals(shapely.box(2020, 1010, 2032, 1018)) and found[0].lightening == -1


def test_near_parts_are_one_and_far_ones_two():
    near, far = maps((10, 20, 8, 8), (10, 32, 8, 8)), maps((10, 20, 8, 8), (10, 40, 8, 8))
    assert len(list(outlines.parts(near, 0, 0))) == 1 and len(list(outlines.parts(far, 0, 0))) == 2


def test_what_two_tiles_see_of_one_change_is_put_together():
    one = next(outlines.parts(maps((10, 20, 8, 12)), 0, 0))
    two = next(outlines.parts(maps((10, 5, 8, 12)), 0, 20))
    other = next(outlines.parts(maps((60, 60, 5, 5)), 0, 0))
    found = sorted(outlines.put_together([one, two, other]), key=lambda x: x.row)
    assert len(found) == 2 and found[0].outline.bounds == (20, 10, 37, 18)


def test_tiles_are_those_that_windows_see():
    assert outlines.tiles(np.array([[0, 0]]), 100) == [(0, 0)]
    assert outlines.tiles(np.array([[200, 0]]), 100) == [(0, 0), (1, 0)]


def test_windows_that_see_a_box():
    """By hand, windows of 100 px every 24: those whose ground overlaps columns 130 to 140 begin at 48 to 120."""
    rows, columns = candidates.windows_that_see((130, 10, 140, 20), (9, 9), 100, 24)
    assert (rows.start, rows.stop) == (0, 1) and (columns.start, columns.stop) == (2, 6)


def test_ground_around_a_peak_below_the_level():
    found = maps()
    found.size[30:34, 40:44] = 1.8
    found.size[31, 41] = 1.9
    change = outlines.around_peak(found, (slice(20, 60), slice(20, 60)), 100, 200)
    assert change is not None and (change.row, change.col) == (131, 241)
    assert change.outline.equals(shapely.box(240, 130, 244, 134))
    found.known[:] = False
    assert outlines.around_peak(found, (slice(0, 80), slice(0, 80)), 0, 0) is None
