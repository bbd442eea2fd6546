"""What kind of change a place looks like: each kind drawn into simulated ground, and what must not matter."""

import dataclasses
import math

import numpy as np
import pytest
import shapely
from scipy import ndimage

from planetcd_jax.scenes import kind_measures, kinds
from planetcd_jax.scenes.kind_evidence import measure
from planetcd_jax.scenes.kind_records import Evidence, View

SIDE = 120
SEEDS = range(4)


def two_dates(seed):
    """The same ground twice, with a texture of several pixels, and noise of its own on each date."""
    rng = np.random.default_rng(seed)
    ground = sum(ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), s) * s for s in (1.5, 4, 9))
    ground = 0.5 + 0.06 * ground / ground.std()
    return [ground + 0.006 * rng.standard_normal((SIDE, SIDE)) for _ in range(2)], rng


def away(row, col):
    rows, cols = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - row, cols - col)


def soft(mask):
    return ndimage.gaussian_filter(np.asarray(mask, float), 0.7)


def view(before, after, changed, **more):
    every = np.ones((SIDE, SIDE), bool)
    return View(before, after, every, ndimage.binary_dilation(changed, iterations=2), **more)


def disc(seed, contrast, radius=6):
    (before, after), _ = two_dates(seed)
    mask = away(60, 57) < radius
    return view(before, after * (1 + contrast * soft(mask)), mask)


def ring_and_core(seed, contrast):
    (before, after), _ = two_dates(seed)
    core, zone = soft(away(60, 57) < 5), np.exp(-((away(60, 57) / 15) ** 2))
    return view(before, after * (1 + contrast * (core - 0.5 * zone * (1 - core))), away(60, 57) < 12)


def bar(seed, contrast, angle=30):
    (before, after), _ = two_dates(seed)
    rows, cols = np.mgrid[:SIDE, :SIDE] - 60.0
    turn = math.radians(angle)
    along, across = math.cos(turn) * rows + math.sin(turn) * cols, math.cos(turn) * cols - math.sin(turn) * rows
    mask = (abs(along) < 22) & (abs(across) < 2.5)
    return view(before, after * (1 + contrast * soft(mask)), mask)


def ragged(seed, contrast):
    (before, after), _ = two_dates(seed)
    mask = ((away(50, 50) < 11) | (away(66, 54) < 9) | (away(56, 68) < 8)) & ~(away(60, 62) < 5)
    return view(before, after * (1 + contrast * soft(mask)), mask)


def block_elsewhere(seed, contrast):
    (before, after), _ = two_dates(seed)
    masks = away(60, 50) < 4, away(66, 66) < 4
    dates = [x * (1 + contrast * soft(mask)) for x, mask in zip((before, after), masks, strict=True)]
    return view(*dates, masks[0])


def block_with_shadow(seed):
    (before, after), _ = two_dates(seed)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    body = (abs(rows - 60) < 5) & (abs(cols - 55) < 5)
    shadow = (abs(rows - 60) < 5) & (cols >= 60) & (cols < 68)
    return view(before, after * (1 + 0.5 * soft(body)) * (1 - 0.8 * soft(shadow)), body | shadow)


def longer_shadow(seed):
    (before, after), _ = two_dates(seed)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    dates = [
        x * (1 - 0.85 * soft((abs(rows - 60) < 7) & (cols >= 50) & (cols < end)))
        for x, end in ((before, 59), (after, 72))
    ]
    return view(*dates, (abs(rows - 60) < 7) & (cols >= 59) & (cols < 72))


def salt(seed):
    (before, after), rng = two_dates(seed)
    mask = (away(60, 57) < 8) & (rng.random((SIDE, SIDE)) < 0.3)
    return view(before, np.where(mask, 1.0, after), away(60, 57) < 8)


def block_without_data(seed):
    (before, after), _ = two_dates(seed)
    mask = np.maximum(*abs(np.mgrid[:SIDE, :SIDE] - 60)) < 6
    return view(before, np.where(mask, 0.0, after), mask)


def displaced(seed):
    """Sharp ground, of which a part lies 3 px off on the second date."""
    (before, after), rng = two_dates(seed)
    fine = 0.08 * ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 1.2) * 4
    before, after = before + fine, after + fine
    part = away(60, 57) < 16
    return view(before, np.where(part, np.roll(after, (3, 1), (0, 1)), after), away(60, 57) < 12)


