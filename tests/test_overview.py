"""Images reduced to the size of a map. Oracle: NumPy means of blocks."""

import numpy as np
import pytest

from planetcd_jax.scenes import overview


def _read(pixels, valid):
    return lambda row, col, height, width: (
        pixels[row : row + height, col : col + width],
        valid[row : row + height, col : col + width],
    )


@pytest.mark.parametrize("held", [overview._PIXELS, 40 * 40])
def test_cells_are_means_of_what_is_valid(monkeypatch, held):
    monkeypatch.setattr(overview, "_PIXELS", held)  # strips of the whole image, and of a row of cells
    rng = np.random.default_rng(0)
    pixels, valid = rng.random((80, 40, 2)).astype(np.float32), rng.random((80, 40)) < 0.6
    found, known = overview.reduced(_read(pixels, valid), 80, 40, 20)
    assert found.shape == (20, 10, 2) and found.dtype == np.float32
    blocks = np.where(valid[..., None], pixels, np.nan).reshape(20, 4, 10, 4, 2)
    np.testing.assert_allclose(found, np.nanmean(blocks, axis=(1, 3)), rtol=1e-5)
    np.testing.assert_array_equal(known, valid.reshape(20, 4, 10, 4).sum(axis=(1, 3)) >= 8)


def test_small_images_stay_as_they_are_and_masked_pixels_are_0():
    pixels, valid = np.arange(12.0).reshape(3, 4, 1), np.ones((3, 4), bool)
    valid[1, 2] = False
    found, known = overview.reduced(_read(pixels, valid), 3, 4, 100)
    np.testing.assert_array_equal(found[..., 0], np.where(valid, pixels[..., 0], 0))
    np.testing.assert_array_equal(known, valid)


def test_sides_that_no_whole_number_divides_lose_no_pixel():
    ones, valid = np.ones((101, 67, 1)), np.ones((101, 67), bool)
    found, known = overview.reduced(_read(ones, valid), 101, 67, 30)
    assert found.shape == (30, 20, 1) and known.all() and (found == 1).all()


def test_small_relief_on_a_large_offset_keeps_its_levels():
    """Metres on a radius of the Moon: in 32 bits there is no level between two of these, and the map was empty."""
    pixels = 1737400 + 0.01 * np.arange(16.0).reshape(4, 4, 1)
    found, _ = overview.reduced(_read(pixels, np.ones((4, 4), bool)), 4, 4, 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found - 1737400, 0.01 * np.array([[[2.5], [4.5]], [[10.5], [12.5]]]), atol=1e-6)
