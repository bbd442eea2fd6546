"""Parts of a survey for job arrays, and what every run of one survey must agree on."""

import json
import pathlib
from collections.abc import Sequence

from planetcd_jax.errors import ConfigError, DataError, OutputError
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.files.json_files import write_json
from planetcd_jax.surveys.pair_table import Pair
from planetcd_jax.version import __version__

SURVEY_FILE = "survey.json"


def part(pairs: Sequence[Pair], shard: tuple[int, int]) -> list[Pair]:
    """The pairs of shard i of n, counted from 1: told by a digest of the id, so that other pairs move none.

    Raises:
        DataError: if the shard has none.
    """
    number, count = shard
    own = [pair for pair in pairs if int(sha256_of(pair.id.encode())[:8], 16) % count == number - 1]
    if not own:
        raise DataError(f"--shard={number}/{count} has none of the {len(pairs)} pairs; make fewer shards.")
    return own


def agree(folder: pathlib.Path, command: Sequence[str]) -> None:
    """Writes down how a survey scores its pairs; later runs must score them alike.

    Raises:
        ConfigError: if it was begun in another way.
        OutputError: if the folder cannot be written.
    """
    path, wanted = folder / SURVEY_FILE, {"flags": list(command[1:]), "version": __version__}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_json(path, wanted)
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); name another --output_dir.") from None
    except ValueError:
        raise ConfigError(f"{path} is damaged; move it away and repeat the command.") from None
    if found != wanted:
        was, now = (" ".join(x.get("flags", [])) + f" (version {x.get('version')})" for x in (found, wanted))
        raise ConfigError(f"{folder} was begun with {was}, now {now}; repeat those, or name another --output_dir.")
