"""What a run leaves behind: tables, pictures and a page for its outcomes, put into its folder."""

import dataclasses
import datetime
import pathlib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax import explain, records
from planetcd_jax.config import ChangeConfig
from planetcd_jax.detection import pixel_change
from planetcd_jax.experiments import pair_doubts
from planetcd_jax.experiments.methods import Outcome, comparison_row
from planetcd_jax.files.compilations import announcing, compiled_programs
from planetcd_jax.files.folders import write_whole
from planetcd_jax.files.json_files import write_json
from planetcd_jax.networks.weights_io import Weights
from planetcd_jax.networks.winograd import with_engine
from planetcd_jax.ops.extents import extent
from planetcd_jax.pairs import PairSet, find_spec
from planetcd_jax.pairs.published import KEY
from planetcd_jax.report import curves, gallery, output, pairs_page, record, results, table
from planetcd_jax.report.figures import PairPicture
from planetcd_jax.runtime import padded_pairs
from planetcd_jax.scores.null import patch_key
from planetcd_jax.version import __version__
from planetcd_jax.words import counted

PROPOSED = "proposed"
"""The paper's method with any preset, in `baselines.METHODS`."""

LEADING = "robust"
"""The preset whose files lie at the top of the folder where several run: it ranks best on the evaluation's pairs."""

# Ranks down to which the page has maps of change: they take most of the time that is spent on pictures.
_MAPPED = 24


@dataclasses.dataclass(frozen=True)
class Entry:
    """One outcome with what its files need: weights, and what metrics.json says beside figures and configuration."""

    outcome: Outcome
    weights: Weights
    about: Mapping[str, Any]

    @property
    def draws(self) -> bool:
        """Whether there is a map of its change."""
        return self.outcome.method.kind == "unsupervised"

    @property
    def config(self) -> ChangeConfig:
        """The outcome's, with the engine that scored it, for what is computed of single pairs afterwards."""
        config = self.outcome.config
        return with_engine(config, self.about["flags"]["engine"]) if config.score.uses_network else config


def about(weights: Weights, pair_set: PairSet, settings: types.SimpleNamespace, preset: str) -> dict[str, Any]:
    """What metrics.json says beside the figures and the configuration."""
    return {
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "preset": preset,
        "seed": settings.seed,
        "flags": {name: value for name, value in sorted(vars(settings).items()) if name != "notes"},
        "weights": {name: getattr(weights, name) for name in ("origin", "sha256", "path", "backbone")},
        "provenance": pair_set.provenance,
    }


def leading(entries: Sequence[Entry]) -> Entry:
    """The entry whose files lie at the top of the folder."""
    return next((entry for entry in entries if entry.outcome.name == LEADING), entries[0])


def target_folder(settings: types.SimpleNamespace) -> pathlib.Path:
    """Folder of the results: --output_dir, or one below runs/ with date and time."""
    if settings.output_dir is not None:
        return pathlib.Path(settings.output_dir)
    return output.default_folder(settings.dataset.rpartition(":")[2], datetime.datetime.now())


def which(pair_set: PairSet) -> str:
    """Which pairs a set is, and how many."""
    if pair_set.source == "simulated" or KEY not in pair_set.provenance:
        return counted(len(pair_set), "pair")
    return pair_set.provenance[KEY]["title"]


def _metrics(outcome: Outcome, pair_set: PairSet, about: Mapping[str, Any]) -> dict[str, Any]:
    figures = record.figures(
        outcome.scores, seconds=outcome.seconds, compile_seconds=outcome.compile_seconds, skipped=outcome.skipped
    )
    run = {**figures, **outcome.details, "config": records.plain(outcome.config), "note": outcome.note}
    return record.record(pair_set.name, pair_set.source, outcome.method.name, run, **about)


def system_of(method: str, preset: str) -> str:
    """What a picture calls a system: the proposed method by its preset, which says more than "proposed"."""
    return preset if method == PROPOSED else method


def title_of(metrics: Mapping[str, Any]) -> str:
    """The line above a histogram."""
    accuracy, system = metrics["accuracy"], system_of(metrics["method"], metrics["preset"])
    return f"{metrics['dataset']}, {system}" + ("" if accuracy is None else f": accuracy {table.percent(accuracy)} %")


