"""What a header says beside the pixels: orientation, pages, bits, names of bands, a collar; both programs alike."""

import struct

import numpy as np
import pytest
import rasterio
from image_files import noise, write_image
from labelled_files import write_pds3
from PIL import Image as Picture
from PIL import TiffImagePlugin
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from planetcd_jax.errors import BadPairError
from planetcd_jax.images.reading import read_image
from planetcd_jax.pairs import open_dataset, placing
from planetcd_jax.scenes.alignment import AlignedPair, find_overlap
from planetcd_jax.scenes.source import Source, no_grid_warning

GREY = np.random.default_rng(3).integers(1, 250, (40, 60)).astype(np.uint8)
MARS = "+proj=eqc +R=3396190 +units=m +no_defs"


def write(path, image, **more):
    image = image if image.ndim == 3 else image[None]
    facts = {"driver": "GTiff", "dtype": image.dtype, "count": len(image), "height": image.shape[1]} | more
    with no_grid_warning(), rasterio.open(path, "w", width=image.shape[2], **facts) as out:
        out.write(image)
    return path


def scene(path, size=None):
    source = Source(str(path))
    height, width = size or (source.grid.height, source.grid.width)
    return source.read(0, 0, height, width)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 1), (8, 3)])
def test_a_jpeg_is_turned_as_its_camera_says(tmp_path, orientation, turn):
    smooth = np.add.outer(2 * np.arange(40), 3 * np.arange(60)).astype(np.uint8)
    exif = Picture.Exif()
    exif[274] = orientation
    Picture.fromarray(np.rot90(smooth, turn)).save(tmp_path / "a.jpg", quality=100, exif=exif)
    stored = read_image(tmp_path / "a.jpg").values
    assert stored.shape == smooth.shape and abs(stored.astype(int) - smooth).max() < 12
    assert abs(scene(tmp_path / "a.jpg")[0][..., 0] - smooth).max() < 12


