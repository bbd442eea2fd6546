"""A circle has 360 degrees: images of one place, whatever way each writes its longitudes."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import body, stable, writing
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.grids import Grid
from planetcd_jax.scenes.longitudes import Crossing, closes
from planetcd_jax.scenes.places import Candidate
from planetcd_jax.scenes.scoring import Plan
from planetcd_jax.scenes.source import Source, no_grid_warning

RADIUS = 1_737_400.0
DEGREE = np.pi * RADIUS / 180.0
LONLAT = f"+proj=longlat +R={RADIUS}"
EQC = f"+proj=eqc +R={RADIUS} +units=m"


def world(lon, lat):
    """Brightness of a made-up moon at any place, degrees: the same after 360 degrees, and of no symmetry."""
    u, v, w = np.cos(np.radians(lon)), np.sin(np.radians(lon)), np.radians(lat)
    return 100 + 30 * np.sin(9 * u + 4 * w) + 30 * np.cos(7 * v - 5 * w + u) + 10 * np.sin(23 * w + 11 * v)


def write(path, crs, transform, height, width, seen=world, dtype="float32"):
    """Writes what `world` shows at each pixel's middle."""
    rows, cols = np.mgrid[:height, :width] + 0.5
    grid = Grid(height, width, transform, CRS.from_string(crs))
    lon, lat = body.lon_lat(grid.crs, *grid.coordinates(cols, rows))
    with rasterio.open(path, "w", driver="GTiff", dtype=dtype, count=1, height=height, width=width, crs=crs,
                       transform=transform) as out:  # fmt: skip
        out.write(seen(lon, lat).astype(dtype), 1)
    return str(path)


def pair_of(tmp_path, first, second):
    """A pair from two (crs, transform, height, width)."""
    return AlignedPair(
        *(Source(write(tmp_path / f"{n}.tif", *part)) for n, part in zip("ab", (first, second), strict=True))
    )


def differences(pair):
    """Share of the before-image that is compared, and the largest difference of the two dates there."""
    size = pair.grid.height, pair.grid.width
    (before, here), (after, there) = pair.read_before(0, 0, *size), pair.read_after(0, 0, *size)
    both = here & there
    return both.sum() / (pair.before.grid.height * pair.before.grid.width), abs(before - after)[both].max()


def at(lon, lat, step, crs=LONLAT, lon_0=0.0):
    """A transform whose corner lies at a longitude (as it is to be written) and latitude, pixels of `step` degrees."""
    size = 1.0 if "longlat" in crs else DEGREE
    return Affine(step * size, 0, (lon - lon_0) * size, 0, -step * size, lat * size)


@pytest.mark.parametrize("metres", [False, True])
@pytest.mark.parametrize(
    "first,second", [(200.0, -160.0), (-160.0, 200.0), (-5.0, 355.0), (355.0, -5.0), (170.0, 530.0)]
)
def test_two_domains_of_one_system_are_one_place(tmp_path, metres, first, second):
    crs = EQC if metres else LONLAT
    pair = pair_of(tmp_path, (crs, at(first, 12, 0.05, crs), 90, 200), (crs, at(second, 12, 0.05, crs), 90, 200))
    assert pair.overlap.how == "same grid" and (pair.grid.height, pair.grid.width) == (90, 200)
    share, worst = differences(pair)
    assert share == 1.0 and worst < 0.01


@pytest.mark.parametrize("shift", [0.0, 0.02])
@pytest.mark.parametrize(
    "kinds",
    [
        ((EQC + " +lon_0=180", 175, 180), (EQC, 175, 0)),
        ((EQC, 175, 0), (EQC + " +lon_0=180", 175, 180)),
        ((LONLAT, 175, 0), (EQC + " +lon_0=-160", 175, 200)),
        ((EQC + " +lon_0=37", -5, 37), (LONLAT, 355, 0)),
    ],
)
def test_the_seam_inside_a_scene(tmp_path, kinds, shift):
    """Centre longitudes differ, and a scene goes on beyond the edge of its map; whole pixels apart or not."""
    grids = [
        (crs, at(lon + s, 8, 0.05, crs, lon_0), 80, 200) for (crs, lon, lon_0), s in zip(kinds, (0, shift), strict=True)
    ]
    pair = pair_of(tmp_path, *grids)
    share, worst = differences(pair)
    assert share > (0.999 if not shift else 0.98) and worst < 0.2
    assert pair.overlap.how == ("same grid" if not shift else "warp")


