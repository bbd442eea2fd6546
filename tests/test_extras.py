"""What `pip install .` alone brings is enough for the first command; what is missing beyond it is said in one line."""

import configparser
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from planetcd_jax import main, scene, survey
from planetcd_jax.baselines.checkpoints import Checkpoints
from planetcd_jax.baselines.inception_weights import load_inception
from planetcd_jax.baselines.kmeans import cluster_scores
from planetcd_jax.errors import PlanetCDError
from planetcd_jax.images.reading import image_shape, read_image
from planetcd_jax.networks.weights_io import load_weights
from planetcd_jax.pairs import open_dataset

ROOT = pathlib.Path(__file__).resolve().parents[1]
OPTIONAL = (
    "distributed", "geopandas", "huggingface_hub", "keras", "psutil", "pyarrow", "pyogrio", "pyproj",
    "pystac_client", "rasterio", "safetensors", "shapely", "skimage", "sklearn", "torch",
)  # fmt: skip
"""What the core does without. orbax and optax are extras too, but Flax brings them."""


def extras() -> dict[str, str]:
    """Their names in setup.cfg, and the lines of each."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return dict(parser["options.extras_require"])


@pytest.fixture
def without(monkeypatch):
    """`without(*modules)`: as if they were not installed."""

    def hide(*modules):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


@pytest.mark.slow
def test_the_first_command_runs_without_any_extra(tmp_path):
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL!r})); from planetcd_jax import main; "
        "sys.exit(main.execute(sys.argv[1:]))"
    )
    quick = "--layer=conv1_1", "--engine=xla", "--figures=1", "--explain=0", "--page_pairs=1", "--num_devices=1"
    command = [sys.executable, "-c", program, "--dataset=lroc", *quick, f"--output_dir={tmp_path / 'out'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "ROC AUC" in done.stdout and (tmp_path / "out" / "metrics.json").is_file()


def test_without_the_hub_client_simulated_data_stand_in_and_say_why(without):
    without("huggingface_hub")
    with open_dataset("ctx") as pairs:
        assert pairs.source == "simulated"
        assert "huggingface_hub is not installed; pip install 'planetcd_jax[hub]'." in pairs.provenance["notes"][0]


CASES = (
    ("huggingface_hub", "hub", lambda tmp: open_dataset("ctx", source="real")),
    ("rasterio", "hub", lambda tmp: open_dataset("hirise_rsl", source="real")),
    ("rasterio", "images", lambda tmp: read_image(tmp / "a.png")),
    ("rasterio", "images", lambda tmp: image_shape(tmp / "a.png")),
    ("safetensors", "hub", lambda tmp: load_weights(tmp / "a.safetensors")),
    ("huggingface_hub", "hub", lambda tmp: load_weights("hf:owner/name")),
    ("safetensors", "supervised", lambda tmp: load_inception(tmp / "a.safetensors")),
    ("sklearn", "supervised", lambda tmp: cluster_scores(np.arange(4.0), seed=0)),
    ("orbax", "supervised", lambda tmp: Checkpoints(tmp, {})),
)


@pytest.mark.parametrize(("module", "extra", "call"), CASES)
def test_a_missing_module_is_one_line_that_names_its_extra(module, extra, call, without, tmp_path):
    for name in ("a.png", "a.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    without(module, *(name for name in sys.modules if name.startswith(f"{module}.")))
    line = rf"{module}[.\w]* is not installed; pip install 'planetcd_jax\[{extra}\]'"
    with pytest.raises(PlanetCDError, match=line) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def _line(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("method", ["all", "proposed_kmeans", "naive_bayes_difference"])
def test_a_method_is_refused_before_any_work(method, without, capsys, tmp_path):
    without("sklearn")
    folder = tmp_path / "out"
    arguments = ["--dataset=lroc", "--source=simulated", f"--method={method}", f"--output_dir={folder}"]
    assert main.execute(arguments) == 1
    assert _line(capsys) == "planetcd: sklearn is not installed; pip install 'planetcd_jax[supervised]'."
    assert not folder.exists()


@pytest.mark.parametrize("module", ["rasterio", "geopandas", "pyogrio", "pyproj", "shapely", "skimage"])
def test_a_scene_is_refused_before_any_work(module, without, capsys, tmp_path):
    without(module)
    assert scene.execute(["--demo", f"--output_dir={tmp_path / 'out'}"]) == 1
    assert _line(capsys) == f"planetcd-scene: {module} is not installed; pip install 'planetcd_jax[scene]'."


@pytest.mark.parametrize("module", ["distributed", "psutil", "rasterio"])
def test_a_survey_is_refused_before_any_work(module, without, capsys, tmp_path):
    (tmp_path / "pairs.csv").write_text("before,after\na,b\n")
    without(module)
    assert survey.execute(["run", f"{tmp_path / 'pairs.csv'}", f"--output_dir={tmp_path / 'out'}"]) == 1
    extra = "scene" if module == "rasterio" else "survey"
    assert _line(capsys) == f"planetcd-survey: {module} is not installed; pip install 'planetcd_jax[{extra}]'."
    assert not (tmp_path / "out").exists()


def test_every_extra_that_is_named_exists_and_the_tests_have_them_all():
    code = "\n".join(path.read_text() for path in (ROOT / "planetcd_jax").rglob("*.py"))
    named = set(re.findall(r"(?:brought_by|require)\(\"(\w+)\"", code))
    assert {"hub", "images", "scene", "supervised", "survey"} <= named <= extras().keys()
    (brought,) = re.findall(r"planetcd_jax\[(.*)\]", extras()["test"])
    assert set(brought.split(",")) == extras().keys() - {"benchmark", "docs", "test"}
