"""Pairs in one HDF5 file, written and read."""

import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pytest
from image_files import noise, write_image

from planetcd_jax.errors import BadPairError, DataError, OutputError
from planetcd_jax.pairs import open_dataset
from planetcd_jax.pairs.packed import pack, shapes_of
from planetcd_jax.pairs.pair_set import PairSet, RawPair

ROOT = pathlib.Path(__file__).resolve().parents[1]


def _set(n=5, shape=(20, 30), labels=True, bad=(), shapes=None):
    def load(i):
        rng = np.random.default_rng(i)
        before, after = rng.random((2, *(shapes[i] if shapes else shape))).astype(np.float32)
        return RawPair(before, after * np.float32(i not in bad))

    return PairSet(
        "made", "real", [f"id{i}" for i in range(n)], load, labels=[i % 2 for i in range(n)] if labels else None,
        provenance={"stretch": "none", "sha256": {"a": "b"}},
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
@pytest.mark.parametrize("labels", [True, False])
def test_what_is_packed_comes_back(tmp_path, shape, labels):
    made = _set(shape=shape, labels=labels)
    path = tmp_path / "p.h5"
    assert pack(made, path) == 5
    with open_dataset("pairs", pairs_csv=str(path)) as got:
        assert got.ids == made.ids and got.source == "real"
        assert (got.labels.tolist() == made.labels.tolist()) if labels else got.labels is None
        for i in range(5):
            np.testing.assert_array_equal(got.read(i).before, made.read(i).before)
            np.testing.assert_array_equal(got.read(i).after, made.read(i).after)
        assert got.files(3) == (str(path),) and got.shape(3) == (20, 30)
        assert got.provenance["packed_from"] == {"stretch": "none"}
    assert [p.name for p in tmp_path.iterdir()] == ["p.h5"]


def test_one_pair_is_one_chunk_and_reading_does_not_read_the_rest(tmp_path):
    pack(_set(), tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["before"].chunks == (1, 20, 30)
        size = file.id.get_filesize()
    content = bytearray((tmp_path / "p.h5").read_bytes())
    with h5py.File(tmp_path / "p.h5") as file:
        offset = file["before"].id.get_chunk_info(4).byte_offset
    content[offset : offset + 40] = b"\xff" * 40
    (tmp_path / "p.h5").write_bytes(content)
    assert len(content) == size
    with open_dataset("pairs", data_dir=str(tmp_path / "p.h5")) as got:
        got.read(0)
        with pytest.raises(BadPairError, match=r"pair 'id4' \(.*p\.h5\): cannot be read \(file damaged\?\)"):
            got.read(4)


def test_a_file_made_elsewhere_is_stretched_as_images_are(tmp_path):
    values = noise(0, (2, 3, 20, 30, 1))
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["before"], file["after"] = values
        file["id"] = [7, 8, 9]
        file["label"] = np.array([1, 0, -1])
    with open_dataset("pairs", pairs_csv=str(tmp_path / "own.h5")) as got:
        np.testing.assert_allclose(got.read(1).after, values[1, 1, ..., 0] / 255, atol=1e-6)
        assert got.ids == ("7", "8", "9") and got.labels.tolist() == [1, 0, -1]
    floats = noise(0, (2, 3, 20, 30), np.float32)
    floats[0, 2, 4, 5] = np.nan
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["before"], file["after"] = floats
    with open_dataset("pairs", pairs_csv=str(tmp_path / "own.h5"), stretch="none", patch_size=10, margin=4) as got:
        np.testing.assert_array_equal(got.read(0).before, floats[0, 0, :10, :10])
        assert got.ids[0] == "000000_r0_c0" and got.labels is None
        with pytest.raises(BadPairError, match="000002_r0_c0.* \\d+ of \\d+ pixels have no data"):
            got.read(12)


def _write(path, **arrays):
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value


ZEROS = np.zeros((3, 4, 5))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(t1=ZEROS, after=ZEROS), "no array before; found after, t1; wanted before and after"),
        (dict(before=ZEROS, after=ZEROS[:2]), r"before is \(3, 4, 5\) and after \(2, 4, 5\); wanted both \[N, H, W\]"),
        (dict(before=ZEROS[0], after=ZEROS[0]), r"before is \(4, 5\)"),
        (dict(before=ZEROS, after=ZEROS, label=[1, 0]), r"label has shape \(2,\); wanted \(3,\)"),
        (dict(before=ZEROS, after=ZEROS, label=[1, 0, 5]), "labels of 'pairs'"),
        (dict(before=ZEROS, after=ZEROS.astype(complex)), "after has type complex128; wanted integers or floats"),
        (dict(before=ZEROS, after=ZEROS, id=[b"x", b"x", b"y"]), "ids must be unique"),
    ],
)
def test_wrong_files_are_told(tmp_path, arrays, message):
    _write(tmp_path / "w.h5", **arrays)
    with pytest.raises(DataError, match=message):
        open_dataset("pairs", pairs_csv=str(tmp_path / "w.h5"))


