"""Pairs whose files lie on different grids: the ground that both show is compared, or one line says why not."""

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from scipy.ndimage import map_coordinates

from planetcd_jax.errors import BadPairError
from planetcd_jax.pairs import open_dataset, placing
from planetcd_jax.scenes.source import no_grid_warning

SIZE = 96
MARS = "+proj=eqc +R=3396190 +units=m +no_defs"
GROUND = np.random.default_rng(5).integers(1, 255, (160, 160)).astype(np.uint8)


def at(row, col, pixel=6.0):
    """The transform of an image whose first pixel is (row, col) of the ground."""
    return Affine(pixel, 0, 6.0 * col, 0, -pixel, -6.0 * row)


def write(path, image, crs=MARS, transform=None, **more):
    image = image if image.ndim == 3 else image[None]
    facts = {"driver": "GTiff", "dtype": image.dtype, "count": len(image), "height": image.shape[1]}
    place = {} if transform is None else {"crs": crs, "transform": transform}
    place |= {"crs": crs} if "gcps" in more else {}
    with no_grid_warning(), rasterio.open(path, "w", width=image.shape[2], **facts, **place, **more) as out:
        out.write(image)
    return path


def read(before, after, **options):
    table = before.parent / "pairs.csv"
    table.write_text(f"id,before,after\nx,{before.name},{after.name}\n")
    with open_dataset("pairs", pairs_csv=str(table), stretch=options.pop("stretch", "dtype"), **options) as pairs:
        found = pairs.read(0), pairs.shape(0), dict(pairs.provenance["laid_by_grids"])
    return found


def part(row, col, height=SIZE, width=SIZE):
    return GROUND[row : row + height, col : col + width]


BEFORE = {"image": part(10, 20), "transform": at(10, 20)}


def shifted_degrees():
    degrees = 6.0 / (np.pi * 3396190 / 180)
    return Affine(degrees, 0, 350 + 30 * degrees, 0, -degrees, -25 * degrees)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        ({"image": part(25, 30), "transform": at(25, 30)}, (81, 86)),  # whole pixels
        ({"image": part(10, 20, 97, 95), "transform": at(10, 20)}, (96, 95)),  # a row more and a column less
        ({"image": part(25, 30)[::-1], "transform": Affine(6, 0, 180, 0, 6, -6 * 121)}, (81, 86)),  # south up
        ({"image": part(25, 30)[:, ::-1], "transform": Affine(-6, 0, 6 * 126, 0, -6, -150)}, (81, 86)),  # east left
    ],
    ids=["offset", "size", "south_up", "east_left"],
)
def test_the_ground_that_both_show_is_compared(tmp_path, after, share):
    files = write(tmp_path / "a.tif", **BEFORE), write(tmp_path / "b.tif", **after)
    pair, shape, placed = read(*files)
    assert pair.before.shape == pair.after.shape == shape == share
    np.testing.assert_array_equal(pair.before, pair.after)
    assert list(placed) == ["x"]


def test_degrees_of_two_domains_are_one_place(tmp_path):
    system, turn = "+proj=longlat +R=3396190 +no_defs", shifted_degrees()
    other = Affine(turn.a, 0, turn.c - 360, 0, turn.e, turn.f)
    files = (
        write(tmp_path / "a.tif", part(25, 30), system, turn),
        write(tmp_path / "b.tif", part(25, 30), system, other),
    )
    np.testing.assert_allclose(*read(*files)[0][:2], atol=1e-6)


def test_coarser_pixels_are_brought_to_the_first_dates(tmp_path):
    coarse = GROUND.reshape(80, 2, 80, 2).mean(axis=(1, 3)).astype(np.uint8)
    fine = coarse.repeat(2, 0).repeat(2, 1)
    files = (
        write(tmp_path / "a.tif", fine[10 : 10 + SIZE, 20 : 20 + SIZE], MARS, at(10, 20)),
        write(tmp_path / "b.tif", coarse, MARS, at(0, 0, 12.0)),
    )
    pair, _, placed = read(*files)
    assert pair.before.shape == (SIZE, SIZE) and placed == {"x": "warp"}
    assert np.corrcoef(pair.before.ravel(), pair.after.ravel())[0, 1] > 0.9  # the steps of `fine` are no smooth ground


def test_control_points_place_a_pair(tmp_path):
    def points(row, col):
        ends = [(r, c) for r in (0, SIZE) for c in (0, SIZE)]
        return [GroundControlPoint(r, c, 6.0 * (c + col), -6.0 * (r + row)) for r, c in ends]

    files = (
        write(tmp_path / "a.tif", part(10, 20), gcps=points(10, 20)),
        write(tmp_path / "b.tif", part(25, 30), gcps=points(25, 30)),
    )
    pair = read(*files)[0]
    assert pair.before.shape == (81, 86)
    np.testing.assert_array_equal(pair.before, pair.after)