def test_sinusoidal_maps_are_turned_at_each_latitude(tmp_path):
    """Beyond the edge of a sinusoidal map a turn is shorter the further north."""
    sinus = f"+proj=sinu +R={RADIUS} +units=m"
    step = 0.05 * DEGREE
    edge = 180 * DEGREE * np.cos(np.radians(40))
    first = Affine(step, 0, edge - 100 * step, 0, -step, 42 * DEGREE)
    pair = pair_of(tmp_path, (sinus, first, 80, 200), (LONLAT, at(-195, 45, 0.05), 200, 800))
    share, worst = differences(pair)
    assert share == 1.0 and worst < 0.2


@pytest.mark.parametrize("centre", [0, -170, 187, 540])
def test_a_cone_has_one_place_for_a_longitude(tmp_path, centre):
    """Whichever way its centre is written; beyond the edge of a conic map lies another place, not the next turn."""
    cone = f"+proj=lcc +lat_1=30 +lat_2=50 +lon_0={centre} +R={RADIUS} +units=m"
    x, y = Crossing(CRS.from_string(LONLAT), CRS.from_string(cone))(np.array([centre + 4.0]), np.array([41.0]))
    first = Affine(0.05 * DEGREE, 0, x[0] - 5 * DEGREE, 0, -0.05 * DEGREE, y[0] + 3 * DEGREE)
    lon = (centre + 4.0 + 180) % 360 - 180
    pair = pair_of(tmp_path, (cone, first, 120, 200), (LONLAT, at(lon - 12, 48, 0.05), 280, 480))
    share, worst = differences(pair)
    assert share == 1.0 and worst < 0.2
    back = AlignedPair(pair.after, pair.before)
    size = back.grid.height, back.grid.width
    (before, here), (after, there) = back.read_before(0, 0, *size), back.read_after(0, 0, *size)
    assert (here & there).mean() > 0.3 and abs(before - after)[here & there].max() < 0.3


@pytest.mark.parametrize("second", [(LONLAT, 0.0, 0), (LONLAT, -30.0, 0), (EQC + " +lon_0=100", -80, 100)])
def test_mosaics_round_the_body_lose_nothing_at_the_seam(tmp_path, second):
    crs, lon, lon_0 = second
    grids = (LONLAT, at(-180, 60, 0.5), 240, 720), (crs, at(lon, 60, 0.5, crs, lon_0), 240, 720)
    pair = pair_of(tmp_path, *grids)
    assert pair.before.closed and pair.after.closed and pair.overlap.how == "offset"
    share, worst = differences(pair)
    assert share == 1.0 and worst < 0.01


@pytest.mark.parametrize("step", [0.5, 0.4])
def test_windows_lie_across_the_seam_of_a_mosaic(tmp_path, step):
    grids = (LONLAT, at(-180, 60, 0.5), 240, 720), (LONLAT, at(0, 60, step), round(120 / step), round(360 / step))
    names = [write(tmp_path / f"{n}.tif", *part) for n, part in zip("ab", grids, strict=True)]
    pair = AlignedPair(*map(Source, names), beyond_seam=76)
    assert pair.grid.width == 720 + 76
    (before, here), (after, there) = pair.read_before(20, 690, 60, 100), pair.read_after(20, 690, 60, 100)
    assert here.all() and there.all() and abs(before - after).max() < 0.2


def test_a_mosaic_of_other_pixels_loses_nothing_at_its_seam(tmp_path):
    pair = pair_of(tmp_path, (LONLAT, at(-180, 60, 0.5), 240, 720), (LONLAT, at(0, 62, 0.4), 310, 900))
    assert pair.overlap.how == "warp"
    share, worst = differences(pair)
    assert share == 1.0 and worst < 0.2


def test_a_small_scene_across_the_seam_of_a_mosaic_is_read_in_one_piece(tmp_path):
    mosaic, small = (LONLAT, at(-180, 60, 0.1), 600, 3600), (LONLAT, at(175, 10, 0.1), 50, 100)
    pair = pair_of(tmp_path, mosaic, small)
    assert (pair.overlap.row, pair.overlap.col, pair.grid.height, pair.grid.width) == (500, 3550, 50, 100)
    size = 50, 100
    (before, here), (after, there) = pair.read_before(0, 0, *size), pair.read_after(0, 0, *size)
    assert here.all() and there.all() and abs(before - after).max() < 0.01
    small, shown = pair.before.read_reduced(500, 3550, 50, 100, 50)  # for the overview
    assert small.shape == (25, 50, 1) and shown.all()
    assert abs(small[..., 0] - before[..., 0].reshape(25, 2, 50, 2).mean(axis=(1, 3))).max() < 3
    assert (
        writing.table([Candidate(1, 510, 3620, 500, 3610, 1.0, 1.0, False, 0, np.zeros((0, 2)))], pair.before.grid, 20)[
            0
        ]["col"]
        == 20
    )
    back = AlignedPair(pair.after, pair.before)
    assert (back.grid.height, back.grid.width) == size and back.read_after(0, 0, *size)[1].all()


