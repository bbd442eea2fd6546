"""A slow, plain NumPy version of the method in float64, written from the paper and not from the package.

Kernels are applied as nine shifted matrix products; everything is for one patch.
"""

import numpy as np

CONVS = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"]


def convolve(x, kernel, bias):
    """3x3 cross-correlation with zero padding: [H, W, C], [3, 3, C, D], [D] to [H, W, D]."""
    height, width = x.shape[:2]
    padded = np.zeros((height + 2, width + 2, x.shape[2]))
    padded[1:-1, 1:-1] = x
    out = np.zeros((height, width, kernel.shape[3])) + bias
    for i in range(3):
        for j in range(3):
            out += padded[i : i + height, j : j + width] @ kernel[i, j]
    return out


def max_pool(x):
    """2x2 maximum with stride 2; an odd last row or column is dropped."""
    height, width = x.shape[0] // 2, x.shape[1] // 2
    x = x[: 2 * height, : 2 * width]
    return x.reshape(height, 2, width, 2, -1).max(axis=(1, 3))


def image_norm(x, scale, bias, epsilon=1e-5):
    """Batch normalisation with the statistics of this image."""
    return (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + epsilon) * scale + bias


def activations(params, x, last="conv3_3", batch_norm=False):
    """Named activations of a normalised image [H, W, 3]."""
    params = {layer: {k: np.asarray(v, np.float64) for k, v in parts.items()} for layer, parts in params.items()}
    acts = {}
    for name in CONVS[: CONVS.index(last) + 1]:
        if name in ("conv2_1", "conv3_1"):
            x = max_pool(x)
        x = acts[name] = convolve(x, params[name]["kernel"], params[name]["bias"])
        if batch_norm:
            norm = params["bn" + name[4:]]
            x = acts["bn" + name[4:]] = image_norm(x, norm["scale"], norm["bias"])
        x = acts["relu" + name[4:]] = np.maximum(x, 0)
    return acts


def rho(params, before, after, *, layer, mean, std, batch_norm=False, clip=None, standardize=False, l1_mean=False,
        activation="pre"):  # fmt: skip
    """Change score of one pair [H, W] or [H, W, 3] with global max pooling."""
    pooled = []
    for x in (before, after):
        x = np.asarray(x, np.float64)
        x = np.stack([x] * 3, axis=-1) if x.ndim == 2 else x
        name = layer if activation == "pre" else layer.replace("conv", "relu")
        features = activations(params, (x - np.array(mean)) / np.array(std), layer, batch_norm)[name]
        if clip is not None:
            features = np.clip(features, -clip, clip)
        if standardize:
            features = (features - features.mean((0, 1))) / np.sqrt(features.var((0, 1)) + 1e-8)
        pooled.append(features.max((0, 1)))
    difference = np.abs(pooled[1] - pooled[0])
    return difference.mean() if l1_mean else difference.sum()
