"""Weights as torchvision and timm write them, against their own forward passes; and fetched from a hub."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hub_server import Hub, serving

from scripts import measure_ported_weights

MISSING = [name for name in ("torch", "torchvision", "timm") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: pip install {' '.join(MISSING)}")
def test_ported_networks_agree_with_torchvision_and_timm(tmp_path):
    measure_ported_weights.make(tmp_path)
    found = measure_ported_weights.measure(tmp_path)
    assert len(found) == 12 and {row.network for row in found} == {"vgg16", "vgg16_bn", "inception_v3"}
    assert {row for row in found if row.worst > measure_ported_weights.BAR} == set()


PROGRAM = """
import json, sys
from planetcd_jax.networks.weights_io import load_weights
weights = load_weights("hf:timm/vgg16_bn.tv_in1k")
kernel = weights.params["conv1_2"]["kernel"]
print(json.dumps([weights.backbone, weights.sha256, list(kernel.shape), float(kernel[2, 1, 5, 7])]))
"""


@pytest.mark.parametrize("xet", [None, "works"], ids=["LFS", "Xet"])
def test_weights_are_fetched_from_a_model_repository(tmp_path, xet):
    rng, state = np.random.default_rng(0), {}
    for i, bands in ((0, 3), (3, 64)):
        state[f"features.{i}.weight"] = rng.standard_normal((64, bands, 3, 3)).astype(np.float32)
        state |= {f"features.{i}.bias": rng.standard_normal(64).astype(np.float32)}
        parts = ("weight", "bias", "running_mean", "running_var")
        state |= {f"features.{i + 1}.{part}": rng.random(64).astype(np.float32) for part in parts}
    body = safetensors.numpy.save(state)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    with serving(Hub("timm/vgg16_bn.tv_in1k", {"model.safetensors": body}, kind="models", xet=xet)) as endpoint:
        env = {**clean, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    backbone, sha256, shape, value = json.loads(done.stdout)
    assert (backbone, sha256, shape) == ("vgg16_bn", hashlib.sha256(body).hexdigest(), [3, 3, 64, 64])
    assert value == float(state["features.3.weight"][7, 5, 2, 1])
