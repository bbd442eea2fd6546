"""Special values of ISIS, PDS3 and PDS4 are missing pixels in scenes and in pairs; ordinary data are not."""

import h5py
import numpy as np
import pytest
import rasterio
from image_files import noise, write_image
from labelled_files import write_pds3, write_pds4

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.images.label_values import value_of
from planetcd_jax.images.missing import missing_rule
from planetcd_jax.images.reading import read_image
from planetcd_jax.pairs.files import FilePair, file_set
from planetcd_jax.pairs.packed import packed_set
from planetcd_jax.scenes.agreement import check_bands
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source, no_grid_warning

SIDE = 60
INT16 = (-32768, -32767, -32766, -32765, -32764)
UINT16 = (0, 1, 2, 65534, 65535)
FLOATS = tuple(
    np.uint32(bits).view(np.float32) for bits in (0xFF7FFFFB, 0xFF7FFFFC, 0xFF7FFFFD, 0xFF7FFFFE, 0xFF7FFFFF)
)
PDS3_NAMES = ("NULL", "LOW_REPR_SATURATION", "LOW_INSTR_SATURATION", "HIGH_INSTR_SATURATION", "HIGH_REPR_SATURATION")


def ground(dtype, seed=0, low=3000, high=4000):
    """[60, 60] of a type; whole numbers from `low` to `high`."""
    return np.random.default_rng(seed).integers(low, high, (SIDE, SIDE)).astype(dtype)


def marked(image, values):
    """The image with each value in a block of 3 x 3 pixels, and which pixels those are."""
    image, missing = image.copy(), np.zeros(image.shape, bool)
    for i, value in enumerate(values):
        image[10 * i : 10 * i + 3, 5:8], missing[10 * i : 10 * i + 3, 5:8] = value, True
    return image, missing


def both(name, **options):
    """Masks of one file as scenes and as sets of pairs see it."""
    scene = Source(name, **options)
    return scene.read(0, 0, scene.grid.height, scene.grid.width)[1], read_image(name, **options).valid


def assert_missing(name, missing, **options):
    for valid in both(name, **options):
        np.testing.assert_array_equal(~valid, missing)


def test_values_of_labels():
    # oracle: by hand, and IEEE 754 for the float
    assert value_of("16#FF#", "uint8") == 255 and value_of("16#8000#", "int16") == -32768
    assert value_of("16#FF7FFFFB#", "float32") == value_of("0xFF7FFFFB", "float32") == float(FLOATS[0])
    assert value_of("0x3C00", "float16") == 1 and np.isnan(value_of("0x7FFF", "float16"))
    assert value_of('"-1.5E3"', "float32") == -1500 and value_of(7, "uint8") == 7
    assert value_of("N/A", "uint8") is None and value_of("2#2#", "uint8") is None
    assert value_of("16#FFFFF#", "uint8") is None and value_of("(1, 2)", "uint8") is None


@pytest.mark.parametrize("named", [True, False])
def test_pds3_of_16_bits(tmp_path, named):
    image, missing = marked(ground("int16"), INT16)
    keywords = dict(zip(PDS3_NAMES, INT16, strict=True)) if named else {}
    assert_missing(write_pds3(tmp_path / "a.img", image, **keywords), missing)


@pytest.mark.parametrize(
    ("dtype", "keywords", "values"),
    [
        ("uint8", {"MISSING_CONSTANT": "16#FF#"}, (255,)),  # GDAL takes it for 16
        ("uint16", {"CORE_NULL": 7, "CORE_HIGH_REPR_SATURATION": 4095}, (7, 4095)),
        ("int16", {"MISSING_CONSTANT": "16#8000#", "INVALID_CONSTANT": -1}, (-32768, -1)),
        ("int16", {"VALID_MINIMUM": 3000, "VALID_MAXIMUM": 4000}, (2999, 4001, -32768)),
        ("float32", {"CORE_NULL": "16#FF7FFFFB#", "CORE_LOW_REPR_SATURATION": -9999.9}, (FLOATS[0], -9999.9)),
        ("uint8", {"MISSING": "7", "OFFSET": "5.0", "SCALING_FACTOR": "2.0"}, (7,)),
    ],
)
def test_values_that_a_pds3_label_names(tmp_path, dtype, keywords, values):
    low, high = (20, 200) if dtype == "uint8" else (3000, 4000)
    image, missing = marked(ground(dtype, 0, low, high), np.array(values, dtype))
    image[40, 40] = 16
    missing[40, 40] = "VALID_MINIMUM" in keywords
    assert_missing(write_pds3(tmp_path / "a.img", image, **keywords), missing)


