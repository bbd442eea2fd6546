"""Two images registered as a whole, or refused. Oracle: maps that the test made the second image with."""

import csv
import json

import numpy as np
import pytest
import rasterio
from image_files import write_image
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter, map_coordinates

from planetcd_jax import scene
from planetcd_jax.errors import DataError
from planetcd_jax.scenes.alignment import AlignedPair, Correction
from planetcd_jax.scenes.coregister import keypoints, models, squares, tie_points, turning
from planetcd_jax.scenes.coregister.bend import Bend
from planetcd_jax.scenes.coregister.deciding import register
from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.grids import BentGrid, CorrectedGrid, pixel_grid
from planetcd_jax.scenes.source import Source, no_grid_warning

MARS = "+proj=eqc +lat_ts=0 +lat_0=0 +lon_0=0 +x_0=0 +y_0=0 +R=3396190 +units=m +no_defs"
SIDE = 240


def ground(seed, side=700):
    """Made-up ground with detail at every scale, about 0 to 1."""
    rng = np.random.default_rng(seed)
    made = sum(gaussian_filter(rng.standard_normal((side, side)), s, mode="wrap") * s for s in (1.5, 3, 6, 12, 24))
    return 0.5 + 0.12 * (made - made.mean()) / made.std()


def seen(field, matrix=None, side=SIDE, corner=200):
    """What an image shows whose pixel p shows the ground at corner + inverse(matrix) p."""
    cols, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    if matrix is not None:
        cols, rows = models.move(np.linalg.inv(matrix), cols, rows)
    return map_coordinates(field, [rows + corner - 0.5, cols + corner - 0.5], order=3, mode="wrap")


def write(path, image, *, crs=None, transform=None, seed=0):
    noisy = image + 0.01 * np.random.default_rng(seed).standard_normal(image.shape)
    pixels = np.clip(np.round(255 * noisy), 1, 255).astype(np.uint8)
    with no_grid_warning(), rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=image.shape[0], width=image.shape[1], crs=crs,
        transform=transform,
    ) as out:  # fmt: skip
        out.write(pixels, 1)
    return Source(str(path))


def turned(degrees, scale=1.0, by=(0.0, 0.0), perspective=0.0):
    """Turn and scale about the middle of an image, then a shift (columns, rows)."""
    a, c = np.deg2rad(degrees), SIDE / 2
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = np.array([c, c]) - turn @ (c, c) + by
    tilt = np.eye(3)
    tilt[2, 0] = perspective
    return tilt @ matrix


def off(found, wanted):
    """Largest distance of two maps over the part of the first image that the second shows, pixels."""
    cols, rows = np.meshgrid(np.linspace(0, SIDE, 9), np.linspace(0, SIDE, 9))
    there = models.move(wanted, cols, rows)
    on = (np.minimum(*there) >= 0) & (np.maximum(*there) <= SIDE)
    here = models.move(found.matrix, cols, rows)
    if found.bend is not None:
        here = tuple(a + b for a, b in zip(here, found.bend(*here), strict=True))
    return float(np.hypot(here[0] - there[0], here[1] - there[1])[on].max())


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_fit_finds_the_model_that_moved_the_points(kind):
    wanted = {
        "shift": np.array([[1.0, 0, 7.5], [0, 1, -3], [0, 0, 1]]),
        "affine": turned(20, 1.3, (4, 9)),
        "homography": turned(20, 1.3, (4, 9), 2e-4),
    }[kind]
    cols, rows = np.random.default_rng(0).uniform(0, 200, (2, 30))
    found = models.fit(kind, (cols, rows), models.move(wanted, cols, rows))
    np.testing.assert_allclose(found, wanted / wanted[2, 2], atol=1e-9)


def test_points_beyond_the_horizon_have_no_place():
    tilt = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    cols, _ = models.move(tilt, np.array([50.0, 150.0]), np.zeros(2))
    assert cols[0] == 100.0 and np.isnan(cols[1])


def test_a_mirrored_or_flattened_image_is_no_model():
    assert models.is_sensible(turned(90, 2.0), SIDE, SIDE)
    assert not models.is_sensible(np.diag([-1.0, 1, 1]), SIDE, SIDE)
    assert not models.is_sensible(np.diag([1.0, 0.1, 1]), SIDE, SIDE)


