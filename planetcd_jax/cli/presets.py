"""Which presets a run of pairs compares, and the settings of each with the flags that were given."""

import types
from typing import TYPE_CHECKING

from planetcd_jax.cli import commandline
from planetcd_jax.cli.commandline import MeaninglessFlag

if TYPE_CHECKING:
    from planetcd_jax.config import ChangeConfig

NAMED, OWN, OTHERWISE = ("paper", "robust"), ("robust",), "paper"
"""Presets without --preset: for a named data set, for a user's own pairs, and where those do not fit the flags."""


def _unasked(settings: types.SimpleNamespace) -> tuple[str, ...]:
    if settings.method != "proposed" or settings.backbone or settings.score:
        return (OTHERWISE,)
    return OWN if settings.dataset == "pairs" or ":" in settings.dataset else NAMED


def chosen_configs(settings: types.SimpleNamespace) -> dict[str, "ChangeConfig"]:
    """Settings of each preset that is to run, by its name, in the order of the tables.

    Args:
        settings: Flags by name; `preset` is None or the names that were given. What is left out of the presets that
            nobody asked for is added to `settings.notes`, one sentence each.

    Raises:
        ConfigError: as `commandline.change_config`; for presets that were asked for, also if a flag means nothing to
            one of them.
    """
    settings.notes = []
    if settings.preset is not None:
        return {name: commandline.change_config(settings, name) for name in settings.preset}
    configs = {}
    for name in _unasked(settings):
        try:
            configs[name] = commandline.change_config(settings, name)
        except MeaninglessFlag as error:
            settings.notes.append(f"preset {name} is left out: {str(error).partition(':')[0]}.")
    return configs or {OTHERWISE: commandline.change_config(settings, OTHERWISE)}
