"""One run, from its settings to a written folder: open, score, print, draw, write."""

import dataclasses
import datetime
import functools
import pathlib
import textwrap
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax import explain, records
from planetcd_jax.baselines.systems import require_modules
from planetcd_jax.cli.commandline import fitted_weights, given_quantile
from planetcd_jax.config import ChangeConfig
from planetcd_jax.detection import decide, pixel_change_map
from planetcd_jax.experiments.methods import Bench, Job, Outcome, comparison_row, method_names
from planetcd_jax.files.compilations import announcing, compiled_programs
from planetcd_jax.files.json_files import write_json
from planetcd_jax.networks.weights_io import Weights
from planetcd_jax.networks.winograd import engine_of, serve, why_xla, with_engine
from planetcd_jax.ops.extents import extent
from planetcd_jax.pairs import PairSet, fetching, find_spec, open_as_asked
from planetcd_jax.pairs.published import KEY
from planetcd_jax.report import curves, gallery, output, record, results, table
from planetcd_jax.report.figures import PairPicture
from planetcd_jax.runtime import padded_pairs, split_cpu, start_hosts
from planetcd_jax.scores.dcva import change_mask
from planetcd_jax.thresholds import Decision, benjamini_hochberg
from planetcd_jax.version import __version__


def _say(name: str, text: str) -> None:
    """One named line of what a run prints, wrapped under itself."""
    print(textwrap.fill(f"{name:<10}{text}", 110, subsequent_indent=" " * 10, break_on_hyphens=False), flush=True)


def _config_text(config: ChangeConfig) -> str:
    return f"score {config.score.kind}, backbone {config.backbone.kind}:  {records.summary(config)}"


def _open(config: ChangeConfig, settings: types.SimpleNamespace) -> PairSet:
    missing = "keep" if settings.on_bad_pair == "skip" else "error"
    pairs = open_as_asked(vars(settings), margin=config.score.null.margin_px, missing=missing)
    pairs.least_side = config.score.null.least_side_px
    return pairs


def _open_training(settings: types.SimpleNamespace) -> tuple[PairSet, PairSet]:
    same = settings.train_dataset == settings.dataset
    folder = settings.train_data_dir or (settings.data_dir if same else None)
    others = {"name": settings.train_dataset, "data_dir": folder, "pairs_csv": None, "patch_size": None}
    train, validation = (open_as_asked(vars(settings), split=split, **others) for split in ("train", "val"))
    return train, validation


def _training_config(settings: types.SimpleNamespace) -> Any:
    from planetcd_jax.baselines import training

    preset = settings.training or ("small" if jax.default_backend() == "cpu" else "full")
    chosen = dataclasses.replace(training.PRESETS[preset], contrast=settings.local_contrast, seed=settings.seed)
    return dataclasses.replace(chosen, width=1.0) if settings.inception_weights else chosen


def _job(config: ChangeConfig, weights: Weights, settings: types.SimpleNamespace) -> Job:
    return Job(
        config,
        weights.params,
        settings.seed,
        settings.batch_size,
        settings.num_devices,
        settings.micro_batch,
        settings.on_bad_pair,
        open_training=lambda: _open_training(settings),
        training=_training_config(settings),
        inception_weights=settings.inception_weights,
        checkpoint_dir=settings.checkpoint_dir,
        engine=settings.engine,
    )


def fetch_dataset(settings: types.SimpleNamespace) -> pathlib.Path:
    """Downloads the data set of --fetch, says how large it is and where it lies, and returns the folder.

    Raises:
        DataError: if it is on no hub, or cannot be fetched.
    """
    found = fetching.fetch_files(
        find_spec(settings.fetch), settings.revision, settings.split, functools.partial(_say, "fetch")
    )
    # Paths are not wrapped, so that they can be copied.
    print(f"{'folder':<10}{found.folder}\n{'checksums':<10}{found.checksums}")
    _say("use", f"--dataset={settings.fetch} finds it there from now on, without a network too")
    return found.folder


