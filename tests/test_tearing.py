"""Seams and slides in a field of local shifts. Oracle: the maps that the test made the second image with."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from test_register import ground, seen, write

from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.coregister import models, tearing
from planetcd_jax.scenes.coregister.bend import Bend
from planetcd_jax.scenes.coregister.deciding import register
from planetcd_jax.scenes.coregister.squares import Squares

SIDE = 560
RULES = tearing.SeamRules()
ROWS, COLS = np.mgrid[:SIDE, :SIDE] + 0.5


def flat(col=0.0, row=0.0):
    """A field of one shift."""
    return Bend(0.0, 0.0, 100.0, ((col,) * 6,) * 6, ((row,) * 6,) * 6)


def lattice_of(by_col, by_row, match=0.8, count=24, step=30):
    """Squares on a lattice whose shifts are functions of their columns and rows."""
    rows, cols = (v.ravel() for v in step * (np.mgrid[:count, :count] + 1.0))
    shifts = [np.broadcast_to(f(cols, rows), cols.shape).astype(float) for f in (by_col, by_row)]
    return Squares(cols, rows, *shifts, np.full(cols.size, match), 1, 14, 0.5)


def right(cols, rows):
    return cols > 350 + rows / 12


def inside(cols, rows):
    return (abs(cols - 400) < 90) & (abs(rows - 300) < 90)


def moved(where, by):
    return lambda cols, rows: 0.08 * cols + np.where(where(cols, rows), by, 0.0)


def test_a_seam_has_two_sides_and_a_slide_is_an_island():
    """Both on ground whose shifts change by 0.08 px a pixel; slid ground stays one though the field follows it."""
    seam = lattice_of(moved(right, -9.0), moved(right, 4.0))
    found = tearing.link(np.eye(3), seam, flat(), RULES)
    side = tearing.find_sides(found, RULES)
    assert found.good.mean() > 0.9 and not found.islands.any()
    truth = right(seam.cols, seam.rows)
    for k in (0, 1):
        assert np.ptp(truth[side == k].astype(int)) == 0 and (side == k).sum() > 60
    slide = lattice_of(moved(inside, 8.0), moved(inside, 0.0))
    found = tearing.link(np.eye(3), slide, flat(), RULES)
    slid = inside(slide.cols, slide.rows)
    assert (
        not (found.islands & ~slid).any() and not (found.good & slid).any() and tearing.find_sides(found, RULES) is None
    )
    assert found.islands.sum() > 0.8 * slid.sum() and found.good[~slid].mean() > 0.95
    at_border = lattice_of(moved(lambda c, r: (c < 200) & (abs(r - 300) < 90), 8.0), moved(inside, 0.0))
    assert tearing.link(np.eye(3), at_border, flat(), RULES).islands.any()


def test_smooth_ground_and_noise_have_no_seam():
    rng = np.random.default_rng(0)
    smooth = lattice_of(lambda c, r: 6 * np.sin(c / 150), lambda c, r: 5 * np.cos(r / 140 + c / 200))
    noise = lattice_of(lambda c, r: rng.uniform(-14, 14, c.shape), lambda c, r: rng.uniform(-14, 14, c.shape))
    for squares in (smooth, noise):
        assert tearing.find_sides(tearing.link(np.eye(3), squares, flat(), RULES), RULES) is None


def test_torn_shifts_hold_on_their_sides_and_nowhere_between():
    field = tearing.Torn((flat(1.0, 2.0), flat(-3.0, 4.0)), 0.0, 0.0, 10.0, ("00x11", "00x11"))
    along, down = field(np.array([0.0, 12.0, 20.0, 30.0, 900.0, np.nan]), np.zeros(6))
    np.testing.assert_allclose(along, [1.0, 1.0, np.nan, -3.0, -3.0, np.nan])
    np.testing.assert_allclose(down, [2.0, 2.0, np.nan, 4.0, 4.0, np.nan])
    assert field.largest() == pytest.approx(5.0) and field.left_out() == pytest.approx(0.2)


def bent_pair(tmp_path, where, by):
    """Two images of bent ground that lie 40 px off, part of which is shown by `by` columns and rows off the rest."""
    field = ground(15, 900)
    part = where(COLS, ROWS)
    along = 40 + 4 * np.sin(COLS / 80) * np.cos(ROWS / 100) + by[0] * part
    down = 4.8 * np.cos(COLS / 110 + ROWS / 90) + by[1] * part
    after = map_coordinates(field, [ROWS + down + 199.5, COLS + along + 199.5], order=3, mode="wrap")
    images = write(tmp_path / "a.tif", seen(field, side=SIDE)), write(tmp_path / "b.tif", after, seed=1)
    return images, register(*images)


@pytest.mark.slow
def test_a_seam_is_followed_and_what_neither_side_shows_is_left_out(tmp_path):
    """12 px of ground are lost along a line: with a smooth field alone the correlation is 0.95."""
    images, found = bent_pair(tmp_path, lambda cols, rows: cols > 250 + rows / 6, (12.0, -5.0))
    assert isinstance(found.bend, tearing.Torn) and "torn" in found.said()
    pair = AlignedPair(*images, correction=found.correction)
    size = pair.grid.height, pair.grid.width
    (one, here), (two, there) = pair.read_before(0, 0, *size), pair.read_after(0, 0, *size)
    both = here & there
    assert both.mean() > 0.8 and found.bend.left_out() < 0.1
    assert np.corrcoef(one[both].ravel(), two[both].ravel())[0, 1] > 0.985


@pytest.mark.slow
def test_a_block_that_slid_in_bent_ground_is_not_moved_back(tmp_path):
    """150 px a side by 8 px, which coarse squares take for relief."""
    _, found = bent_pair(tmp_path, lambda c, r: (abs(c - 280) < 75) & (abs(r - 280) < 75), (8.0, 0.0))
    # Pixel p of the second image shows the ground at p + shift; this is the ground in the middle of the block there.
    cols, rows = np.array([280.0 + 40 + 4 * np.sin(3.5) * np.cos(2.8) + 8]), np.array([280 + 4.8 * np.cos(5.657)])
    at_rest = cols, rows
    for _ in range(30):
        along = 40 + 4 * np.sin(at_rest[0] / 80) * np.cos(at_rest[1] / 100)
        at_rest = cols - along, rows - 4.8 * np.cos(at_rest[0] / 110 + at_rest[1] / 90)
    there = models.move(np.array(found.matrix), cols, rows)
    there = tuple(at + off for at, off in zip(there, found.bend(*there), strict=True))
    assert np.hypot(there[0] - at_rest[0], there[1] - at_rest[1])[0] < 3.0
