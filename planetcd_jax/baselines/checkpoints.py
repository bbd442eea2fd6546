"""Orbax checkpoints of one training, with the settings they belong to."""

import json
import pathlib
from typing import Any

from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import brought_by
from planetcd_jax.files.json_files import json_text, write_json


class Checkpoints:
    """States of one training in one folder, by step; without a folder it does nothing.

    A state is a tree of arrays. Each is written whole under another name and then renamed, so a run that is killed
    leaves the one before.

    Raises:
        ConfigError: if the folder holds a training with other settings.
    """

    def __init__(self, directory: str | pathlib.Path | None, settings: dict[str, Any]):
        self._manager = None
        if directory is None:
            return
        with brought_by("supervised"):
            import orbax.checkpoint as ocp  # imported late: slow, and needed for this alone

        self._args = ocp.args
        directory = pathlib.Path(directory).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        _check_settings(directory / "settings.json", settings)
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(directory / "states", options=options)

    def restore(self, state: dict[str, Any]) -> dict[str, Any]:
        """The latest saved state, in the structure of `state`; `state` itself where nothing was saved."""
        if self._manager is None or self._manager.latest_step() is None:
            return state
        step = self._manager.latest_step()
        return dict(self._manager.restore(step, args=self._args.StandardRestore(state)))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a state, unless its step is there already."""
        if self._manager is not None and self._manager.latest_step() != step:
            self._manager.save(step, args=self._args.StandardSave(state))

    def close(self) -> None:
        """Ends the work with the folder."""
        if self._manager is not None:
            self._manager.close()


def _check_settings(path: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a new training; compares those of an old one."""
    if not path.is_file():
        write_json(path, settings)
        return
    old, new = json.loads(path.read_text(encoding="utf-8")), json.loads(json_text(settings))
    differ = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if differ:
        raise ConfigError(
            f"{path.parent} holds a training with other settings ({', '.join(differ)}); resume with the same ones or "
            "give another checkpoint directory."
        )
