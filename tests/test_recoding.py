"""A date that is the other, coded anew, comes to its code; pairs with noise of their own are left as they are."""

import numpy as np
import pytest
from image_files import write_image

from planetcd_jax.images import recoding
from planetcd_jax.images.reading import Image, read_image
from planetcd_jax.images.stretch import stretched
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import in_one_code, sample
from planetcd_jax.scenes.source import Source

CODES = {
    "0.7 x + 30": lambda x: np.round(0.7 * x + 30).astype(np.uint8),
    "gamma 0.7": lambda x: np.round(255 * (x / 255) ** 0.7).astype(np.uint8),
    "gamma 1.6": lambda x: np.round(255 * (x / 255) ** 1.6).astype(np.uint8),
    "logarithm": lambda x: np.round(255 * np.log1p(x) / np.log(256)).astype(np.uint8),
    "more contrast, saturated": lambda x: np.clip(np.round(1.7 * x - 80), 0, 255).astype(np.uint8),
    "gamma as floats": lambda x: ((x / 255) ** 0.7).astype(np.float32),
    "12 bits": lambda x: np.round(16 * x).astype(np.uint16),
}


@pytest.fixture
def ground(texture):
    """[130, 150] float64, 20 to 240: smooth, so that whole areas are of one grey level."""
    return 20 + 220 * texture(1, 130, 150, seed=8)[0].astype(np.float64)


def image(values):
    return Image(values, np.ones(values.shape[:2], bool), values.dtype)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("rounded_first", [True, False], ids=["from 8 bits", "both from one finer image"])
def test_a_pair_in_two_codes_is_equal(ground, code, rounded_first):
    first = np.round(ground).astype(np.uint8)
    second = CODES[code](first.astype(np.float64) if rounded_first else ground)
    before, after = stretched(image(first), image(second), "auto")
    np.testing.assert_allclose(before, after, atol=1e-6)
    for one, other in zip(stretched(image(second), image(first), "auto"), (after, before), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_change_is_kept(ground):
    first, changed = np.round(ground).astype(np.uint8), np.round(ground)
    changed[40:70, 50:90] *= 0.8
    before, after = stretched(image(first), image(CODES["gamma 0.7"](changed)), "auto")
    wanted = CODES["gamma 0.7"](changed) / 255 - CODES["gamma 0.7"](np.round(ground)) / 255
    np.testing.assert_allclose((after - before)[40:70, 50:90], wanted[40:70, 50:90], atol=2.5 / 255)  # rounding of both
    apart = abs(after - before)
    apart[40:70, 50:90] = 0
    assert apart.max() == 0


def test_what_was_the_brightest_is_no_part_of_the_curve(ground):
    """A bright patch that is gone: its levels are in no other place."""
    first = np.round(0.5 * ground)
    first[50:70, 60:90] = 250.0
    second = CODES["0.7 x + 30"](np.where(first == 250, 60, first))
    before, after = stretched(image(first.astype(np.uint8)), image(second), "auto")
    assert (before - after)[50:70, 60:90].min() > 0.4


def test_noise_one_code_and_few_levels_are_left(ground):
    rng = np.random.default_rng(0)
    first = np.round(ground).astype(np.uint8)
    noisy = CODES["gamma 0.7"](np.clip(first + rng.normal(0, 1.0, first.shape), 0, 255))
    few = np.round(ground / 40).astype(np.uint8)
    jpeg = first + (rng.random(first.shape) < 0.2).astype(np.uint8)
    for one, two in [(first, noisy), (first, first), (first, jpeg), (few, 2 * few), (first, 255 - first)]:
        pair = image(one), image(two)
        assert recoding.recoded(*pair) is None
    floats = (first / 255 + rng.uniform(0, 1e-3, first.shape)).astype(np.float32).ravel()
    assert recoding.recoding(floats, 3 * floats) is None  # a line, which scores undo


def test_scenes_read_both_dates_in_one_code(tmp_path, ground):
    first = np.round(ground).astype(np.uint8)
    first[:20, :30] = 0
    names = [
        write_image(tmp_path / "a.tif", first, nodata=0),
        write_image(tmp_path / "b.tif", CODES["gamma 0.7"](ground)),
    ]
    for order in (names, names[::-1]):
        stored = AlignedPair(*map(Source, order))
        pair = in_one_code(stored)
        assert len(pair.recodings) == 1 and not stored.recodings and "coded anew" in pair.said_of_codes()
        samples = sample(pair)
        (before, here), (after, there) = pair.read_before(5, 5, 80, 90), pair.read_after(5, 5, 80, 90)
        valid = here & there
        assert not valid.all()
        np.testing.assert_allclose(samples.before(before)[valid], samples.after(after)[valid], atol=1e-6)
        assert np.isfinite(before).all() and np.isfinite(after).all()
        assert pair.recodings[0].record()["curve"]["power"] != 1.0
    same = AlignedPair(Source(names[0]), Source(names[0]))
    assert in_one_code(same) is same


def test_real_pairs_are_left(realdata):
    for name in ("u02", "u04", "u10", "d01"):
        files = [realdata / "ctx-repeat" / f"{name}_{date}.png" for date in ("before", "after")]
        if not all(file.is_file() for file in files):
            continue
        pair = tuple(read_image(file, grey=True) for file in files)
        assert recoding.recoded(*pair) is None
