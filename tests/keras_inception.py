"""Writes what Keras's InceptionV3 computes with random weights: `python tests/keras_inception.py FOLDER`.

Files: legacy.h5 and new.weights.h5 (the two layouts that Keras 3 writes), stages.npz (input and every stage). Run in a
process of its own, because Keras fixes its backend on import; the NumPy backend starts fastest.
"""

import os
import pathlib
import sys
import warnings

os.environ["KERAS_BACKEND"] = "numpy"
warnings.simplefilter("ignore")

import keras  # noqa: E402
import numpy as np  # noqa: E402


def main(folder: pathlib.Path) -> None:
    """Random kernels, biases and statistics, the last so that no stage dies out."""
    model = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=7)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        shapes = [w.shape for w in layer.get_weights()]
        if isinstance(layer, keras.layers.BatchNormalization):
            beta, mean = (rng.normal(0, 0.3, s) for s in shapes[:2])
            layer.set_weights([beta, mean, rng.uniform(0.3, 1.2, shapes[2])])
        elif shapes:
            kernel = rng.normal(0, np.sqrt(2 / np.prod(shapes[0][:-1])), shapes[0])
            layer.set_weights([kernel, *(rng.normal(0, 1, s) for s in shapes[1:])])
    stages = {f"mixed{i}": model.get_layer(f"mixed{i}").output for i in range(11)}
    stages |= {"pool": model.get_layer("avg_pool").output, "predictions": model.output}
    x = rng.uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    values = keras.Model(model.input, list(stages.values()))(x)
    arrays = {name: np.asarray(v) for name, v in zip(stages, values, strict=True)}
    np.savez(folder / "stages.npz", x=x, **arrays)
    model.save(folder / "legacy.h5")
    model.save_weights(folder / "new.weights.h5")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