def test_a_valid_range_for_other_values_than_the_stored_masks_nothing(tmp_path):
    name = write_pds3(tmp_path / "a.img", ground("int16"), VALID_MINIMUM=0.0, VALID_MAXIMUM=1.0)
    assert_missing(name, np.zeros((SIDE, SIDE), bool))


@pytest.mark.parametrize(
    ("dtype", "constants", "values"),
    [
        ("uint8", {"missing_constant": 74, "saturated_constant": 255}, (74, 255)),
        ("int16", {"missing_constant": -32768, "high_instrument_saturation": -32765}, (-32768, -32765, -32764)),
        ("float32", {"missing_constant": "-3.4e38", "invalid_constant": "-9999.9"}, (-3.4e38, -9999.9, FLOATS[1])),
        ("int32", {"error_constant": "-2147483648", "valid_maximum": 3999}, (-2147483648, 4000)),
    ],
)
def test_values_that_a_pds4_label_names(tmp_path, dtype, constants, values):
    low, high = (80, 200) if dtype == "uint8" else (3000, 4000)
    image, missing = marked(ground(dtype, 1, low, high), np.array(values, dtype))
    assert_missing(write_pds4(tmp_path / "a.xml", image, **constants), missing)


def test_a_label_beside_the_file_counts(tmp_path):
    image, missing = marked(ground("uint8", 2, 20, 200), (0, 1, 255))
    name = write_image(tmp_path / "a.tif", image)
    (tmp_path / "a.LBL").write_text(
        "PDS_VERSION_ID = PDS3\nOBJECT = UNCOMPRESSED_FILE\n OBJECT = IMAGE\n  CORE_NULL = 0 <DN>\n"
        "  CORE_LOW_REPR_SATURATION = 1\n  CORE_HIGH_REPR_SATURATION = 255\n END_OBJECT\nEND_OBJECT\n"
        "OBJECT = CALIBRATION_TABLE\n MISSING_CONSTANT = 100\nEND_OBJECT\nEND\n"
    )
    assert_missing(name, missing)
    cube = write_image(tmp_path / "cube.tif", np.where(image == 1, 20, image))
    (tmp_path / "cube.lbl").write_text("Object = IsisCube\n  Object = Core\n    Format = GeoTIFF\n  End_Object\nEnd\n")
    assert_missing(cube, missing & (image != 1))


@pytest.mark.parametrize(
    ("dtype", "values", "options"),
    [
        ("int16", INT16, {}),
        ("int16", INT16, {"nodata": -32768}),
        ("int16", (-32765,), {}),
        ("uint16", UINT16, {"nodata": 0}),
        ("uint16", UINT16, {}),
        ("float32", FLOATS, {"nodata": FLOATS[0]}),
        ("float32", FLOATS, {}),
        ("float64", (-1.797e308, np.nan, np.inf), {}),
    ],
)
def test_a_geotiff_made_from_a_cube(tmp_path, dtype, values, options):
    image, missing = marked(ground(dtype, 3), np.array(values, dtype))
    assert_missing(write_image(tmp_path / "a.tif", image, **options), missing)