def _explanations(entry: Entry, pair_set: PairSet, count: int) -> dict[str, dict[str, Any]]:
    """Why the highest-ranked pairs were scored as they were, by id; only where a network made the score."""
    outcome = entry.outcome
    if not entry.draws or not outcome.config.score.uses_network:
        return {}

    config = entry.config

    def found(params, before, after, size):
        with extent(before.shape[:2], size):
            return explain.why(params, before, after, config)

    explained = announcing(found, "explanations")
    rows, highest = {}, outcome.scores.ranking()[:count]
    pairs = [pair_set.read(int(outcome.index[i])) for i in highest]
    for i, arrays in zip(highest, padded_pairs(pairs, config.score.pads(config.backbone)), strict=True):
        known, curve = explained(entry.weights.params, *arrays)
        rows[outcome.scores.ids[i]] = explain.row(known, curve, bool(outcome.scores.changed[i]))
    return rows


def _write_outcome(
    folder: pathlib.Path,
    outcome: Outcome,
    pair_set: PairSet,
    about: Mapping[str, Any],
    explained: Mapping[str, Any],
    quality: Mapping[str, Any],
) -> dict:
    """The files of one method, without the pictures of pairs; returns what metrics.json holds."""
    metrics = {**_metrics(outcome, pair_set, about), "explanations": dict(explained), "quality": dict(quality)}
    metrics["explain_rules"] = records.plain(explain.ExplainRules())
    kind = about["flags"]["figure_format"]
    results.write_results(folder / results.RESULTS, outcome.scores, explained, quality)
    results.save_scores(folder / results.SCORES, outcome.scores, metrics)
    title = title_of(metrics)
    decision, simulated = outcome.config.decision, pair_set.source == "simulated"
    gallery.write_histogram(folder, outcome.scores, decision, title=title, simulated=simulated, kind=kind)
    if outcome.history:
        trained = outcome.details["training"]
        title = f"{outcome.method.name}, {trained['trained_on']}"
        simulated = trained["trained_source"] == "simulated"
        curves.write_learning_curves(folder, outcome.history, title=title, simulated=simulated, kind=kind)
    return metrics


def _pictures(entry: Entry, pair_set: PairSet, count: int, mapped: int, with_saliency: bool) -> Iterator[PairPicture]:
    """The highest-ranked pairs as they are drawn, one at a time.

    Pairs of several sizes lie in arrays of a few, where the score allows that, so that few programs are compiled.

    Args:
        entry: Whose ranking.
        pair_set: Its pairs.
        count: How many.
        mapped: How many of them get a map of change, whatever their shape; of the next ones those in an array of a
            shape that had one, because a further shape has to be compiled first.
        with_saliency: Whether the gradient of rho is drawn too.
    """
    outcome, config, shapes = entry.outcome, entry.config, set()

    def maps(key, params, before, after, size):
        with extent(before.shape[:2], size):
            found = pixel_change(key, params, before, after, config)
            salient = explain.saliency(params, before, after, config) if with_saliency else None
        heat = jnp.where(found.known, found.size, jnp.nan)
        return {"heat": heat, "mask": found.changed, "saliency": salient}, found.level

    mapping = announcing(maps, "pixel maps")
    ranking = outcome.scores.ranking()[:count]
    most = max(mapped, _MAPPED) if entry.draws else 0
    first = [pair_set.read(int(outcome.index[i])) for i in ranking[:most]]
    arrays = dict(enumerate(padded_pairs(first, config.score.pads(config.backbone)), start=1))
    for rank, i in enumerate(ranking, start=1):
        pair = first[rank - 1] if rank in arrays else pair_set.read(int(outcome.index[i]))
        picture = gallery.picture_of(outcome.scores, i, rank, pair.before, pair.after)
        before, after, size = arrays.get(rank, (pair.before, pair.after, None))
        if rank in arrays and (rank <= mapped or before.shape in shapes):
            shapes.add(before.shape)
            key = patch_key(jax.random.key(entry.about["seed"]), jnp.uint32(outcome.index[i]))
            found, level = mapping(key, entry.weights.params, before, after, size)
            height, width = pair.before.shape[:2]
            found = {name: None if x is None else np.asarray(x)[:height, :width] for name, x in found.items()}
            picture = picture._replace(**found, level=np.asarray(level))
        yield picture


