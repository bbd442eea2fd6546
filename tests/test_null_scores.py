"""Which null scores of a scene count, and whose ground they show."""

import jax
import numpy as np
import pytest
from image_files import write_image

from planetcd_jax.config import PAPER, ROBUST
from planetcd_jax.networks import weights_io
from planetcd_jax.scenes import null_scores, scoring
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.null_scores import NullScores
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source
from planetcd_jax.scenes.unchanged import Unchanged

ROWS, COLS = 24, 40


def made(changed, seed=0):
    """rho [ROWS, COLS] and a null score of each window, of which the first columns have changed."""
    rng = np.random.default_rng(seed)
    rho, null = rng.gamma(9, 0.3, (2, ROWS, COLS)).astype(np.float32)
    rho[:, :changed] += 6
    null[:, :changed] += 4
    window = rng.permutation(ROWS * COLS)
    return rho, NullScores(null.ravel()[window], (window // 16).astype(np.int32), window)


def test_null_scores_of_changed_ground_do_not_count():
    rho, drawn = made(20)
    kept = null_scores.counted(drawn, rho, ROBUST.decision)
    assert (kept.window % COLS >= 20).mean() > 0.9 and len(kept.rho) > 0.85 * ROWS * 20
    for found, all_of_it in zip(kept, drawn, strict=True):
        assert found.shape == kept.rho.shape and np.isin(found, all_of_it).all()
    assert len(null_scores.counted(drawn, rho, PAPER.decision).rho) == ROWS * COLS


def test_windows_of_a_tile_repeat_each_other():
    rho, drawn = made(2)  # one or two tiles' worth of windows is nothing to go by
    assert len(null_scores.counted(drawn, rho, ROBUST.decision).rho) == ROWS * COLS


def test_windows_without_a_score_are_not_held_against_their_null_scores():
    rho, drawn = made(20)
    rho[:, 30:] = np.nan
    kept = null_scores.counted(drawn, rho, ROBUST.decision)
    assert np.isin(drawn.window[drawn.window % COLS >= 30], kept.window).all()


def test_unchanged_windows_of_further_dates_join_with_tiles_and_places_of_their_own():
    _, drawn = made(0)
    scores = np.full((ROWS, COLS), np.nan, np.float32)
    scores[5, 7] = 1.5
    all_of_it = null_scores.joined(drawn, [Unchanged(scores, 1.0, 1, 0, True)])
    assert all_of_it.rho[-1] == np.float32(1.5) and all_of_it.window[-1] == 5 * COLS + 7
    assert all_of_it.tile[-1] > drawn.tile.max() and len(all_of_it.rho) == ROWS * COLS + 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two dates of 150 x 250 px, of which a corner has no data."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pair")
    dates = rng.integers(1, 255, (2, 150, 250)).astype(np.uint8)
    dates[:, :60, :130] = 0
    paths = [folder / name for name in ("a.tif", "b.tif")]
    for path, date in zip(paths, dates, strict=True):
        write_image(path, date, nodata=0)
    return AlignedPair(*(Source(str(path)) for path in paths))


def test_each_null_score_knows_its_window_of_the_map(pair, tmp_path):
    plan = scoring.Plan(window=32, stride=16, chunk=256, null_draws=20)
    scene = scoring.Scene(pair, sample(pair), weights_io.load_vgg16(), PAPER.replace(layer="conv1_1"), plan)
    rho = scoring.score_scene(scene, Checkpoint(tmp_path / "map", {}, resume=False), lambda n: None)["rho"]
    kept = Checkpoint(tmp_path / "null", {}, resume=False)
    drawn = scoring.score_null(jax.random.key(0), scene, kept, lambda n: None)
    assert rho.shape[0] < rho.shape[1] and 0.5 < np.isfinite(rho).mean() < 0.95
    np.testing.assert_array_equal(np.unique(drawn.window), np.flatnonzero(np.isfinite(rho)))
    again = scoring.score_null(jax.random.key(0), scene, kept, lambda n: None)  # from the checkpoint
    for found, expected in zip(again, drawn, strict=True):
        np.testing.assert_array_equal(found, expected)
