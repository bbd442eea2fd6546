"""Marks of a page back in: files that it saves, and the accepted places as GeoPackage and GeoParquet."""

import json

import pytest

from planetcd_jax import scene
from planetcd_jax.errors import DataError

geopandas = pytest.importorskip("geopandas", reason="needs the extra 'scene'")

import shapely  # noqa: E402
from rasterio.crs import CRS  # noqa: E402

from planetcd_jax.scenes import marks, writing  # noqa: E402
from planetcd_jax.scenes.body import system_of  # noqa: E402

RUN = "0123456789abcdef"
MARS = system_of(CRS.from_string("IAU_2015:49910"))


@pytest.fixture
def folder(tmp_path):
    """Results of a run with places 1 to 3, and place 4 below tau."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"run": RUN}))
    for layer, ranks in (("candidates", [1, 2, 3]), ("below_tau", [4])):
        boxes = [shapely.box(10 * rank, 0, 10 * rank + 5, 5) for rank in ranks]
        frame = geopandas.GeoDataFrame({"rank": ranks, "rho": [9.0 - rank for rank in ranks]}, geometry=boxes, crs=MARS)
        writing.write_geopackage(out / "candidates.gpkg", frame, layer)
    return out


def feature(rank, mark, **more):
    return {
        "type": "Feature",
        "geometry": None,
        "properties": {"rank": rank, "mark": mark, "class": None, "note": None} | more,
    }


def saved(path, *features, run=RUN):
    path.write_text(json.dumps({"type": "FeatureCollection", "planetcd": {"run": run}, "features": features}))
    return path


def test_accepted_places_become_a_geopackage_and_geoparquet(folder, tmp_path, capsys):
    file = saved(
        tmp_path / "marks.json", feature(4, "accepted", note="faint"), feature(2, "rejected"),
        feature(1, "accepted", **{"class": "fresh impact"}), feature(3, None, note="only a note"),
    )  # fmt: skip
    assert scene.execute([f"--marks={file}", f"--output_dir={folder}", "--parquet"]) == 0
    assert "2 accepted of 4 marked places" in capsys.readouterr().out
    for read in (
        geopandas.read_file(folder / "accepted.gpkg", layer="accepted"),
        geopandas.read_parquet(folder / "accepted.parquet"),
    ):
        assert read["rank"].tolist() == [1, 4] and read["rho"].tolist() == [8.0, 5.0]
        assert read["mark"].tolist() == ["accepted"] * 2
        assert read["class"].tolist() == ["fresh impact", ""] and read["note"].tolist() == ["", "faint"]
        assert read.geometry.iloc[1].bounds == (40, 0, 45, 5)
        assert read.crs.equals(MARS, ignore_axis_order=True)
    assert "layer_styles" in geopandas.list_layers(folder / "accepted.gpkg")["name"].tolist()
    first = (folder / "accepted.gpkg").read_bytes()
    assert scene.execute([f"--marks={file}", f"--output_dir={folder}"]) == 0  # replaced, and the same
    assert (folder / "accepted.gpkg").read_bytes() == first


def test_marks_as_csv_say_the_same(tmp_path):
    file = tmp_path / "marks.csv"
    file.write_text(f'run,mark,class,note,above_tau,tau,rank\n{RUN},accepted,,"a, ""b""",true,1,2\n{RUN},,,,true,1,3\n')
    assert marks.read_marks(file) == (RUN, [{"rank": 2, "mark": "accepted", "class": "", "note": 'a, "b"'}])


def test_a_page_without_accepted_places_gives_an_empty_layer(folder, tmp_path):
    written, count = marks.write_accepted(marks.read_marks(saved(tmp_path / "m.json")), folder, parquet=False)
    assert count == 0 and len(geopandas.read_file(written[0], layer="accepted")) == 0


NO_MARKS = (
    "",
    "nothing",
    "{}",
    '{"planetcd": {"run": 1}, "features": [{}]}',
    "rank,mark\n1,accepted\n",
    f"run,mark,class,note,rank\n{RUN},loved,,,1\n",
)


@pytest.mark.parametrize("text", NO_MARKS)
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "marks.json"
    file.write_text(text)
    with pytest.raises(DataError, match="holds no marks of this program"):
        marks.read_marks(file)


def test_what_does_not_fit_is_one_line(folder, tmp_path, capsys):
    one = saved(tmp_path / "one.json", feature(1, "accepted"), run="another")
    cases = [
        (
            [f"--marks={one}", f"--output_dir={folder}"],
            f"are of run another, and --output_dir={folder} holds run {RUN}",
        ),
        ([f"--marks={one}", f"--output_dir={tmp_path}"], "holds no results of a scene"),
        ([f"--marks={one}"], "--marks needs the --output_dir"),
        ([f"--marks={tmp_path / 'none.json'}", f"--output_dir={folder}"], "cannot be read (No such file"),
        (
            [f"--marks={saved(tmp_path / 'm.json', feature(9, 'accepted'))}", f"--output_dir={folder}"],
            "no place of rank 9",
        ),
    ]
    for arguments, said in cases:
        assert scene.execute(arguments) == 1
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1, error


def test_gdal_reads_the_page_s_json_on_its_planet(tmp_path):
    """The page writes the map's own WKT where GeoJSON of 2008 has the name of a system."""
    crs = {"type": "name", "properties": {"name": CRS.from_string("IAU_2015:49910").to_wkt()}}
    ring = [[4_446_000.0, 0.0], [4_446_600.0, 0.0], [4_446_600.0, 600.0], [4_446_000.0, 0.0]]
    one = feature(1, "accepted") | {"geometry": {"type": "Polygon", "coordinates": [ring]}}
    file = tmp_path / "marks.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "planetcd": {"run": RUN}, "features": [one]}))
    read = geopandas.read_file(file)
    assert read.crs.equals(MARS, ignore_axis_order=True) and read.total_bounds.tolist() == [4446000, 0, 4446600, 600]
