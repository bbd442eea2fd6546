"""Stands in for planetcd-scene in tests of surveys: takes its flags, and does what the name of the before-image says.

bad: fails; once: fails the first time; hang: never ends; fat: takes 600 MB; crash: dies by a signal; slow: takes 0.6 s.
Each pair that ends well adds a line to DONE, so that work that is done twice can be told.
"""

import json
import os
import pathlib
import signal
import sys
import time

FLAGS = dict(text[2:].partition("=")[::2] for text in sys.argv[1:])
NAME = pathlib.Path(FLAGS["before"]).stem
OUT = pathlib.Path(FLAGS["output_dir"])
SURVEY = OUT.parents[2]


def note(file, text):
    with open(SURVEY / file, "a", encoding="utf-8") as lines:
        lines.write(text + "\n")


def places():
    """Two places, or none, as the number at the end of the name says."""
    number = int("".join(filter(str.isdigit, NAME)) or 0)
    rows = [(1, 9.5, 0.001, 10 + number / 100, -5.0), (2, 4.0, 0.02, 11 + number / 100, -5.0)][: number % 3]
    return "\n".join(["rank,rho,p_value,lon,lat", *(",".join(map(str, row)) for row in rows)]) + "\n"


note("STARTED", NAME)
if "hang" in NAME:
    time.sleep(600)
if "fat" in NAME:
    held = bytearray(os.urandom(2**20) * 600)
    time.sleep(600)
if "crash" in NAME:
    os.kill(os.getpid(), signal.SIGSEGV)
if "bad" in NAME or ("once" in NAME and (SURVEY / "STARTED").read_text().split().count(NAME) == 1):
    print("some chatter", file=sys.stderr)
    sys.exit(f"planetcd-scene: {FLAGS['before']} cannot be read;\tfetch it again.")
time.sleep(0.6 if "slow" in NAME else 0.02)
made = OUT.with_name(".scene.partial")
made.mkdir(exist_ok=True)
report = {"run": NAME, "source": "simulated", "n_windows": 100, "tau": 3.5}
(made / "candidates.csv").write_text(places())
(made / "run.json").write_text(json.dumps(report))
note("DONE", NAME)
made.rename(OUT)
