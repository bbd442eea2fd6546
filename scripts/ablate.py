"""What each part of the preset `robust` is worth: the development pairs of the evaluation, scored without it.

    python -m scripts.ablate --realdata=../shared/realdata --output_dir=evaluation

Uses the trials that `scripts.evaluate` keeps in the same folder; prints a Markdown table and leaves it as ablation.md.
A part is taken out by another value of its field.
"""

import pathlib

import jax
import numpy as np

from planetcd_jax import ROBUST, ChangeConfig, batch_scores, load_vgg16
from planetcd_jax.scores.registered.relief import Relighting
from scripts import evaluate, variants
from scripts.evaluation import measures

TABLE = "ablation.md"

EVERYWHERE_ALIKE = {"spread_cap": 0.0, "slope_cap": 0.0, "allow_pixel_noise": False, "spread_floor": 0.1}

VARIANTS = {
    "nothing": ROBUST,
    "no registration": ROBUST.replace(passes=(), max_misalignment=0),
    "whole shift only": ROBUST.replace(passes=()),
    "resampled linearly": ROBUST.replace(fine=False),
    "saturation not evened out": ROBUST.replace(dark=-1e3, bright=1e3),
    "expected difference the same everywhere": ROBUST.replace(**EVERYWHERE_ALIKE),
    "noise and misalignment without bounds": ROBUST.replace(spread_cap=1e3, slope_cap=1e3),
    "noise of pixels not allowed for": ROBUST.replace(allow_pixel_noise=False),
    "interquartile range without bound": ROBUST.replace(usual_cap=1e3),
    "compared up to 2 px from the border": ROBUST.replace(border_px=2),
    "light not allowed for in what is expected": ROBUST.replace(light_cap=0.0),
    "light left in": ROBUST.replace(light=Relighting(2.0, 3.0)),
    "the patch as a whole not compared": ROBUST.replace(whole_weight=0.0),
    "no blur before the network": ROBUST.replace(network_blur_px=0.01),
    "brightness alone, no network": ROBUST.replace(texture_power=0.0),
    "network alone, no brightness": ROBUST.replace(texture_power=1.0),
}
"""Settings without a part, by what is taken out."""


def rank(trials: evaluate.Trials, config: ChangeConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """rho and rho_null of every trial under a variant."""
    params, key = load_vgg16(), jax.random.key(seed)
    scorer = jax.jit(lambda b, a, i: batch_scores(key, params, b, a, i, config))
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
        made = measures.figures(trials.label, rho, measures.taus(rho, null[:, None], VARIANTS[name].decision))
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
