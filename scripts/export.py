"""Writes the scores of a batch as StableHLO, ahead of time: no Python of this package is needed to run it.

    python scripts/export.py --height=100 --width=100 --output=score_100x100

writes three files:

    score_100x100.jax         for `jax.export.deserialize`, which checks shapes and platforms
    score_100x100.stablehlo   the same program as portable StableHLO bytecode, for other runtimes
    score_100x100.json        inputs, outputs, platforms, versions, configuration, weights

The weights are inside (7 MB): the file alone says what is computed, and nothing can be mixed up. The number of pairs is
open ("n"); height and width are fixed. To run it, with JAX and NumPy alone:

    from jax import export
    score = export.deserialize(open("score_100x100.jax", "rb").read())
    rho, rho_null = score.call(np.uint32(seed), index, before, after)    # index: [n] uint32, images: [n, H, W] float32

`index` are the pairs' numbers in their set; pair i of a run with `seed` gets the same rho_null as from `planetcd`.
Its platforms are cpu, cuda and tpu; it was run on what the test suite ran on, and lowered for the others.
"""

import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import app, flags
from jax import export

import planetcd_jax as pcd
from planetcd_jax import records
from planetcd_jax.files.digests import sha256_of
from planetcd_jax.types import Params

PLATFORMS = ("cpu", "cuda", "tpu")


def export_scores(
    params: Params,
    config: pcd.ChangeConfig,
    shape: tuple[int, ...],
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> export.Exported:
    """`batch_scores` with its parameters inside, for any number of pairs.

    Args:
        params: As `load_vgg16` returns them.
        config: How.
        shape: Of one patch, [H, W] or [H, W, C].
        platforms: What it can run on.

    Returns:
        The program (seed, index [n], before [n, ...], after [n, ...]) -> rho [n], rho_null [n].
    """

    def scores(seed, index, before, after):
        return pcd.batch_scores(jax.random.key(seed), params, before, after, index, config, micro_batch=None)

    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
    seed, index = jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((n,), jnp.uint32)
    return export.export(jax.jit(scores), platforms=tuple(platforms))(seed, index, images, images)


def write(made: export.Exported, path: pathlib.Path, about: dict) -> list[pathlib.Path]:
    """Writes the program in both forms and what is known of it; returns the paths."""
    forms = {".jax": bytes(made.serialize()), ".stablehlo": bytes(made.mlir_module_serialized)}
    said = {
        "inputs": dict(zip(("seed", "index", "before", "after"), map(str, made.in_avals), strict=True)),
        "outputs": dict(zip(("rho", "rho_null"), map(str, made.out_avals), strict=True)),
        "platforms": list(made.platforms),
        "calling_convention_version": made.calling_convention_version,
        "jax": jax.__version__,
        "planetcd_jax": pcd.__version__,
        **about,
        "sha256": {path.name + suffix: sha256_of(data) for suffix, data in forms.items()},
    }
    written = []
    for suffix, data in {**forms, ".json": (json.dumps(said, indent=1) + "\n").encode()}.items():
        written.append(path.with_name(path.name + suffix))
        written[-1].write_bytes(data)
    return written


def main(argv: list[str]) -> None:
    """Exports what the flags ask for."""
    del argv
    given = flags.FLAGS
    weights = pcd.load_weights(given.weights)
    config = pcd.PAPER.replace(layer=given.layer, precision=given.precision)
    config = config.replace(input_mean=weights.input_mean, input_std=weights.input_std)
    shape = (given.height, given.width) if given.bands == 1 else (given.height, given.width, given.bands)
    made = export_scores(weights.params, config, shape, platforms=given.platforms)
    about = {"config": records.plain(config), "weights": {"origin": weights.origin, "sha256": weights.sha256}}
    path = pathlib.Path(given.output or f"score_{given.height}x{given.width}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in write(made, path, about):
        print(f"{file}  {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    flags.DEFINE_integer("height", 100, "Rows of a patch.")
    flags.DEFINE_integer("width", 100, "Columns of a patch.")
    flags.DEFINE_integer("bands", 1, "Bands of a patch; 3 are RGB.")
    flags.DEFINE_enum("layer", "conv3_2", pcd.constants.VGG16_LAYERS[:7], "Convolution at which the network is cut.")
    flags.DEFINE_enum("precision", "float32", pcd.constants.PRECISIONS, "Arithmetic of the network.")
    flags.DEFINE_string("weights", None, "Weights file of plain VGG-16. Default: the shipped one.")
    flags.DEFINE_list("platforms", list(PLATFORMS), "What it shall run on.")
    flags.DEFINE_string("output", None, "Path without suffix. Default: score_<height>x<width>.")
    app.run(main)
