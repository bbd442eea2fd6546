"""Rasters read by windows, brought to one grid, masked and stretched."""

import dataclasses

import numpy as np
import pytest
import rasterio
import scipy.ndimage
from affine import Affine
from rasterio.crs import CRS

from planetcd_jax.errors import DataError
from planetcd_jax.images.stretch import Stretch
from planetcd_jax.scenes import body
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source, no_grid_warning

MARS, MOON = "IAU_2015:49910", "IAU_2015:30110"
GRID = Affine(2.0, 0.0, 10_000.0, 0.0, -2.0, 50_000.0)


def write(path, image, *, crs=MARS, transform=GRID, driver="GTiff", nodata=None, **options):
    """Writes [H, W] or [B, H, W] pixels."""
    image = np.asarray(image)
    image = image if image.ndim == 3 else image[None]
    profile = {"driver": driver, "dtype": image.dtype, "count": image.shape[0], "height": image.shape[1],
               "width": image.shape[2], "nodata": nodata, **options}  # fmt: skip
    if crs is not None:
        profile |= {"crs": crs, "transform": transform}
    with no_grid_warning(), rasterio.open(path, "w", **profile) as out:
        out.write(image)
    return str(path)


def ground(rows, cols):
    """A smooth brightness at any place, given in pixels of GRID: the oracle of what a warp must find."""
    return 100 + 40 * np.sin(rows / 17.0) * np.cos(cols / 23.0) + 0.2 * cols


def ramp(height, width, row=0.0, col=0.0, scale=1.0):
    rows, cols = np.mgrid[:height, :width] + 0.5
    return ground(row + scale * rows, col + scale * cols).astype(np.float32)


