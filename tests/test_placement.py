"""Images without a transform: control points, RPCs, local systems, and what is said of them."""

import csv

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from scipy.ndimage import binary_erosion, gaussian_filter

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import writing
from planetcd_jax.scenes.agreement import agree_on_system
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.body import lon_lat
from planetcd_jax.scenes.grids import ControlGrid, Grid
from planetcd_jax.scenes.longitudes import short_way
from planetcd_jax.scenes.places import Candidate
from planetcd_jax.scenes.source import Source, no_grid_warning

MARS = "+proj=eqc +R=3396190 +units=m"
LONLAT = "+proj=longlat +R=3396190"
LOCAL = 'LOCAL_CS["Site {}",LOCAL_DATUM["Datum",0],UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
PIXEL = 5.0


def ground(x, y):
    """Brightness at any place, metres."""
    c, r = np.asarray(x) / PIXEL, np.asarray(y) / PIXEL
    return 100 + 30 * np.sin(c / 7 + r / 31) * np.cos(r / 9) + 20 * np.sin(c / 17 - r / 5)


def write(path, image, **kind):
    """Writes [H, W] pixels with any of crs, transform, gcps, gcps_crs, rpcs."""
    points, system = kind.pop("gcps", None), kind.pop("gcps_crs", None)
    profile = {"dtype": image.dtype, "count": 1, "height": image.shape[0], "width": image.shape[1]}
    with no_grid_warning(), rasterio.open(path, "w", driver="GTiff", **profile, **kind) as out:
        out.write(image, 1)
        if points:
            out.gcps = points, CRS.from_string(system) if system else CRS()
    return str(path)


def bent(cols, rows, amount=6.0):
    """Where a camera saw each pixel, metres: turned, and bent by up to `amount` pixels."""
    u, v = cols / 200 - 0.5, rows / 200 - 0.5
    c, r = cols + amount * u * v + amount * u * u, rows - amount * v * v
    turn = np.radians(12)
    return PIXEL * (np.cos(turn) * c + np.sin(turn) * r + 20), -PIXEL * (-np.sin(turn) * c + np.cos(turn) * r + 30)


def camera(path, place=bent, step=20, system=MARS):
    """An image of 200 x 200 px with control points every `step` pixels."""
    rows, cols = np.mgrid[:200, :200] + 0.5
    points = [
        GroundControlPoint(float(r), float(c), *map(float, place(float(c), float(r))))
        for r in range(0, 201, step) for c in range(0, 201, step)
    ]  # fmt: skip
    return write(path, ground(*place(cols, rows)).astype(np.float32), gcps=points, gcps_crs=system)


def map_of(path, height=300, width=300):
    transform = Affine(PIXEL, 0, -10 * PIXEL, 0, -PIXEL, 10 * PIXEL)
    rows, cols = np.mgrid[:height, :width] + 0.5
    x, y = Grid(height, width, transform, None).coordinates(cols, rows)
    return write(path, ground(x, y).astype(np.float32), crs=MARS, transform=transform)


def worst(pair):
    """Largest difference of the two dates off the edges, and the share of the overlap that is compared."""
    size = pair.grid.height, pair.grid.width
    (before, here), (after, there) = pair.read_before(0, 0, *size), pair.read_after(0, 0, *size)
    both = here & there
    inner = np.zeros_like(both)
    inner[6:-6, 6:-6] = both[6:-6, 6:-6]
    inner = binary_erosion(inner, iterations=4)
    return abs(before - after)[inner].max(), both.mean()


def test_control_points_of_an_affine_transform_are_one(tmp_path):
    def straight(cols, rows):
        return PIXEL * (cols + 40), -PIXEL * (rows + 70)

    pair = AlignedPair(Source(map_of(tmp_path / "a.tif")), Source(camera(tmp_path / "b.tif", straight, 100)))
    assert pair.overlap.how == "offset" and (pair.overlap.row, pair.overlap.col) == (80, 50)
    assert "b.tif: placed by its 9 control points (an affine transform fits them)" in pair.overlap.note
    difference, share = worst(pair)
    assert difference < 1e-3 and share == 1.0


