"""Ours and the peers side by side, alternating, in one process tree: pairs, scenes, ratios, memory, and a guard.

    python scripts/benchmark.py --quick                      # a few minutes
    python scripts/benchmark.py                              # everything, half an hour on two cores
    python scripts/benchmark.py --quick --check              # and compare the ratios with the committed record
    python scripts/benchmark.py --gpu                        # where there is a GPU; see scripts/benchmarks/gpu.py

The peers need `pip install 'planetcd_jax[benchmark]'`; one that is absent is listed as absent. Each contestant has a
process of its own, since thread pools of several frameworks in one process disturb each other; only one works at a
time. Writes benchmark.json, benchmark.md and benchmark.png. What the peers are given: see scripts/benchmarks/peers.py.
"""

import datetime
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
for _place in (ROOT / "scripts", ROOT):  # the folder beside this file, and the package of the checkout
    if str(_place) not in sys.path:
        sys.path.insert(0, str(_place))

from benchmarks import gpu, machine, record, writing  # noqa: E402
from benchmarks.contestants import Contestant, contestants, does  # noqa: E402
from benchmarks.processes import Worker, WorkerFailed  # noqa: E402
from benchmarks.work import Case, cases, write_inputs  # noqa: E402

RECORD = ROOT / "scripts" / "benchmarks" / "record.json"
TOLERANCE = 0.25
"""Share by which a ratio may fall before --check calls it slower: rounds on a shared machine differ by half of that."""

EQUAL = 1e-3
"""Largest relative difference of rho in float32 that counts as equal precision."""

HOPELESS = 10
"""A peer that takes so many times as long as the fastest peer is left out, such as bfloat16 where it is emulated."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def start_workers(
    wanted: Sequence[Contestant], folder: pathlib.Path, sample: int, log
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Workers by name, and why the others are absent."""
    workers, absent = {}, {}
    for number, who in enumerate(wanted):
        try:
            workers[who.name] = Worker(who, number, folder, sample=sample, log=log)
        except WorkerFailed as reason:
            absent[who.name] = str(reason)
            _say(f"absent: {who.name}: {reason}")
    return workers, absent


def prepare(case: Case, workers: dict[str, Worker], absent: dict[str, str], folder: pathlib.Path) -> dict[str, dict]:
    """Compiles and checks a case in each worker; one that fails is moved to `absent`."""
    prepared: dict[str, dict] = {}
    reference = None
    for name, worker in list(workers.items()):
        if not does(worker.who, case):
            continue
        try:
            first = worker.prepare(case)
        except WorkerFailed as reason:
            absent[name] = f"{case.name}: {reason}"
            del workers[name]
            _say(f"absent: {name}: {reason}")
            continue
        scores = dict(np.load(folder / f"{case.name}--{worker.number}.npz"))
        reference = scores if reference is None else reference  # of ours, which come first
        error = None
        if case.kind == "pairs":  # windows of a scene see true ground where a patch sees padding: not the same scores
            error = max(float(np.max(np.abs(scores[k] / reference[k] - 1))) for k in ("rho", "rho_null", "tau"))
        prepared[name] = {"compile_seconds": first["seconds"], "rho_error": error}
        said = "" if error is None else f", rho differs by {error:.1e}"
        _say(f"{case.name}: {name}: first run {first['seconds']:.1f} s{said}")
    return prepared


def leave_out_hopeless(
    case: Case, workers: dict[str, Worker], absent: dict[str, str], prepared: dict[str, dict]
) -> None:
    """Moves peers that are hopelessly slow to `absent`, after one run of each: they would fill all the time."""
    peers = [name for name in prepared if workers[name].who.kind != "ours"]
    seconds = {name: workers[name].run(case) for name in peers}
    for name, took in seconds.items():
        times = took / min(seconds.values())
        if times > HOPELESS:
            absent[name] = f"{case.name}: takes {times:.0f} times as long as the fastest peer, so it was left out"
            _say(f"absent: {name}: {absent[name]}")
            workers.pop(name).close()
            del prepared[name]


