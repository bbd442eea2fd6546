"""Inception-v3 as torchvision defines it, in NumPy, written without this package's table of blocks.

The arrays come into being as the network asks for them, under torchvision's names and in torch's layout, so that a file
made of them holds what this code believes the names and shapes to be.
"""

import numpy as np


class TorchInception:
    """`arrays` after a call holds every array by name; `stages` every mixed stage, [H, W, D]."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.arrays, self.stages = {}, {}

    def unit(self, name, x, features, kernel=1, stride=1, pad=0):
        """BasicConv2d: convolution, batch normalisation (eps 0.001, with scale), ReLU. x is [H, W, D]."""
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        ph, pw = pad if isinstance(pad, tuple) else (pad, pad)
        fan_in = kh * kw * x.shape[-1]
        weight = self.rng.normal(0, np.sqrt(2 / fan_in), (features, x.shape[-1], kh, kw)).astype(np.float32)
        norm = {
            "weight": self.rng.uniform(0.6, 1.2, features),
            "bias": self.rng.normal(0, 0.3, features),
            "running_mean": self.rng.normal(0, 0.3, features),
            "running_var": self.rng.uniform(0.3, 1.2, features),
        }
        norm = {k: v.astype(np.float32) for k, v in norm.items()}
        self.arrays[f"{name}.conv.weight"] = weight
        self.arrays |= {f"{name}.bn.{k}": v for k, v in norm.items()}
        self.arrays[f"{name}.bn.num_batches_tracked"] = np.array(1, np.int64)
        padded = np.pad(x, ((ph, ph), (pw, pw), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(0, 1))[::stride, ::stride]
        y = np.tensordot(windows, weight, axes=([2, 3, 4], [1, 2, 3]))  # [H', W', D']
        y = (y - norm["running_mean"]) / np.sqrt(norm["running_var"] + 0.001) * norm["weight"] + norm["bias"]
        return np.maximum(y, 0)

    @staticmethod
    def average(x):
        """avg_pool2d(3, stride 1, padding 1), zeros of the padding counted."""
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1)).mean((-2, -1))

    @staticmethod
    def maximum(x):
        """max_pool2d(3, stride 2)."""
        return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max((-2, -1))

    def block_a(self, n, x, pooled):
        one = self.unit(f"{n}.branch1x1", x, 64)
        five = self.unit(f"{n}.branch5x5_2", self.unit(f"{n}.branch5x5_1", x, 48), 64, 5, pad=2)
        dbl = self.unit(f"{n}.branch3x3dbl_2", self.unit(f"{n}.branch3x3dbl_1", x, 64), 96, 3, pad=1)
        dbl = self.unit(f"{n}.branch3x3dbl_3", dbl, 96, 3, pad=1)
        return np.concatenate([one, five, dbl, self.unit(f"{n}.branch_pool", self.average(x), pooled)], -1)

    def block_b(self, n, x):
        three = self.unit(f"{n}.branch3x3", x, 384, 3, 2)
        dbl = self.unit(f"{n}.branch3x3dbl_2", self.unit(f"{n}.branch3x3dbl_1", x, 64), 96, 3, pad=1)
        return np.concatenate([three, self.unit(f"{n}.branch3x3dbl_3", dbl, 96, 3, 2), self.maximum(x)], -1)

    def block_c(self, n, x, c):
        row, column = {"kernel": (1, 7), "pad": (0, 3)}, {"kernel": (7, 1), "pad": (3, 0)}
        one = self.unit(f"{n}.branch1x1", x, 192)
        seven = self.unit(f"{n}.branch7x7_2", self.unit(f"{n}.branch7x7_1", x, c), c, **row)
        seven = self.unit(f"{n}.branch7x7_3", seven, 192, **column)
        dbl = self.unit(f"{n}.branch7x7dbl_2", self.unit(f"{n}.branch7x7dbl_1", x, c), c, **column)
        dbl = self.unit(f"{n}.branch7x7dbl_4", self.unit(f"{n}.branch7x7dbl_3", dbl, c, **row), c, **column)
        dbl = self.unit(f"{n}.branch7x7dbl_5", dbl, 192, **row)
        return np.concatenate([one, seven, dbl, self.unit(f"{n}.branch_pool", self.average(x), 192)], -1)

    def block_d(self, n, x):
        three = self.unit(f"{n}.branch3x3_2", self.unit(f"{n}.branch3x3_1", x, 192), 320, 3, 2)
        seven = self.unit(f"{n}.branch7x7x3_2", self.unit(f"{n}.branch7x7x3_1", x, 192), 192, (1, 7), pad=(0, 3))
        seven = self.unit(f"{n}.branch7x7x3_3", seven, 192, (7, 1), pad=(3, 0))
        return np.concatenate([three, self.unit(f"{n}.branch7x7x3_4", seven, 192, 3, 2), self.maximum(x)], -1)

    def block_e(self, n, x):
        def fork(name, y):
            a = self.unit(f"{n}.{name}a", y, 384, (1, 3), pad=(0, 1))
            return [a, self.unit(f"{n}.{name}b", y, 384, (3, 1), pad=(1, 0))]

        one = self.unit(f"{n}.branch1x1", x, 320)
        three = fork("branch3x3_2", self.unit(f"{n}.branch3x3_1", x, 384))
        dbl = self.unit(f"{n}.branch3x3dbl_2", self.unit(f"{n}.branch3x3dbl_1", x, 448), 384, 3, pad=1)
        pooled = self.unit(f"{n}.branch_pool", self.average(x), 192)
        return np.concatenate([one, *three, *fork("branch3x3dbl_3", dbl), pooled], -1)

    def __call__(self, x):
        """[H, W, 3] in [-1, 1] to logits [5]."""
        x = self.unit("Conv2d_1a_3x3", x, 32, 3, 2)
        x = self.unit("Conv2d_2b_3x3", self.unit("Conv2d_2a_3x3", x, 32, 3), 64, 3, pad=1)
        x = self.unit("Conv2d_3b_1x1", self.maximum(x), 80)
        x = self.maximum(self.unit("Conv2d_4a_3x3", x, 192, 3))
        steps = [("5b", self.block_a, 32), ("5c", self.block_a, 64), ("5d", self.block_a, 64), ("6a", self.block_b)]
        steps += [("6b", self.block_c, 128), ("6c", self.block_c, 160), ("6d", self.block_c, 160)]
        steps += [("6e", self.block_c, 192), ("7a", self.block_d), ("7b", self.block_e), ("7c", self.block_e)]
        for i, (name, block, *features) in enumerate(steps):
            x = self.stages[f"mixed{i}"] = block(f"Mixed_{name}", x, *features)
        self.stages["pool"] = x.mean((0, 1))
        self.arrays["fc.weight"] = self.rng.normal(0, 0.02, (5, 2048)).astype(np.float32)
        self.arrays["fc.bias"] = self.rng.normal(0, 1, 5).astype(np.float32)
        self.arrays["AuxLogits.fc.bias"] = np.zeros(5, np.float32)
        self.stages["logits"] = self.arrays["fc.weight"] @ self.stages["pool"] + self.arrays["fc.bias"]
        return self.stages["logits"]
