"""How QGIS shows the results of a scene: styles, statistics, and, where PyQGIS is installed, QGIS itself, offscreen."""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import xml.etree.ElementTree as ET

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import Affine

from planetcd_jax.errors import OutputError
from planetcd_jax.report import qgis
from planetcd_jax.scenes import writing
from planetcd_jax.scenes.grids import Grid

TAU = 4.0
MARS = "IAU_2015:49910"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A score map of 40 x 50 windows with a bright square, and two places, on Mars."""
    folder = tmp_path_factory.mktemp("out")
    rho = np.full((40, 50), 1.0, np.float32)
    rho[:, 25:] = 2.0
    rho[10:20, 5:15] = 9.0
    rho[0, 0] = np.nan
    crs = rasterio.crs.CRS.from_user_input(MARS)
    grid = Grid(40, 50, Affine(100, 0, 0, 0, -100, 4000), crs)
    writing.write_geotiff(folder / "rho.tif", {"rho": rho, "p_value": 1 / (1 + rho)}, grid, {"tau": str(TAU)})
    qgis.dress_score(folder / "rho.tif", TAU)
    boxes = [shapely.box(500, 2000, 1500, 3000), shapely.box(3000, 500, 3600, 1100)]
    frame = geopandas.GeoDataFrame({"rank": [1, 2], "kind": ["new", 'gone & "odd" <x>']}, geometry=boxes, crs=MARS)
    frame.to_file(folder / "candidates.gpkg", layer="candidates", engine="pyogrio")
    qgis.dress_places(folder / "candidates.gpkg", "candidates")
    return folder


def test_the_score_map_keeps_its_values_and_gets_statistics(results):
    with rasterio.open(results / "rho.tif") as image:
        rho = image.read(1, masked=True)
        assert float(rho.max()) == 9.0 and image.descriptions == ("rho", "p_value")
        assert [one.name for one in image.colorinterp] == ["gray", "undefined"]
        told = {name: float(value) for name, value in image.tags(1).items() if name.startswith("STATISTICS")}
        assert told["STATISTICS_MAXIMUM"] == 9 and told["STATISTICS_MEAN"] == pytest.approx(rho.mean(), rel=1e-6)
        assert "STATISTICS_MINIMUM" in image.tags(2)


def test_the_style_of_the_score_begins_at_tau_and_shows_one_band(results):
    style = ET.parse(results / "rho.qml").getroot()
    renderer = style.find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("singlebandpseudocolor", "1")
    shader = renderer.find("rastershader/colorrampshader")
    values = [float(item.get("value")) for item in shader.iter("item")]
    assert shader.get("clip") == "1" and values[0] == TAU and values[-1] == 9 and values == sorted(values)


def test_a_score_map_without_a_finding_has_a_style_too():
    shader = ET.fromstring(qgis.score_style(4.0, 3.0).partition("\n")[2]).find(".//colorrampshader")
    values = [float(item.get("value")) for item in shader.iter("item")]
    assert values[0] == 4.0 and len(set(values)) == len(values)


def test_places_have_a_default_style_with_kinds_and_ranks(results):
    with sqlite3.connect(results / "candidates.gpkg") as base:
        (row,) = base.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
    assert row[:3] == ("candidates", "geom", 1)
    style = ET.fromstring(row[3].partition("\n")[2])
    assert [c.get("value") for c in style.iter("category")] == ['gone & "odd" <x>', "new", ""]
    assert style.find("labeling/settings/text-style").get("fieldName") == "rank"
    assert {o.get("value") for o in style.iter("Option") if o.get("name") == "style"} == {"no"}  # nothing is filled


def categories(style):
    """Value, label and colour of each category of a style."""
    root = ET.fromstring(style.partition("\n")[2])
    colours = {
        symbol.get("name"): next(o.get("value") for o in symbol.iter("Option") if o.get("name") == "outline_color")
        for symbol in root.iter("symbol")
    }
    return [(c.get("value"), c.get("label"), colours[c.get("symbol")]) for c in root.iter("category")]


def test_places_without_a_kind_are_one_category():
    found = categories(qgis.places_style(["", "new dark spot", ""]))
    assert [one[:2] for one in found] == [("new dark spot", "new dark spot"), ("", "other")]
    assert qgis.places_style([""]) == qgis.places_style() and "singleSymbol" in qgis.places_style()


def test_kinds_of_one_group_have_one_colour_that_is_the_same_in_every_scene():
    groups = ("spot", "streak")
    one = {value: colour for value, _, colour in categories(qgis.places_style(["new streak", "lost streak"], groups))}
    two = {value: colour for value, _, colour in categories(qgis.places_style(["a spot", "new streak", "x"], groups))}
    assert one["new streak"] == one["lost streak"] == two["new streak"] != two["a spot"]
    assert two[""] not in (one["new streak"], two["a spot"])


def test_other_readers_find_the_places_as_before(results):
    places = geopandas.read_file(results / "candidates.gpkg", layer="candidates")
    assert list(places["rank"]) == [1, 2] and places.crs.name


def test_a_geopackage_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "x.gpkg").write_bytes(b"no database at all, " * 100)
    with pytest.raises(OutputError, match=r"x\.gpkg cannot be written \(file is not a database\)"):
        qgis.dress_places(tmp_path / "x.gpkg", "candidates")


def _python_of_qgis():
    """An interpreter that has PyQGIS, or None."""
    for name in (os.environ.get("QGIS_PYTHON"), "/usr/bin/python3", shutil.which("python3")):
        if name and pathlib.Path(name).exists():
            done = subprocess.run([name, "-c", "import qgis.core"], capture_output=True)
            if done.returncode == 0:
                return name
    return None


RENDER = """
import sys
from qgis.core import *
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
QgsApplication.setPrefixPath("/usr", True)
app = QgsApplication([], False)
app.initQgis()
folder = sys.argv[1]
rho = QgsRasterLayer(folder + "/rho.tif", "rho")
places = QgsVectorLayer(folder + "/candidates.gpkg|layername=candidates", "places", "ogr")
assert rho.isValid() and places.isValid()
print("renderer", rho.renderer().type(), places.renderer().type())
print("labels", places.labelsEnabled(), places.labeling().settings().fieldName)
print("system", rho.crs().isValid(), places.crs().isValid(), rho.crs().authid() or rho.crs().description())
print("legend", len(rho.legendSymbologyItems()))
def image(layers):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(rho.crs())
    settings.setExtent(rho.extent())
    settings.setOutputSize(QSize(500, 400))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()
