"""What makes a run impossible is said before the long work; folders that are links or mount points work."""

import collections
import json
import os
import pathlib

import numpy as np
import pytest
from image_files import noise, write_image

from planetcd_jax import main, scene
from planetcd_jax.errors import OutputError
from planetcd_jax.files import room
from planetcd_jax.report.output import METRICS, run_folder
from planetcd_jax.scenes import scene_run, scoring
from planetcd_jax.scenes.checkpoint import Checkpoint, work_folder

MARS = "IAU_2015:49910"
Usage = collections.namedtuple("Usage", "total used free")


def fill(folder, text):
    (folder / METRICS).write_text(json.dumps({"planetcd_jax": text}))
    (folder / "more").mkdir()
    (folder / "more" / "a.txt").write_text(text)


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """A folder that counts as a mount point: renaming anything to it fails."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    real, rename = os.path.ismount, pathlib.Path.rename

    def refuse(path, target):
        if folder in (path, pathlib.Path(target)):
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(os.path, "ismount", lambda path: pathlib.Path(path) == folder or real(path))
    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    return folder


def test_a_mounted_folder_takes_results_of_pairs_twice(mounted):
    for text in ("first", "second"):
        with run_folder(mounted, overwrite=True) as folder:
            fill(folder, text)
        assert sorted(path.name for path in mounted.iterdir()) == [METRICS, "more"]
        assert (mounted / "more" / "a.txt").read_text() == text


def test_a_mounted_folder_takes_results_of_a_scene_twice(mounted):
    for text in ("first", "second"):
        kept = Checkpoint(work_folder(mounted), {"run": text}, resume=False)
        fill(kept.final, text)
        kept.publish(mounted, METRICS)
        assert sorted(path.name for path in mounted.iterdir()) == [METRICS, "more"]
        assert (mounted / "more" / "a.txt").read_text() == text


def test_a_place_that_cannot_take_results_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, text in (
        ("file", "is not a folder"),
        ("file/below", "cannot be written"),
        ("link", "is a link to nothing"),
        ("tab\tx", r"'.*tab\\tx' holds a tab, a line break or the like"),
        ("x" * 300, r"has a name of 300 bytes in it, and 240 are the most"),
    ):
        with pytest.raises(OutputError, match=text):
            room.check_place(tmp_path / name, 0)
    room.check_place(tmp_path / "new" / "deep", 0)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: Usage(10**9, 0, 2_500_000))
    room.check_place(tmp_path, 2_500_000)
    with pytest.raises(OutputError, match=r"has 2\.5 MB free, and the results may take 3\.0 GB; free some space"):
        room.check_place(tmp_path, 3 * 10**9)
    with pytest.raises(OutputError, match=r"has 2\.5 MB free"), run_folder(tmp_path / "run"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.fixture
def scene_flags(tmp_path, texture):
    """Flags of a run on two small images, in the folder `in`."""
    folder = tmp_path / "in"
    ground = (40 + 150 * texture(1, 200, 200)[0]).astype(np.uint8)
    names = []
    for i in range(2):
        image = ground + noise(i, ground.shape, high=6)
        names.append(write_image(folder / f"{i}.tif", image, crs=MARS, transform=(6, 0, 0, 0, -6, 0)))
    return [
        f"--before={names[0]}",
        f"--after={names[1]}",
        "--quiet",
        "--null_draws=2",
        "--layer=conv1_2",
        "--stride=48",
    ]


@pytest.fixture
def no_long_work(monkeypatch):
    def long_work(*_, **__):
        raise AssertionError("the long work began")

    for name in ("score_scene", "score_null"):
        monkeypatch.setattr(scoring, name, long_work)


def one_line(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("planetcd-scene: "), lines
    return lines[0]


def polygons(path, ring, crs):
    import geopandas
    import shapely

    geopandas.GeoDataFrame(geometry=[shapely.Polygon(ring)], crs=crs).to_file(path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("earth.geojson", ["lies on another body (Earth) than the scene (Mars)", "GeoPackage"]),
        ("small.gpkg", ["holds 0 whole windows", "mark more ground"]),
        ("text.gpkg", ["cannot be read as polygons"]),
        ("gone.gpkg", ["gone.gpkg"]),
    ],
)
def test_unusable_stable_ground_is_told_before_the_long_work(tmp_path, scene_flags, no_long_work, capsys, kind, words):
    path = tmp_path / "in" / kind
    if kind.startswith("earth"):
        polygons(path, [(0, 0), (0.01, 0), (0.01, -0.01)], "EPSG:4326")
    elif kind.startswith("small"):
        polygons(path, [(0, 0), (60, 0), (60, -60)], MARS)
    elif kind.startswith("text"):
        path.write_text("no polygons")
    out = tmp_path / "out"
    assert scene.execute([*scene_flags, f"--output_dir={out}", f"--stable_ground={path}"]) == 1
    message = one_line(capsys)
    assert all(word in message for word in words), message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_too_little_room_for_pixel_maps_is_told_before_the_long_work(
    tmp_path, scene_flags, no_long_work, capsys, monkeypatch
):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: Usage(10**9, 0, 9_000_000))
    # 676 windows: as many maps of 200 px a side would take 108 MB
    more = ["--pixel_maps=1000", "--stride=4", f"--output_dir={tmp_path / 'out'}"]
    assert scene.execute([*scene_flags, *more]) == 1
    assert "--pixel_maps" in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_results_go_where_a_link_leads(tmp_path, scene_flags, capsys, monkeypatch):
    """What is scored does not matter here, so nothing is."""

    def write(request, scene, scored, kept, **_):
        (kept.final / scene_run.RUN_FILE).write_text("{}")
        return {}

    monkeypatch.setattr(scene_run, "score", lambda *_, **__: None)
    monkeypatch.setattr(scene_run, "write_results", write)
    monkeypatch.setattr(scene, "_print_summary", lambda *_: None)
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    flags = [*scene_flags, f"--output_dir={link}", "--after_shift=0,0"]
    assert scene.execute(flags) == 0, capsys.readouterr().err
    assert scene.execute([*flags, "--overwrite"]) == 0
    assert link.is_symlink() and (real / "run.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "link", "real"]


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    table = tmp_path / "p.csv"
    table.write_text("id,before,after\na,a.png,b.png\n")
    for i, name in enumerate("ab"):
        write_image(tmp_path / f"{name}.png", noise(i, (40, 40)))
    monkeypatch.setenv("HOME", os.fspath(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    arguments = [f"--pairs_csv={table}", "--figures=0", "--explain=0", "--preset=paper", "--layer=conv1_1"]
    assert main.execute([*arguments, "--engine=xla", "--num_devices=1", f"--output_dir={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().err
    assert (tmp_path / "out" / METRICS).is_file() and "Traceback" not in said
    warning = [line for line in said.splitlines() if line.startswith("warning: the cache folder")]
    assert len(warning) == 1 and "file/.cache/planetcd_jax cannot be written" in warning[0]


def test_a_folder_for_compiled_programs_that_is_named_must_be_writable(tmp_path, capsys):
    (tmp_path / "file").touch()
    flags = ["--dataset=lroc", "--source=simulated", f"--compilation_cache_dir={tmp_path / 'file' / 'x'}"]
    assert main.execute(flags) == 1
    assert "name another folder" in capsys.readouterr().err
