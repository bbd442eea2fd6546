"""What each part of the preset `robust` is worth: the development pairs of the evaluation, scored without it.

    python -m scripts.ablate --realdata=../shared/realdata --output_dir=evaluation

Uses the trials that `scripts.evaluate` keeps in the same folder; prints a Markdown table and leaves it as ablation.md.
A part is taken out by putting another value in the place of its constant while the score is traced.
"""

import contextlib
import pathlib
from unittest import mock

import jax
import numpy as np

from planetcd_jax import batch_scores, load_vgg16
from planetcd_jax.config import ROBUST
from planetcd_jax.ops import masked, resampling
from planetcd_jax.scores.registered import brightness, registration, robust
from scripts import evaluate, variants
from scripts.evaluation import measures

TABLE = "ablation.md"

OWNERS = (robust, brightness, masked, registration)
"""Modules whose constants and functions may be put aside, the first that has the name."""

VARIANTS = {
    "nothing": {},
    "no registration": {"FLOW_PASSES": (), "max_misalignment": 0},
    "whole shift only": {"FLOW_PASSES": ()},
    "resampled linearly": {"resample": lambda *where, fine=False: resampling.resample(*where)},
    "saturation not evened out": {"common_limits": lambda before, after, keep: ((-1e3, 1e3), (-1e3, 1e3))},
    "expected difference the same everywhere": {
        "SPREAD_CAP": 0.0,
        "SLOPE_CAP": 0.0,
        "PIXEL_NOISE_POWER": 0.0,
        "SPREAD_FLOOR": 0.1,
    },
    "noise and misalignment without bounds": {"SPREAD_CAP": 1e3, "SLOPE_CAP": 1e3},
    "noise of pixels not allowed for": {"PIXEL_NOISE_POWER": 0.0},
    "interquartile range without bound": {"USUAL_CAP": 1e3},
    "compared up to 2 px from the border": {"BORDER_PX": 2},
    "no blur before the network": {"NETWORK_BLUR_PX": 0.01},
    "brightness alone, no network": {"TEXTURE_POWER": 0.0},
    "network alone, no brightness": {"TEXTURE_POWER": 1.0},
}
"""What is taken out: constants and functions of `OWNERS`, and fields of the configuration."""


@contextlib.contextmanager
def replaced(changes: dict):
    """While it lasts, other values in the place of module constants; yields the fields of the configuration."""
    with contextlib.ExitStack() as stack:
        fields = {}
        for name, value in changes.items():
            owner = next((module for module in OWNERS if hasattr(module, name)), None)
            if owner is None:
                fields[name] = value
            else:
                stack.enter_context(mock.patch.object(owner, name, value))
        yield fields


def rank(trials: evaluate.Trials, changes: dict, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """rho and rho_null of every trial under a variant."""
    params, key = load_vgg16(), jax.random.key(seed)
    with replaced(changes) as fields:
        config = ROBUST.replace(**fields)
        scorer = jax.jit(lambda b, a, i: batch_scores(key, params, b, a, i, config, micro_batch=4))
        found = []
        for start in range(0, len(trials.label), evaluate.BATCH):
            index = np.minimum(np.arange(start, start + evaluate.BATCH), len(trials.label) - 1)
            scores = scorer(trials.before[index], trials.after[index], index.astype(np.uint32))
            found.append(np.stack([np.asarray(x) for x in scores], axis=-1)[: len(trials.label) - start])
    rho, null = np.concatenate(found).T
    return rho, null


def run(output_dir: str, realdata: str, seed: int, scale: float, names: list[str]) -> list[str]:
    """Lines of the table."""
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = evaluate.build(folder, pathlib.Path(realdata), seed, scale, ("inserted",), split="development")
    trials = data["inserted"]
    trials = trials.take((trials.label == 0) | (trials.size >= 8))
    lines = ["| without | ROC AUC | of real pairs | found at 5 % | accuracy at tau (best) |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for name in names:
        rho, null = rank(trials, VARIANTS[name], seed)
        made = measures.figures(trials.label, rho, measures.taus(rho, null[:, None], ROBUST))
        real = measures.auc(trials.label[trials.real], rho[trials.real])
        lines.append(
            f"| {name} | {made['roc_auc']:.3f} | {real:.3f} | {100 * made['detected_at_5']:.0f} % | "
            f"{100 * made['accuracy_at_tau']:.1f} % ({100 * made['accuracy_best']:.1f} %) |"
        )
        print(lines[-1], flush=True)
    (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


if __name__ == "__main__":
    variants.main(run, list(VARIANTS))
