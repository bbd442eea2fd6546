"""The map's frame: scale, north, sun and lines of longitude and latitude. Oracles: the sphere of Mars, by hand."""

import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

pytest.importorskip("geopandas", reason="needs the extra 'scene'")

from test_scene import GRID, texture, write

from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.grids import Grid
from planetcd_jax.scenes.map_frame import graticule, map_frame
from planetcd_jax.scenes.source import Source

RADIUS = 3396190.0  # of IAU_2015:49910, metres


def pair(tmp_path, *, transform=GRID, crs="IAU_2015:49910", **tags):
    image = texture(300, 400, 0).astype(np.float32)
    paths = [write(tmp_path / f"{date}.tif", image, transform=transform, crs=crs) for date in ("a", "b")]
    for path in paths if tags else ():
        with rasterio.open(path, "r+") as out:
            out.update_tags(**tags)
    return AlignedPair(*(Source(path) for path in paths))


def test_scale_and_north_of_an_equirectangular_map(tmp_path):
    frame = map_frame(pair(tmp_path))
    latitude = math.radians((GRID.f + GRID.e * 150) / RADIUS * 180 / math.pi)
    assert frame.metres == pytest.approx(6.0 * math.cos(latitude), rel=1e-3)  # the map stretches along the parallel
    assert frame.north == pytest.approx(0.0, abs=0.01) and frame.unit == "m" and frame.affine[:2] == (6.0, 0.0)
    assert frame.suns == ()


def test_north_and_sun_turn_with_the_image(tmp_path):
    turned = GRID @ Affine.rotation(30)  # in pixels, whose rows go down: columns now run 30 degrees south of east
    frame = map_frame(pair(tmp_path, transform=turned, SUB_SOLAR_AZIMUTH="200 <deg>"))
    assert frame.north == pytest.approx(-30.0, abs=0.6)  # the map's own stretch bends angles a little
    # Counted clockwise from the image's right edge: 90 degrees more, from its top.
    assert [sun.bearing for sun in frame.suns] == pytest.approx([290.0, 290.0], abs=0.01)
    frame = map_frame(pair(tmp_path, transform=turned, SOLAR_AZIMUTH="200"))
    assert [sun.date for sun in frame.suns] == ["before", "after"]
    assert frame.suns[0].bearing == pytest.approx(200 + frame.north)  # counted from north


def test_lines_lie_where_their_text_says():
    grid = Grid(300, 400, GRID, CRS.from_string("IAU_2015:49910"))
    lines = graticule(grid, 0, 0, 300, 400)
    meridians = [line for line in lines if line["text"].endswith("E")]
    parallels = [line for line in lines if line["text"].endswith("N")]
    assert 3 <= len(meridians) <= 8 and 3 <= len(parallels) <= 8
    for lines_of, axis, sign, start in ((meridians, 0, 6.0, GRID.c), (parallels, 1, -6.0, GRID.f)):
        for line in lines_of:
            degrees = float(line["text"].split("°")[0])
            at = (math.radians(degrees) * RADIUS - start) / sign
            assert np.asarray(line["points"])[:, axis] == pytest.approx(at, abs=0.11)


def test_lines_cross_the_date_line():
    x = math.radians(180.0) * RADIUS
    over = Grid(300, 400, Affine(60.0, 0, x - 12000, 0, -60.0, 9000), CRS.from_string("IAU_2015:49910"))
    texts = {line["text"][-1] for line in graticule(over, 0, 0, 300, 400)}
    assert {"E", "W", "N", "S"} >= texts and {"E", "W"} <= texts


@pytest.mark.parametrize("row", [150.0, 153.3])
@pytest.mark.parametrize("pole", [90, -90])
def test_meridians_go_all_round_a_pole_and_end_before_it(pole, row):
    """Oracle: a polar stereographic map draws the meridian of L degrees as the ray at L degrees."""
    system = CRS.from_string(f"+proj=stere +lat_0={pole} +R={RADIUS} +units=m +no_defs")
    lines = graticule(Grid(300, 400, Affine(60.0, 0, -12000, 0, -60.0, 60.0 * row), system), 0, 0, 300, 400)
    meridians = [line for line in lines if line["text"][-1] in "EW"]
    assert {line["text"][-1] for line in lines} == {"E", "W", "N" if pole > 0 else "S"} and len(meridians) == 12
    for line in meridians:
        degrees = float(line["text"].split("°")[0]) * (1 if line["text"].endswith("E") else -1)
        along = math.sin(math.radians(degrees)), math.copysign(1, pole) * math.cos(math.radians(degrees))
        points = np.asarray(line["points"]) - [200.0, row]  # columns and rows from the pole
        reached = points @ along
        assert np.abs(points - np.outer(reached, along)).max() < 2.0  # a line between known points, pixels
        assert 0 < reached.min() < 30 and reached.max() > 140


def test_a_map_of_the_whole_body_has_meridians_too():
    whole = Grid(180, 360, Affine(1.0, 0, -180.0, 0, -1.0, 90.0), CRS.from_string("IAU_2015:49900"))
    at = {line["text"]: np.asarray(line["points"])[:, 0] for line in graticule(whole, 0, 0, 180, 360)}
    for text, column in (("150° W", 30.0), ("0° E", 180.0), ("120° E", 300.0)):  # by hand: a column is a degree
        assert at[text] == pytest.approx(column, abs=0.1)


def test_an_image_without_a_system_has_pixels_only(tmp_path):
    frame = map_frame(pair(tmp_path, crs=None))
    assert frame.unit == "px" and math.isnan(frame.metres) and frame.graticule == () and frame.wkt == ""
