"""Control and tie points that contradict the others are left out, and which they are is said."""

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from test_placement import MARS, bent, camera, ground, map_of, write

from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.coregister import tie_points
from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.outlying import outlying
from planetcd_jax.scenes.source import Source


def seen(kind, cols, rows):
    """Coordinates of pixels."""
    if kind == "affine":
        return 3 * cols + 0.2 * rows, -3 * rows + 0.1 * cols
    if kind == "quadratic":
        return 3 * cols + 4e-4 * rows**2, -3 * rows + 3e-4 * rows * cols
    return 3 * cols + 90 * np.sin(cols / 300) + 60 * (rows / 800) ** 3, -3 * rows + 60 * np.cos(cols / 200 + rows / 400)


@pytest.mark.parametrize("kind", ["affine", "quadratic", "bent"])
@pytest.mark.parametrize("bad", [(), (0,), (17,), (3, 40)])
def test_only_points_that_are_wrong_are_left_out(kind, bad):
    rng = np.random.default_rng(0)
    cols, rows = (x.ravel() for x in np.meshgrid(np.linspace(0, 1000, 7), np.linspace(0, 800, 7)))
    x, y = seen(kind, cols, rows)
    cols, rows = cols + rng.normal(0, 0.5, cols.size), rows + rng.normal(0, 0.5, cols.size)
    far = 60 if kind == "bent" else 30
    cols[list(bad)] += far
    found = outlying(x, y, cols, rows)
    assert tuple(np.flatnonzero(~found.kept)) == bad
    np.testing.assert_allclose(found.off[list(bad)], far, atol=0.2 * far)
    assert found.said().count("px off") == len(bad)


def test_few_points_are_all_kept():
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 500, (4, 7))
    assert outlying(*points).kept.all()


def test_a_bad_control_point_is_not_followed(tmp_path):
    good = camera(tmp_path / "good.tif")
    with rasterio.open(good) as src:
        image, gcps = src.read(1), list(src.gcps[0])
    k = 40
    p = gcps[k]
    gcps[k] = GroundControlPoint(p.row, p.col, p.x + 200.0, p.y)  # 40 px
    bad = Source(write(tmp_path / "bad.tif", image, gcps=gcps, gcps_crs=MARS))
    assert "left out, since the others contradict it: point 41 (39 px off)" in bad.note
    pair = AlignedPair(Source(map_of(tmp_path / "map.tif")), bad)
    whole = AlignedPair(Source(map_of(tmp_path / "map.tif")), Source(good))
    box = pair.overlap
    assert (box.height, box.width) == (whole.overlap.height, whole.overlap.width)
    one, other = (x.read_after(0, 0, box.height, box.width) for x in (pair, whole))
    both = one[1] & other[1]
    assert both.mean() > 0.3
    np.testing.assert_allclose(one[0][both], other[0][both], atol=1.0)


def test_a_bad_tie_point_is_not_followed(tmp_path):
    rows, cols = np.mgrid[:200, :200] + 0.5
    image = ground(*bent(cols, rows, 0.0)).astype(np.float32)
    images = [Source(write(tmp_path / f"{k}.tif", image)) for k in "ab"]
    rng = np.random.default_rng(0)
    here = rng.uniform(0, 200, (12, 2))
    there = here + np.array([3.0, -2.0])
    there[4, 0] += 25.0
    lines = ["before_row,before_col,after_row,after_col"]
    lines += [f"{a[0]},{a[1]},{b[0]},{b[1]}" for a, b in zip(here, there, strict=True)]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    found = tie_points.model(str(tmp_path / "points.csv"), Frame(*images))
    np.testing.assert_allclose(found.matrix, [[1, 0, -2], [0, 1, 3], [0, 0, 1]], atol=1e-6)
    assert found.points == 11 and found.said == "left out, since the others contradict it: point 5 (25 px off)"