def pair_of(tmp_path, one, two, **options):
    """A pair of rasters from two `(image, options)`."""
    names = [write(tmp_path / f"{n}.tif", image, **kind) for n, (image, kind) in zip("ab", (one, two), strict=True)]
    return AlignedPair(*map(Source, names), **options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_reads_any_type_and_masks_no_data(tmp_path, dtype):
    image = np.arange(48).reshape(6, 8).astype(dtype)
    source = Source(write(tmp_path / "a.tif", image, nodata=11))
    pixels, valid = source.read(0, 0, 6, 8)
    wide = dtype in ("int32", "float64")
    assert pixels.dtype == (np.float64 if wide else np.float32) and pixels.shape == (6, 8, 1)
    assert not valid[1, 3] and valid.sum() == 47
    np.testing.assert_array_equal(pixels[valid, 0], image[valid].astype(np.float32))
    assert pixels[1, 3, 0] == 0


def test_a_window_may_reach_beyond_the_image(tmp_path):
    image = np.arange(1, 31).reshape(5, 6).astype(np.uint8)
    pixels, valid = Source(write(tmp_path / "a.tif", image)).read(-2, 4, 5, 5)
    expected = np.zeros((5, 5))
    expected[2:, :2] = image[:3, 4:]
    np.testing.assert_array_equal(pixels[..., 0], expected)
    np.testing.assert_array_equal(valid, expected > 0)
    assert not Source(str(tmp_path / "a.tif")).read(90, 90, 4, 4)[1].any()


def test_masks_nan_alpha_and_a_value_asked_for(tmp_path):
    floats = np.ones((4, 4), np.float32)
    floats[1, 2] = np.nan
    name = write(tmp_path / "nan.tif", floats)
    assert (~Source(name).read(0, 0, 4, 4)[1]).sum() == 1
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[3, 0, :] = 0
    name = write(tmp_path / "alpha.tif", rgba, photometric="RGB", alpha="YES")
    source = Source(name)
    assert source.bands == (1, 2, 3)
    np.testing.assert_array_equal(source.read(0, 0, 4, 4)[1][0], False)
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    name = write(tmp_path / "grey.tif", grey, nodata=3)
    np.testing.assert_array_equal(np.argwhere(~Source(name, nodata="5").read(0, 0, 4, 4)[1]), [[0, 3], [1, 1]])
    assert Source(name, nodata="none").read(0, 0, 4, 4)[1].all()
    with pytest.raises(DataError, match="no-data of .* is 'x'; give a number, 'none', or 'auto'"):
        Source(name, nodata="x")


def test_isis_special_pixels_are_masked(tmp_path):
    """Oracle: the special values of 16-bit ISIS cubes, -32768 (null) to -32764 (high instrument saturation)."""
    image = np.full((8, 9), 120, np.int16)
    image[2, 2:7] = [-32768, -32767, -32766, -32765, -32764]
    name = write(tmp_path / "a.cub", image, driver="ISIS3", crs=None)
    valid = Source(name).read(0, 0, 8, 9)[1]
    np.testing.assert_array_equal(np.argwhere(~valid), [[2, c] for c in range(2, 7)])


def test_jp2_without_no_data_masks_zero(tmp_path):
    image = np.full((64, 64), 500, np.uint16)
    image[:10] = 0
    name = write(tmp_path / "a.jp2", image, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    assert not Source(name).read(0, 0, 64, 64)[1][:10].any()
    assert Source(name, nodata="none").read(0, 0, 64, 64)[1].all()


def test_grids_that_differ_by_whole_pixels_are_not_resampled(tmp_path):
    moved = Affine(2.0, 0.0, 10_000.0 + 2 * 7, 0.0, -2.0, 50_000.0 + 2 * 5)
    pair = pair_of(tmp_path, (ramp(60, 70), {}), (ramp(50, 90, -5, 7), {"transform": moved}))
    assert (pair.overlap.how, pair.overlap.row, pair.overlap.col) == ("offset", 0, 7)
    assert (pair.grid.height, pair.grid.width) == (45, 63)
    assert pair.grid.transform.c == 10_014.0 and pair.grid.transform.f == 50_000.0
    before, here = pair.read_before(0, 0, 45, 63)
    after, there = pair.read_after(0, 0, 45, 63)
    assert here.all() and there.all()
    np.testing.assert_allclose(after, before, rtol=1e-5)


@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "lanczos"])
def test_another_grid_is_warped_to_the_place_where_the_ground_is(tmp_path, resampling):
    """Oracle: the brightness of the ground at each pixel centre."""
    other = Affine(1.5, 0.0, 10_000.0 + 2 * 10.3, 0.0, -1.5, 50_000.0 - 2 * 4.6)
    image = ramp(120, 130, 4.6, 10.3, 0.75)
    image[60:64, 80:83] = -1
    pair = pair_of(tmp_path, (ramp(100, 110), {}), (image, {"transform": other, "nodata": -1}), resampling=resampling)
    assert pair.overlap.how == "warp"
    row, col = pair.overlap.row, pair.overlap.col
    after, valid = pair.read_after(0, 0, pair.grid.height, pair.grid.width)
    expected = ramp(pair.grid.height, pair.grid.width, row, col)
    inner = np.zeros_like(valid)
    inner[3:-3, 3:-3] = valid[3:-3, 3:-3]
    assert inner.mean() > 0.8 and (~valid[3:-3, 3:-3]).sum() >= 4  # the hole is there
    away = scipy.ndimage.binary_erosion(inner, iterations=4)  # beside a hole the kernel has half its pixels
    assert away.mean() > 0.7
    assert np.abs(after[..., 0] - expected)[away].max() < 0.12  # the ground changes by up to 2.5 a pixel


def test_a_warped_pixel_does_not_depend_on_the_window_it_is_read_in(tmp_path):
    polar = "+proj=stere +lat_0=90 +lon_0=0 +R=3396190 +units=m"
    rng = np.random.default_rng(0)
    one = rng.random((150, 160)).astype(np.float32)
    two = rng.random((300, 310)).astype(np.float32)
    first = Affine(200.0, 0.0, 40_000.0, 0.0, -200.0, -150_000.0)
    x, y = 40_000.0 + 80 * 200.0, -150_000.0 - 75 * 200.0
    lon, lat = body.lon_lat(CRS.from_string(polar), x, y)
    second = Affine(0.02, 0.0, float(lon) - 3.0, 0.0, -0.0025, float(lat) + 0.35)
    pair = pair_of(
        tmp_path, (one, {"crs": polar, "transform": first}),
        (two, {"crs": "+proj=longlat +R=3396190", "transform": second}),
    )  # fmt: skip
    whole, valid = pair.read_after(0, 0, pair.grid.height, pair.grid.width)
    assert valid.mean() > 0.3 and valid[37:89, 41:86].mean() > 0.5
    part, inside = pair.read_after(37, 41, 52, 45)
    np.testing.assert_array_equal(inside, valid[37:89, 41:86])
    np.testing.assert_allclose(part, whole[37:89, 41:86], atol=1e-6)


