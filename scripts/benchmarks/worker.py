"""A worker process: one contestant. Reads one JSON object a line, answers with one; nothing runs unasked."""

import json
import os
import pathlib
import re
import resource
import sys
import time

import numpy as np


def _peak_mib() -> float:
    status = pathlib.Path("/proc/self/status")
    if status.is_file():  # of this program; getrusage counts the parent's memory at the fork too
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(folder: pathlib.Path, sample: int, name: str, out) -> None:
    """Answers requests until there are none.

    `{"do": "prepare", "case": ...}` compiles, searches the batch size and checks; `{"do": "run", "case": ...}` gives
    seconds; `{"do": "about"}` what is known of the contestant.
    """
    from benchmarks import contestants, gpu
    from benchmarks.work import Case

    who = next(one for one in [*contestants.contestants(), *gpu.contestants()] if one.name == name)
    start = time.perf_counter()
    do, about = contestants.make(who, folder / "weights.npz", sample=sample)
    answer = {"ready": True, "seconds": time.perf_counter() - start, "mib": _peak_mib()}
    arrays: dict[Case, dict[str, np.ndarray]] = {}
    while True:
        print(json.dumps(answer), file=out, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        asked = json.loads(line)
        if asked["do"] == "about":
            answer = {**about(), "mib": _peak_mib()}
            continue
        case = Case(**asked["case"])
        if case not in arrays:
            arrays[case] = dict(np.load(folder / f"{case.name}.npz"))
        start = time.perf_counter()
        scores = do(case, arrays[case])
        answer = {"seconds": time.perf_counter() - start, "mib": _peak_mib()}
        if asked["do"] == "prepare":
            np.savez(folder / f"{case.name}--{asked['number']}.npz", **scores)


def main() -> None:
    """Serves on the standard streams; whatever libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder, sample, name = sys.argv[1:]
    try:
        serve(pathlib.Path(folder), int(sample), name, out)
    except Exception as error:  # the parent lists it as the reason why a contestant is absent, and goes on
        print(
            json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}), file=out, flush=True
        )


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[1]))
    sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[2]))
    main()
