"""Settings for the whole suite: strict types, warnings as errors, four host devices, and where the real images are."""

import os
import pathlib

# Before JAX is imported: four host devices, so that sharding is tested on any machine.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")

_REALDATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "realdata"


def pytest_collection_modifyitems(items):
    """Turns every warning of every test into an error, after any mark of the test's own."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture(scope="session")
def realdata() -> pathlib.Path:
    """Folder of real planetary images beside the checkout; tests that need it are skipped where it is absent."""
    if not _REALDATA.is_dir():
        pytest.skip(f"real images not found at {_REALDATA}; see BUILD.md, 'Real images'")
    return _REALDATA