@pytest.mark.parametrize("turned_round", [False, True])
@pytest.mark.parametrize("step", [20, 100])
def test_a_bent_image_is_warped_by_its_control_points(tmp_path, turned_round, step):
    names = map_of(tmp_path / "a.tif"), camera(tmp_path / "b.tif", step=step)
    pair = AlignedPair(*map(Source, names[::-1] if turned_round else names))
    assert "placed by its" in pair.overlap.note and "polynomials" in pair.overlap.note
    assert isinstance(pair.grid, Grid) and abs(np.sqrt(abs(pair.grid.transform.determinant)) - PIXEL) < 0.3
    difference, share = worst(pair)
    assert difference < 4 and share > (0.85 if turned_round else 0.4)  # the ground changes by 8 from pixel to pixel
    if turned_round:  # for the overview
        small, valid = pair.before.read_reduced(0, 0, pair.grid.height, pair.grid.width, 60)
        assert small.shape[0] == 60 and valid.mean() > 0.8 and abs(small[valid].mean() - 100) < 5


def test_two_bent_images(tmp_path):
    other = lambda c, r: bent(c + 11.0, r - 7.0, -4.0)  # noqa: E731
    pair = AlignedPair(Source(camera(tmp_path / "a.tif")), Source(camera(tmp_path / "b.tif", other)))
    difference, share = worst(pair)
    assert pair.overlap.how == "warp" and difference < 4 and share > 0.75


def test_points_that_no_polynomial_fits_are_met_one_by_one(tmp_path):
    """As of a line scanner that shakes."""
    shaken = lambda c, r: (PIXEL * (c + 20 + 2.5 * np.sin(r / 20)), -PIXEL * (r + 30))  # noqa: E731
    source = Source(camera(tmp_path / "b.tif", shaken, 10))
    assert isinstance(source.grid, ControlGrid) and "a surface through them" in source.note
    difference, _ = worst(AlignedPair(Source(map_of(tmp_path / "a.tif")), source))
    assert difference < 6


def test_control_points_in_degrees_across_the_seam(tmp_path):
    def place(cols, rows):
        return (179.9 + 0.001 * cols + 180) % 360 - 180, 5 - 0.001 * rows

    source = Source(camera(tmp_path / "a.tif", place, 100, LONLAT))
    x, _ = source.grid.coordinates(np.array([0.0, 200.0]), np.array([0.0, 0.0]))
    assert abs(x[1] - x[0] - 0.2) < 1e-9


def rpc(height):
    """A camera straight above: column and row linear in longitude and latitude, and shifted by height."""
    line, sample, one = [0.0] * 20, [0.0] * 20, [1.0] + [0.0] * 19
    line[2], sample[1], sample[3] = -1.0, 1.0, 0.05  # of latitude; of longitude and height
    return RPC(
        err_bias=0, err_rand=0, height_off=height, height_scale=500.0, lat_off=20.0, lat_scale=0.1, line_den_coeff=one,
        line_num_coeff=line, line_off=100.0, line_scale=100.0, long_off=-70.0, long_scale=0.1, samp_den_coeff=one,
        samp_num_coeff=sample, samp_off=100.0, samp_scale=100.0,
    )  # fmt: skip


@pytest.mark.parametrize("height", [0.0, 2500.0])
def test_rpcs_place_an_image(tmp_path, height):
    """By hand: a pixel is 0.001 degrees, and the middle of pixel (100, 100) lies at 70 west, 20 north."""
    image = gaussian_filter(np.random.default_rng(0).random((200, 200)), 2).astype(np.float32)
    after = write(tmp_path / "b.tif", image, rpcs=rpc(height))
    transform = Affine(0.001, 0, -70.0 - 0.0505, 0, -0.001, 20.0 + 0.0405)
    before = write(
        tmp_path / "a.tif", np.ascontiguousarray(image[60:160, 50:150]), crs="EPSG:4326", transform=transform
    )
    pair = AlignedPair(Source(before), Source(after))
    assert f"b.tif: placed by its RPCs at a height of {height:g} m; relief is not corrected" in pair.overlap.note
    difference, share = worst(pair)
    assert share > 0.95 and difference < 0.02 * np.ptp(image)
    back = AlignedPair(Source(after), Source(before))
    assert worst(back)[0] < 0.02 * np.ptp(image)


