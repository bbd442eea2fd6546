"""What a scene's threshold rests on: labels' angles, marked stable ground, false discovery rate, explanations."""

import csv
import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from planetcd_jax import explain, scene
from planetcd_jax.errors import DataError
from planetcd_jax.scenes import labels, stable
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.scoring import Plan
from planetcd_jax.scenes.source import Source, no_grid_warning
from tests.test_scene import CHANGE, GRID, images, write  # noqa: F401  (a fixture)

FAST = (
    "--preset=paper",
    "--layer=conv1_1",
    "--window=48",
    "--stride=24",
    "--null_draws=3",
    "--pixel_maps=0",
    "--quiet",
)


def _polygon(box):
    """A rectangle of pixels (row, column, row, column) in map coordinates."""
    r0, c0, r1, c1 = box
    corners = (c0, r0), (c1, r0), (c1, r1), (c0, r1)
    return shapely.Polygon([(GRID.c + GRID.a * c, GRID.f + GRID.e * r) for c, r in corners])


@pytest.fixture
def ground(tmp_path):
    def make(box, crs="IAU_2015:49910"):
        path = tmp_path / "stable.gpkg"
        with no_grid_warning():
            geopandas.GeoSeries([_polygon(box)], crs=crs).to_file(path)
        return str(path)

    return make


def test_angles_are_read_from_labels(tmp_path):
    path = tmp_path / "label.tif"
    with no_grid_warning(), rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, height=8, width=8) as out:
        out.write(np.ones((1, 8, 8), np.uint8))
        out.update_tags(SUB_SOLAR_AZIMUTH="181.5 <deg>", IncidenceAngle="42", NOTE="phase", PHASE_ANGLE="none")
    with no_grid_warning(), rasterio.open(path) as dataset:
        assert labels.angles(dataset) == {"sun_azimuth": 181.5, "incidence": 42.0}


def test_angles_of_a_pds3_label(tmp_path):
    # As GDAL's JSON of a PDS3 label: with and without a unit.
    class Label:
        def tags(self, ns=None):
            text = '{\n  "VIEWING":{\n "INCIDENCE_ANGLE":{\n "value":63.1,\n "unit":"DEG"},\n "PHASE_ANGLE":55.0 }}'
            return {} if ns is None else dict([text.split(":", 1)])

        def tag_namespaces(self):
            return ["json:PDS", "IMAGE_STRUCTURE"]

    assert labels.angles(Label()) == {"incidence": 63.1, "phase": 55.0}


def test_windows_inside_marked_ground(images, ground):  # noqa: F811
    pair, plan = AlignedPair(*map(Source, images)), Plan(48, 24)
    shape = (11, 12)
    found = stable.inside(ground((0, 0, 120, 96)), pair, plan, shape)
    # By hand: window (r, s) covers rows 24 r to 24 r + 48, columns 24 s to 24 s + 48.
    rows, cols = np.nonzero(found)
    assert (rows.max(), cols.max(), found.sum()) == (3, 2, 12)
    with pytest.raises(DataError, match="holds 12 whole windows of 48 px, and a threshold needs 20"):
        stable.scores(ground((0, 0, 120, 96)), np.ones(shape), pair, plan)
    with pytest.raises(DataError, match=r"nowhere.gpkg does not exist; --stable_ground names a vector file"):
        stable.inside("nowhere.gpkg", pair, plan, shape)


@pytest.mark.slow
def test_a_scene_with_stable_ground_and_false_discovery_rate(images, ground, tmp_path):  # noqa: F811
    box = (0, 0, 300, CHANGE[1] - 40) if CHANGE[1] > 165 else (0, CHANGE[1] + 40, 300, 330)
    arguments = [f"--before={images[0]}", f"--after={images[1]}", *FAST, f"--stable_ground={ground(box)}"]
    assert scene.execute([*arguments, f"--output_dir={tmp_path / 'a'}", "--page_candidates=2"]) == 0
    said = json.loads((tmp_path / "a" / "run.json").read_text())
    assert said["n_null"] >= stable.LEAST_WINDOWS
    assert "on the ground that was marked as stable" in (tmp_path / "a" / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "a" / "candidates.csv").read_text().splitlines()))
    assert rows and rows[0]["explanation"] and set(explain.COLUMNS[4:]) <= set(rows[0])
    assert abs(float(rows[0]["row"]) - CHANGE[0]) < 40 and abs(float(rows[0]["col"]) - CHANGE[1]) < 40

    assert scene.execute([*arguments, f"--output_dir={tmp_path / 'b'}", "--page_candidates=1", "--fdr=0.3"]) == 0
    said = json.loads((tmp_path / "b" / "run.json").read_text())
    with no_grid_warning(), rasterio.open(tmp_path / "b" / "rho.tif") as out:
        rho, p_value = out.read(masked=True).filled(np.nan)
    p = np.sort(p_value[np.isfinite(p_value)])
    # Oracle: the definition, written out.
    passing = [k for k in range(1, len(p) + 1) if p[k - 1] <= 0.3 * k / len(p) + 1e-9]
    wanted = (p_value <= (p[passing[-1] - 1] if passing else -1)) & np.isfinite(p_value)
    np.testing.assert_array_equal(np.where(np.isfinite(rho), rho > np.float32(said["tau"]), False), wanted)


def test_bad_rates_are_named(images, tmp_path, capsys):  # noqa: F811
    arguments = [f"--before={images[0]}", f"--after={images[1]}", *FAST, f"--output_dir={tmp_path / 'x'}"]
    for flags, words in (
        (["--false_alarm_rate=0.1", "--quantile=0.9"], "are both given, and say the same; give one"),
        (["--false_alarm_rate=1.5"], "--false_alarm_rate=1.5: give a share in [0, 1)"),
        (["--fdr=2"], "the false discovery rate is 2.0; give a share"),
        (["--stable_ground=nowhere.gpkg"], "nowhere.gpkg"),
    ):
        assert scene.execute([*arguments, *flags]) == 1
        assert words in capsys.readouterr().err
