"""Scenes with several before-images by the command line: columns, records, page, resuming, and what is refused."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

from planetcd_jax import scene
from planetcd_jax.scenes import dating
from planetcd_jax.scenes.source import Source

pytestmark = pytest.mark.slow

geopandas = pytest.importorskip("geopandas", reason="needs the extra 'scene'")

GRID = Affine(6.0, 0.0, 4_446_000.0, 0.0, -6.0, 1_104_000.0)
TIMES = ("2012-02-07T00:00:00Z", "2010-03-01T00:00:00Z", "2014-05-20T00:00:00Z", "2016-08-11T00:00:00Z")
LATER = (60, 160)  # middle of a dark square that is there from the third date on, rows and columns
LATEST = (150, 60)  # that of one on the last date alone
SMALL = (
    "--preset=paper", "--window=48", "--stride=24", "--null_draws=3", "--page_candidates=2", "--pixel_maps=0",
    "--quiet",
)  # fmt: skip


def write(path, image, *, crs="IAU_2015:49910", transform=GRID, time=None):
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": image.shape[0], "width": image.shape[1]}
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=0, **profile) as out:
        out.write(np.clip(image, 1, 255).astype(np.uint8), 1)
        if time:
            out.update_tags(START_TIME=time)
    return str(path)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Names of four dates of 210 x 220 px, the first and second given in the wrong order of time."""
    folder, rng = tmp_path_factory.mktemp("stack"), np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.standard_normal((210, 220)), 1.5)
    ground, names = 120 + 25 * ground / ground.std(), []
    for number, time in enumerate(TIMES):
        image = ground * (1 + 0.1 * number) + rng.normal(0, 2, ground.shape)
        for first, (row, col) in ((2, LATER), (3, LATEST)):
            if number >= first:
                image[row - 8 : row + 8, col - 8 : col + 8] = 50
        names.append(write(folder / f"date_{number}.tif", image, time=time))
    return names


def run(names, out, *more):
    befores = [f"--before={name}" for name in names[:-1]]
    return scene.execute([*befores, f"--after={names[-1]}", f"--output_dir={out}", *SMALL, *more])


