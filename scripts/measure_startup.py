"""Seconds from the command to the first scored pairs, with an empty compilation cache and with the one that it left.

    python scripts/measure_startup.py
    python scripts/measure_startup.py --engine=winograd

Runs `python -m planetcd_jax.main --dataset=ctx --source=simulated` twice, watches its progress bar, and prints one JSON
object: seconds on the clock, and seconds of processor time, which other work on the machine does not lengthen much.
Also the seconds of `import planetcd_jax`, alone and with every public name fetched.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Time that a process has computed, on all processors together."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def first_result(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds until the progress bar of a run leaves 0, and until the run ends.

    Raises:
        ValueError: if the run ends without a result.
    """
    start, found, seen = time.perf_counter(), None, ""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while chunk := os.read(process.stderr.fileno(), 4096):
        seen += chunk.decode(errors="replace")
        if found is None and re.search(r"\b[1-9]\d*/\d+ \[", seen):
            found = {"first_result_s": time.perf_counter() - start,
                     "first_result_processor_s": processor_seconds(process.pid)}  # fmt: skip
    if process.wait() or found is None:
        raise ValueError(f"the run ended with status {process.returncode}: {seen[-500:]}")
    return {**found, "end_s": time.perf_counter() - start}


def import_seconds(code: str) -> float:
    """Seconds that a line of Python takes in a new process, without the interpreter's own start; the least of three."""
    line = f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
    return min(
        float(subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )


def main(argv: list[str]) -> None:
    """Prints the measurement."""
    del argv
    found = {
        "load": os.getloadavg()[0],
        "import_s": import_seconds("import planetcd_jax"),
        "import_all_names_s": import_seconds("from planetcd_jax import *"),
    }
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "XDG_CACHE_HOME": place}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-m", "planetcd_jax.main", "--dataset=ctx", "--source=simulated", "--preset=paper",
                   "--figures=0", "--page_pairs=0", f"--engine={flags.FLAGS.engine}",
                   f"--output_dir={place}/out", "--overwrite"]  # fmt: skip
        for name in ("cold", "warm"):
            found[name] = first_result(command, environment)
    print(json.dumps({**found, "load_after": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    flags.DEFINE_enum("engine", "auto", ["auto", "xla", "winograd"], "What computes the network.")
    app.run(main)
