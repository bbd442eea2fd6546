"""What the command lines share: a table of flags, --help from it, settings by name, and errors in one line."""

import ast
import contextlib
import logging
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import app, flags
from absl import logging as absl_logging

from planetcd_jax import constants
from planetcd_jax.cli import interruptions
from planetcd_jax.errors import ConfigError, PlanetCDError, WeightsError
from planetcd_jax.files.own_values import named_value
from planetcd_jax.version import __version__

if TYPE_CHECKING:
    from planetcd_jax.config import ChangeConfig
    from planetcd_jax.networks.weights_io import Weights

USAGE_ERROR = 2
"""Exit status for a flag or value that there is not; other errors give 1, an interruption 130."""

_FORMS = {"str": "=TEXT", "int": "=N", "float": "=X", "multi": "=FIELD=VALUE", "files": "=TEXT", "bool": ""}


class Flag(NamedTuple):
    """One flag: its name, type ("str", "int", "float", "bool", "multi" for settings and "files" for names that may be
    given several times, or a tuple of choices), default and help."""

    name: str
    kind: str | tuple[str, ...]
    default: Any
    help: str


COMPILATION_CACHE = Flag(
    "compilation_cache_dir",
    "str",
    None,
    "Folder where compiled programs are kept for the next run; empty: none. Default: planetcd_jax/xla in "
    "$XDG_CACHE_HOME, or in ~/.cache where that is not set.",
)
"""Every program's flag for `start_compilation_cache`."""

ENGINE = Flag(
    "engine",
    ("auto", "xla", "winograd"),
    "auto",
    "What computes the network: winograd is faster on CPUs in float32, and needs a C++ compiler once; auto takes it "
    "where it can.",
)
"""Every program's flag for `networks.winograd.serve`."""

METHOD = (
    Flag(
        "backbone",
        "str",
        None,
        f"Network: {', '.join(constants.BACKBONE_NAMES)}, or module:NAME of your own. Default: the preset's.",
    ),
    Flag("layer", "str", None, "Layer at which the network is cut, such as conv3_2."),
    Flag(
        "score",
        "str",
        None,
        f"Change score: {', '.join(constants.SCORE_NAMES)}, or module:NAME of your own. Default: the preset's.",
    ),
)
"""Every program's flags for network and score."""

RATES = (
    Flag(
        "false_alarm_rate",
        "float",
        None,
        "Share of unchanged ones that may be called changed: 1 - quantile. Default: as --quantile.",
    ),
    Flag("fdr", "float", None, "Decide by Benjamini-Hochberg at this false discovery rate. Default: by tau."),
)
"""Every program's flags for how it decides, beside --quantile."""

MASK_BANDS = Flag(
    "mask_bands",
    ("any", "all"),
    "any",
    "Of several bands: a pixel is missing where any of them holds the no-data value, or only where all of them do.",
)
"""Every program's flag for `missing.missing_rule`."""

Groups = Mapping[str, tuple[Flag, ...]]
"""Flags by the heading that they stand below in --help."""


def default_text(flag: Flag) -> str:
    """The default in words, where the help does not say it: for a setting of the method, that of each preset."""
    if "Default" in flag.help:
        return ""
    if flag.default is None:
        return _preset_defaults(flag.name)
    return "" if flag.kind in ("bool", "multi") else f" Default: {flag.default}."


def _preset_defaults(name: str) -> str:
    from planetcd_jax import records  # late: only --help needs it, and what it needs
    from planetcd_jax.config import PRESETS

    values = {preset: records.value_of(config, name) for preset, config in PRESETS.items()}
    values = {preset: value for preset, value in values.items() if value is not None}
    if not values:
        return ""
    if len(set(values.values())) == 1:
        others = [preset for preset in PRESETS if preset not in values]
        return f" Default: {values['paper']}" + (f" (not for {', '.join(others)})." if others else ".")
    return " Default: " + ", ".join(f"{value} ({preset})" for preset, value in values.items()) + "."


def help_text(usage: str, groups: Groups) -> str:
    """What --help prints: every flag with its choices, its default, its unit, in groups."""
    lines = [usage]
    for group, members in groups.items():
        lines.append(f"{group}:")
        for flag in members:
            text, form = flag.help + default_text(flag), "=NAME"
            if isinstance(flag.kind, tuple):
                text += f" One of: {', '.join(flag.kind)}."
            else:
                form = _FORMS.get(flag.kind, form)
            lines.append(f"  --{flag.name}{form}")
            lines += textwrap.wrap(text, 96, initial_indent=" " * 8, subsequent_indent=" " * 8)
        lines.append("")
    return "\n".join(lines)