@pytest.mark.parametrize(
    "image",
    [
        noise(5, (SIDE, SIDE), np.uint8),
        noise(5, (SIDE, SIDE), np.uint16),
        noise(5, (SIDE, SIDE), np.int16, low=-32768),
        np.linspace(-40000, 40000, SIDE * SIDE).clip(-32768, 32767).reshape(SIDE, SIDE).astype(np.int16),
        np.linspace(-8000, 70000, SIDE * SIDE).clip(0, 65535).reshape(SIDE, SIDE).astype(np.uint16),
        ground("uint16", 5, 0, 4096),
        1000 * noise(5, (SIDE, SIDE), np.uint16, high=12),
        noise(5, (SIDE, SIDE), np.int32),
        noise(5, (SIDE, SIDE), np.int64),
        noise(5, (SIDE, SIDE), np.uint32),
    ],
    ids=lambda image: f"{image.dtype}, {image.min()} to {image.max()}",
)
def test_ordinary_data_are_not_masked(tmp_path, image):
    assert_missing(write_image(tmp_path / "a.tif", image), np.zeros(image.shape, bool))
    if image.dtype in (np.uint8, np.uint16):
        assert_missing(write_image(tmp_path / "a.png", image), np.zeros(image.shape, bool))


@pytest.mark.parametrize(
    ("dtype", "fill"), [("uint16", 0), ("uint16", 65535), ("uint32", 0), ("uint32", 4294967295), ("int16", -9999)]
)
def test_a_fill_value_that_nothing_names_stands_alone(tmp_path, dtype, fill):
    """Lines that a camera dropped, a saturated patch: no shades between them and the ground."""
    image = ground(dtype, 8)
    image[20:22], image[40:48, 10:30] = fill, fill
    assert_missing(write_image(tmp_path / "a.tif", image), image == fill)


def test_none_masks_nothing(tmp_path):
    image, _ = marked(ground("int16"), INT16)
    name = write_image(tmp_path / "a.tif", image, nodata=-32768)
    assert_missing(name, np.zeros(image.shape, bool), nodata="none")


def test_special_values_do_not_enter_the_stretch(tmp_path):
    """Oracle: the same images without special values, outside of them."""
    clean = [ground("int16", seed) for seed in (6, 7)]
    names, missing = [], np.zeros((SIDE, SIDE), bool)
    for i, (image, values) in enumerate(zip(clean, (INT16[:3], INT16[2:]), strict=True)):
        with_marks, where = marked(image, values)
        names.append(write_image(tmp_path / f"{i}.tif", with_marks))
        missing |= where
    pair = AlignedPair(*(Source(name) for name in names))
    samples = sample(pair)
    for stretch, image in zip((samples.before, samples.after), clean, strict=True):
        np.testing.assert_allclose(
            [stretch.low[0], stretch.high[0]], np.percentile(image[~missing], [0.5, 99.5]), atol=1
        )
    raw = file_set("set", [FilePair("one", *names)]).raw(0)
    np.testing.assert_array_equal(raw.valid, ~missing)
    low, high = np.percentile(np.concatenate(clean)[np.concatenate([~missing] * 2)], [0.5, 99.5])
    np.testing.assert_allclose(raw.before[~missing], ((clean[0] - low) / (high - low)).clip(0, 1)[~missing], atol=0.01)


def test_arrays_of_hdf5_follow_the_same_rule(tmp_path):
    clean = np.stack([ground("int16", 6), ground("int16", 7)])
    dates, missing = marked(clean[0], INT16)
    with h5py.File(tmp_path / "a.h5", "w") as out:
        out["before"], out["after"] = dates[None], clean[1][None]
    with packed_set(tmp_path / "a.h5") as pairs:
        np.testing.assert_array_equal(pairs.raw(0).valid, ~missing)
    with packed_set(tmp_path / "a.h5", nodata="none") as pairs:
        assert pairs.raw(0).valid.all()
    with packed_set(tmp_path / "a.h5", nodata=clean[1][2, 3]) as pairs:
        assert not pairs.raw(0).valid[2, 3]


