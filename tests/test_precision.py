"""bfloat16: what it may change. Oracle: the same in float32."""

from functools import partial

import jax
import numpy as np

import planetcd_jax as pcd


def test_bfloat16_decides_as_float32(params, texture):
    # After-images from unchanged to altogether different, so that rho spreads widely around tau.
    share = np.linspace(0.0, 1.0, 12, dtype=np.float32)[:, None, None]
    before, other = texture(12, 48, 48, seed=1), texture(12, 48, 48, seed=2)
    after = (1 - share) * before + share * other
    found = {}
    for precision in ("float32", "bfloat16"):
        config = pcd.PAPER.replace(precision=precision)
        run = jax.jit(partial(pcd.detect, config=config, micro_batch=4))
        found[precision] = run(jax.random.key(0), params, before, after)
    exact, low = found["float32"], found["bfloat16"]
    assert low.rho.dtype == np.float32
    assert 0 < np.sum(exact.changed) < 12
    np.testing.assert_array_equal(low.changed, exact.changed)
    np.testing.assert_allclose(low.rho[1:], exact.rho[1:], rtol=0.05)
    np.testing.assert_allclose(low.tau, exact.tau, rtol=0.01)
