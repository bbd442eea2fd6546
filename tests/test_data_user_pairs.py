"""A user's own pairs: tables, folders, options, and what is wrong with them."""

import numpy as np
import pytest
from image_files import noise, write_image

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.pairs import DATASETS, open_dataset


def _table(root, text):
    root.mkdir(exist_ok=True)
    (root / "pairs.csv").write_text(text)
    return str(root / "pairs.csv")


def _images(root, *names, **options):
    return [write_image(root / name, noise(i, **options)) for i, name in enumerate(names)]


def test_a_table_with_paths_relative_to_it_labels_and_other_columns(tmp_path):
    _images(tmp_path, "x/b0.png", "x/a0.png", "b1.tif", "a1.tif")
    # a byte-order mark and blanks, as spreadsheets write them
    text = "\ufeffid, before, after, label, remark\none,x/b0.png,x/a0.png,1,hello\ntwo, b1.tif, a1.tif,,\n"
    pairs = open_dataset("pairs", pairs_csv=_table(tmp_path, text))
    assert pairs.ids == ("one", "two") and pairs.labels.tolist() == [1, -1]
    np.testing.assert_array_equal(pairs.read(0).before, noise(0).astype(np.float32) / np.float32(255))
    assert pairs.files(1) == (str(tmp_path / "b1.tif"), str(tmp_path / "a1.tif"))
    assert list(pairs.provenance["sha256"]) == ["pairs.csv"]


def test_without_labels_there_are_none(tmp_path):
    _images(tmp_path, "b.png", "a.png")
    assert open_dataset("pairs", pairs_csv=_table(tmp_path, "id,before,after\n1,b.png,a.png\n")).labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,pre,post\n1,b.png,a.png\n", "no column before, after; found id, pre, post; wanted id, before, after"),
        (
            "id,before,after\n1,b.png,gone.png\n2,no.png,a.png\n",
            r"2 files not there: 1 \(.*gone.png\), 2 \(.*no.png\)",
        ),
        ("id,before,after\n1,b.png\n", "line 2: fewer values than columns"),
        ("id,before,after\n1,,a.png\n", "line 2: nothing given for before"),
        ("id,before,after,label\n1,b.png,a.png,2\n", "line 2: label '2'; wanted 1 or change, 0 or no_change"),
        ("id,before,after\n", "the table has no rows"),
        ("", "no column id, before, after; found none"),
        ("id,before,after\n1,b.png,a.png\n1,b.png,a.png\n", "ids must be unique; these come more than once: 1"),
    ],
)
def test_wrong_tables_are_told(tmp_path, text, message):
    _images(tmp_path, "b.png", "a.png")
    with pytest.raises(DataError, match=message) as err:
        open_dataset("pairs", pairs_csv=_table(tmp_path, text))
    assert "\n" not in str(err.value)