def test_scenes_on_opposite_sides_do_not_overlap(tmp_path):
    with pytest.raises(DataError, match="do not overlap"):
        pair_of(tmp_path, (LONLAT, at(0, 5, 0.1), 100, 100), (LONLAT, at(175, 5, 0.1), 100, 100))


def test_turns_by_hand():
    """On an equirectangular map a turn is 2 pi R; on a polar one it changes nothing."""
    x, y = Crossing(CRS.from_string(LONLAT), CRS.from_string(EQC))(np.array([10.0]), np.array([20.0]), 1)
    np.testing.assert_allclose((x[0], y[0]), (370 * DEGREE, 20 * DEGREE), rtol=1e-9)
    polar = Crossing(CRS.from_string(LONLAT), CRS.from_string(f"+proj=stere +lat_0=90 +R={RADIUS}"))
    np.testing.assert_allclose(
        polar(np.array([10.0]), np.array([80.0]), 1), polar(np.array([10.0]), np.array([80.0])), atol=1e-3
    )


def test_only_an_image_once_round_the_body_closes(tmp_path):
    for name, crs, transform, width, wanted in (
        ("round", LONLAT, at(-180, 9, 1.0), 360, True),
        ("metres", EQC, Affine(DEGREE, 0, -180 * DEGREE, 0, -DEGREE, 9 * DEGREE), 360, True),
        ("less", LONLAT, at(-180, 9, 1.0), 358, False),
        ("more", LONLAT, at(-180, 9, 1.0), 365, False),
        ("polar", f"+proj=stere +lat_0=90 +R={RADIUS}", Affine(1e4, 0, -1.8e6, 0, -1e4, 1e5), 360, False),
        ("sinusoidal", f"+proj=sinu +R={RADIUS}", Affine(DEGREE, 0, -180 * DEGREE, 0, -DEGREE, 9 * DEGREE), 360, False),
    ):
        source = Source(write(tmp_path / f"{name}.tif", crs, transform, 18, width))
        assert closes(source.grid) == source.closed == wanted, name
    whole = Source(str(tmp_path / "round.tif"))
    image = whole.read(0, 0, 18, 360)[0]
    across, valid = whole.read(0, 350, 18, 730)
    np.testing.assert_array_equal(across, np.concatenate([image[:, 350:], image, image], axis=1)[:, :730])
    assert valid.all()


@pytest.mark.parametrize("code", [49901, 49911])
def test_west_positive_longitudes_are_turned_to_the_east_and_said(tmp_path, code):
    """A VRT keeps a system that counts to the west, which a GeoTIFF does not."""
    image = gaussian_filter(np.random.default_rng(0).random((60, 80)), 2).astype(np.float32)
    size = 0.01 if code == 49901 else 592.7
    shape = {"count": 1, "height": 60, "width": 80, "dtype": "float32"}
    with no_grid_warning(), rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", **shape) as out:
        out.write(image[:, ::-1], 1)
    west = CRS.from_user_input(f"IAU_2015:{code}").to_wkt(version="WKT2_2019").replace('"', "&quot;")
    left, order = (30 - 80 * size, "2,1") if code == 49901 else (-40 * size, "1,2")
    (tmp_path / "b.vrt").write_text(
        f'<VRTDataset rasterXSize="80" rasterYSize="60"><SRS dataAxisToSRSAxisMapping="{order}">{west}</SRS>'
        f'<GeoTransform>{left},{size},0,0,0,{-size}</GeoTransform><VRTRasterBand dataType="Float32" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">b.tif</SourceFilename></SimpleSource></VRTRasterBand>'
        "</VRTDataset>"
    )
    source = Source(str(tmp_path / "b.vrt"))
    assert "count to the west" in source.note
    x, y = source.grid.coordinates(np.array([0.0, 80.0]), np.array([0.0, 0.0]))
    lon = body.lon_lat(source.grid.crs, x, y)[0]
    assert lon[1] < lon[0]
    if code == 49901:
        np.testing.assert_allclose(lon, [-30 + 80 * size, -30.0], atol=1e-9)


