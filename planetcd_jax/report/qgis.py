"""How results of a scene look when QGIS opens them: styles beside the score map and inside the GeoPackage.

A style is QML, QGIS's own XML. QGIS takes `rho.qml` beside `rho.tif` by itself, and the default style of a GeoPackage's
table `layer_styles`. Other programs pass over both, and find statistics of the bands in the GeoTIFF.
"""

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import quoteattr

import matplotlib
import numpy as np
import rasterio
from matplotlib.colors import to_hex
from rasterio.enums import ColorInterp

from planetcd_jax.files.folders import output_errors

# Colours between tau and the highest score; of one hue order for every colour vision.
_RAMP = "plasma"
_STOPS = 6

# Okabe & Ito's colours, told apart with any colour vision; for groups of kinds in their order, else for kinds by name.
_KINDS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
_OUTLINE = "#00E5FF"

# GeoPackage stores the time of writing; a fixed one keeps repeated runs equal to the byte.
_FIXED_TIME = "2000-01-01T00:00:00.000Z"


def score_style(tau: float, top: float) -> str:
    """Style of a score map: one band, see-through below the threshold, with a legend.

    Args:
        tau: Threshold; lower scores are not drawn.
        top: Highest score.

    Returns:
        QML.
    """
    top = max(top, tau + 1e-6 * max(1.0, abs(tau)))
    values = np.linspace(tau, top, _STOPS)
    colours = [to_hex(colour) for colour in matplotlib.colormaps[_RAMP](np.linspace(0.15, 1.0, _STOPS))]
    items = "\n".join(
        f'          <item alpha="190" value="{value:.9g}" label="{value:.4g}" color="{colour}"/>'
        for value, colour in zip(values, colours, strict=True)
    )
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" nodataColor="" alphaBand="-1"
        classificationMin="{tau:.9g}" classificationMax="{top:.9g}">
      <rasterTransparency/>
      <rastershader>
        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="1" labelPrecision="4"
            minimumValue="{tau:.9g}" maximumValue="{top:.9g}">
{items}
        </colorrampshader>
      </rastershader>
    </rasterrenderer>
    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>
    <huesaturation saturation="0" grayscaleMode="0"/>
    <rasterresampler maxOversampling="2"/>
  </pipe>
  <blendMode>0</blendMode>
</qgis>
"""


def _symbol(name: str, colour: str) -> str:
    """An outline without filling, so that the map is seen under it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    options = {
        "style": "no", "outline_color": f"{red},{green},{blue},255", "outline_style": "solid", "outline_width": "0.5",
        "outline_width_unit": "MM", "joinstyle": "miter",
    }  # fmt: skip
    told = "\n".join(
        f'            <Option type="QString" name="{key}" value="{value}"/>' for key, value in options.items()
    )
    return f"""      <symbol type="fill" name="{name}" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" pass="0" enabled="1" locked="0">
          <Option type="Map">
{told}
          </Option>
        </layer>
      </symbol>"""


def _colour(number: int, kind: str, groups: Sequence[str]) -> str:
    """That of the kind's group, so that it is the same in every scene; of a kind without one that of its number."""
    own = next((k for k, group in enumerate(groups) if group in kind), number)
    return _KINDS[own % len(_KINDS)]


def _renderer(kinds: Sequence[str], groups: Sequence[str]) -> str:
    if not kinds:
        return f"""  <renderer-v2 type="singleSymbol" enableorderby="0" forceraster="0" symbollevels="0">
    <symbols>
{_symbol("0", _OUTLINE)}
    </symbols>
  </renderer-v2>"""
    categories = "\n".join(
        f'      <category symbol="{i}" value={quoteattr(kind)} label={quoteattr(kind)} type="string" render="true"/>'
        for i, kind in enumerate(kinds)
    )
    other = f'      <category symbol="{len(kinds)}" value="" label="other" type="string" render="true"/>'
    symbols = [_symbol(str(i), _colour(i, kind, groups)) for i, kind in enumerate(kinds)]
    symbols.append(_symbol(str(len(kinds)), _OUTLINE))
    return f"""  <renderer-v2 type="categorizedSymbol" attr="kind" enableorderby="0" forceraster="0" symbollevels="0">
    <categories>
{categories}
{other}
    </categories>
    <symbols>
{chr(10).join(symbols)}
    </symbols>
  </renderer-v2>"""


