"""The stretch to [0, 1]: one transform for both dates, no-data left out of it."""

import numpy as np
import pytest

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.images.reading import Image
from planetcd_jax.images.stretch import STRETCHES, describe, stretched


def _image(values, valid=None):
    values = np.asarray(values)
    return Image(values, np.ones(values.shape[:2], bool) if valid is None else valid, values.dtype)


def test_bytes_are_divided_by_255():
    before, after = stretched(_image(np.array([[0, 51]], np.uint8)), _image(np.array([[255, 102]], np.uint8)), "auto")
    np.testing.assert_allclose(before, [[0, 0.2]], rtol=1e-6)  # by hand
    np.testing.assert_allclose(after, [[1, 0.4]], rtol=1e-6)


def test_other_types_use_joint_percentiles_of_valid_pixels_and_keep_what_lies_beyond():
    rng = np.random.default_rng(0)
    first, second = rng.normal(3000, 100, (50, 60)), rng.normal(3300, 100, (50, 60))
    second[20:22, 30:32] = [[2600, 2500], [2450, 2400]]  # a fresh impact, darker than all other ground
    second[40, 5] = 60_000  # a hot pixel, which must not take the contrast
    valid = rng.random((50, 60)) > 0.1
    first[~valid] = -32768
    low, high = np.percentile(np.concatenate([first[valid], second.ravel()]), [0.5, 99.5])  # oracle: NumPy
    low, high = 2400, high + (high - low) / 2
    before, after = stretched(_image(first, valid), _image(second), "auto")
    np.testing.assert_allclose(before[valid], np.clip((first[valid] - low) / (high - low), 0, 1), atol=1e-6)
    np.testing.assert_allclose(after, np.clip((second - low) / (high - low), 0, 1), atol=1e-6)
    assert np.unique(after[20:22, 30:32]).size == 4
    assert before.dtype == after.dtype == np.float32 and (before[~valid] == 0).all()


def test_the_whole_range_of_an_integer_type():
    before, after = stretched(*[_image(np.array([[-32768, 0, 32767]], np.int16))] * 2, "dtype")
    np.testing.assert_allclose(before, [[0, 32768 / 65535, 1]], rtol=1e-6)  # by hand
    np.testing.assert_array_equal(before, after)


def test_none_keeps_values_also_wrong_ones():
    values = np.array([[0.25, 7.0]], np.float32)
    before, _ = stretched(_image(values), _image(values), "none")
    np.testing.assert_array_equal(before, values)


def test_nearly_constant_images_fall_back_on_their_extremes():
    values = np.full((100, 100), 5.0, np.float32)
    values[0, 0] = 9.0
    before, _ = stretched(_image(values), _image(values), "auto")
    assert before[0, 0] == 1 and before[1, 1] == 0
    flat, _ = stretched(*[_image(np.full((4, 4), 5.0, np.float32))] * 2, "auto")
    assert (flat == 0).all()


@pytest.mark.parametrize("gain", [0.01, 1.0, 3.7, 100.0])
@pytest.mark.parametrize("offset", [-1000.0, 0.0, 12.5, 1000.0])
def test_percentiles_do_not_see_a_common_gain_and_offset(gain, offset):
    rng = np.random.default_rng(int(gain) + int(offset) + 2000)
    first, second = rng.random((2, 20, 20))
    plain = stretched(_image(first), _image(second), "percentile")
    moved = stretched(_image(first * gain + offset), _image(second * gain + offset), "percentile")
    for a, b in zip(plain, moved, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert a.min() >= 0 and a.max() <= 1


@pytest.mark.parametrize("stretch", STRETCHES)
def test_equal_images_stay_equal(stretch):
    image = _image(np.random.default_rng(1).integers(0, 2, (10, 10, 3)).astype(np.uint8))
    before, after = stretched(image, image, stretch)
    np.testing.assert_array_equal(before, after)
    assert before.shape == (10, 10, 3) and describe(stretch)


def test_what_cannot_be_stretched_is_told():
    floats, bytes_ = _image(np.zeros((4, 4), np.float32)), _image(np.zeros((4, 4), np.uint8))
    with pytest.raises(BadPairError, match="one integer type for both dates, got float32, uint8; choose 'percentile'"):
        stretched(floats, bytes_, "dtype")
    nothing = _image(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))
    with pytest.raises(BadPairError, match="no pixel has data on either date"):
        stretched(nothing, nothing, "auto")
    with pytest.raises(DataError, match="stretch is 'linear'; choose one of auto, dtype, percentile, each, none"):
        stretched(floats, floats, "linear")