def run_dataset(config: ChangeConfig, settings: types.SimpleNamespace) -> pathlib.Path:
    """Runs one method, or all, on a data set and writes the folder of the run.

    Args:
        config: Of the proposed method.
        settings: Every flag by its name.

    Returns:
        The folder with the results.

    Raises:
        PlanetCDError: one of its kinds, with a message for the user.
    """
    split_cpu(settings.num_devices)
    start_hosts(settings.coordinator_address, settings.num_processes, settings.process_id)
    target = _target(settings)
    if jax.process_index() > 0:
        _score_own_share(config, settings)
        return target
    with output.run_folder(target, overwrite=settings.overwrite) as folder:
        config, weights = fitted_weights(config, settings)
        with _open(config, settings) as pair_set:
            names = method_names(settings.method)
            require_modules(names)
            _announce(config, weights, pair_set, settings)
            bench = Bench(pair_set, _job(config, weights, settings))
            outcomes = []
            for name in names:
                if len(names) > 1:
                    _say("method", name)
                outcomes.append(_at_false_discovery_rate(bench.run(name), settings.fdr))
            about = _about(weights, pair_set, settings)
            _write(folder, outcomes, pair_set, about, settings, weights)
    _finish(target, settings)
    return target


def _score_own_share(config: ChangeConfig, settings: types.SimpleNamespace) -> None:
    """Scores this process's share of the pairs; process 0 has the results too, prints and writes."""
    config, weights = fitted_weights(config, settings)
    with _open(config, settings) as pair_set:
        bench = Bench(pair_set, dataclasses.replace(_job(config, weights, settings), progress=False))
        for name in method_names(settings.method):
            bench.run(name)


def _announce(config: ChangeConfig, weights: Weights, pair_set: PairSet, settings: types.SimpleNamespace) -> None:
    devices = jax.local_devices()
    engine = engine_of(serve(settings.engine, config.backbone))  # refuses before anything is said
    print(f"planetcd {__version__}")
    _say("method", f"{settings.method}  (preset {settings.preset}, seed {settings.seed})")
    _say("data", f"{pair_set.name}: {_which(pair_set)}, {table.source_word(pair_set.source)}")
    for note in pair_set.provenance.get("notes", ()):
        _say("note", note)
    _say("config", _config_text(config))
    _say("weights", f"{weights.origin}; SHA-256 {weights.sha256[:12]}")
    reason = why_xla(config.backbone) if settings.engine == "auto" else None
    engine += f": {reason}" if reason else ""
    _say("device", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform}), engine {engine}")


def _about(weights: Weights, pair_set: PairSet, settings: types.SimpleNamespace) -> dict[str, Any]:
    """What metrics.json says beside the figures and the configuration."""
    return {
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "preset": settings.preset,
        "seed": settings.seed,
        "flags": dict(sorted(vars(settings).items())),
        "weights": {name: getattr(weights, name) for name in ("origin", "sha256", "path", "backbone")},
        "provenance": pair_set.provenance,
    }


def _metrics(outcome: Outcome, pair_set: PairSet, about: Mapping[str, Any]) -> dict[str, Any]:
    figures = record.figures(
        outcome.scores, seconds=outcome.seconds, compile_seconds=outcome.compile_seconds, skipped=outcome.skipped
    )
    run = {**figures, **outcome.details, "config": records.plain(outcome.config), "note": outcome.note}
    return record.record(pair_set.name, pair_set.source, outcome.method.name, run, **about)


def _title(name: str, method: str, metrics: Mapping[str, Any]) -> str:
    accuracy = metrics["accuracy"]
    return f"{name}, {method}" + ("" if accuracy is None else f": accuracy {table.percent(accuracy)} %")


