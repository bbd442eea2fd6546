"""Every layout that `--data_dir` and the hub may hold, against files that the `datasets` library wrote or reads."""

import io
import json
import pathlib
import shutil
import tarfile
import zipfile

import numpy as np
import PIL.Image
import pytest
from image_files import noise, write_image

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import open_dataset
from planetcd_jax.pairs.pair_rows import class_values, date_of_column
from planetcd_jax.pairs.splits import split_of_path
from scripts import make_hub_fixtures as made

FIXTURES = pathlib.Path(__file__).parent / "hub_fixtures"


def open_real(path, **options):
    return open_dataset("ctx", data_dir=str(path), source="real", **options)


def truth(split="test"):
    return [int(changed) for _, changed in made.numbers(split)]


def expect_made(pairs, split="test"):
    """That the pairs are those of the script that wrote the fixtures, in its order."""
    assert len(pairs) == made.SIZES[split] and pairs.labels.tolist() == truth(split)
    for i, (index, changed) in enumerate(made.numbers(split)):
        read = pairs.read(i)
        for got, wanted in zip(read, made.pair(index, changed), strict=False):
            np.testing.assert_array_equal(got, wanted.astype(np.float32) / 255)


@pytest.mark.parametrize("split", made.SIZES)
@pytest.mark.parametrize("kind", ["composite", "columns"])
def test_committed_parquet_of_the_datasets_library(kind, split):
    expect_made(open_real(FIXTURES / kind, split=split), split)


def test_parquet_written_now_by_the_datasets_library(tmp_path):
    pytest.importorskip("datasets")
    made.push({"test": made.make_columns("test"), "dev": made.make_columns("val")}, tmp_path, {"test": 3, "dev": 1})
    assert len(list(tmp_path.glob("data/test-*-of-00003.parquet"))) == 3
    expect_made(open_real(tmp_path))
    expect_made(open_real(tmp_path, split="val"), "val")


def test_one_shard_and_a_folder_by_split(tmp_path):
    expect_made(open_real(FIXTURES / "columns/data/test-00000-of-00001.parquet"))
    (tmp_path / "default/test").mkdir(parents=True)  # as the hub's own conversion to parquet lays it out
    shutil.copy(FIXTURES / "columns/data/test-00000-of-00001.parquet", tmp_path / "default/test/0000.parquet")
    expect_made(open_real(tmp_path))


def test_splits_that_are_not_there_are_told():
    with pytest.raises(DataError, match="no split 'test'; choose --split from train, val or all"):
        open_real_without_test(FIXTURES / "composite")


def open_real_without_test(folder):
    from planetcd_jax.pairs.splits import chosen_split

    return chosen_split([split_of_path(p.name) for p in folder.rglob("*.parquet") if "test" not in p.name], None, "x")


def write_folder(root, split="test", join="{stem}_{date}.png"):
    """An imagefolder of before- and after-images by class."""
    for index, changed in made.numbers(split):
        for date, image in zip(("before", "after"), made.pair(index, changed), strict=True):
            folder = root / split / ("change" if changed else "no_change")
            write_image(folder / join.format(stem=f"s{index}", date=date), image)
    return root


def test_imagefolder_of_two_dates(tmp_path):
    pairs = open_real(write_folder(tmp_path))
    order = np.argsort([int(i.rsplit("s", 1)[1]) for i in pairs.ids])
    assert pairs.labels[order].tolist() == truth() and pairs.provenance["layout"] == "imagefolder"
    np.testing.assert_array_equal(
        pairs.read(int(order[0])).after, made.pair(*made.numbers("test")[0])[1] / np.float32(255)
    )