EXPECTED = [
    ("new dark spot", lambda seed: disc(seed, -0.4)),
    ("new bright spot", lambda seed: disc(seed, 0.4)),
    ("new dark spot with halo", lambda seed: ring_and_core(seed, -0.6)),
    ("new dark streak", lambda seed: bar(seed, -0.4)),
    ("new bright streak", lambda seed: bar(seed, 0.4, 75)),
    ("new dark albedo feature", lambda seed: ragged(seed, -0.35)),
    ("moved object", lambda seed: block_elsewhere(seed, 0.6)),
    ("moved object", lambda seed: block_elsewhere(seed, -0.5)),
    ("new object with shadow", block_with_shadow),
    ("shadow or light", longer_shadow),
    ("noise or dropout", salt),
    ("noise or dropout", block_without_data),
    ("misregistration", displaced),
]


@pytest.mark.parametrize(("name", "make"), EXPECTED)
@pytest.mark.parametrize("seed", SEEDS)
def test_each_kind_is_told(name, make, seed):
    told = kinds.kind_of(make(seed))
    assert told.name == name
    assert 0 <= told.sure <= 1 and told.belief >= 0.5


@pytest.mark.parametrize(("name", "make"), EXPECTED)
def test_a_swap_of_the_dates_swaps_new_and_lost_and_nothing_else(name, make):
    one = make(1)
    other = dataclasses.replace(one, before=one.after, after=one.before)
    assert kinds.kind_of(other).name == kinds.swapped(name)


@pytest.mark.parametrize(("name", "make"), EXPECTED)
def test_a_mirror_and_a_turn_leave_the_kind_as_it_is(name, make):
    one = make(2)
    for turn in (lambda x: x[:, ::-1], lambda x: np.rot90(x), lambda x: x.T):
        parts = {
            part: np.ascontiguousarray(turn(getattr(one, part))) for part in ("before", "after", "valid", "changed")
        }
        assert kinds.kind_of(dataclasses.replace(one, **parts)).name == name


@pytest.mark.parametrize("seed", SEEDS)
def test_gain_and_offset_of_a_date_do_not_matter(seed):
    one = disc(seed, -0.4)
    assert kinds.kind_of(dataclasses.replace(one, after=3.0 * one.after + 7.0)).name == "new dark spot"


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_told_of_noise(seed):
    (before, after), rng = two_dates(seed)
    row, col = rng.integers(30, 90, 2)
    told = kinds.kind_of(view(before, after, away(row, col) < 6))
    assert told.name == "" and math.isnan(told.sure)


def test_nothing_is_told_without_ground_or_outline():
    one = disc(0, -0.4)
    nowhere = np.zeros((SIDE, SIDE), bool)
    assert measure(dataclasses.replace(one, changed=nowhere)) is None
    assert measure(dataclasses.replace(one, valid=nowhere)) is None
    flat = dataclasses.replace(one, before=np.ones((SIDE, SIDE)))
    assert kinds.kind_of(flat).name == ""


def test_a_place_at_missing_data_is_dropout():
    one = disc(0, -0.4)
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 57:] = False
    assert kinds.kind_of(dataclasses.replace(one, valid=valid)).name == "noise or dropout"


def test_a_shadow_that_points_to_a_known_sun_is_none():
    one = longer_shadow(0)  # it lies to the right
    from_left, from_right = (270.0, 270.0), (90.0, 90.0)
    assert kinds.kind_of(dataclasses.replace(one, suns=from_left)).name == "shadow or light"
    assert kinds.kind_of(dataclasses.replace(one, suns=from_right)).name != "shadow or light"


def test_sure_follows_the_table_of_the_rules():
    evidence = measure(disc(0, -0.4))
    low = kinds.tell(evidence, kinds.KindRules(sure=((0.0, 0.25), (1.0, 0.25))))
    assert low.sure == 0.25 and low.name == "new dark spot"
    points = np.asarray(kinds.KindRules().sure)
    assert (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) >= 0).all()