def measure(case: Case, workers: dict[str, Worker], names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round by contestant; in every other round the order is turned round."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in list(names)[:: -1 if turn % 2 else 1]:
            times[name].append(workers[name].run(case))
    return times


def run(
    todo: Sequence[Case],
    wanted: Sequence[Contestant],
    *,
    rounds: int,
    sample: int,
    command: str,
    measure_peak: Callable[[], dict[str, float]] = machine.measured_peak,
) -> dict:
    """The record of a whole run.

    Args:
        todo: The work.
        wanted: The contestants, ours first.
        rounds: Times that each contestant does each case, apart from the first.
        sample: Patches on which peers search their batch size.
        command: Is put into the record.
        measure_peak: GFLOP/s of the fastest matrix product by precision; empty for none.
    """
    load, found, peak = machine.load(), {}, measure_peak()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        write_inputs(folder, list(todo))
        with open(folder / "log.txt", "w") as log:
            workers, absent = start_workers(wanted, folder, sample, log)
            starts, done = {name: worker.start for name, worker in workers.items()}, {}
            try:
                for case in todo:
                    prepared = prepare(case, workers, absent, folder)
                    leave_out_hopeless(case, workers, absent, prepared)
                    done[case] = measure(case, workers, list(prepared), rounds), prepared
                    # Before and after each case, since other work on the machine hides the limit for a while.
                    peak = {name: max(rate, peak[name]) for name, rate in measure_peak().items()}
                    _say(f"{case.name}: " + ", ".join(f"{n} {min(t):.3f} s" for n, t in done[case][0].items()))
                about = {name: {**worker.about(), "start_mib": starts[name]["mib"]} for name, worker in workers.items()}
            finally:
                for worker in workers.values():
                    worker.close()
    for case, (times, prepared) in done.items():
        who = [one for one in wanted if one.name in prepared]
        found[case.name] = record.case_record(case, times, prepared, who, peak)
    return {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": machine.description(),
        "matmul_gflops": peak,
        "load": [load, machine.load()],
        "rounds": rounds,
        "cases": found,
        "workers": about,
        "absent": absent,
        "bars": record.bars(found, wanted),
    }


def unequal(made: dict, wanted: Sequence[Contestant]) -> list[str]:
    """Contestants in float32 whose scores are not those of ours: their times would mean nothing."""
    exact = {who.name for who in wanted if who.precision == "float32"}
    return [
        f"{case}: rho of {name} differs by {row['rho_error']:.1e}, more than {EQUAL:g}"
        for case, figures in made["cases"].items()
        for name, row in figures["contestants"].items()
        if name in exact and row["rho_error"] is not None and not row["rho_error"] <= EQUAL
    ]


def check(made: dict, path: pathlib.Path, tolerance: float) -> list[str]:
    """What got slower than the record of a file says.

    Raises:
        ValueError: if the two records have no ratio in common, so that nothing was checked.
    """
    old = json.loads(path.read_text())
    if not record.compared(made, old):
        raise ValueError(f"{path} has no case and peer in common with this run; make it anew with --output={path}.")
    return record.regressions(made, old, tolerance)


def main(argv: list[str]) -> None:
    """Measures, writes, and exits with status 1 if scores are unequal or, with --check, something got slower."""
    given, started = flags.FLAGS, time.perf_counter()
    todo, wanted = cases(given.quick), contestants(quick=given.quick and not given.only)
    if given.gpu:
        if gpu.platform() not in ("gpu", "cuda", "rocm"):
            print("there is no GPU here that JAX can use: the GPU bars were not measured", file=sys.stderr)
            sys.exit(gpu.NO_GPU)
        os.environ.update(gpu.ENVIRONMENT)
        todo, wanted = gpu.cases(), gpu.contestants()
    if given.only:
        wanted = [who for who in wanted if any(text in who.name for text in given.only)]
    made = run(
        todo, wanted, rounds=given.rounds, sample=8 if given.quick else 32,
        command=" ".join(["python scripts/benchmark.py", *(a for a in argv[1:] if "output_dir" not in a)]),
        # The processor's limit says nothing of a GPU; that of the GPU is measured below.
        measure_peak=dict if given.gpu else machine.measured_peak,
    )  # fmt: skip
    if given.gpu:
        made["gpu"] = gpu.measured_extras()
        made["bars"] = gpu.bars(made, made["gpu"])
    folder = pathlib.Path(given.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.json").write_text(json.dumps(made, indent=1) + "\n")
    (folder / "benchmark.md").write_text(writing.markdown(made))
    writing.plot(made, folder / "benchmark.png")
    print(writing.markdown(made))
    complaints = unequal(made, wanted)
    if given.check:
        complaints += check(made, pathlib.Path(given.record), given.tolerance)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes; written to {folder}")
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    flags.DEFINE_bool("quick", False, "Less work: a few minutes.")
    flags.DEFINE_integer("rounds", 3, "Times that each contestant does each case.")
    flags.DEFINE_list("only", [], "Contestants whose name has one of these texts. Default: all.")
    flags.DEFINE_bool("check", False, "Exit with status 1 if a ratio to a peer or to matrix products fell.")
    flags.DEFINE_string("record", str(RECORD), "Record that --check compares with.")
    flags.DEFINE_float("tolerance", TOLERANCE, "Share by which a ratio may be below the record.")
    flags.DEFINE_bool("gpu", False, "Measure the GPU bars; says so and exits with status 3 where there is no GPU.")
    flags.DEFINE_string("output_dir", "runs/benchmark", "Folder for benchmark.json, .md and .png.")
    app.run(lambda _: main(sys.argv))
