"""Ground that is the same in both dates is not changed, and bands with noise of their own are not either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.ops.filters import grey


def grounds(texture):
    """Patches that are hard to lay on each other, by name: [H, W] or [H, W, C] float32 in [0, 1]."""
    rough = texture(1, 67, 74)[0]
    flat = rough.copy()
    flat[:, :40] = 0.0
    spot = np.full(rough.shape, 0.5, np.float32)  # of one size, so that one program serves them
    spot[30:34, 30:34] = 0.9
    return {
        "odd size": rough,
        "black border": flat,
        "one spot": spot,
        "colour": np.stack([rough, rough**2, 1 - rough], -1),
    }


SLOW_COLOUR = pytest.param("robust", "colour", marks=pytest.mark.slow)  # a program of its own, ten seconds to compile


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        *((preset, name) for preset in ("paper", "robust") for name in ("odd size", "black border", "one spot")),
        ("paper", "colour"),
        SLOW_COLOUR,
    ],
)
def test_a_patch_against_itself_is_0(texture, params, preset, name):
    x = jnp.asarray(grounds(texture)[name])
    rho = jax.jit(pcd.change_score, static_argnums=3)(params, x, x, pcd.PRESETS[preset])
    assert float(rho) == 0.0


@pytest.mark.slow
def test_windows_away_from_a_spot_are_0(texture, params):
    before = 0.1 + 0.8 * texture(1, 260, 260, seed=3)[0]
    after = before.copy()
    after[200:212, 200:212] = 0.0
    valid = np.ones(before.shape, bool)
    valid[:70, 90:120] = False
    rho = jax.jit(
        lambda *x: pcd.score_map(params, *x[:2], pcd.ROBUST, window=64, stride=32, valid=x[2]),
    )(before, after, valid)  # fmt: skip
    # The fifth window of each row and column ends at 192, 8 px before the spot.
    assert np.nanmax(np.asarray(rho)[:5]) == 0.0 == np.nanmax(np.asarray(rho)[:, :5])
    assert np.nanmax(np.asarray(rho)) > 5


def test_a_change_does_not_move_equal_ground_around_it(texture):
    """Its local shifts did: windows that end 10 px before a spot had scores of 9."""
    before = texture(1, 150, 160, seed=7)[0]
    after = before.copy()
    after[60:80, 70:90] *= 0.6
    found = jax.jit(pcd.ROBUST.score.registration.register)(before, after)
    away = np.ones(before.shape, bool)
    away[55:85, 65:95] = False
    assert np.abs(np.asarray(found.after) - after)[away].max() == 0.0
    assert np.abs(np.asarray(found.flow)[:, 65:75, 75:85]).max() > 0  # there is a local shift


def test_one_grey_level_in_a_few_pixels_is_no_change(texture, params):
    before = np.round(255 * texture(1, 67, 74, seed=4)[0])
    after = before.copy()
    rng = np.random.default_rng(0)
    after[rng.integers(0, 67, 20), rng.integers(0, 74, 20)] += 1
    rho = jax.jit(pcd.change_score, static_argnums=3)(
        params, jnp.asarray(before / 255, jnp.float32), jnp.asarray(after / 255, jnp.float32), pcd.ROBUST
    )
    drawn = before.copy()
    drawn[30:40, 30:40] = 0
    clear = jax.jit(pcd.change_score, static_argnums=3)(
        params, jnp.asarray(before / 255, jnp.float32), jnp.asarray(drawn / 255, jnp.float32), pcd.ROBUST
    )
    assert float(rho) < 0.2 * float(clear)


BANDS = 5


@jax.jit
def drawn(key, *dates):
    """What the null adds to the first of two dates, [H, W] or [H, W, C]."""
    detail, keep = pcd.ROBUST.score.brightness, jnp.ones(dates[0].shape[:2], bool)
    limits = detail.common_limits(*(grey(x) for x in dates), keep)
    seen = [detail.brightness(grey(x), keep, limit) for x, limit in zip(dates, limits, strict=True)]
    return pcd.ROBUST.score.null.draw(key, *dates, *seen, keep, detail) - dates[0]


def test_the_null_of_bands_has_the_noise_of_each(texture):
    """Noise that is independent from band to band stays so: its mean over the bands is smaller by their square root."""
    rng = np.random.default_rng(1)
    ground = np.repeat(0.2 + 0.6 * texture(1, 96, 96, seed=5)[0][..., None], BANDS, axis=-1)
    dates = [jnp.asarray(ground + rng.normal(0, 0.02, ground.shape), jnp.float32) for _ in range(2)]
    added = np.asarray(drawn(jax.random.key(0), *dates))
    own, together = added.std(axis=(0, 1)), added.mean(axis=-1).std()
    np.testing.assert_allclose(own, 0.02 * np.sqrt(2), rtol=0.15)
    np.testing.assert_allclose(together, 0.02 * np.sqrt(2 / BANDS), rtol=0.15)


@pytest.mark.slow
def test_the_null_of_two_releases_of_one_mosaic_has_their_differences(texture):
    """Most pixels are equal, the others differ by one grey level, as in a JPEG of quality 95."""
    rng = np.random.default_rng(2)
    before = np.round(40 + 120 * texture(1, 96, 96, seed=6)[0]) / 255
    after = before + np.where(rng.random(before.shape) < 0.22, rng.choice([-1, 1], before.shape), 0) / 255
    dates = [jnp.asarray(x, jnp.float32) for x in (before, after)]
    sizes = [float(np.asarray(drawn(jax.random.key(k), *dates)).std()) for k in range(3)]
    np.testing.assert_allclose(sizes, (after - before).std(), rtol=0.2)
    assert np.asarray(drawn(jax.random.key(0), dates[0], dates[0])).std() == 0.0
