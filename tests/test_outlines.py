"""From maps to changes: parts, outlines, tiles, what two tiles share, and the list of places."""

import dataclasses
import types

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="needs the extra 'scene'")

import shapely

from planetcd_jax.scenes import candidates, outlines, places
from planetcd_jax.scenes.chance import Chance
from planetcd_jax.scenes.scoring import Plan
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


PAIR = types.SimpleNamespace(overlap=types.SimpleNamespace(row=1000, col=2000))
PLAN = Plan(window=100, stride=24)


def scored(*blocks, shape=(20, 20)):
    """rho that is 1, and higher in blocks (row, column, side, rho) of windows; p-values; tau is 5."""
    rho = np.ones(shape, np.float32)
    for r, c, side, value in blocks:
        rho[r : r + side, c : c + side] = value
    rho += np.linspace(0, 0.01, rho.size, dtype=np.float32).reshape(shape)
    return rho, 1 / (1 + rho), 5.0


def change(row, col, half, size=4.0):
    return outlines.Change(shapely.box(col - half, row - half, col + half, row + half), row, col, size, 2.2, 1.0)


def test_a_change_larger_than_a_window_is_one_place_and_two_near_ones_are_two():
    large, left, right = change(150, 150, 110), change(400, 100, 8), change(400, 140, 8, 3.0)
    found, few = places.list_candidates(scored((0, 0, 11, 9.0), (13, 0, 5, 8.0)), [large, left, right], PLAN, PAIR, 0)
    assert [(x.row, x.col, x.stands_out) for x in found[:3]] == [
        (1150, 2150, True), (1400, 2100, True), (1400, 2140, True),
    ]  # fmt: skip
    assert found[0].rho > found[1].rho and found[1].rho - found[2].rho < 0.01 and not few
    assert found[0].change.outline.bounds == (2040, 1040, 2260, 1260)


def test_windows_in_which_no_pixel_stands_out_are_a_place_only_where_many_see_it():
    found, few = places.list_candidates(scored((0, 0, 5, 9.0), (14, 14, 2, 7.0)), [], PLAN, PAIR, 0)
    assert [len(x.windows) for x in found] == [25] and [len(x.windows) for x in few] == [4]
    assert places.seen_by(PLAN) == 16
    # A score that tells no outlines keeps every peak.
    every, none = places.list_candidates(scored((0, 0, 5, 9.0), (14, 14, 2, 7.0)), None, PLAN, PAIR, 0)
    assert len(every) == 2 and not none


def test_windows_in_which_no_pixel_stands_out_are_no_place_where_chance_gives_as_much():
    maps = scored((0, 0, 5, 9.0), (12, 12, 5, 7.0))
    # Of ten tiles one reaches 8 by chance, and the scene is worth twenty.
    chance = Chance(np.array([2.0] * 9 + [8.0]), None, 20.0)
    assert chance.expected_tiles(7.0) > chance.pixels.rate > chance.expected_tiles(9.0)
    found, few = places.list_candidates(maps, [], PLAN, PAIR, 0, chance)
    assert [round(x.rho) for x in found] == [9] and [round(x.rho) for x in few] == [7]
    # A change that is outlined is a place, if it stands out of the many pieces that were searched.
    found, _ = places.list_candidates(maps, [change(350, 350, 10)], PLAN, PAIR, 0, chance)
    assert sorted(round(x.rho) for x in found) == [7, 9]
    many = dataclasses.replace(chance, searched=10_000)
    assert not many.stands_out(4.2, 2.2, 7.0) and many.stands_out(4.3, 2.2, 7.0)
    found, few = places.list_candidates(maps, [change(350, 350, 10)], PLAN, PAIR, 0, many)
    assert [round(x.rho) for x in found] == [9] and [round(x.rho) for x in few] == [7]


def test_windows_beside_a_change_are_of_it_though_its_outline_ends_before_them():
    maps = scored((6, 4, 5, 9.0))  # to row 340 of the overlap, the highest last
    near, far = change(340 + 20 + 10, 250, 10), change(340 + 40 + 10, 250, 10)
    found, few = places.list_candidates(maps, [near], PLAN, PAIR, 0)
    assert not found and len(few) == 1
    found, _ = places.list_candidates(maps, [far], PLAN, PAIR, 0)
    assert [x.change for x in found] == [None]


def test_places_below_tau_fill_up_and_lie_apart_from_those_above():
    found, _ = places.list_candidates(scored((0, 0, 5, 9.0), (12, 12, 2, 3.0)), [change(90, 90, 10)], PLAN, PAIR, 3)
    assert [x.changed for x in found] == [True, False, False] and [x.rank for x in found] == [1, 2, 3]
    assert found[1].rho > 2.9 and found[1].window_row >= 1000 + 11 * 24
