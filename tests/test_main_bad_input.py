"""Bad input, each kind of it: one line that names the file and the remedy, a non-zero exit, nothing half-written."""

import os

import h5py
import numpy as np
import pytest
from image_files import noise, write_image

from planetcd_jax import main
from planetcd_jax.networks import weights_io

SIDE = 48


def _csv(folder, after="b.png", before="a.png", header="id,before,after"):
    (folder / "pairs.csv").write_text(f"{header}\none,{before},{after}\n")
    return [f"--pairs_csv={folder / 'pairs.csv'}"]


def _images(folder, first=None, second=None):
    write_image(folder / "a.png", noise(1, (SIDE, SIDE)) if first is None else first)
    write_image(folder / "b.png", noise(2, (SIDE, SIDE)) if second is None else second)


def missing(folder):
    _images(folder)
    return _csv(folder, after="gone.png"), ("gone.png",)


def half_missing_in_a_folder(folder):
    write_image(folder / "x_before.png", noise(1, (SIDE, SIDE)))
    write_image(folder / "x_after.png", noise(2, (SIDE, SIDE)))
    write_image(folder / "lonely_before.png", noise(3, (SIDE, SIDE)))
    return [f"--data_dir={folder}"], ("lonely",)


def empty_folder(folder):
    return [f"--data_dir={folder}"], (str(folder),)


def no_folder(folder):
    return [f"--data_dir={folder / 'none'}"], ("none",)


def two_sizes(folder):
    _images(folder, second=noise(2, (SIDE, SIDE + 5)))
    return _csv(folder), ("a.png", "b.png", "48 x 48", "48 x 53")


def too_small(folder):
    _images(folder, noise(1, (3, 3)), noise(2, (3, 3)))
    return [*_csv(folder), "--layer=conv3_2"], ("a.png", "b.png", "3x3 px")


def constant(folder):
    _images(folder, first=np.full((SIDE, SIDE), 7, np.uint8))
    return _csv(folder), ("a.png", "constant")


def not_a_number(folder):
    image = noise(1, (SIDE, SIDE), np.float32)
    image[4, 5] = np.nan
    write_image(folder / "a.tif", image)
    write_image(folder / "b.tif", noise(2, (SIDE, SIDE), np.float32))
    return _csv(folder, before="a.tif", after="b.tif"), ("a.tif",)


def no_data(folder):
    image = noise(1, (SIDE, SIDE), low=1)
    image[:10] = 0
    write_image(folder / "a.tif", image, nodata=0)
    write_image(folder / "b.tif", noise(2, (SIDE, SIDE), low=1), nodata=0)
    return _csv(folder, before="a.tif", after="b.tif"), ("a.tif", "no data")


def truncated(folder):
    _images(folder)
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    return _csv(folder), ("b.png",)


def empty_file(folder):
    _images(folder)
    (folder / "b.png").write_bytes(b"")
    return _csv(folder), ("b.png",)


def no_image(folder):
    _images(folder)
    (folder / "b.png").write_text("hello")
    return _csv(folder), ("b.png",)


def wrong_column(folder):
    _images(folder)
    return _csv(folder, header="id,befor,after"), ("pairs.csv", "before")


def damaged_header(folder):
    _images(folder)
    (folder / "b.vrt").write_bytes(b'<VRTDataset rasterXSize="48" rasterYSize="48"><VRTRaster\xb8and></VRTRasterBand>')
    return _csv(folder, after="b.vrt"), ("b.vrt", "fetch it again")


def no_table(folder):
    return [f"--pairs_csv={folder / 'none.csv'}"], ("none.csv",)


def altered_weights(folder):
    shipped = weights_io.shipped_path()
    (folder / "manifest.json").write_text((shipped.parent / "manifest.json").read_text())
    changed = bytearray(shipped.read_bytes())
    changed[-1] ^= 1
    (folder / shipped.name).write_bytes(changed)
    _images(folder)
    return [*_csv(folder), f"--weights={folder / shipped.name}"], (shipped.name, "SHA-256")


def weights_of_another_shape(folder):
    with h5py.File(weights_io.shipped_path()) as old, h5py.File(folder / "w.h5", "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
        del new["conv1_2/kernel"]
        new["conv1_2/kernel"] = np.zeros((3, 3, 64, 32), np.float32)
    _images(folder)
    return [*_csv(folder), f"--weights={folder / 'w.h5'}"], ("w.h5", "conv1_2")


def missing_weights(folder):
    _images(folder)
    return [*_csv(folder), f"--weights={folder / 'none.h5'}"], ("none.h5",)


KINDS = (
    missing,
    half_missing_in_a_folder,
    empty_folder,
    no_folder,
    two_sizes,
    too_small,
    constant,
    not_a_number,
    no_data,
    truncated,
    empty_file,
    no_image,
    wrong_column,
    damaged_header,
    no_table,
    altered_weights,
    weights_of_another_shape,
    missing_weights,
)


def _one_line(captured):
    """The message, after what a progress bar left on the same stream."""
    lines = [line for line in captured.err.replace("\r", "\n").splitlines() if line and "pair/s" not in line]
    assert len(lines) == 1 and lines[0].startswith("planetcd: "), captured.err
    return lines[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_bad_input_is_one_line_that_says_what_to_do(kind, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    arguments, words = kind(folder)
    arguments = arguments if any("--dataset" in a for a in arguments) else ["--dataset=pairs", *arguments]
    assert main.execute([*arguments, "--num_devices=1", f"--output_dir={out / 'run'}"]) == 1
    message = _one_line(capsys.readouterr())
    assert all(word in message for word in words), message
    assert not out.exists()


def test_output_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(main.presets, "chosen_configs", lambda settings: {})  # nothing that is computed is reached
    (tmp_path / "file").write_text("mine")
    common = ["--dataset=lroc", "--source=simulated"]
    assert main.execute([*common, f"--output_dir={tmp_path / 'file' / 'run'}"]) == 1
    assert "cannot be written" in _one_line(capsys.readouterr())
    assert main.execute([*common, f"--output_dir={tmp_path / 'file'}"]) == 1
    assert "is not a folder" in _one_line(capsys.readouterr())
    assert main.execute([*common, f"--output_dir={tmp_path}"]) == 1
    assert "holds other files and is left as it is" in _one_line(capsys.readouterr())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the root user may write anywhere")
def test_folder_without_permission_is_refused(tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main.execute(["--dataset=lroc", "--source=simulated", f"--output_dir={locked / 'run'}"]) == 1
    assert "cannot be written (Permission denied)" in _one_line(capsys.readouterr())
