"""The exported program runs where the package cannot be imported, and gives the package's scores."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import planetcd_jax as pcd

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "scripts" / "export.py"
QUICK = pcd.PAPER.replace(layer="conv2_1", max_shift=4)

_RUN = """
import sys
sys.modules["planetcd_jax"] = None  # importing it raises ImportError
import numpy as np
from jax import export
try:
    import planetcd_jax
except ImportError:
    pass
else:
    raise SystemExit("the package could be imported")
folder = sys.argv[1]
score = export.deserialize(open(folder + "/score.jax", "rb").read())
given = np.load(folder + "/images.npz")
for n in (2, 5):
    index = np.arange(n, dtype=np.uint32) + 7
    rho, null = score.call(np.uint32(3), index, given["before"][:n], given["after"][:n])
    np.savez(f"{folder}/out{n}.npz", rho=rho, null=null)
"""


@pytest.fixture(scope="module")
def exporter():
    spec = importlib.util.spec_from_file_location("planetcd_export", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_runs_without_the_package(exporter, params, texture, tmp_path):
    before, after = texture(5, 24, 28, seed=1), texture(5, 24, 28, seed=2)
    made = exporter.export_scores(params, QUICK, (24, 28))
    assert made.platforms == ("cpu", "cuda", "tpu")
    exporter.write(made, tmp_path / "score", {"config": "quick"})
    np.savez(tmp_path / "images.npz", before=before, after=after)
    # Another folder and an empty path: neither the checkout nor an installed copy is found.
    environment = {**os.environ, "PYTHONPATH": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", _RUN, str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    scores = jax.jit(pcd.batch_scores, static_argnames="config")
    for n in (2, 5):
        index = np.arange(n, dtype=np.uint32) + 7
        rho, null = scores(jax.random.key(3), params, before[:n], after[:n], index, config=QUICK)
        got = np.load(tmp_path / f"out{n}.npz")
        np.testing.assert_allclose(got["rho"], rho, rtol=1e-5)
        np.testing.assert_allclose(got["null"], null, rtol=1e-5)
    about = json.loads((tmp_path / "score.json").read_text())
    assert about["inputs"]["before"] == "float32[n,24,28]" and about["outputs"]["rho"] == "float32[n]"
    assert about["config"] == "quick"
    assert (tmp_path / "score.stablehlo").read_bytes()[:4] == b"ML\xefR"  # MLIR bytecode's magic number
