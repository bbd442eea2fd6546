"""Values of files that are easily misread: rounded no-data, large offsets, colour tables, special values."""

import numpy as np
import pytest
import rasterio
from image_files import write_image

from planetcd_jax.images.reading import read_image
from planetcd_jax.pairs.files import FilePair, file_set
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source, no_grid_warning


@pytest.mark.parametrize("asked", ["-9999.9", "-3.4e38", "0.1"])
def test_a_value_to_mask_is_rounded_as_the_file_rounds_it(tmp_path, asked):
    image = np.arange(1, 21, dtype=np.float32).reshape(4, 5)
    image[1, 2] = float(asked)
    name = write_image(tmp_path / "a.tif", image)
    for valid in (Source(name, nodata=asked).read(0, 0, 4, 5)[1], read_image(name, nodata=float(asked)).valid):
        np.testing.assert_array_equal(np.argwhere(~valid), [[1, 2]])


@pytest.mark.parametrize("asked", [5.5, 300.0, -1.0])
def test_a_value_that_integers_cannot_hold_masks_nothing(tmp_path, asked):
    name = write_image(tmp_path / "a.tif", np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert Source(name, nodata=str(asked)).read(0, 0, 16, 16)[1].all()
    assert read_image(name, nodata=asked).valid.all()


def test_a_value_to_mask_is_compared_before_scale_and_offset(tmp_path):
    name = write_image(tmp_path / "a.tif", np.arange(1, 21, dtype=np.int16).reshape(4, 5))
    with no_grid_warning(), rasterio.open(name, "r+") as out:
        out.scales, out.offsets = (0.5,), (2.0,)
    image = read_image(name, nodata=7)  # stored 7 means 5.5, and stored 10 means 7
    np.testing.assert_array_equal(np.argwhere(~image.valid), [[1, 1]])
    np.testing.assert_allclose(image.values[1, 4], 7.0)


@pytest.mark.parametrize(("dtype", "offset"), [("float64", 1_737_400.0), ("float64", -3e9), ("int32", 2_000_000_000)])
def test_a_large_offset_changes_no_level(tmp_path, dtype, offset):
    """Oracle: the same relief without the offset."""
    rng = np.random.default_rng(0)
    relief = [rng.integers(0, 9, (64, 64)) * (1 if dtype == "int32" else 0.125) for _ in range(2)]
    stretched = []
    for lift in (0, offset):
        names = [write_image(tmp_path / f"{i}_{lift}.tif", (x + lift).astype(dtype)) for i, x in enumerate(relief)]
        pair = AlignedPair(*(Source(name) for name in names))
        samples = sample(pair)
        raw = file_set("set", [FilePair("one", *names)]).read(0)
        overview = samples.before(pair.before.read_reduced(0, 0, 64, 64, 64)[0])
        stretched.append([samples.before(pair.read_before(0, 0, 64, 64)[0]), overview, raw.before, raw.after])
    for plain, lifted in zip(*stretched, strict=True):
        assert lifted.dtype == np.float32 and np.unique(plain).size == 9
        np.testing.assert_allclose(lifted, plain, atol=1e-5)


def test_the_darkest_ground_of_a_scene_keeps_its_levels(tmp_path):
    """A spot of 0.2 % of the scene, darker than all else, and one hot pixel."""
    rng = np.random.default_rng(0)
    scene = rng.normal(2000, 100, (200, 200))
    scene[50:58, 90:100] = np.linspace(1500, 1690, 10)
    scene[150, 20] = 60_000
    names = [write_image(tmp_path / f"{name}.tif", scene.astype(np.uint16)) for name in "ab"]
    pair = AlignedPair(*(Source(name) for name in names))
    samples = sample(pair)
    pixels = samples.before(pair.read_before(0, 0, 200, 200)[0])
    assert (np.diff(pixels[50, 90:100]) > 0.01).all() and pixels[50, 90] < -0.2
    assert pixels.max() == 1.5


def test_what_32_bits_cannot_hold_is_masked(tmp_path):
    image = np.ones((4, 5))
    image[0, 1], image[1, 2], image[2, 3] = -1.797e308, np.inf, np.nan
    pixels, valid = Source(write_image(tmp_path / "a.tif", image)).read(0, 0, 4, 5)
    np.testing.assert_array_equal(np.argwhere(~valid), [[0, 1], [1, 2], [2, 3]])
    assert (pixels[~valid] == 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colour_tables_are_looked_up(tmp_path, dtype):
    index = np.arange(20, dtype=dtype).reshape(4, 5)
    greys = {i: (255 - i, 255 - i, 255 - i, 255) for i in range(256)}
    colours = {i: (10 * i, 200 - i, i, 255) for i in range(20)}
    grey = Source(write_image(tmp_path / "grey.tif", index, colormap=greys), nodata="7")
    pixels, valid = grey.read(0, 0, 4, 5)
    np.testing.assert_array_equal(np.argwhere(~valid), [[1, 2]])  # index 7, not colour 7
    np.testing.assert_array_equal(pixels[valid, 0], 255 - index[valid])
    name = write_image(tmp_path / "colour.tif", index, colormap=colours)
    wanted = np.stack([10 * index, 200 - index, index], -1)
    colour = Source(name)
    assert colour.bands == (1, 1, 1)
    np.testing.assert_array_equal(colour.read(-1, 0, 5, 5)[0][1:], wanted)
    np.testing.assert_array_equal(colour.read_reduced(0, 0, 4, 5, 5)[0], wanted)
    np.testing.assert_array_equal(read_image(name).values, wanted)
