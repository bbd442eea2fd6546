"""Command line of `scripts.ablate` and `scripts.alternatives`, which score variants on the development pairs."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags


def main(run: Callable[[str, str, int, float, list[str]], Any], names: Sequence[str]) -> None:
    """Reads the flags of this process, runs, and exits with its status.

    Args:
        run: Called with the folder of the trials, the folder of real images, seed, scale, and the chosen names.
        names: Of all variants, which may be chosen from.
    """
    flags.DEFINE_string("output_dir", "runs/evaluation", "Folder of the trials.")
    flags.DEFINE_string("realdata", None, "Folder of real images.", required=True)
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    flags.DEFINE_float("scale", 1.0, "Share of the full number of pairs.")
    flags.DEFINE_list("variants", list(names), "Which to run.")
    flags.register_validator("variants", lambda chosen: set(chosen) <= set(names), f"choose from: {list(names)}")

    def start(_):
        f = flags.FLAGS
        run(f.output_dir, f.realdata, f.seed, f.scale, f.variants)

    app.run(start)
