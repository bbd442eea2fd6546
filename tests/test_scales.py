"""Two dates of unlike depth, unit or coding come to one scale, in pairs and in scenes; alike ones are not touched."""

import numpy as np
import pytest
from image_files import write_image

from planetcd_jax.errors import BadPairError
from planetcd_jax.images import scales
from planetcd_jax.images.reading import Image
from planetcd_jax.images.stretch import choose, stretched
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source

CODES = {
    "8 bits": lambda x: np.round(255 * x).astype(np.uint8),
    "10 bits": lambda x: np.round(1023 * x).astype(np.uint16),
    "12 bits": lambda x: np.round(4095 * x).astype(np.uint16),
    "16 bits": lambda x: np.round(65535 * x).astype(np.uint16),
    "12 bits on a pedestal": lambda x: np.round(4095 * x - 30000).astype(np.int16),
    "I/F": lambda x: (0.3 * x).astype(np.float32),
    "DN as floats": lambda x: (4095 * x).astype(np.float32),
    "root, 8 bits": lambda x: np.round(255 * np.sqrt(x)).astype(np.uint8),
    "root on a pedestal": lambda x: np.round(15 + 220 * np.sqrt(x)).astype(np.uint8),
    "root, floats": lambda x: np.sqrt(x).astype(np.float32),
    "log, 8 bits": lambda x: np.round(255 * np.log1p(50 * x) / np.log(51)).astype(np.uint8),
    "log, decibels": lambda x: (10 * np.log10(x + 0.003)).astype(np.float32),
}
UNLIKE = [
    ("8 bits", "12 bits"), ("12 bits", "16 bits"), ("10 bits", "12 bits"), ("I/F", "DN as floats"), ("8 bits", "I/F"),
    ("12 bits", "12 bits on a pedestal"), ("8 bits", "root, 8 bits"), ("root on a pedestal", "12 bits"),
    ("root, 8 bits", "I/F"), ("I/F", "root, floats"), ("log, 8 bits", "12 bits"),
    ("8 bits", "log, 8 bits"), ("I/F", "log, decibels"),
]  # fmt: skip


@pytest.fixture
def ground(texture):
    """Two dates of one ground, [120, 130] in [0, 1]: dark and wide in range, a little noise in each."""
    clean = 0.02 + 0.9 * texture(1, 120, 130, seed=2)[0] ** 1.5
    rng = np.random.default_rng(0)
    return [np.clip(clean + rng.normal(0, 0.004, clean.shape), 0, 1) for _ in range(2)]


def image(values):
    return Image(values, np.ones(values.shape[:2], bool), values.dtype)


def largest_difference(before, after):
    """Between two stretched dates, over squares of 8 px: their noise is small there."""
    valid = np.ones(before.shape, bool)
    return np.max(abs(scales.block_means(before, valid, 8) - scales.block_means(after, valid, 8)))