def places_style(kinds: Iterable[str] = (), groups: Sequence[str] = ()) -> str:
    """Style of places: an outline, coloured by kind where there are kinds, and the rank as a label.

    Args:
        kinds: Values of the column `kind`; none: one colour for all. "" is a place without one, which is "other".
        groups: Kinds that hold one of these texts share its colour.

    Returns:
        QML.
    """
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Labeling" labelsEnabled="1">
{_renderer(sorted({*kinds} - {""}), groups)}
  <labeling type="simple">
    <settings calloutType="simple">
      <text-style fieldName="rank" isExpression="0" fontSize="10" fontSizeUnit="Point" fontWeight="75"
          textColor="255,255,255,255" textOpacity="1" namedStyle="Bold">
        <text-buffer bufferDraw="1" bufferSize="0.8" bufferSizeUnits="MM" bufferColor="20,20,20,255" bufferOpacity="1"/>
      </text-style>
      <placement placement="1" centroidInside="1" centroidWhole="1"/>
      <rendering obstacle="0" displayAll="0" drawLabels="1"/>
    </settings>
  </labeling>
  <blendMode>0</blendMode>
</qgis>
"""


def dress_score(path: pathlib.Path, tau: float) -> None:
    """Gives a score map its style (a .qml beside it), statistics of its bands, and one band that readers take for grey.

    Args:
        path: GeoTIFF, "rho" in its first band.
        tau: Threshold.

    Raises:
        OSError, rasterio.errors.RasterioError: if it cannot be written.
    """
    top = tau
    with rasterio.open(path, "r+") as image:
        for band in range(1, image.count + 1):
            values = image.read(band, masked=True).compressed().astype(np.float64)
            if not values.size:
                continue
            top = float(values.max()) if band == 1 else top
            found = {"MINIMUM": values.min(), "MAXIMUM": values.max(), "MEAN": values.mean(), "STDDEV": values.std()}
            image.update_tags(band, **{f"STATISTICS_{name}": f"{value:.9g}" for name, value in found.items()})
        image.colorinterp = (ColorInterp.gray, *[ColorInterp.undefined] * (image.count - 1))
    path.with_suffix(".qml").write_text(score_style(tau, top), encoding="utf-8")


_COLUMNS = """
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME
"""


def dress_places(path: pathlib.Path, layer: str, groups: Sequence[str] = ()) -> None:
    """Puts the default style of a layer into its GeoPackage, and mends the name of its reference system for QGIS.

    Args:
        path: GeoPackage.
        layer: Its layer of places, with the column `rank` and perhaps `kind`.
        groups: As in `places_style`.

    Raises:
        OutputError: if it cannot be written.
    """
    with output_errors(str(path), "free some space and go on with --resume", kinds=(sqlite3.Error,)):
        _write_style(path, layer, groups)


def _write_style(path: pathlib.Path, layer: str, groups: Sequence[str]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        quoted = '"' + layer.replace('"', '""') + '"'
        names = {row[1] for row in base.execute(f"PRAGMA table_info({quoted})")}
        kinds = (
            [str(row[0]) for row in base.execute(f"SELECT DISTINCT kind FROM {quoted} WHERE kind IS NOT NULL")]
            if "kind" in names
            else []
        )
        geometry = base.execute(
            "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
        ).fetchone()[0]
        # GDAL drops the year of IAU_2015, and QGIS finds no system without it.
        base.execute(
            "UPDATE gpkg_spatial_ref_sys SET organization = 'IAU_2015', definition = "
            "replace(definition, 'AUTHORITY[\"IAU\",', 'AUTHORITY[\"IAU_2015\",') WHERE organization = 'IAU'"
        )
        base.execute(f"CREATE TABLE layer_styles ({_COLUMNS})")
        base.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)",
            (_FIXED_TIME,),
        )
        base.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner, update_time) "
            "VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '', ?)",
            (layer, geometry, layer, places_style(kinds, groups), "Outline by kind, labelled by rank", _FIXED_TIME),
        )
