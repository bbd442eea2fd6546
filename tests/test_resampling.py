"""The warp at each pixel: right places, the right amount of averaging in each direction, the image's own precision."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from planetcd_jax.scenes import resampling
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.grids import Grid
from planetcd_jax.scenes.longitudes import Crossing
from planetcd_jax.scenes.pixel_map import PixelMap
from planetcd_jax.scenes.source import Source

RADIUS = 3_396_190.0
FLAT = f"+proj=eqc +R={RADIUS} +units=m"
LONLAT = f"+proj=longlat +R={RADIUS}"
PIXEL = 50.0  # metres
DEGREES = float(np.degrees(PIXEL / RADIUS))


def waves(x, y, longest=40.0, shortest=5.0):
    """A made-up ground without detail finer than `shortest` pixels of 50 m, given in metres."""
    rng = np.random.default_rng(3)
    total = np.zeros(np.shape(x))
    for _ in range(24):
        length, angle, phase = rng.uniform(shortest, longest), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        k = 2 * np.pi / (length * PIXEL)
        total += np.sin(k * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    return 100 + 10 * total


def seen(grid, to_ground=lambda x, y: (x, y), points=4, along=None):
    """The ground as pixels see it: means over points x points in each, or `along` ones in a row. The oracle."""
    along = along or points
    rows, cols = np.mgrid[: grid.height, : grid.width]
    total = np.zeros((grid.height, grid.width))
    for i in (np.arange(points) + 0.5) / points:
        for j in (np.arange(along) + 0.5) / along:
            total += waves(*to_ground(*grid.coordinates(cols + j, rows + i)))
    return (total / (points * along)).astype(np.float32)


def write(path, image, grid, nodata=None):
    profile = {"dtype": image.dtype, "count": 1, "height": grid.height, "width": grid.width, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=grid.crs, transform=grid.transform, **profile) as out:
        out.write(image, 1)
    return str(path)


def pair_of(tmp_path, first, second, **options):
    """A pair from two (image, grid)."""
    names = [write(tmp_path / f"{n}.tif", *part) for n, part in zip("ab", (first, second), strict=True)]
    return AlignedPair(*map(Source, names), **options)


def alike(pair):
    """Correlation of the two dates off the edges, and the share of pixels that are compared."""
    size = pair.grid.height, pair.grid.width
    (before, here), (after, there) = pair.read_before(0, 0, *size), pair.read_after(0, 0, *size)
    both = here & there
    both[:3], both[-3:], both[:, :3], both[:, -3:] = False, False, False, False
    return np.corrcoef(before[both].ravel(), after[both].ravel())[0, 1], both.mean()


def flat(size, along, down, turned=0.0, side=6000.0, crs=FLAT):
    """A square of ground of `side` metres round (3000, -3000), in pixels of along x down metres, turned by degrees."""
    cols, rows = round(size * side / along), round(size * side / down)
    transform = (
        Affine.translation(3000, -3000) @ Affine.rotation(turned) @ Affine.scale(along, -down)
        @ Affine.translation(-cols / 2, -rows / 2)
    )  # fmt: skip
    return Grid(rows, cols, transform, CRS.from_string(crs))


@pytest.mark.parametrize(
    "along,down,turned",
    [
        (50, 50, 10),
        (50, 50, 90),
        (40, 40, 0),
        (25, 25, 30),
        (13.7, 13.7, 0),
        (12.5, 50, 0),
        (50, 12.5, 45),
        (17, 60, -70),
    ],
)
def test_any_grid_is_brought_to_the_pixels_of_the_first(tmp_path, along, down, turned):
    first, second = flat(1, PIXEL, PIXEL), flat(1.6, along, down, turned)
    few = {"points": 2} if along == down < 20 else {}  # small pixels hardly average these waves
    pair = pair_of(tmp_path, (seen(first), first), (seen(second, **few), second))
    correlation, share = alike(pair)
    assert correlation > 0.9995 and share > 0.85


def test_a_whole_ratio_gives_the_means_of_its_pixels(tmp_path):
    rng = np.random.default_rng(0)
    for ratio in (2, 3, 8):
        first, second = flat(1, 100, 100), flat(1, 100 / ratio, 100 / ratio)
        image = rng.random((60 * ratio, 60 * ratio)).astype(np.float32)
        image[: 20 * ratio, : 3 * ratio] = -1
        pair = pair_of(tmp_path, (np.ones((60, 60), np.float32), first), (image, second, -1))
        after, valid = pair.read_after(0, 0, 60, 60)
        means = image.reshape(60, ratio, 60, ratio).mean(axis=(1, 3))
        assert valid[20:].all() and valid[:, 3:].all() and not valid[:20, :3].any()
        np.testing.assert_allclose(after[21:, :, 0], means[21:], atol=1e-5)


@pytest.mark.parametrize(
    "along,down,turned,points", [(12.5, 12.5, 0, 16), (12.5, 12.5, 30, 16), (12.5, 50, 0, 4), (12.5, 50, 40, 4)]
)
def test_noise_is_averaged_over_the_pixels_that_are_covered(tmp_path, along, down, turned, points):
    first, second = flat(1, PIXEL, PIXEL), flat(1.6, along, down, turned)
    noise = np.random.default_rng(0).standard_normal((second.height, second.width)).astype(np.float32)
    pair = pair_of(tmp_path, (np.zeros((120, 120), np.float32), first), (noise, second))
    after, valid = pair.read_after(0, 0, pair.grid.height, pair.grid.width)
    assert 0.75 < after[valid].std() * np.sqrt(points) < 1.1  # interpolation itself takes up to a quarter


def polar(size, pole=-90):
    half = 0.5 * size * PIXEL
    crs = CRS.from_string(f"+proj=stere +lat_0={pole} +R={RADIUS} +units=m")
    return Grid(size, size, Affine(PIXEL, 0, -half, 0, -PIXEL, half), crs)


@pytest.mark.parametrize("size,columns", [(120, 720), (121, 5000)])
def test_over_a_pole(tmp_path, size, columns):
    first = polar(size)
    rows = int(0.75 * size)
    second = Grid(
        rows, columns, Affine(360 / columns, 0, -180, 0, -DEGREES, -90 + rows * DEGREES), CRS.from_string(LONLAT)
    )
    to_plane = Crossing(second.crs, first.crs)
    narrow = {"along": 1} if columns > 1000 else {}  # 6 m on the ground at most
    pair = pair_of(tmp_path, (seen(first), first), (seen(second, to_plane, **narrow), second))
    correlation, share = alike(pair)
    assert correlation > 0.999 and share > 0.85
    middle = slice(size // 2 - 6, size // 2 + 6)
    (before, _), (after, valid) = (read(0, 0, size, size) for read in (pair.read_before, pair.read_after))
    assert valid[middle, middle].all()
    assert np.corrcoef(before[middle, middle].ravel(), after[middle, middle].ravel())[0, 1] > 0.99
    # A pixel is what it is, whatever window it is read in.
    part, inside = pair.read_after(size // 2 - 9, 20, 33, 57)
    at = slice(size // 2 - 9, size // 2 + 24), slice(20, 77)
    np.testing.assert_array_equal(inside, valid[at])
    np.testing.assert_allclose(part, after[at], atol=1e-3)


def test_the_work_at_a_pole_is_bounded():
    """However many columns meet at a pole, few points are averaged for each pixel there."""
    first = polar(400)
    for columns in (2880, 100_000):
        step = 360 / columns
        second = Grid(300, columns, Affine(step, 0, -180, 0, -DEGREES, -90 + 300 * DEGREES), CRS.from_string(LONLAT))
        first_count, second_count, *_ = resampling._footprint(PixelMap(first, second).over(0, 0, 400, 400))
        assert (first_count * second_count).sum() < 40 * 400**2


def test_a_polar_image_is_brought_to_longitudes(tmp_path):
    first = Grid(60, 720, Affine(0.5, 0, 0, 0, -DEGREES, 90 - 20 * DEGREES), CRS.from_string(LONLAT))
    second = polar(180, 90)
    to_plane = Crossing(first.crs, second.crs)
    pair = pair_of(tmp_path, (seen(first, to_plane), first), (seen(second), second))
    correlation, share = alike(pair)
    assert (pair.grid.height, pair.grid.width) == (60, 720) and correlation > 0.999 and share > 0.85


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_small_relief_on_a_large_offset_keeps_its_levels(tmp_path, dtype):
    first, second = flat(1, PIXEL, PIXEL), flat(1.6, 40, 40, 20)
    offset, scale = (1e9, 1.0) if dtype == "int32" else (1_737_400.0, 1e-3)
    images = []
    for grid in (first, second):
        image = offset + scale * (seen(grid).astype(float) - 100)
        images.append((np.round(image).astype(dtype) if dtype == "int32" else image, grid))
    pair = pair_of(tmp_path, *images)
    after, valid = pair.read_after(0, 0, 120, 120)
    assert after.dtype == np.float64
    assert abs(after - pair.read_before(0, 0, 120, 120)[0])[3:-3, 3:-3][valid[3:-3, 3:-3]].max() < 4 * scale


def test_nearest_only_picks(tmp_path):
    image = np.random.default_rng(0).integers(0, 9, (480, 480)).astype(np.uint8) * 28
    pair = pair_of(
        tmp_path,
        (np.ones((120, 120), np.uint8), flat(1, 50, 50)),
        (image, flat(1, 12.5, 12.5, 5)),
        resampling="nearest",
    )
    after, valid = pair.read_after(0, 0, 120, 120)
    assert set(np.unique(after[valid])) == set(range(0, 225, 28))


def test_places_between_nodes_are_exact():
    """Places are interpolated between the points of a lattice, where that is good enough: against each pixel's own."""
    first = polar(200)
    second = Grid(4000, 4000, Affine(0.002, 0, -4, 0, -0.0004, -89), CRS.from_string(LONLAT))
    pixel_map = PixelMap(first, second)
    places = pixel_map.over(30, -500, 70, 90)
    rows, cols = np.mgrid[30:100, -500:-410] + 0.5
    exact = pixel_map.exact(cols, rows)
    for name in ("cols", "rows"):
        np.testing.assert_allclose(getattr(places, name), getattr(exact, name), atol=2e-3)
    for name in ("col_by_col", "col_by_row", "row_by_col", "row_by_row"):
        np.testing.assert_allclose(getattr(places, name), getattr(exact, name), atol=5e-3)


