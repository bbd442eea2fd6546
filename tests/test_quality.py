"""Quality of a pair before the work. Oracle: noise, blur and light that the test put in."""

import numpy as np
import pytest
from image_files import write_image
from scipy.ndimage import gaussian_filter
from test_register import ground, seen, write

from planetcd_jax.images.pair_quality import Date, Quality, of_patches
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.quality import of_pair
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source

DATE = Date(0.01, 0.5, 0.1, 1.0, {})


def quality(tmp_path, before, after):
    pair = AlignedPair(write(tmp_path / "a.tif", before), write(tmp_path / "b.tif", after, seed=1))
    return of_pair(pair, sample(pair))


@pytest.mark.parametrize(
    "angles, said",
    [
        ({"sun_azimuth": -40.0}, "light differs by 40 degrees of azimuth: expect false alarms on slopes"),
        ({"incidence": 15.0}, "the sun stands 15 degrees lower in the second image"),
        ({"sun_elevation": 12.0}, "the sun stands 12 degrees higher in the second image"),
        ({"emission": 20.0}, "emission differs by 20 degrees"),
        ({"phase": 3.0, "sun_azimuth": 5.0}, "nothing speaks against the pair"),
    ],
)
def test_light_is_told_in_words(angles, said):
    assert said in Quality(0.9, DATE, DATE, angles).verdict()


def test_like_dates_are_not_doubted(tmp_path):
    image = seen(ground(0))
    found = quality(tmp_path, image, image)
    assert found.correlation > 0.9 and found.doubts() == []
    assert found.before.common == found.after.common == 1.0


def test_blur_and_noise_are_told_of_the_date_that_has_them(tmp_path):
    image = seen(ground(1))
    blurred = quality(tmp_path, image, gaussian_filter(image, 2.0))
    assert blurred.after.sharpness < 0.6 * blurred.before.sharpness
    assert "second image is blurred" in blurred.verdict()
    noisy = image + 0.08 * np.random.default_rng(0).standard_normal(image.shape)
    found = quality(tmp_path, image, noisy)
    assert found.after.noise > 3 * found.before.noise and "of the second image is noise" in found.verdict()


def test_other_ground_does_not_correlate(tmp_path):
    found = quality(tmp_path, seen(ground(2)), seen(ground(3)))
    assert abs(found.correlation) < 0.5 and "the dates correlate by" in found.verdict()


def test_a_pair_of_patches_is_measured_where_it_fits_best():
    image = seen(ground(4))
    found = of_patches(image[20:170, 10:160], image[8:158, 31:181])
    assert found.correlation > 0.9 and found.verdict() == "nothing speaks against the pair"
    other = of_patches(image[20:170, 10:160], seen(ground(5))[20:170, 10:160])
    assert other.correlation < 0.5 and "the dates correlate by" in other.verdict()
    light = of_patches(image, image, ({"sun_azimuth": 350.0}, {"sun_azimuth": 30.0}))
    assert "light differs by 40 degrees of azimuth" in light.verdict()


@pytest.mark.parametrize("gaps", ["stripes", "blocks", "one block is left"])
def test_masks_are_no_blur_and_no_noise(tmp_path, gaps):
    """70 % of the pair is masked; a date that is blurred is still told."""
    image = seen(ground(6))
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]]
    missing = {
        "stripes": rows % 50 >= 15,
        "blocks": (rows % 40 >= 22) | (cols % 40 >= 22),
        "one block is left": (rows < image.shape[0] * 0.45) | (cols < image.shape[1] * 0.45),
    }[gaps]
    before, blurred = np.where(missing, -9.0, image), np.where(missing, -9.0, gaussian_filter(image, 2.0))
    names = {}
    for name, values in (("a", before), ("b", np.where(missing, -9.0, image)), ("c", blurred)):
        names[name] = str(write_image(tmp_path / f"{name}.tif", values.astype(np.float32), nodata=-9.0))
    found = {}
    for other in "bc":
        pair = AlignedPair(Source(names["a"]), Source(names[other]))
        found[other] = of_pair(pair, sample(pair))
    assert found["b"].doubts() == []
    assert "second image is blurred" in found["c"].verdict()


def test_too_little_ground_in_one_piece_is_said():
    nothing = Date(float("nan"), float("nan"), float("nan"), 0.5, {})
    said = Quality(0.9, nothing, nothing, {}).verdict()
    assert said == "blur and noise could not be told: too little ground in one piece"
