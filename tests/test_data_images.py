"""Reading one image: types, bands, masks, and files that are broken."""

import numpy as np
import pytest
import rasterio
from image_files import noise, write_image

from planetcd_jax.errors import BadPairError
from planetcd_jax.images.reading import image_shape, read_image


@pytest.mark.parametrize(
    ("suffix", "dtype", "shape"),
    [
        (".png", np.uint8, (40, 50)),
        (".png", np.uint16, (40, 50)),
        (".png", np.uint8, (40, 50, 3)),
        (".tif", np.uint8, (40, 50, 5)),
        (".tif", np.uint16, (40, 50, 2)),
        (".tif", np.int16, (40, 50)),
        (".tif", np.float32, (40, 50)),
        (".tif", np.float64, (40, 50, 4)),
    ],
)
def test_lossless_formats_come_back_as_written(tmp_path, suffix, dtype, shape):
    image = noise(0, shape, dtype)
    options = {"photometric": "minisblack", "alpha": "no"} if suffix == ".tif" and len(shape) == 3 else {}
    got = read_image(write_image(tmp_path / f"a{suffix}", image, **options))
    np.testing.assert_array_equal(got.values, image)
    assert got.values.dtype == got.dtype == dtype
    assert got.valid.shape == shape[:2] and got.valid.all()
    assert image_shape(tmp_path / f"a{suffix}") == shape[:2]


def test_jpeg_comes_back_nearly(tmp_path):
    rows, cols = np.mgrid[:40, :50]
    image = (rows * 3 + cols).astype(np.uint8)
    got = read_image(write_image(tmp_path / "a.jpg", image, quality=95))
    assert got.values.shape == (40, 50)
    assert np.abs(got.values.astype(int) - image).max() <= 6


def test_alpha_becomes_a_mask_not_a_band(tmp_path):
    image = noise(1, (40, 50, 2))
    image[..., 1] = 255
    image[:7, :, 1] = 0
    got = read_image(write_image(tmp_path / "a.png", image))
    np.testing.assert_array_equal(got.values, image[..., 0])
    assert not got.valid[:7].any() and got.valid[7:].all()


def test_no_data_comes_from_tag_mask_nan_and_argument(tmp_path):
    image = noise(2, (40, 50), np.uint16, low=10)
    image[3, 4] = 0
    tagged = read_image(write_image(tmp_path / "tag.tif", image, nodata=0))
    assert not tagged.valid[3, 4] and tagged.valid.sum() == image.size - 1
    asked = read_image(write_image(tmp_path / "plain.tif", image), nodata=0)
    assert not asked.valid[3, 4] and asked.valid.sum() == image.size - 1

    mask = np.ones((40, 50), np.uint8) * 255
    mask[:, :5] = 0
    masked = read_image(write_image(tmp_path / "mask.tif", image, mask=mask))
    np.testing.assert_array_equal(masked.valid, mask > 0)

    floats = noise(3, (40, 50), np.float32)
    floats[1, 2], floats[5, 6], floats[7, 8] = np.nan, np.inf, -3.4028227e38  # the last as ISIS marks a missing pixel
    got = read_image(write_image(tmp_path / "nan.tif", floats))
    assert sorted(map(tuple, np.argwhere(~got.valid))) == [(1, 2), (5, 6), (7, 8)]


def test_equal_bands_stay_three_unless_grey_is_asked_for(tmp_path):
    grey = noise(4)
    path = write_image(tmp_path / "rgb.png", np.repeat(grey[..., None], 3, -1))
    assert read_image(path).values.shape == (40, 50, 3)
    got = read_image(path, grey=True)
    np.testing.assert_array_equal(got.values, grey)
    assert got.dtype == np.uint8


def test_a_colour_table_is_looked_up(tmp_path):
    index = noise(5, high=4)
    colours = {i: (10 * i, 100 - i, i, 255) for i in range(256)}
    for i in range(25, 256):
        colours[i] = (0, 0, 0, 255)
    got = read_image(write_image(tmp_path / "p.png", index, colormap=colours))
    np.testing.assert_array_equal(got.values, np.stack([10 * index, 100 - index, index], -1))
    greys = {i: (255 - i, 255 - i, 255 - i, 255) for i in range(256)}
    np.testing.assert_array_equal(
        read_image(write_image(tmp_path / "g.png", index, colormap=greys)).values, 255 - index
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_told(tmp_path, suffix, share):
    path = write_image(tmp_path / f"a{suffix}", noise(6, (200, 200)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        BadPairError, match=r"a\.\w+: cannot be read as an image \(truncated or damaged\?\).*fetch it again"
    ):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_flipped_byte_in_compressed_data_is_told(tmp_path, suffix):
    options = {"compress": "deflate"} if suffix == ".tif" else {}
    path = write_image(tmp_path / f"a{suffix}", noise(7, (200, 200)), **options)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadPairError, match="cannot be read as an image"):
        read_image(path)


def test_a_header_that_is_no_text_is_told(tmp_path):
    system = rasterio.CRS.from_string("+proj=eqc +R=3396190 +units=m").to_wkt().replace('"unknown"', '"Name of Mars"')
    path = write_image(tmp_path / "a.tif", noise(8), crs=system, transform=(1, 0, 0, 0, -1, 0))
    content = path.read_bytes()
    assert b"Name of Mars" in content
    path.write_bytes(content.replace(b"Name of Mars", b"Name\xb0\xffo Mars"))
    with pytest.raises(BadPairError, match=r"a\.tif: cannot be read as an image"):
        read_image(path)


def test_missing_empty_and_foreign_files_are_told(tmp_path):
    with pytest.raises(BadPairError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(BadPairError, match=r"empty\.png: the file is empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadPairError, match=r"text\.png: cannot be read as an image") as err:
        image_shape(tmp_path / "text.png")
    assert str(err.value).count("text.png") == 1 and ".;" not in str(err.value)


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        # oracle: the labels of the files themselves
        ("isis3/LRONAC_M143947267L.cal.echo.crop.cub", (400, 400), "float32"),
        ("isis3/MOCWA_e0902065.cal.sub.cub", (480, 480), "float32"),
        ("pds3/N1727539187_1.LBL", (1024, 1024), "int16"),
        ("pds3/pds3_3bands.IMG", (10, 10, 3), "int16"),
        ("pds4/i943630r.xml", (248, 256), "uint16"),
        ("jp2/PSP_001892_1715_COLOR_isis_test.jp2", (775, 2192, 3), "uint16"),  # 68 % is 0, around a turned strip
    ],
)
def test_planetary_formats_read(realdata, name, shape, dtype):
    got = read_image(realdata / "formats" / name)
    assert got.values.shape == shape and got.dtype == dtype and got.valid.mean() > 0.3


def test_no_data_of_a_hirise_cube_is_masked(realdata):
    got = read_image(realdata / "formats/isis3/HIRISE_PSP_009404_2635_RED_NLstretch_25cm_o_forPDS_cropped.cub")
    assert 0.2 < got.valid.mean() < 0.3  # most of this crop is outside of the image
    assert np.isfinite(got.values[got.valid]).all()
