"""The preset that registers first: registration, score, matched null, false discovery rate."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

import planetcd_jax as pcd
from planetcd_jax import registration, robust
from planetcd_jax.errors import ConfigError
from planetcd_jax.thresholds import benjamini_hochberg

# A small reach keeps the transforms of these tests small.
CONFIG = dataclasses.replace(pcd.ROBUST, max_misalignment=10)


@pytest.fixture(scope="module")
def score(params):
    return jax.jit(lambda a, b: pcd.change_score(params, a, b, CONFIG))


@pytest.fixture(scope="module")
def register():
    return jax.jit(partial(registration.register, reach=10))


def test_blur_is_scipys():
    x = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    # Oracle: SciPy, whose "mirror" does not repeat the border pixel either.
    wanted = ndimage.gaussian_filter(x, 2.0, mode="mirror", truncate=2.5)
    np.testing.assert_allclose(registration.blur(jnp.asarray(x), 2.0), wanted, atol=1e-6)


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-8, 7)])
def test_a_whole_shift_is_found_and_undone(texture, register, shift):
    field = texture(1, 84, 84)[0]
    before, after = field[10:74, 10:74], field[10 - shift[0] : 74 - shift[0], 10 - shift[1] : 74 - shift[1]]
    laid = register(before, 0.7 * after + 0.1)
    np.testing.assert_array_equal(laid.shift, shift)
    inner = np.asarray(laid.valid)
    assert inner.sum() >= (64 - abs(shift[0]) - 2) * (64 - abs(shift[1]) - 2)
    assert np.abs((0.7 * before + 0.1) - np.asarray(laid.after))[inner].mean() < 0.01


def test_part_of_a_pixel_is_found(texture, register):
    before = texture(1)[0]
    smooth = ndimage.gaussian_filter(before, 1.5)
    laid = register(smooth, ndimage.shift(smooth, (0.5, -0.25), order=3, mode="nearest"))
    found = np.asarray(laid.flow)[:, 16:-16, 16:-16].mean(axis=(1, 2)) + np.asarray(laid.shift)
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


def test_the_null_hangs_on_the_pairs_own_number_alone_and_needs_no_other_pair(texture, params):
    before, after = texture(3), texture(3, seed=1) * 0.2 + texture(3) * 0.8
    run = jax.jit(lambda a, b, i: pcd.batch_scores(jax.random.key(0), params, a, b, i, CONFIG))
    together = run(before, after, np.arange(3, dtype=np.uint32))
    turned = run(before[::-1], after[::-1], np.arange(3, dtype=np.uint32)[::-1])
    for one, two in zip(together, turned, strict=True):
        np.testing.assert_allclose(one, np.asarray(two)[::-1], rtol=2e-3)


def test_the_null_carries_noise_but_not_the_change(texture):
    before = texture(1)[0]
    rng = np.random.default_rng(2)
    after = before + 0.02 * rng.standard_normal(before.shape).astype(np.float32)
    after[20:30, 20:30] += 0.6
    laid = registration.Registration(
        jnp.asarray(after), jnp.ones((64, 64), bool), jnp.zeros(2, jnp.int32), jnp.zeros((2, 64, 64))
    )
    drawn = jax.jit(lambda k: robust.residual_null(k, jnp.asarray(before), laid, CONFIG))(jax.random.key(0))
    added = np.abs(np.asarray(drawn) - before)
    assert added.max() < 0.45  # the change, 0.6, is cut
    assert added[8:-8, 8:-8].mean() > 0.01


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
    with pytest.raises(ConfigError, match="comparison is 'x'; choose one of pooled, registered"):
        pcd.ChangeConfig(comparison="x")
    with pytest.raises(ConfigError, match="max_misalignment is -1"):
        pcd.ChangeConfig(max_misalignment=-1)
    with pytest.raises(ConfigError, match="residual_clip is 0"):
        pcd.ChangeConfig(residual_clip=0)