def test_an_image_that_is_larger_than_memory_is_told(tmp_path):
    name = tmp_path / "a.vrt"
    write_image(tmp_path / "b.tif", ground("uint8", 0, 1, 200))
    name.write_text(
        '<VRTDataset rasterXSize="2000000" rasterYSize="2000000"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">b.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(BadPairError, match=r"a\.vrt: 2000000 x 2000000 pixels take 4000\.0 GB, .* planetcd-scene"):
        read_image(name)


def test_bands_are_masked_alike(tmp_path):
    image = noise(8, (SIDE, SIDE, 3), low=1)
    image[3, 4, 1] = 0
    image[5, 6] = 0
    name = write_image(tmp_path / "a.tif", image, nodata=0, photometric="rgb")
    any_band, all_bands = np.zeros((2, SIDE, SIDE), bool)
    any_band[[3, 5], [4, 6]] = all_bands[5, 6] = True
    assert_missing(name, any_band)
    assert_missing(name, all_bands, mask_bands="all")
    plain = write_image(tmp_path / "b.tif", image, photometric="rgb")
    assert_missing(plain, any_band, nodata="0")
    assert_missing(plain, all_bands, nodata="0", mask_bands="all")
    assert "any band" in Source(name).nodata_rule


def test_transparent_entries_of_a_colour_table_are_missing(tmp_path):
    index = np.arange(20, dtype=np.uint8).reshape(4, 5)
    table = {i: (9 * i, 9 * i, 9 * i, 255) for i in range(20)} | {7: (255, 0, 0, 0), 9: (81, 81, 81, 128)}
    name = write_image(tmp_path / "a.png", index, colormap=table)  # a TIFF keeps no alpha of its colours
    assert_missing(name, index == 7)
    assert read_image(name).values.shape == (4, 5)  # the colour of what is not seen does not count


def test_a_colour_table_against_a_grey_image_is_told(tmp_path):
    index = noise(1, (SIDE, SIDE))
    colours = Source(write_image(tmp_path / "a.tif", index, colormap={i: (i, 255 - i, 0, 255) for i in range(256)}))
    grey = Source(write_image(tmp_path / "b.tif", index))
    for pair in ((colours, grey), (grey, colours)):
        with pytest.raises(DataError, match=r"a\.tif has a colour table, .*b\.tif has one band; give two colour"):
            check_bands(*pair)
    check_bands(grey, grey)
    check_bands(colours, colours)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_is_refused_in_one_line(tmp_path, dtype):
    name = write_image(tmp_path / "a.tif", noise(1, (SIDE, SIDE)).astype("complex64"), dtype=dtype)
    with pytest.raises(DataError, match=r"a\.tif has pixels of type complex"):
        Source(name)
    with pytest.raises(BadPairError, match=r"a\.tif: band 1 holds complex numbers"):
        read_image(name)


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64", "uint64"])
def test_integers_of_other_widths_keep_their_levels(tmp_path, dtype):
    image = noise(2, (SIDE, SIDE), low=1, high=100).astype(dtype)
    name = write_image(tmp_path / "a.tif", image)
    pixels, valid = Source(name, nodata="5").read(0, 0, SIDE, SIDE)
    np.testing.assert_array_equal(pixels[valid, 0], image[valid])
    np.testing.assert_array_equal(valid, image != 5)
    np.testing.assert_array_equal(read_image(name, nodata=5).values, image)


def test_a_no_data_that_is_no_number_is_told(tmp_path):
    name = write_image(tmp_path / "a.tif", ground("int16"))
    for read in (Source, read_image):
        with pytest.raises(DataError, match="is 'x'; give a number, 'none', or 'auto'"):
            read(name, nodata="x")


def test_a_real_label_that_gdal_misreads(realdata):
    """MISSING_CONSTANT = 16#FF#, which GDAL takes for 16; and bytes after each line, which it takes for pixels."""
    file = realdata / "formats/pds3/PSP_001446_1790_BG12_0.IMG"
    with no_grid_warning(), rasterio.open(file) as dataset:
        rule = missing_rule(dataset, (1,))
    assert rule.marks == (255.0,) and not rule.own_mask
    with pytest.raises(BadPairError, match="LINE_SUFFIX_BYTES = 16, which GDAL reads wrongly"):
        read_image(file)
