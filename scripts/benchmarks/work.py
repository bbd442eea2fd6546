"""What is measured: sets of pairs and scenes, the arithmetic that they cost, and the files that workers read."""

import dataclasses
import pathlib

import numpy as np

# (bands in, features out) of conv1_1 ... conv3_2 with one band folded to two planes, and the poolings before each.
CONVOLUTIONS = ((2, 64, 0), (64, 64, 0), (64, 128, 1), (128, 128, 1), (128, 256, 2), (256, 256, 2))
LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2")
WINDOW = 100


@dataclasses.dataclass(frozen=True)
class Case:
    """One piece of work.

    Attributes:
        kind: "pairs" (rho and tau of `count` pairs of side x side px) or "scene" (rho of all windows of one pair).
        side: Side of a patch, or of the scene, pixels.
        count: Pairs; 1 for a scene.
        stride: Step of the windows of a scene, pixels; 0 for pairs.
    """

    kind: str
    side: int
    count: int = 1
    stride: int = 0

    @property
    def name(self) -> str:
        """Such as "pairs-100-n16" or "scene-292-every-24"; also the stem of its file."""
        if self.kind == "pairs":
            return f"pairs-{self.side}-n{self.count}"
        return f"scene-{self.side}-every-{self.stride}"

    @property
    def windows(self) -> int:
        """Pairs of patches that are compared: `count`, or the windows of the scene."""
        return self.count if self.kind == "pairs" else ((self.side - WINDOW) // self.stride + 1) ** 2

    @property
    def pixels(self) -> int:
        """Pixels of one date: of all patches, or of the scene (each pixel once)."""
        return self.count * self.side**2

    @property
    def flop(self) -> int:
        """Operations of direct convolutions with every saving: before, after and h(before) once for pairs.

        For a scene, those of feature maps that are computed once: what a contestant does beyond counts as waste.
        """
        return self.count * (3 if self.kind == "pairs" else 2) * image_flop(self.side)


def image_flop(side: int) -> int:
    """Operations (a multiplication and an addition are two) of conv1_1 ... conv3_2 on one square image."""
    return sum(2 * 9 * bands * features * (side >> poolings) ** 2 for bands, features, poolings in CONVOLUTIONS)


def cases(quick: bool) -> list[Case]:
    """The work of a quick or a full run, growing in N and in the size of the scene."""
    if quick:
        return [Case("pairs", 100, 4), Case("pairs", 100, 16), Case("pairs", 150, 8),
                Case("scene", 292, 1, 24), Case("scene", 292, 1, 48)]  # fmt: skip
    return [
        *(Case("pairs", 100, n) for n in (4, 16, 48)),
        *(Case("pairs", 150, n) for n in (4, 16)),
        *(Case("scene", side, 1, 24) for side in (196, 292, 388)),
        *(Case("scene", side, 1, 48) for side in (196, 292, 388)),
    ]


def terrain(rng: np.random.Generator, n: int, side: int) -> np.ndarray:
    """n fractal textures [n, side, side] float32 in [0, 1]: cheap, and neither smooth nor white."""
    rows, cols = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    falloff = 1.0 / (1.0 / side + np.hypot(rows, cols)) ** 1.5
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, side, side))) * falloff, s=(side, side))
    low, high = field.min((1, 2), keepdims=True), field.max((1, 2), keepdims=True)
    return ((field - low) / (high - low)).astype(np.float32)


def images(case: Case) -> dict[str, np.ndarray]:
    """before and after of a case, [N, side, side] or [side, side]; after has noise and, every other pair, change."""
    rng = np.random.default_rng([case.side, case.count, case.stride])
    before = terrain(rng, case.count, case.side)
    other = terrain(rng, case.count, case.side)
    share = np.where(np.arange(case.count) % 2 == 0, 0.05, 0.4)[:, None, None]
    after = np.clip((1 - share) * before + share * other + rng.normal(0, 0.01, before.shape), 0, 1).astype(np.float32)
    return {"before": before, "after": after} if case.kind == "pairs" else {"before": before[0], "after": after[0]}


def write_inputs(folder: pathlib.Path, todo: list[Case]) -> None:
    """One file for each case, with h(before) as this package draws it, and the weights with one band folded."""
    import jax

    import planetcd_jax as pcd
    from planetcd_jax.networks import vgg16

    params = pcd.load_vgg16()
    folded = vgg16.fold_equal_channels(params, pcd.PAPER.backbone.input_mean, pcd.PAPER.backbone.input_std)
    arrays = {f"{layer}.{part}": np.asarray(folded[layer][part]) for layer in LAYERS for part in ("kernel", "bias")}
    arrays["rgb.kernel"] = np.asarray(params["conv1_1"]["kernel"])
    arrays["mean"], arrays["std"] = np.float32(pcd.PAPER.backbone.input_mean), np.float32(pcd.PAPER.backbone.input_std)
    np.savez(folder / "weights.npz", **arrays)
    draw = jax.jit(lambda x: pcd.pseudo_unchanged(jax.random.key(0), x, pcd.PAPER.score.null))
    for case in todo:
        made = images(case)
        if case.kind == "pairs":
            made["noisy"] = np.asarray(draw(made["before"]))
        np.savez(folder / f"{case.name}.npz", **made)


def windows(image: np.ndarray, stride: int) -> np.ndarray:
    """All windows of an image, [windows, WINDOW, WINDOW], a view until it is copied."""
    view = np.lib.stride_tricks.sliding_window_view(image, (WINDOW, WINDOW))[::stride, ::stride]
    return view.reshape(-1, WINDOW, WINDOW)
