"""Each system of the paper's tables, run on a set of pairs: the proposed one, its variants, RCVA, the supervised."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np

from planetcd_jax.baselines import METHODS, Method, systems
from planetcd_jax.baselines.train_config import SMALL, TrainConfig
from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import BadPairError, ConfigError, DataError, PatchError
from planetcd_jax.networks.winograd import engine_of, with_engine
from planetcd_jax.pairs import Pair, PairSet
from planetcd_jax.pairs.published import is_papers
from planetcd_jax.report import metrics
from planetcd_jax.report.results import Scores
from planetcd_jax.report.table import ComparisonRow, source_word
from planetcd_jax.runtime import RunResult, batches, run_detection
from planetcd_jax.types import Array, Params


def _read_size(shape: tuple[int, ...]) -> int:
    """Pairs read together for a supervised method, whatever their shape."""
    del shape
    return 256


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run of any method needs beside the pairs.

    Attributes:
        config: Of the proposed method; variants change their own fields of it.
        params: Of the network.
        seed: Decides every random draw.
        batch_size, num_devices, micro_batch: As in `runtime.make_plan`; None fits the device.
        on_bad_pair: "error" or "skip".
        progress: Whether to show progress bars.
        open_training: Opens the training and the validation pairs of the supervised methods.
        training: Settings of their training (`TrainConfig`), or None for its default.
        inception_weights: Initial weights of Inception-v3, or None to start from scratch.
        checkpoint_dir: Folder that a killed training is resumed from, or None.
        engine: What computes the network, one of `networks.winograd.ENGINES`.
        preset: Name of the preset that `config` was made of.
    """

    config: ChangeConfig
    params: Params
    seed: int = 0
    batch_size: int | None = None
    num_devices: int | None = None
    micro_batch: int | None = None
    on_bad_pair: str = "error"
    progress: bool = True
    open_training: Callable[[], tuple[PairSet, PairSet]] | None = None
    training: TrainConfig | None = None
    inception_weights: str | None = None
    checkpoint_dir: str | None = None
    engine: str = "xla"
    preset: str = "paper"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a method found.

    Attributes:
        method: Its row of the registry.
        config: As it ran.
        scores: Of the M pairs that could be scored.
        index: [M] int, their numbers in the set.
        skipped: (id, reason) of the others.
        seconds: Wall-clock time of reading and scoring, without compiling and training.
        compile_seconds: Time of compiling.
        note: What a reader of a table must know.
        details: JSON-able; the plan of the run, or how a supervised method was trained.
        history: Loss curves of a training, by part; empty for the others.
        preset: Name of the preset that its settings were made of.
        name: Its column in a summary and its folder: the method, or the preset where several presets run.
    """

    method: Method
    config: ChangeConfig
    scores: Scores
    index: np.ndarray
    skipped: list[tuple[str, str]]
    seconds: float
    compile_seconds: float
    note: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: dict[str, Any] = dataclasses.field(default_factory=dict)
    preset: str = "paper"
    name: str = ""

    @property
    def title(self) -> str:
        """Its row label in a comparison table."""
        return self.method.title if self.name == self.method.name else f"{self.method.title}, preset {self.preset}"


def _labels(pair_set: PairSet, index: np.ndarray) -> np.ndarray:
    return np.full(len(index), -1, np.int8) if pair_set.labels is None else np.asarray(pair_set.labels)[index]


class CheckedPairs:
    """The pairs of a set, each checked against what the score needs, so that a patch too small is named."""

    def __init__(self, pair_set: PairSet, config: ChangeConfig):
        self.ids = pair_set.ids
        self._pair_set = pair_set
        self._config = config

    def __len__(self) -> int:
        return len(self._pair_set)

    def read(self, i: int) -> Pair:
        """Pair i; raises BadPairError where it cannot be scored."""
        pair = self._pair_set.read(i)
        before, after = cast(Array, pair.before), cast(Array, pair.after)  # only their shapes and types are looked at
        try:
            self._config.score.check_pair(self._config.backbone, before, after)
        except PatchError as error:
            raise BadPairError(f"{self._pair_set.where(i)}: {error}") from None
        return pair


class Bench:
    """Runs methods on one set of pairs and does shared work once: equal scores, and the reading of training pairs."""

    def __init__(self, pair_set: PairSet, job: Job):
        self._pair_set = pair_set
        self._job = job
        self._results: dict[ChangeConfig, RunResult] = {}
        self._training: tuple[Any, Any, dict[str, str]] | None = None

    def run(self, name: str, known_as: str | None = None) -> Outcome:
        """The outcome of one method of `METHODS`.

        Args:
            name: Its name.
            known_as: Its column and folder, where that is not its name.

        Raises:
            PlanetCDError: as the parts that it is made of.
        """
        method = systems.method(name)
        if method.kind == "supervised" and jax.process_count() > 1:
            raise ConfigError(f"{name} is trained in one process; run it without --coordinator_address.")
        outcome = self._supervised(method) if method.kind == "supervised" else self._unsupervised(method)
        return dataclasses.replace(outcome, preset=self._job.preset, name=known_as or name)

    def _result(self, config: ChangeConfig) -> RunResult:
        job = self._job
        if config not in self._results:
            self._results[config] = run_detection(
                jax.random.key(job.seed),
                job.params if config.score.uses_network else {},
                CheckedPairs(self._pair_set, config),
                self._served(config),
                batch_size=job.batch_size,
                num_devices=job.num_devices,
                micro_batch=job.micro_batch,
                on_bad_pair=job.on_bad_pair,
                progress=job.progress,
            )
        return self._results[config]

    def _served(self, config: ChangeConfig) -> ChangeConfig:
        """The settings with the engine that computes the network, where there is one."""
        return with_engine(config, self._job.engine) if config.score.uses_network else config

    def _unsupervised(self, method: Method) -> Outcome:
        config = method.configured(self._job.config)
        result = self._result(config)
        tau, changed = result.tau, result.changed
        if method.decision == "kmeans":
            from planetcd_jax.baselines.kmeans import cluster_scores

            clusters = cluster_scores(result.rho, seed=self._job.seed)
            tau, changed = clusters.tau, clusters.changed
        ids = tuple(self._pair_set.ids[i] for i in result.index)
        labels = _labels(self._pair_set, result.index)
        scores = Scores(ids, labels, result.rho, result.rho_null, tau, changed, result.p_value)
        plan = {"batch_size": result.batch_size, "micro_batch": result.micro_batch, "devices": list(result.devices)}
        plan["engine"] = engine_of(self._served(config).backbone)
        seconds = result.seconds, result.compile_seconds
        return Outcome(method, config, scores, result.index, result.skipped, *seconds, details=plan)

    @property
    def _training_config(self) -> TrainConfig:
        return self._job.training or SMALL

    def _training_pairs(self) -> tuple[Any, Any, dict[str, str]]:
        """Training pairs, validation pairs, and what they are."""
        if self._training is None:
            if self._job.open_training is None:
                raise DataError("supervised methods need training pairs; name them with --train_dataset.")
            train, validation = self._job.open_training()
            with train, validation:
                most, policy = self._training_config.max_pairs, self._job.on_bad_pair
                few = None if most is None else most // 4
                pairs = _labelled(_drawn(train, most), policy), _labelled(_drawn(validation, few), policy)
                of = "" if most is None or most >= len(train) else f"of {len(train)} "
                words = f"{len(pairs[0].labels)} {of}pairs of {train.name}, {source_word(train.source)}"
            self._training = (*pairs, {"trained_on": words, "trained_source": train.source})
        return self._training

    def _supervised(self, method: Method) -> Outcome:
        from planetcd_jax.baselines import supervised

        job = self._job
        train, validation, origin = self._training_pairs()
        started = time.perf_counter()
        model = supervised.fit(
            method.name,
            train,
            validation,
            self._training_config,
            weights=job.inception_weights,
            checkpoint_dir=f"{job.checkpoint_dir}/{method.name}" if job.checkpoint_dir else None,
            progress=job.progress,
        )
        about = {**model.description(), **origin, "training_seconds": time.perf_counter() - started}
        index, rho, changed, skipped, seconds = _predicted(model, self._pair_set, job.on_bad_pair)
        ids = tuple(self._pair_set.ids[i] for i in index)
        no_null = np.zeros(0, np.float32), 0.5, changed, np.full(len(index), np.nan, np.float32)
        scores = Scores(ids, _labels(self._pair_set, index), rho, *no_null)
        note = _note(model, origin["trained_on"])
        return Outcome(
            method, job.config, scores, index, skipped, seconds, 0.0, note, {"training": about}, model.history
        )


class _Drawn:
    """Some of the pairs of a set, as `runtime.batches` and `_labelled` take a set."""

    def __init__(self, pair_set: PairSet, chosen: np.ndarray):
        self._pair_set, self._chosen = pair_set, chosen
        self.name = pair_set.name
        self.ids = tuple(pair_set.ids[i] for i in chosen)
        self.labels = None if pair_set.labels is None else np.asarray(pair_set.labels)[chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def read(self, i: int) -> Any:
        """Pair i of those that were chosen."""
        return self._pair_set.read(int(self._chosen[i]))


def _drawn(pair_set: PairSet, most: int | None) -> PairSet | _Drawn:
    """The set, or `most` of its pairs: the same ones for every system and seed, so that tables can be compared."""
    if most is None or most >= len(pair_set):
        return pair_set
    return _Drawn(pair_set, np.sort(np.random.default_rng(0).permutation(len(pair_set))[:most]))


def _note(model: Any, words: str) -> str:
    """How a supervised system was trained, in the words of a table's cell."""
    parts = [f"trained on {words}"]
    if model.method.classifier == "inception":
        config, network = model.config, "Inception-v3"
        network += "" if config.width == 1 else f" of width {config.width:g}"
        network += "" if config.last_stage == "mixed10" else f" up to {config.last_stage}"
        parts.append(f"{network}, {model.size[0]}x{model.size[1]} px, {model.initial_weights}")
    if model.config.contrast:
        parts.append("local contrast normalised")
    return "; ".join(parts)