def test_imagefolder_of_composites_agrees_with_the_datasets_library(tmp_path):
    for index, changed in made.numbers("test"):
        path = tmp_path / "test" / ("change" if changed else "no_change") / f"{index}.png"
        write_image(path, made.composite(*made.pair(index, changed)))
    pairs = open_real(tmp_path)
    assert sorted(pairs.ids) == [str(i) for i, _ in made.numbers("test")]
    assert [int(i) % 2 == 0 for i in pairs.ids] == (pairs.labels == 1).tolist()
    datasets = pytest.importorskip("datasets")
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), split="test", cache_dir=str(tmp_path / "c"))
    named = [theirs.features["label"].names[n] for n in theirs["label"]]
    assert sorted(named) == sorted("change" if label else "no_change" for label in pairs.labels)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_imagefolder_with_metadata(tmp_path, kind):
    rows = []
    for index, changed in made.numbers("test"):
        for date, image in zip(("before", "after"), made.pair(index, changed), strict=True):
            write_image(tmp_path / "test" / f"{date[0]}{index}.png", image)
        rows.append({"before_file_name": f"b{index}.png", "after_file_name": f"a{index}.png", "label": int(changed)})
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    (tmp_path / "test" / f"metadata.{kind}").write_text("\n".join(lines) + "\n")
    expect_made(open_real(tmp_path))
    (tmp_path / "test/a200.png").unlink()
    with pytest.raises(DataError, match=r"row 0: .*a200.png not there"):
        open_real(tmp_path)


def write_tar(path, composite=False):
    def png(image):
        out = io.BytesIO()
        PIL.Image.fromarray(image).save(out, "png")
        return out.getvalue()

    with tarfile.open(path, "w") as tar:
        for index, changed in made.numbers("test"):
            before, after = made.pair(index, changed)
            files = {"before.png": png(before), "after.png": png(after), "cls": str(int(changed)).encode()}
            if composite:
                told = json.dumps({"label": "change" if changed else "no_change"}).encode()
                files = {"png": png(made.composite(before, after)), "json": told}
            for suffix, body in files.items():
                member = tarfile.TarInfo(f"site{index}.{suffix}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))


@pytest.mark.parametrize("composite", [False, True])
def test_webdataset(tmp_path, composite):
    write_tar(tmp_path / "test-000000.tar", composite)
    pairs = open_real(tmp_path)
    expect_made(pairs)
    assert pairs.ids[0] == "site200" and pairs.provenance["layout"] == "WebDataset"
    expect_made(open_real(tmp_path / "test-000000.tar"))  # the file itself
    datasets = pytest.importorskip("datasets")
    options = {"data_files": {"test": str(tmp_path / "*.tar")}, "split": "test", "cache_dir": str(tmp_path / "c")}
    assert len(datasets.load_dataset("webdataset", **options)) == len(pairs)


def test_the_archive_zipped_or_not_and_in_a_folder_of_its_own(tmp_path):
    root = tmp_path / "ctx"
    rows = ["file_id,split,feature_name,label"]
    for index, changed in made.numbers("test"):
        rows.append(f"s{index}_before.png,test,impact,{int(changed)}")
        for date, image in zip(("before", "after"), made.pair(index, changed), strict=True):
            write_image(root / f"data/test/impact/s{index}_{date}.png", image)
    (root / "annotation.csv").write_text("\n".join(rows) + "\n")
    shutil.make_archive(str(tmp_path / "inner"), "zip", root)
    shutil.make_archive(str(tmp_path / "outer"), "zip", tmp_path, "ctx")
    shutil.make_archive(str(tmp_path / "packed"), "tar", root)
    for path in (root, tmp_path / "inner.zip", tmp_path / "outer.zip", tmp_path / "packed.tar"):
        pairs = open_real(path)
        expect_made(pairs)
        assert pairs.provenance["layout"] == "Mars-Bench archive"
    (tmp_path / "repository").mkdir()
    shutil.copy(tmp_path / "outer.zip", tmp_path / "repository/ctx.zip")  # a repository that holds the zip
    expect_made(open_real(tmp_path / "repository"))


def test_an_archive_writes_nothing_outside_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a/b/cache"))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../escaped.png", b"x")
    with pytest.raises(DataError):
        open_real(tmp_path / "bad.zip")
    unpacked = tmp_path / "a/b/cache/planetcd_jax/unpacked"
    assert all(path.is_relative_to(unpacked) for path in tmp_path.rglob("escaped.png"))


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar"])
def test_a_damaged_archive_is_told_and_leaves_nothing(tmp_path, name, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / name).write_bytes(b"PK\3\4 no archive")
    with pytest.raises(DataError, match=r"cannot be unpacked \(cut short or damaged\?\).*fetch it again"):
        open_real(tmp_path / name)
    assert list((tmp_path / "cache").rglob("*")) == [
        tmp_path / "cache/planetcd_jax",
        tmp_path / "cache/planetcd_jax/unpacked",
    ]


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be unpacked into .*name another cache by XDG_CACHE_HOME"):
        open_real(FIXTURES / "columns")


