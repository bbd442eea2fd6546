"""Tie points that a person set: files of QGIS, of ISIS, and plain CSV."""

import csv
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from planetcd_jax.errors import DataError
from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.coregister.models import LEAST, Points, distances, fit
from planetcd_jax.scenes.grids import Grid
from planetcd_jax.scenes.outlying import outlying
from planetcd_jax.scenes.pixel_map import PixelMap

# A homography replaces an affine map where the affine map's residual is above this, pixels, and above this factor times
# the homography's, and there are so many points.
_AFFINE_RESIDUAL, _RESIDUAL_FACTOR, _LEAST_POINTS = 2.0, 2.0, 6

_PLAIN = {
    "before_col": ("beforecol", "col1", "x1", "beforex", "col", "sample", "referencesample", "matchsample"),
    "before_row": ("beforerow", "row1", "y1", "beforey", "row", "line", "referenceline", "matchline"),
    "after_col": ("aftercol", "col2", "x2", "afterx", "translatedsample", "fromsample", "registeredsample"),
    "after_row": ("afterrow", "row2", "y2", "aftery", "translatedline", "fromline", "registeredline"),
}
"""Names of columns, without case and underscores. Those with sample and line count pixels from 1, as ISIS does."""

_HINT = (
    "give a .points file of QGIS, the text of an ISIS control network or of coreg, or a CSV with the columns "
    "before_row,before_col,after_row,after_col"
)


class Model(NamedTuple):
    """What tie points ask for.

    Attributes:
        matrix: [3, 3], of the frame.
        kind: One of `KINDS`.
        points: How many of them were used.
        off: Median distance by which it leaves them, pixels.
        said: Which were left out since the others contradict them; empty for none.
    """

    matrix: np.ndarray
    kind: str
    points: int
    off: float
    said: str


def model(path: str, frame: Frame) -> Model:
    """The model that tie points of a file ask for.

    Args:
        path: The file.
        frame: The images.

    Returns:
        `Model`. One and two points give a shift, three and more an affine map, six and more a homography where an
        affine map is clearly worse.

    Raises:
        DataError: in one line, if the file cannot be read or used.
    """
    here, after = _read(path, frame)
    count = here[0].size
    # Pixels of the second image to the frame: where its own system says that they lie.
    there = PixelMap(frame.after_grid, frame.grid)(*after)
    if not all(np.isfinite(part).all() for part in (*here, *there)):
        raise DataError(f"{path}: some of its {count} points lie where the images' systems have no place; {_HINT}.")
    odd = outlying(*here, *there)
    here, there = ((cols[odd.kept], rows[odd.kept]) for cols, rows in (here, there))
    count = int(odd.kept.sum())
    kind = "shift" if count < LEAST["affine"] else "affine"
    if kind == "affine" and np.linalg.matrix_rank(np.stack([*here, np.ones(count)], axis=-1), tol=1e-3 * count) < 3:
        raise DataError(f"{path}: its {count} points lie on one line; set three or more that span the images.")
    matrix = fit(kind, here, there)
    off = float(np.median(distances(matrix, here, there)))
    if count >= _LEAST_POINTS and off > _AFFINE_RESIDUAL:
        bent = fit("homography", here, there)
        bent_off = float(np.median(distances(bent, here, there)))
        if bent_off * _RESIDUAL_FACTOR < off:
            return Model(bent, "homography", count, bent_off, odd.said())
    return Model(matrix, kind, count, off, odd.said())


