"""One run, from its settings to a written folder: open, check, score, print, write."""

import dataclasses
import functools
import pathlib
import textwrap
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from planetcd_jax import records
from planetcd_jax.baselines.systems import require_modules
from planetcd_jax.cli.commandline import fitted_weights
from planetcd_jax.config import ChangeConfig
from planetcd_jax.experiments import outcome_files
from planetcd_jax.experiments.methods import Bench, CheckedPairs, Job, Outcome, method_names
from planetcd_jax.experiments.outcome_files import Entry, target_folder
from planetcd_jax.networks.weights_io import Weights
from planetcd_jax.networks.winograd import engine_of, serve, why_xla
from planetcd_jax.pairs import PairSet, fetching, find_spec, open_as_asked
from planetcd_jax.report import gallery, output, pairs_page, table
from planetcd_jax.runtime import split_cpu, start_hosts
from planetcd_jax.thresholds import benjamini_hochberg
from planetcd_jax.version import __version__
from planetcd_jax.words import counted

Fitted = Mapping[str, tuple[ChangeConfig, Weights]]
"""Settings and weights by the name of the preset, in the order of the tables."""

# Bytes of pairs that stay in memory: a run reads each several times, to check, to score and to draw.
_KEPT = 256 * 2**20


def _print_field(name: str, text: str) -> None:
    """One named line of what a run prints, wrapped under itself."""
    print(textwrap.fill(f"{name:<10}{text}", 110, subsequent_indent=" " * 10, break_on_hyphens=False), flush=True)


def _config_text(config: ChangeConfig) -> str:
    return f"score {config.score.kind}, backbone {config.backbone.kind}:  {records.summary(config)}"


def _open(configs: Iterable[ChangeConfig], settings: types.SimpleNamespace) -> PairSet:
    """The pairs, with what the most demanding of the settings asks of them."""
    nulls = [config.score.null for config in configs]
    missing = "keep" if settings.on_bad_pair == "skip" else "error"
    pairs = open_as_asked(vars(settings), margin=max(null.margin_px for null in nulls), missing=missing)
    pairs.remember(_KEPT)
    pairs.least_side = max(null.least_side_px for null in nulls)
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


def _job(config: ChangeConfig, weights: Weights, settings: types.SimpleNamespace, preset: str) -> Job:
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
        preset=preset,
    )


def fetch_dataset(settings: types.SimpleNamespace) -> pathlib.Path:
    """Downloads the data set of --fetch, says how large it is and where it lies, and returns the folder.

    Raises:
        DataError: if it is on no hub and in no archive, or cannot be fetched.
    """
    spec, say = find_spec(settings.fetch), functools.partial(_print_field, "fetch")
    if settings.archive is None:
        found = fetching.fetch_files(spec, settings.revision, settings.split, say)
    else:
        found = fetching.fetch_archive(spec, settings.archive, settings.split, say)
    # Paths are not wrapped, so that they can be copied.
    print(f"{'folder':<10}{found.folder}\n{'checksums':<10}{found.checksums}")
    _print_field("use", f"--dataset={settings.fetch} finds it there from now on, without a network too")
    return found.folder


class _Laps:
    """Where the time of a run goes, as its user waits it."""

    def __init__(self, begun: float):
        self._begun, self._last = begun, begun
        self._laps: list[str] = []

    def end(self, what: str) -> None:
        """Ends a part of the run."""
        now = time.perf_counter()
        self._laps.append(f"{now - self._last:.0f} {what}")
        self._last = now

    def __str__(self) -> str:
        return f"{self._last - self._begun:.0f} s: {', '.join(self._laps)}"


def _check_pairs(pair_set: PairSet, configs: Iterable[ChangeConfig], settings: types.SimpleNamespace) -> None:
    """Reads every pair of real data once, so that one that cannot be scored is told before the long work.

    Simulated pairs are of one size and none is bad: the first stands for all. Processes that share the pairs meet a bad
    one when they score it, and tell each other.

    Raises:
        BadPairError: of the first bad pair, unless bad ones are left out.
    """
    if settings.on_bad_pair != "error" or jax.process_count() > 1:
        return
    known = [CheckedPairs(pair_set, config) for config in configs]
    count = len(pair_set) if pair_set.source == "real" else 1
    for i in tqdm(range(count), desc="check", unit="pair", disable=count < 2, delay=2, leave=False):
        for pairs in known:
            pairs.read(i)


