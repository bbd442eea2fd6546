"""Faults around a survey: the scheduler dies, the disk fills, storage stutters, an image is torn in the middle."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import distributed
import numpy as np
import pytest
import rasterio
from distributed.comm import CommClosedError
from image_files import write_image
from stuttering_server import stuttering
from survey_work import ROOT, STANDIN, lines, pairs, results, task

from planetcd_jax.errors import OutputError
from planetcd_jax.scenes.source import no_grid_warning
from planetcd_jax.surveys import engine
from planetcd_jax.surveys.attempt import score_pair
from planetcd_jax.surveys.engine import Survey
from planetcd_jax.surveys.ledger import Ledger
from planetcd_jax.surveys.workers import Workers

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@contextlib.contextmanager
def cluster(port, folder):
    """A scheduler and a worker as a user starts them; both are killed at the end."""
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", f"--port={port}",
         "--no-dashboard"], **quiet,
    )  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads=1", "--no-dashboard", "--no-nanny",
         f"--local-directory={folder}"], **quiet,
    )  # fmt: skip
    try:
        yield address
    finally:
        for process in (scheduler, worker):  # the scheduler first, as it dies in life
            process.kill()
            process.wait()


def test_a_run_goes_on_when_its_scheduler_was_killed_and_started_again(tmp_path):
    names = [f"slow{i}" for i in range(8)]
    table, folder, port = tmp_path / "pairs.csv", tmp_path / "S", free_port()
    table.write_text("id,before,after\n" + "".join(f"{name},{name}.tif,b.tif\n" for name in names))
    with cluster(port, tmp_path / "one") as address:
        run = subprocess.Popen(
            [sys.executable, "-m", "planetcd_jax.survey", "run", os.fspath(table), f"--output_dir={folder}",
             f"--program={' '.join(STANDIN)}", f"--scheduler={address}", "--wait=300", "--quiet"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while sum(lines(folder, "DONE").values()) < 2:
            assert run.poll() is None
            time.sleep(0.05)
    with cluster(port, tmp_path / "two"):
        said, errors = run.communicate()
    assert run.returncode == 0 and "8 of 8 pairs done, 0 set aside; 0 failed attempts" in said, errors
    assert lines(folder, "DONE") == dict.fromkeys(names, 1)
    for name in names:
        assert score_pair(task(tmp_path / "plain", name)).state == "done"
    assert results(folder) == results(tmp_path / "plain")


class Answerless:
    """A task that ended on a worker, and whose scheduler dies while its outcome is asked for."""

    status = "finished"

    def add_done_callback(self, told):
        told(self)

    def result(self):
        raise CommClosedError("in <TCP (closed) ConnectionPool.gather>: Stream is closed")


def test_a_pair_whose_outcome_the_scheduler_took_with_it_is_asked_for_again(tmp_path):
    class Alone:
        status = "running"

        def submit(self, *_, **__):
            return Answerless()

    flight = engine._Flight(Alone(), score_pair)
    flight.send(task(tmp_path, "p1"))
    assert [(one.pair, one.state) for one in flight.landed(1.0)] == [("p1", "busy")] and not flight.tasks


def test_workers_that_all_went_away_are_started_again(tmp_path, monkeypatch):
    names, asked = [f"slow{i}" for i in range(4)], []
    book = Ledger(tmp_path / "ledger.sqlite")
    book.add(pairs(*names))
    monkeypatch.setattr(engine, "_ALONE_S", 0.5)

    def told(dashboard, workers):
        if not asked and lines(tmp_path, "DONE"):
            asked.append(dashboard)
            distributed.default_client().retire_workers()

    assert Survey(tmp_path, book, STANDIN, Workers(count=1), told=told).run()["done"] == 4 and asked
    book.close()
    assert lines(tmp_path, "DONE") == dict.fromkeys(names, 1)


@contextlib.contextmanager
def small_disk(folder, size):
    """A disk of its own at a folder."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", os.fspath(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("a file system cannot be mounted here; it takes Linux and root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", os.fspath(folder)], check=True)


def test_a_disk_that_fills_in_the_middle_of_a_pair_costs_no_try(tmp_path):
    folder = tmp_path / "disk"
    with small_disk(folder, "250m"):
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(110 * 2**20))  # room to begin, not to end
        for _ in range(2):
            book = Ledger(folder / "ledger.sqlite")
            book.add(pairs("p1", "fills2", "p3"))
            run = Survey(folder, book, STANDIN, Workers(count=1))
            if ballast.exists():
                with pytest.raises(OutputError, match="its disk is full; free some space and repeat"):
                    run.run()
                assert book.counts()["failures"] == 0 and "fills2" in lines(folder, "STARTED")
            else:
                assert run.run()["done"] == 3
            book.close()
            ballast.unlink(missing_ok=True)
        assert lines(folder, "DONE") == {"p1": 1, "fills2": 1, "p3": 1} and os.listdir(folder / "work") == []