def _read(path: str, frame: Frame) -> tuple[Points, Points]:
    """Pixels (columns, rows) of the first and of the second image."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DataError(f"{path} cannot be read ({reason}); {_HINT}.") from None
    if re.search(r"^\s*Object\s*=\s*ControlNetwork", text, re.MULTILINE | re.IGNORECASE):
        return _of_network(path, text)
    lines = [line for line in text.splitlines() if line.strip()]
    system = next((line.partition(":")[2].strip() for line in lines if line.upper().startswith("#CRS:")), None)
    table = [line for line in lines if not line.startswith("#")]
    if not table:
        raise DataError(f"{path} holds no tie points; {_HINT}.")
    mark = max(",;\t", key=table[0].count)  # spreadsheets write ; where the comma is a decimal sign
    rows = list(csv.reader(table, delimiter=mark))
    names = [re.sub(r"[\s_]", "", name).lower() for name in rows[0]]
    if "mapx" in names:
        return _of_qgis(path, names, rows[1:], system, frame)
    return _of_table(path, names, rows)


def _numbers(path: str, rows: Sequence[Sequence[str]], columns: Sequence[int]) -> np.ndarray:
    """[4, N] float64."""
    try:
        found = np.array([[float(row[k].replace(",", ".")) for k in columns] for row in rows], float).reshape(-1, 4).T
    except (ValueError, IndexError):
        raise DataError(f"{path}: a line holds something else than four numbers; {_HINT}.") from None
    if found.shape[1] == 0:
        raise DataError(f"{path} holds no tie points; {_HINT}.")
    return found


def _of_table(path: str, names: list[str], rows: list[list[str]]) -> tuple[Points, Points]:
    columns = []
    for wanted, known in _PLAIN.items():
        at = [k for k, name in enumerate(names) if name in known]
        if not at:
            raise DataError(f"{path} has no column {wanted} (it has {', '.join(rows[0])[:80]}); {_HINT}.")
        columns.append(at[0])
    numbers = _numbers(path, rows[1:], columns)
    lead = 0.5 if any(names[k].endswith(("sample", "line")) for k in columns) else 0.0
    before_col, before_row, after_col, after_row = numbers - lead
    return (before_col, before_row), (after_col, after_row)


def _of_qgis(
    path: str, names: list[str], rows: list[list[str]], system: str | None, frame: Frame
) -> tuple[Points, Points]:
    """QGIS: the second image was referenced on the first. Rows of its pixels are negative."""
    source = ("sourcex", "sourcey") if "sourcex" in names else ("pixelx", "pixely")
    try:
        columns = [names.index(name) for name in ("mapx", "mapy", *source)]
    except ValueError:
        raise DataError(f"{path} lacks the columns sourceX and sourceY; {_HINT}.") from None
    if "enable" in names:
        rows = [row for row in rows if len(row) <= names.index("enable") or row[names.index("enable")].strip() != "0"]
    x, y, cols, lines = _numbers(path, rows, columns)
    after_grid = frame.after.grid
    # QGIS writes pixels for a picture, and map coordinates for an image that lies on a map already.
    beyond = 0.1 * max(after_grid.height, after_grid.width)
    inside = [
        (v >= -beyond).all() and (v <= n + beyond).all()
        for v, n in ((cols, after_grid.width), (-lines, after_grid.height))
    ]
    on_pixels = after_grid.crs is None or all(inside)
    after = (cols, -lines) if on_pixels else frame.after.grid.pixels(cols, lines)
    if frame.before.grid.crs is None:
        return (x, -y), after
    return _on_map(path, x, y, system, frame), after


def _on_map(path: str, x: np.ndarray, y: np.ndarray, system: str | None, frame: Frame) -> Points:
    """Pixels of the first image of points of a map."""
    crs = frame.before.grid.crs
    assert crs is not None
    own = frame.before.grid
    if system:
        try:
            named = CRS.from_user_input(system)
            return PixelMap(Grid(1, 1, _identity(), named), own)(x, y)
        except (CRSError, DataError):
            raise DataError(f"{path} names a reference system that cannot be used ({system[:60]}); {_HINT}.") from None
    return own.pixels(x, y)


def _identity():
    from affine import Affine

    return Affine.identity()


def _of_network(path: str, text: str) -> tuple[Points, Points]:
    """Text of an ISIS control network (cnetbin2pvl): points that both images have a measure of.

    The image whose serial number comes first in the file is the first one.
    """
    serials: list[str] = []
    here, there = [], []
    for point in re.split(r"^\s*Object\s*=\s*ControlPoint\s*$", text, flags=re.MULTILINE | re.IGNORECASE)[1:]:
        measures = {}
        head, *groups = re.split(r"^\s*Group\s*=\s*ControlMeasure\s*$", point, flags=re.MULTILINE | re.IGNORECASE)
        if re.search(r"^\s*Ignore\s*=\s*True", head, re.MULTILINE | re.IGNORECASE):
            continue
        for group in groups:
            said = dict(re.findall(r"^\s*(SerialNumber|Sample|Line|Ignore)\s*=\s*(\S+)", group, re.MULTILINE))
            if said.get("Ignore", "False").lower() != "true" and {"SerialNumber", "Sample", "Line"} <= set(said):
                measures[said["SerialNumber"]] = float(said["Sample"]) - 0.5, float(said["Line"]) - 0.5
                serials += [said["SerialNumber"]] if said["SerialNumber"] not in serials else []
        if len(serials) >= 2 and set(serials[:2]) <= set(measures):
            here.append(measures[serials[0]])
            there.append(measures[serials[1]])
    if len(serials) > 2 or not here:
        raise DataError(
            f"{path} is a control network of {len(serials)} images with {len(here)} common points; {_HINT}."
        )
    one, other = np.array(here).T, np.array(there).T
    return (one[0], one[1]), (other[0], other[1])
