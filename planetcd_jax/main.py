"""The command line: `python -m planetcd_jax.main --dataset=ctx`, or `planetcd --dataset=ctx` when installed."""

import os
import pathlib
import signal
import sys
import time
import types
from collections.abc import Sequence

from absl import flags

from planetcd_jax import constants
from planetcd_jax.baselines import METHODS
from planetcd_jax.cli import commandline, presets
from planetcd_jax.cli.commandline import Flag
from planetcd_jax.errors import ConfigError
from planetcd_jax.images.stretch import STRETCHES
from planetcd_jax.pairs import DATASETS
from planetcd_jax.pairs.composite import COMPOSITES
from planetcd_jax.pairs.files import SIZE_MISMATCHES
from planetcd_jax.pairs.placing import PLACEMENTS
from planetcd_jax.version import __version__

PROGRAM = "planetcd"


FLAGS: dict[str, tuple[Flag, ...]] = {
    "What to look at": (
        Flag(
            "dataset",
            "str",
            None,
            f"Data set: {', '.join(DATASETS)}, or module:NAME, a DatasetSpec of your own. Default: pairs where "
            "--pairs_csv is given; else it must be named.",
        ),
        Flag(
            "data_dir",
            "str",
            None,
            "Folder, .zip, .tar, parquet or HDF5 file of the data. Default: fetch it, or simulate.",
        ),
        Flag(
            "pairs_csv",
            "str",
            None,
            "CSV of your pairs: id,before,after[,label]; paths relative to the CSV. Default: none.",
        ),
        Flag("source", ("auto", "real", "simulated"), "auto", "Which data: auto takes real data where it finds some."),
        Flag("split", "str", None, "Part of the data set: train, val, test or all. Default: test where there is one."),
        Flag("revision", "str", "main", "Branch, tag or commit of the data set on the Hugging Face hub."),
        Flag(
            "fetch", "str", None, "Only download this data set (--split, or all of it) and say where to. Default: run."
        ),
        Flag(
            "archive",
            "str",
            None,
            "Where --fetch takes it from: zenodo, or zenodo:NUMBER of a record. Default: the Hugging Face hub.",
        ),
        Flag(
            "composite",
            COMPOSITES,
            "auto",
            "What red, green and blue hold where one image holds both dates: 0 nothing, a after, b before.",
        ),
        Flag("patch_size", "int", None, "Pixels; larger images are cut into patches of this side. Default: uncut."),
        Flag(
            "stretch",
            STRETCHES,
            "auto",
            "How values become [0, 1]. auto: both dates alike, 8-bit by 255, others by percentiles; each date by "
            "itself where the two differ in type or scale.",
        ),
        Flag(
            "grey",
            "bool",
            None,
            "Read colour files as the mean of their bands. Default: the paper's sets yes, pairs no.",
        ),
        Flag(
            "nodata",
            "str",
            "auto",
            "A value that means no data, as stored, beside what files say; auto: what files say; none: nothing.",
        ),
        commandline.MASK_BANDS,
        Flag(
            "size_mismatch",
            SIZE_MISMATCHES,
            "error",
            "Where two dates differ in size: stop, or crop both to the centre.",
        ),
        Flag(
            "placement",
            PLACEMENTS,
            "auto",
            "Where the dates' files lie on different grids: compare the ground that both show, or pixel on pixel.",
        ),
        Flag("on_bad_pair", ("error", "skip"), "error", "At a pair that cannot be scored: stop, or list it and go on."),
    ),
    "The method": (
        Flag("method", (*METHODS, "all"), "proposed", "System of the paper's tables; all runs and compares them."),
        Flag(
            "preset",
            "str",
            None,
            f"Settings that the flags below change one by one: {', '.join(constants.PRESET_NAMES)}; "
            "several, with commas between, are run side by side. Default: paper,robust for a named data set, robust "
            "for your own pairs; without those that a given flag means nothing for; paper where --method, --backbone "
            "or --score names another.",
        ),
        *commandline.METHOD,
        Flag("weights", "str", None, "Weights: .h5, .safetensors or hf:OWNER/NAME. Default: the shipped VGG-16."),
        Flag(
            "noise_sigma",
            "float",
            None,
            "Standard deviation of the noise of a pseudo-unchanged patch, images in [0, 1].",
        ),
        Flag("max_shift", "int", None, "Largest shift of a pseudo-unchanged patch, pixels."),
        Flag("quantile", "float", None, "Share of pseudo-unchanged scores at or below tau."),
        *commandline.RATES,
        Flag("set", "multi", [], "Any other setting as field=value, such as pooling=mean; may be repeated."),
        Flag("seed", "int", 0, "Decides every random draw."),
    ),
    "Supervised methods": (
        Flag("train_dataset", "str", "hirise_rsl", "Data set to train on, with splits train and val."),
        Flag("train_data_dir", "str", None, "Its folder. Default: --data_dir if it is the same data set."),
        Flag("training", ("small", "full"), None, "Size of networks and training. Default: full on a GPU, else small."),
        Flag(
            "inception_weights", "str", None, "Inception-v3 weights: .h5, .safetensors or hf:OWNER/NAME. Default: none."
        ),
        Flag("local_contrast", "bool", False, "Local contrast normalisation of their input."),
        Flag("checkpoint_dir", "str", None, "Folder from which a killed training goes on. Default: none is kept."),
    ),
    "The machine": (
        Flag("batch_size", "int", None, "Pairs in a batch, over all devices. Default: what fits the device."),
        Flag("micro_batch", "int", None, "Pairs in the network at a time on a device. Default: what fits the device."),
        Flag("num_devices", "int", None, "Devices to use. Default: all."),
        Flag(
            "coordinator_address",
            "str",
            None,
            "host:port of process 0 where several share the pairs; auto on a cluster. Default: one process.",
        ),
        Flag("num_processes", "int", None, "How many processes share the pairs. Default: one."),
        Flag("process_id", "int", None, "Which of them this is, from 0; process 0 writes. Default: the only one."),
        Flag("precision", constants.PRECISIONS, None, "Arithmetic of the network."),
        commandline.ENGINE,
        commandline.COMPILATION_CACHE,
        Flag("clear_cache", "bool", False, "Only remove what earlier runs kept in the cache folder, and say how much."),
    ),
    "What comes out": (
        Flag("output_dir", "str", None, "Folder for the results. Default: runs/<dataset>-<date>-<time>."),
        Flag("overwrite", "bool", False, "Whether earlier results in --output_dir may be replaced."),
        Flag("figures", "int", 8, "Number of highest-ranked pairs to draw."),
        Flag("figure_format", ("png", "pdf", "svg"), "png", "Kind of file of the figures; pdf and svg are vectors."),
        Flag("page_pairs", "int", 100, "Number of highest-ranked pairs shown on report.html; 0: no page."),
        Flag("saliency", "bool", False, "Draw the gradient of rho by pixel too."),
        Flag("explain", "int", 8, "Number of highest-ranked pairs to explain in results.csv."),
        Flag("threshold_only", "str", None, "rho.npz of an earlier run: decide again with --quantile. Default: run."),
    ),
}