def parse(program: str, groups: Groups, arguments: Sequence[str]) -> types.SimpleNamespace:
    """Flags by name.

    Args:
        program: Name of the program.
        groups: Its flags.
        arguments: The command line without the program's name.

    Raises:
        flags.Error: for a flag or a value that there is not, in one line.
    """
    values = flags.FlagValues()  # a set of its own: nothing global, so programs can run side by side in one process
    simple = {
        "str": flags.DEFINE_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_boolean,
        "multi": flags.DEFINE_multi_string,
        "files": flags.DEFINE_multi_string,
    }
    for flag in (flag for members in groups.values() for flag in members):
        if isinstance(flag.kind, tuple):
            flags.DEFINE_enum(flag.name, flag.default, flag.kind, flag.help, flag_values=values)
        else:
            simple[flag.kind](flag.name, flag.default, flag.help, flag_values=values)
    rest = values([program, *arguments])[1:]
    if rest:
        raise flags.Error(f"{rest[0]!r} is not a flag; flags are written --name=value, see --help.")
    return types.SimpleNamespace(**values.flag_values_dict())


def start_compilation_cache(settings: types.SimpleNamespace) -> None:
    """Switches JAX's persistent cache on, as --compilation_cache_dir says; programs do this, the library never.

    Raises:
        ConfigError: if the folder cannot be made.
    """
    from planetcd_jax.files.caches import ensure_cache_home  # late: --help needs no JAX
    from planetcd_jax.files.compilations import count_from_now
    from planetcd_jax.runtime import cache_compilations

    reason = ensure_cache_home()
    if reason is not None:
        print(f"warning: {reason}; what is compiled is not kept for the next run.", file=sys.stderr)
    cache_compilations(settings.compilation_cache_dir)
    count_from_now()


