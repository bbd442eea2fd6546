"""Ours, as its users call it: the compiled loop of `planetcd_jax.runtime` for pairs, `score_map` for scenes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.contestants import Contestant, Doer, Scores
from benchmarks.work import WINDOW, Case


class Pair(NamedTuple):
    """A pair without context."""

    before: np.ndarray
    after: np.ndarray
    context: None = None


class Pairs:
    """Pairs in memory, as `planetcd_jax.runtime` takes them."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays
        self.ids = tuple(str(i) for i in range(len(arrays["before"])))

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.ids)

    def read(self, i: int) -> Pair:
        """Pair i."""
        return Pair(self._arrays["before"][i], self._arrays["after"][i])


def make(who: Contestant) -> tuple[Doer, Callable[[], dict]]:
    """What does the work, and what tells about it."""
    import jax

    import planetcd_jax as pcd
    from planetcd_jax import runtime

    runtime.split_cpu(who.devices)
    config = pcd.PAPER.replace(precision=who.precision)
    params = pcd.load_vgg16()
    if who.engine == "winograd":
        config = pcd.with_engine(config)
        params = config.backbone.prepare(params)
    plan = partial(runtime.make_plan, num_devices=who.devices)
    devices = runtime.choose_devices(who.devices)
    scorer = runtime.Scorer(jax.random.key(0), params, config, devices, plan)
    maps: dict[Case, Callable] = {}

    def scene(case: Case, arrays: Mapping[str, np.ndarray]) -> Scores:
        if case not in maps:
            maps[case] = jax.jit(partial(pcd.score_map, config=config, window=WINDOW, stride=case.stride))
        return {"rho": np.asarray(maps[case](params, arrays["before"], arrays["after"])).ravel()}

    def do(case: Case, arrays: Mapping[str, np.ndarray]) -> Scores:
        if case.kind == "scene":
            return scene(case, arrays)
        stream = runtime.batches(Pairs(arrays), lambda shape: plan(shape).batch_size, multiple=len(devices))
        flying = [(batch.count, scorer(batch)) for batch in stream]
        rho, rho_null = (np.concatenate([np.asarray(out[k])[:n] for n, out in flying]) for k in (0, 1))
        found = pcd.decide(rho, rho_null, config)
        return {"rho": rho, "rho_null": rho_null, "tau": np.asarray(found.tau)}

    def about() -> dict:
        used = plan((100, 100))
        return {"micro_batch": used.micro_batch, "device": f"{len(devices)} x {devices[0].device_kind}"}

    return do, about
