"""The command line for surveys: `python -m planetcd_jax.survey find|run|status|retry|marks`, or `planetcd-survey`."""

import os
import shlex
import signal
import sys
import types
from collections.abc import Callable, Sequence
from typing import NamedTuple

from absl import flags, logging

from planetcd_jax.cli import commandline, survey_demo
from planetcd_jax.cli.commandline import Flag
from planetcd_jax.cli.survey_commands import find_pairs, merge_marks, print_status, retry_pairs, write_catalogue
from planetcd_jax.cli.survey_flags import CATALOGUE, DEMO, FIND, MARKS, PROGRAM, RETRY, RUN, STATUS, USAGE
from planetcd_jax.cli.survey_run import Program, run_pairs
from planetcd_jax.errors import ConfigError

OWN = (sys.executable, "-m", "planetcd_jax.survey")
"""The command of this program."""

_SERVE = "serve"
"""The word after the program that makes it score the pairs of one worker; not for users."""


def _program(settings: types.SimpleNamespace) -> Program:
    """What scores one pair, with the flags of --scene.

    Raises:
        ConfigError: if planetcd-scene has no such flag.
    """
    given = tuple(f"--{text}" if "=" in text else f"--{text}=true" for text in settings.scene)
    if settings.program is not None:
        return Program((*shlex.split(settings.program), *given), None)
    from planetcd_jax import scene

    own = ("before", "after", "output_dir", "resume", "quiet", "overwrite", "demo")
    for text in settings.scene:
        if text.partition("=")[0] in own:
            raise ConfigError(f"--scene={text}: the survey sets this flag itself; leave it out.")
    try:
        commandline.parse(scene.PROGRAM, scene.FLAGS, given)
    except flags.Error as error:
        raise ConfigError(f"--scene: {' '.join(str(error).split())}") from None
    return Program((sys.executable, "-m", "planetcd_jax.scene", *given), ((*OWN, _SERVE), given))


def _run(settings: types.SimpleNamespace) -> None:
    run_pairs(settings, _program(settings), OWN)


def _demo(settings: types.SimpleNamespace) -> None:
    def one(arguments: Sequence[str]) -> None:
        command, own = parsed(arguments)
        command.run(own)

    survey_demo.demo(settings, one)


class Command(NamedTuple):
    """A command: what it does in a line, the flag that its first word gives, its flags, and what runs it."""

    said: str
    first: str
    flags: dict[str, tuple[Flag, ...]]
    run: Callable[[types.SimpleNamespace], None]


COMMANDS = {
    "find": Command("which images make pairs", "images", FIND, find_pairs),
    "run": Command("score every pair", "pairs", RUN, _run),
    "catalogue": Command("places of all scenes so far in one table", "output_dir", CATALOGUE, write_catalogue),
    "marks": Command("merge exported marks into the catalogue", "output_dir", MARKS, merge_marks),
    "status": Command("how far a survey is", "output_dir", STATUS, print_status),
    "retry": Command("let pairs be tried again", "output_dir", RETRY, retry_pairs),
}


def parsed(arguments: Sequence[str]) -> tuple[Command, types.SimpleNamespace]:
    """The command and its flags; words before the first flag are the value of the command's first flag."""
    if any(text.partition("=")[0] in ("--demo", "-demo") for text in arguments[:1]):
        command = Command("the demo", "output_dir", DEMO, _demo)
        return command, commandline.parse(PROGRAM, DEMO, arguments)
    name, *rest = arguments or [""]
    if name not in COMMANDS:
        raise flags.Error(f"{name!r} is no command; give one of {', '.join(COMMANDS)}, see --help.")
    command = COMMANDS[name]
    words = list(rest[: next((i for i, text in enumerate(rest) if text.startswith("-")), len(rest))])
    if words:
        files = [f"--merge={word}" for word in words[1:]] if name == "marks" else words[1:]
        rest = [f"--{command.first}={words[0]}", *files, *rest[len(words) :]]
    return command, commandline.parse(f"{PROGRAM} {name}", command.flags, rest)


def _help_text(arguments: Sequence[str]) -> str:
    name = next((text for text in arguments if text in COMMANDS), None)
    if name is None:
        return USAGE
    return commandline.help_text(f"{PROGRAM} {name}: {COMMANDS[name].said}\n", COMMANDS[name].flags)


def execute(arguments: Sequence[str]) -> int:
    """Parses, runs and reports; what goes wrong on purpose is one line on standard error.

    Args:
        arguments: The command line without the program's name.

    Returns:
        Exit status: 0, 1 for an error in the data or the settings, 2 for one in the flags, 130 when interrupted.
    """

    def start(given: Sequence[str]) -> None:
        command, settings = parsed(given)
        command.run(settings)

    return commandline.execute(
        PROGRAM, lambda: _help_text(arguments), start, arguments, lambda: "interrupted; repeat the command to go on."
    )


def run() -> None:
    """Runs the command line of this process and exits with its status."""
    if sys.argv[1:2] == [_SERVE]:
        from planetcd_jax import scene
        from planetcd_jax.surveys.serving import serve

        logging.set_verbosity(logging.WARNING)
        serve(scene.execute, int(sys.argv[2]))
        return
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # job systems ask by SIGTERM
    commandline.run(execute)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    run()
