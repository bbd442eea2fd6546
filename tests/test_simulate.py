"""The simulator: its physics against formulas, and its sets."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import DATASETS, open_dataset
from planetcd_jax.pairs.simulated import CHUNK, labels_of, simulated_set
from planetcd_jax.simulate import imaging
from planetcd_jax.simulate.changes import Craft, craft
from planetcd_jax.simulate.draws import power_law, whole
from planetcd_jax.simulate.ranges import CTX, HIRISE_RSL, LROC
from planetcd_jax.simulate.terrain import (
    add_craters,
    blur_and_shift,
    crater_profile,
    fractal,
    gradient,
    rough_relief,
    shade,
)

FLAT = (jnp.float32(0), jnp.float32(0))


@pytest.mark.parametrize("hurst", [0.3, 0.9])
def test_the_spectrum_of_a_fractal_falls_as_its_exponent_says(hurst):
    white = jax.random.normal(jax.random.key(0), (256, 256), jnp.float32)
    field = np.asarray(fractal(white, jnp.float32(hurst)))
    np.testing.assert_allclose([field.mean(), field.std()], [0, 1], atol=1e-4)
    power = np.abs(np.fft.fft2(field)) ** 2  # oracle: NumPy's FFT and a straight line through the logarithms
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    rings = np.geomspace(0.02, 0.4, 12)
    middle = np.sqrt(rings[1:] * rings[:-1])
    mean = [power[(k >= a) & (k < b)].mean() for a, b in itertools.pairwise(rings)]
    slope = np.polyfit(np.log(middle), np.log(mean), 1)[0]
    assert abs(slope + 2 * hurst + 2) < 0.15


def test_a_stretched_fractal_is_smoother_along_its_azimuth():
    white = jax.random.normal(jax.random.key(1), (128, 128), jnp.float32)
    by_row, by_col = gradient(
        fractal(white, jnp.float32(0.5), jnp.float32(5.0), jnp.float32(np.pi / 2))
    )  # to the right
    assert np.std(by_row) > 2 * np.std(by_col)


def test_relief_has_the_slope_asked_for():
    white = jax.random.normal(jax.random.key(2), (64, 64), jnp.float32)
    relief = np.asarray(rough_relief(white, jnp.float32(0.7), jnp.float32(0.1)))
    by_row = (np.roll(relief, -1, 0) - np.roll(relief, 1, 0)) / 2  # oracle: NumPy
    by_col = (np.roll(relief, -1, 1) - np.roll(relief, 1, 1)) / 2
    np.testing.assert_allclose(np.sqrt(np.mean(by_row**2 + by_col**2)), 0.1, rtol=1e-4)


def test_a_fresh_crater_has_pikes_depth_and_rim():
    profile = crater_profile(jnp.array([0.0, 0.9999, 1.0001, 2.0, 6.0], jnp.float32), jnp.float32(0.2))
    np.testing.assert_allclose(profile, [-0.164, 0.036, 0.036, 0.036 / 8, 0], atol=1e-4)  # by hand


def test_craters_lie_where_they_are_put_and_zero_is_none():
    one = functools.partial(jnp.array, dtype=jnp.float32)
    relief = add_craters(jnp.zeros((40, 60)), one([10, 30]), one([20, 50]), one([12, 0]), one([0.2, 0.2]))
    assert np.unravel_index(np.argmin(relief), relief.shape) == (10, 20)
    np.testing.assert_allclose(relief[10, 20], -0.164 * 12, rtol=1e-5)
    assert not np.asarray(relief)[25:, 55:].any()


@pytest.mark.parametrize("limb", [0.0, 0.3, 1.0])
def test_brightness_of_a_plane_is_the_lunar_lambert_law(limb):
    elevation, azimuth = np.deg2rad(35), np.deg2rad(90)
    flat = shade(jnp.zeros((4, 4)), jnp.float32(azimuth), jnp.float32(elevation), jnp.float32(limb), FLAT)
    mu0 = np.sin(elevation)
    np.testing.assert_allclose(flat, limb * 2 * mu0 / (mu0 + 1) + (1 - limb) * mu0, rtol=1e-5)  # McEwen 1991
    # ground that rises to the right by 20 degrees looks away from a sun on the right
    slope = np.deg2rad(20)
    tilt = (FLAT[0], jnp.float32(np.tan(slope)))
    tilted = shade(jnp.zeros((4, 4)), jnp.float32(azimuth), jnp.float32(elevation), jnp.float32(limb), tilt)
    mu0, mu = np.sin(elevation - slope), np.cos(slope)
    np.testing.assert_allclose(tilted, limb * 2 * mu0 / (mu0 + mu) + (1 - limb) * mu0, rtol=1e-4)


def test_ground_that_faces_away_is_dark():
    away = shade(jnp.zeros((2, 2)), jnp.float32(0), jnp.float32(0.2), jnp.float32(0.5), (jnp.float32(-1), FLAT[0]))
    np.testing.assert_array_equal(away, 0)


def test_blur_and_shift_agree_with_scipy():
    image = np.random.default_rng(0).random((32, 48)).astype(np.float32)
    moved = blur_and_shift(jnp.asarray(image), jnp.float32(0), (jnp.float32(3), jnp.float32(-5)))
    np.testing.assert_allclose(moved, np.roll(image, (3, -5), (0, 1)), atol=1e-5)
    blurred = blur_and_shift(jnp.asarray(image), jnp.float32(1.2), FLAT)
    np.testing.assert_allclose(blurred, scipy.ndimage.gaussian_filter(image, 1.2, mode="wrap"), atol=2e-3)


def test_sizes_follow_a_power_law_and_counts_are_whole():
    u = (jnp.arange(10000, dtype=jnp.float32) + 0.5) / 10000
    sizes = np.asarray(power_law(u, (3.0, 40.0), 2.0))
    assert 3 <= sizes.min() and sizes.max() <= 40
    for d in (5.0, 10.0, 20.0):
        wanted = (d**-2 - 40.0**-2) / (3.0**-2 - 40.0**-2)  # by hand: N(> d) over the whole
        np.testing.assert_allclose((sizes > d).mean(), wanted, atol=2e-3)
    assert np.bincount(np.asarray(whole(u, (1, 4))).astype(int)).tolist() == [0, 2500, 2500, 2500, 2500]


def test_the_shadow_of_a_craft_points_away_from_the_sun():
    f = jnp.float32
    sun = f(np.deg2rad(90)), f(np.deg2rad(30))
    overlay = craft((60, 60), (f(30), f(30)), Craft(f(4), f(5), f(2), f(1), f(0)), sun)
    factor = np.asarray(overlay.factor)
    assert factor[30, 30] > 1.9  # the craft
    assert factor[30, 25] < 0.3 and factor[30, 35] == pytest.approx(1, abs=0.02)  # sun on the right, shadow on the left
    dark = np.flatnonzero(factor[30] < 0.5)
    assert abs(len(dark) - 5 / np.tan(np.deg2rad(30))) < 1.5  # length = height / tan(elevation)


NOTHING_ELSE = dict(
    sun_azimuth_change_deg=(0.0, 0.0), sun_elevation_change_deg=(0.0, 0.0), haze=(0.0, 0.0), psf_px=(0.5, 0.5),
    snr=(1e9, 1e9), gain_change=(1.0, 1.0), offset_change=(0.0, 0.0), max_shift_px=0.0, level=(0.5, 0.5),
    spread=(0.05, 0.05), height=64, width=64,
)  # fmt: skip


def _made(ranges, n=6, changed=True):
    make = jax.jit(
        jax.vmap(lambda k, c: imaging.simulate_pair(k, c, ranges)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    keys = jax.random.split(jax.random.key(3), n)
    return [make(keys, jnp.full(n, value)) for value in ((changed,) if changed is not None else (False, True))]


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        (HIRISE_RSL, "streaks"),
        pytest.param(CTX, "impact", marks=pytest.mark.slow),
        pytest.param(dataclasses.replace(LROC, craft_share=1.0), "craft", marks=pytest.mark.slow),
    ],
)
def test_only_the_change_changes_where_nothing_else_does(base, kind):
    unchanged, changed = _made(dataclasses.replace(base, **NOTHING_ELSE), changed=None)
    # what is left of the noise may tip a pixel over the edge between two grey levels
    assert (np.asarray(unchanged.before) != np.asarray(unchanged.after)).mean() < 1e-3
    np.testing.assert_allclose(unchanged.before, unchanged.after, atol=1.001 / 255)
    assert not np.asarray(unchanged.mask).any() and not np.asarray(unchanged.kind).any()
    assert [imaging.KINDS[k] for k in changed.kind] == [kind] * 6
    for before, after, mask in zip(changed.before, changed.after, np.asarray(changed.mask), strict=True):
        assert mask.any() and not mask.all()
        near = scipy.ndimage.binary_dilation(mask, iterations=4)
        difference = np.asarray(after) - np.asarray(before)
        difference = np.abs(difference - np.median(difference[~near]))  # the mean of each date is set to one level
        # outside, at most what the mask leaves out by its own threshold (4 %) at the highest contrast
        assert difference[mask].mean() > 3 * difference[~near].mean()
        assert difference[~near].max() < 1.5 * imaging.MASK_FACTOR * imaging.MAX_CONTRAST


@pytest.mark.slow
def test_the_second_date_is_moved_as_told():
    ranges = dataclasses.replace(LROC, **{**NOTHING_ELSE, "max_shift_px": 20.0})
    (made,) = _made(ranges, changed=False)
    shifts = np.asarray(made.shift)
    assert np.abs(shifts).max() <= 20 and np.abs(shifts).max() > 10
    for before, after, shift in zip(np.asarray(made.before), np.asarray(made.after), shifts, strict=True):
        moved = scipy.ndimage.shift(before, shift, order=3, mode="constant", cval=np.nan)  # oracle: SciPy
        moved = np.where(scipy.ndimage.binary_erosion(np.isfinite(moved), iterations=3), moved, np.nan)
        seen = np.isfinite(moved)
        assert seen.mean() > 0.2
        assert np.corrcoef(moved[seen], after[seen])[0, 1] > 0.98


@pytest.mark.parametrize(
    ("name", "n", "side", "shift"),
    [
        pytest.param("hirise_rsl", 254, 100, 2, marks=pytest.mark.slow),
        ("ctx", 96, 150, 12),
        pytest.param("lroc", 10, 100, 40, marks=pytest.mark.slow),
    ],
)
def test_the_sets_stand_in_for_the_papers(name, n, side, shift):
    pairs = open_dataset(name, source="simulated")
    assert (len(pairs), pairs.source, pairs.name) == (n, "simulated", name)
    assert int((pairs.labels == 1).sum()) == n // 2 and len(set(pairs.ids)) == n
    assert pairs.files(0) == () and pairs.provenance["seed"] == 0 and pairs.shape(0) == (side, side)
    for i in range(CHUNK):
        pair, truth = pairs.read(i), pairs.details(i)
        assert pair.before.shape == pair.after.shape == (side, side) and pair.context is None
        for image in pair[:2]:
            np.testing.assert_allclose(image * 255, np.round(image * 255), atol=1e-4)
            assert 0 <= image.min() and image.max() <= 1 and 0.02 < image.std() < 0.4
            assert ((image == 0) | (image == 1)).mean() < 0.25  # not burnt out
        assert np.asarray(truth.mask).any() == (pairs.labels[i] == 1)
        assert np.abs(truth.shift).max() <= shift


@pytest.mark.slow
def test_a_pair_depends_on_seed_split_and_index_alone():
    first, second = (simulated_set("lroc", seed=4) for _ in range(2))
    late = first.read(9)
    for i in range(10):
        second.read(i)
    np.testing.assert_array_equal(second.read(9).after, late.after)
    np.testing.assert_array_equal(first.read(1).before, second.read(1).before)
    other = simulated_set("lroc", seed=5)
    assert not np.array_equal(other.read(9).after, late.after)
    assert not np.array_equal(first.read(0).before, first.read(1).before)


@pytest.mark.slow
def test_splits_have_their_own_pairs():
    assert {s: len(simulated_set("hirise_rsl", split=s)) for s in ("train", "val", "test")} == DATASETS[
        "hirise_rsl"
    ].simulated_pairs
    everything = simulated_set("hirise_rsl", split="all")
    assert len(everything) == 254 + 3103 + 670 and len(set(everything.ids)) == len(everything)
    test, train = simulated_set("hirise_rsl"), simulated_set("hirise_rsl", split="train")
    assert not np.array_equal(test.read(0).before, train.read(0).before)
    assert not np.array_equal(labels_of("hirise_rsl", "train", 0)[:254], test.labels)
    np.testing.assert_array_equal(everything.read(254).before, train.read(0).before)


def test_what_does_not_exist_is_told():
    with pytest.raises(DataError, match="no simulated set 'venus'; choose one of hirise_rsl, ctx, lroc"):
        simulated_set("venus")
    with pytest.raises(DataError, match="simulated set 'lroc' has no split 'train'; choose test or all"):
        open_dataset("lroc", source="simulated", split="train")


@pytest.mark.slow
def test_simulated_images_can_be_cut():
    patches = open_dataset("lroc", source="simulated", patch_size=50, margin=8)
    assert len(patches) == 40 and patches.read(3).context.shape == (66, 66)
    assert patches.source == "simulated" and set(patches.labels.tolist()) == {0, -1}
