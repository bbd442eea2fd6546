"""A score, a network and a raster layer of one's own: the files of docs/extending.md, as they stand there."""

import csv
import json
import pathlib
import re
import runpy
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rasterio
from scipy import ndimage

import planetcd_jax as pcd
from planetcd_jax import main, scene

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)


def block(words):
    (found,) = (text for text in BLOCKS if words in text)
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with the modules of the chapter, which can be imported; parameters of the network beside them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_score.py").write_text(block("class BlurredDifference"))
    (folder / "my_network.py").write_text(block("class Stem"))
    (folder / "use.py").write_text(block("flax.serialization.to_bytes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        found = runpy.run_path(str(folder / "use.py"))["found"]
        assert found.rho.shape == (8,)
        yield folder
    for name in ("my_score", "my_network"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def images(own):
    """Two georeferenced dates of 160 x 180 px; the second has a dark spot."""
    rng = np.random.default_rng(0)
    before = ndimage.gaussian_filter(rng.standard_normal((160, 180)), 2)
    before = np.clip(128 + 40 * before / before.std(), 1, 254).astype(np.uint8)
    after = before.copy()
    after[92:104, 92:104] //= 3
    paths = []
    for name, date in (("before", before), ("after", after)):
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 160, "width": 180}
        place = {"crs": "IAU_2015:49910", "transform": rasterio.Affine(6, 0, 1000, 0, -6, 2000)}
        paths.append(str(own / f"{name}.tif"))
        with rasterio.open(paths[-1], "w", **profile, **place) as out:
            out.write(date, 1)
    return paths


def test_settings_of_the_chapter(capsys):
    exec(block("pcd.ROBUST.replace(border_px=4"), {})
    assert "backbone" not in capsys.readouterr().out.split("=")[0]


def test_a_score_in_detect_and_score_map(own, texture):
    from my_score import BlurredDifference

    assert len(block("class BlurredDifference").splitlines()) <= 45
    config = pcd.PAPER.replace(score=BlurredDifference(sigma_px=1.5))
    before = texture(12, 48, 48)
    after = before + np.float32(0.01)
    after[5, 20:30, 20:30] -= 0.5
    found = jax.jit(pcd.detect, static_argnames="config")(jax.random.key(0), {}, before, after, config)
    wanted = [np.abs(ndimage.gaussian_filter(a - b, 1.5, mode="mirror", truncate=2.5)).max()
              for a, b in zip(after, before, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found.rho, wanted, rtol=1e-3)
    assert int(np.argmax(found.rho)) == 5
    one, other = texture(1, 96, 112)[0], texture(1, 96, 112, seed=1)[0]
    layers = pcd.score_layers({}, one, other, config, window=48, stride=16)
    assert set(layers) == {"rho", "mean_difference"} and layers["rho"].shape == (4, 5)
    score = jax.jit(pcd.change_score, static_argnames="config")
    alone = [score({}, one[r : r + 48, c : c + 48], other[r : r + 48, c : c + 48], config=config)
             for r in (0, 48) for c in (0, 64)]  # fmt: skip
    np.testing.assert_allclose(layers["rho"][::3, ::4].ravel(), np.stack(alone), rtol=1e-5)
    np.testing.assert_allclose(layers["mean_difference"][0, 0], np.abs(other - one)[:48, :48].mean(), rtol=1e-5)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--score=my_score:BlurredDifference", "--set=sigma_px=3"],
        ["--backbone=my_network:STEM", "--weights=stem.msgpack", "--max_shift=4"],
    ],
    ids=["score", "network"],
)
def test_by_name_in_the_program_for_pairs(own, tmp_path, flags, capsys):
    out = tmp_path / "out"
    arguments = ["--dataset=lroc", "--source=simulated", "--figures=1", "--explain=1", f"--output_dir={out}"]
    assert main.execute([*arguments, *flags]) == 0, capsys.readouterr().err
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(rows(out / "results.csv")) == metrics["n_pairs"] == 10
    if "sigma_px" in flags[-1]:
        assert metrics["config"]["score"] == {
            **metrics["config"]["score"], "kind": "blurred_difference", "sigma_px": 3,
        }  # fmt: skip
    else:
        assert metrics["config"]["backbone"]["kind"] == "custom" and metrics["config"]["backbone"]["sees"] == 8
        assert "Stem" in metrics["config"]["backbone"]["function"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--score=my_score:BlurredDifference", "--max_shift=1"],
        ["--preset=paper", "--backbone=my_network:STEM", "--weights=stem.msgpack"],
    ],
    ids=["score", "network"],
)
def test_by_name_in_the_program_for_scenes(own, images, tmp_path, flags, capsys):
    out = tmp_path / "out"
    arguments = [f"--before={images[0]}", f"--after={images[1]}", "--window=48", "--stride=16", "--null_draws=4"]
    assert scene.execute([*arguments, "--pixel_maps=1", "--quiet", f"--output_dir={out}", *flags]) == 0, (
        capsys.readouterr().err
    )
    first = rows(out / "candidates.csv")[0]
    assert abs(int(first["row"]) + 24 - 98) <= 32 and abs(int(first["col"]) + 24 - 98) <= 32
    report = json.loads((out / "run.json").read_text())
    if "my_score" in flags[0]:
        assert report["identity"]["config"]["score"]["kind"] == "blurred_difference"
        with rasterio.open(out / "mean_difference.tif") as layer, rasterio.open(out / "rho.tif") as rho:
            assert layer.transform == rho.transform and layer.shape == rho.shape
            assert np.unravel_index(layer.read(1).argmax(), layer.shape) is not None and layer.read(1).max() > 0
    else:
        assert not (out / "mean_difference.tif").exists()
        assert report["identity"]["config"]["backbone"]["step"] == 2


