"""Inception-v3 against Keras and against torchvision's definition, stage by stage, and the reading of their files."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from torch_inception import TorchInception

from planetcd_jax.baselines import classifier
from planetcd_jax.baselines.inception import InceptionV3
from planetcd_jax.baselines.inception_weights import load_inception
from planetcd_jax.errors import ConfigError, PatchError, WeightsError

pytestmark = pytest.mark.slow


def assert_stages_agree(got, wanted):
    """Largest absolute error, relative to the largest value of the stage."""
    for name, values in wanted.items():
        ours = np.asarray(got[name])
        assert ours.shape == values.shape, name
        assert values.std() > 0, name  # the stage did not die out
        assert np.abs(ours - values).max() <= 1e-4 * np.abs(values).max(), name


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed; it is part of the extra 'test'")
    folder = tmp_path_factory.mktemp("keras")
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    program = pathlib.Path(__file__).with_name("keras_inception.py")
    subprocess.run([sys.executable, program, folder], check=True, env=environment, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    network, x = TorchInception(), np.random.default_rng(1).uniform(-1, 1, (75, 75, 3)).astype(np.float32)
    network(x)
    path = tmp_path_factory.mktemp("torch") / "model.safetensors"
    safetensors.numpy.save_file(network.arrays, path)
    return path, x, network


def test_every_stage_agrees_with_keras(keras_files):
    weights = load_inception(keras_files / "legacy.h5")
    assert (weights.flavour, weights.origin["format"]) == ("keras", "h5") and len(weights.origin["sha256"]) == 64
    stages = dict(np.load(keras_files / "stages.npz"))
    x, predictions = jnp.asarray(stages.pop("x")), stages.pop("predictions")
    acts = jax.jit(InceptionV3(classes=7).apply)(weights.variables, x)
    assert_stages_agree(acts, stages)
    assert_stages_agree({"predictions": jax.nn.softmax(acts["logits"])}, {"predictions": predictions})


def test_both_layouts_of_keras_hold_the_same(keras_files):
    one, two = (load_inception(keras_files / name).variables for name in ("legacy.h5", "new.weights.h5"))
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_every_stage_agrees_with_torchvision(torch_file):
    path, x, network = torch_file
    weights = load_inception(path)
    assert weights.flavour == "torch"
    acts = jax.jit(InceptionV3(classes=5, flavour="torch").apply)(weights.variables, jnp.asarray(x)[None])
    assert_stages_agree({name: values[0] for name, values in acts.items()}, network.stages)


def test_the_flavours_differ_in_the_scale_of_the_normalisation():
    x = jnp.ones((1, 75, 75, 3), jnp.float32)
    shapes = {f: jax.eval_shape(InceptionV3(flavour=f, last_stage="mixed0").init, jax.random.key(0), x)
              for f in ("keras", "torch")}  # fmt: skip
    paths = {f: {jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(t)} for f, t in shapes.items()}
    assert {p for p in paths["torch"] ^ paths["keras"]} == {p for p in paths["torch"] if p.endswith("['scale']")}


def test_a_pickle_is_converted_by_the_script_and_refused_at_run_time(torch_file, tmp_path):
    torch = pytest.importorskip("torch")
    path, _, network = torch_file
    pickle = tmp_path / "inception.pth"
    torch.save({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in network.arrays.items()}, pickle)
    with pytest.raises(WeightsError, match=r"is a pickle.*python scripts/port_inception.py"):
        load_inception(pickle)
    script = pathlib.Path(__file__).parents[1] / "scripts" / "port_inception.py"
    if not script.is_file():
        pytest.skip(f"{script} is not installed with the package")
    spec = importlib.util.spec_from_file_location("port_inception", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["", str(pickle), str(tmp_path / "out.safetensors")])
    one, two = (load_inception(p).variables for p in (path, tmp_path / "out.safetensors"))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_a_classifier_starts_from_given_weights(torch_file):
    weights = load_inception(torch_file[0])
    network = classifier.ChangeClassifier(flavour="torch", last_stage="mixed1")
    variables = classifier._initial_variables(network, (75, 75), 0, weights)
    body = variables["params"]["body"]
    assert set(body) == {"stem", "mixed0", "mixed1"}
    np.testing.assert_array_equal(
        body["mixed1"]["branch1x1"]["conv"]["kernel"],
        torch_file[2].arrays["Mixed_5c.branch1x1.conv.weight"].transpose(2, 3, 1, 0),
    )
    narrow = classifier.ChangeClassifier(width=0.5, flavour="torch", last_stage="mixed0")
    with pytest.raises(ConfigError, match="width is 0.5, and pretrained weights are of width 1"):
        classifier._initial_variables(narrow, (75, 75), 0, weights)


@pytest.mark.parametrize(("size", "last"), [(75, (1, 1)), (100, (1, 1)), (150, (3, 3)), (299, (8, 8))])
def test_sizes(size, last):
    """Keras counts 21,802,784 without the head, of which 2 x 17,216 are running statistics."""
    network, x = InceptionV3(classes=None), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    acts, variables = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), x)
    assert acts["mixed10"].shape == (1, *last, 2048)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 21_802_784 - 2 * 17_216


def test_images_and_settings_out_of_their_domain():
    def shapes(size=75, **options):
        x = jax.ShapeDtypeStruct((1, size, 80, 3), jnp.float32)
        return jax.eval_shape(InceptionV3(**options).init, jax.random.key(0), x)

    with pytest.raises(PatchError, match="74x80 px is too small for Inception-v3; give 75 px or more"):
        shapes(74)
    with pytest.raises(ConfigError, match="flavour is 'caffe'"):
        shapes(flavour="caffe")
    with pytest.raises(ConfigError, match="last_stage is 'mixed11'"):
        shapes(last_stage="mixed11")
    with pytest.raises(ConfigError, match="width is 0"):
        shapes(width=0)


def test_files_that_are_no_inception(torch_file, tmp_path):
    arrays = dict(torch_file[2].arrays)
    arrays["Mixed_6b.branch7x7_2.conv.weight"] = arrays["Mixed_6b.branch7x7_2.conv.weight"].transpose(0, 1, 3, 2).copy()
    safetensors.numpy.save_file(arrays, tmp_path / "turned.safetensors")
    with pytest.raises(WeightsError, match=r"turned.*mixed4/branch7x7_2 has shape \(7, 1, 128, 128\), wanted \(1, 7,"):
        load_inception(tmp_path / "turned.safetensors")
    del arrays["Mixed_5b.branch1x1.bn.running_var"]
    safetensors.numpy.save_file(arrays, tmp_path / "short.safetensors")
    with pytest.raises(WeightsError, match=r"no array named Mixed_5b.branch1x1.bn.running_var; give torchvision's"):
        load_inception(tmp_path / "short.safetensors")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(WeightsError, match="other.h5: 0 convolutions and 0 batch normalisations, wanted 94 of each"):
        load_inception(tmp_path / "other.h5")
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(WeightsError, match="broken.h5 cannot be read as Inception-v3 weights"):
        load_inception(tmp_path / "broken.h5")
    with pytest.raises(WeightsError, match="nothing.h5 is not a file"):
        load_inception(tmp_path / "nothing.h5")