def _explanations(outcome: Outcome, pair_set: PairSet, count: int, weights: Weights) -> dict[str, dict[str, Any]]:
    """Why the highest-ranked pairs were scored as they were, by id; only where a network made the score."""
    if outcome.method.kind == "supervised" or not outcome.config.score.uses_network:
        return {}

    config = outcome.config

    def found(params, before, after, size):
        with extent(before.shape[:2], size):
            curve = explain.rho_by_shift(params, before, after, config, explain.SHIFTS_PX)
            return explain.explain(params, before, after, config), curve

    explained = announcing(found, "explanations")
    rows, highest = {}, outcome.scores.ranking()[:count]
    pairs = [pair_set.read(int(outcome.index[i])) for i in highest]
    for i, arrays in zip(highest, padded_pairs(pairs, config.score.pads(config.backbone)), strict=True):
        known, curve = explained(weights.params, *arrays)
        rows[outcome.scores.ids[i]] = explain.row(known, curve, bool(outcome.scores.changed[i]))
    return rows


def _at_false_discovery_rate(outcome: Outcome, rate: float | None) -> Outcome:
    """The outcome with decisions by Benjamini-Hochberg, where it has p-values and a rate is given."""
    scores = outcome.scores
    if rate is None or outcome.method.decision != "self_supervised":
        return outcome
    changed = np.asarray(benjamini_hochberg(jnp.asarray(scores.p_value), rate))
    details = {**outcome.details, "false_discovery_rate": rate}
    return dataclasses.replace(outcome, scores=scores._replace(changed=changed), details=details)


def _write_outcome(
    folder: pathlib.Path, outcome: Outcome, pair_set: PairSet, about: Mapping[str, Any], explained: Mapping[str, Any]
) -> dict:
    """The files of one method, without the pictures of pairs; returns what metrics.json holds."""
    metrics = {**_metrics(outcome, pair_set, about), "explanations": dict(explained)}
    results.write_results(folder / results.RESULTS, outcome.scores, explained)
    results.save_scores(folder / results.SCORES, outcome.scores, metrics)
    title = _title(pair_set.name, outcome.method.name, metrics)
    gallery.write_histogram(folder, outcome.scores, title=title, simulated=pair_set.source == "simulated")
    if outcome.history:
        trained = outcome.details["training"]
        title = f"{outcome.method.name}, {trained['trained_on']}"
        simulated = trained["trained_source"] == "simulated"
        curves.write_learning_curves(folder, outcome.history, title=title, simulated=simulated)
    return metrics


def _pictures(
    outcome: Outcome, pair_set: PairSet, count: int, weights: Weights, with_saliency: bool
) -> list[PairPicture]:
    """The highest-ranked pairs as they are drawn; with maps of change and saliency where the method is a deep one."""
    config, pictures = outcome.config, []
    deep = outcome.method.kind == "unsupervised"

    def maps(params, before, after, size):
        with extent(before.shape[:2], size):
            heat = pixel_change_map(params, before, after, config)
            salient = explain.saliency(params, before, after, config) if with_saliency else None
            return heat, change_mask(heat), salient

    drawn = announcing(maps, "pixel maps")
    highest = outcome.scores.ranking()[:count]
    pairs = [pair_set.read(int(outcome.index[i])) for i in highest]
    padded = padded_pairs(pairs, deep and not with_saliency and config.score.pads(config.backbone))
    for rank, (i, pair, arrays) in enumerate(zip(highest, pairs, padded, strict=True), start=1):
        rows, columns = pair.before.shape[:2]
        picture = gallery.picture_of(outcome.scores, i, rank, pair.before, pair.after)
        if deep:
            found = zip(("heat", "mask", "saliency"), drawn(weights.params, *arrays), strict=True)
            shown = {name: None if x is None else np.asarray(x)[:rows, :columns] for name, x in found}
            picture = picture._replace(**shown)
        pictures.append(picture)
    return pictures