_USAGE = f"""{PROGRAM} {__version__}: which of these pairs of planetary images show a change?

  python -m planetcd_jax.main --dataset=ctx
  python -m planetcd_jax.main --dataset=pairs --pairs_csv=my_pairs.csv --output_dir=results
  python -m planetcd_jax.main --dataset=hirise_rsl --method=all
  python -m planetcd_jax.main --fetch=ctx
  python -m planetcd_jax.main --threshold_only=runs/latest/rho.npz --quantile=0.99
  python -m planetcd_jax.main --clear_cache
"""


def parse(arguments: Sequence[str]) -> types.SimpleNamespace:
    """Flags by name.

    Args:
        arguments: The command line without the program's name.

    Raises:
        flags.Error: for a flag or a value that there is not, in one line.
    """
    settings = commandline.parse(PROGRAM, FLAGS, arguments)
    for name in ("data_dir", "pairs_csv", "weights", "output_dir", "threshold_only"):
        if getattr(settings, name) == "":
            raise flags.Error(f"--{name} is empty; give a path, or leave the flag out.")
    for name in ("dataset", "train_dataset", "fetch"):
        _check_dataset(name, getattr(settings, name))
    for name in ("figures", "explain", "page_pairs"):
        if getattr(settings, name) < 0:
            raise flags.Error(f"--{name}={getattr(settings, name)}: give a number of pairs, 0 or more.")
    if settings.archive is not None and settings.fetch is None:
        raise flags.Error(f"--archive={settings.archive} says where --fetch takes a data set from; give --fetch too.")
    settings.preset = _preset_names(settings.preset)
    return settings


