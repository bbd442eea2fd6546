"""Threshold and decisions anew, from the scores of an earlier run."""

import dataclasses
import pathlib
import types

import jax.numpy as jnp
import numpy as np

from planetcd_jax import records
from planetcd_jax.cli.commandline import given_quantile
from planetcd_jax.config import ChangeConfig
from planetcd_jax.detection import decide
from planetcd_jax.experiments.outcome_files import target_folder, title_of
from planetcd_jax.files.json_files import write_json
from planetcd_jax.report import gallery, output, record, results, table
from planetcd_jax.thresholds import Decision, benjamini_hochberg


def decide_again(path: pathlib.Path, settings: types.SimpleNamespace) -> pathlib.Path:
    """Threshold and decisions anew from saved scores, with --quantile or the quantile that the run had.

    Args:
        path: rho.npz of an earlier run.
        settings: `quantile`, `output_dir` and `overwrite` are used.

    Returns:
        The folder with the results.

    Raises:
        DataError: if the file does not hold the scores of a run.
        ConfigError: if the quantile is not a share.
        OutputError: if the results cannot be written.
    """
    scores, about = results.load_scores(path)
    quantile = given_quantile(settings)
    was = about["config"].get("decision", about["config"])  # runs of earlier versions have one level
    fields = {field.name for field in dataclasses.fields(Decision)}
    decision = Decision(**{name: value for name, value in was.items() if name in fields})
    decision = decision if quantile is None else dataclasses.replace(decision, quantile=quantile)
    config, quantile = ChangeConfig(decision=decision), decision.quantile  # the rest does not matter
    found = decide(jnp.asarray(scores.rho), jnp.asarray(scores.rho_null), config)
    changed = found.changed if settings.fdr is None else benjamini_hochberg(found.p_value, settings.fdr)
    scores = scores._replace(tau=float(found.tau), changed=np.asarray(changed), p_value=np.asarray(found.p_value))
    skipped = [(entry["id"], entry["reason"]) for entry in about["skipped"]]
    metrics = {**about, **record.figures(scores, seconds=None, compile_seconds=None, skipped=skipped)}
    metrics |= {"config": {**about["config"], "decision": records.plain(decision)}, "decided_again_from": str(path)}
    metrics.pop("false_discovery_rate", None)  # that of the earlier run
    metrics |= {} if settings.fdr is None else {"false_discovery_rate": settings.fdr}
    settings.dataset = about["dataset"]
    target = target_folder(settings)
    with output.run_folder(target, overwrite=settings.overwrite) as folder:
        results.write_results(folder / results.RESULTS, scores, about.get("explanations", {}), about.get("quality", {}))
        results.save_scores(folder / results.SCORES, scores, metrics)
        simulated = about["source"] == "simulated"
        title = title_of(metrics)
        gallery.write_histogram(folder, scores, decision, title=title, simulated=simulated, kind=settings.figure_format)
        write_json(folder / output.METRICS, metrics)
    print(f"tau at quantile {quantile:g}, from {path}\n\n{table.summary_table(metrics)}")
    print(f"\nresults in {target}")
    return target
