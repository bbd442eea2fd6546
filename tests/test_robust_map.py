"""Score maps of pairs that are registered first."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import planetcd_jax as pcd
from planetcd_jax import scoremap
from planetcd_jax.errors import ConfigError

CONFIG = pcd.ROBUST.replace(layer="conv1_2", max_misalignment=10)
WINDOW, STRIDE, MARGIN = 48, 24, CONFIG.score.margin_px
SIDE = 4 * STRIDE + WINDOW - STRIDE + 2 * MARGIN
CHANGED = (MARGIN + 36, MARGIN + 36)  # inside window (1, 1), and in the corners of its neighbours


@pytest.fixture(scope="module")
def scene():
    """Two dates of 216 x 216 px: the second shifted by (3, -5) px and noisy, with a dark spot in window (1, 1)."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE + 20, SIDE + 20)), 1.5)
    field = (0.5 + 0.15 * field / field.std()).astype(np.float32)
    before, after = field[10:-10, 10:-10], field[7 : 7 + SIDE, 15 : 15 + SIDE].copy()
    after += 0.01 * rng.standard_normal(after.shape).astype(np.float32)
    row, column = CHANGED
    spot = np.hypot(*np.ogrid[-row - 3 : SIDE - row - 3, -column + 5 : SIDE - column + 5]) < 6
    return before, np.where(spot, 0.3 * after, after).astype(np.float32)


@pytest.fixture(scope="module")
def score(params):
    options = dict(config=CONFIG, window=WINDOW, stride=STRIDE, margin=MARGIN, min_valid=0.02)
    return jax.jit(lambda a, b, valid: scoremap.score_map(params, a, b, valid=valid, **options))


def test_blocks_find_a_shift(scene):
    valid = jnp.ones((SIDE, SIDE), bool)
    second = jax.jit(partial(CONFIG.score.registration.register_parts, valid=(valid, valid)))(*map(jnp.asarray, scene))
    middle = np.asarray(second.flow)[:, 20:-20, 20:-20]
    # Oracle: the shift that was put in.
    np.testing.assert_allclose(np.median(middle, axis=(1, 2)), (3, -5), atol=0.1)


def test_the_window_with_the_change_stands_out(scene, score):
    rho = np.asarray(score(*scene, np.ones((SIDE, SIDE), bool)))
    assert rho.shape == (4, 4) and np.isfinite(rho).all()
    # The spot lies in the first four windows; it leads the local shifts astray in the next ones too, which may stand
    # out as well. The last row and column are too far away.
    assert rho[:2, :2].min() > 3 * max(rho[3].max(), rho[:, 3].max())


def test_a_mask_of_numpy_is_taken_under_jit(scene, params):
    options = dict(window=WINDOW, stride=STRIDE, margin=MARGIN, valid=np.ones((SIDE, SIDE), bool))

    def both(before, after):
        null = scoremap.null_score_map(jax.random.key(0), params, before, CONFIG, after=after, **options)
        return scoremap.score_map(params, before, after, CONFIG, **options), null

    assert [x.shape for x in jax.eval_shape(both, *scene)] == [(4, 4), (4, 4)]


def test_missing_ground_is_not_compared(scene, score):
    before, after = (x.copy() for x in scene)
    valid = np.ones((SIDE, SIDE), bool)
    row, column = CHANGED
    valid[row - 14 : row + 15, column - 14 : column + 15] = False
    before[~valid], after[~valid] = 1.0, np.nan
    rho = np.asarray(score(before, after, valid))
    whole = np.asarray(score(*scene, np.ones((SIDE, SIDE), bool)))
    assert rho[:2, :2].max() < 0.7 * whole[:2, :2].max()
    none = np.asarray(score(before, after, np.zeros((SIDE, SIDE), bool)))
    assert np.isnan(none).all()


@pytest.mark.slow
def test_the_null_is_like_the_score_of_unchanged_windows(scene, score, params):
    options = dict(config=CONFIG, window=WINDOW, stride=STRIDE, margin=MARGIN, min_valid=0.02)
    null = jax.jit(lambda k, a, b: scoremap.null_score_map(k, params, a, after=b, **options))
    drawn = np.concatenate([np.ravel(null(jax.random.key(k), *scene)) for k in range(3)])
    rho = np.asarray(score(*scene, np.ones((SIDE, SIDE), bool)))
    assert np.median(drawn) == pytest.approx(np.median(rho[2:, 2:]), rel=0.4)
    assert np.quantile(drawn, 0.95) < rho[:2, :2].max()


def test_the_null_needs_both_dates(scene, params):
    with pytest.raises(ConfigError, match="draws its null from both dates; give after="):
        scoremap.null_score_map(jax.random.key(0), params, scene[0], CONFIG)