def test_a_table_that_is_not_there_or_not_text_is_told(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        open_dataset("pairs", pairs_csv=str(tmp_path / "none.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="not a comma-separated table in UTF-8"):
        open_dataset("pairs", pairs_csv=str(tmp_path / "bytes.csv"))


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000_t1.png", "000_t2.png", "001_T1.png", "001_T2.png", "raw/x.png"], ("000", "001")),
        (["before/c_0_0_before.jpg", "after/c_0_0_after.jpg"], ("c_0_0",)),
        (["before/7.png", "after/7.tif", "before/8.png", "after/8.png"], ("7", "8")),
        (["siteA/before.png", "siteA/after.png", "siteB/before.png", "siteB/after.png"], ("siteA", "siteB")),
        (["pre-12.png", "post-12.png"], ("12",)),
        (["scenebefore.png", "sceneafter.png"], ("scene",)),
        (["T1_MY29_6.tif", "T2_MY29_6.tif", "mask_MY29_6.tif"], ("MY29_6",)),
        (["x_before_1.png", "x_after_1.png", "x_before_2.png", "x_after_2.png"], ("x_1", "x_2")),
    ],
)
def test_folders_are_paired_by_id(tmp_path, names, ids):
    _images(tmp_path, *names)
    (tmp_path / "pairs.json").write_text("{}")
    pairs = open_dataset("pairs", data_dir=str(tmp_path))
    assert pairs.ids == ids and pairs.labels is None
    for i in range(len(pairs)):
        before, after = pairs.files(i)
        assert before != after
        assert any(w in before.lower() for w in ("before", "t1", "pre"))
        assert any(w in after.lower() for w in ("after", "t2", "post"))


def test_folders_named_change_and_no_change_label_their_pairs(tmp_path):
    _images(tmp_path, "change/1_before.png", "change/1_after.png", "no_change/1_before.png", "no_change/1_after.png")
    pairs = open_dataset("lroc", data_dir=str(tmp_path))
    assert pairs.ids == ("change_1", "no_change_1") and pairs.labels.tolist() == [1, 0]
    assert pairs.name == "lroc" and len(pairs.provenance["sha256"]) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["1_before.png", "1_after.png", "2_before.png", "3_after.png"],
            r"2 images .*: 2 \(no after\), 3 \(no before\)",
        ),
        (["a.png", "b.png"], "2 image files, and none with before/after, t1/t2 or pre/post in its name"),
        (["before/1_after.png", "after/1_after.png"], "both 'before' and 'after' in its path"),
        (["1_before.png", "1_before.tif", "1_after.png"], "two before images for id '1'"),
        (["1_t1.png", "2_t1.png"], r"2 images without the other date: 1 \(no t2\), 2 \(no t2\)"),
    ],
)
def test_wrong_folders_are_told(tmp_path, names, message):
    _images(tmp_path, *names)
    with pytest.raises(DataError, match=message) as err:
        open_dataset("pairs", data_dir=str(tmp_path))
    assert "\n" not in str(err.value)


def test_a_folder_without_images_is_told_by_what_it_holds(tmp_path):
    with pytest.raises(DataError, match=r"the folder holds no files; name the folder of your images \(\.bmp, .*\.png"):
        open_dataset("pairs", data_dir=str(tmp_path))
    (tmp_path / "list.csv").write_text("id,before,after\n")
    with pytest.raises(DataError, match=r"holds no image, only 1 other file; .*--data_dir, or list .*--pairs_csv"):
        open_dataset("pairs", data_dir=str(tmp_path))


def test_missing_files_can_be_kept_as_bad_pairs(tmp_path):
    _images(tmp_path, "1_before.png", "1_after.png", "2_before.png", "b.png")
    pairs = open_dataset("pairs", data_dir=str(tmp_path), missing="keep")
    pairs.read(0)
    with pytest.raises(BadPairError, match=r"pair '2': .*2 \(after image not found\): no such file"):
        pairs.read(1)
    table = _table(tmp_path, "id,before,after\n1,b.png,gone.png\n")
    with pytest.raises(BadPairError, match=r"pair '1': .*gone\.png: no such file"):
        open_dataset("pairs", pairs_csv=table, missing="keep").read(0)


def test_types_are_stretched_alike_and_no_data_is_masked(tmp_path):
    first, second = noise(1, (30, 30), np.float32) * 100, noise(2, (30, 30), np.float32) * 100 + 20
    first[0, 0] = -9999
    write_image(tmp_path / "f_before.tif", first, nodata=-9999)
    write_image(tmp_path / "f_after.tif", second, nodata=-9999)
    write_image(tmp_path / "u_before.png", noise(3, (30, 30), np.uint16, high=4096))
    write_image(tmp_path / "u_after.png", noise(4, (30, 30), np.uint16, high=4096))
    pairs = open_dataset("pairs", data_dir=str(tmp_path))
    with pytest.raises(BadPairError, match=r"pair 'f' \(.*f_before.tif and .*1 of \d+ pixels have no data"):
        pairs.read(0)
    known = np.concatenate([first.ravel()[1:], second.ravel()])  # evenly spread, so the percentiles are near its ends
    wanted = (second - known.min()) / np.ptp(known)
    np.testing.assert_allclose(pairs.raw(0).after, wanted, atol=1e-5)
    pair = pairs.read(1)
    assert max(pair.before.max(), pair.after.max()) == 1 and min(pair.before.min(), pair.after.min()) == 0
    assert pair.before.std() > 0.2
    assert "percentiles 0.5 and 99.5" in pairs.provenance["stretch"]