def _with_fast_network(outcome: Outcome, engine: str) -> Outcome:
    """The outcome with the engine that scored it, for what is computed of single pairs afterwards."""
    if outcome.method.kind == "supervised" or not outcome.config.score.uses_network:
        return outcome
    return dataclasses.replace(outcome, config=with_engine(outcome.config, engine))


def _write(folder, outcomes, pair_set: PairSet, about, settings, weights) -> None:
    """Everything in the folder of a run: the first method's files at its top, the others' in folders of their own."""
    first = outcomes[0]
    shown = _with_fast_network(first, settings.engine)
    why = _explanations(shown, pair_set, settings.explain, weights)
    metrics = _write_outcome(folder, first, pair_set, about, why)
    if len(outcomes) > 1:
        metrics["methods"] = {}
        for outcome in outcomes[1:]:
            own = folder / "methods" / outcome.method.name
            own.mkdir(parents=True)
            metrics["methods"][outcome.method.name] = _write_outcome(own, outcome, pair_set, about, {})
            write_json(own / output.METRICS, metrics["methods"][outcome.method.name])
        _write_comparison(folder, outcomes, pair_set, find_spec(settings.dataset).title)
    else:
        print("\n" + table.summary_table(metrics))
    simulated = pair_set.source == "simulated"
    pairs = _pictures(shown, pair_set, settings.figures, weights, settings.saliency)
    title = f"{pair_set.name}, {first.method.name}: highest-ranked pairs"
    gallery.write_pairs(folder, pairs, title=title, simulated=simulated)
    for pair_id, reason in first.skipped:
        _say("left out", f"{pair_id}: {reason}")
    metrics["programs"] = compiled_programs()
    write_json(folder / output.METRICS, metrics)


def _which(pair_set: PairSet) -> str:
    """Which pairs a set is, and how many."""
    if pair_set.source == "simulated" or KEY not in pair_set.provenance:
        return f"{len(pair_set)} pairs"
    return pair_set.provenance[KEY]["title"]


def _write_comparison(folder: pathlib.Path, outcomes: list[Outcome], pair_set: PairSet, title: str) -> None:
    rows = [comparison_row(outcome, pair_set) for outcome in outcomes]
    header, cells = table.comparison_cells(rows)
    title = f"{title}, {_which(pair_set)}, {table.source_word(pair_set.source)}"
    notes = table.footnotes(rows)
    print("\n" + "\n\n".join(filter(None, (title, table.aligned_table(header, cells), notes))))
    markdown = "\n\n".join(
        filter(None, (f"### {title}", table.markdown_table(header, cells), notes.replace("\n", "  \n")))
    )
    (folder / "comparison.md").write_text(markdown + "\n", encoding="utf-8")
    (folder / "comparison.csv").write_text(table.comparison_csv(rows), encoding="utf-8", newline="")


def _target(settings: types.SimpleNamespace) -> pathlib.Path:
    if settings.output_dir is not None:
        return pathlib.Path(settings.output_dir)
    return output.default_folder(settings.dataset.rpartition(":")[2], datetime.datetime.now())


def _finish(target: pathlib.Path, settings: types.SimpleNamespace) -> None:
    link = "" if settings.output_dir is not None else f"  (also {output.point_latest(target)})"
    print(f"\nresults in {target}{link}")


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
    target = _target(settings)
    with output.run_folder(target, overwrite=settings.overwrite) as folder:
        results.write_results(folder / results.RESULTS, scores, about.get("explanations", {}))
        results.save_scores(folder / results.SCORES, scores, metrics)
        simulated = about["source"] == "simulated"
        title = _title(about["dataset"], about["method"], metrics)
        gallery.write_histogram(folder, scores, title=title, simulated=simulated)
        write_json(folder / output.METRICS, metrics)
    print(f"tau at quantile {quantile:g}, from {path}\n\n{table.summary_table(metrics)}")
    _finish(target, settings)
    return target
