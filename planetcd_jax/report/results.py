"""The two files that hold the scores of a run: results.csv for people and GIS tools, rho.npz for programs."""

import json
import pathlib
import zipfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from planetcd_jax.errors import DataError
from planetcd_jax.files.json_files import jsonable
from planetcd_jax.report.table import csv_table
from planetcd_jax.thresholds import Decision, counted_nulls

RESULTS, SCORES = "results.csv", "rho.npz"
_ARRAYS = ("id", "label", "rho", "rho_null", "tau", "changed", "p_value", "about")


class Scores(NamedTuple):
    """The scores of a run of M pairs.

    Attributes:
        ids: [M] str.
        labels: [M] int8, 1 changed, 0 unchanged, -1 unknown.
        rho: [M] float32.
        rho_null: [M'] float32, scores of the pseudo-unchanged pairs; empty for a method without them.
        tau: The threshold; NaN for a method without one.
        changed: [M] bool.
        p_value: [M] float32; NaN for a method without null scores.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    rho: np.ndarray
    rho_null: np.ndarray
    tau: float
    changed: np.ndarray
    p_value: np.ndarray

    def ranking(self) -> np.ndarray:
        """[M] int, positions by falling rho; equal scores keep the order of the data set."""
        return np.argsort(-self.rho, kind="stable")

    def counted_nulls(self, decision: Decision) -> np.ndarray:
        """Null scores that count for tau, [K] float32; see `thresholds.counted_nulls`."""
        null = np.asarray(self.rho_null, np.float32)
        if null.size == 0 or null.shape != self.rho.shape:
            return null
        return null[np.asarray(counted_nulls(jnp.asarray(self.rho), jnp.asarray(null), decision))]


def write_results(
    path: pathlib.Path,
    scores: Scores,
    explained: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    quality: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Writes id, rho, p_value, changed, label, the highest rho first, the pair's quality, and what is known about why.

    `changed` and `label` are 1 or 0; an unknown label and a p-value that a method does not have are empty cells.
    Scores have the digits that bring the same float32 back; p-values, which are fractions of counts, six.

    Args:
        path: File to write.
        scores: The scores.
        explained: Cells by column name (`explain.COLUMNS`) by id, for some pairs; the others' are empty. Without any,
            the columns are left out.
        quality: The same for what speaks against each pair.
    """
    told = [(cells, list(next(iter(cells.values()), {}))) for cells in (quality, explained)]
    rows = []
    for i in scores.ranking():
        p_value = None if np.isnan(scores.p_value[i]) else f"{scores.p_value[i]:.6g}"
        label = None if scores.labels[i] == -1 else int(scores.labels[i])
        rows.append([scores.ids[i], scores.rho[i], p_value, int(scores.changed[i]), label])
        rows[-1] += [cells.get(scores.ids[i], {}).get(column) for cells, columns in told for column in columns]
    path.write_text(
        csv_table(["id", "rho", "p_value", "changed", "label", *told[0][1], *told[1][1]], rows),
        encoding="utf-8",
        newline="",
    )


def save_scores(path: pathlib.Path, scores: Scores, about: Mapping[str, Any]) -> None:
    """Writes an .npz that needs no pickle: the arrays of `Scores` and, as JSON text, what the run was.

    Args:
        path: File to write, with its suffix.
        scores: The scores.
        about: JSON-able; what `load_scores` gives back beside the scores.
    """
    np.savez_compressed(
        path,
        id=np.array(scores.ids, dtype=np.str_),
        label=scores.labels.astype(np.int8),
        rho=scores.rho.astype(np.float32),
        rho_null=scores.rho_null.astype(np.float32),
        tau=np.float32(scores.tau),
        changed=scores.changed.astype(bool),
        p_value=scores.p_value.astype(np.float32),
        about=np.array(json.dumps(jsonable(about))),
    )


def load_scores(path: pathlib.Path) -> tuple[Scores, dict[str, Any]]:
    """Scores and description out of a file that `save_scores` wrote.

    Raises:
        DataError: if the file is missing, is not such a file, or holds no pseudo-unchanged scores.
    """
    advice = "give the rho.npz of an earlier run, such as runs/latest/rho.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
        about = json.loads(str(arrays["about"]))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; {advice}.") from None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} does not hold the scores of a run ({reason}); {advice}.") from None
    if not arrays["rho_null"].size:
        raise DataError(f"{path} holds no pseudo-unchanged scores to set a threshold from; {advice}.")
    ids = tuple(str(i) for i in arrays["id"])
    tau = float(arrays["tau"])
    return Scores(
        ids, arrays["label"], arrays["rho"], arrays["rho_null"], tau, arrays["changed"], arrays["p_value"]
    ), about
