"""Customary fill values that no header names are no data where they stand alone; a negative scale is no negative."""

import numpy as np
import pytest
import rasterio
from image_files import write_image

from planetcd_jax.images.reading import read_image
from planetcd_jax.scenes.source import Source, no_grid_warning


@pytest.fixture
def image(texture):
    values = 0.1 + 0.2 * texture(1, 90, 100, seed=3)[0]
    hole = np.zeros(values.shape, bool)
    hole[30:50, 40:80] = True
    return values, hole


@pytest.mark.parametrize(
    ("fill", "dtype", "scale", "nodata"),
    [
        (-9999, "float32", 1, None), (-9999, "float32", 1, np.nan), (-32768, "float64", 1e4, None),
        (1e30, "float32", 1, None), (9.96921e36, "float32", 1, None), (-9999, "int16", 1e4, None),
        (-9999, "int32", 1e4, None), (-2147483648, "int32", 1e4, None),
        (-(2**63), "int64", 1e4, None), (2**64 - 1, "uint64", 1e4, None), (2**32 - 1, "uint32", 1e4, None),
    ],
)  # fmt: skip
def test_a_fill_value_that_nothing_names_is_masked(tmp_path, image, fill, dtype, scale, nodata):
    values, hole = image
    stored = (scale * values).astype(dtype)
    stored[hole] = fill
    path = write_image(tmp_path / "a.tif", stored, **({} if nodata is None else {"nodata": nodata}))
    np.testing.assert_array_equal(read_image(path).valid, ~hole)
    source = Source(str(path))
    np.testing.assert_array_equal(source.read(0, 0, 90, 100)[1], ~hole)
    assert "named nowhere, but it stands alone" in source.nodata_rule
    assert read_image(path, nodata="none").valid.all()


def test_data_that_reach_a_fill_value_are_data(tmp_path, image):
    values, hole = image
    metres = -10400 + 4000 * values  # from -10000 on
    metres[hole] = -9999.0
    path = write_image(tmp_path / "a.tif", metres.astype(np.float32))
    assert read_image(path).valid.all()
    few = values.copy()
    few[5, 5:9] = -9999.0  # single bad pixels
    assert read_image(write_image(tmp_path / "b.tif", few.astype(np.float32))).valid.all()


def test_a_negative_scale_is_no_negative(tmp_path, image):
    path = write_image(tmp_path / "a.tif", np.round(1000 * image[0]).astype(np.int16))
    negative = write_image(tmp_path / "b.tif", np.round(-1000 * image[0]).astype(np.int16))
    with no_grid_warning(), rasterio.open(negative, "r+") as out:
        out.scales = (-0.001,)
    one, other = (Source(str(name)).read(0, 0, 90, 100)[0][..., 0] for name in (path, negative))
    np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(read_image(negative).values, np.round(1000 * image[0]) / 1000, atol=1e-6)