def _preset_names(text: str | None) -> tuple[str, ...] | None:
    """The presets that --preset names, each once; None where it is not given."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in constants.PRESET_NAMES:
            raise flags.Error(
                f"--preset={text}: value should be one or more of <{'|'.join(constants.PRESET_NAMES)}>, with commas "
                "between"
            )
    return names


def _check_dataset(flag: str, value: str | None) -> None:
    if value is not None and ":" not in value and value not in DATASETS:
        raise flags.Error(f"--{flag}={value}: value should be one of <{'|'.join(DATASETS)}> or module:NAME")


def _start(settings: types.SimpleNamespace, begun: float) -> None:
    """Runs what the flags ask for. Imported late, so that --help and a mistyped flag do not wait for it."""
    if settings.clear_cache:
        from planetcd_jax.files.cache_clearing import clear

        print(clear(settings.compilation_cache_dir))
        return
    from planetcd_jax.experiments import dataset_run, second_decision

    if settings.fetch is not None:
        dataset_run.fetch_dataset(settings)
        return
    commandline.start_compilation_cache(settings)
    if settings.threshold_only is not None:
        second_decision.decide_again(pathlib.Path(settings.threshold_only), settings)
        return
    settings.dataset = settings.dataset or ("pairs" if settings.pairs_csv else None)
    if settings.dataset is None:
        raise ConfigError(f"--dataset is missing; choose one of {', '.join(DATASETS)}, see --help.")
    configs = presets.chosen_configs(settings)
    dataset_run.run_dataset(configs, settings, begun=begun)


def execute(arguments: Sequence[str]) -> int:
    """Parses, runs and reports; what goes wrong on purpose is one line on standard error.

    Args:
        arguments: The command line without the program's name.

    Returns:
        Exit status: 0, 1 for an error in the data or the settings, 2 for one in the flags, 130 when interrupted.
    """
    begun, asked = time.perf_counter(), types.SimpleNamespace(checkpoint_dir=None, fetch=None)

    def start(given: Sequence[str]) -> None:
        nonlocal asked
        asked = parse(given)
        _start(asked, begun)

    def interrupted() -> str:
        if asked.fetch is not None:
            return "interrupted; the files that are whole are kept, and the same command goes on from there."
        if asked.checkpoint_dir is None:
            return "interrupted; nothing was written."
        return (
            f"interrupted; no results were written. What was trained is kept in {asked.checkpoint_dir}, and the same "
            "command goes on from there."
        )

    return commandline.execute(PROGRAM, lambda: commandline.help_text(_USAGE, FLAGS), start, arguments, interrupted)


def run() -> None:
    """Console entry `planetcd`: runs the command line of this process and exits with its status."""
    # As an exception, so that a half-written folder is removed when the process is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.path.append(os.getcwd())  # so that --dataset=module:NAME finds a module beside the user, installed or not
    commandline.run(execute)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's chatter
    run()