def test_a_tiff_that_is_stored_turned_is_refused(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 4
    Picture.fromarray(GREY).save(tmp_path / "a.tif", tiffinfo=tags)
    for read in (read_image, scene):
        with pytest.raises(BadPairError, match="orientation 4"):
            read(tmp_path / "a.tif")


def test_a_tiff_of_several_pages_is_refused_and_a_thumbnail_is_none(tmp_path):
    pages = [Picture.fromarray(GREY), Picture.fromarray(GREY[::-1])]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    for read in (read_image, scene):
        with pytest.raises(BadPairError, match="2 pages of one size"):
            read(tmp_path / "two.tif")
    pages[0].save(tmp_path / "small.tif", save_all=True, append_images=[pages[1].resize((6, 4))])
    np.testing.assert_array_equal(read_image(tmp_path / "small.tif").values, GREY)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_fill_the_range_of_eight(tmp_path, bits):
    top = 2**bits - 1
    few = (GREY // (256 // 2**bits)).astype(np.uint8)
    image = read_image(write(tmp_path / "a.tif", few, nbits=bits))
    np.testing.assert_array_equal(image.values, few * (255 // top))


def test_bands_are_compared_by_their_names(tmp_path):
    bands = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    place = {"crs": MARS, "transform": Affine(6, 0, 0, 0, -6, 0)}
    files = {}
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        files[name] = write(tmp_path / f"{name}.tif", bands[list(order)], photometric="RGB", **place)
        with rasterio.open(files[name], "r+") as out:
            out.colorinterp = [colours[i] for i in order]
    (tmp_path / "p.csv").write_text("id,before,after\nx,a.tif,b.tif\n")
    with open_dataset("pairs", pairs_csv=str(tmp_path / "p.csv")) as pairs:
        np.testing.assert_array_equal(*pairs.read(0)[:2])
    pair = AlignedPair(Source(str(files["a"])), Source(str(files["b"])))
    np.testing.assert_array_equal(pair.read_before(0, 0, 40, 60)[0], pair.read_after(0, 0, 40, 60)[0])
    assert "in the order of" in pair.overlap.note
    chosen = AlignedPair(Source(str(files["a"])), Source(str(files["b"]), bands=(1, 2, 3)))
    assert not np.array_equal(chosen.read_before(0, 0, 40, 60)[0], chosen.read_after(0, 0, 40, 60)[0])


def test_bands_are_compared_by_their_descriptions(tmp_path):
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        write(tmp_path / f"{name}.tif", np.stack([GREY, 250 - GREY])[list(order)])
        with no_grid_warning(), rasterio.open(tmp_path / f"{name}.tif", "r+") as out:
            out.descriptions = [("IR", "RED")[i] for i in order]
    (tmp_path / "p.csv").write_text("id,before,after\nx,a.tif,b.tif\n")
    with open_dataset("pairs", pairs_csv=str(tmp_path / "p.csv")) as pairs:
        np.testing.assert_array_equal(*pairs.read(0)[:2])


def frame_on_a_map(size, fill, dtype=np.uint8):
    rows, cols = np.mgrid[:size, :size]
    inside = abs(rows - cols) < size // 2
    ground = np.random.default_rng(1).integers(20, 200, (size, size)).astype(dtype)
    return np.where(inside, ground, dtype(fill)), inside


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [(np.uint8, 0), (np.uint8, 255), (np.uint16, 0), (np.uint16, 65535), (np.float32, 0), (np.int16, 0)],
)
def test_a_collar_is_no_data_where_a_file_names_none(tmp_path, dtype, fill):
    image, inside = frame_on_a_map(260, fill, dtype)
    path = write(tmp_path / "a.tif", image)
    np.testing.assert_array_equal(scene(path)[1], inside)
    np.testing.assert_array_equal(read_image(path).valid, inside)
    assert "fills a corner" in Source(str(path)).nodata_rule


def test_no_collar_in_a_patch_nor_where_the_file_says_what_is_missing_nor_in_ground(tmp_path):
    patch, _ = frame_on_a_map(200, 0)
    assert read_image(write(tmp_path / "patch.tif", patch)).valid.all()
    image, _ = frame_on_a_map(260, 0)
    assert read_image(write(tmp_path / "named.tif", image, nodata=1)).valid.mean() > 0.99
    assert read_image(write(tmp_path / "told.tif", image), nodata="none").valid.all()
    image[:20, -20:] = 1  # ground, if dark, and no corner is all of one value
    image[-20:, :20] = np.arange(20)
    assert read_image(write(tmp_path / "ground.tif", image)).valid.all()


def test_a_label_beside_an_image_is_no_second_image(tmp_path):
    for date in ("before", "after"):
        facts = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        write(tmp_path / f"x_{date}.jp2", GREY, **facts)
        (tmp_path / f"x_{date}.LBL").write_text("PDS_VERSION_ID = PDS3\nEND\n")
        (tmp_path / f"raw_{date}.img").write_bytes(b"pixels")
        (tmp_path / f"raw_{date}.lbl").write_text("PDS_VERSION_ID = PDS3\nEND\n")
    with open_dataset("pairs", data_dir=str(tmp_path)) as pairs:
        names = {pairs.ids[i]: [name[-4:] for name in pairs.files(i)] for i in range(len(pairs))}
    assert names == {"x": [".jp2", ".jp2"], "raw": [".lbl", ".lbl"]}


def test_tables_of_spreadsheets(tmp_path):
    write(tmp_path / "n.tif", GREY)
    for text in ("ID;Before;After;Label\nx;n.tif;n.tif;1\n", "id\tbefore\tafter\tlabel\nx\tn.tif\tn.tif\tchange\n"):
        (tmp_path / "p.csv").write_text(text)
        with open_dataset("pairs", pairs_csv=str(tmp_path / "p.csv")) as pairs:
            assert pairs.labels.tolist() == [1] and pairs.read(0).before.shape == GREY.shape


def test_files_with_coordinates_and_no_system_lie_in_one(tmp_path):
    big = np.random.default_rng(3).integers(1, 250, (80, 90)).astype(np.uint8)
    first = write(tmp_path / "a.tif", big[:60, :60], transform=Affine(6, 0, 0, 0, -6, 0))
    second = write(tmp_path / "b.tif", big[15:75, 20:80], transform=Affine(6, 0, 120, 0, -6, -90))
    pair = AlignedPair(Source(str(first)), Source(str(second)))
    assert (pair.overlap.row, pair.overlap.col, pair.overlap.height, pair.overlap.width) == (15, 20, 45, 40)
    np.testing.assert_array_equal(pair.read_before(0, 0, 45, 40)[0], pair.read_after(0, 0, 45, 40)[0])
    assert "neither names a reference system" in pair.overlap.note


def test_latitudes_of_a_sphere_are_planetocentric(tmp_path):
    """A place at 45 degrees planetocentric is at 45.338 planetographic on Mars (IAU 2015 radii)."""
    pixel = 1e-3
    files = []
    for name, system, lat in (
        ("a", "+proj=longlat +R=3396190 +no_defs", 45.0),
        (
            "b",
            "+proj=longlat +a=3396190 +b=3376200 +no_defs",
            np.rad2deg(np.arctan(np.tan(np.pi / 4) / (3376200 / 3396190) ** 2)),
        ),
    ):
        top = lat + 100 * pixel
        files.append(
            write(
                tmp_path / f"{name}.tif",
                np.ones((200, 200), np.uint8),
                crs=system,
                transform=Affine(pixel, 0, 10, 0, -pixel, top),
            )
        )
    found = find_overlap(*(Source(str(path)) for path in files))
    assert found.row <= 1 and found.height >= 198 and found.width == 200
    assert "planetocentric" in found.note


def test_latitudes_of_the_earth_are_projs(tmp_path):
    files = [
        write(
            tmp_path / f"{name}.tif", np.ones((50, 50), np.uint8), crs=crs, transform=Affine(1e-3, 0, 10, 0, -1e-3, 45)
        )
        for name, crs in (("a", "EPSG:4326"), ("b", "+proj=longlat +R=6378137 +no_defs"))
    ]
    assert find_overlap(*(Source(str(path)) for path in files)).height == 50


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_0_is_white_is_inverted(tmp_path, dtype):
    """Its no-data value is compared as stored; in scenes and in pairs alike."""
    image = noise(4, (40, 50), dtype)
    top = np.iinfo(dtype).max
    name = write_image(tmp_path / "a.tif", image, photometric="MINISWHITE", nodata=7)
    read, source = read_image(name), Source(name)
    pixels, valid = source.read(0, 0, 40, 50)
    np.testing.assert_array_equal(read.valid, image != 7)
    np.testing.assert_array_equal(read.values[read.valid], (top - image)[read.valid])
    np.testing.assert_array_equal(valid, read.valid)
    np.testing.assert_array_equal(pixels[valid][:, 0], (top - image)[valid])
    assert read_image(write_image(tmp_path / "b.tif", image)).values.tolist() == image.tolist()


def test_few_bits_fill_the_range_of_eight_where_grids_differ(tmp_path):
    """The same 4-bit ground on two grids a pixel apart: as 8-bit files, whose values are 17 times as large."""
    image = noise(5, (60, 70), np.uint8, high=16)
    place = {"crs": "+proj=eqc +R=3396190 +units=m"}
    pairs = {}
    for bits in (4, 8):
        scale = {} if bits == 8 else {"nbits": 4}
        values = image * (17 if bits == 8 else 1)
        for name, row in (("a", 0), ("b", 1)):
            transform = Affine(5, 0, 0, 0, -5, -5 * row)
            write_image(tmp_path / f"{name}{bits}.tif", values[row : row + 59], transform=transform, **place, **scale)
        files = tmp_path / f"a{bits}.tif", tmp_path / f"b{bits}.tif"
        pairs[bits] = placing.read(*files, grey=False, nodata="auto", mask_bands="any")
        assert pairs[bits][2] == "offset"
    for one, other in zip(pairs[4][:2], pairs[8][:2], strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"BANDS": 3, "BAND_STORAGE_TYPE": "SAMPLE_INTERLEAVED"}, "SAMPLE_INTERLEAVED"),
        ({"LINE_SUFFIX_BYTES": 8}, "LINE_SUFFIX_BYTES = 8"),
    ],
)
def test_pds3_pixels_that_gdal_takes_from_wrong_places_are_refused(tmp_path, more, said):
    file = write_pds3(tmp_path / "a.img", np.tile(GREY, (4, 1)), **more)
    for read in (read_image, scene):
        with pytest.raises(BadPairError, match=f"{said}, which GDAL reads wrongly"):
            read(file)
    whole = write_pds3(tmp_path / "b.img", GREY, BAND_STORAGE_TYPE="SAMPLE_INTERLEAVED", LINE_SUFFIX_BYTES=0)
    np.testing.assert_array_equal(read_image(whole).values, GREY)  # of one band: there is no other way


