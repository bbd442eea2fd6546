"""The preset that registers first: registration, score, matched null, false discovery rate."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

import planetcd_jax as pcd
from planetcd_jax.errors import ConfigError
from planetcd_jax.ops import filters, masked, shifted
from planetcd_jax.scores import brightness
from planetcd_jax.thresholds import benjamini_hochberg

# A small reach keeps the transforms of these tests small.
CONFIG = pcd.ROBUST.replace(max_misalignment=10)
SCORE = CONFIG.score


@pytest.fixture(scope="module")
def score(params):
    return jax.jit(lambda a, b: pcd.change_score(params, a, b, CONFIG))


@pytest.fixture(scope="module")
def register():
    return jax.jit(SCORE.registration.register)


def test_blur_is_scipys():
    x = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    # Oracle: SciPy, whose "mirror" does not repeat the border pixel either.
    wanted = ndimage.gaussian_filter(x, 2.0, mode="mirror", truncate=2.5)
    np.testing.assert_allclose(filters.blur(jnp.asarray(x), 2.0), wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [(256, 257), (2, 300, 401)])
@pytest.mark.parametrize("sigma", [0.7, 3.0, 14.0, 30.0])
def test_wide_maps_blurred_by_shifted_copies_are_those_of_whole_matrices(shape, sigma):
    x = np.random.default_rng(0).random(shape, np.float32)
    by_row, by_column = (filters.blur_matrix(n, sigma).astype(np.float64) for n in shape[-2:])
    found = jax.jit(filters.blur, static_argnums=1)(x, sigma)
    np.testing.assert_allclose(found, by_row @ x @ by_column.T, atol=1e-6)


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-8, 7)])
def test_a_whole_shift_is_found_and_undone(texture, register, shift):
    field = texture(1, 84, 84)[0]
    before, after = field[10:74, 10:74], field[10 - shift[0] : 74 - shift[0], 10 - shift[1] : 74 - shift[1]]
    second = register(before, 0.7 * after + 0.1)
    np.testing.assert_array_equal(second.shift, shift)
    inner = np.asarray(second.valid)
    assert inner.sum() >= (64 - abs(shift[0]) - 2) * (64 - abs(shift[1]) - 2)
    assert np.abs((0.7 * before + 0.1) - np.asarray(second.after))[inner].mean() < 0.01


def test_part_of_a_pixel_is_found(texture, register):
    before = texture(1)[0]
    smooth = ndimage.gaussian_filter(before, 1.5)
    second = register(smooth, ndimage.shift(smooth, (0.5, -0.25), order=3, mode="nearest"))
    found = np.asarray(second.flow)[:, 16:-16, 16:-16].mean(axis=(1, 2)) + np.asarray(second.shift)
    np.testing.assert_allclose(found, (0.5, -0.25), atol=0.15)


def test_equal_patches_score_zero_and_gain_and_offset_nearly_nothing(texture, score):
    before = texture(1)[0]
    assert float(score(before, before)) < 1e-3
    changed = before.copy()
    changed[28:36, 28:36] *= 0.4
    assert float(score(before, 0.8 * before + 0.1)) < 0.1 * float(score(before, changed))


def test_a_small_change_counts_and_a_shift_does_not(texture, score):
    field = texture(1, 72, 72)[0]
    noise = 0.01 * np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    before, after = field[4:68, 4:68], field[1:65, 6:70] + noise
    changed = after.copy()
    changed[28:36, 28:36] *= 0.4
    assert float(score(before, changed)) > 1.5 * float(score(before, after))


def test_constant_and_missing_pixels(texture, score):
    before = texture(1)[0]
    flat = np.full((64, 64), 0.5, np.float32)
    assert np.isfinite(score(flat, flat)) and np.isfinite(score(before, flat))
    holed = before.copy()
    holed[3, 3] = np.nan
    assert np.isnan(score(before, holed)) and np.isnan(score(holed, before))


@pytest.mark.slow
def test_the_null_hangs_on_the_pairs_own_number_alone_and_needs_no_other_pair(texture, params):
    before, after = texture(3), texture(3, seed=1) * 0.2 + texture(3) * 0.8
    run = jax.jit(lambda a, b, i: pcd.batch_scores(jax.random.key(0), params, a, b, i, CONFIG))
    together = run(before, after, np.arange(3, dtype=np.uint32))
    turned = run(before[::-1], after[::-1], np.arange(3, dtype=np.uint32)[::-1])
    for one, two in zip(together, turned, strict=True):
        np.testing.assert_allclose(one, np.asarray(two)[::-1], rtol=2e-3)


@jax.jit
def draw_null(key, before, after):
    """h(x) of a pair that needs no registration; of 128 x 128 px in all tests, so that one program serves them."""
    valid = jnp.ones(before.shape, bool)
    keep = masked.erode(valid, SCORE.border_px)
    dates = zip((before, after), SCORE.brightness.common_limits(before, after, keep), strict=True)
    first, second = (SCORE.brightness.brightness(x, valid, limits) for x, limits in dates)
    return SCORE.null.draw(key, before, after, first, second, keep, SCORE.brightness)


def test_both_dates_count_as_far_as_both_can_show():
    """By hand: mean, standard deviation and ends of both dates."""
    rng = np.random.default_rng(0)
    before = (0.3 + 0.1 * rng.standard_normal((40, 40)).clip(-2, 2)).astype(np.float32)
    after = (0.6 + 0.05 * rng.standard_normal((40, 40)).clip(-2, 2)).astype(np.float32)
    keep = np.ones((40, 40), bool)
    keep[0] = False

    def black_and_white():
        dates = [x[keep] for x in (before, after)]
        ends = [(0.004 + min(x.min(), 0), 0.996 + max(x.max() - 1, 0)) for x in dates]
        low = max((end[0] - x.mean()) / x.std() for end, x in zip(ends, dates, strict=True))
        high = min((end[1] - x.mean()) / x.std() for end, x in zip(ends, dates, strict=True))
        return [(x.mean() + x.std() * low, x.mean() + x.std() * high) for x in dates]

    found = SCORE.brightness.common_limits(before, after, jnp.asarray(keep))
    np.testing.assert_allclose(found, black_and_white(), rtol=1e-4)
    assert abs(float(found[0][0]) - 0.004) < 1e-5  # the first date is black first
    before[21, 10], after[11, 30] = -0.05, 1.05  # resampling does that
    assert abs(float(SCORE.brightness.common_limits(before, after, jnp.asarray(keep))[0][0]) - 0.004) < 1e-5
    before[20, 10], after[10, 30], after[0, 0] = -0.3, 1.4, -9.0
    found = SCORE.brightness.common_limits(before, after, jnp.asarray(keep))
    np.testing.assert_allclose(found, black_and_white(), rtol=1e-4)
    assert float(found[0][0]) < -0.25


def test_the_null_carries_noise_but_not_the_change(texture):
    before = texture(1, 128, 128)[0]
    rng = np.random.default_rng(2)
    after = before + 0.02 * rng.standard_normal(before.shape).astype(np.float32)
    after[20:30, 20:30] += 0.6
    added = np.abs(np.asarray(draw_null(jax.random.key(0), before, after)) - before)
    assert added.max() < 0.45  # the change, 0.6, is cut
    assert added[8:-8, 8:-8].mean() > 0.01


def test_a_strong_change_leaves_the_null_of_other_ground_as_it_was():
    """A spot of eight standard deviations, which adds to the contrast of its date. Oracle: the pair without it."""
    rng = np.random.default_rng(0)
    relief = ndimage.gaussian_filter(rng.standard_normal((128, 128)), 2)
    before = (0.5 + 0.05 * relief / relief.std()).astype(np.float32)
    after = before + 0.003 * rng.standard_normal(before.shape).astype(np.float32)
    rows, columns = np.mgrid[:128, :128] - 95
    spot = (0.4 * np.exp(-(rows**2 + columns**2) / 72)).astype(np.float32)
    plain, spotted = (np.asarray(draw_null(jax.random.key(0), before, x)) - before for x in (after, after - spot))
    assert spotted[8:56, 8:56].std() == pytest.approx(plain[8:56, 8:56].std(), rel=0.03)


def test_much_ground_is_left_out_where_it_changed_one_way_only():
    rng = np.random.default_rng(0)
    units = rng.standard_normal((64, 64)).astype(np.float32)
    rows, columns = np.mgrid[:64, :64]
    sign = np.where((rows // 16 + columns // 16) % 2, 1, -1)
    spots = 9 * ((rows % 16 > 2) & (columns % 16 > 2))
    keep, changed = jnp.ones((64, 64), bool), jax.jit(SCORE.null.changed)
    assert np.asarray(changed(units + spots, keep))[rows % 16 == 8].mean() > 0.9
    assert not np.asarray(changed(units + sign * spots, keep)).any()  # both ways: frost, or another light
    few = np.where((rows < 16) & (columns < 32), sign * spots, 0)
    assert np.asarray(changed(units + few, keep))[8, 8:28].all()


def test_the_null_has_no_seam():
    # A difference that grows steadily, under a little noise: moved around the corner it would jump from one end to the
    # other.
    rng = np.random.default_rng(0)
    before = (0.5 + 0.1 * rng.standard_normal((128, 128))).astype(np.float32)
    grown = np.linspace(-0.08, 0.08, 128)[:, None]
    after = (before + grown + 0.001 * rng.standard_normal((128, 128))).astype(np.float32)
    for k in range(5):
        added = np.asarray(draw_null(jax.random.key(k), before, after)) - before
        rows = np.median(added[10:-10, 10:-10], axis=1)
        assert np.abs(np.diff(rows)).max() < 0.012 and np.ptp(rows) > 0.02


def test_a_strong_change_does_not_make_the_rest_of_its_patch_differ():
    rng, shape = np.random.default_rng(0), (100, 100)
    ground = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    before = 0.4 + 0.05 * ground / ground.std()
    after = 1.2 * before + 0.1
    after[40:60, 40:60] = 0.95
    valid = jnp.ones(shape, bool)
    keep = masked.erode(valid, SCORE.border_px)
    detail = SCORE.brightness
    one, two = detail.of_dates(*(jnp.asarray(x, jnp.float32) for x in (before, after)), valid, keep)
    alike = np.asarray(detail.alike(one, two, keep))
    assert not alike[42:58, 42:58].any() and alike[8:30, 8:92].mean() > 0.99
    far = np.s_[70:90, 70:90]  # away from what the coarse blur carries
    plain, found = (
        np.abs(np.asarray(x.fine)[far]).mean()
        for x in (brightness.differences(one, two, keep), detail.differences(one, two, keep))
    )
    assert found < 0.2 * plain
    # Where hardly anything is alike, all of it tells.
    other = detail.of_dates(jnp.asarray(before, jnp.float32), jnp.asarray(rng.random(shape), jnp.float32), valid, keep)
    none = dataclasses.replace(detail, alike_outlier=0.1)
    np.testing.assert_array_equal(none.alike(*other, keep), keep)


def test_new_edges_are_no_misalignment():
    """What is expected of a difference takes the slopes that both dates have."""
    flat = jnp.full((80, 80), 0.4) + 0.01 * jax.random.normal(jax.random.key(0), (80, 80))
    edge = flat.at[30:50, 30:50].add(0.4)
    valid = jnp.ones((80, 80), bool)
    one, two = SCORE.brightness.of_dates(flat, edge, valid, valid)
    slope = SCORE.brightness.differences(one, two, valid).slope
    level = np.asarray(slope)[10:25, 10:25].max()
    assert float(slope[30:50, 30:50].max()) < 2 * level


@pytest.mark.parametrize("sigma", [0.03, 0.08, 0.2])
def test_the_null_is_as_like_the_first_date_as_the_second_is(sigma):
    rng = np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.standard_normal((128, 128)), 3)
    ground = 0.5 + 0.1 * ground / ground.std()
    before, after = (ground + sigma * rng.standard_normal((2, 128, 128))).astype(np.float32)
    drawn = np.asarray(draw_null(jax.random.key(0), before, after))
    detail, inside = SCORE.brightness, np.s_[12:-12, 12:-12]

    def fine(x):
        return (ndimage.gaussian_filter(x, detail.fine_px) - ndimage.gaussian_filter(x, detail.coarse_px))[
            inside
        ].ravel()

    # Oracle: the correlation of what is compared of the dates themselves.
    likeness = [np.corrcoef(fine(before), fine(x))[0, 1] for x in (after, drawn)]
    least = SCORE.null.least_likeness
    assert (likeness[0] < least) == (sigma > 0.1)
    assert likeness[1] == pytest.approx(max(likeness[0], least), abs=0.03)


def test_a_change_of_the_whole_patch_is_not_taken_for_its_noise(texture, score):
    before, other = texture(2)
    noise = 0.01 * np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    assert float(score(before, other)) > 3 * float(score(before, before + noise))


def test_noise_of_single_pixels_is_measured_and_allowed_for():
    rng = np.random.default_rng(0)
    valid = jnp.ones((160, 160), bool)
    keep = masked.erode(valid, SCORE.border_px)
    smooth = ndimage.gaussian_filter(rng.standard_normal((160, 160)), 6)
    before = (0.5 + 0.1 * smooth / smooth.std()).astype(np.float32)
    after = (before + 0.1 * rng.standard_normal((160, 160))).astype(np.float32)
    limits = (jnp.float32(-9), jnp.float32(9))

    @jax.jit
    def compared(*dates):
        first, second = (SCORE.brightness.brightness(x, valid, limits) for x in dates)
        found = brightness.differences(first, second, keep)
        return second.fine - first.fine, found.pixel_noise, SCORE.brightness.detail_map(found, keep)

    fine, pixel_noise, detail = map(np.asarray, compared(before, after))
    # Oracle: the noise that was put in, over the spread of the ground, which is that of the date without noise.
    inside = np.asarray(keep)
    np.testing.assert_allclose(pixel_noise, 0.1 / before[inside].std(), rtol=0.05)
    # Oracle: the variance of what the band of `fine` leaves of it.
    left = fine[inside].var()
    np.testing.assert_allclose(SCORE.brightness.pixel_noise_power * 0.1**2, left, rtol=0.05)
    # More noise than `spread_cap` is put down to the pair: most differences are expected ones.
    assert 0.5 < np.median(detail[inside]) < 0.9  # a normal variable: 0.67; the slopes of so much noise add to it


@jax.jit
def spread_of(*dates):
    detail, keep = brightness.BrightnessDetail(light_cap=2.0), jnp.ones(dates[0].shape, bool)
    first, second = (detail.brightness(x, keep, (jnp.float32(0), jnp.float32(1))) for x in dates)
    return detail.fit_spread(brightness.differences(first, second, keep), keep)


@pytest.mark.parametrize("turn", [0.0, 20.0, 35.0])
def test_light_explains_what_a_turned_sun_makes_of_relief(turn):
    """Waves of two directions, stronger in some places: a turn by t makes cos t of one, with sin t of the other."""
    rng, shape = np.random.default_rng(0), (200, 200)
    waves = [ndimage.gaussian_filter(rng.standard_normal(shape), 3) for _ in range(2)]
    strength = 0.3 + 3 * np.square(np.sin(np.arange(shape[1]) / 25))
    one, two = (strength * wave / wave.std() for wave in waves)
    turned = np.cos(np.deg2rad(turn)) * one + np.sin(np.deg2rad(turn)) * two
    spread = spread_of(*((0.5 + 0.02 * x).astype(np.float32) for x in (one, turned)))
    wanted = 2 * (1 - np.cos(np.deg2rad(turn)))
    assert 0.8 * wanted <= float(spread.light) <= 1.8 * wanted + 1e-6
    assert float(spread.noise) <= 0.06 * wanted + 1e-6


def test_doubling_keeps_the_pixels_and_is_exact_for_planes_and_parabolas():
    rows, columns = np.mgrid[:9, :11].astype(np.float32)
    x = (rows**2 - 3 * columns + 1)[..., None]
    fine = np.asarray(shifted._doubled(jnp.asarray(x)))
    np.testing.assert_allclose(fine[::2, ::2], x, atol=1e-4)
    # Oracle: the parabola itself; cubic convolution reproduces it away from the border (Keys 1981).
    half_rows, half_columns = np.mgrid[:17, :21] / 2
    wanted = half_rows**2 - 3 * half_columns + 1
    np.testing.assert_allclose(fine[3:-3, 3:-3, 0], wanted[3:-3, 3:-3], atol=1e-3)


def test_quartiles_are_those_of_sorting():
    rng = np.random.default_rng(0)
    x, keep = (rng.standard_normal((40, 50)) ** 3).astype(np.float32), rng.random((40, 50)) < 0.7
    ordered = np.sort(x[keep])
    # Oracle: NumPy.
    wanted = ordered[[k * keep.sum() // 4 for k in (1, 2, 3)]]
    np.testing.assert_allclose(jax.jit(masked.quartiles)(x, keep), wanted, atol=1e-5)
    assert masked.quartiles(x, np.zeros_like(keep)) == (0.0, 0.0, 0.0)
    constant = masked.quartiles(np.full((4, 4), 0.3, np.float32), np.ones((4, 4), bool))
    np.testing.assert_allclose(constant, 0.3, rtol=1e-6)
    middle, deviation = masked.spread(x, keep)
    thin = x[::2, ::2][keep[::2, ::2]]
    np.testing.assert_allclose(middle, np.median(thin), atol=0.02)
    np.testing.assert_allclose(deviation, stats.median_abs_deviation(thin, scale="normal"), atol=0.02)


def test_benjamini_hochberg_is_scipys():
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.uniform(0, 1, 80), rng.uniform(0, 0.01, 20)]).astype(np.float32)
    # Oracle: SciPy's adjusted p-values.
    wanted = stats.false_discovery_control(p.astype(float)) <= 0.1
    np.testing.assert_array_equal(benjamini_hochberg(p, 0.1), wanted)
    assert 0 < wanted.sum() < 100
    with_gap = np.concatenate([p, [np.nan]]).astype(np.float32)
    np.testing.assert_array_equal(benjamini_hochberg(with_gap, 0.1), [*wanted, False])
    assert not np.asarray(benjamini_hochberg(np.ones(5, np.float32), 0.1)).any()


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="false discovery rate is 1.5; give a share"):
        benjamini_hochberg(jnp.ones(3), 1.5)
