"""Figures of merit, tables, pictures, result files and the folder of a run."""

import csv
import io
import json
import os
import pathlib

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from planetcd_jax.errors import DataError, OutputError
from planetcd_jax.experiments import outcome_files
from planetcd_jax.files.json_files import jsonable, write_json
from planetcd_jax.report import figures, metrics, output, results, table

RNG = np.random.default_rng(7)
LABELS = np.array([1] * 12 + [0] * 30 + [-1] * 5)
RHO = RNG.gamma(3.0, 1.0, LABELS.size) + 2.0 * (LABELS == 1)
CHANGED = RHO > 4.5


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (9, 10), (10, 10), (239, 254), (1, 1)])
def test_interval_agrees_with_scipy(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_interval_without_trials_is_none():
    assert metrics.wilson_interval(0, 0) is None


def test_figures_agree_with_sklearn_and_leave_out_unknown_labels():
    known = LABELS >= 0
    truth, rho, changed = LABELS[known], RHO[known], CHANGED[known]
    ours = metrics.evaluate(LABELS, RHO, CHANGED)
    assert ours["n_labelled"] == 42
    assert ours["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, changed))
    assert ours["precision"] == pytest.approx(sklearn.metrics.precision_score(truth, changed))
    assert ours["recall"] == pytest.approx(sklearn.metrics.recall_score(truth, changed))
    assert ours["f1"] == pytest.approx(sklearn.metrics.f1_score(truth, changed))
    assert ours["roc_auc"] == pytest.approx(scipy.stats.mannwhitneyu(rho[truth == 1], rho[truth == 0]).statistic / 360)
    assert ours["average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(truth, rho))
    counts = ours["confusion"]
    assert [
        counts["true_negative"],
        counts["false_positive"],
        counts["false_negative"],
        counts["true_positive"],
    ] == list(sklearn.metrics.confusion_matrix(truth, changed).ravel())
    assert ours["false_alarm_rate"] == counts["false_positive"] / 30


@pytest.mark.parametrize("labels", [None, np.full(47, -1)])
def test_without_labels_every_figure_is_none(labels):
    ours = metrics.evaluate(labels, RHO, CHANGED)
    assert ours.pop("n_labelled") == 0
    assert set(ours.values()) == {None}


def test_one_class_only_has_accuracy_but_no_ranking():
    ours = metrics.evaluate(np.zeros(47, int), RHO, np.zeros(47, bool))
    assert (ours["accuracy"], ours["roc_auc"], ours["average_precision"]) == (1.0, None, None)
    assert (ours["precision"], ours["recall"], ours["f1"], ours["false_alarm_rate"]) == (None, None, None, 0.0)


ROWS = [
    table.ComparisonRow("Proposed", "proposed", "94.1 %", 235, 254, 0.9251, (0.88, 0.95), 0.97, 0.0213, "simulated"),
    table.ComparisonRow("RCVA | moving", "rcva", None, None, 0, None, None, None, None, "real", "from scratch"),
]


def test_comparison_table_by_hand():
    header, cells = table.comparison_cells(ROWS)
    assert "SIMULATED" in header[2]
    assert cells[0][:5] == ["Proposed", "94.1 %", "92.5", "88.0 to 95.0", "235 of 254"]
    assert cells[0][5:8] == ["0.970", "21.3", "SIMULATED"]
    assert cells[1][1:8] == ["-", "-", "-", "-", "-", "-", "real data"]


def test_notes_stand_below_the_table_once_each():
    rows = [ROWS[0], ROWS[1], ROWS[0]._replace(note="of width 0.25"), ROWS[1]]
    assert [line[-1] for line in table.comparison_cells(rows)[1]] == ["", "(1)", "(2)", "(1)"]
    assert table.footnotes(rows) == "(1) from scratch\n(2) of width 0.25"
    assert table.footnotes(ROWS[:1]) == ""


def test_aligned_table_puts_numbers_right_and_text_left():
    text = table.aligned_table(["name", "value"], [["a", "1.0"], ["long name", "-"]])
    assert text.splitlines() == ["name       value", "---------  -----", "a            1.0", "long name      -"]


def test_markdown_escapes_bars():
    lines = table.markdown_table(*table.comparison_cells(ROWS)).splitlines()
    assert "RCVA \\| moving" in lines[3]
    assert {line.replace("\\|", "").count("|") for line in lines} == {11}


def test_comparison_csv_reads_back():
    first, second = csv.DictReader(io.StringIO(table.comparison_csv(ROWS)))
    assert (first["source"], float(first["accuracy_percent"])) == ("SIMULATED", 92.51)
    assert (second["source"], second["accuracy_percent"], second["note"]) == ("real", "", "from scratch")


def _run_metrics(**changes):
    figures_of_merit = metrics.evaluate(LABELS, RHO, CHANGED)
    base = {"n_pairs": 47, "n_changed": 9, "tau": 4.5, "source": "simulated", "seconds": 1.1}
    return base | {"compile_seconds": 3.1, "n_skipped": 0} | figures_of_merit | changes


def test_summary_names_the_source_and_the_interval():
    text = table.summary_table(_run_metrics())
    assert "SIMULATED" in text and "tau                4.5000" in text
    low, high = metrics.evaluate(LABELS, RHO, CHANGED)["accuracy_interval_95"]
    assert f"({100 * low:.1f} to {100 * high:.1f})" in text


def test_summary_without_labels_leaves_the_figures_out():
    text = table.summary_table(_run_metrics(**metrics.evaluate(None, RHO, CHANGED), source="real", n_skipped=2))
    assert "accuracy" not in text and "real data" in text and "left out" in text


def _scores(n=5):
    labels = np.array([1, 0, -1, 0, 1], np.int8)[:n]
    rho = np.array([0.1, 3.3333333, 2.0, 3.3333333, 1e-9], np.float32)[:n]
    null = np.linspace(0.5, 2.5, n).astype(np.float32)
    p_value = np.array([1, 0.5, 1 / 3, np.nan, 0.25], np.float32)[:n]
    return results.Scores(("a", "b,b", "ç", "d", "e")[:n], labels, rho, null, 2.5, rho > 2.5, p_value)


def test_results_are_ranked_and_exact(tmp_path):
    results.write_results(tmp_path / "results.csv", _scores())
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["b,b", "d", "ç", "a", "e"]
    assert [row["changed"] for row in rows] == ["1", "1", "0", "0", "0"]
    assert [row["label"] for row in rows] == ["0", "0", "", "1", "1"]
    assert rows[1]["p_value"] == ""
    assert np.float32(rows[0]["rho"]) == np.float32(3.3333333)


def test_why_stands_beside_the_pairs_that_are_explained(tmp_path):
    results.write_results(tmp_path / "results.csv", _scores(), {"d": {"likeness": 0.5, "explanation": "alike, mostly"}})
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["likeness", "explanation"]
    assert [row["explanation"] for row in rows] == ["", "alike, mostly", "", "", ""] and rows[1]["likeness"] == "0.5"


def test_scores_come_back_without_pickle(tmp_path):
    path = tmp_path / "rho.npz"
    results.save_scores(path, _scores(), {"dataset": "ctx", "seed": 0})
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
    scores, about = results.load_scores(path)
    assert about == {"dataset": "ctx", "seed": 0}
    assert (scores.ids, scores.tau) == (_scores().ids, 2.5)
    for name in ("labels", "rho", "rho_null", "changed", "p_value"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(_scores(), name))


def test_bad_score_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none.npz does not exist; give the rho.npz of an earlier run"):
        results.load_scores(tmp_path / "none.npz")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("id,rho")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    for name in ("empty.npz", "text.npz", "other.npz", "plain.npy"):
        with pytest.raises(DataError, match=f"{name} does not hold the scores of a run"):
            results.load_scores(tmp_path / name)
    without = _scores()._replace(rho_null=np.zeros(0, np.float32))
    results.save_scores(tmp_path / "svm.npz", without, {})
    with pytest.raises(DataError, match="holds no pseudo-unchanged scores"):
        results.load_scores(tmp_path / "svm.npz")


def _files(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fill(folder: pathlib.Path, **kwargs) -> None:
    with output.run_folder(folder, **kwargs) as temporary:
        write_json(temporary / "metrics.json", {"planetcd_jax": "1", "tau": 1.0})
        (temporary / "results.csv").write_text("id\n")


def test_folder_appears_whole_and_nothing_else(tmp_path):
    target = tmp_path / "deep" / "run"
    with output.run_folder(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
    assert _files(target) == ["a"] and _files(target.parent) == ["run"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_folder_of_a_failed_run_is_gone(tmp_path, error):
    with pytest.raises(error), output.run_folder(tmp_path / "deep" / "run") as temporary:
        (temporary / "a").write_text("1")
        raise error
    assert _files(tmp_path) == []


def test_empty_folder_is_filled_in_place(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    inode = target.stat().st_ino
    _fill(target)
    assert _files(target) == ["metrics.json", "results.csv"] and target.stat().st_ino == inode


def test_earlier_results_need_overwrite(tmp_path):
    target = tmp_path / "run"
    _fill(target)
    (target / "old.png").touch()
    with pytest.raises(OutputError, match="holds earlier results; name another folder or add --overwrite"):
        _fill(target)
    assert "old.png" in _files(target)
    _fill(target, overwrite=True)
    assert _files(target) == ["metrics.json", "results.csv"] and _files(tmp_path) == ["run"]


def test_failed_run_keeps_the_earlier_results(tmp_path):
    _fill(tmp_path / "run")
    with pytest.raises(ValueError), output.run_folder(tmp_path / "run", overwrite=True):
        raise ValueError
    assert _files(tmp_path / "run") == ["metrics.json", "results.csv"] and _files(tmp_path) == ["run"]


def test_foreign_files_are_never_replaced(tmp_path):
    (tmp_path / "metrics.json").write_text('{"accuracy": 1}')
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds other files and is left as it is"):
            _fill(tmp_path, overwrite=overwrite)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is not a folder"):
        _fill(tmp_path / "file")
    with pytest.raises(OutputError, match=r"below cannot be written \(Not a directory\); name a folder that you may"):
        _fill(tmp_path / "file" / "below")


def test_errors_of_reading_are_not_taken_for_errors_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError), output.run_folder(tmp_path / "run"):
        open(tmp_path / "missing.png")
    with pytest.raises(OutputError, match="run cannot be written"), output.run_folder(tmp_path / "run") as temporary:
        open(temporary / "none" / "x.png", "w")
    assert _files(tmp_path) == []


def test_latest_leads_to_the_newest_run(tmp_path):
    for name in ("ctx-1", "ctx-2"):
        (tmp_path / name).mkdir()
        link = output.point_latest(tmp_path / name)
    assert (link.name, os.readlink(link)) == ("latest", "ctx-2")
    assert _files(tmp_path) == ["ctx-1", "ctx-2", "latest"]


def test_latest_is_a_text_file_where_no_link_can_be(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine").touch()
    (tmp_path / "ctx-1").mkdir()
    assert output.point_latest(tmp_path / "ctx-1").read_text() == "ctx-1\n"
    assert _files(tmp_path) == ["ctx-1", "latest", "latest.txt"]


def test_default_folders_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = output.datetime.datetime(2026, 1, 2, 3, 4, 5)
    first = output.default_folder("ctx", now)
    assert first == pathlib.Path("runs/ctx-20260102-030405")
    first.mkdir(parents=True)
    assert output.default_folder("ctx", now).name == "ctx-20260102-030405-2"


def test_json_has_no_nan(tmp_path):
    value = {"a": float("nan"), "b": [np.float32(0.5), np.inf], "c": np.arange(2), "d": pathlib.Path("x"), "e": None}
    write_json(tmp_path / "x.json", value)

    def refuse(name):
        raise AssertionError(name)

    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert read == {"a": None, "b": [0.5, None], "c": [0, 1], "d": "x", "e": None}
    with pytest.raises(TypeError, match="has no form in JSON"):
        jsonable({"x": object()})


def test_false_colour_by_hand():
    before = np.linspace(0.2, 0.6, 100, dtype=np.float32).reshape(10, 10)
    equal = figures.false_colour(before, before * 0.5 + 0.1)
    np.testing.assert_allclose(equal[..., 1], equal[..., 0], atol=1e-5)  # gain and offset alone: grey
    after = before.copy()
    after[0, 0] = 0.6
    colour = figures.false_colour(before, after)
    assert colour[0, 0, 1] > 0.9 and colour[0, 0, 0] == colour[0, 0, 2] < 0.1  # brighter: green
    constant = figures.false_colour(np.full((4, 4), 0.3), np.full((4, 4), np.nan))
    assert np.isfinite(constant).all()


def _texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


PAIR = figures.PairPicture("id$1_x", np.eye(20), np.zeros((20, 20)), 12.5, 0.01, True, rank=3, label=1)


@pytest.mark.parametrize("simulated", [True, False])
def test_pictures_say_what_they_show(simulated, tmp_path):
    heat = PAIR._replace(heat=np.eye(20), mask=np.eye(20) > 0)
    colour = PAIR._replace(before=np.zeros((20, 20, 3)), after=np.zeros((20, 20, 3)), pair_id="p" * 300, label=None)
    drawn = [
        figures.pair_figure(PAIR, simulated=simulated),
        figures.pair_figure(heat, simulated=simulated),
        figures.pair_figure(colour, simulated=simulated),
        figures.ranking_figure([PAIR, PAIR], title="ctx", simulated=simulated),
        figures.histogram_figure(RHO, RHO / 2, 4.5, labels=LABELS, title="ctx", simulated=simulated),
        figures.histogram_figure(RHO[:1], None, 4.5, labels=None, title="ctx", simulated=simulated),
    ]
    assert [len(figure.axes) for figure in drawn] == [3, 4, 3, 6, 1, 1]
    for i, figure in enumerate(drawn):
        assert ("SIMULATED" in _texts(figure)) == simulated
        figures.save_figure(figure, tmp_path / f"{i}.png", simulated=simulated)
        assert (b"SIMULATED" in (tmp_path / f"{i}.png").read_bytes()) == simulated
    assert all(word in _texts(drawn[0]) for word in ("#3", r"id\$1_x", "rho 12.5", "p 0.01", "label: changed"))


def test_histogram_counts_every_score_once():
    figure = figures.histogram_figure(RHO, RHO / 2, 4.5, labels=LABELS, title="", simulated=False)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(h for h in heights if h > 0) == RHO.size and sum(h for h in heights if h < 0) == -RHO.size


@pytest.mark.parametrize("kind", figures.FORMATS)
def test_figures_in_every_format_say_what_they_show_and_repeat_to_the_byte(kind, tmp_path):
    picture = figures.histogram_figure(RHO, RHO, 4.5, labels=LABELS, title="a", simulated=True)
    for name in ("one", "two"):
        figures.save_figure(picture, tmp_path / f"{name}.{kind}", simulated=True)
    first = (tmp_path / f"one.{kind}").read_bytes()
    assert first == (tmp_path / f"two.{kind}").read_bytes()
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]) and b"SIMULATED" in first
    if kind == "svg":  # text stays text
        assert b"change score rho (no unit)</text>" in first
    if kind == "pdf":
        assert b"/Subtype /Image" not in first


def test_a_pair_has_a_scale_bar_of_a_round_number_of_pixels():
    image = np.random.default_rng(0).random((60, 150))
    pair = figures.PairPicture("a", image, image, 1.0, 0.5, False)
    first = figures.pair_figure(pair, simulated=False).axes[0]
    assert [text.get_text() for text in first.texts] == ["20 px"]
    (bar,) = first.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(20 / 150)


def test_each_row_of_the_ranking_has_a_scale_bar_of_its_own():
    small, large = (np.random.default_rng(0).random(shape) for shape in ((60, 60), (150, 150)))
    pairs = [figures.PairPicture(name, x, x, 1.0, 0.5, False) for name, x in (("a", small), ("b", large))]
    sheet = figures.ranking_figure(pairs, title="ctx", simulated=False)
    told = [text.get_text() for axes in sheet.axes for text in axes.texts]
    assert told == ["10 px", "20 px"]  # the longest round lengths within 0.3 of 60 and of 150 px


def test_a_picture_names_the_preset_of_the_proposed_method():
    told = {"dataset": "pairs", "method": "proposed", "preset": "robust", "accuracy": None}
    assert outcome_files.title_of(told) == "pairs, robust"
    assert outcome_files.title_of({**told, "method": "rcva", "accuracy": 0.531}) == "pairs, rcva: accuracy 53.1 %"
