"""Values of files that are easily misread: rounded no-data, large offsets, colour tables, special values."""

import numpy as np
import pytest
import rasterio
from image_files import write_image

from planetcd_jax.data.images import read_image
from planetcd_jax.rasters.source import Source, no_grid_warning


@pytest.mark.parametrize("asked", ["-9999.9", "-3.4e38", "0.1"])
def test_a_value_to_mask_is_rounded_as_the_file_rounds_it(tmp_path, asked):
    image = np.arange(1, 21, dtype=np.float32).reshape(4, 5)
    image[1, 2] = float(asked)
    name = write_image(tmp_path / "a.tif", image)
    for valid in (Source(name, nodata=asked).read(0, 0, 4, 5)[1], read_image(name, nodata=float(asked)).valid):
        np.testing.assert_array_equal(np.argwhere(~valid), [[1, 2]])


@pytest.mark.parametrize("asked", [5.5, 300.0, -1.0])
def test_a_value_that_integers_cannot_hold_masks_nothing(tmp_path, asked):
    name = write_image(tmp_path / "a.tif", np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert Source(name, nodata=str(asked)).read(0, 0, 16, 16)[1].all()
    assert read_image(name, nodata=asked).valid.all()


def test_a_value_to_mask_is_compared_before_scale_and_offset(tmp_path):
    name = write_image(tmp_path / "a.tif", np.arange(1, 21, dtype=np.int16).reshape(4, 5))
    with no_grid_warning(), rasterio.open(name, "r+") as out:
        out.scales, out.offsets = (0.5,), (2.0,)
    image = read_image(name, nodata=7)  # stored 7 means 5.5, and stored 10 means 7
    np.testing.assert_array_equal(np.argwhere(~image.valid), [[1, 1]])
    np.testing.assert_allclose(image.values[1, 4], 7.0)
