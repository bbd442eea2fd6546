"""Whole scenes by the command line: what comes out, resuming, bad input, bounded memory."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine

from planetcd_jax import scene, scoremap
from planetcd_jax.config import PAPER
from planetcd_jax.errors import DataError
from planetcd_jax.images.pair_quality import correlation
from planetcd_jax.scenes import scoring
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.candidates import find_peaks, sites
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.misregistration import residual_shift
from planetcd_jax.scenes.samples import sample
from planetcd_jax.scenes.source import Source, no_grid_warning
from planetcd_jax.simulate import demo_scene

geopandas = pytest.importorskip("geopandas", reason="needs the extra 'scene'")
pyproj = pytest.importorskip("pyproj", reason="needs the extra 'scene'")


ROOT = pathlib.Path(scene.__file__).resolve().parents[1]
GRID = Affine(6.0, 0.0, 4_446_000.0, 0.0, -6.0, 1_104_000.0)
CHANGE = (150, 210)  # middle of the changed square, rows and columns
SMALL = (
    "--preset=paper",
    "--window=48",
    "--stride=24",
    "--null_draws=3",
    "--page_candidates=2",
    "--pixel_maps=2",
    "--set=draws=2",  # of the level of a pixel map, and few of its percentiles: most of the time without optimisation
    "--set=percentile_every=4",
    "--quiet",
)


def texture(height, width, seed):
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) + 1 / width
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / k**1.3, s=(height, width))
    return 120 + 25 * field / field.std()


def write(path, image, *, crs="IAU_2015:49910", transform=GRID, **options):
    profile = {"driver": "GTiff", "dtype": image.dtype, "count": 1, "height": image.shape[0], "width": image.shape[1]}
    if crs is not None:
        profile |= {"crs": crs, "transform": transform}
    with no_grid_warning(), rasterio.open(path, "w", **profile, **options) as out:
        out.write(image, 1)
    return str(path)


def lies_on_mars(crs):
    """Whether a raster's system is IAU_2015:49910, by its code; GDAL 3.12 keeps the number and not the year."""
    mars = rasterio.crs.CRS.from_string("IAU_2015:49910")
    return crs.to_string() == "IAU_2015:49910" or (crs == mars and 'AUTHORITY["IAU","49910"]' in crs.to_wkt())


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images of 300 x 330 px; the second 1.3 times as bright, noisier, and with a dark square of 30 px."""
    folder = tmp_path_factory.mktemp("images")
    one = texture(300, 330, 0)
    two = 1.3 * one + np.random.default_rng(1).normal(0, 2, one.shape) + 10
    r, c = CHANGE
    two[r - 15 : r + 15, c - 15 : c + 15] = 40
    two[:40, :60] = 0
    names = write(folder / "before.tif", np.clip(one, 1, 255).astype(np.uint8), nodata=0)
    return names, write(folder / "after.tif", np.clip(two, 0, 4000).astype(np.uint16), nodata=0)


def run(images, out, *more):
    return scene.execute([f"--before={images[0]}", f"--after={images[1]}", f"--output_dir={out}", *SMALL, *more])


@pytest.fixture(scope="module")
def results(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    assert run(images, out, "--parquet", "--chunk=96") == 0
    return out


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_all_files_are_there_and_nothing_else(results):
    assert set(files(results)) == {
        "rho.tif", "rho.qml", "candidates.gpkg", "candidates.csv", "candidates.parquet", "report.html", "run.json",
        "pixel_maps/candidate_0001.tif", "pixel_maps/candidate_0002.tif",
    }  # fmt: skip
    assert [p.name for p in results.parent.iterdir()] == ["out"]


def test_score_map_is_a_geotiff_with_overviews_on_the_ground_of_the_windows(results, images):
    with rasterio.open(results / "rho.tif") as data:
        assert data.descriptions == ("rho", "p_value") and data.nodata == -9999
        assert data.profile["tiled"] and data.profile["compress"] == "deflate" and data.overviews(1)
        assert lies_on_mars(data.crs)
        rho, p_value = data.read(masked=True)
        assert rho.shape == scoremap.map_shape(300, 330, 48, 24)
        # By hand: the middle of the first pixel is the middle of the first window, 24 px into the image.
        assert data.xy(0, 0) == (4_446_000.0 + 24 * 6, 1_104_000.0 - 24 * 6)
        row, col = np.unravel_index(rho.argmax(), rho.shape)
        x, y = data.xy(row, col)
        tau = float(data.tags()["tau"])
    assert abs(x - (GRID.c + 6 * CHANGE[1])) <= 24 * 6 and abs(y - (GRID.f - 6 * CHANGE[0])) <= 24 * 6
    assert rho.mask[0, 0] and not rho.mask[-1, -1]  # no data there in the second image
    report = json.loads((results / "run.json").read_text())
    assert report["tau"] == pytest.approx(tau) and report["n_windows"] == rho.count()
    assert report["n_changed_windows"] == (rho > tau).sum()
    assert p_value.min() == pytest.approx(1 / (1 + report["n_null"])) and p_value.max() <= 1


def test_candidates_are_polygons_with_measures_in_the_crs_of_the_scene(results):
    places = geopandas.read_file(results / "candidates.gpkg", layer="candidates")
    mars = pyproj.CRS.from_user_input("IAU_2015:49910")
    assert places.crs.equals(mars, ignore_axis_order=True)
    first = places.iloc[0]
    assert first["rank"] == 1 and (places["rho"].diff().dropna() <= 0).all()
    x, y = GRID.c + 6 * CHANGE[1], GRID.f - 6 * CHANGE[0]
    assert first.geometry.contains(geopandas.points_from_xy([x], [y])[0])
    assert first["area"] == pytest.approx(first.geometry.area) and first["area_unit"] == "m2"
    # Oracle: an equirectangular map of a sphere.
    assert first["lon"] == pytest.approx(np.degrees(first["x"] / 3_396_190)) and 18 < first["lat"] < 19
    assert first["brightness_difference"] < -0.05
    parquet = geopandas.read_parquet(results / "candidates.parquet")
    assert parquet.crs.to_authority() == ("IAU_2015", "49910") and len(parquet) == len(places)
    with open(results / "candidates.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(places) and float(rows[0]["rho"]) == pytest.approx(first["rho"])
    # The square has one single value, as ground that a camera has lost; its outline on the chip is what is told.
    told = [(row["kind"], float(row["kind_sure"])) for row in rows[:1]]
    assert told == [(first["kind"], pytest.approx(first["kind_sure"], rel=1e-8))]
    assert first["kind"] == parquet["kind"][0] == "noise or dropout" and 0.5 < first["kind_sure"] <= 1


def test_pixel_map_lies_on_the_candidate(results):
    places = geopandas.read_file(results / "candidates.gpkg", layer="candidates")
    with rasterio.open(results / "pixel_maps" / "candidate_0001.tif") as data:
        heat = data.read(1, masked=True)
        assert lies_on_mars(data.crs) and data.res == (6, 6)
        row, col = data.index(places["x"][0], places["y"][0])
        hot = np.argwhere(heat.filled(0) > 0.8 * heat.max()).mean(axis=0)
        x, y = data.xy(*hot)
        assert data.tags()["unit"].startswith("standard deviations") and float(data.tags()["level"]) > 0
    assert 0 <= row < heat.shape[0] and 0 <= col < heat.shape[1]
    assert abs(x - (GRID.c + 6 * CHANGE[1])) < 25 * 6 and abs(y - (GRID.f - 6 * CHANGE[0])) < 25 * 6


def test_run_json_says_what_is_needed_to_repeat_it(results, images):
    report = json.loads((results / "run.json").read_text())
    assert report["source"] == "real" and report["identity"]["config"]["backbone"]["layer"] == "conv3_2"
    assert report["identity"]["config"]["score"]["null"]["kind"] == "noise_and_shift"
    assert report["settings"]["before"] == images[0] and report["settings"]["window"] == 48
    assert report["before"]["size"] == [300, 330] and report["stretch"]["after"]["high"]
    assert {"jax", "rasterio", "gdal", "proj", "planetcd_jax"} <= set(report["versions"])


DIES = """
import os, signal, sys
from planetcd_jax import scene