@pytest.fixture(scope="module")
def results(stack, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    assert run(stack, out, "--parquet") == 0
    return out


def rows_of(out):
    with open(out / "candidates.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_places_say_on_which_dates_they_are_there(results):
    rows = rows_of(results)
    ordered = sorted(TIMES)
    assert list(rows[0])[-5:] == list(dating.COLUMNS)
    seen = {}
    for row in rows:
        assert row["dates"] == ";".join(ordered)
        for name, (r, c) in (("later", LATER), ("latest", LATEST)):
            if np.hypot(int(row["row"]) - r, int(row["col"]) - c) < 12:
                seen[name] = row
    assert (seen["later"]["last_not_seen"], seen["later"]["first_seen"]) == (TIMES[0], TIMES[2])
    assert seen["later"]["seen_on"] == f"{TIMES[2]};{TIMES[3]}"
    assert (seen["latest"]["last_not_seen"], seen["latest"]["first_seen"]) == (TIMES[2], TIMES[3])
    assert seen["latest"]["seen_on"] == TIMES[3]
    places = geopandas.read_file(results / "candidates.gpkg", layer="candidates")
    parquet = geopandas.read_parquet(results / "candidates.parquet")
    for table in (places, parquet):
        assert list(table["first_seen"]) == [row["first_seen"] for row in rows]


def test_run_json_says_what_was_taken(results, stack):
    report = json.loads((results / "run.json").read_text())
    told = report["dates"]
    assert told["order"] == sorted(TIMES) and told["order_from"] == "times of the labels"
    assert told["files"] == [stack[n] for n in (1, 0, 2, 3)]
    assert [one["name"] for one in told["befores"]] == stack[1:3]
    assert len(told["unchanged_windows"]) == 2 and told["presence"]["seen_from"] == 0.65
    counted = sum(one["null_scores"] for one in told["unchanged_windows"])
    assert 0 < told["tau_of_drawn_null"] and report["n_null"] > counted
    assert report["settings"]["before"] == stack[:3] and report["settings"]["times"] is None
    assert [one["name"] for one in report["identity"]["dates"]["befores"]] == stack[1:3]
    assert report["identity"]["before"] == stack[0]


def test_the_page_shows_every_date(results):
    page = (results / "report.html").read_text()
    assert 'id="dates"' in page and "function showDates" in page
    data = json.loads(page.partition('<script id="data" type="application/json">')[2].partition("</script>")[0])
    assert data["dates"] == [time[:10] for time in sorted(TIMES)]
    for place in data["candidates"]:
        assert [look["told"] in ("seen", "not seen", "unsure") for look in place["looks"]] == [True] * 4
        assert sum(len(look["picture"]) for look in place["looks"]) < 4 * 3500


def test_one_before_image_is_the_program_as_it_was(stack, tmp_path):
    assert run([stack[0], stack[3]], tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["settings"]["before"] == stack[0]
    assert "times" not in report["settings"] and "dates" not in report and "dates" not in report["identity"]
    assert not set(dating.COLUMNS) & set(rows_of(tmp_path / "out")[0])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "showDates" not in page and 'id="dates"' not in page and "looks" not in page


def test_a_resumed_run_compares_all_files(results, stack, tmp_path, capsys):
    assert run(stack, results, "--parquet", "--resume") == 0
    assert "holds the results of this very run already" in capsys.readouterr().out
    changed = tmp_path / "date_1.tif"
    shutil.copy(stack[1], changed)
    assert run([stack[0], str(changed), *stack[2:]], results, "--parquet", "--resume") == 1
    assert "holds earlier results" in capsys.readouterr().err


def test_times_by_a_flag_and_the_order_as_given(stack, tmp_path, capsys):
    given = "--times=2001-01-01,2002-01-01,2003-01-01,2004-01-01"
    assert run(stack, tmp_path / "by_flag", given) == 0
    assert "(order: times of --times)" in capsys.readouterr().out
    assert rows_of(tmp_path / "by_flag")[0]["dates"].startswith("2001-01-01T00:00:00Z;2002-")
    with rasterio.open(stack[1]) as data:
        bare = write(tmp_path / "bare.tif", data.read(1))
    assert np.isnan(Source(bare).time)
    assert run([stack[0], bare, *stack[2:]], tmp_path / "as_given") == 0
    assert f"(order: as given, since {bare} states no time)" in capsys.readouterr().out
    assert rows_of(tmp_path / "as_given")[0]["dates"] == "date_0.tif;bare.tif;date_2.tif;date_3.tif"


def bad_dates(folder, stack):
    ones = np.full((210, 220), 90)
    aside = Affine(6.0, 0.0, GRID.c + 6 * 215, 0.0, -6.0, GRID.f)
    return [
        ("/nowhere/x.tif", "/nowhere/x.tif does not exist; check the path."),
        (write(folder / "far.tif", ones, transform=Affine(6, 0, 0, 0, -6, 0)), "far.tif do not overlap"),
        (write(folder / "moon.tif", ones, crs="IAU_2015:30110"), "moon.tif"),
        (write(folder / "plain.tif", ones), "plain.tif"),
        (write(folder / "aside.tif", ones, transform=aside), "aside.tif"),
        (stack[0], f"{stack[0]} is given twice among --before and --after; name each date once."),
    ]


def test_bad_dates_are_one_line_that_names_the_file(stack, tmp_path, capsys):
    for name, text in bad_dates(tmp_path, stack):
        assert run([stack[0], name, stack[3]], tmp_path / "out") == 1, name
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "count, times, text",
    [
        (4, "2001-01-01", "holds 1 time, and there are 4 images; give one for each --before in turn and one for"),
        (3, "2001-01-01,soon,2003-01-01", "--times: 'soon' is no time; write it as 2012-03-07"),
        (2, "2001-01-01,2002-01-01", "means nothing with one --before; leave it out, or give several."),
    ],
)
def test_bad_times_are_one_line(stack, tmp_path, capsys, count, times, text):
    assert run(stack[-count:], tmp_path / "out", f"--times={times}") == 1
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_a_date_beside_the_common_ground_is_refused(stack, tmp_path, capsys):
    """The second date overlaps the first, but not the part of it that the after-image shows."""
    cut = []
    for name, cols in ((stack[1], slice(0, 80)), (stack[3], slice(100, 220))):
        with rasterio.open(name) as data:
            image, x = data.read(1)[:, cols], GRID.c + 6 * cols.start
        path = tmp_path / pathlib.Path(name).name
        cut.append(write(path, image, transform=Affine(6.0, 0.0, x, 0.0, -6.0, GRID.f)))
    assert run([stack[0], *cut], tmp_path / "out", "--register=none") == 1
    error = capsys.readouterr().err
    assert f"{cut[0]} shows nothing of the ground that {stack[0]} and {cut[1]} have in common" in error