def test_special_pixels_do_not_bleed_into_a_warp(tmp_path):
    image = ramp(60, 60).astype(np.int16)
    image[30, 30] = -32765
    name = write(tmp_path / "b.cub", image, driver="ISIS3", crs="+proj=eqc +R=3396190 +units=m",
                 transform=Affine(2.0, 0.0, 10_000.8, 0.0, -2.0, 49_999.4))  # fmt: skip
    before = write(tmp_path / "a.tif", ramp(60, 60), crs="+proj=eqc +R=3396190 +units=m")
    pair = AlignedPair(Source(before), Source(name))
    assert pair.overlap.how == "warp"
    pixels, valid = pair.read_after(0, 0, pair.grid.height, pair.grid.width)
    assert 0 < (~valid[3:-3, 3:-3]).sum() < 40
    assert pixels[valid].min() > 40


def test_after_shift_reads_the_second_image_further_on(tmp_path):
    pair = pair_of(tmp_path, (ramp(60, 60), {}), (ramp(60, 60, -3, 4), {}), after_shift=(3, -4))
    before, _ = pair.read_before(10, 10, 20, 20)
    after, _ = pair.read_after(10, 10, 20, 20)
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_images_without_a_system_are_compared_pixel_by_pixel_and_said_so(tmp_path):
    pair = pair_of(tmp_path, (ramp(30, 40), {"crs": None}), (ramp(30, 40), {}))
    assert pair.overlap.how == "pixels" and "no coordinate reference system" in pair.overlap.note
    with pytest.raises(DataError, match=r"a.tif has no coordinate .* 30x40 and 30x41 px; without one they must be"):
        pair_of(tmp_path, (ramp(30, 40), {"crs": None}), (ramp(30, 41), {}))


@pytest.mark.parametrize("other", [MOON, "EPSG:32633", "+proj=eqc +R=1737400 +units=m"])
def test_another_body_is_an_error(tmp_path, other):
    with pytest.raises(
        DataError, match=r"a.tif lies on Mars \(radius 3396.2 km\) and .*b.tif on .* give two images of one"
    ):
        pair_of(tmp_path, (ramp(30, 40), {}), (ramp(30, 40), {"crs": other}))


def test_radii_of_one_body_may_differ_between_products():
    polar = CRS.from_string("+proj=stere +lat_0=90 +R=3376200 +units=m")
    body.check_same_body(CRS.from_user_input(MARS), polar, "a", "b")
    assert body.body_name(CRS.from_user_input(MOON)) == "Moon" and body.body_name(CRS.from_epsg(32633)) == "Earth"
    assert body.body_name(polar) is None


def test_lon_lat_by_hand():
    """On a sphere's equirectangular map x and y are R times longitude and latitude."""
    radius = 3_396_190.0
    lon, lat = body.lon_lat(
        CRS.from_user_input(MARS), np.radians([75.0, 200.0]) * radius, np.radians([18.5, -7]) * radius
    )
    np.testing.assert_allclose(lon, [75.0, -160.0], atol=1e-9)
    np.testing.assert_allclose(lat, [18.5, -7.0], atol=1e-9)
    assert np.isnan(body.lon_lat(None, np.zeros(1), np.zeros(1))).all()


def test_no_overlap_different_bands_and_unfit_files_are_errors(tmp_path):
    far = Affine(2.0, 0.0, 90_000.0, 0.0, -2.0, 50_000.0)
    with pytest.raises(DataError, match="do not overlap; give two images of one place"):
        pair_of(tmp_path, (ramp(30, 40), {}), (ramp(30, 40), {"transform": far}))
    with pytest.raises(DataError, match=r"a.tif has 1 band\(s\) and .*b.tif has 3; choose as many"):
        pair_of(tmp_path, (ramp(30, 40), {}), (np.ones((3, 30, 40), np.uint8), {}))
    with pytest.raises(DataError, match="has 1 band.*, and band 2 was asked for"):
        Source(str(tmp_path / "a.tif"), bands=(2,))
    name = write(tmp_path / "c.tif", np.ones((8, 8), np.complex64))
    with pytest.raises(DataError, match="c.tif has pixels of type complex64 in band 1"):
        Source(name)
    (tmp_path / "empty.tif").touch()
    with pytest.raises(DataError, match=r"empty.tif is empty"):
        Source(str(tmp_path / "empty.tif"))
    with pytest.raises(DataError, match=r"none.tif does not exist"):
        Source(str(tmp_path / "none.tif"))
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(DataError, match=r"text.tif cannot be opened as an image"):
        Source(str(tmp_path / "text.tif"))


