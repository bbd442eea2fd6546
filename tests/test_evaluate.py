"""The evaluation: figures of merit, insertion of changes, splits, and a run of the script on small made trials."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from planetcd_jax import registration, robust
from planetcd_jax.evaluation import backgrounds, insertions, measures
from planetcd_jax.evaluation.trials import SIDE, Trial, stack
from scripts import ablate, evaluate


def test_best_accuracy_is_found_by_trying_all():
    rng = np.random.default_rng(0)
    label, rho = rng.integers(0, 2, 60), np.round(rng.random(60), 1)
    # Oracle: scikit-learn at every threshold.
    wanted = max(accuracy_score(label, rho > t) for t in [-1, *rho])
    assert measures.best_accuracy(label, rho) == pytest.approx(wanted)


def test_tau_leaves_the_rate_above():
    null = np.arange(100.0)
    assert (null > measures.tau_of(null, 0.05)).sum() == 5
    assert measures.tau_of(np.arange(19.0), 0.05) == 18


def test_interval_covers_the_mean():
    values = np.random.default_rng(0).normal(5, 1, 400)
    [(low, high)] = measures.intervals(lambda i: [values[i].mean()], np.arange(400).astype(str))
    assert low < 5 < high and high - low == pytest.approx(4 / 20, rel=0.3)  # by hand: 2 x 1.96 / sqrt(400)


@pytest.mark.parametrize("kind", insertions.CHANGES)
def test_a_change_is_local_and_of_its_size(kind):
    factor = insertions.draw_change(np.random.default_rng(3), (SIDE, SIDE), kind, 12.0)
    touched = np.abs(factor - 1) > 0.05
    assert 4 <= touched.sum() <= 40**2
    extent = [np.ptp(np.flatnonzero(touched.any(axis=axis))) for axis in (0, 1)]
    assert max(extent) <= 40


def test_insertion_changes_nothing_elsewhere():
    after = np.full((SIDE, SIDE), 128 / 255, np.float32)
    factor = np.ones((SIDE, SIDE))
    factor[40:50, 40:50] = 0.5
    seen = insertions.insert(after, factor)
    assert (seen[factor == 1] == after[factor == 1]).all()
    np.testing.assert_allclose(seen[factor < 1], 64 / 255)


def test_a_source_is_in_one_split():
    assert backgrounds.split_of("apollo 297-298") == "development"
    assert backgrounds.split_of("apollo 299-300") == "test"
    assert {backgrounds.split_of(f"hirise {i:03d}") for i in range(20)} == {"development", "test"}


def test_real_pairs_are_cut_and_labelled(realdata):
    pairs = list(backgrounds.hirise_repeat_pairs(realdata / "hirise-repeat-pairs"))
    assert len(pairs) > 60 and all(p.before.shape == (SIDE, SIDE) for p in pairs)
    alike = [np.corrcoef(p.before.ravel(), p.after.ravel())[0, 1] for p in pairs]
    assert np.median(alike) > 0.9


def test_the_script_runs_resumes_and_reports(tmp_path, texture, monkeypatch, capsys):
    patches = texture(6, SIDE, SIDE)
    trials = stack(
        Trial(x, np.roll(x, 5 * (i % 2), axis=0), i % 2, "simulated", "made", str(i), "impact", 8.0, "shift, px", 0.0)
        for i, x in enumerate(patches)
    )
    monkeypatch.setattr(evaluate.sets, "simulated", lambda seed, count: trials)
    calls = []
    real = evaluate.batch_scores

    def counted(*args, **options):
        calls.append(1)
        return real(*args, **options)

    monkeypatch.setattr(evaluate, "batch_scores", counted)
    made = evaluate.run(str(tmp_path), None, 0, ["paper"], "test", 0.1)
    assert "SIMULATED" in capsys.readouterr().out and len(calls) == 1
    assert made["simulated"]["paper"]["pairs"] == 6
    assert json.loads((tmp_path / "figures-test.json").read_text())["simulated"]["paper"]["changed"] == 3
    page = (tmp_path / "evaluation-test.html").read_text()
    assert "All pairs SIMULATED" in page and "data:image/png;base64," in page
    assert f"{made['simulated']['paper']['roc_auc']:.3f} [" in page
    again = evaluate.run(str(tmp_path), None, 0, ["paper"], "test", 0.1)
    assert len(calls) == 1  # nothing was scored twice
    assert again["simulated"]["paper"]["roc_auc"] == made["simulated"]["paper"]["roc_auc"]


def test_a_part_is_taken_out_while_it_lasts():
    power, passes = robust.TEXTURE_POWER, registration.FLOW_PASSES
    changes = {"TEXTURE_POWER": 0.0, "FLOW_PASSES": (), "max_misalignment": 0}
    with ablate.replaced(changes) as fields:
        assert (robust.TEXTURE_POWER, registration.FLOW_PASSES, fields) == (0.0, (), {"max_misalignment": 0})
    assert (power, passes) == (robust.TEXTURE_POWER, registration.FLOW_PASSES)


def test_apollo_patches_stay_clear_of_the_frames_edges(realdata):
    grounds = list(backgrounds.apollo15(realdata / "apollo15"))
    assert {g.source for g in grounds} == {"apollo 297-298", "apollo 299-300"}
    for ground in grounds:
        # A fiducial mark is a solid black figure of about 20 px at the very edge of one date only.
        for one, other in ((ground.before, ground.after), (ground.after, ground.before)):
            edges = [one[:2], one[-2:], one[:, :2].T, one[:, -2:].T]
            there = [other[:2], other[-2:], other[:, :2].T, other[:, -2:].T]
            black = [((e < 0.01) & (t > 0.2)).all(axis=0).sum() for e, t in zip(edges, there, strict=True)]
            assert max(black) < 12