def test_files_that_are_to_be_shown_in_unlike_directions_are_no_pair(tmp_path):
    up, left = {"LINE_DISPLAY_DIRECTION": "UP"}, {"SAMPLE_DISPLAY_DIRECTION": "LEFT", "LINE_DISPLAY_DIRECTION": "DOWN"}
    files = [write_pds3(tmp_path / f"{k}.img", GREY, **more) for k, more in enumerate(({}, up, up, left))]
    for first, second, said in ((0, 1, "from bottom to top"), (1, 3, "from right to left"), (3, 0, "does not")):
        (tmp_path / "t.csv").write_text(f"id,before,after\nx,{files[first]},{files[second]}\n", encoding="utf-8")
        with open_dataset("pairs", pairs_csv=str(tmp_path / "t.csv")) as pairs, pytest.raises(BadPairError, match=said):
            pairs.raw(0)
        with pytest.raises(BadPairError, match=said):
            AlignedPair(Source(str(files[first])), Source(str(files[second])))
    AlignedPair(Source(str(files[1])), Source(str(files[2])))


def test_a_mask_and_a_no_data_value_in_one_file_both_count(tmp_path):
    values = GREY.copy()
    values[5:9, 5:9] = 0
    shown = np.ones(GREY.shape, bool)
    shown[20:25, 30:40] = False
    file = write(tmp_path / "a.tif", values, nodata=0)
    with no_grid_warning(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(file, "r+") as out:
        out.write_mask(shown)
    for valid in (read_image(file).valid, scene(file)[1]):
        np.testing.assert_array_equal(valid, shown & (values != 0))
    assert "no-data 0 and the mask beside it" in Source(str(file)).nodata_rule


def test_a_damaged_tag_that_gdal_passes_over_is_no_error(tmp_path):
    image = noise(1, (64, 64))
    path = write_image(tmp_path / "a.tif", image)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    last = start + 2 + 12 * (count - 1)
    assert struct.unpack_from("<H", content, last) == (339,)  # SampleFormat, which 8 bits do without
    struct.pack_into("<HHI", content, last, 50431, 0, 1)  # an unknown tag of no type
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path).values, image)
    np.testing.assert_array_equal(Source(str(path)).read(0, 0, 64, 64)[0][..., 0], image)
