"""The command line: what a run writes and prints, deciding again, comparing methods."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from planetcd_jax import explain, main
from planetcd_jax.baselines import METHODS
from planetcd_jax.cli import commandline, presets
from planetcd_jax.config import ROBUST
from planetcd_jax.errors import ConfigError
from planetcd_jax.experiments import dataset_run, methods
from planetcd_jax.pairs import PairSet, opening
from planetcd_jax.pairs.pair_set import RawPair

CHECKOUT = pathlib.Path(main.__file__).resolve().parents[1]
QUICK = ("--layer=conv1_1", "--num_devices=1", "--figures=1", "--seed=3")


def _small_set(name, *, split=None, **options):
    """Ten pairs of noise in place of a data set, half of them changed: the simulator has tests of its own."""
    del options
    before, other = np.random.default_rng([len(name), len(split or "")]).random((2, 10, 32, 32), np.float32)
    labels = [1, 0] * 5
    after = [o if label else 0.9 * b + 0.1 * o for b, o, label in zip(before, other, labels, strict=True)]
    ids = [f"SIMULATED_{i}" for i in range(10)]
    about = {"notes": ["made on the spot"]}
    return PairSet(name, "simulated", ids, lambda i: RawPair(before[i], after[i]), labels=labels, provenance=about)


@pytest.fixture(scope="module")
def lroc(tmp_path_factory):
    """A finished run, at the first layer for speed."""
    folder = tmp_path_factory.mktemp("lroc") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_dataset", _small_set)
        assert main.execute(["--dataset=lroc", "--preset=paper", *QUICK, f"--output_dir={folder}"]) == 0
    return folder


def _rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _metrics(folder):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_run_writes_every_file(lroc):
    names = {str(path.relative_to(lroc)) for path in lroc.rglob("*") if path.is_file()}
    pictures = {name for name in names if name.startswith("figures/01_")}
    assert len(pictures) == 1
    assert names - pictures == {
        "results.csv", "metrics.json", "rho.npz", "histogram.png", "ranking.png", "report.html",
    }  # fmt: skip
    assert [path.name for path in lroc.parent.iterdir()] == ["run"]


def test_results_agree_with_scores_and_metrics(lroc):
    rows, metrics = _rows(lroc / "results.csv"), _metrics(lroc)
    with np.load(lroc / "rho.npz", allow_pickle=False) as file:
        scores = dict(file)
    assert list(rows[0]) == ["id", "rho", "p_value", "changed", "label", "correlation", "quality", *explain.COLUMNS]
    assert all(-1 <= float(row["correlation"]) <= 1 and row["quality"] for row in rows)
    assert rows[0]["explanation"] and rows[0]["channels_moved"].count(":") == 5
    assert len(rows) == metrics["n_pairs"] == scores["rho"].size == scores["rho_null"].size == 10
    rho = np.array([float(row["rho"]) for row in rows], np.float32)
    assert (np.diff(rho) <= 0).all()
    np.testing.assert_array_equal(np.sort(rho), np.sort(scores["rho"]))
    changed = np.array([row["changed"] == "1" for row in rows])
    np.testing.assert_array_equal(changed, rho > np.float32(metrics["tau"]))
    assert metrics["tau"] == pytest.approx(scores["rho_null"].max())  # of 10 scores 0.95 drops none
    label = np.array([row["label"] == "1" for row in rows])
    assert metrics["accuracy"] == pytest.approx((label == changed).mean())
    above = np.array([[rho[i] > rho[j] for j in np.flatnonzero(~label)] for i in np.flatnonzero(label)])
    assert metrics["roc_auc"] == pytest.approx(above.mean())


def test_metrics_say_how_the_run_was_made(lroc):
    metrics = _metrics(lroc)
    assert (metrics["source"], metrics["seed"], metrics["method"]) == ("simulated", 3, "proposed")
    assert metrics["config"]["backbone"]["layer"] == "conv1_1" and metrics["config"]["decision"]["quantile"] == 0.95
    assert metrics["weights"]["sha256"] and metrics["versions"]["jax"] and metrics["device"]["platform"]
    assert metrics["pairs_per_second"] > 0 and metrics["compile_seconds"] > 0
    assert metrics["provenance"] and metrics["flags"]["layer"] == "conv1_1"


def test_decide_again_uses_the_new_quantile_and_no_network(lroc, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(methods, "run_detection", None)
    monkeypatch.setattr(dataset_run, "fitted_weights", None)
    out = tmp_path / "again"
    arguments = [f"--threshold_only={lroc / 'rho.npz'}", "--quantile=0.5", f"--output_dir={out}"]
    assert main.execute(arguments) == 0
    with np.load(lroc / "rho.npz") as file:
        expected = np.sort(file["rho_null"])[4]  # half of ten dropped: the fifth is the largest left
        rho = file["rho"]
    metrics = _metrics(out)
    assert metrics["tau"] == pytest.approx(expected)
    assert (
        metrics["n_changed"]
        == int((rho > expected).sum())
        == sum(r["changed"] == "1" for r in _rows(out / "results.csv"))
    )
    was = _metrics(lroc)["config"]
    assert metrics["config"] == {**was, "decision": {**was["decision"], "quantile": 0.5}}
    assert (metrics["source"], metrics["roc_auc"]) == ("simulated", _metrics(lroc)["roc_auc"])
    assert "SIMULATED" in capsys.readouterr().out
    again = tmp_path / "twice"
    assert main.execute([f"--threshold_only={out / 'rho.npz'}", "--quantile=0.95", f"--output_dir={again}"]) == 0
    assert (again / "results.csv").read_text() == (lroc / "results.csv").read_text()


def test_decide_again_refuses_what_is_no_share(lroc, capsys):
    assert main.execute([f"--threshold_only={lroc / 'rho.npz'}", "--quantile=1.5"]) == 1
    assert "quantile is 1.5; give a share" in capsys.readouterr().err


@pytest.mark.slow
def test_default_folder_and_latest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.execute(["--dataset=lroc", "--source=simulated", "--method=rcva", *QUICK[1:]]) == 0
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(runs) == 2 and runs[0] == "latest" and runs[1].startswith("lroc-20")
    assert os.readlink(tmp_path / "runs" / "latest") == runs[1]
    printed = capsys.readouterr().out
    assert (
        "SIMULATED" in printed
        and f"results in runs/{runs[1]}" in printed
        and f"open runs/{runs[1]}/report.html" in printed
    )
    assert _metrics(tmp_path / "runs" / "latest")["method"] == "rcva"
    assert all(row["id"].startswith("SIMULATED") for row in _rows(tmp_path / "runs" / "latest" / "results.csv"))


COMPARED = ("proposed", "proposed_kmeans", "naive_bayes_difference", "rcva")


@pytest.mark.slow
def test_all_methods_side_by_side(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dataset_run, "method_names", lambda name: COMPARED)
    monkeypatch.setattr(opening, "open_dataset", _small_set)
    out = tmp_path / "all"
    arguments = ["--dataset=lroc", "--source=simulated", "--method=all", "--train_dataset=ctx", *QUICK]
    assert main.execute([*arguments, f"--output_dir={out}"]) == 0
    rows = _rows(out / "comparison.csv")
    assert [row["method"] for row in rows] == list(COMPARED)
    assert [row["paper"] for row in rows] == [""] * 4  # the paper's figures are of other pairs
    assert {row["source"] for row in rows} == {"SIMULATED"}
    assert "trained on 10 pairs of ctx, SIMULATED" in rows[2]["note"]
    printed = capsys.readouterr().out
    for text in (printed, (out / "comparison.md").read_text(encoding="utf-8")):
        assert "LROC" in text and "SIMULATED" in text and "Naive Bayes pixel difference" in text
    metrics = _metrics(out)
    assert metrics["method"] == "proposed" and list(metrics["methods"]) == list(COMPARED[1:])
    for name in COMPARED[1:]:
        own = _metrics(out / "methods" / name)
        assert own["accuracy"] == metrics["methods"][name]["accuracy"] is not None
    # k-means decides on the scores of the proposed method, not on scores of its own.
    first, second = (
        {r["id"]: r["rho"] for r in _rows(f / "results.csv")} for f in (out, out / "methods/proposed_kmeans")
    )
    assert first == second


def test_skipped_pairs_are_listed(tmp_path, capsys):
    grey = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)  # as in `lroc`: the same programs
    for i, name in enumerate(("a_before", "a_after", "b_before", "c_before", "c_after")):
        PIL.Image.fromarray(grey[i]).save(tmp_path / f"{name}.png")
    (tmp_path / "b_after.png").write_bytes(b"not a picture")
    (tmp_path / "pairs.csv").write_text(
        "id,before,after,label\nb,b_before.png,b_after.png,1\na,a_before.png,a_after.png,1\nc,c_before.png,c_after.png,\n"
    )
    common = [f"--pairs_csv={tmp_path / 'pairs.csv'}", "--preset=paper", *QUICK]
    assert main.execute([*common, f"--output_dir={tmp_path / 'stop'}"]) == 1
    assert not (tmp_path / "stop").exists() and "b_after.png" in capsys.readouterr().err
    assert main.execute([*common, "--on_bad_pair=skip", f"--output_dir={tmp_path / 'go'}"]) == 0
    metrics = _metrics(tmp_path / "go")
    assert (metrics["n_pairs"], metrics["n_skipped"], metrics["source"]) == (2, 1, "real")
    assert metrics["skipped"][0]["id"] == "b" and "b_after.png" in metrics["skipped"][0]["reason"]
    assert metrics["roc_auc"] is None and metrics["accuracy"] is not None
    assert {row["id"]: row["label"] for row in _rows(tmp_path / "go" / "results.csv")} == {"a": "1", "c": ""}
    printed = capsys.readouterr().out
    assert "b_after.png" in printed and "SIMULATED" not in printed


NAMED = """
dataset data_dir pairs_csv source split method preset backbone layer weights batch_size precision num_devices seed
noise_sigma max_shift quantile on_bad_pair figures output_dir threshold_only patch_size revision stretch micro_batch
train_dataset
""".split()


def test_help_names_every_flag_with_its_default(capsys):
    assert main.execute(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  --{name}" in text for name in NAMED)
    assert max(map(len, text.splitlines())) <= 120
    flat = " ".join(text.split())
    for words in (
        "images in [0, 1]. Default: 0.02 (not for robust).",
        "pixels. Default: 10 (not for robust).",
        "module:NAME of your own. Default: the preset's.",
    ):
        assert words in flat
    for flag in (flag for members in main.FLAGS.values() for flag in members):
        assert "Default" in flag.help + commandline.default_text(flag) or flag.kind in ("bool", "multi"), flag.name


def test_flags_take_the_place_of_the_presets_fields():
    given = [
        "--preset=authors_code",
        "--backbone=vgg16",
        "--set=feature_clip=None",
        "--set=pooling=mean",
        "--quantile=0.9",
    ]
    config = commandline.change_config(main.parse(given), "authors_code")
    backbone, score = config.backbone, config.score
    assert (backbone.kind, backbone.input_mean, config.decision.quantile) == ("vgg16", (0.5, 0.5, 0.5), 0.9)
    assert (score.feature_clip, score.pooling, score.feature_standardize) == (None, "mean", True)
    assert score.null.max_shift == 10


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--noise_sigma=0.1"], "--noise_sigma means nothing for backbone vgg16 and score registered"),
        (["--max_shift=3"], "--max_shift means nothing for backbone vgg16 and score registered"),
        (["--set=pooling=mean"], "--set=pooling=mean means nothing for backbone vgg16 and score registered"),
        (["--score=rcva", "--set=pooling=mean"], "means nothing for backbone vgg16 and score rcva"),
    ],
)
def test_what_means_nothing_is_refused_with_what_does(given, words):
    with pytest.raises(ConfigError) as error:
        presets.chosen_configs(main.parse(["--dataset=lroc", "--preset=robust", *given]))
    assert words in str(error.value) and "they have layer, " in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--dataset=venus"], 2, "value should be one of <hirise_rsl|ctx|lroc|pairs>"),
        (["--dataset=ctx", "--method=magic"], 2, "proposed_kmeans|"),
        (["--dataset=ctx", "--preset=paper,best"], 2, "value should be one or more of <paper|authors_code|robust>"),
        (
            ["--dataset=ctx", "--preset=paper,robust", "--max_shift=3"],
            1,
            "--max_shift means nothing for backbone vgg16",
        ),
        (["--dataset=ctx", "--batch_size=many"], 2, "--batch_size=many"),
        (["--dataset=ctx", "--figures=-1"], 2, "--figures=-1: give a number of pairs"),
        (["--dataset=ctx", "--output_dir="], 2, "--output_dir is empty"),
        (["--datset=ctx"], 2, "Did you mean: dataset"),
        (["ctx"], 2, "'ctx' is not a flag"),
        ([], 1, "--dataset is missing; choose one of hirise_rsl, ctx, lroc, pairs"),
        (["--dataset=ctx", "--quantile=2"], 1, "quantile is 2.0; give a share in (0, 1]"),
        (
            ["--dataset=ctx", "--set=pool=max"],
            1,
            "--set=pool=max means nothing for backbone vgg16 and score pooled: pool is no field",
        ),
        (["--dataset=ctx", "--set=pool"], 1, "--set=pool: write field=value"),
        (["--dataset=ctx", "--score=best"], 1, "--score=best: choose one of pooled, registered, rcva, or give module"),
        (["--dataset=ctx", "--score=nowhere:S"], 1, "--score=nowhere:S: there is no module 'nowhere'"),
        (["--dataset=ctx", "--score=math:pi"], 1, "--score=math:pi is float; name a Score"),
        (["--dataset=ctx", "--backbone=vgg19"], 1, "--backbone=vgg19: choose one of vgg16, vgg16_bn, or give module"),
        (["--dataset=ctx", "--set=noise_sigma=much"], 1, "--set=noise_sigma=much: a value has the wrong type"),
        (["--dataset=lroc", "--preset=authors_code"], 1, "--weights=hf:timm/vgg16_bn.tv_in1k"),
        (["--dataset=lroc", "--batch_size=0"], 1, "batch_size is 0; give a number of pairs, 1 or more"),
        (["--dataset=lroc", "--num_devices=99"], 1, "num_devices is 99, and this machine has"),
        (["--dataset=lroc", "--split=dev"], 1, "has no split 'dev'; choose"),
        (["--dataset=lroc", "--layer=conv5_3"], 1, "conv5_3"),
        (["--threshold_only=none.npz"], 1, "none.npz does not exist; give the rho.npz"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments, status, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "--dataset=lroc" in arguments:
        arguments = [*arguments, "--source=simulated"]
        if not any("split" in argument for argument in arguments):
            monkeypatch.setattr(opening, "open_dataset", _small_set)
    assert main.execute(arguments) == status
    error = capsys.readouterr().err
    lines = [line for line in error.replace("\r", "\n").splitlines() if "pair/s" not in line and line]
    assert len(lines) == 1 and lines[0].startswith("planetcd: ") and words in lines[0]
    assert list(tmp_path.iterdir()) == []


def _program(*arguments):
    command = [sys.executable, "-m", "planetcd_jax.main", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)


def test_program_exits_with_one_line_and_no_traceback():
    done = _program("--dataset=pairs", "--pairs_csv=/nowhere/pairs.csv")
    assert (done.returncode, done.stdout.count("Traceback")) == (1, 0)
    assert done.stderr.count("\n") == 1 and "/nowhere/pairs.csv" in done.stderr


def test_rates_of_false_alarms_and_false_discoveries(lroc, tmp_path, capsys):
    run = [f"--threshold_only={lroc / 'rho.npz'}"]
    assert main.execute([*run, "--false_alarm_rate=0.5", f"--output_dir={tmp_path / 'a'}"]) == 0
    assert _metrics(tmp_path / "a")["config"]["decision"]["quantile"] == 0.5
    # 10 pairs have no p-value below 1 / 11; at 0.95 the largest p that passes is that of all of them.
    assert main.execute([*run, "--fdr=0.95", f"--output_dir={tmp_path / 'b'}"]) == 0
    found = [row["id"] for row in _rows(tmp_path / "b" / "results.csv") if row["changed"] == "1"]
    p = sorted(float(row["p_value"]) for row in _rows(lroc / "results.csv"))
    count = max((k for k in range(1, 11) if p[k - 1] <= 0.95 * k / 10 + 1e-9), default=0)
    assert len(found) == sum(v <= p[count - 1] for v in p) if count else not found
    assert main.execute([*run, "--false_alarm_rate=0.1", "--quantile=0.9", f"--output_dir={tmp_path / 'c'}"]) == 1
    assert "are both given, and say the same; give one" in capsys.readouterr().err


def test_a_registered_comparison_has_no_pooling_to_vary():
    with pytest.raises(ConfigError, match=r"method proposed_mean differs .* in its pooling, and score registered"):
        METHODS["proposed_mean"].configured(ROBUST)
    assert METHODS["proposed_conv3_1"].configured(ROBUST).backbone.layer == "conv3_1"