def test_what_is_ignored_is_said(tmp_path):
    image = np.ones((200, 200), np.float32)
    points = [GroundControlPoint(r, c, c, -r) for r, c in ((0, 0), (0, 9), (9, 0), (9, 9))]
    note = Source(write(tmp_path / "a.tif", image, gcps=points)).note
    assert note == "its 4 control points ignored, since they name no reference system"
    note = Source(write(tmp_path / "b.tif", image, gcps=points[:2], gcps_crs=MARS)).note
    assert note == "its 2 control points ignored, since three are the least"
    placed = write(tmp_path / "c.tif", image, crs=MARS, transform=Affine(5, 0, 0, 0, -5, 0), rpcs=rpc(0.0))
    assert Source(placed).note == "its RPCs ignored, since it has a transform"
    assert Source(map_of(tmp_path / "d.tif")).note == ""
    line = [GroundControlPoint(i, i, i, -i) for i in range(4)]
    with pytest.raises(DataError, match="e.tif has 4 control points on one line and no transform; give three or more"):
        Source(write(tmp_path / "e.tif", image, gcps=line, gcps_crs=MARS))


def test_local_systems_have_no_longitude_and_cannot_be_mixed(tmp_path):
    image = np.ones((60, 60), np.float32)
    transform = Affine(0.1, 0, 5, 0, -0.1, 40)
    a, b = (write(tmp_path / f"{n}.tif", image, crs=LOCAL.format(n), transform=transform) for n in "ab")
    c = write(tmp_path / "c.tif", image, crs=MARS, transform=transform)
    moved = write(tmp_path / "d.tif", image, crs=LOCAL.format("a"), transform=Affine(0.07, 0, 5.2, 0, -0.07, 39))
    assert AlignedPair(Source(a), Source(moved)).overlap.how == "warp"
    for other in (b, c):
        with pytest.raises(
            DataError, match="cannot be brought to .*: coordinates in .* give both in one system"
        ) as error:
            AlignedPair(Source(a), Source(other))
        assert len(str(error.value).splitlines()) == 1


def test_places_in_a_local_system_are_written_without_longitude(tmp_path):
    """By hand: the middle of the pixel at row 124, column 174 lies 17.45 m east, 12.45 m south of the corner."""
    grid = Grid(200, 220, Affine(0.1, 0, 5, 0, -0.1, 40), CRS.from_wkt(LOCAL.format("a")))
    place = Candidate(1, 124, 174, 100, 150, 9.0, 0.01, True, 1, np.array([[100, 150]]))
    rows = writing.table([place], grid, 48)
    assert np.isnan(rows[0]["lon"]) and np.isnan(rows[0]["lat"]) and rows[0]["area_unit"] == "m2"
    np.testing.assert_allclose((rows[0]["x"], rows[0]["y"], rows[0]["area"]), (22.45, 27.55, 4.8**2))
    writing.write_places(tmp_path, {"candidates": rows}, grid, parquet=True, window=48)
    told = next(csv.DictReader((tmp_path / "candidates.csv").read_text().splitlines()))
    assert told["lon"] == told["lat"] == "" and float(told["x"]) == 22.45
    for name in ("candidates.gpkg", "candidates.parquet"):
        whole = name.endswith("parquet")
        read = (
            geopandas.read_parquet(tmp_path / name) if whole else geopandas.read_file(tmp_path / name, layer="windows")
        )
        np.testing.assert_allclose(read.total_bounds, (20, 25.2, 24.8, 30))
    writing.write_geotiff(tmp_path / "rho.tif", {"rho": np.ones((20, 22))}, grid.coarser(0, 0, 10, 20, 22))
    with rasterio.open(tmp_path / "rho.tif") as out:
        assert out.transform.a == 1.0 and "Site a" in out.crs.to_wkt()


def test_control_points_without_a_system_on_the_other_side_are_one_line():
    """Neither can be brought to the other: said, with what to do."""
    from types import SimpleNamespace

    placed = ControlGrid.__new__(ControlGrid)
    before = SimpleNamespace(bands=(1,), grid=placed, name="a.tif", display="")
    after = SimpleNamespace(bands=(1,), grid=SimpleNamespace(crs=None), name="b.tif", display="")
    with pytest.raises(DataError, match=r"a.tif is placed by control points, and b.tif has no reference system"):
        AlignedPair(before, after)