def _labelled(pair_set: PairSet | _Drawn, on_bad_pair: str) -> Any:
    """The pairs of a set that have a label, as arrays in memory."""
    from planetcd_jax.baselines import supervised

    if pair_set.labels is None:
        raise DataError(f"the training pairs of {pair_set.name} have no labels; supervised methods need them.")
    read = list(batches(pair_set, _read_size, on_bad_pair=on_bad_pair))
    shapes = sorted({batch.before.shape[1:] for batch in read})
    if len(shapes) > 1:
        raise DataError(
            f"the training pairs of {pair_set.name} have {len(shapes)} sizes, such as {shapes[0]} and {shapes[-1]}; "
            "cut them to one with --patch_size."
        )
    before, after, index = (
        np.concatenate([getattr(batch, name)[: batch.count] for batch in read]) for name in ("before", "after", "index")
    )
    labels = np.asarray(pair_set.labels)[index]
    return supervised.LabelledPairs(before[labels >= 0], after[labels >= 0], labels[labels >= 0])


def _predicted(model: Any, pair_set: PairSet, on_bad_pair: str) -> tuple:
    """Numbers, scores and decisions of a set in its own order, what was left out, and the seconds that it took."""
    from planetcd_jax.baselines import supervised

    skipped: list[tuple[str, str]] = []
    started = time.perf_counter()
    index, rho, changed = [], [], []
    for batch in batches(pair_set, _read_size, on_bad_pair=on_bad_pair, skipped=skipped):
        found = supervised.predict(model, batch.before[: batch.count], batch.after[: batch.count])
        index.append(batch.index[: batch.count].astype(np.int64))
        rho.append(found.score)
        changed.append(found.changed)
    if not index:
        raise DataError(f"no pair could be scored; the first of {len(skipped)}: {skipped[0][1]}")
    order = np.argsort(np.concatenate(index), kind="stable")
    arrays = [np.concatenate(parts)[order] for parts in (index, rho, changed)]
    return *arrays, skipped, time.perf_counter() - started


def comparison_row(outcome: Outcome, pair_set: PairSet) -> ComparisonRow:
    """The line of a method in a comparison table; with the paper's figure where it is of the same pairs."""
    scores = outcome.scores
    figures = metrics.evaluate(scores.labels, scores.rho, scores.changed)
    counts = figures["confusion"]
    same = pair_set.source == "real" and is_papers(pair_set.provenance) and not outcome.skipped
    same = same and outcome.name in (outcome.method.name, "paper")
    return ComparisonRow(
        system=outcome.title,
        method=outcome.method.name,
        paper=outcome.method.paper_figure(pair_set.name) if same else None,
        correct=counts and counts["true_positive"] + counts["true_negative"],
        labelled=figures["n_labelled"],
        accuracy=figures["accuracy"],
        interval=figures["accuracy_interval_95"],
        roc_auc=figures["roc_auc"],
        seconds_per_pair=outcome.seconds / len(scores.ids),
        source=pair_set.source,
        note=outcome.note,
    )


def method_names(name: str) -> tuple[str, ...]:
    """The methods that a value of --method stands for: all of the table for "all", else that one."""
    return tuple(METHODS) if name == "all" else (name,)
