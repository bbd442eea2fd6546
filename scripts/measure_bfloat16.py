"""How far decisions and ROC AUC in bfloat16 are from those in float32, on simulated pairs.

    python scripts/measure_bfloat16.py --dataset=hirise_rsl --pairs=254

Prints one JSON object. Each precision finds its own tau from its own null scores, as a user's run does.
"""

import json

import jax
import numpy as np
from absl import app, flags
from sklearn.metrics import roc_auc_score

import planetcd_jax as pcd
from planetcd_jax.pairs import open_dataset
from planetcd_jax.runtime import run_detection


class First:
    """The first pairs of a set, as `run_detection` takes them."""

    def __init__(self, pair_set, count: int):
        self.ids, self._pair_set = pair_set.ids[:count], pair_set

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.ids)

    def read(self, i: int):
        """Pair i."""
        return self._pair_set.read(i)


def compare(name: str, split: str, pairs: int, seed: int, settings: dict) -> dict:
    """Differences between the two precisions on one simulated set."""
    config = pcd.PAPER.replace(**settings)
    params, found = pcd.load_vgg16(), {}
    with open_dataset(name, source="simulated", split=split, seed=seed, margin=config.score.null.margin_px) as pair_set:
        labels = np.asarray(pair_set.labels[:pairs])
        for precision in ("float32", "bfloat16"):
            chosen = config.replace(precision=precision)
            found[precision] = run_detection(jax.random.key(seed), params, First(pair_set, pairs), chosen)
    exact, low = found["float32"], found["bfloat16"]
    auc = {precision: float(roc_auc_score(labels, result.rho)) for precision, result in found.items()}
    return {
        "data": f"{name} {split}, SIMULATED, {len(labels)} pairs, seed {seed}",
        "settings": settings,
        "largest_relative_difference_of_rho": float(np.max(np.abs(low.rho / exact.rho - 1))),
        "tau": {"float32": exact.tau, "bfloat16": low.tau},
        "decisions_that_differ": int(np.sum(low.changed != exact.changed)),
        "share_of_decisions": float(np.mean(low.changed != exact.changed)),
        "auc": auc,
        "auc_difference": abs(auc["float32"] - auc["bfloat16"]),
    }


def main(argv: list[str]) -> None:
    """Prints the comparison."""
    del argv
    given = flags.FLAGS
    settings = {"feature_standardize": True} if given.feature_standardize else {}
    print(json.dumps(compare(given.dataset, given.split, given.pairs, given.seed, settings), indent=1))


if __name__ == "__main__":
    flags.DEFINE_enum("dataset", "hirise_rsl", ["hirise_rsl", "ctx"], "Simulated set.")
    flags.DEFINE_string("split", "test", "Part of it; train is the largest.")
    flags.DEFINE_integer("pairs", 254, "Pairs, from the first.")
    flags.DEFINE_integer("seed", 0, "Decides every random draw.")
    flags.DEFINE_bool("feature_standardize", False, "Measure the score with standardised features.")
    app.run(main)
