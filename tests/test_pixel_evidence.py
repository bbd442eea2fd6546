"""The pixel map of a registered pair: its contour, its level, and what leaves it alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import planetcd_jax as pcd
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.scores.pixel_level import PixelLevel, above_half, family_wise_level

SIDE = 100


def ground(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2.0)
    return np.clip(0.5 + 0.12 * field / field.std(), 0.05, 0.95)


def dates(seed, change=None, noise=0.01):
    """Two dates of one ground, the second brighter and noisier, perhaps with a change: a factor [SIDE, SIDE]."""
    rng, one = np.random.default_rng(seed + 100), ground(seed)
    two = (one if change is None else one * change) * 1.1 + 0.02
    return tuple(np.clip(x + rng.normal(0, noise, x.shape), 0, 1).astype(np.float32) for x in (one, two))


def disc(row, column, radius, contrast):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(rows - row, columns - column) <= radius
    return ndimage.gaussian_filter(1 + contrast * inside, 0.7), inside


@pytest.fixture(scope="module")
def see(params):
    return jax.jit(lambda key, b, a, valid: pcd.pixel_change(key, params, b, a, pcd.ROBUST, valid=valid))


ALL = np.ones((SIDE, SIDE), bool)


@pytest.mark.slow
@pytest.mark.parametrize("contrast", [-0.5, 0.5])
def test_the_contour_covers_the_change_and_little_else(see, contrast):
    factor, inside = disc(42, 60, 8, contrast)
    found = see(jax.random.key(0), *dates(0, factor), ALL)
    changed = np.asarray(found.changed)
    assert (changed & inside).sum() / (changed | inside).sum() > 0.4
    peak = np.unravel_index(np.argmax(found.size), changed.shape)
    assert np.hypot(peak[0] - 42, peak[1] - 60) <= 9 and found.size.max() > found.level
    assert np.sign(np.asarray(found.signed)[changed].mean()) == np.sign(contrast)


@pytest.mark.slow
def test_unchanged_pairs_show_no_contour(see):
    shown = [bool(see(jax.random.key(k), *dates(k), ALL).changed.any()) for k in range(12)]
    assert sum(shown) <= 1


@pytest.mark.slow
def test_changed_ground_alone_is_the_same_and_draws_no_null_for_nothing(params, see):
    network = prepared(pcd.ROBUST.backbone, params)
    ground_of = jax.jit(lambda key, b, a: pcd.ROBUST.score.changed_ground(key, network, b, a, jnp.asarray(ALL)))
    key, some, none = jax.random.key(0), dates(0, disc(42, 60, 8, -0.5)[0]), dates(3)
    for pair in (some, none):
        found, wanted = ground_of(key, *pair), see(key, *pair, ALL)
        np.testing.assert_array_equal(found.changed, wanted.changed)
        np.testing.assert_allclose(found.size, wanted.size, rtol=1e-5, atol=1e-5)
    assert wanted.level >= found.level == np.float32(pcd.ROBUST.score.pixels.least_level)
    np.testing.assert_allclose(ground_of(key, *some).level, see(key, *some, ALL).level, rtol=1e-4)


@pytest.mark.slow
def test_equal_dates_have_no_contour(see):
    one, _ = dates(0)
    same = see(jax.random.key(0), one, one, ALL)
    assert not same.changed.any() and np.isfinite(same.size).all()


@pytest.fixture(scope="module")
def heat(params):
    """Sizes alone: the level and the contour take three times as long to compile, and have slow tests."""
    return jax.jit(lambda b, a: pcd.pixel_change_map(params, b, a, pcd.ROBUST))


def test_sizes_stay_below_any_level_where_nothing_changed_and_pass_it_where_something_did(heat):
    one, _ = dates(0)
    assert np.asarray(heat(one, one)).max() == 0
    sizes = np.asarray(heat(*dates(2, disc(30, 30, 6, 0.5)[0] * disc(30, 66, 6, -0.5)[0])))
    for column, other in ((30, 66), (66, 30)):
        hot = ndimage.label(sizes >= pcd.ROBUST.score.pixels.least_level)[0]
        assert hot[30, column] and hot[30, column] != hot[30, other]


@pytest.mark.slow
def test_masked_ground_has_no_change(see):
    factor, _ = disc(30, 30, 8, 0.5)
    one, two = dates(1, factor)
    valid = ALL.copy()
    valid[:50, :50] = False
    found = see(jax.random.key(0), one, np.where(valid, two, 0), valid)
    assert not np.asarray(found.known)[:50, :50].any() and not np.asarray(found.changed)[:50, :50].any()


@pytest.mark.slow
def test_two_changes_are_two(see):
    first, second = disc(30, 30, 6, 0.5), disc(30, 66, 6, -0.5)
    found = see(jax.random.key(0), *dates(2, first[0] * second[0]), ALL)
    _, count = ndimage.label(ndimage.binary_closing(np.asarray(found.changed), np.ones((5, 5))))
    assert count == 2


@pytest.mark.slow
def test_the_evidence_of_the_score_is_the_size(heat, see):
    factor, _ = disc(42, 60, 8, 0.5)
    one, two = dates(0, factor)
    np.testing.assert_allclose(
        np.asarray(heat(one, two)).max(), np.asarray(see(jax.random.key(0), one, two, ALL).size).max(), rtol=0.1
    )


def test_other_scores_have_a_level_of_their_own_null(params):
    """RCVA, whose evidence is cheap: unchanged ground stays below its level, a change does not."""
    config = pcd.ChangeConfig(score=pcd.Rcva(null=pcd.NoiseAndShift(noise_sigma=0.03, max_shift=2)))
    see = jax.jit(lambda key, b, a: pcd.pixel_change(key, {}, b, a, config))
    factor, inside = disc(42, 60, 8, 0.9)
    flat = tuple(np.full((SIDE, SIDE), 0.4, np.float32) for _ in range(2))
    found = see(jax.random.key(0), flat[0], (flat[1] * factor).astype(np.float32))
    assert (np.asarray(found.changed) & inside).sum() > 0.5 * inside.sum()
    assert not see(jax.random.key(0), *flat).changed.any()


def test_family_wise_level_of_gumbel_draws():
    """Oracle: the quantile of the distribution that the draws come from."""
    draws = np.random.default_rng(0).gumbel(3.0, 0.5, 20_000)
    assert float(family_wise_level(jnp.asarray(draws), 0.05)) == pytest.approx(
        3.0 - 0.5 * np.log(-np.log(0.95)), rel=0.01
    )


def test_above_half_by_hand():
    size = np.ones((20, 20), np.float32)
    size[5, 5:12] = (3, 5, 9, 5, 3, 2, 9)
    grown = np.asarray(above_half(jnp.asarray(size), jnp.float32(8), jnp.ones((20, 20), bool)))
    assert np.argwhere(grown).tolist() == [[5, 6], [5, 7], [5, 8], [5, 11]]


def test_bad_settings_are_named():
    with pytest.raises(pcd.ConfigError, match="reach_px"):
        dataclasses.replace(pcd.ROBUST.score.pixels, reach_px=0.0)


def test_the_rate_of_a_score_decides_its_level():
    largest = jnp.asarray([2.0, 2.5, 3.1])
    usual, rare = (pcd.Rcva(pixels=PixelLevel(rate=rate)).pixels.level(largest) for rate in (0.05, 0.01))
    assert float(usual) == pytest.approx(float(pcd.Rcva().pixels.level(largest))) and rare > usual
    assert pcd.ROBUST.score.pixels.level(largest) == max(usual, pcd.ROBUST.score.pixels.least_level)
