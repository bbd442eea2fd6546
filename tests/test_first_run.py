"""What a new user meets: presets side by side, the folder, what is told early, what is left behind."""

import csv
import functools
import json
import pathlib

import numpy as np
import PIL.Image
import pytest
from test_main import QUICK, _metrics, _small_set

from planetcd_jax import main, scene
from planetcd_jax.cli import presets
from planetcd_jax.errors import ConfigError
from planetcd_jax.experiments import dataset_run
from planetcd_jax.files import cache_clearing, caches
from planetcd_jax.pairs import opening

pytestmark = pytest.mark.slow


def _presets(*given):
    settings = main.parse(given)
    return list(presets.chosen_configs(settings)), settings.notes


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["--dataset=ctx"], ["paper", "robust"]),
        (["--dataset=pairs"], ["robust"]),
        (["--dataset=ctx", "--preset=robust,authors_code,robust"], ["robust", "authors_code"]),
        (["--dataset=ctx", "--method=all"], ["paper"]),
        (["--dataset=pairs", "--score=rcva"], ["paper"]),
        (["--dataset=ctx", "--layer=conv1_1", "--quantile=0.9"], ["paper", "robust"]),
    ],
)
def test_which_presets_run(given, names):
    assert _presets(*given) == (names, [])


def test_a_preset_that_nobody_named_makes_way_for_a_flag_and_it_is_said():
    names, notes = _presets("--dataset=ctx", "--noise_sigma=0.1")
    assert names == ["paper"]
    assert notes == ["preset robust is left out: --noise_sigma means nothing for backbone vgg16 and score registered."]
    assert _presets("--dataset=pairs", "--max_shift=3")[0] == ["paper"]
    with pytest.raises(ConfigError, match="--max_shift means nothing"):
        _presets("--dataset=ctx", "--preset=paper,robust", "--max_shift=3")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run with two presets, and what it printed."""
    folder = tmp_path_factory.mktemp("both") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_dataset", _small_set)
        said = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        assert main.execute(["--dataset=lroc", *QUICK, f"--output_dir={folder}"]) == 0
    return folder, "\n".join(said)


def test_two_presets_have_a_column_each_and_the_papers_is_first(both):
    folder, said = both
    head = next(line for line in said.splitlines() if line.split() == ["paper", "robust"])
    auc = next(line for line in said.splitlines() if line.startswith("ROC AUC")).split()[2:]
    paper, robust = _metrics(folder / "methods" / "paper"), _metrics(folder)
    assert [float(x) for x in auc] == [pytest.approx(m["roc_auc"], abs=5e-4) for m in (paper, robust)]
    assert head.index("paper") < head.index("robust")
    with open(folder / "comparison.csv", newline="") as file:
        assert [row["system"] for row in csv.DictReader(file)] == [
            "Proposed, preset paper", "Proposed, preset robust",
        ]  # fmt: skip
    assert f"open {folder / 'report.html'}" in said and "took " in said


def test_the_folder_shows_both_rankings_with_robust_at_the_top(both):
    folder, _ = both
    assert (_metrics(folder)["preset"], list(_metrics(folder)["methods"])) == ("robust", ["paper"])
    for place in (folder, folder / "methods" / "paper"):
        for name in ("results.csv", "rho.npz", "ranking.png", "histogram.png", "metrics.json"):
            assert (place / name).is_file(), (place, name)
    with open(folder / "results.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["label"] == "1"
    assert [path.name for path in (folder / "figures").glob("01_*")] == [f"01_{first['id']}.png"]


def test_the_page_holds_both_rankings_and_nothing_from_outside(both):
    html = (both[0] / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    assert [method["name"] for method in data["methods"]] == ["paper", "robust"] and data["first"] == "robust"
    for method in data["methods"]:
        rho = [row["rho"] for row in method["rows"]]
        assert len(rho) == 10 and rho == sorted(rho, reverse=True) and method["heat"]
        assert method["null"] == sorted(method["null"]) and 0 < len(method["null"]) <= 10
    assert len(data["pictures"]) == 10 and "SIMULATED" in html
    for outside in ("http://", "https://", 'src="//', "@import", "url("):
        assert outside not in html.split("<details")[0], outside


def test_deciding_again_leaves_latest_alone(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("mine")
    assert main.execute([f"--threshold_only={both[0] / 'rho.npz'}", "--quantile=0.5"]) == 0
    assert pathlib.Path("runs/latest").readlink() == pathlib.Path("mine")
    assert len(list(pathlib.Path("runs").glob("lroc-*"))) == 1


def test_a_bad_pair_is_told_before_the_long_work(tmp_path, monkeypatch, capsys):
    for name in ("a_before", "a_after", "b_before", "b_after"):
        PIL.Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (40, 40), np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    (tmp_path / "b_after.png").write_bytes((tmp_path / "b_after.png").read_bytes()[:300])
    monkeypatch.setattr(dataset_run, "fitted_weights", None)  # what comes after the check is not reached
    assert main.execute(["--dataset=pairs", f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}"]) == 1
    assert "b_after.png" in capsys.readouterr().err


def test_interrupted_runs_say_what_they_leave_behind(tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_start", stopped)
    assert main.execute(["--dataset=ctx"]) == 130
    assert main.execute(["--dataset=ctx", "--checkpoint_dir=kept"]) == 130
    first, second = capsys.readouterr().err.splitlines()
    assert first == "planetcd: interrupted; nothing was written." and "is kept in kept" in second
    monkeypatch.setattr(scene, "_start", stopped)
    (tmp_path / ".out.partial").mkdir()
    assert scene.execute(["--demo", f"--output_dir={tmp_path / 'out'}"]) == 130
    told = capsys.readouterr().err
    assert f"kept in {tmp_path / '.out.partial'}" in told and f"--output_dir={tmp_path / 'out'} --resume" in told


def test_an_interrupted_demo_names_its_images_or_leaves_nothing(tmp_path, monkeypatch, capsys):
    from planetcd_jax.simulate import demo_scene

    command = ["--demo", f"--output_dir={tmp_path / 'out'}"]
    images = tmp_path / "out-images"

    def stopped(folder, *, written=(), **_):
        for name in written:
            (folder / name).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_scene, "write_demo", stopped)
    assert scene.execute(command) == 130
    assert "nothing was done yet" in capsys.readouterr().err and not images.exists()
    monkeypatch.setattr(demo_scene, "write_demo", functools.partial(stopped, written=("before.tif",)))
    assert scene.execute(command) == 130
    told = capsys.readouterr().err
    assert f"images are in {images}." in told and f"--output_dir={tmp_path / 'out'} --resume" in told


def test_the_cache_is_removed_and_nothing_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = caches.cache_folder("xla")
    kept.mkdir(parents=True)
    (kept / "a-cache").write_bytes(b"x" * 1_500_000)
    (tmp_path / "cache" / "other").mkdir()
    assert main.execute(["--clear_cache"]) == 0
    assert f"removed {tmp_path / 'cache' / 'planetcd_jax'} (1.5 MB)" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["other"]
    assert "nothing to remove" in cache_clearing.clear()
    (tmp_path / "own").mkdir()
    for name in ("a-cache", "a-atime", "b-cache", ".checked", "b.once", "mine.txt"):
        (tmp_path / "own" / name).write_text("x")
    assert "removed 2 compiled programs" in cache_clearing.clear(str(tmp_path / "own"))
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["mine.txt"]


def test_the_pairs_that_are_read_first_stay_in_memory():
    read = []

    def load(i):
        read.append(i)
        return _small_set("x")._load(i)

    pairs = dataset_run.PairSet("x", "simulated", list("abc"), load)
    pairs.remember(2 * 2 * 32 * 32 * 4)
    for i in (0, 1, 2, 0, 1, 2):
        pairs.read(i)
    assert read == [0, 1, 2, 2]


def test_figures_as_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_dataset", _small_set)
    out = tmp_path / "out"
    quick = ["--preset=paper", *QUICK, "--explain=0", "--page_pairs=0", "--figure_format=pdf"]
    assert main.execute(["--dataset=lroc", *quick, f"--output_dir={out}"]) == 0
    drawn = sorted(path.name for path in out.rglob("*.pdf"))
    assert drawn[0].startswith("01_") and drawn[1:] == ["histogram.pdf", "ranking.pdf"]
    assert not list(out.rglob("*.png")) and not (out / "report.html").exists()