left, replace = int(sys.argv[1]), os.replace

def counted(source, target):
    global left
    if "chunk_" in os.fspath(target):
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    replace(source, target)

os.replace = counted
scene.execute(sys.argv[2:])
"""
"""Runs a scene and is killed when one more chunk than the first argument says is written and has no name yet."""


@pytest.mark.slow
def test_killed_while_it_writes_a_run_resumes_and_ends_with_the_same_files(results, images, tmp_path):
    out = tmp_path / "out"
    arguments = [
        f"--before={images[0]}",
        f"--after={images[1]}",
        f"--output_dir={out}",
        *SMALL,
        "--parquet",
        "--chunk=96",
    ]
    work = tmp_path / ".out.partial"
    for more, chunks in ((1, 1), (3, 4)):
        program = [sys.executable, "-c", DIES, str(more), *arguments, "--resume"]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not out.exists() and len(list(work.glob("chunk_*.npy"))) == chunks
        for path in work.glob("*.npy"):
            kind = {"rho_null.tile.npy": np.int32, "rho_null.window.npy": np.int64}.get(path.name, np.float32)
            assert np.load(path).dtype == kind  # whole
    kept = {p.name: p.stat().st_mtime_ns for p in work.glob("*.npy")}
    assert len(kept) >= 4
    # As if killed while the results were put together.
    (work / "final").mkdir(exist_ok=True)
    (work / "final" / "rho.tif").write_bytes(b"half")
    assert run(images, out, "--parquet", "--chunk=96", "--resume") == 0
    assert files(out) == files(results)
    assert not work.exists()
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    assert run(images, out, "--parquet", "--chunk=96", "--resume") == 0  # nothing left to do
    assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == before


def test_resuming_another_run_is_refused(images, tmp_path, capsys):
    out = tmp_path / "out"
    Checkpoint(tmp_path / ".out.partial", {"seed": 5}, resume=False)
    assert run(images, out, "--resume") == 1
    assert "was begun with other settings or images" in capsys.readouterr().err
    assert not out.exists()


def test_results_are_not_overwritten_unasked(results, images, tmp_path, capsys):
    assert run(images, results) == 1
    assert "holds earlier results; name another folder or add --overwrite." in capsys.readouterr().err
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("x")
    assert run(images, other, "--overwrite") == 1
    assert "holds other files and is left as it is" in capsys.readouterr().err
    assert (other / "mine.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [600, 20_000], ids=["while scoring", "while writing"])
def test_full_disk_is_one_line_and_leaves_nothing_that_looks_whole(images, tmp_path, limit):
    """A disk that takes no file above `limit` bytes; then, with room again, --resume ends the run."""
    out = tmp_path / "out"
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "from planetcd_jax import scene; sys.exit(scene.execute(sys.argv[1:]))"
    )
    # The C++ engine, where it is not compiled yet, would not fit on that disk, and a run is taken up by its own engine.
    # Nor would compiled programs, so those of the least layer are made.
    cheap = ["--engine=xla", "--layer=conv1_1"]
    arguments = [f"--before={images[0]}", f"--after={images[1]}", f"--output_dir={out}", *SMALL, *cheap]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    last = [line for line in done.stderr.splitlines() if line.startswith("planetcd-scene")]
    assert done.returncode == 1, done.stderr
    assert len(last) == 1 and "Traceback" not in done.stderr
    assert str(tmp_path) in last[0] and "--resume" in last[0]
    assert not out.exists()
    if limit == 20_000:
        assert run(images, out, "--resume", *cheap) == 0
        assert (out / "report.html").stat().st_size > limit


BAD = [
    (["--window=50"], 1, "window is 50 px; give a multiple of 4 px"),
    (["--window=400"], 1, "overlap in 300x330 px, a window is 400 px; choose a smaller --window"),
    (["--set=patch_standardize=True"], 1, "patch_standardize is True, and windows that share"),
    (["--preset=authors_code"], 1, "backbone is 'vgg16_bn', and windows cannot share"),
    (["--after_shift=1"], 1, "--after_shift=1: give rows,columns or auto."),
    (["--before_bands=x"], 1, "--before_bands=x: give whole numbers"),
    (["--before_bands=4"], 1, "has 1 band(s), and band 4 was asked for"),
    (["--min_valid=2"], 1, "min_valid is 2; give a share in [0, 1]."),
    (["--set=nothing=1"], 1, "--set=nothing=1 means nothing for backbone vgg16"),
    (["--page_candidates=501"], 1, "--page_candidates=501: give 1 to 500."),
    (["--after=/nowhere/b.tif"], 1, "/nowhere/b.tif does not exist; check the path."),
    (["--resampling=worst"], 2, "resampling"),
    (["--windw=3"], 2, "windw"),
    (["--demo"], 1, "--demo makes its own images"),
]


@pytest.mark.parametrize("more, status, text", BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_settings_are_one_line(images, tmp_path, capsys, more, status, text):
    assert run(images, tmp_path / "out", *more) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and text in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_bad_images_are_one_line(images, tmp_path, capsys, realdata):
    empty = write(tmp_path / "masked.tif", np.zeros((300, 330), np.uint8), nodata=0)
    far = write(tmp_path / "far.tif", np.ones((300, 330), np.uint8), transform=Affine(6, 0, 0, 0, -6, 0))
    moon = write(tmp_path / "moon.tif", np.ones((300, 330), np.uint8), crs="IAU_2015:30110")
    waves = write(tmp_path / "waves.tif", np.ones((300, 330), np.complex64))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(pathlib.Path(images[1]).read_bytes()[:90_000])
    short = sorted((realdata / "formats" / "gdal-autotest" / "pds").glob("*_truncated.img"))
    cases = [
        (empty, "no valid pixel in common"), (far, "do not overlap"), (moon, "lies on Mars"), (waves, "complex64"),
        (str(cut), "cut.tif cannot be"),
    ]  # fmt: skip
    for other, text in cases:
        assert run((images[0], other), tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1, error
    assert len(short) == 2
    for path in short:
        assert run((str(path), str(path)), tmp_path / "out") == 1
        error = capsys.readouterr().err
        # GDAL's own label of these says one line, and the file has it.
        assert f"{path.name} holds 1x3" in error and "too few for any window" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_images_without_a_reference_system_run_and_say_so(images, tmp_path, capsys):
    bare = []
    for name in images:
        with rasterio.open(name) as data:
            bare.append(write(tmp_path / pathlib.Path(name).name, data.read(1), crs=None, nodata=0))
    assert run(bare, tmp_path / "out", "--chunk=96") == 0  # with the programs of `results`
    assert "no coordinate reference system" in capsys.readouterr().out
    with open(tmp_path / "out" / "candidates.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["lon"] == "" and first["area_unit"] == "px2" and abs(int(first["row"]) - CHANGE[0]) <= 24


SERVER = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(False)
    def do_GET(self):
        self.answer(True)
    def answer(self, send):
        path = pathlib.Path(sys.argv[1]) / self.path.lstrip("/")
        if not path.is_file():
            return self.send_error(404)
        content, asked = path.read_bytes(), self.headers.get("Range")
        self.send_response(206 if asked else 200)
        if asked:
            first, last = asked.split("=")[1].split("-")
            whole, first, last = len(content), int(first), min(int(last or len(content)), len(content) - 1)
            content = content[first : last + 1]
            self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
            print("part", flush=True)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if send:
            self.wfile.write(content)
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_images_may_be_urls(images):
    """A server in a process of its own (GDAL keeps this one busy) that answers requests for parts of files."""
    folder = pathlib.Path(images[0]).parent
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        with rasterio.Env(GDAL_HTTP_TIMEOUT=20, GDAL_HTTP_PROXY="", NO_PROXY="127.0.0.1"):
            source = Source(f"http://127.0.0.1:{port}/after.tif")
            part = source.read(100, 90, 64, 64)[0]
            source.close()
            with pytest.raises(DataError, match=r"none.tif cannot .*404.*; check the address and the"):
                Source(f"http://127.0.0.1:{port}/none.tif")
    finally:
        server.terminate()
        said = server.communicate()[0]
    np.testing.assert_array_equal(part, Source(images[1]).read(100, 90, 64, 64)[0])
    assert "part" in said


@pytest.mark.slow
@pytest.mark.parametrize("standard", [False, True])
def test_scores_do_not_depend_on_the_chunk(params, images, tmp_path, standard):
    config = PAPER.replace(layer="conv2_1", feature_standardize=standard)
    pair = AlignedPair(*map(Source, images))
    samples = sample(pair)
    maps = []
    for chunk in (72, 128, 1024):
        plan = scoring.Plan(window=48, stride=24, chunk=chunk, null_draws=2)
        kept = Checkpoint(tmp_path / str(chunk), {}, resume=False)
        scene = scoring.Scene(pair, samples, params, config, plan)
        maps.append(scoring.score_scene(scene, kept, lambda n: None)["rho"])
    assert np.isfinite(maps[0]).mean() > 0.8
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=1e-4)


MEASURE = """
import pathlib, resource, sys
import numpy as np
from planetcd_jax.networks import weights_io
from planetcd_jax.config import PAPER
from planetcd_jax.scenes import scoring
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.source import Source
from planetcd_jax.scenes.samples import sample
import rasterio
params, plan = weights_io.load_vgg16(), scoring.Plan(window=64, stride=64, chunk=512, null_draws=2)
for name in sys.argv[1:]:
    with rasterio.Env(GDAL_CACHEMAX=16 * 2**20):
        pair = AlignedPair(Source(name), Source(name))
        scene = scoring.Scene(pair, sample(pair), params, PAPER.replace(layer="conv1_1"), plan)
        kept = Checkpoint(pathlib.Path(name).with_suffix(".work"), {}, resume=False)
        rho = scoring.score_scene(scene, kept, lambda n: None)["rho"]
    print(rho.size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(tmp_path):
    """An image four times as large, 64 MB more of it as float32, takes no more than 30 MB more."""
    # One after the other in one process, which compiles once; its peak so far is that of the larger one at the end.
    sides, names = (1536, 3072), []
    for side in sides:
        image = np.random.default_rng(0).integers(1, 255, (side, side), dtype=np.uint8)
        names.append(write(tmp_path / f"{side}.tif", image, tiled=True, blockxsize=256, blockysize=256))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *names],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": ""},  # compiled as usual: this one computes for long
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (few, small), (many, large) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == tuple((side // 64) ** 2 for side in sides)
    assert large - small < 30, (small, large)


def test_peaks_own_their_surroundings_by_hand():
    rho = np.zeros((6, 9), np.float32)
    rho[1, 1], rho[1, 2], rho[4, 7], rho[0, 8] = 9, 8, 5, np.nan
    peaks = find_peaks(rho, 2)
    assert [(int(r), int(c)) for r, c in zip(peaks.rows[:2], peaks.cols[:2], strict=True)] == [(1, 1), (4, 7)]
    assert peaks.owner[1, 2] == 0 and peaks.owner[3, 3] == 0 and peaks.owner[5, 8] == 1 and peaks.owner[0, 8] == -1
    apart = np.maximum(abs(peaks.rows[:, None] - peaks.rows), abs(peaks.cols[:, None] - peaks.cols))
    assert (apart[~np.eye(len(apart), dtype=bool)] > 2).all()
    assert sites(rho, 4.0).max() == 2 and sites(rho, 8.5).max() == 1


def test_residual_shift_and_correlation():
    """Oracle: a texture rolled by a known shift."""
    image = texture(96, 96, 3)
    moved = np.roll(image, (5, -7), axis=(0, 1))
    valid = np.ones(image.shape, bool)
    rows, cols = residual_shift(image, moved, valid)
    assert abs(rows - 5) <= 0.3 and abs(cols + 7) <= 0.3
    assert correlation(image, 3 * image + 2, valid) == pytest.approx(1.0)
    assert np.isnan(residual_shift(image, np.ones_like(image), valid)).all()
    assert np.isnan(correlation(image, np.ones_like(image), valid))


@pytest.mark.slow
def test_demo_images_are_georeferenced_misaligned_and_known(tmp_path):
    before, after = demo_scene.write_demo(tmp_path, side=800, seed=0)
    with rasterio.open(before) as one, rasterio.open(after) as two:
        assert lies_on_mars(one.crs) and lies_on_mars(two.crs)
        assert (
            one.transform != two.transform and "SIMULATED" in one.tags()["NOTE"] and "SIMULATED" in two.tags()["NOTE"]
        )
    pair = AlignedPair(Source(str(before)), Source(str(after)))
    assert pair.overlap.how == "warp"
    with open(tmp_path / "truth.csv", newline="") as file:
        truth = list(csv.DictReader(file))
    assert len(truth) == demo_scene.CHANGES
    first, here = pair.read_before(250, 300, 128, 128)
    second, there = pair.read_after(250, 300, 128, 128)
    shift = residual_shift(first[..., 0], second[..., 0], here & there)
    assert np.abs(np.subtract(shift, demo_scene.MISREGISTRATION)).max() < 1.0


def test_block_cache_holds_blocks(images, tmp_path, monkeypatch):
    """rasterio counts the cache in bytes: it must hold the blocks that a chunk is read from, and stay small."""
    sizes = []
    monkeypatch.setattr(scene, "_run", lambda *_: sizes.append(rasterio.env.getenv()["GDAL_CACHEMAX"]))
    assert run(images, tmp_path / "out") == 0
    assert 64 * 2**20 <= sizes[0] <= 512 * 2**20


def test_help_names_every_flag(capsys):
    assert scene.execute(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"--{flag.name}" in text for group in scene.FLAGS.values() for flag in group)


def test_the_bar_of_places_says_that_the_first_one_compiles(capsys):
    from planetcd_jax.scenes.scene_files import _with_progress

    seen = []
    for place in _with_progress(iter(range(3)), 3, quiet=False):
        seen.append(place)
        said = capsys.readouterr().err
        assert ("compiling for the first place" in said) == (place == 0), said  # until the first is there
    assert seen == [0, 1, 2] and "3/3" in capsys.readouterr().err
    assert list(_with_progress(iter([7]), 1, quiet=True)) == [7] and capsys.readouterr().err == ""