@pytest.mark.parametrize("south", [False, True])
def test_control_points_in_degrees_round_a_pole(tmp_path, south):
    """Longitudes are no coordinate of such an image: it is placed in a polar map. By hand: the corner's longitude."""
    sign = -1.0 if south else 1.0

    def place(cols, rows):
        x, y = PIXEL * (cols - 100.0), PIXEL * (100.0 - rows)
        return np.degrees(np.arctan2(x, -sign * y)), sign * (90.0 - np.degrees(np.hypot(x, y) / 3396190.0))

    source = Source(camera(tmp_path / "a.tif", place, 40, LONLAT))
    assert "control points in a polar map (an affine transform fits them)" in source.note
    lon, lat = lon_lat(source.grid.crs, *source.grid.coordinates(np.array([0.0, 100.0]), np.array([100.0, 150.0])))
    assert np.abs(short_way(lon - [-90.0, 180.0 if south else 0.0])).max() < 1e-6
    assert np.abs(lat - sign * (90 - np.degrees(PIXEL * np.array([100, 50]) / 3396190))).max() < 1e-9


def test_control_points_once_round_the_body(tmp_path):
    """A mosaic from -180 to 180 degrees whose corners are its control points."""
    source = Source(camera(tmp_path / "a.tif", lambda c, r: (-180 + 1.8 * c, 90 - 0.9 * r), 200, LONLAT))
    np.testing.assert_allclose(source.grid.transform[:6], (1.8, 0, -180, 0, -0.9, 90), atol=1e-9)
    assert source.closed


def test_control_points_of_two_images_that_name_no_system_are_of_one(tmp_path):
    ends = [(0, 0), (0, 100), (100, 0), (100, 100)]
    image = gaussian_filter(np.random.default_rng(3).random((140, 150)), 2).astype(np.float32)
    names = []
    for name, row, col in (("a.tif", 0, 0), ("b.tif", 20, 30)):
        points = [GroundControlPoint(r, c, 2.0 * (c + col), -2.0 * (r + row)) for r, c in ends]
        names.append(write(tmp_path / name, np.ascontiguousarray(image[row : row + 120, col : col + 120]), gcps=points))
    before, after = map(Source, names)
    agree_on_system(before, after)
    pair = AlignedPair(before, after)
    assert pair.overlap.how == "offset" and (pair.grid.height, pair.grid.width) == (100, 90)
    assert worst(pair) == (0, 1) and "name no system" in pair.overlap.note
    plain = Source(write(tmp_path / "c.tif", np.ascontiguousarray(image[:120, :120])))
    other = Source(names[1])
    agree_on_system(plain, other)
    assert AlignedPair(plain, other).overlap.how == "pixels" and "ignored" in other.note


@pytest.mark.parametrize("system", [LONLAT, MARS])
def test_rpcs_without_a_system_are_of_the_other_images_body(tmp_path, system):
    """Their standard knows the Earth only; the camera is that of `test_rpcs_place_an_image`."""
    image = gaussian_filter(np.random.default_rng(0).random((200, 200)), 2).astype(np.float32)
    by_rpcs = write(tmp_path / "b.tif", image, rpcs=rpc(0.0))
    pixel = 0.001 if system == LONLAT else np.pi * 3396190 / 180 * 0.001
    transform = Affine(pixel, 0, (-70.0 - 0.0505) * pixel / 0.001, 0, -pixel, (20.0 + 0.0405) * pixel / 0.001)
    mapped = write(tmp_path / "a.tif", np.ascontiguousarray(image[60:160, 50:150]), crs=system, transform=transform)
    for names in ((mapped, by_rpcs), (by_rpcs, mapped)):
        before, after = map(Source, names)
        agree_on_system(before, after)
        pair = AlignedPair(before, after)
        assert "taken to be of the body of" in pair.overlap.note
        difference, share = worst(pair)
        assert share > 0.9 and difference < 0.02 * np.ptp(image)


def test_a_transform_or_a_system_that_places_nothing_is_left_aside(tmp_path):
    image = np.arange(3600, dtype=np.float32).reshape(60, 60)
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="60"><SRS>'
        + LONLAT
        + "</SRS><GeoTransform>5,0,0,5,0,0</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename relativeToVRT="1">c.tif'
        "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    plain = write(tmp_path / "c.tif", image)
    flat = Source(str(tmp_path / "a.vrt"))
    assert flat.grid.crs is None and "its transform ignored, since it puts all pixels on one line" in flat.note
    only_system = Source(write(tmp_path / "b.tif", image, crs=MARS))
    assert only_system.note == "its reference system ignored, since it has no transform"
    for one in (flat, only_system):
        assert AlignedPair(one, Source(plain)).overlap.how == "pixels"
    local = Source(write(tmp_path / "d.tif", image, crs=LOCAL.format("a")))
    assert local.grid.crs is not None and local.note == ""