def test_a_whole_disc_has_no_places_off_the_body(tmp_path):
    """The corners of an orthographic picture show no ground, and are not compared."""
    step = 2 * RADIUS / 160
    crs = CRS.from_string(f"+proj=ortho +lat_0=20 +lon_0=170 +R={RADIUS} +units=m")
    disc = Grid(200, 200, Affine(step, 0, -100 * step, 0, -step, 100 * step), crs)
    mosaic = Grid(180, 360, Affine(1, 0, 0, 0, -1, 90), CRS.from_string(LONLAT))
    lat = np.repeat(89.5 - np.arange(180.0)[:, None], 360, axis=1).astype(np.float32)
    pair = pair_of(tmp_path, (np.ones((200, 200), np.float32), disc), (lat, mosaic))
    after, valid = pair.read_after(0, 0, pair.grid.height, pair.grid.width)
    rows, cols = np.mgrid[: pair.grid.height, : pair.grid.width] + 0.5
    x, y = pair.grid.coordinates(cols, rows)
    inside = np.hypot(x, y) < 0.98 * RADIUS
    assert valid[inside].all() and not valid[np.hypot(x, y) > 1.01 * RADIUS].any()
    middle = np.hypot(x, y) < 0.5 * RADIUS
    tilt, up = np.radians(20), np.sqrt(np.maximum(0.0, 1 - (x**2 + y**2) / RADIUS**2))
    wanted = np.degrees(np.arcsin(np.clip(y / RADIUS * np.cos(tilt) + up * np.sin(tilt), -1, 1)))
    assert abs(after[..., 0] - wanted)[middle].max() < 0.1
    back = AlignedPair(pair.after, pair.before)
    assert 0.4 < back.read_after(0, 0, back.grid.height, back.grid.width)[1].mean() < 0.6
