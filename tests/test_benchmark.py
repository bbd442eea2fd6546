"""The benchmark's own arithmetic and its guard, on made-up records and contestants. Nothing is timed here."""

import copy
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import planetcd_jax as pcd

SCRIPTS = pathlib.Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import benchmark  # noqa: E402
from benchmarks import contestants, gpu, ours, peers, record, work, writing  # noqa: E402
from benchmarks.contestants import Contestant  # noqa: E402

OURS, PEER = Contestant("ours", "ours"), Contestant("PyTorch channels_last", "torch", layout="channels_last")
LOW = Contestant("OpenVINO, bfloat16", "openvino", "bfloat16")
CASE = work.Case("pairs", 100, 4)


def made(ours=(1.0, 1.0, 1.0), peer=(1.5, 2.0, 1.4), low=(0.1, 0.1, 0.1), name=CASE.name, peak=100.0):
    times = {"ours": ours, PEER.name: peer, LOW.name: low}
    prepared = {who: {"compile_seconds": 1.0, "rho_error": 0.0} for who in times}
    figures = record.case_record(CASE, times, prepared, [OURS, PEER, LOW], {"float32": peak})
    return {"cases": {name: figures}}


def test_ratio_is_of_each_round_then_the_median():
    assert record.ratio([1.0, 2.0, 1.0], [2.0, 2.0, 3.0]) == 2.0  # 2, 1, 3


def test_figures_of_a_case_by_hand():
    row = made()["cases"][CASE.name]["contestants"][PEER.name]
    assert row["median_seconds"] == 1.5
    assert row["pairs_per_second"] == pytest.approx(4 / 1.5)
    assert row["pixels_per_second"] == pytest.approx(4 * 100 * 100 / 1.5)
    assert row["matmul_fraction"] == pytest.approx(row["gflop_per_second"] / 100)
    assert made()["cases"][CASE.name]["contestants"][LOW.name]["matmul_fraction"] is None


def test_operations_by_hand():
    # Sides 4, 2 and 1: 16 px of conv1_1 and conv1_2, 4 of conv2_1 and conv2_2, 1 of conv3_1 and conv3_2.
    by_hand = 16 * (2 * 64 + 64 * 64) + 4 * (64 * 128 + 128 * 128) + (128 * 256 + 256 * 256)
    assert work.image_flop(4) == 2 * 9 * by_hand
    assert CASE.flop == 4 * 3 * work.image_flop(100)
    assert work.Case("scene", 196, 1, 24).windows == 25 and work.Case("scene", 196, 1, 24).pixels == 196**2


def test_inputs_are_made_and_ours_does_the_work_on_them(tmp_path):
    cases = [work.Case("pairs", 32, 2), work.Case("scene", 148, 1, 24)]
    work.write_inputs(tmp_path, cases)
    do, about = ours.make(OURS)
    for case in cases:
        with np.load(tmp_path / f"{case.name}.npz") as arrays:
            found = do(case, dict(arrays))
        assert len(found["rho"]) == case.windows and np.isfinite(found["rho"]).all()
    assert about()["micro_batch"] >= 1


def test_bars_take_the_least_favourable_peer_in_equal_precision():
    bars = record.bars(made()["cases"], [OURS, PEER, LOW])
    assert [(bar["wanted"], bar["got"], bar["met"]) for bar in bars] == [(1.0, 1.5, True), (1.3, 1.5, True)]
    slow = record.bars(made(peer=(0.9, 0.9, 0.9))["cases"], [OURS, PEER, LOW])
    assert [bar["met"] for bar in slow] == [False, False]
    scene = record.bars(made(name="scene-292-every-24")["cases"], [OURS, PEER, LOW])
    assert [(bar["wanted"], bar["met"]) for bar in scene] == [(5.0, False)]


def test_guard_tells_what_got_slower_and_nothing_else():
    old = made()
    assert record.regressions(made(), old, 0.1) == []
    assert record.regressions(made(ours=(0.5, 0.5, 0.5)), old, 0.1) == []  # faster
    assert record.regressions(made(ours=(1.09, 1.09, 1.09)), old, 0.1) == []  # within the tolerance
    # Twice as slow a machine has the same ratios.
    slow = {"ours": (2.0,) * 3, "peer": (3.0, 4.0, 2.8), "low": (0.2,) * 3}
    assert record.regressions(made(**slow, peak=50.0), old, 0.1) == []
    # Where ours and the peers become slower together, matrix products tell.
    lines = record.regressions(made(**slow), old, 0.1)
    share = CASE.flop / 1e9 / 100
    assert lines == [
        f"pairs-100-n4: ours did {share:.2f} of what a matrix product does in the same time, and does {share / 2:.2f}"
    ]
    lines = record.regressions(made(ours=(2.0, 2.0, 2.0)), old, 0.1)
    assert "pairs-100-n4: ours was 1.50 times as fast as PyTorch channels_last, and is 0.75 times" in lines[0]
    assert len(lines) == 3


def test_guard_needs_something_to_compare(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(made(name="pairs-999-n1")))
    with pytest.raises(ValueError, match="record.json has no case and peer in common with this run"):
        benchmark.check(made(), path, 0.2)
    path.write_text(json.dumps(made()))
    assert benchmark.check(made(), path, 0.2) == []
    assert len(benchmark.check(made(ours=(9, 9, 9)), path, 0.2)) == 3