@pytest.mark.parametrize(("first", "second"), UNLIKE)
def test_unlike_dates_of_a_pair_come_to_one_scale(ground, first, second):
    dates = image(CODES[first](ground[0])), image(CODES[second](ground[1]))
    before, after = stretched(*dates, "auto")
    eight = [date for date in dates if date.dtype == np.uint8]
    if not eight:
        assert before.max() == 1 and after.max() == 1 and min(before.min(), after.min()) == 0
    elif "root" not in first + second and "log" not in first + second:
        np.testing.assert_allclose(before, eight[0].values / 255, atol=1e-6)
    assert largest_difference(before, after) < 0.03
    for a, b in zip(stretched(*dates[::-1], "auto"), (after, before), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    if dates[0].dtype != dates[1].dtype:
        with pytest.raises(
            BadPairError, match=r"different scales \(.* from .* and .* from .*\); choose --stretch=auto or each"
        ):
            stretched(*dates, "percentile")


@pytest.mark.parametrize(("first", "second"), UNLIKE)
def test_unlike_dates_of_a_scene_come_to_one_scale(tmp_path, ground, first, second):
    names = [write_image(tmp_path / f"{i}.tif", CODES[code](ground[i])) for i, code in enumerate((first, second))]
    pair = AlignedPair(*(Source(name) for name in names))
    samples = sample(pair)
    before, after = (
        samples.before(pair.read_before(0, 0, 120, 130)[0]),
        samples.after(pair.read_after(0, 0, 120, 130)[0]),
    )
    assert before.dtype == after.dtype == np.float32
    if "log" in first + second:  # noise moves the dark end of a logarithm; scores are blind to gain and offset
        gain, offset = np.polyfit(after.ravel(), before.ravel(), 1)
        after = gain * after + offset
        bends = [rule.bend[0] for rule in (samples.before, samples.after) if rule.bend]
        assert len(bends) == 1
    assert largest_difference(before, after) < 0.03


@pytest.mark.parametrize("code", CODES)
def test_alike_dates_share_one_stretch(ground, code):
    rules = choose(*(image(CODES[code](x)) for x in ground), "auto")
    assert rules[0] == rules[1] and rules[0].bend == 0


def test_a_change_does_not_bend_and_is_kept(ground):
    """A fifth of the pair is darker in the second date: one stretch for both, and a coded one is still decoded."""
    before, after = ground[0], ground[1].copy()
    after[:60, :52] *= 0.5
    plain = choose(image(CODES["12 bits"](before)), image(CODES["12 bits"](after)), "auto")
    assert plain[0] == plain[1] and plain[0].bend == 0
    after = ground[1].copy()
    after[40:70, 40:72] *= 0.5
    coded = stretched(image(CODES["12 bits"](before)), image(CODES["root, 8 bits"](after)), "auto")
    same = np.ones(before.shape, bool)
    same[40:70, 40:72] = False
    assert abs(coded[0] - coded[1])[same].mean() < 0.02 < 0.1 < (coded[0] - coded[1])[~same].mean()


def test_each_date_by_itself_where_it_is_asked_for(ground):
    first, second = image(CODES["8 bits"](ground[0])), image(CODES["8 bits"](0.2 + 0.5 * ground[1]))
    before, after = stretched(first, second, "each")
    assert largest_difference(before, after) < 0.03
    before, after = stretched(first, second, "auto")
    np.testing.assert_allclose(before, first.values / 255, atol=1e-6)


def test_the_curve_keeps_order_0_and_1():
    t = np.linspace(0, 1, 101)
    wide = np.linspace(-3, 3, 601)
    for bend in (-6.0, -1.5, -1.0, -0.4, 0.0):
        assert (np.diff(scales.bent(wide, bend)) >= -1e-12).all()
        curve = scales.bent(t, bend)
        assert curve[0] == 0 and curve[-1] == 1 and (np.diff(curve) >= 0).all()
    np.testing.assert_allclose(scales.bent(t, -1.0), t**2, atol=1e-12)  # by hand
    np.testing.assert_allclose(scales.bent(np.log1p(50 * t) / np.log(51), -np.log(51)), t, atol=1e-12)
    several = scales.bent(np.stack([t, t], -1), np.array([-0.5, -4.0]))
    np.testing.assert_allclose(several, np.stack([scales.bent(t, -0.5), scales.bent(t, -4.0)], -1))
    # sqrt(0.25 + 0.75 u) stretched to [0, 1] is 2 sqrt(...) - 1; its inverse is (4/3) ((t/2 + 1/2)^2 - 1/4)
    np.testing.assert_allclose(scales.bent(t, -1 / 3), 4 / 3 * ((t / 2 + 0.5) ** 2 - 0.25), atol=1e-12)


def test_means_leave_out_squares_without_data():
    values, valid = np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool)
    valid[0, 0] = False
    means = scales.block_means(values, valid, 4)
    assert np.isnan(means[0])
    np.testing.assert_allclose(means[1:], [values[:4, 4:].mean(), values[4:, :4].mean(), values[4:, 4:].mean()])
    assert scales.block_means(np.zeros((9, 7, 3)), np.ones((9, 7), bool), 3).shape == (6, 3)


def test_real_pairs_are_not_bent(realdata):
    for name in ("u02", "u04", "u10"):
        dates = [image_of(realdata / "ctx-repeat" / f"{name}_{date}.png") for date in ("before", "after")]
        assert {rule.bend for rule in choose(*dates, "auto")} == {0.0}


def image_of(path):
    from planetcd_jax.images.reading import read_image

    return read_image(path, grey=True)