def test_sizes_that_differ_are_an_error_or_cropped_to_the_shared_centre(tmp_path):
    first, second = noise(1, (40, 50)), noise(2, (44, 46))
    write_image(tmp_path / "1_t1.png", first)
    write_image(tmp_path / "1_t2.png", second)
    with pytest.raises(BadPairError, match=r"pair '1' \(.*\): before has shape 40 x 50 and after 44 x 46"):
        open_dataset("pairs", data_dir=str(tmp_path)).read(0)
    pair = open_dataset("pairs", data_dir=str(tmp_path), size_mismatch="crop").read(0)
    np.testing.assert_array_equal(pair.before, first[:, 2:48].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(pair.after, second[2:42].astype(np.float32) / np.float32(255))
    patches = open_dataset("pairs", data_dir=str(tmp_path), size_mismatch="crop", patch_size=20, margin=4)
    assert len(patches) == 6 and patches.read(5).context.shape == (28, 28)
    patches = open_dataset("pairs", data_dir=str(tmp_path), patch_size=20)
    with pytest.raises(BadPairError, match="before has shape 40 x 50"):
        patches.read(0)


def test_broken_files_are_bad_pairs_also_when_cut(tmp_path):
    whole = _images(tmp_path, "1_t1.png", "1_t2.png", "2_t1.png", "2_t2.png", shape=(60, 60))
    whole[1].write_bytes(whole[1].read_bytes()[:900])
    whole[2].write_bytes(b"")
    for size in (None, 30):
        pairs = open_dataset("pairs", data_dir=str(tmp_path), patch_size=size)
        with pytest.raises(BadPairError, match=r"^pair '1': .*1_t2\.png: cannot be read as an image"):
            pairs.read(0)
        with pytest.raises(BadPairError, match=r"^pair '2': .*2_t1\.png: the file is empty"):
            pairs.read(len(pairs) - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(name="mars"), "dataset is 'mars'; choose one of " + ", ".join(DATASETS)),
        (dict(source="fake"), "source is 'fake'; choose one of auto, real, simulated"),
        (dict(stretch="x", data_dir="."), "stretch is 'x'; choose one of auto"),
        (dict(size_mismatch="x", data_dir="."), "size_mismatch is 'x'; choose one of error, crop"),
        (dict(), "--dataset=pairs needs your data: give a folder by --data_dir"),
        (dict(data_dir="a", pairs_csv="b"), "--data_dir and --pairs_csv are both given"),
        (dict(data_dir="a", split="test"), "has no splits, so --split=test cannot be chosen"),
        (dict(data_dir="/no/such"), "/no/such: no such folder; name the folder with your pairs"),
        (dict(source="simulated"), "--dataset=pairs has no simulated stand-in"),
        (dict(name="ctx", pairs_csv="a"), "--pairs_csv is for --dataset=pairs and lroc"),
        (dict(name="lroc", source="real"), "--dataset=lroc needs your data"),
    ],
)
def test_wrong_arguments_are_told(options, message):
    with pytest.raises(DataError, match=message):
        open_dataset(**{"name": "pairs", **options})


def test_lroc_without_a_folder_is_simulated_and_says_so():
    pairs = open_dataset("lroc")
    assert pairs.source == "simulated" and len(pairs) == 10
    assert pairs.provenance["notes"][0].startswith("SIMULATED data are used instead of lroc")


def test_real_folders_open_and_read(realdata):
    pairs = open_dataset("pairs", data_dir=str(realdata / "hirise-repeat-pairs"))
    assert pairs.ids == tuple(f"{i:03d}" for i in range(21))
    for i in range(21):
        pair = pairs.read(i)
        # registered views of one place are alike, which a pairing of other files would not be
        assert np.corrcoef(pair.before.ravel(), pair.after.ravel())[0, 1] > 0.5, pairs.ids[i]
    dust = open_dataset("pairs", data_dir=str(realdata / "mars-dust-sds"))
    assert len(dust) == 54 and dust.read(53).before.shape == (100, 100, 3)
    assert all(b.replace("before", "after") == a for b, a in map(dust.files, range(54)))
    scarp = open_dataset("pairs", data_dir=str(realdata / "mars-polar-scarp"), patch_size=128)
    assert scarp.ids[0] == "MY2934_6_4195_r0_c0" and len(scarp) == 4 and scarp.read(3).context.shape == (148, 148)