def run_dataset(
    configs: Mapping[str, ChangeConfig], settings: types.SimpleNamespace, *, begun: float | None = None
) -> pathlib.Path:
    """Runs one method with one or several presets, or all methods, on a data set and writes the folder of the run.

    Args:
        configs: Settings of the proposed method, by the name of the preset, in the order of the tables.
        settings: Every flag by its name; and `notes`, what the user is to be told.
        begun: `time.perf_counter()` when the user began to wait; None: now.

    Returns:
        The folder with the results.

    Raises:
        PlanetCDError: one of its kinds, with a message for the user.
    """
    laps = _Laps(time.perf_counter() if begun is None else begun)
    split_cpu(settings.num_devices)
    start_hosts(settings.coordinator_address, settings.num_processes, settings.process_id)
    target = target_folder(settings)
    if jax.process_index() > 0:
        _score_own_share(configs, settings)
        return target
    with output.run_folder(target, overwrite=settings.overwrite) as folder:
        require_modules(method_names(settings.method))
        with _open(configs.values(), settings) as pair_set:
            _check_pairs(pair_set, configs.values(), settings)
            fitted = {name: fitted_weights(config, settings, name) for name, config in configs.items()}
            _announce(fitted, pair_set, settings)
            laps.end("to start")
            entries = list(_entries(fitted, pair_set, settings))
            laps.end("to score")
            made = outcome_files.write(folder, entries, pair_set, settings)
    laps.end("for pictures and files")
    if settings.method != "all":
        print("\n" + table.summary_table(*made.values(), names=list(made)))
    for pair_id, reason in outcome_files.leading(entries).outcome.skipped:
        _print_field("left out", f"{pair_id}: {reason}")
    _finish(target, laps, settings)
    return target


def _entries(fitted: Fitted, pair_set: PairSet, settings: types.SimpleNamespace) -> Iterator[Entry]:
    """Every outcome of a run: the methods with the first preset, then the first of them with the other presets."""
    names, several = list(method_names(settings.method)), len(fitted) > 1
    for number, (preset, (config, weights)) in enumerate(fitted.items()):
        bench = Bench(pair_set, _job(config, weights, settings, preset))
        for name in names if number == 0 else names[:1]:
            if several or len(names) > 1:
                _print_field("scoring", name if len(names) > 1 else preset)
            outcome = bench.run(name, preset if several and name == names[0] else None)
            about = outcome_files.about(weights, pair_set, settings, preset)
            yield Entry(_at_false_discovery_rate(outcome, settings.fdr), weights, about)


def _score_own_share(configs: Mapping[str, ChangeConfig], settings: types.SimpleNamespace) -> None:
    """Scores this process's share of the pairs; process 0 has the results too, prints and writes."""
    with _open(configs.values(), settings) as pair_set:
        for number, (preset, config) in enumerate(configs.items()):
            config, weights = fitted_weights(config, settings, preset)
            job = dataclasses.replace(_job(config, weights, settings, preset), progress=False)
            bench, names = Bench(pair_set, job), method_names(settings.method)
            for name in names if number == 0 else names[:1]:
                bench.run(name)


def _announce(fitted: Fitted, pair_set: PairSet, settings: types.SimpleNamespace) -> None:
    devices = jax.local_devices()
    backbones = [config.backbone for config, _ in fitted.values()]
    engines = [engine_of(serve(settings.engine, backbone)) for backbone in backbones]  # refuses before anything is said
    print(f"planetcd {__version__}")
    presets = f"preset{'s' * (len(fitted) > 1)} {', '.join(fitted)}"
    _print_field("method", f"{settings.method}  ({presets}; seed {settings.seed})")
    _print_field("data", f"{pair_set.name}: {outcome_files.which(pair_set)}, {table.source_word(pair_set.source)}")
    for note in (*getattr(settings, "notes", ()), *pair_set.provenance.get("notes", ())):
        _print_field("note", note)
    if placed := pair_set.provenance.get("laid_by_grids"):
        _print_field("note", _placing_note(len(placed)))
    for preset, (config, _) in fitted.items():
        _print_field(preset if len(fitted) > 1 else "config", _config_text(config))
    for weights in {weights.sha256: weights for _, weights in fitted.values()}.values():
        _print_field("weights", f"{weights.origin}; SHA-256 {weights.sha256[:12]}")
    reasons = [why_xla(backbone) if settings.engine == "auto" else None for backbone in backbones]
    told = dict.fromkeys(
        engine + (f": {reason}" if reason else "") for engine, reason in zip(engines, reasons, strict=True)
    )
    _print_field(
        "device", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform}), engine {'; '.join(told)}"
    )


def _placing_note(count: int) -> str:
    """Note that the two dates of some pairs lie on different grids, and what was compared."""
    return (
        f"{counted(count, 'pair')} on different grids, brought together by the files' reference systems: the "
        "ground that both dates show is compared (--placement=pixels: pixel on pixel)."
    )


def _at_false_discovery_rate(outcome: Outcome, rate: float | None) -> Outcome:
    """The outcome with decisions by Benjamini-Hochberg, where it has p-values and a rate is given."""
    scores = outcome.scores
    if rate is None or outcome.method.decision != "self_supervised":
        return outcome
    changed = np.asarray(benjamini_hochberg(jnp.asarray(scores.p_value), rate))
    details = {**outcome.details, "false_discovery_rate": rate}
    return dataclasses.replace(outcome, scores=scores._replace(changed=changed), details=details)


def _finish(target: pathlib.Path, laps: _Laps, settings: types.SimpleNamespace) -> None:
    link = "" if settings.output_dir is not None else f"  (also {output.point_latest(target)})"
    print(f"\ntook {laps}\nresults in {target}{link}")
    kind = settings.figure_format
    for name in (pairs_page.PAGE, f"{gallery.RANKING}.{kind}", f"{gallery.HISTOGRAM}.{kind}"):
        if (target / name).exists():
            print(f"open {target / name}")
            return