def test_scale_offset_mask_and_bands_stay_what_they_are(tmp_path):
    bands = np.stack([GROUND, GROUND // 2, 255 - GROUND]).astype(np.uint16)
    bands[:, 60, 70] = 0
    files = []
    for name, row, col in (("a.tif", 10, 20), ("b.tif", 25, 30)):
        image = bands[:, row : row + SIZE, col : col + SIZE]
        files.append(write(tmp_path / name, image, MARS, at(row, col), nodata=0))
        with rasterio.open(files[-1], "r+") as out:
            out.scales, out.offsets = (0.5, 0.25, 2.0), (1.0, 0.0, -3.0)
    first, second, _ = placing.read(*files, grey=False, nodata="auto", mask_bands="all")
    wanted = bands[:, 25:106, 30:116] * np.array([0.5, 0.25, 2.0])[:, None, None] + np.array([1, 0, -3])[:, None, None]
    inside = np.moveaxis(wanted, 0, -1)[first.valid]
    np.testing.assert_allclose(first.values[first.valid], inside, rtol=1e-6)
    np.testing.assert_array_equal(first.values, second.values)
    assert (~first.valid).sum() == 1


def test_a_turned_date_is_compared_where_both_lie(tmp_path):
    """A date of 96 px turned by 30 degrees, wholly on the other: the largest upright square in it has 70 px."""
    rows, cols = np.mgrid[:160, :160]
    smooth = (128 + 60 * np.sin(rows / 9) + 50 * np.cos(cols / 7)).astype(np.uint8)
    angle, half = np.deg2rad(30), SIZE / 2
    there = np.mgrid[:SIZE, :SIZE] + 0.5 - half
    down = 80 + np.cos(angle) * there[0] - np.sin(angle) * there[1]
    along = 80 + np.sin(angle) * there[0] + np.cos(angle) * there[1]
    turned = map_coordinates(smooth.astype(float), [down - 0.5, along - 0.5], order=3).round().astype(np.uint8)
    cos, sin = 6 * np.cos(angle), 6 * np.sin(angle)
    place = Affine(cos, sin, 480 - half * (sin + cos), sin, -cos, -480 + half * (cos - sin))
    files = write(tmp_path / "a.tif", smooth, MARS, at(0, 0)), write(tmp_path / "b.tif", turned, MARS, place)
    pair, shape, _ = read(*files)
    assert pair.before.shape == shape and 66 * 66 <= shape[0] * shape[1] <= 71 * 71
    assert np.abs(pair.before - pair.after).max() < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_rectangle(seed):
    """Oracle: all rectangles of a small array."""
    shown = np.random.default_rng(seed).random((9, 11)) < 0.7
    spans = [(a, b) for n in shown.shape for a in range(n) for b in range(a + 1, n + 1)]
    rows, cols = ([s for s in spans if s[1] <= n] for n in shown.shape)
    areas = [(b - a) * (d - c) for a, b in rows for c, d in cols if shown[a:b, c:d].all()]
    row, col, height, width = placing.largest_rectangle(shown)
    assert shown[row : row + height, col : col + width].all() and height * width == max(areas)
    assert placing.largest_rectangle(np.zeros((5, 5), bool)) is None
    coarse = placing.largest_rectangle(np.kron(shown, np.ones((30, 30), bool)).astype(bool))
    assert coarse[2] * coarse[3] >= 0.8 * 900 * max(areas)


def test_one_system_that_is_missing(tmp_path):
    files = write(tmp_path / "a.tif", **BEFORE), write(tmp_path / "b.tif", part(25, 30), None, at(25, 30))
    with pytest.raises(BadPairError, match="in no reference system"):
        read(*files)
    same = write(tmp_path / "c.tif", part(10, 20), None, at(10, 20))
    assert read(files[0], same)[0].before.shape == (SIZE, SIZE)


def test_pixel_on_pixel_where_asked_for_and_without_places(tmp_path):
    files = write(tmp_path / "a.tif", **BEFORE), write(tmp_path / "b.tif", part(25, 30), MARS, at(25, 30))
    assert read(*files, placement="pixels")[0].before.shape == (SIZE, SIZE)
    bare = write(tmp_path / "c.tif", part(25, 30))
    pair, _, placed = read(files[0], bare)
    assert pair.before.shape == (SIZE, SIZE) and not placed
    assert not placing.differ(files[0], files[0])


def test_patches_are_cut_from_what_both_show(tmp_path):
    files = write(tmp_path / "a.tif", **BEFORE), write(tmp_path / "b.tif", part(25, 30), MARS, at(25, 30))
    table = tmp_path / "pairs.csv"
    table.write_text(f"id,before,after\nx,{files[0].name},{files[1].name}\n")
    with open_dataset("pairs", pairs_csv=str(table), patch_size=40, margin=4) as pairs:
        assert len(pairs) == 9  # 81 x 86 px
        for i in range(len(pairs)):
            np.testing.assert_array_equal(pairs.read(i).before, pairs.read(i).after)


@pytest.mark.parametrize(
    ("crs", "transform", "said"),
    [
        (MARS, at(300, 300), "do not overlap"),
        ("+proj=eqc +R=1737400 +units=m +no_defs", at(10, 20), "lies on"),
    ],
    ids=["apart", "another body"],
)
def test_two_places_end_in_one_line(tmp_path, crs, transform, said):
    files = write(tmp_path / "a.tif", **BEFORE), write(tmp_path / "b.tif", part(25, 30), crs, transform)
    with pytest.raises(BadPairError, match=said) as error:
        read(*files)
    assert "'x'" in str(error.value) and "\n" not in str(error.value)
