"""Packs any data set into one HDF5 file, which `--dataset=pairs --pairs_csv=FILE.h5` reads by slices.

    python scripts/pack_pairs.py --dataset=pairs --data_dir=my_pairs --output=my_pairs.h5
    python scripts/pack_pairs.py --dataset=hirise_rsl --source=simulated --split=train --output=train.h5

The file holds `before` and `after` [N, H, W(, C)] float32 in [0, 1], `id`, `label` where known, and the provenance. It
appears only when it is whole.
"""

import pathlib
import sys

from absl import app, flags
from tqdm import tqdm

from planetcd_jax.errors import BadPairError, OutputError, PlanetCDError
from planetcd_jax.images.stretch import STRETCHES
from planetcd_jax.pairs import DATASETS, PairSet, open_as_asked
from planetcd_jax.pairs.packed import pack, shapes_of

DATASET = flags.DEFINE_string("dataset", "pairs", f"Data set to pack: {', '.join(DATASETS)}, or module:NAME.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set.")
PAIRS_CSV = flags.DEFINE_string("pairs_csv", None, "Table id,before,after[,label]; paths relative to it.")
SOURCE = flags.DEFINE_enum("source", "auto", ("auto", "real", "simulated"), "Where the pairs come from.")
SPLIT = flags.DEFINE_string("split", None, "train, val, test or all; default: test where there are splits.")
REVISION = flags.DEFINE_string("revision", "main", "Branch, tag or commit of the set on the hub.")
PATCH_SIZE = flags.DEFINE_integer("patch_size", None, "Cut larger images into patches of this side, pixels.")
STRETCH = flags.DEFINE_enum("stretch", "auto", STRETCHES, "How stored values become [0, 1], both dates alike.")
SIZE_MISMATCH = flags.DEFINE_enum(
    "size_mismatch", "error", ("error", "crop"), "Two images of different size: error, or the centre that both share."
)
SEED = flags.DEFINE_integer("seed", 0, "Seed of a simulated set.")
ON_BAD_PAIR = flags.DEFINE_enum("on_bad_pair", "error", ("error", "skip"), "Stop at a bad pair, or leave it out.")
BY_SHAPE = flags.DEFINE_bool("by_shape", False, "One file for each patch shape, named OUTPUT_HxW.h5.")
OUTPUT = flags.DEFINE_string("output", None, "HDF5 file to write.")


def main(argv: list[str]) -> None:
    """Opens the set, packs it, says what was written."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a flag (--name=value)")
    try:
        _run()
    except PlanetCDError as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(1)


def _run() -> None:
    output = pathlib.Path(OUTPUT.value)
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder; make it, or choose another --output.")
    left_out: dict[int, BadPairError] = {}
    bad = left_out.setdefault if ON_BAD_PAIR.value == "skip" else None
    with _opened() as pairs:
        for note in pairs.provenance.get("notes", ()):
            print(note, file=sys.stderr)
        if BY_SHAPE.value:
            groups = shapes_of(pairs, bad)
            named = {output.with_stem(f"{output.stem}_{'x'.join(map(str, s))}"): group for s, group in groups.items()}
        else:
            named = {output: None}
        for path, indices in named.items():
            total = len(pairs) if indices is None else len(indices)
            with tqdm(total=total, unit="pair", desc=path.name) as bar:
                n = pack(pairs, path, indices=indices, bad=bad, progress=lambda _, bar=bar: bar.update())
            print(f"{path}: {n} pairs" + (" (SIMULATED)" if pairs.source == "simulated" else ""))
    for err in left_out.values():
        print(f"left out: {err}", file=sys.stderr)


def _opened() -> PairSet:
    missing = "keep" if ON_BAD_PAIR.value == "skip" else "error"
    return open_as_asked(flags.FLAGS.flag_values_dict(), margin=0, missing=missing)


if __name__ == "__main__":
    flags.mark_flag_as_required("output")
    app.run(main)