def test_truncated_and_missing_files_are_told(tmp_path):
    pack(_set(), tmp_path / "p.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "p.h5").read_bytes()[:3000])
    with pytest.raises(
        DataError, match=r"cut\.h5: cannot be opened as HDF5 \(truncated, damaged or another format\?\)"
    ):
        open_dataset("pairs", pairs_csv=str(tmp_path / "cut.h5"))
    with pytest.raises(DataError, match=r"no\.h5: no such file; correct the name, or make it with scripts/pack_pairs"):
        open_dataset("pairs", pairs_csv=str(tmp_path / "no.h5"))


def test_a_damaged_table_of_contents_is_told(tmp_path):
    path = tmp_path / "p.h5"
    pack(_set(), path)
    content = path.read_bytes()
    assert b"SNOD" in content
    path.write_bytes(content.replace(b"SNOD", bytes(4)))
    with pytest.raises(DataError, match=r"p\.h5: cannot be opened as HDF5 .*; pack it again"):
        open_dataset("pairs", pairs_csv=str(path))


def test_a_pack_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(BadPairError, match="pair 'id3': after is constant"):
        pack(_set(bad=(3,)), tmp_path / "p.h5")
    with pytest.raises(DataError, match="10 x 30, where the first pair has 20 x 30; one file holds one shape"):
        pack(_set(2, shapes=[(20, 30), (10, 30)]), tmp_path / "p.h5")
    with pytest.raises(DataError, match="no pair could be read, so there is nothing to pack"):
        pack(_set(1, bad=(0,)), tmp_path / "p.h5", bad=lambda i, err: None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match=r"p\.h5: cannot be written .*choose another --output"):
        pack(_set(), tmp_path / "none" / "p.h5")


def test_bad_pairs_can_be_left_out_and_shapes_told_apart(tmp_path):
    left_out = {}
    assert pack(_set(bad=(1,)), tmp_path / "p.h5", bad=left_out.setdefault) == 4
    assert list(left_out) == [1]
    with open_dataset("pairs", pairs_csv=str(tmp_path / "p.h5")) as got:
        assert got.ids == ("id0", "id2", "id3", "id4") and got.labels.tolist() == [0, 0, 1, 0]
    assert shapes_of(_set(3, shapes=[(9, 9), (8, 9), (9, 9)])) == {(9, 9): [0, 2], (8, 9): [1]}


def _script(*flags):
    return subprocess.run(
        [sys.executable, "scripts/pack_pairs.py", *flags], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
def test_the_script_packs_skips_and_explains(tmp_path):
    for i, shape in enumerate([(40, 40), (40, 40), (30, 40)]):
        for date in ("t1", "t2"):
            write_image(tmp_path / "in" / f"{i}_{date}.png", noise(i + 9 * (date == "t2"), shape))
    (tmp_path / "in" / "1_t2.png").write_bytes(b"")
    flags = (f"--data_dir={tmp_path / 'in'}", f"--output={tmp_path / 'out.h5'}")
    done = _script(*flags)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: pair '1'") and not (tmp_path / "out.h5").exists()
    done = _script(*flags, "--on_bad_pair=skip", "--by_shape")
    assert done.returncode == 0, done.stderr
    assert "left out: pair '1'" in done.stderr
    made = {p.name for p in tmp_path.glob("*.h5")}
    assert made == {"out_40x40.h5", "out_30x40.h5"}
    with open_dataset("pairs", pairs_csv=str(tmp_path / "out_30x40.h5")) as got:
        np.testing.assert_allclose(got.read(0).before, noise(2, (30, 40)) / 255, atol=1e-6)


@pytest.mark.parametrize("what", ["scalar id", "group label", "provenance"])
def test_files_of_another_program_are_told(tmp_path, what):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        for date in ("before", "after"):
            file[date] = np.zeros((2, 8, 8), np.float32)
        if what == "scalar id":
            file["id"] = "one"
        elif what == "group label":
            file.create_group("label")
        else:
            file.attrs["provenance"] = "made by hand"
    words = "provenance is no JSON" if what == "provenance" else r"has shape \(\); wanted \(2,\)"
    with pytest.raises(DataError, match=words):
        open_dataset("pairs", pairs_csv=str(path))