def _draw(folder: pathlib.Path, entry: Entry, pair_set: PairSet, settings: types.SimpleNamespace) -> pairs_page.Ranking:
    """Draws the pictures of an outcome into its folder, and returns its ranking for the page."""
    outcome, drawn, shown = entry.outcome, [], []
    count = max(settings.figures, settings.page_pairs)
    for picture in _pictures(entry, pair_set, count, settings.figures, settings.saliency):
        if len(drawn) < settings.figures:
            drawn.append(picture)
        if len(shown) < settings.page_pairs:
            shown.append(pairs_page.shown(picture))
    system = system_of(outcome.method.name, entry.about["preset"])
    title = f"{pair_set.name}, {system}: highest-ranked pairs"
    simulated = pair_set.source == "simulated"
    gallery.write_pairs(folder, drawn, title=title, simulated=simulated, kind=settings.figure_format)
    return pairs_page.Ranking(outcome.name, outcome.scores, outcome.config.decision, shown)


def write(
    folder: pathlib.Path, entries: Sequence[Entry], pair_set: PairSet, settings: types.SimpleNamespace
) -> dict[str, dict[str, Any]]:
    """Writes everything in the folder of a run, and prints its tables.

    The files of the leading outcome lie at the top, those of the others in methods/NAME.

    Returns:
        What metrics.json says of each outcome, by its name.
    """
    first, made, rankings = leading(entries), {}, []
    presets = len({entry.outcome.preset for entry in entries}) > 1
    quality = pair_doubts.rows(pair_set, first.outcome.index)
    if pair_set.source == "real":
        print(f"quality   {pair_doubts.summary(quality)}")
    for entry in entries:
        outcome, at_top = entry.outcome, entry is first
        own = folder if at_top else folder / "methods" / outcome.name
        own.mkdir(parents=True, exist_ok=True)
        told = at_top or presets  # of many methods, one is drawn
        why = _explanations(entry, pair_set, settings.explain) if at_top else {}
        made[outcome.name] = _write_outcome(own, outcome, pair_set, entry.about, why, quality)
        if told:
            rankings.append(_draw(own, entry, pair_set, settings))
        if not at_top:
            write_json(own / output.METRICS, made[outcome.name])
    if len(entries) > 1:
        _write_comparison(folder, [entry.outcome for entry in entries], pair_set, settings)
    if settings.page_pairs:
        write_whole(folder / pairs_page.PAGE, _page(rankings, pair_set, first, quality).encode("utf-8"))
    made[first.outcome.name]["programs"] = compiled_programs()
    others = {name: metrics for name, metrics in made.items() if name != first.outcome.name}
    write_json(folder / output.METRICS, made[first.outcome.name] | ({"methods": others} if others else {}))
    return made


def _page(
    rankings: Sequence[pairs_page.Ranking], pair_set: PairSet, first: Entry, quality: Mapping[str, Mapping[str, Any]]
) -> str:
    facts = [
        ("Pairs", f"{pair_set.name}: {which(pair_set)}, {table.source_word(pair_set.source)}"),
        *(("Note", note) for note in pair_set.provenance.get("notes", ())),
        ("Weights", f"{first.weights.origin}; SHA-256 {first.weights.sha256[:12]}"),
        ("Made", f"{first.about['created']}, planetcd_jax {__version__}, seed {first.about['seed']}"),
    ]
    return pairs_page.pairs_page(
        rankings, name=pair_set.name, first=first.outcome.name, facts=facts,
        simulated=pair_set.source == "simulated", quality={key: row["quality"] for key, row in quality.items()},
    )  # fmt: skip


def _write_comparison(
    folder: pathlib.Path, outcomes: Sequence[Outcome], pair_set: PairSet, settings: types.SimpleNamespace
) -> None:
    title = find_spec(settings.dataset).title
    rows = [comparison_row(outcome, pair_set) for outcome in outcomes]
    header, cells = table.comparison_cells(rows)
    title = f"{title}, {which(pair_set)}, {table.source_word(pair_set.source)}"
    notes = table.footnotes(rows)
    if settings.method == "all":
        print("\n" + "\n\n".join(filter(None, (title, table.aligned_table(header, cells), notes))))
    markdown = "\n\n".join(
        filter(None, (f"### {title}", table.markdown_table(header, cells), notes.replace("\n", "  \n")))
    )
    (folder / "comparison.md").write_text(markdown + "\n", encoding="utf-8")
    (folder / "comparison.csv").write_text(table.comparison_csv(rows), encoding="utf-8", newline="")