def made_images(folder):
    """Three images of one ground."""
    rng = np.random.default_rng(0)
    ground = rng.integers(40, 200, (40, 40)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        values = np.random.default_rng(seed).integers(-6, 6, ground.shape)
        write_image(
            folder / f"{name}.tif", (ground + values).astype(np.uint8), tiled=True, blockxsize=64, blockysize=64
        )


def torn(path, folder):
    """A copy of an image with a tile in the middle that holds nothing that can be read."""
    with no_grid_warning(), rasterio.open(path) as image:
        values = image.read(1)
    other = write_image(folder / "torn.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = bytearray(other.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    other.write_bytes(content)
    return other


def run_real(folder, table, *more):
    # The cheapest score: what a survey does around a scene does not depend on it.
    flags = ["preset=paper", "layer=conv1_1", "null_draws=2", "page_candidates=1", "stride=48", "pixel_maps=0"]
    flags = [f"--scene={flag}" for flag in flags]
    command = [sys.executable, "-m", "planetcd_jax.survey", "run", os.fspath(table), "--workers=1", "--quiet", *flags]
    done = subprocess.run([*command, f"--output_dir={folder}", *more], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def scores(folder, name):
    (path,) = folder.glob(f"scenes/*/{name}/rho.tif")
    with no_grid_warning(), rasterio.open(path) as image:
        return image.read()


def test_real_scenes_in_kept_and_own_processes_over_a_network_and_beside_a_torn_image(tmp_path):
    pytest.importorskip("geopandas")
    made_images(tmp_path)
    torn(tmp_path / "b.tif", tmp_path)
    own, kept = tmp_path / "own.csv", tmp_path / "kept.csv"
    first = "id,before,after\none,a.tif,b.tif\ntorn,a.tif,torn.tif\ntwo,b.tif,c.tif\n"
    own.write_text(first.replace("torn,a.tif,torn.tif\n", ""))
    run_real(tmp_path / "own", own, "--process_pairs=1")
    with stuttering(tmp_path) as server:
        kept.write_text(first + f"url,{server.address}/a.tif,{server.address}/b.tif\n")
        said = run_real(tmp_path / "kept", kept)
        assert server.failures > 1
    assert "3 of 4 pairs done, 1 set aside; 3 failed attempts" in said
    mine = {name: body for name, body in results(tmp_path / "kept").items() if "/one/" in name or "/two/" in name}
    assert mine == results(tmp_path / "own") != {}
    assert np.array_equal(scores(tmp_path / "kept", "url"), scores(tmp_path / "kept", "one"), equal_nan=True)
    book = Ledger(tmp_path / "kept" / "ledger.sqlite")
    (aside,) = book.pairs("set aside")
    book.close()
    assert aside["id"] == "torn" and "torn.tif" in aside["error"]


def test_what_a_server_refused_once_is_asked_for_again_in_the_same_process(tmp_path):
    code = (
        "import sys, rasterio; from planetcd_jax.images.network import reading\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        with reading(), rasterio.open(sys.argv[1]) as image: print(image.shape, flush=True)\n"
        "    except rasterio.errors.RasterioIOError as error: print(error, flush=True)\n"
    )
    with stuttering(tmp_path) as server:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        command = [sys.executable, "-c", code, f"{server.address}/late.tif"]
        with subprocess.Popen(command, cwd=ROOT, **pipes) as reader:
            said = []
            for _ in range(2):
                reader.stdin.write("again\n")
                reader.stdin.flush()
                said.append(reader.stdout.readline())
                write_image(tmp_path / "late.tif", np.ones((50, 60), np.uint8))
    assert "404" in said[0] and said[1] == "(50, 60)\n"


def test_an_archive_on_a_network_that_stutters_is_found(tmp_path):
    for n in range(3):
        write_image(
            tmp_path / f"{n}.tif",
            np.ones((50, 60), np.uint8),
            crs="IAU_2015:49900",
            transform=(1e-3, 0, 10, 0, -1e-3, 5),
        )
    with stuttering(tmp_path, failing=5) as server:
        table = tmp_path / "images.csv"
        table.write_text("path\n" + "".join(f"{server.address}/{n}.tif\n" for n in range(3)))
        # In another process: rasterio keeps the interpreter to itself while it opens, and the server could not answer.
        alone = {**os.environ, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        find = [sys.executable, "-m", "planetcd_jax.survey", "find", f"--images={table}", f"--out={tmp_path}/pairs.csv"]
        found = subprocess.run(find, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=120)
        assert found.returncode == 0, found.stderr
        assert "3 images placed, 0 left aside" in found.stdout and server.failures > 0