def test_scenes_share_the_maps_of_a_network_of_ones_own(own, texture):
    """Oracle: each window with the ground around it that its features see, put through the network alone."""
    from my_network import STEM, Stem

    variables = Stem().init(jax.random.key(3), jnp.zeros((1, 16, 16, 3)))
    config = pcd.PAPER.replace(backbone=STEM)
    before, after = texture(2, 64, 72)
    score_map = jax.jit(pcd.score_map, static_argnames=("config", "window", "stride"))
    found = np.asarray(score_map(variables, before, after, config=config, window=16, stride=8))
    extract = jax.jit(pcd.extract, static_argnames="config")
    around = 4  # three pixels, in whole cells
    for r, c in ((1, 1), (3, 2), (4, 5)):
        cut = np.s_[8 * r - around : 8 * r + 16 + around, 8 * c - around : 8 * c + 16 + around]
        phi = [np.asarray(extract(variables, x[cut], config=config))[0, 2:-2, 2:-2] for x in (before, after)]
        wanted = np.abs(phi[1].max((0, 1)) - phi[0].max((0, 1))).sum()
        np.testing.assert_allclose(found[r, c], wanted, rtol=1e-4)


def test_what_is_missing_is_said(own, texture):
    from my_network import Stem

    x = texture(1, 32, 32)[0]
    blind = pcd.PAPER.replace(backbone=pcd.Custom(layer="stem", function=Stem().apply))
    with pytest.raises(pcd.ConfigError, match="its stride and receptive field are not stated"):
        pcd.score_map({}, x, x, blind, window=16, stride=8)
    with pytest.raises(pcd.ConfigError, match="sees 7 px and steps by 2 px; state an even difference"):
        odd = pcd.Custom(layer="stem", function=Stem().apply, step=2, sees=7)
        pcd.score_map({}, x, x, pcd.PAPER.replace(backbone=odd), window=16, stride=8)
    with pytest.raises(pcd.WeightsError, match="has no default weights; name a .msgpack or .safetensors"):
        blind.backbone.load(None)
    with pytest.raises(pcd.WeightsError, match=r"no.msgpack: no such weights file"):
        blind.backbone.load("no.msgpack")


def test_safetensors_of_a_flax_tree(own, tmp_path):
    from my_network import STEM, Stem
    from safetensors.numpy import save_file

    variables = Stem().init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    flat = {".".join(k.key for k in path): np.asarray(x)
            for path, x in jax.tree_util.tree_leaves_with_path(variables["params"])}  # fmt: skip
    save_file(flat, tmp_path / "stem.safetensors")
    loaded = STEM.load(str(tmp_path / "stem.safetensors"))
    assert loaded.backbone == "custom" and len(loaded.sha256) == 64
    jax.tree.map(np.testing.assert_array_equal, loaded.params, variables)