def test_corrected_and_bent_grids_come_back():
    bend = Bend(0.0, 0.0, 60.0, ((0.0, 3.0, 1.0),) * 3, ((0.0, 0.0, 0.0), (2.0, -2.0, 4.0), (0.0, 0.0, 0.0)))
    base = pixel_grid(SIDE, SIDE)
    bent = BentGrid(SIDE, SIDE, base.transform, None, bend)
    grid = CorrectedGrid(bent, turned(30, 1.2, (5, 6), 1e-4), SIDE, SIDE)
    cols, rows = np.random.default_rng(1).uniform(0, 120, (2, 50))
    np.testing.assert_allclose(grid.pixels(*grid.coordinates(cols, rows)), (cols, rows), atol=0.01)
    assert not grid.is_affine and CorrectedGrid(base, turned(30), SIDE, SIDE).is_affine


def test_squares_measure_a_shift_to_a_part_of_a_pixel(tmp_path):
    field = ground(0)
    shift = np.array([[1.0, 0, 3.25], [0, 1, -2.5], [0, 0, 1]])
    frame = Frame(write(tmp_path / "a.tif", seen(field)), write(tmp_path / "b.tif", seen(field, shift), seed=1))
    found = squares.measure(frame, np.eye(3), frame.whole, 1)
    assert found.has_ground and found.common().mean() > 0.9
    assert np.median(found.by_col) == pytest.approx(3.25, abs=0.1)
    assert np.median(found.by_row) == pytest.approx(-2.5, abs=0.1)
    assert found.near(3.25, -2.5).mean() > 0.9 and not found.near(9.0, 9.0).any()


def test_noise_has_no_ground(tmp_path):
    noise = np.random.default_rng(0).uniform(0.2, 0.8, (2, SIDE, SIDE))
    frame = Frame(write(tmp_path / "a.tif", noise[0]), write(tmp_path / "b.tif", noise[1]))
    assert not squares.measure(frame, np.eye(3), frame.whole, 1).has_ground


@pytest.mark.parametrize(
    "source", [lambda frame: keypoints.guesses(frame, 700), pytest.param(turning.guesses, marks=pytest.mark.slow)]
)
def test_first_guesses_hold_the_turn(tmp_path, source):
    field, wanted = ground(1), turned(40, 0.8, (12, -9))
    frame = Frame(write(tmp_path / "a.tif", seen(field)), write(tmp_path / "b.tif", seen(field, wanted), seed=1))
    middle = np.array([SIDE / 2]), np.array([SIDE / 2])
    nearest = min(models.distances(guess, middle, models.move(wanted, *middle))[0] for guess in source(frame))
    assert nearest < 8.0


@pytest.mark.parametrize(
    "wanted", [turned(0, 1.0, (90, 60)), turned(90, 1.0, (0, 20)), turned(25, 1.4), turned(5, 1.0, (20, 9), 3e-4)]
)
def test_offsets_turns_scales_and_perspective_are_found(tmp_path, wanted):
    field = ground(2)
    images = write(tmp_path / "a.tif", seen(field)), write(tmp_path / "b.tif", seen(field, wanted), seed=1)
    found = register(*images)
    assert off(found.correction, wanted) < 1.0
    assert found.after > 0.7 and found.residual_px < 0.5


@pytest.mark.slow
def test_the_same_images_give_the_same_to_the_last_digit(tmp_path):
    images = [write(tmp_path / f"{k}.tif", seen(ground(2), m), seed=k) for k, m in enumerate((None, turned(25, 1.4)))]
    assert register(*images) == register(*images)


def test_georeferenced_images_are_corrected_in_the_first_ones_grid(tmp_path):
    field, wanted = ground(3), turned(0, 1.0, (70, 40))
    grids = [
        {"crs": MARS, "transform": Affine(6, 0, 600, 0, -6, 600)},
        {"crs": MARS, "transform": Affine(6, 0, 600, 0, -6, 600)},
    ]
    images = [write(tmp_path / f"{k}.tif", seen(field, m), seed=k, **grids[k]) for k, m in enumerate((None, wanted))]
    found = register(*images)
    assert found.kind == "shift"
    pair = AlignedPair(*images, correction=found.correction)
    assert pair.overlap.how == "offset"  # whole pixels: nothing is resampled
    assert (pair.grid.height, pair.grid.width) == (SIDE - 40, SIDE - 70)
    (one, _), (two, _) = pair.read_before(0, 0, 150, 150), pair.read_after(0, 0, 150, 150)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.95


def test_images_of_different_size_without_a_system_are_registered(tmp_path):
    field = ground(4)
    whole, part = seen(field), seen(field)[60:220, 30:200]
    images = write(tmp_path / "a.tif", whole), write(tmp_path / "b.tif", part, seed=1)
    with pytest.raises(DataError, match="let them be registered"):
        AlignedPair(*images)
    found = register(*images)
    pair = AlignedPair(*images, correction=found.correction)
    box = pair.overlap
    assert (box.row, box.col, box.height, box.width) == (60, 30, 160, 170)