picture = image([places, rho])
picture.save(folder + "/map.png")
alone = image([rho])
for name, x, y in (("below", 400, 50), ("above", 60, 110), ("inside", 70, 120)):
    print(name, *alone.pixelColor(x, y).getRgb()[:3], "with places", *picture.pixelColor(x, y).getRgb()[:3])
del picture, alone, rho, places
app.exitQgis()
"""


@pytest.mark.slow
def test_qgis_itself_opens_and_draws_them(results):
    python = _python_of_qgis()
    if python is None:
        pytest.skip("PyQGIS is not installed (apt-get install qgis python3-qgis), or QGIS_PYTHON does not name it")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PROJ", "GDAL", "VIRTUAL"))}
    environment |= {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(results)}
    done = subprocess.run(
        [python, "-c", RENDER, str(results)], capture_output=True, text=True, env=environment, timeout=300
    )
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert "inside" in said, done.stderr[-2000:]
    assert said["renderer"] == ["singlebandpseudocolor", "categorizedSymbol"]
    assert said["labels"] == ["True", "rank"] and said["system"][:2] == ["True", "True"]
    assert int(said["legend"][0]) >= 2
    assert said["below"][:3] == ["255"] * 3  # see-through below tau
    assert said["above"][:3] != ["255"] * 3
    assert said["inside"][:3] == said["inside"][-3:]  # the map is seen under the outline: it is not filled
