"""Settings for the whole suite: strict types, warnings as errors, how XLA compiles, and where the real images are."""

import gc
import importlib.metadata
import os
import pathlib
import sys

# For `import scripts`; last, so that it is the installed package that is tested.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

# Before JAX is imported: four host devices, so that sharding is tested on any machine. Most of the suite's time is
# XLA's compiler, so it optimises little; programs that users run are compiled as usual by the gate's first command.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = (
        "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true"
    )
    # The older way to make loops takes half the compiler's time, and a program that is not split for many threads
    # another sixth less. XLA ends a process that names a flag which it lacks, so both are given to those versions alone
    # that are known to have them.
    if importlib.metadata.version("jaxlib").rpartition(".")[0] in ("0.7", "0.8", "0.9", "0.10"):
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("KERAS_BACKEND", "jax")

import hypothesis
import jax
import pytest

# Time tells nothing on a busy machine. Where CI is set, every run tries the same examples.
hypothesis.settings.register_profile("suite", deadline=None, max_examples=40, database=None)
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("suite"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "suite")

jax.config.update("jax_numpy_dtype_promotion", "strict")

_REALDATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "realdata"


def pytest_collection_modifyitems(items):
    """Turns every warning of every test into an error, after any mark of the test's own."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error"), append=False)


def pytest_collection_finish():
    """Lets the garbage collector pass over what imports and collection left, and come less often.

    Tracing makes so many objects that it came all the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What programs keep between runs goes into a new folder, not into the home of whoever tests.

    A program that tests jit one by one is compiled once, for all workers of pytest-xdist: their folder is one. JAX's
    files are not there whole or not at all, but where their size has a limit, JAX reads and writes them under a lock.
    The C++ engine is renamed to its place when it is whole. The rest of the cache is each worker's own.
    """
    base = tmp_path_factory.getbasetemp()
    common = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    compiled, native, own = common / "compiled", common / "native", tmp_path_factory.mktemp("cache")
    for folder in (compiled, native, own / "planetcd_jax"):
        folder.mkdir(parents=True, exist_ok=True)
    (own / "planetcd_jax" / "native").symlink_to(native)
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_compilation_cache_max_size", 2**40)  # bytes: never reached, it is for the lock
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(own))
        yield


@pytest.fixture(autouse=True)
def small_programs_are_not_kept():
    """Undoes what a program of the package, run in this process, has set: to write each operation costs too much."""
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(scope="session")
def realdata() -> pathlib.Path:
    """Folder of real planetary images beside the checkout; tests that need it are skipped where it is absent."""
    if not _REALDATA.is_dir():
        pytest.skip(f"real images not found at {_REALDATA}; see docs/diary.md, 'Real images'")
    return _REALDATA


@pytest.fixture(scope="session")
def params():
    """The shipped parameters of VGG-16."""
    from planetcd_jax import load_vgg16

    return load_vgg16()


@pytest.fixture(scope="session")
def explained(params):
    """`explained(before, after)`: what there is to say of a pair of 64 x 64 px; one program for tests of two files."""
    import functools

    from planetcd_jax import ROBUST, explain

    config = ROBUST.replace(max_misalignment=10)
    return functools.partial(jax.jit(lambda p, a, b: explain.explain(p, a, b, config)), params)


@pytest.fixture(scope="session")
def bn_params(params):
    """The shipped convolutions with made-up batch normalisation, the same as in the goldens."""
    import numpy as np

    seed, made = 20210927, dict(params)
    for i, layer in enumerate(sorted(name for name in params if name.startswith("conv"))):
        rng, features = np.random.default_rng([seed, i]), params[layer]["bias"].shape[0]
        scale = rng.uniform(0.5, 1.5, features).astype(np.float32)
        made[f"bn{layer[4:]}"] = {"scale": scale, "bias": rng.normal(0, 0.3, features).astype(np.float32)}
    return made


@pytest.fixture
def texture():
    """`texture(n, height, width, seed=0)`: n smooth-and-rough random patches [n, H, W] float32 in [0, 1]."""
    import numpy as np

    def make(n, height=64, width=64, seed=0):
        # Cut from a field twice as large, which is periodic, so that the patch itself is not.
        rng = np.random.default_rng(seed)
        rows, columns = np.fft.fftfreq(2 * height)[:, None], np.fft.fftfreq(2 * width)[None, :]
        falloff = 1.0 / (0.02 + np.hypot(rows, columns))
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, 2 * height, 2 * width))) * falloff).real
        noise = field[:, :height, :width]
        low, high = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
        return ((noise - low) / (high - low)).astype(np.float32)

    return make