def test_committed_record_passes_its_own_guard_and_fails_when_ours_is_slower():
    old = json.loads(benchmark.RECORD.read_text())
    assert benchmark.check(old, benchmark.RECORD, benchmark.TOLERANCE) == []
    slower = copy.deepcopy(old)
    for case in slower["cases"].values():
        for by in case["ours_over_peers"].values():
            by.update({peer: ratio * (0.99 - benchmark.TOLERANCE) for peer, ratio in by.items()})
    assert len(benchmark.check(slower, benchmark.RECORD, benchmark.TOLERANCE)) == record.compared(old, old) > 0


def test_unequal_scores_in_float32_are_told():
    run = made()
    rows = run["cases"][CASE.name]["contestants"]
    rows[LOW.name]["rho_error"] = 0.02
    assert benchmark.unequal(run, [OURS, PEER, LOW]) == []
    rows[PEER.name]["rho_error"] = 0.02
    assert benchmark.unequal(run, [OURS, PEER, LOW]) == [
        "pairs-100-n4: rho of PyTorch channels_last differs by 2.0e-02, more than 0.001"
    ]
    rows[PEER.name]["rho_error"] = float("nan")
    assert len(benchmark.unequal(run, [OURS, PEER, LOW])) == 1


def test_a_hopeless_peer_is_left_out_and_told():
    class Stub:
        def __init__(self, who, seconds):
            self.who, self.seconds, self.closed = who, seconds, False

        def run(self, case):
            return self.seconds

        def close(self):
            self.closed = True

    slow = Stub(LOW, 10.5)
    workers = {who.name: Stub(who, 1.0) for who in (OURS, PEER)} | {LOW.name: slow}
    workers["ours"].seconds = 99.0  # ours is never left out
    prepared, absent = {name: {} for name in workers}, {}
    benchmark.leave_out_hopeless(CASE, workers, absent, prepared)
    assert list(workers) == list(prepared) == ["ours", PEER.name] and slow.closed
    assert "takes 10 times as long as the fastest peer" in absent[LOW.name]
    slow.seconds = 9.5
    workers[LOW.name], prepared[LOW.name] = slow, {}
    benchmark.leave_out_hopeless(CASE, workers, {}, prepared)
    assert LOW.name in workers


def test_peers_see_every_patch_once_in_the_chosen_batches():
    seen = []

    def describe(x):
        seen.append(len(x))
        return x.mean((1, 2))[:, None] * np.ones(256)

    peer = peers.Peer(describe, batches=(4,), sample=4)
    x = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32)
    found = peer.descriptors(x[:6], x[6:])
    np.testing.assert_array_equal(np.concatenate(found)[:, 0], np.arange(10))
    assert peer.batch == {3: 4} and seen[-3:] == [4, 4, 2]


def test_tau_and_windows_are_those_of_the_package():
    null = np.random.default_rng(0).random(41).astype(np.float32)
    assert contestants.tau_of(null) == float(pcd.threshold(null, pcd.PAPER.decision))
    image = np.arange(148 * 148, dtype=np.float32).reshape(148, 148)
    cut = work.windows(image, 48)
    np.testing.assert_array_equal(cut[3], image[48:148, 48:148])
    assert len(cut) == work.Case("scene", 148, 1, 48).windows


def test_table_and_plot(tmp_path):
    run = {
        **made(), "machine": {"processor": "P", "processors": 2, "instructions": [], "system": "S", "python": "3",
        "versions": {"jax": "1", "torch": None}}, "matmul_gflops": {"float32": 100.0}, "rounds": 3, "load": [1, 2],
        "command": "c", "date": "d", "bars": record.bars(made()["cases"], [OURS, PEER, LOW]),
        "workers": {"ours": {"mib": 10.0, "start_mib": 5.0, "batch": {"100": 4}}}, "absent": {"X": "not installed"},
    }  # fmt: skip
    text = writing.markdown(run)
    assert "| PyTorch channels_last | 2.67 |" in text and "absent: not installed" in text and "4 at 100 px" in text
    writing.plot(run, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_later_batches_compile_nothing():
    """What `--gpu` counts, at a tiny size; two batches of four, one pair for each of the four host devices."""
    found = gpu.compilations_after_first(8, 16, 4)
    assert found["batches"] == 2 and found["first"] >= 1 and found["others"] == 0


def test_gpu_bars_from_made_up_figures():
    made_up = {"cases": {"pairs-100-n2048": {"ours_over_peers": {
        "ours, bfloat16": {"PyTorch channels_last, compiled, bfloat16": 1.1}}}}}  # fmt: skip
    more = {"convolution_fraction": 0.6, "scene": {"seconds": 9.0}, "compilations": {"others": 1, "memory_share": 0.5}}
    assert [bar["met"] for bar in gpu.bars(made_up, more)] == [False, True, True, False, True]


def test_without_a_gpu_it_says_so():
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "benchmark.py"), "--gpu"], capture_output=True, text=True, cwd=SCRIPTS.parent,
        env={"PATH": "/usr/bin", "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == gpu.NO_GPU
    assert "the GPU bars were not measured" in done.stderr
