"""Why a pair was scored as it was."""

import jax
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax import explain
from planetcd_jax.scores import brightness

CONFIG = pcd.ROBUST.replace(max_misalignment=10)


def test_noise_is_found_on_a_plane():
    rows, columns = np.mgrid[:100, :100] / 100
    noisy = rows + 0.5 * columns + 0.03 * np.random.default_rng(0).standard_normal((100, 100))
    # Oracle: the noise that was put in.
    found = brightness.pixel_noise(noisy.astype(np.float32), np.ones((100, 100), bool))
    np.testing.assert_allclose(found, 0.03, rtol=0.06)


def test_light_and_shift_are_told_apart(texture, explained):
    field = texture(1, 84, 84)[0]
    before, after = field[10:74, 10:74], 0.5 * field[5:69, 14:78] + 0.4
    found = explained(before, after)
    np.testing.assert_allclose(found.shift, (5, -4), atol=0.3)
    np.testing.assert_allclose(found.brightness, after.mean() - before.mean(), atol=1e-5)
    np.testing.assert_allclose(found.contrast, after.std() / before.std(), rtol=1e-3)
    assert float(found.likeness) > 0.95
    words = explain.sentence(found, False)
    assert words.startswith("brighter overall, less contrast")
    assert "shifted by 5 px down and 4 px left" in words and words.endswith("otherwise alike")


def test_nothing_to_say(texture, explained):
    before = texture(1)[0]
    found = explained(before, before)
    assert explain.sentence(found, False) == "alike"
    assert explain.sentence(found, True) == "differs in places"
    np.testing.assert_allclose(found.channel_change, 0, atol=1e-5)


@pytest.mark.slow
def test_saliency_points_at_the_change(texture, params):
    before = texture(1)[0]
    after = before + 0.01 * np.random.default_rng(0).standard_normal(before.shape).astype(np.float32)
    after[28:36, 28:36] *= 0.4
    where = np.asarray(jax.jit(lambda a, b: explain.saliency(params, a, b, CONFIG))(before, after))
    assert where.shape == before.shape and np.isfinite(where).all()
    inside = np.zeros_like(where, bool)
    inside[24:40, 24:40] = True
    assert where[inside].mean() > 3 * where[~inside].mean()


def test_rho_by_shift_is_the_score_of_each(texture, params):
    before, after = texture(2)
    paper = pcd.PAPER.replace(layer="conv1_2")
    found = jax.jit(lambda a, b: explain.rho_by_shift(params, a, b, paper, (-3, 0)))(before, after)
    moved = after[np.clip(np.arange(64) - 3, 0, 63)]
    wanted = [pcd.change_score(params, before, x, paper) for x in (moved, after)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_a_row_says_what_was_found():
    found = explain.Explanation(
        channels=np.array([3, 1]), channel_change=np.array([-1.5, 0.25]), shift=np.array([0.4, -3.6]),
        shift_spread=np.float32(0.1), brightness=np.float32(-0.1), contrast=np.float32(0.7), noise=np.float32(1.0),
        light_turn=np.float32(0.3), likeness=np.float32(0.9),
    )  # fmt: skip
    row = explain.row(found, np.arange(1.0, 6.0), True)
    assert tuple(row) == explain.COLUMNS
    assert (row["shift_rows_px"], row["shift_columns_px"], row["brightness_change"]) == (0.4, -3.6, -0.1)
    assert row["channels_moved"] == "3:-1.5 1:+0.25" and row["rho_by_shift"] == "-8:1 -4:2 0:3 4:4 8:5"
    words = "darker overall, less contrast, lit from another side, shifted by 4 px left, differs in places"
    assert row["explanation"] == words
    unlike = explain.sentence(found._replace(likeness=np.float32(0.4)), True)
    assert unlike == "darker overall, less contrast, shifted by 4 px left, unlike even after alignment"
    calm = explain.ExplainRules(notable_brightness=0.2, notable_contrast=2.0, notable_shift_px=5.0)
    assert explain.sentence(found, True, calm) == "lit from another side, differs in places"