@pytest.mark.parametrize("crs", [LONLAT, EQC, EQC + " +lon_0=150", "IAU_2015:30115"])
@pytest.mark.parametrize("start", [-175.0, 185.0])
def test_stable_ground_in_another_domain(tmp_path, crs, start):
    """Marked ground is found wherever its file counts longitudes from, in degrees, in metres, and across the seam."""
    scene = EQC, at(175, 5, 0.1, EQC), 100, 150  # 175 to 190 degrees
    pair, plan = pair_of(tmp_path, scene, scene), Plan(20, 20)
    lon = start + np.array([0.0, 4.05])  # columns 100 to 140, the first two rows of windows
    corners = np.array([(lon[0], 5.05), (lon[1], 5.05), (lon[1], 0.95), (lon[0], 0.95)])
    to_file = Crossing(CRS.from_string(LONLAT), CRS.from_user_input(crs))
    if "eqc" in crs or "longlat" in crs:
        points = np.stack(to_file(*corners.T, int(start > 180) if "longlat" not in crs else 0), axis=-1)
        points = corners if "longlat" in crs else points
    else:  # a sphere's north polar map: straight lines there are what was drawn
        points = np.stack(to_file(*corners.T), axis=-1)
    path = tmp_path / "stable.gpkg"
    geopandas.GeoSeries([shapely.Polygon(points)], crs=crs).to_file(path)
    found = stable.inside(str(path), pair, plan, (5, 7))
    wanted = np.zeros((5, 7), bool)
    wanted[:2, 5:7] = True
    np.testing.assert_array_equal(found, wanted)


def test_stable_ground_cut_at_the_seam_is_one(tmp_path):
    """Polygons that end at 180 and begin at -180 degrees, as GeoJSON wants them, hold the window between them too."""
    scene = LONLAT, at(175, 5, 0.1), 100, 100
    pair, plan = pair_of(tmp_path, scene, scene), Plan(20, 4)
    path = tmp_path / "stable.gpkg"
    parts = [shapely.box(174, -6, 180, 6), shapely.box(-180, -6, -174, 6)]
    geopandas.GeoSeries(parts, crs=LONLAT).to_file(path)
    assert stable.inside(str(path), pair, plan, (21, 21)).all()


def test_stable_ground_on_another_body_is_one_line(tmp_path):
    scene = LONLAT, at(175, 5, 0.1), 100, 100
    path = tmp_path / "stable.geojson"
    geopandas.GeoSeries([shapely.box(174, -6, 180, 6)], crs="OGC:CRS84").to_file(path)
    with pytest.raises(DataError, match=r"lies on another body \(Earth\) than the scene .* save it as a GeoPackage"):
        stable.check(str(path), pair_of(tmp_path, scene, scene), Plan(20, 4))


@pytest.mark.parametrize("direction,lon", [("WEST", -30.0), ("EAST", 30.0)])
@pytest.mark.parametrize("kind", ["pds", "isis"])
def test_labels_that_count_to_the_west(tmp_path, kind, direction, lon):
    """GDAL reads a central longitude of 30 as east, whichever way the label says that it counts."""
    image = np.arange(1200, dtype=np.uint8).reshape(1, 30, 40)
    name = tmp_path / ("map.cub" if kind == "isis" else "map.lbl")
    if kind == "isis":
        profile = {"dtype": "uint8", "count": 1, "height": 30, "width": 40, "crs": f"+proj=eqc +lon_0={lon} +R=3396190"}
        profile |= {"transform": Affine(1000, 0, -2e4, 0, -1000, 1e4)}
        profile["LONGITUDE_DIRECTION"] = f"Positive{direction.title()}"
        with rasterio.open(name, "w", driver="ISIS3", **profile) as out:
            out.write(image)
    else:
        (tmp_path / "map.img").write_bytes(image.tobytes())
        lines = (
            "PDS_VERSION_ID = PDS3", "RECORD_TYPE = FIXED_LENGTH", "RECORD_BYTES = 40", "FILE_RECORDS = 30",
            '^IMAGE = "map.img"', "OBJECT = IMAGE", "LINES = 30", "LINE_SAMPLES = 40",
            "SAMPLE_TYPE = UNSIGNED_INTEGER", "SAMPLE_BITS = 8", "END_OBJECT = IMAGE",
            "OBJECT = IMAGE_MAP_PROJECTION", 'MAP_PROJECTION_TYPE = "SIMPLE CYLINDRICAL"',
            "A_AXIS_RADIUS = 3396.0 <KM>", "B_AXIS_RADIUS = 3396.0 <KM>", "C_AXIS_RADIUS = 3396.0 <KM>",
            f'POSITIVE_LONGITUDE_DIRECTION = "{direction}"', "CENTER_LATITUDE = 0.0", "CENTER_LONGITUDE = 30.0",
            "MAP_SCALE = 1.0 <KM/PIXEL>", "LINE_PROJECTION_OFFSET = 10.0", "SAMPLE_PROJECTION_OFFSET = 20.0",
            "END_OBJECT = IMAGE_MAP_PROJECTION", "END", "",
        )  # fmt: skip
        name.write_text("\r\n".join(lines))
    source = Source(str(name))
    middle = body.lon_lat(source.grid.crs, *source.grid.coordinates(np.array([20.0, 40.0]), np.array([10.0, 10.0])))[0]
    assert abs(middle[0] - lon) < 0.01 and middle[1] > middle[0]
    assert ("counts to the west; the map's centre lies at -30 degrees east" in source.note) == (direction == "WEST")
