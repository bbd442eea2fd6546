"""Mars-Bench's layout and the authors' folders, from copies made here."""

import csv
import hashlib

import numpy as np
import pytest
from image_files import noise, write_image

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import open_dataset
from planetcd_jax.pairs.layouts import AUTHORS_IMAGES, AUTHORS_LABELS


def _mars_bench(root, rows, suffix=".jpg", skip=(), columns=("file_id", "split", "feature_name", "label")):
    """A copy of the layout; rows are (file_id, split, feature, label), the after-images are made along."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "annotation.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    for n, (file_id, split, feature, _) in enumerate(rows):
        name = file_id if "." in file_id else file_id + suffix
        for date in ("before", "after"):
            path = root / "data" / split / feature / name.replace("before", date)
            if path.name not in skip and not path.exists():
                write_image(path, noise(10 * n + (date == "after"), (20, 20)))
    return root


ROWS = [
    ("site_02_before.jpg", "test", "rsl", "1"),
    ("site_01_before.jpg", "test", "rsl", "0"),
    ("site_03_before.jpg", "test", "other", "1.0"),
    ("site_04_before.jpg", "train", "rsl", "0"),
    ("site_05_before.jpg", "val", "rsl", "1"),
]


@pytest.mark.parametrize("name", ["hirise_rsl", "ctx"])
def test_test_split_by_default_in_the_order_of_the_table(tmp_path, name):
    root = _mars_bench(tmp_path / "before_and_after", ROWS)  # the root's own name must not be touched
    pairs = open_dataset(name, data_dir=str(root))
    assert pairs.ids == ("site_02_before", "site_01_before", "site_03_before")
    assert pairs.labels.tolist() == [1, 0, 1] and pairs.labels.dtype == np.int8
    assert (pairs.name, pairs.source, len(pairs)) == (name, "real", 3)
    before, after = pairs.files(1)
    assert before.endswith("data/test/rsl/site_01_before.jpg") and after.endswith("data/test/rsl/site_01_after.jpg")
    pair = pairs.read(1)
    assert pair.before.shape == (20, 20) and not np.array_equal(pair.before, pair.after)
    # oracle: hashlib
    path = root / "data/test/other/site_03_after.jpg"
    assert pairs.provenance["sha256"][str(path.relative_to(root))] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert pairs.provenance["split"] == "test" and len(pairs.provenance["sha256"]) == 7


@pytest.mark.parametrize(("split", "n"), [("train", 1), ("val", 1), ("all", 5), ("test", 3)])
def test_splits(tmp_path, split, n):
    assert len(open_dataset("ctx", data_dir=str(_mars_bench(tmp_path, ROWS)), split=split)) == n


def test_rows_may_list_both_dates_names_as_labels_and_no_extension(tmp_path):
    rows = [
        ("a_before", "test", "rsl", "no_change"),
        ("a_after", "test", "rsl", "no_change"),
        ("b_before", "test", "rsl", "Change"),
    ]
    pairs = open_dataset("hirise_rsl", data_dir=str(_mars_bench(tmp_path, rows)))
    assert pairs.ids == ("a_before", "b_before") and pairs.labels.tolist() == [0, 1]


def test_equal_file_names_in_several_folders_get_longer_ids(tmp_path):
    rows = [("a_before.png", "test", "x", "1"), ("a_before.png", "test", "y", "0"), ("b_before.png", "test", "y", "0")]
    pairs = open_dataset("ctx", data_dir=str(_mars_bench(tmp_path, rows)))
    assert pairs.ids == ("test_x_a_before", "test_y_a_before", "b_before")


def test_grey_saved_as_colour_is_read_as_grey(tmp_path):
    root = _mars_bench(tmp_path, ROWS[:1])
    for date in ("before", "after"):
        path = root / f"data/test/rsl/site_02_{date}.jpg"
        write_image(path, np.repeat(noise(3, (20, 20, 1)), 3, -1))
    assert open_dataset("hirise_rsl", data_dir=str(root)).read(0).before.shape == (20, 20)
    assert open_dataset("hirise_rsl", data_dir=str(root), grey=False).read(0).before.shape == (20, 20, 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (dict(skip=("site_01_after.jpg",)), "1 before-image without an after-image: site_01_before;"),
        (
            dict(skip=("site_01_before.jpg",)),
            r"1 image listed but not there: site_01_before \(wanted .*site_01_be",
        ),
        (
            dict(columns=("file", "split", "feature_name", "label")),
            "no column file_id; found file, split, feature_name",
        ),
        (
            dict(rows=[("x_before.jpg", "test", "r", "maybe")]),
            "line 2: label 'maybe'; wanted 1 or change, 0 or no_change",
        ),
        (dict(rows=[("x.jpg", "test", "r", "1")]), "file_id holds neither 'before' nor 'after': x.jpg"),
        (dict(rows=[*ROWS, ("q_after.jpg", "test", "rsl", "1")]), "1 after-images have no before-image: q_after"),
        (dict(rows=[("x_before.jpg", "holdout", "r", "1")]), "no split 'test'; choose --split from holdout or all"),
        (dict(rows=[]), "the table has no rows"),
    ],
)
def test_wrong_copies_are_told(tmp_path, change, text):
    root = _mars_bench(tmp_path, change.pop("rows", ROWS), **change)
    with pytest.raises(DataError, match=text) as err:
        open_dataset("ctx", data_dir=str(root))
    assert str(root / "annotation.csv") in str(err.value) and "\n" not in str(err.value)


def test_a_folder_of_another_layout_says_what_it_holds(tmp_path):
    (tmp_path / "stuff.txt").touch()
    with pytest.raises(DataError, match=r"found stuff.txt; wanted annotation.csv and data/.* correct --data_dir"):
        open_dataset("ctx", data_dir=str(tmp_path))
    with pytest.raises(DataError, match=r"no such folder.* wanted annotation.csv .* hirise_before_after_grayscale"):
        open_dataset("hirise_rsl", data_dir=str(tmp_path / "none"))


def _authors(root, ids=("crop_1", "crop_2", "crop_3"), labels=("change", "no_change", None)):
    for n, (id_, label) in enumerate(zip(ids, labels, strict=True)):
        for date in ("before", "after"):
            write_image(root / AUTHORS_IMAGES / f"{id_}_x_{date}.jpg", noise(n + 50 * (date == "after"), (20, 20)))
        if label:
            write_image(root / AUTHORS_LABELS / label / f"{id_}.jpg", noise(n, (20, 20)))
    return root


def test_the_authors_folders(tmp_path):
    # The id ends three characters before the word: "crop_1_x_before.jpg" has "_x_" between them.
    pairs = open_dataset("hirise_rsl", data_dir=str(_authors(tmp_path)))
    assert pairs.ids == ("crop_1", "crop_2", "crop_3") and pairs.labels.tolist() == [1, 0, -1]
    assert pairs.files(0)[1].endswith("crop_1_x_after.jpg") and pairs.read(0).before.shape == (20, 20)
    assert pairs.provenance["layout"] == "authors" and ": 1 pair." in pairs.provenance["notes"][0]


def test_wrong_authors_folders_are_told(tmp_path):
    root = _authors(tmp_path / "a")
    (root / AUTHORS_IMAGES / "crop_2_x_after.jpg").unlink()
    with pytest.raises(DataError, match="1 before-image without an after-image: crop_2"):
        open_dataset("hirise_rsl", data_dir=str(root))
    root = _authors(tmp_path / "b", labels=(None, None, None))
    with pytest.raises(DataError, match="no label for any image; wanted for example change/crop_1.jpg"):
        open_dataset("hirise_rsl", data_dir=str(root))
    root = _authors(tmp_path / "c")
    write_image(root / AUTHORS_LABELS / "no_change" / "crop_1.jpg", noise(0, (20, 20)))
    with pytest.raises(DataError, match="crop_1.jpg lies in both change and no_change"):
        open_dataset("hirise_rsl", data_dir=str(root))
    (tmp_path / "d" / AUTHORS_IMAGES).mkdir(parents=True)
    (tmp_path / "d" / AUTHORS_IMAGES / "other.jpg").touch()
    with pytest.raises(DataError, match=r"no images named \*before\*.jpg"):
        open_dataset("hirise_rsl", data_dir=str(tmp_path / "d"))
