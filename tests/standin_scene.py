"""Stands in for planetcd-scene in tests of surveys: takes its flags, and does what the name of the before-image says.

bad: fails; once: fails the first time; hang: never ends; fat: takes 600 MB; crash: dies by a signal; slow: takes 0.6 s;
broken: raises; leak: keeps 150 MB; fills: writes 160 MB on the way. Each pair that ends well adds a line to DONE, so
that work that is done twice can be told.

With the words `serve NUMBER` it scores many pairs in one process, as planetcd-survey lets planetcd-scene do.
"""

import json
import os
import pathlib
import signal
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEAKED = []


def note(survey, file, text):
    with open(survey / file, "a", encoding="utf-8") as lines:
        lines.write(text + "\n")


def places(name):
    """Two places, or none, as the number at the end of the name says."""
    number = int("".join(filter(str.isdigit, name)) or 0)
    rows = [(1, 9.5, 0.001, 10 + number / 100, -5.0), (2, 4.0, 0.02, 11 + number / 100, -5.0)][: number % 3]
    return "\n".join(["rank,rho,p_value,lon,lat", *(",".join(map(str, row)) for row in rows)]) + "\n"


def misbehave(name, before, survey):
    """Whatever else the name says."""
    if "hang" in name:
        time.sleep(600)
    if "fat" in name:
        held = bytearray(os.urandom(2**20) * 600)
        time.sleep(600)
        del held
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "broken" in name:
        raise RuntimeError("something that nobody foresaw")
    if "leak" in name:
        LEAKED.append(bytearray(b"x") * (150 * 2**20))
        time.sleep(0.7)  # long enough to be looked at
    if "bad" in name or ("once" in name and (survey / "STARTED").read_text().split().count(name) == 1):
        print("some chatter", file=sys.stderr)
        sys.exit(f"planetcd-scene: {before} cannot be read;\tfetch it again.")
    time.sleep(0.6 if "slow" in name else 0.02)


def fill(path):
    """Writes much and removes it, so that a disk that was full for a moment has room again."""
    try:
        with open(path, "wb") as file:
            for _ in range(160):
                file.write(bytes(2**20))
    except OSError as error:
        sys.exit(f"planetcd-scene: {path} cannot be written ({error.strerror}); free some space.")
    finally:
        path.unlink(missing_ok=True)


def execute(arguments):
    """Scores a pair; returns its exit status."""
    flags = dict(text[2:].partition("=")[::2] for text in arguments)
    name, out = pathlib.Path(flags["before"]).stem, pathlib.Path(flags["output_dir"])
    survey = out.parents[2]
    note(survey, "STARTED", name)
    misbehave(name, flags["before"], survey)
    made = out.with_name(".scene.partial")
    made.mkdir(exist_ok=True)
    if "fills" in name:
        fill(made / "ballast")
    report = {"run": name, "source": "simulated", "n_windows": 100, "tau": 3.5}
    (made / "candidates.csv").write_text(places(name))
    (made / "run.json").write_text(json.dumps(report))
    note(survey, "DONE", name)
    note(survey, "PROCESSES", f"{name}={os.getpid()}")
    made.rename(out)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        sys.path.insert(0, os.fspath(ROOT))
        from planetcd_jax.surveys.serving import serve

        serve(execute, int(sys.argv[2]))
    else:
        sys.exit(execute(sys.argv[1:]))