def test_two_frames_that_share_a_strip_or_whose_half_is_masked(tmp_path):
    """Too few squares agree on the coarse images to tell; the fine ones have more."""
    field, wanted = ground(12), turned(0, 1.0, (30, -160))
    images = write(tmp_path / "a.tif", seen(field)), write(tmp_path / "b.tif", seen(field, wanted), seed=1)
    found = register(*images)
    assert off(found.correction, wanted) < 1.0
    masked = seen(field, turned(17, 1.2, (20, 10)))
    masked[:, : SIDE // 2] = 0.0
    with (
        no_grid_warning(),
        rasterio.open(
            tmp_path / "c.tif", "w", driver="GTiff", dtype="uint8", count=1, height=SIDE, width=SIDE, nodata=0
        ) as out,
    ):
        out.write(np.round(255 * masked).clip(0, 255).astype(np.uint8), 1)
    found = register(images[0], Source(str(tmp_path / "c.tif")))
    assert off(found.correction, turned(17, 1.2, (20, 10))) < 1.0


@pytest.mark.parametrize("shift", [0, 6])
def test_a_pair_that_agrees_is_left_as_it_lies(tmp_path, shift):
    field = ground(5)
    moved = np.array([[1.0, 0, shift], [0, 1, 0], [0, 0, 1]])
    found = register(write(tmp_path / "a.tif", seen(field)), write(tmp_path / "b.tif", seen(field, moved), seed=1))
    assert found.kind is None and found.correction is None and "agree" in found.how


def test_change_of_much_of_the_ground_is_no_other_place(tmp_path):
    before = seen(ground(6))
    after = before.copy()
    after[:, 100:] = 0.9 * seen(ground(7))[:, 100:]
    assert register(write(tmp_path / "a.tif", before), write(tmp_path / "b.tif", after, seed=1)).correction is None


@pytest.mark.slow
def test_two_places_are_refused_and_none_insists(tmp_path):
    images = write(tmp_path / "a.tif", seen(ground(8))), write(tmp_path / "b.tif", seen(ground(9)), seed=1)
    with pytest.raises(DataError, match="do not show the same ground.*--register=none") as error:
        register(*images)
    assert "\n" not in str(error.value)
    assert register(*images, way="none").correction is None


def test_relief_on_a_large_offset_is_registered_and_one_value_agrees_with_nothing(tmp_path):
    """In 32 bits such relief is flat, and flat squares all fitted at the first shift that was tried."""
    field, wanted = ground(16), turned(10, 1.0, (14, -9))
    names = []
    for k, matrix in enumerate((None, wanted)):
        names.append(write_image(tmp_path / f"{k}.tif", 1737400 + 0.02 * seen(field, matrix)))
    flat = write_image(tmp_path / "flat.tif", np.full((SIDE, SIDE), 7, np.uint8))
    one, other, none = (Source(str(name)) for name in (*names, flat))
    assert off(register(one, other).correction, wanted) < 1.0
    assert squares.measure(Frame(one, none), np.eye(3), Frame(one, none).whole, 1).count == 0
    assert "too plain" in register(one, none).how


@pytest.mark.slow
def test_a_small_pair_of_two_places_is_doubted(tmp_path):
    """80 px: too few squares to refuse it, and light might do it too; so it is said, and the run goes on."""
    names = {"a": seen(ground(8)), "b": seen(ground(9)), "c": seen(ground(8)) ** 1.5}
    images = {k: write(tmp_path / f"{k}.tif", x[40:120, 60:140], seed=n) for n, (k, x) in enumerate(names.items())}
    other, same = register(images["a"], images["b"]), register(images["a"], images["c"])
    assert other.correction is None and "whether both show the same ground cannot be told" in other.how
    assert "cannot be told" not in same.how


def test_what_has_no_ground_is_left_and_said(tmp_path):
    noise = np.random.default_rng(0).uniform(0.2, 0.8, (2, 120, 120))
    found = register(write(tmp_path / "a.tif", noise[0]), write(tmp_path / "b.tif", noise[1]))
    assert found.correction is None and "too plain" in found.how


def tied(tmp_path, text, *, crs=None, transform=None):
    """The model of a file of tie points for two images of one size."""
    field = ground(10)
    images = [write(tmp_path / f"{k}.tif", seen(field), crs=crs, transform=transform) for k in "ab"]
    (tmp_path / "points.txt").write_text(text, encoding="utf-8")
    return tie_points.model(str(tmp_path / "points.txt"), Frame(*images))


WANTED = turned(10, 1.1, (8, -5))
POINTS = [(20.0, 30.0), (200.0, 40.0), (60.0, 190.0), (180.0, 200.0)]


def test_plain_tie_points(tmp_path):
    after = [tuple(float(v) for v in models.move(WANTED, c, r)) for c, r in POINTS]
    lines = [f"{r},{c},{y!r},{x!r}" for (c, r), (x, y) in zip(POINTS, after, strict=True)]
    matrix, kind, count, far, _ = tied(tmp_path, "before_row,before_col,after_row,after_col\n" + "\n".join(lines))
    np.testing.assert_allclose(matrix, WANTED, atol=1e-6)
    assert (kind, count) == ("affine", 4) and far < 1e-6


def test_tie_points_of_a_spreadsheet(tmp_path):
    """Semicolons between numbers whose decimal sign is a comma."""
    lines = ["before_row;before_col;after_row;after_col"]
    for c, r in POINTS:
        x, y = models.move(WANTED, c, r)
        lines.append(";".join(f"{float(v):.9f}" for v in (r, c, y, x)).replace(".", ","))
    matrix, _, count, *_ = tied(tmp_path, "\n".join(lines))
    assert count == 4
    np.testing.assert_allclose(matrix, WANTED, atol=1e-6)


def test_points_of_qgis_on_a_map(tmp_path):
    transform = Affine(6, 0, 600, 0, -6, 600)
    lines = ["#CRS: " + MARS, "mapX,mapY,sourceX,sourceY,enable,dX,dY,residual"]
    for c, r in POINTS:
        x, y = models.move(WANTED, c, r)
        lines.append(f"{600 + 6 * c},{600 - 6 * r},{float(x)!r},{float(-y)!r},1,0,0,0")
    lines.append("0,0,5,-5,0,0,0,0")  # switched off
    matrix, _, count, *_ = tied(tmp_path, "\n".join(lines), crs=MARS, transform=transform)
    assert count == 4
    np.testing.assert_allclose(matrix, WANTED, atol=1e-5)


def test_an_isis_control_network(tmp_path):
    lines = ["Object = ControlNetwork"]
    for k, (c, r) in enumerate(POINTS):
        lines += ["  Object = ControlPoint", f"    PointId = {k}"]
        for serial, (x, y) in (("one", (c, r)), ("two", models.move(WANTED, c, r))):
            lines += ["    Group = ControlMeasure", f"      SerialNumber = {serial}"]
            lines += [f"      Sample = {float(x + 0.5)!r}", f"      Line = {float(y + 0.5)!r}", "    End_Group"]
        lines += ["  End_Object"]
    ignored = [*lines[1:-1], "  End_Object"]  # the same points once more, elsewhere, and all of them ignored
    ignored = [line.replace("PointId = ", "Ignore = True\n    PointId = 9") for line in ignored]
    ignored = [line.replace("Sample = ", "Sample = 1") for line in ignored]
    matrix, _, count, *_ = tied(tmp_path, "\n".join([*lines, *ignored, "End_Object", "End"]))
    assert count == 4
    np.testing.assert_allclose(matrix, WANTED, atol=1e-6)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "holds no tie points"),
        ("a,b\n1,2", "has no column before_col"),
        ("before_row,before_col,after_row,after_col\n1,2,x,4", "something else than four numbers"),
        ("before_row,before_col,after_row,after_col\n1,1,1,1\n2,2,2,2\n3,3,3,3", "lie on one line"),
        ("Object = ControlNetwork\nEnd_Object", "0 common points"),
    ],
)
def test_tie_points_that_cannot_be_used_are_told_in_one_line(tmp_path, text, said):
    with pytest.raises(DataError, match=said) as error:
        tied(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_correction_reads_what_the_ground_shows(tmp_path):
    field, wanted = ground(11), turned(30, 1.2, (9, -4))
    images = write(tmp_path / "a.tif", seen(field)), write(tmp_path / "b.tif", seen(field, wanted), seed=1)
    pair = AlignedPair(*images, correction=Correction(wanted))
    (one, here), (two, there) = (
        read(0, 0, pair.grid.height, pair.grid.width) for read in (pair.read_before, pair.read_after)
    )
    both = here & there
    assert both.mean() > 0.6
    assert np.corrcoef(one[both].ravel(), two[both].ravel())[0, 1] > 0.97


@pytest.mark.slow
def test_a_scene_says_and_records_its_registration(tmp_path, capsys):
    from planetcd_jax.scene import execute

    field, wanted = ground(12), turned(12, 1.0, (30, 20))
    write(tmp_path / "a.tif", seen(field))
    write(tmp_path / "b.tif", seen(field, wanted), seed=1)
    flags = [
        f"--before={tmp_path / 'a.tif'}", f"--after={tmp_path / 'b.tif'}",
        f"--output_dir={tmp_path / 'out'}", "--quiet",
        "--quiet", "--window=48", "--preset=paper", "--layer=conv1_1",
        "--null_draws=4", "--pixel_maps=0", "--page_candidates=1",
    ]  # fmt: skip
    assert execute(flags) == 0
    said = capsys.readouterr().out
    assert "registration: registered: affine" in said and "quality: " in said
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["registration"]["kind"] == "affine" == report["identity"]["registration"]["kind"]
    assert report["quality"]["verdict"] in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Registration" in page and "Quality of the pair" in page
    assert execute([*flags, "--resume"]) == 0 and "very run already" in capsys.readouterr().out
    with open(tmp_path / "out" / "candidates.csv", newline="", encoding="utf-8") as file:
        list(csv.reader(file))  # readable


def test_flags_that_contradict_each_other_are_refused(tmp_path, capsys):
    from planetcd_jax.scene import execute

    assert execute(["--before=a.tif", "--after=b.tif", "--gcps=x.csv"]) == 1
    assert "--register=file" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("by", [9.0, 14.0])
def test_local_shifts_leave_a_block_that_moved_to_be_found(tmp_path, by):
    """Ground of 150 px a side that slid by `by` px in an image that lies 40 px off: no field of shifts undoes that."""
    field = ground(11, 900)
    shift = np.array([[1.0, 0.0, 40.0], [0.0, 1.0, 25.0], [0.0, 0.0, 1.0]])
    slid = shift.copy()
    slid[0, 2] += by
    first, second = seen(field, side=480), seen(field, shift, side=480)
    block = np.s_[190:340, 200:350]
    second[block] = seen(field, slid, side=480)[block]
    found = register(write(tmp_path / "a.tif", first), write(tmp_path / "b.tif", second, seed=1))
    middle = np.array([275.0 - 40]), np.array([265.0 - 25])
    there = models.move(np.array(found.matrix), *middle)
    if found.bend is not None:
        there = tuple(at + off for at, off in zip(there, found.bend(*there), strict=True))
    assert np.hypot(there[0] - 275, there[1] - 265)[0] < 3.0  # where the ground would be had it not moved


@pytest.mark.slow
def test_relief_of_short_waves_is_followed(tmp_path):
    """Shifts that change over 40 px, as a wall makes them: with 8 x 8 squares alone the correlation is 0.972."""
    side, field = 560, ground(15, 900)
    rows, cols = np.mgrid[:side, :side] + 0.5
    along, down = 40 + 4 * np.sin(cols / 40) * np.cos(rows / 52), 4.8 * np.cos(cols / 60 + rows / 48)
    after = map_coordinates(field, [rows + down + 199.5, cols + along + 199.5], order=3, mode="wrap")
    images = write(tmp_path / "a.tif", seen(field, side=side)), write(tmp_path / "b.tif", after, seed=1)
    found = register(*images)
    pair = AlignedPair(*images, correction=found.correction)
    size = pair.grid.height, pair.grid.width
    (one, here), (two, there) = pair.read_before(0, 0, *size), pair.read_after(0, 0, *size)
    both = here & there
    assert found.bend is not None and both.mean() > 0.9
    assert np.corrcoef(one[both].ravel(), two[both].ravel())[0, 1] > 0.985


@pytest.mark.slow
def test_the_new_deposit_of_a_gully_is_the_first_place(realdata, tmp_path):
    """A pair of MOC images, bent and torn against each other; the box is in the frame of the first."""
    folder = realdata / "mars-gully-moc"
    images = [f"--{date}={folder / f'gully1_{date}.png'}" for date in ("before", "after")]
    flags = ["--pixel_maps=1", "--page_candidates=1", "--quiet", f"--output_dir={tmp_path / 'out'}"]
    assert scene.execute([*images, *flags]) == 0
    with open(tmp_path / "out" / "candidates.csv", newline="") as file:
        first = next(csv.DictReader(file))
    rows, cols = np.reshape(json.loads((folder / "pairs.json").read_text())["pairs"][0]["boxes_before_frame"], (2, 2))
    assert rows[0] <= int(first["row"]) <= rows[1] and cols[0] <= int(first["col"]) <= cols[1]
    assert first["kind"] in ("new bright streak", "new bright albedo feature") and float(first["rho"]) > 20