def test_a_truncated_file_is_an_error_where_it_is_read(tmp_path):
    path = tmp_path / "cut.tif"
    name = write(path, np.random.default_rng(0).random((600, 600)).astype(np.float32), tiled=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut.tif cannot be (read at rows|opened)"):
        Source(name).read(0, 0, 600, 600)


def test_stretch_is_one_for_each_image_and_ignores_what_either_masks(tmp_path):
    rng = np.random.default_rng(0)
    one, two = (rng.uniform(10, 20, (300, 260)).astype(np.float32) for _ in range(2))
    one[:100], two[:, :60] = 999.0, 500.0
    first, second = one.copy(), 3 * two + 7
    first[:100], second[:, :60] = -5, -5
    pair = pair_of(tmp_path, (first, {"nodata": -5}), (second, {"nodata": -5}))
    samples = sample(pair)
    both = np.ones(one.shape, bool)
    both[:100], both[:, :60] = False, False
    np.testing.assert_allclose(samples.before.low[0], np.percentile(one[both], 0.5), atol=0.1)
    np.testing.assert_allclose(samples.after.high[0], np.percentile(second[both], 99.5), atol=0.3)
    np.testing.assert_allclose(samples.shared, both.mean(), atol=0.05)
    assert sample(pair).digest == samples.digest


def test_stretch_by_hand_and_constant_images():
    stretched = Stretch((10.0,), (20.0,))(np.array([[[1.0], [8.0], [10.0], [15.0], [22.0], [30.0]]], np.float32))
    np.testing.assert_allclose(stretched, [[-0.5, -0.2, 0.0, 0.5, 1.2, 1.5]])


def test_constant_and_wholly_masked_images_are_errors(tmp_path):
    with pytest.raises(DataError, match="b.tif has one value, 7, wherever it was sampled"):
        sample(pair_of(tmp_path, (ramp(50, 50), {}), (np.full((50, 50), 7, np.uint8), {})))
    with pytest.raises(DataError, match="have no valid pixel in common where they were sampled; check their no-data"):
        sample(pair_of(tmp_path, (ramp(50, 50), {}), (np.full((50, 50), 7, np.uint8), {"nodata": 7})))


def test_real_formats_are_read(realdata):
    """Each file of `formats` that GDAL opens as an image is read; most of its pixels are finite and vary."""
    read = 0
    for pattern in ("isis3/*.cub", "pds3/*.LBL", "pds3/PSP*.IMG", "pds4/*.xml", "jp2/*.jp2", "geotiff/*.tif"):
        for path in sorted((realdata / "formats").glob(pattern)):
            if path.name == "PSP_001446_1790_BG12_0.IMG":
                # GDAL leaves the suffixes of its lines in: neighbouring lines correlate by 0.35, without them by 0.91.
                with pytest.raises(DataError, match="LINE_SUFFIX_BYTES = 16, which GDAL reads wrongly"):
                    Source(str(path))
                continue
            source = Source(str(path))
            side = min(source.grid.height, source.grid.width, 200)
            pixels, valid = source.read((source.grid.height - side) // 2, (source.grid.width - side) // 2, side, side)
            assert valid.any() and pixels[valid].std() > 0, path.name
            assert np.abs(pixels[valid]).max() < 1e6, path.name
            read += 1
    assert read >= 12


def test_grid_parts_and_coarser_grids_by_hand(tmp_path):
    grid = Source(write(tmp_path / "a.tif", ramp(30, 40))).grid
    part = grid.part(3, 5, 10, 10)
    assert (part.transform.c, part.transform.f) == (10_010.0, 49_994.0)
    coarse = grid.coarser(38.0, 38.0, 24, 2, 3)
    assert (coarse.transform.a, coarse.transform.c, coarse.transform.f) == (48.0, 10_076.0, 49_924.0)
    assert dataclasses.asdict(coarse)["height"] == 2
    np.testing.assert_allclose(
        grid.pixels(*grid.coordinates(np.array([1.0, 2.5]), np.array([3.0, 4.0]))), [[1, 2.5], [3, 4]]
    )