def _setting(text: str) -> tuple[str, Any]:
    """("pooling", "mean") out of "pooling=mean"; numbers, True, False, None and tuples as Python writes them."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set={text}: write field=value, such as --set=pooling=mean.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def given_quantile(settings: types.SimpleNamespace) -> float | None:
    """The quantile for the threshold: --quantile, or 1 - --false_alarm_rate; None if neither is given.

    Raises:
        ConfigError: if both are given, or the rate is not a share.
    """
    rate = settings.false_alarm_rate
    if rate is None:
        return settings.quantile
    if settings.quantile is not None:
        raise ConfigError("--false_alarm_rate and --quantile are both given, and say the same; give one.")
    if not 0 <= rate < 1:
        raise ConfigError(f"--false_alarm_rate={rate:g}: give a share in [0, 1), such as 0.05.")
    return 1 - rate


FIELDS = ("layer", "noise_sigma", "max_shift", "precision")
"""Flags that are fields of the settings of the method, by their names; --quantile is another."""


def change_config(settings: types.SimpleNamespace, preset: str | None = None) -> "ChangeConfig":
    """The preset with the flags that were given in place of its own fields, those of --set last.

    Args:
        settings: Flags by name.
        preset: Name of the preset. None: that of --preset.

    Raises:
        MeaninglessFlag: if a flag means nothing for the chosen network and score.
        ConfigError: if a field has a value outside its domain.
    """
    from planetcd_jax.config import PRESETS  # late: a mistyped flag does not wait for JAX

    config = _with_own_parts(PRESETS[preset or settings.preset], settings)
    given = {f"--{name}": (name, getattr(settings, name, None)) for name in FIELDS}
    given["--quantile"] = "quantile", given_quantile(settings)
    given = {flag: pair for flag, pair in given.items() if pair[1] is not None}
    given |= {f"--set={text}": _setting(text) for text in settings.set}
    for flag, (name, value) in given.items():
        try:
            config = config.replace(**{name: value})
        except TypeError as error:  # a text where a number belongs
            raise ConfigError(f"{flag}: a value has the wrong type ({error}).") from None
        except ConfigError as error:
            if "is no field" not in str(error):
                raise
            raise MeaninglessFlag(
                f"{flag} means nothing for backbone {config.backbone.kind} and score {config.score.kind}: {error}"
            ) from None
    return config


class MeaninglessFlag(ConfigError):
    """A flag that sets a field which the chosen network and score do not have."""


def _with_own_parts(config: "ChangeConfig", settings: types.SimpleNamespace) -> "ChangeConfig":
    """The settings with the network and the score that --backbone and --score name."""
    from planetcd_jax.config import BACKBONES, SCORES
    from planetcd_jax.networks.backbone import Backbone
    from planetcd_jax.scores.base import Score

    for name, known, kind in (("backbone", BACKBONES, Backbone), ("score", SCORES, Score)):
        text = getattr(settings, name)
        if text is None:
            continue
        if text not in known and ":" not in text:
            raise ConfigError(f"--{name}={text}: choose one of {', '.join(known)}, or give module:NAME.")
        config = config.replace(**{name: text if text in known else named_value(text, kind, f"--{name}")})
    return config


def fitted_weights(
    config: "ChangeConfig", settings: types.SimpleNamespace, preset: str | None = None
) -> tuple["ChangeConfig", "Weights"]:
    """The weights, and the configuration with the input normalisation that they expect; `preset` as above.

    Weights of another origin than the shipped ones may be made for another input normalisation. The paper's preset
    then takes theirs, unless --set names one; the authors' preset keeps its own, which is part of what they did.

    Raises:
        WeightsError: if the weights cannot be used, or are of another backbone.
    """
    weights = config.backbone.load(settings.weights)
    if weights.backbone != config.backbone.kind:
        remedy = (
            "give --weights=hf:timm/vgg16_bn.tv_in1k or a file, or run the shipped weights with --backbone=vgg16 "
            "--set=feature_clip=None"
            if settings.weights is None
            else f"add --backbone={weights.backbone}"
        )
        raise WeightsError(
            f"{weights.path} holds weights of {weights.backbone}, and the backbone is {config.backbone.kind}; {remedy}."
        )
    named = any(text.startswith(("input_mean=", "input_std=")) for text in settings.set)
    if (preset or settings.preset) == "paper" and not named:
        config = config.replace(input_mean=weights.input_mean, input_std=weights.input_std)
    return config, weights


def _complain(program: str, error: Exception | str, status: int) -> int:
    print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _without_gdal_log() -> Iterator[None]:
    """Drops GDAL's log: what it has to say comes with the error that it causes, and the log's lines name no file.

    rasterio cannot decode a line that quotes a damaged header, and Python reports that as an exception of a callback,
    once through each of its two hooks.
    """
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    excepted, unraisable = sys.excepthook, sys.unraisablehook

    def report(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        if kind is not UnicodeDecodeError or trace is not None:
            excepted(kind, error, trace)

    def report_dropped(dropped: "sys.UnraisableHookArgs") -> None:
        if dropped.exc_type is not UnicodeDecodeError or dropped.object != "rasterio._env.log_error":
            unraisable(dropped)

    sys.excepthook, sys.unraisablehook = report, report_dropped
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = excepted, unraisable


def run(execute_arguments: Callable[[Sequence[str]], int]) -> None:
    """Runs the command line of this process and exits with its status.

    Args:
        execute_arguments: Takes the arguments without the program's name, and returns the status.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)  # JAX says at a lower level which backends are not there
    interruptions.never_drop()
    # The program's flags are its own (see `parse`); absl is handed none of them.
    app.run(lambda _: execute_arguments(sys.argv[1:]), argv=sys.argv[:1])


def execute(
    program: str,
    help_of: Callable[[], str],
    start: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    interrupted: Callable[[], str],
) -> int:
    """Runs and reports; what goes wrong on purpose is one line on standard error.

    Args:
        program: Name of the program.
        help_of: Makes the text of --help.
        start: Parses the arguments and does the work.
        arguments: The command line without the program's name.
        interrupted: Makes what is said when the user stops it: where what is done lies, and how to go on.

    Returns:
        Exit status: 0, 1 for an error in the data or the settings, 2 for one in the flags, 130 when interrupted.
    """
    if any(argument.lstrip("-") in ("help", "h", "helpfull", "helpshort") for argument in arguments):
        print(help_of())
        return 0
    if "--version" in arguments:
        print(f"{program} {__version__}")
        return 0
    try:
        with _without_gdal_log():
            start(arguments)
    except flags.Error as error:
        return _complain(program, error, USAGE_ERROR)
    except PlanetCDError as error:
        return _complain(program, error, 1)
    except KeyboardInterrupt:
        return _complain(program, interrupted(), 130)
    return 0