def write_parquet(path, **columns):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def png(image):
    out = io.BytesIO()
    PIL.Image.fromarray(image).save(out, "png")
    return out.getvalue()


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("left", "right"), "image columns left, right; wanted one column image"),
        (("before", "t1"), "image columns before, t1; wanted one column image"),
    ],
)
def test_columns_that_tell_no_dates(tmp_path, names, text):
    columns = {name: [png(noise(i, (20, 20))), png(noise(i + 9, (20, 20)))] for i, name in enumerate(names)}
    write_parquet(tmp_path / "test.parquet", **columns, label=[0, 1])
    with pytest.raises(DataError, match=text):
        open_real(tmp_path)


def test_labels_that_say_nothing_and_images_that_are_grey(tmp_path):
    images = [png(noise(i, (20, 20))) for i in range(2)]
    write_parquet(tmp_path / "test.parquet", image=images, label=[0, 1])
    with pytest.raises(DataError, match="one image for each pair, with 1 band .*wanted one column image"):
        open_real(tmp_path)
    write_parquet(tmp_path / "test.parquet", image=images, label=["crater", "dune"])
    with pytest.raises(DataError, match="row 0: label 'crater'; wanted 1 or change"):
        open_real(tmp_path)


def test_plain_bytes_paths_and_other_columns(tmp_path):
    befores, afters = ([made.pair(*row)[i] for row in made.numbers("test")] for i in (0, 1))
    for i, image in enumerate(befores):
        write_image(tmp_path / f"images/{i}.png", image)
    columns = {"before": [f"images/{i}.png" for i in range(6)], "after": [f"images/{i}.png" for i in range(6)]}
    write_parquet(tmp_path / "test.parquet", **columns, caption=["x"] * 6, label=[True, False] * 3)
    assert open_real(tmp_path).labels.tolist() == truth()
    columns = {"IMAGE1": list(map(png, befores)), "Image2": list(map(png, afters)), "image": list(map(png, befores))}
    write_parquet(tmp_path / "test.parquet", **columns, label=[1.0, 0.0] * 3)
    expect_made(open_real(tmp_path))


def test_words():
    for column in ("before", "Image1", "T1", "image_t1", "PRE", "img_before", "before_file_name"):
        assert date_of_column(column) == "before"
    assert [date_of_column(c) for c in ("after", "IMAGE2", "t2", "image", "label")] == ["after"] * 3 + [None] * 2
    paths = {"data/validation-00000-of-00001.parquet": "val", "default/test/0000.parquet": "test", "dev.tar": "val",
             "latest.tar": None, "train/change/test_1.png": "train", "contest/a.png": None}  # fmt: skip
    assert {path: split_of_path(path) for path in paths} == paths
    assert class_values(["change", "no_change"], "") == [1, 0] == class_values(["impact", "no_impact"], "")
    with pytest.raises(DataError):
        class_values(["crater", "dune"], "")
