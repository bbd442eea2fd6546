"""Results that a killed run leaves behind for `--resume`: whole files only, and only for the very same run."""

import contextlib
import copy
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from rasterio.errors import RasterioError

from planetcd_jax.errors import DataError
from planetcd_jax.files.folders import hidden_beside, move_into_place, output_errors, whole_file
from planetcd_jax.files.json_files import json_text, write_json
from planetcd_jax.files.room import works_inside

_IDENTITY = "identity.json"
_FINAL = "final"
_INSIDE = ".partial"


def work_folder(target: pathlib.Path) -> pathlib.Path:
    """Where a run keeps its unfinished work, hidden: beside its results, or inside (see `works_inside`)."""
    return target / _INSIDE if works_inside(target) else hidden_beside(target, "partial")


def is_empty(target: pathlib.Path) -> bool:
    """Whether a folder holds nothing but unfinished work."""
    return all(entry.name == _INSIDE for entry in target.iterdir())


class Checkpoint:
    """A folder of arrays by name, tied to what the run was asked to do.

    Attributes:
        folder: Where it is.
        final: Folder in which the results are put together before they are moved to their place.
        resumed: Whether earlier work was found.
    """

    def __init__(self, folder: pathlib.Path, identity: dict[str, Any], *, resume: bool):
        """Opens the folder, or begins a new one.

        Args:
            folder: Where.
            identity: JSON-able; everything that decides the results.
            resume: Keep what a run with the same identity left there; otherwise it is removed.

        Raises:
            ConfigError, DataError: if `resume` is asked for and the work there belongs to another run.
            OutputError: if the folder cannot be written.
        """
        self.folder, self.final, self._prefix = folder, folder / _FINAL, ""
        path = folder / _IDENTITY
        with as_output_errors(folder):
            self.resumed = resume and path.exists()
            if self.resumed:
                _check_identity(json.loads(path.read_text(encoding="utf-8")), identity, folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                write_json(path, identity)
            shutil.rmtree(self.final, ignore_errors=True)
            self.final.mkdir()

    def part(self, prefix: str) -> "Checkpoint":
        """The same folder for arrays whose names begin with a prefix, which others do not see."""
        other = copy.copy(self)
        other._prefix = self._prefix + prefix
        return other

    def load(self, name: str) -> np.ndarray | None:
        """An array that was saved, or None."""
        path = self.folder / f"{self._prefix}{name}.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None

    def save(self, name: str, array: np.ndarray) -> None:
        """Saves an array so that after a crash it is there whole or not at all.

        Raises:
            OutputError: if it cannot be written.
        """
        with as_output_errors(self.folder):
            with whole_file(self.folder / f"{self._prefix}{name}.npy") as file:
                np.save(file, array, allow_pickle=False)

    def load_group(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of `save_group`, or None."""
        first = self.load(name)
        if first is None:
            return None
        others = sorted(self.folder.glob(f"{self._prefix}{name}.*.npy"))
        return {"rho": first, **{path.name.split(".")[1]: np.load(path, allow_pickle=False) for path in others}}

    def save_group(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Saves arrays by name, "rho" last: where that is, all are.

        Raises:
            OutputError: if they cannot be written.
        """
        for part, array in arrays.items():
            if part != "rho":
                self.save(f"{name}.{part}", array)
        self.save(name, arrays["rho"])

    def remove(self) -> None:
        """Removes all of it; a later run begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, target: pathlib.Path, last: str) -> None:
        """Moves the finished results to their place in one step and removes the rest.

        Where `target` stays itself (see `room.works_inside`), file by file, that of the name `last` at the end.

        Raises:
            OutputError: if they cannot be moved there.
        """
        with as_output_errors(target):
            move_into_place(self.final, target, last)
            shutil.rmtree(self.folder, ignore_errors=True)


def _check_identity(found: dict[str, Any], wanted: dict[str, Any], folder: pathlib.Path) -> None:
    wanted = json.loads(json_text(wanted))
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if names:
        was, now = (_short(identity.get(names[0])) for identity in (found, wanted))
        raise DataError(
            f"{folder} was begun with other settings or images ({', '.join(names)}: {was}, now {now}); repeat them, "
            "or leave out --resume to begin anew."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."


def as_output_errors(folder: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """Turns an OSError or a GDAL error inside the block into one OutputError that names the folder; see `folders`."""
    remedy = "free some space or name another --output_dir, and add --resume to go on where this run stopped"
    return output_errors(os.fspath(folder), remedy, kinds=(OSError, RasterioError))
