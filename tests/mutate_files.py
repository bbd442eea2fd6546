"""Damages small image files of many formats, by seed, and runs both programs on each.

    python tests/mutate_files.py --count=300 --seed=0

For every input: no traceback, no crash of the process, no hang, no half-written output, and where a program refuses
the file, one line on standard error that names it. Prints what went wrong and exits with 1 if anything did. Files are
written with rasterio, and taken from the folder of real images where there is one.
"""

import argparse
import collections
import contextlib
import io
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from typing import NamedTuple

sys.path[:0] = [os.fspath(pathlib.Path(__file__).resolve().parent)]

SIDE = 64
LIMIT_S = 60
"""A run that takes longer hangs; one takes 2 s, or some tens where it must compile, and longer on a busy machine."""

REAL = pathlib.Path(__file__).resolve().parents[2] / "shared" / "realdata" / "formats"
REAL_BYTES = 300_000
"""Larger real files are left out: they are slow, and no other kind."""

DRIVERS = {
    "a.png": ("PNG", {}),
    "a.jpg": ("JPEG", {}),
    "strips.tif": ("GTiff", {"compress": "lzw"}),
    "tiles.tif": ("GTiff", {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate", "predictor": 2}),
    "plain.tif": ("GTiff", {}),
    "jpeg.tif": ("GTiff", {"compress": "jpeg"}),
    "big.tif": ("GTiff", {"BIGTIFF": "YES"}),
    "a.jp2": ("JP2OpenJPEG", {}),
    "a.cub": ("ISIS3", {}),
    "a.xml": ("PDS4", {"IMAGE_FILENAME": "a_pixels.img"}),
    "a.vic": ("VICAR", {}),
    "a.bsq": ("ENVI", {}),
    "a.bmp": ("BMP", {}),
    "a.gif": ("GIF", {}),
}
"""File names, GDAL's drivers, and how they write."""


class Whole(NamedTuple):
    """An image that is not damaged: its files, of which the first is opened."""

    name: str
    files: tuple[pathlib.Path, ...]


def write_all(folder: pathlib.Path) -> list[Whole]:
    """One small image in each format that can be written, a PDS3 file, a VRT and an HDF5 file of pairs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a PNG has no grid
        return _write_all(folder)


def _write_all(folder: pathlib.Path) -> list[Whole]:
    import h5py
    import numpy as np
    import rasterio
    from labelled_files import write_pds3

    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    image = (
        (120 + 50 * np.sin(rows / 5) * np.cos(cols / 7) + rng.normal(0, 8, rows.shape)).clip(1, 254).astype(np.uint8)
    )
    found = []
    for name, (driver, options) in DRIVERS.items():
        place = folder / f"{driver}-{name}"
        place.mkdir(parents=True)
        profile = {"driver": driver, "height": SIDE, "width": SIDE, "count": 1, "dtype": "uint8", **options}
        if driver in ("GTiff", "ISIS3", "PDS4", "VICAR", "ENVI"):
            profile |= {"crs": "+proj=eqc +R=3396190 +units=m", "transform": rasterio.Affine(6, 0, 0, 0, -6, 0)}
        if "IMAGE_FILENAME" in options:
            profile["IMAGE_FILENAME"] = os.fspath(place / options["IMAGE_FILENAME"])
        try:
            with rasterio.open(place / name, "w", **profile) as out:
                out.write(image, 1)
        except rasterio.errors.RasterioError:  # a GDAL without this driver
            continue
        rest = sorted(path for path in place.iterdir() if path.name != name and not path.name.endswith(".aux.xml"))
        found.append(Whole(f"{driver} {name}", (place / name, *rest)))
    (folder / "PDS3").mkdir()
    found.append(Whole("PDS3", (write_pds3(folder / "PDS3" / "a.img", image, MISSING_CONSTANT=0),)))
    (folder / "VRT").mkdir()
    shutil.copy(folder / "GTiff-plain.tif" / "plain.tif", folder / "VRT" / "plain.tif")
    (folder / "VRT" / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">plain.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    found.append(Whole("VRT", (folder / "VRT" / "a.vrt", folder / "VRT" / "plain.tif")))
    (folder / "HDF5").mkdir()
    with h5py.File(folder / "HDF5" / "a.h5", "w") as out:
        out["before"] = out["after"] = np.stack([image, image[::-1]])
    found.append(Whole("HDF5", (folder / "HDF5" / "a.h5",)))
    return found


def real_files() -> list[Whole]:
    """Real files of the formats folder that are small; labels go with the pixels beside them."""
    found = []
    for path in sorted(REAL.rglob("*.*")) if REAL.is_dir() else []:
        beside = [other for other in path.parent.glob(f"{path.stem}.*") if other != path]
        label = path.suffix.lower() in (".lbl", ".xml")
        if beside and not label:
            continue  # opened through its label
        files = (path, *sorted(beside))
        if sum(file.stat().st_size for file in files) <= REAL_BYTES:
            found.append(Whole(f"real {path.name}", files))
    return found


def damage(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """The bytes with one kind of damage, and that in words."""
    size, kind = len(content), rng.choice(("change", "head", "cut", "zero", "swap", "repeat", "digits"))
    data = bytearray(content)
    if kind in ("change", "head"):
        reach = size if kind == "change" else min(size, 600)
        for _ in range(rng.choice((1, 4, 30))):
            data[rng.randrange(reach)] = rng.randrange(256)
    elif kind == "cut":
        del data[rng.randrange(size) :]
    elif kind == "zero":
        start, length = rng.randrange(size), rng.choice((1, 16, size // 4 + 1))
        data[start : start + length] = bytes(len(data[start : start + length]))
    elif kind == "swap":
        length = rng.randrange(1, size // 3 + 2)
        first, second = sorted((rng.randrange(size), rng.randrange(size)))
        length = min(length, second - first, size - second)
        a, b = bytes(data[first : first + length]), bytes(data[second : second + length])
        data[first : first + length], data[second : second + length] = b, a
    elif kind == "repeat":
        start = rng.randrange(size)
        data[start:start] = data[start : start + rng.randrange(1, 400)]
    else:  # a digit of a label, which may be a size or an offset
        places = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
        for place in rng.sample(places, min(len(places), rng.choice((1, 2, 8)))):
            data[place] = rng.randrange(48, 58)
    return bytes(data), kind


def damaged(whole: Whole, folder: pathlib.Path, rng: random.Random) -> tuple[pathlib.Path, str]:
    """A copy of an image in which one of its files is damaged; the file to open, and what was done."""
    folder.mkdir(parents=True)
    for file in whole.files:
        shutil.copyfile(file, folder / file.name)
    victim = folder / rng.choice(whole.files).name
    content, kind = damage(victim.read_bytes(), rng)
    victim.write_bytes(content)
    return folder / whole.files[0].name, f"{whole.name}, {kind} in {victim.name}"


def _scene(file: pathlib.Path, good: pathlib.Path, out: pathlib.Path, turned: bool) -> tuple[str, list[str]]:
    names = (good, file) if turned else (file, good)
    flags = [f"--{date}={name}" for date, name in zip(("before", "after"), names, strict=True)]
    flags += ["--preset=paper", "--layer=conv1_1", "--window=32", "--stride=32", "--null_draws=1", "--pixel_maps=0"]
    return "planetcd-scene", [
        *flags,
        "--page_candidates=1",
        "--quiet",
        "--after_shift=0,0",
        "--engine=xla",
        f"--output_dir={out}",
    ]


def _pairs(file: pathlib.Path, good: pathlib.Path, out: pathlib.Path, turned: bool) -> tuple[str, list[str]]:
    table = file
    if file.suffix != ".h5":
        table = file.parent / "table.csv"
        names = (good, file) if turned else (file, good)
        table.write_text(f"id,before,after\nx,{names[0]},{names[1]}\ny,{good},{good}\n", encoding="utf-8")
    flags = [
        "--dataset=pairs",
        f"--pairs_csv={table}",
        "--preset=paper",
        "--layer=conv1_1",
        "--figures=0",
        "--explain=0",
        "--page_pairs=0",
    ]
    return "planetcd", [
        *flags,
        "--size_mismatch=crop",
        "--grey",
        "--engine=xla",
        "--num_devices=1",
        f"--output_dir={out}",
    ]


def outcome(program: str, flags: list[str], file: pathlib.Path, out: pathlib.Path) -> str:
    """Runs a program in this process; "" if it behaved, else what it did."""
    from planetcd_jax import main, scene

    said = io.StringIO()
    execute = {"planetcd": main.execute, "planetcd-scene": scene.execute}[program]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = execute(flags)
    except BaseException:
        return "traceback: " + " | ".join(traceback.format_exc().strip().splitlines()[-4:])
    left = sorted(path.name for path in out.parent.iterdir() if path != out and path.name.startswith("."))
    if left:
        return f"left behind: {left}"
    whole = (out / ("run.json" if program == "planetcd-scene" else "metrics.json")).is_file()
    if status == 0:
        return "" if whole else "status 0 without results"
    lines = said.getvalue().replace("\r", "\n").splitlines()
    notices = ("it/s", "pair/s", "%|", "compiling the program")
    told = [line for line in lines if line.strip() and not any(notice in line for notice in notices)]
    if out.exists():
        return f"status {status} with results"
    if status != 1 or len(told) != 1 or not told[0].startswith(f"{program}: "):
        return f"status {status}: {told}"
    return "" if file.stem in told[0] else f"does not name the file: {told[0]}"


def _work(connection) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # what C libraries print is no line of the programs
    while (job := connection.recv()) is not None:
        connection.send(outcome(*job))


class Worker:
    """A process of its own that runs the programs, one input after the other; a new one where it dies or hangs."""

    def __init__(self, limit_s: float):
        self._process, self._limit_s = None, limit_s

    def run(self, *job) -> str:
        """`outcome` in the other process."""
        if self._process is None:
            self._ours, theirs = multiprocessing.get_context("spawn").Pipe()
            self._process = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._ours.send(job)
        try:
            if self._ours.poll(self._limit_s):
                return self._ours.recv()
            problem = f"no end after {self._limit_s:g} s"
        except EOFError:
            self._process.join(5)
            problem = f"the process died ({self._process.exitcode})"
        self.close()
        return problem

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


class Ground:
    """Whole images, the files that are made of them, and the process that the programs run in.

    Attributes:
        kinds: How many runs were refused and taken.
    """

    def __init__(self, folder: pathlib.Path, *, real: bool = True, keep: bool = False, limit_s: float = LIMIT_S):
        """Writes the images; `real` adds real files, `keep` leaves files in `folder` that made a problem.

        A run that takes longer than `limit_s` seconds is taken to hang.
        """
        self.wholes = write_all(folder / "whole") + (real_files() if real else [])
        self.kinds = collections.Counter()
        self._good = folder / "whole" / "GTiff-plain.tif" / "plain.tif"
        self._folder, self._keep, self._worker = folder, keep, Worker(limit_s)

    def check(self, number: int, seed: int) -> list[str]:
        """Damages one file and runs both programs on it; what went wrong, a line for each."""
        rng = random.Random(f"{seed}-{number}")
        place = self._folder / f"{number:04d}"
        file, what = damaged(self.wholes[number % len(self.wholes)], place, rng)
        turned, found = rng.random() < 0.5, []
        for make in (_scene, _pairs):
            if make is _scene and file.suffix == ".h5":
                continue
            out = place / "results" / "run"
            out.parent.mkdir()
            program, flags = make(file, self._good, out, turned)
            problem = self._worker.run(program, flags, file, out)
            found += [f"{number} {program}, {what}: {problem}"] if problem else []
            self.kinds["taken" if out.exists() else "refused"] += 1
            shutil.rmtree(out.parent)
        if not (found and self._keep):
            shutil.rmtree(place)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default=None, help="folder in which files that made a problem are kept")
    parser.add_argument("--limit_s", type=float, default=LIMIT_S, help="seconds after which a run hangs")
    given = parser.parse_args()
    problems = 0
    with tempfile.TemporaryDirectory() as own:
        ground = Ground(pathlib.Path(given.keep or own), keep=given.keep is not None, limit_s=given.limit_s)
        for number in range(given.count):
            for line in ground.check(number, given.seed):
                problems += 1
                print(line, flush=True)
        ground.close()
    figures = {"inputs": given.count, "formats": len(ground.wholes), **ground.kinds, "problems": problems}
    print(json.dumps(figures))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
