"""Several processes give the results of one. Oracle: the run of one process."""

import csv
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import planetcd_jax as pcd
from planetcd_jax import main
from planetcd_jax.runtime import hosts, start_hosts

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(texture, tmp_path):
    """Seven pairs of images, of which the last process gets one more than the first."""
    data = tmp_path / "data"
    data.mkdir()
    images = (texture(14, 24, 24) * 255).astype(np.uint8)
    for i in range(7):
        Image.fromarray(images[2 * i]).save(data / f"{i}_before.png")
        Image.fromarray(images[2 * i + 1]).save(data / f"{i}_after.png")
    return data


def flags(folder, output):
    return ["--dataset=pairs", f"--data_dir={folder}", "--layer=conv1_1", "--max_shift=2", "--figures=0",
            f"--output_dir={output}"]  # fmt: skip


def start(folder, output, *more):
    # As the suite compiles, but each process with one device.
    compiling = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    environment = {**os.environ, "XLA_FLAGS": " ".join(compiling), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "planetcd_jax.main", *flags(folder, output), *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def two(folder, output, *more):
    """Exit status, standard output and standard error of process 0 and of process 1."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    joined = [f"--coordinator_address={address}", "--num_processes=2"]
    processes = [start(folder, output, *joined, f"--process_id={i}", *more) for i in (0, 1)]
    return [finish(process) for process in processes]


def rows(output):
    with open(output / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_give_the_results_of_one(folder, tmp_path):
    assert main.execute([*flags(folder, tmp_path / "one"), "--num_devices=1"]) == 0  # in this process
    first, second = two(folder, tmp_path / "two")
    assert first[0] == 0 and second[0] == 0, first[2] + second[2]
    assert "results in" in first[1] and "planetcd" not in second[1]  # process 0 prints and writes
    wanted, got = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(wanted) == 7 and [row["id"] for row in got] == [row["id"] for row in wanted]
    for column in ("rho", "p_value"):
        np.testing.assert_allclose(*([float(row[column]) for row in table] for table in (got, wanted)), rtol=1e-5)
    assert [row["changed"] for row in got] == [row["changed"] for row in wanted]


def test_a_bad_pair_of_one_process_stops_both(folder, tmp_path):
    (folder / "6_after.png").write_bytes(b"no image")
    first, second = two(folder, tmp_path / "two")
    assert first[0] == 1 and second[0] == 1
    assert "process 1: " in first[2] and "6_after.png" in first[2]
    assert "6_after.png" in second[2]
    assert not (tmp_path / "two").exists()


def test_shares_cover_the_set_once():
    class Source:
        ids = tuple("abcdefg")

        def __len__(self):
            return 7

        def read(self, i):
            return i

    shares = [hosts.Share(Source(), p, 3) for p in range(3)]
    assert [share.read(i) for share in shares for i in range(len(share))] == list(range(7))
    assert [i for share in shares for i in share.ids] == list("abcdefg")
    assert {len(share) for share in shares} == {2, 3}


def test_flags_that_do_not_fit():
    with pytest.raises(pcd.ConfigError, match="need --coordinator_address=host:port of process 0"):
        start_hosts(None, 2, None)
    with pytest.raises(pcd.ConfigError, match="--num_processes=2 --process_id=2: give each process"):
        start_hosts("localhost:1", 2, 2)
    assert start_hosts(None, None, None) is None
