"""The evaluation: figures of merit, insertion of changes, splits, and a run of the script on small made trials."""

import json

import numpy as np
import pytest
from image_files import noise, write_image
from sklearn.metrics import accuracy_score

import planetcd_jax as pcd
from scripts import ablate, evaluate
from scripts.evaluation import backgrounds, insertions, measures
from scripts.evaluation.trials import SIDE, Trial, stack

pytestmark = pytest.mark.slow


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
    for what in ("ROC AUC", "accuracy at tau (best)", "found at 5 % measured false alarms", "false alarms at 5 %"):
        assert f"{what} by difficulty, SIMULATED" in page
    again = evaluate.run(str(tmp_path), None, 0, ["paper"], "test", 0.1)
    assert len(calls) == 1  # nothing was scored twice
    assert again["simulated"]["paper"]["roc_auc"] == made["simulated"]["paper"]["roc_auc"]


def mars_bench_folder(root):
    """Four pairs of 120 x 130 px in the layout, two of them changed, and one too small to be cut."""
    rows = []
    for n in range(5):
        shape = (60, 60) if n == 4 else (120, 130)
        before = noise(n, shape)
        for date in ("before", "after"):
            write_image(root / "data" / "test" / "impact" / f"site_{n}_{date}.png", before)
        rows.append((f"site_{n}_before.png", "test", "impact", str(n % 2)))
    lines = [",".join(row) for row in (("file_id", "split", "feature_name", "label"), *rows)]
    (root / "annotation.csv").write_text("\n".join(lines) + "\n")
    return root


def test_published_pairs_are_backgrounds_and_real_changes(tmp_path, monkeypatch):
    pairs = list(backgrounds.mars_bench(mars_bench_folder(tmp_path), 0, 120))
    assert [pair.label for pair in pairs] == [0, 1, 0, 1]
    assert all(pair.ground.before.shape == (SIDE, SIDE) and pair.ground.real for pair in pairs)
    assert len({pair.ground.source for pair in pairs}) == 4
    assert len(list(backgrounds.mars_bench(tmp_path, 0, 2))) <= 2
    with pytest.raises(pcd.DataError, match="nowhere: holds no annotation.csv; name a folder in the Mars-Bench layout"):
        list(backgrounds.mars_bench(tmp_path / "nowhere", 0, 2))
    for name in ("hirise_repeat_pairs", "apollo15"):
        monkeypatch.setattr(backgrounds, name, lambda folder: iter(()))
    monkeypatch.setattr(backgrounds, "terrain", lambda folder, seed, count: iter(()))
    inserted = evaluate.sets.inserted(tmp_path, 0, 0, pairs)
    assert inserted.label.tolist() == [0, 1, 0, 1]  # each unchanged pair as it is, and with a change put in
    for name in ("_scarp", "_spider"):
        monkeypatch.setattr(evaluate.sets, name, lambda folder: iter(()))
    real = evaluate.sets.real_change(tmp_path, pairs)
    assert real.label.tolist() == [0, 1, 0, 1] and real.real.all()


def test_scores_of_other_code_are_not_used_again(tmp_path, texture, monkeypatch):
    x = texture(2, SIDE, SIDE)
    trials = stack(Trial(x[i], x[i], i, "simulated", "made", str(i)) for i in range(2))
    names = []
    for program in ("one", "two"):
        monkeypatch.setattr(evaluate, "_program", lambda program=program: program)
        monkeypatch.setattr(evaluate, "DRAWS", 2)
        rho, null = evaluate.score(tmp_path / "made.npy", "paper", trials, 0)
        assert rho.shape == (2,) and null.shape == (2, 2) and (null[:, 0] != null[:, 1]).all()
        names.append(sorted(path.name for path in tmp_path.iterdir()))
    assert [len(found) for found in names] == [1, 2] and names[0][0].endswith("-one.npy")
    evaluate.score(tmp_path / "made.npy", "paper", trials._replace(after=trials.after + 0.01), 0)  # other trials
    evaluate.score(tmp_path / "made.npy", "paper", trials, 1)  # another seed
    assert len(list(tmp_path.iterdir())) == 4


def test_trials_of_other_settings_are_not_used_again(tmp_path, texture, monkeypatch):
    x = texture(2, SIDE, SIDE)
    made = []

    def simulated(seed, count):
        made.append((seed, count))
        return stack(Trial(x[i], x[i], i, "simulated", "made", str(i)) for i in range(2))

    monkeypatch.setattr(evaluate.sets, "simulated", simulated)
    for seed, scale, split in ((0, 0.5, "test"), (0, 0.5, "test"), (1, 0.5, "test"), (1, 1.0, "test")):
        evaluate.build(tmp_path, None, seed, scale, split=split)
    evaluate.build(tmp_path, None, 1, 1.0, split="development")
    assert made == [(0, 6), (1, 6), (1, 12), (1 + evaluate.DEVELOPMENT_SEED, 12)]


def test_rates_are_averaged_over_the_draws_of_the_null():
    rho, label = np.arange(10.0), np.arange(10) >= 5
    null = np.stack([np.full(10, 3.5), np.full(10, 6.5)], axis=-1)
    tau = measures.taus(rho, null, pcd.PAPER.decision)
    np.testing.assert_allclose(tau[0.05], [3.5, 6.5])
    found = measures.figures(label, rho, tau)
    # By hand: one false alarm of five at 3.5, none at 6.5; all found, then three of five.
    assert found["false_alarms"]["0.05"] == pytest.approx((0.2 + 0) / 2)
    assert found["detected_at_tau"] == pytest.approx((1 + 0.6) / 2)
    assert found["accuracy_at_tau"] == pytest.approx((0.9 + 0.8) / 2)


def test_each_part_is_taken_out_by_another_value_of_its_field():
    assert ablate.VARIANTS["nothing"] == pcd.ROBUST
    assert len(set(ablate.VARIANTS.values())) == len(ablate.VARIANTS)
    without = ablate.VARIANTS["no registration"].score.registration
    assert (without.passes, without.max_misalignment) == ((), 0)
    assert ablate.VARIANTS["noise of pixels not allowed for"].score.brightness.pixel_noise_power == 0


def test_a_speck_on_one_date_is_told_from_ground_that_lies_elsewhere(texture):
    ground = texture(1, SIDE + 8, SIDE + 8)[0]
    before, after = ground[4:-4, 4:-4], ground[2:-6, 7:-1]
    assert not backgrounds.has_film_dust(before, after)
    speck = after.copy()
    speck[40:45, 60:65] = after.min() - 2 * after.std()
    assert backgrounds.has_film_dust(before, speck) and backgrounds.has_film_dust(speck, before)
    assert not backgrounds.has_film_dust(speck, speck)


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
