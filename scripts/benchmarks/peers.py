"""The peers: the same descriptors by PyTorch, ONNX Runtime and OpenVINO. Imported in worker processes only.

Each peer is a function `describe(x)`, [n, H, W] float32 to [n, 256]: maxima of conv3_2. It is given every saving that
it can have: one band folded into conv1_1 (two planes), maxima inside its graph, features of `before` shared by rho and
rho', h(before) drawn before the clock starts, and the batch size that a search finds fastest.
"""

import os
import time
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks import machine
from benchmarks.work import LAYERS

Describe = Callable[[np.ndarray], np.ndarray]
BATCHES = (1, 2, 4, 8, 16, 32)
GPU_BATCHES = (128, 512)
FEW_BATCHES = (1, 8)
"""Tried with `torch.compile`, which takes up to a minute for each shape, and where bfloat16 is only emulated."""


class Absent(Exception):
    """A contestant cannot run here; the message says why."""


def threads() -> int:
    """Processors that this process may use."""
    return machine.processors()


def planes(x: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the folded first convolution takes: (x - mean of means, 1). [n, H, W] to [n, 2, H, W]."""
    out = np.ones((len(x), 2, *x.shape[1:]), np.float32)
    np.subtract(x, np.float32(weights["mean"].mean()), out=out[:, 0])
    return out


def _torch_network(weights: Mapping[str, np.ndarray], first: np.ndarray):
    import torch
    from torch import nn

    class Descriptor(nn.Module):
        def __init__(self):
            super().__init__()
            parts: list[nn.Module] = []
            for layer in LAYERS:
                kernel = first if layer == "conv1_1" else weights[f"{layer}.kernel"]
                if layer in ("conv2_1", "conv3_1"):
                    parts.append(nn.MaxPool2d(2, 2))
                conv = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1)
                conv.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
                conv.bias.data = torch.from_numpy(weights[f"{layer}.bias"].copy())
                parts += [conv, nn.ReLU(inplace=True)]
            self.layers = nn.Sequential(*parts[:-1])  # conv3_2 is taken before its ReLU

        def forward(self, x):
            return self.layers(x).amax((2, 3))

    return Descriptor().eval()


def torch_describe(weights: Mapping[str, np.ndarray], *, precision: str, layout: str, compiled: bool) -> Describe:
    """PyTorch in batches."""
    try:
        import torch
    except ModuleNotFoundError:
        raise Absent("PyTorch is not installed") from None
    device = "cuda" if torch.cuda.is_available() and os.environ.get("BENCHMARK_GPU") == "1" else "cpu"
    torch.set_num_threads(threads())
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    network = _torch_network(weights, weights["conv1_1.kernel"]).to(device, dtype=dtype, memory_format=memory)
    call = torch.compile(network) if compiled else network

    def describe(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            moved = torch.from_numpy(planes(x, weights)).to(device, dtype=dtype, memory_format=memory)
            return call(moved).float().cpu().numpy()

    return describe


def authors_pair(weights: Mapping[str, np.ndarray]) -> Callable[..., tuple[float, float]]:
    """rho and rho' the authors' way: the network is built anew for each pair, three channels, one patch at a time.

    Built from weights in memory: reading a 528 MB checkpoint for each pair, as their script does, is not counted.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise Absent("PyTorch is not installed") from None
    torch.set_num_threads(threads())

    def features(network, x: np.ndarray):
        rgb = ((x[None] - weights["mean"][:, None, None]) / weights["std"][:, None, None]).astype(np.float32)
        return network(torch.from_numpy(rgb[None]))[0]

    def pair(before: np.ndarray, after: np.ndarray, noisy: np.ndarray) -> tuple[float, float]:
        with torch.no_grad():
            scores = []
            for other in (after, noisy):
                network = _torch_network(weights, weights["rgb.kernel"])
                scores.append(float((features(network, other) - features(network, before)).abs().sum()))
        return scores[0], scores[1]

    return pair


def onnx_model(weights: Mapping[str, np.ndarray]) -> bytes:
    """The descriptor as an ONNX model with a free batch and free sides: x [N, 2, H, W] to y [N, 256]."""
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ModuleNotFoundError:
        raise Absent("onnx is not installed") from None
    nodes, constants, last = [], [], "x"
    for layer in LAYERS:
        kernel = np.ascontiguousarray(weights[f"{layer}.kernel"].transpose(3, 2, 0, 1))
        bias = np.ascontiguousarray(weights[f"{layer}.bias"])
        constants += [
            numpy_helper.from_array(kernel, f"{layer}_kernel"),
            numpy_helper.from_array(bias, f"{layer}_bias"),
        ]
        if layer in ("conv2_1", "conv3_1"):
            nodes.append(helper.make_node("MaxPool", [last], [f"{layer}_in"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"{layer}_in"
        inputs = [last, f"{layer}_kernel", f"{layer}_bias"]
        nodes.append(helper.make_node("Conv", inputs, [layer], pads=[1, 1, 1, 1], kernel_shape=[3, 3]))
        last = layer
        if layer != LAYERS[-1]:
            nodes.append(helper.make_node("Relu", [layer], [f"{layer}_relu"]))
            last = f"{layer}_relu"
    nodes += [helper.make_node("GlobalMaxPool", [last], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["y"])]
    graph = helper.make_graph(
        nodes, "descriptor",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2, "H", "W"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 256])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def onnxruntime_describe(weights: Mapping[str, np.ndarray]) -> Describe:
    """ONNX Runtime on the CPU, all optimisations, one thread for each processor."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise Absent("onnxruntime is not installed") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(onnx_model(weights), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": planes(x, weights)})[0]


def openvino_describe(weights: Mapping[str, np.ndarray], *, precision: str) -> Describe:
    """OpenVINO on the CPU, compiled for each shape, with as many requests in flight as it asks for."""
    try:
        import openvino
    except ModuleNotFoundError:
        raise Absent("openvino is not installed") from None
    core, serialized = openvino.Core(), onnx_model(weights)
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Absent("this processor has no bfloat16 instructions, so OpenVINO would only emulate them")
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads(),
             "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}  # fmt: skip
    queues: dict[tuple[int, ...], object] = {}

    def queue(shape: tuple[int, ...]):
        if shape not in queues:
            model = core.read_model(serialized)
            model.reshape(list(shape))
            queues[shape] = openvino.AsyncInferQueue(core.compile_model(model, "CPU", hints))
        return queues[shape]

    def describe(x: np.ndarray, batch: int = 0) -> np.ndarray:
        batch = batch or len(x)
        out = np.empty((len(x), 256), np.float32)

        def keep(request, place):
            out[place : place + batch] = request.get_output_tensor().data

        running = queue((batch, 2, *x.shape[1:]))
        running.set_callback(keep)
        for place in range(0, len(x), batch):
            running.start_async({0: planes(x[place : place + batch], weights)}, place)
        running.wait_all()
        return out

    describe.streams = True  # takes a whole set and keeps several requests in flight
    return describe


class Peer:
    """A peer with the batch size that suits it, found by a search over `batches` on `sample` patches."""

    def __init__(self, describe: Describe, *, batches: tuple[int, ...] = BATCHES, sample: int = 32):
        self._describe = describe
        self._batches = tuple(batch for batch in batches if batch <= sample)
        self._sample = sample
        self.batch: dict[int, int] = {}

    def _all(self, x: np.ndarray, batch: int) -> np.ndarray:
        """Descriptors of a set whose size is a multiple of the batch, or which ends with a smaller one."""
        whole = len(x) - len(x) % batch
        parts = []
        if whole and getattr(self._describe, "streams", False):
            parts.append(self._describe(x[:whole], batch))
        else:
            parts += [self._describe(x[k : k + batch]) for k in range(0, whole, batch)]
        if whole < len(x):
            parts.append(self._describe(x[whole:]))
        return np.concatenate(parts)

    def fastest_batch(self, x: np.ndarray) -> int:
        """The batch size at which the patches of `x` take least time; found once for each side."""
        side = x.shape[1]
        if side not in self.batch:
            tried = {}
            x = np.concatenate([x] * (-(-self._sample // len(x))))[: self._sample]
            for batch in self._batches:
                self._all(x[:batch], batch)  # compiles
                tried[batch] = min(_timed(lambda b=batch: self._all(x, b)) for _ in range(2))
            self.batch[side] = min(tried, key=tried.get)
        return self.batch[side]

    def descriptors(self, *sets: np.ndarray) -> list[np.ndarray]:
        """Descriptors of several sets of patches of one side, through the network as one."""
        joined = np.concatenate(sets)
        found = self._all(joined, self.fastest_batch(joined))
        return np.split(found, np.cumsum([len(x) for x in sets])[:-1])


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
