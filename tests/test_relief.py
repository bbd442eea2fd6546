"""Light from another side: what of a difference it explains, and what it must not."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import planetcd_jax as pcd
from planetcd_jax import explain
from planetcd_jax.errors import ConfigError
from planetcd_jax.scores.registered import relief

SIDE = 100
KEEP = np.pad(np.ones((SIDE - 16, SIDE - 16), bool), 8)


def rough_ground(seed):
    rough = np.random.default_rng(seed).standard_normal((SIDE + 40, SIDE + 40))
    heights = sum(s**1.2 * ndimage.gaussian_filter(rough, s) for s in (2, 4, 8))
    return heights / np.gradient(heights)[0].std()


@pytest.fixture(scope="module")
def ground():
    """Heights of a rough surface, wider than a patch."""
    return rough_ground(0)


def shaded(heights, azimuth, *, slope=0.08):
    """Brightness of gentle slopes under a sun at an azimuth in degrees, [SIDE, SIDE] float32 about 0.5."""
    by_row, by_column = np.gradient(heights)
    turned = np.deg2rad(azimuth)
    lit = 0.5 + slope * (np.cos(turned) * by_row + np.sin(turned) * by_column)
    return lit[20:-20, 20:-20].astype(np.float32)


def band(x):
    """What the comparison looks at, in standard deviations: neither fine noise nor slow changes. Oracle: SciPy."""
    fine = ndimage.gaussian_filter(x, 1) - ndimage.gaussian_filter(x, 8)
    return ((fine - fine[KEEP].mean()) / x[KEEP].std()).astype(np.float32)


@jax.jit
def fit(before, after, keep):
    light = relief.Relighting().fit(before, after, keep)
    return light, relief.relight(before, relief.relief_maps(jnp.where(keep, before, 0)), light)


def fitted(before, after, keep=KEEP):
    light, seen = fit(before, after, keep)
    return light, np.asarray(seen)


@pytest.mark.parametrize("shape", [(60, 80), (75, 45)])
def test_a_wave_is_multiplied_by_the_cosine_of_twice_its_direction(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    cycles = 3 / 15, 1 / 5  # cycles per pixel in rows and in columns; whole ones in either shape
    wave = np.cos(2 * np.pi * (cycles[0] * rows + cycles[1] * columns)).astype(np.float32)
    even, odd = jax.jit(relief.relief_maps)(wave)
    u = np.arctan2(cycles[1], cycles[0])
    np.testing.assert_allclose(even, np.cos(2 * u) * wave, atol=1e-4)
    np.testing.assert_allclose(odd, np.sin(2 * u) * wave, atol=1e-4)


def test_maps_keep_shape_and_mean_for_lengths_that_are_no_good_for_fft():
    x = np.random.default_rng(0).standard_normal((37, 41)).astype(np.float32)
    chex.assert_shape(relief.relief_maps(x), (37, 41))
    np.testing.assert_allclose(relief.relief_maps(np.ones((36, 40), np.float32)), 0, atol=1e-5)


def test_the_same_light_is_no_light(ground):
    before = band(shaded(ground, 30))
    light, seen = fitted(before, before)
    np.testing.assert_allclose(jnp.stack([light.gain, *light.turn]), (1, 0, 0), atol=2e-3)
    np.testing.assert_allclose(seen[KEEP], before[KEEP], atol=0.01)


@pytest.mark.parametrize("turn", [-25, 15, 25])
def test_another_sun_is_explained(ground, turn):
    before, after = band(shaded(ground, 30)), band(shaded(ground, 30 + turn))
    light, seen = fitted(before, after)
    left = np.square(after - seen)[KEEP].mean() / np.square(after - before)[KEEP].mean()
    assert left < 0.5
    assert np.hypot(*light.turn) > 0.1


def test_a_change_is_not_explained(ground):
    before, after = shaded(ground, 30), shaded(ground, 50)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    spot = np.exp(-((rows - 40) ** 2 + (columns - 55) ** 2) / (2 * 5**2))
    changed = (after - 0.3 * spot).astype(np.float32)
    light, _ = fitted(band(before), band(after))
    (after_light, seen) = fitted(band(before), band(changed))
    np.testing.assert_allclose(after_light.turn, light.turn, atol=0.05)
    # The spot stands out as it does between two images of one light.
    alone = np.abs(band(changed) - band(after) * after.std() / changed.std())[40, 55]
    assert np.abs(band(changed) - seen)[40, 55] > 0.8 * alone


def test_other_ground_does_not_make_the_first_fade(ground):
    light, _ = fitted(band(shaded(ground, 30)), band(shaded(ground[::-1].T.copy(), 30)))
    assert float(light.gain) == pytest.approx(relief.Relighting().gain_bounds[0])


def test_what_is_not_compared_decides_nothing(ground):
    before, after = band(shaded(ground, 30)), band(shaded(ground, 50))
    spoilt = np.where(KEEP, after, 99).astype(np.float32), np.where(KEEP, before, -99).astype(np.float32)
    (one, _), (two, _) = fitted(before, after), fitted(spoilt[1], spoilt[0])
    chex.assert_trees_all_close(one, two, atol=1e-5)


def test_flat_ground_has_no_light():
    flat = np.zeros((SIDE, SIDE), np.float32)
    for keep in (KEEP, np.zeros_like(KEEP)):
        light, seen = fitted(flat, flat, keep)
        assert np.isfinite([light.gain, *light.turn]).all() and light.turn == (0, 0)
        np.testing.assert_array_equal(seen, 0)


@jax.jit
def seen_by_the_score(x):
    return pcd.ROBUST.score.brightness.brightness(x, jnp.ones((SIDE, SIDE), bool), (-1.0, 2.0))


@functools.cache
def relighting(light):
    """The program of one record; a bound method would be traced anew each time."""
    return jax.jit(light.relit)


def relit(before, after, light=pcd.ROBUST.score.light):
    """Both dates as the score compares them, the first also in the light of the second."""
    one, two = seen_by_the_score(before), seen_by_the_score(after)
    return one, relighting(light)(one, two, KEEP), two


def apart(one, two):
    """Mean squared difference of fine brightness where it is compared."""
    return float(np.square(np.asarray(one.fine - two.fine)[KEEP]).mean())


@pytest.mark.parametrize("turn", [-35, 25, 40])
def test_a_sun_that_turned_is_taken_out(ground, turn):
    one, lit, two = relit(shaded(ground, 30), shaded(ground, 30 + turn))
    assert apart(lit, two) < 0.7 * apart(one, two)
    # Brightness and fine brightness change by the same.
    np.testing.assert_allclose(lit.level - one.level, lit.fine - one.fine, atol=1e-6)


def test_what_a_sun_does_not_explain_stays(ground):
    before = shaded(ground, 30)
    changed = before.copy()
    changed[40:55, 30:60] *= 0.7
    for after in (before, changed, shaded(rough_ground(1), 30)):
        one, lit, _ = relit(before, after)
        np.testing.assert_array_equal(lit.fine, one.fine)


def test_taking_light_out_begins_without_a_step(ground):
    before, after = shaded(ground, 30), shaded(ground, 60)
    one, whole, two = relit(before, after, relief.Relighting(0.0, 1e-3))
    explained = 1 - apart(whole, two) / apart(one, two)
    for least, share in ((explained - 0.05, 0.5), (explained + 0.06, 0.0), (explained - 0.2, 1.0)):
        _, some, _ = relit(before, after, relief.Relighting(least, least + 0.1))
        got = float(np.asarray(some.fine - one.fine)[KEEP] @ np.asarray(whole.fine - one.fine)[KEEP])
        all_of_it = float(np.square(np.asarray(whole.fine - one.fine)[KEEP]).sum())
        assert got == pytest.approx(share * all_of_it, abs=0.2 * all_of_it * (0 < share < 1) + 1e-3)


@pytest.mark.slow
def test_the_null_does_not_know_the_light_and_treats_bands_alike(ground):
    before, after = shaded(ground, 30), shaded(ground, 65)
    score = pcd.ROBUST.score
    one, lit, two = relit(before, after)

    @jax.jit
    def draw(a, b, seen, seen_after, shade):
        return (
            score.null.draw(jax.random.key(0), a, b, seen, seen_after, jnp.asarray(KEEP), score.brightness, shade) - a
        )

    with_light = draw(before, after, one, two, jnp.zeros_like(one.level))
    without = draw(before, after, lit, two, lit.level - one.level)
    assert np.square(np.asarray(without)[KEEP]).mean() < 0.8 * np.square(np.asarray(with_light)[KEEP]).mean()
    # Of a smaller turn nothing is left out, so that no noise of a band's own fills gaps.
    after = shaded(ground, 40)
    one, lit, two = relit(before, after)
    without = draw(before, after, lit, two, lit.level - one.level)
    bands = draw(*(np.stack([x] * 3, axis=-1) for x in (before, after)), lit, two, lit.level - one.level)
    for k in range(3):
        np.testing.assert_allclose(np.asarray(bands)[..., k], without, atol=2e-3)


def test_limits_of_what_is_explained_are_in_order():
    with pytest.raises(ConfigError, match="least_explained is 0.4 and full_explained 0.3"):
        relief.Relighting(least_explained=0.4)


def test_an_explanation_names_the_sun(ground, explained):
    before, after = (shaded(ground, azimuth)[18:82, 18:82] for azimuth in (30, 70))  # as large as in test_explain
    assert "lit from another side" in explain.sentence(explained(before, after), False)
    same = explained(before, 0.8 * before + 0.1)
    assert float(same.light_turn) < 0.02 and "lit" not in explain.sentence(same, False)