def test_belief_is_a_half_at_a_threshold_on_either_side():
    assert kinds.belief(2.0, (2.0, 0.5)) == 0.5
    assert kinds.belief(2.5, (2.0, 0.5)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert kinds.belief(2.5, (2.0, -0.5)) == pytest.approx(1 / (1 + math.exp(1)))
    assert kinds.belief(math.nan, (2.0, 0.5)) == 0.0


def test_families_and_swapped_names():
    assert kinds.family("new dark spot with halo") == "spot"
    assert kinds.family("lost object with shadow") == kinds.family("moved object") == "object"
    assert kinds.family("shadow or light") == "shadow or light" and kinds.family("") == ""
    assert kinds.swapped("new dark spot with halo") == "lost dark spot with halo"
    assert kinds.swapped("misregistration") == "misregistration"
    assert kinds.tell(Evidence(contrast=0.5)).name == ""


def test_shapes_by_hand():
    disc_, rows_cols = away(60, 60) < 12, np.mgrid[:SIDE, :SIDE] - 60
    elongation, stretch, compact, _, width = kind_measures.shape_of(disc_)
    assert elongation == pytest.approx(math.pi / 4, rel=0.1) and compact == pytest.approx(1, abs=0.02)
    assert width == pytest.approx(24, abs=1.5) and stretch == pytest.approx(1, abs=0.01)
    lying = (abs(rows_cols[0]) <= 1) & (abs(rows_cols[1]) <= 15)  # 3 rows, 31 columns
    elongation, stretch, _, axis, width = kind_measures.shape_of(lying)
    assert (elongation, axis, width) == (pytest.approx(31 / 3), pytest.approx(90), 3)
    assert stretch == pytest.approx(31 / 3)  # of a bar it is length over width
    assert kind_measures.bearing(np.array([5, 5]), np.array([5, 9])) == 90  # to the right
    assert kind_measures.angle_between(350, 20) == pytest.approx(30)


def test_the_outline_of_a_place_is_laid_on_its_chip():
    from planetcd_jax.scenes import place_measures, places
    from planetcd_jax.scenes.outlines import Change

    one = disc(3, -0.4)
    outline = shapely.Point(57.5 + 200, 60.5 + 100).buffer(8)
    change = Change(outline, 160, 257, 9.0, 2.2, -1.0)
    found = places.Candidate(1, 160, 257, 110, 207, 9.0, 0.01, True, 1, np.zeros((1, 2)), change)
    chip = place_measures.Chip(one.before, one.after, one.valid, one.valid, 100, 200)
    told = place_measures._with_kind(found, chip, (math.nan, math.nan))
    assert told.kind == "new dark spot" and 0 < told.kind_sure <= 1
    assert place_measures._with_kind(dataclasses.replace(found, change=None), chip, (math.nan, math.nan)).kind == ""


def test_files_of_a_scene_hold_kind_and_sure(tmp_path):
    import geopandas
    from affine import Affine

    from planetcd_jax.scenes import places, writing
    from planetcd_jax.scenes.grids import Grid

    grid = Grid(400, 400, Affine(6.0, 0.0, 0.0, 0.0, -6.0, 2400.0), None)
    told = places.Candidate(
        1, 60, 57, 10, 7, 9.0, 0.01, True, 1, np.zeros((1, 2), int), kind="new dark spot", kind_sure=0.75
    )
    plain = dataclasses.replace(told, rank=2, kind="", kind_sure=math.nan)
    rows = writing.table([told, plain], grid, 100)
    writing.write_places(tmp_path, {writing.LAYER: rows}, grid, parquet=True, window=100)
    read = geopandas.read_file(tmp_path / "candidates.gpkg", layer="candidates")
    for table in (read, geopandas.read_parquet(tmp_path / "candidates.parquet")):
        assert table["kind"].tolist() == ["new dark spot", ""]
        assert table["kind_sure"][0] == 0.75 and math.isnan(table["kind_sure"][1])
    lines = (tmp_path / "candidates.csv").read_text().splitlines()
    at = [lines[0].split(",").index(name) for name in ("kind", "kind_sure")]
    assert [[line.split(",")[i] for i in at] for line in lines[1:]] == [["new dark spot", "0.75"], ["", ""]]
