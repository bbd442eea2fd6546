"""Importing the package is quick and has no side effects; names, `dir` and `import *` work as if it were not."""

import ast
import os
import pathlib
import subprocess
import sys
import time

import pytest

import planetcd_jax as pcd

ROOT = pathlib.Path(pcd.__file__).resolve().parents[1]


def python(code, **environment):
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=environment or None
    )
    return done.stdout.strip()


def test_importing_imports_no_heavy_library():
    code = "import sys, planetcd_jax; print(sorted({'jax', 'flax', 'h5py', 'numpy', 'matplotlib'} & set(sys.modules)))"
    assert python(code) == "[]"


@pytest.mark.parametrize("program", ["scene", "survey"])
def test_help_and_an_early_interruption_do_not_wait_for_jax(program):
    code = f"import sys, planetcd_jax.{program}; print(sorted({{'jax', 'numpy', 'scipy'}} & set(sys.modules)))"
    assert python(code) == "[]"


def test_using_every_name_touches_no_device():
    code = (
        "from planetcd_jax import *\n"
        "import planetcd_jax as pcd, planetcd_jax.runtime, jax\n"
        "[getattr(pcd, name) for name in dir(pcd)]\n"
        "from jax._src import xla_bridge\n"
        "print(change_score.__name__, xla_bridge._backends, jax.config.jax_compilation_cache_dir)"
    )
    assert python(code) == "change_score {} None"


def test_every_name_is_there_and_listed():
    for name in pcd.__all__:
        assert getattr(pcd, name) is not None
        assert name in dir(pcd)
    assert set(pcd.__all__) == set(pcd._HOME) | {"__version__", "constants"}
    assert pcd.scoremap.score_map is pcd.score_map
    with pytest.raises(AttributeError, match="has no attribute 'change_scor'"):
        pcd.change_scor  # noqa: B018


def test_editors_see_the_same_names():
    tree = ast.parse(pathlib.Path(pcd.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("planetcd_jax").removeprefix(".")
        for node in block.body
        for alias in node.names
    }
    assert seen.pop("constants") == ""
    assert seen == pcd._HOME


_COMPILE = """
import sys, jax, jax.numpy as jnp
from planetcd_jax.runtime import cache_compilations
hits = []
jax.monitoring.register_event_listener(lambda name, **kwargs: hits.append(name.endswith("/cache_hits")))
print(cache_compilations(sys.argv[1] if len(sys.argv) > 1 else None))
jax.jit(lambda x: jnp.tanh(x) @ x)(jnp.ones((8, 8)))
print(sum(hits))
"""


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin", "JAX_PLATFORMS": "cpu"}
    folder = tmp_path / "planetcd_jax" / "xla"
    assert python(_COMPILE, **home).split() == [str(folder), "0"]
    kept = sorted(path.name for path in folder.iterdir())
    assert kept
    where, hits = python(_COMPILE, **home).split()
    assert where == str(folder) and int(hits) >= 1
    assert sorted(path.name for path in folder.iterdir() if not path.name.endswith("-atime")) == [
        name for name in kept if not name.endswith("-atime")
    ]


@pytest.mark.slow
def test_what_a_killed_process_left_cut_short_is_made_anew(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin", "JAX_PLATFORMS": "cpu"}
    python(_COMPILE, **home)
    entries = {path: path.read_bytes() for path in (tmp_path / "planetcd_jax" / "xla").glob("*-cache")}
    for path, content in entries.items():
        path.write_bytes(content[: len(content) // 2])
    strict = "import warnings\nwarnings.filterwarnings('error', message='Error reading persistent')\n" + _COMPILE
    assert python(strict, **home).split()[1] == "0"
    assert all(len(path.read_bytes()) > len(content) / 2 for path, content in entries.items())
    assert int(python(strict, **home).split()[1]) >= 1


@pytest.mark.parametrize("name", ["zlib", "zstandard"])
def test_only_entries_that_are_cut_short_are_dropped(tmp_path, name):
    from planetcd_jax.files.caches import drop_cut_short

    compress = pytest.importorskip(name).compress
    whole = compress(bytes(range(256)) * 20)
    for stem, content in (("a", whole), ("b", whole[:-9]), ("c", whole[: len(whole) // 3])):
        (tmp_path / f"{stem}-cache").write_bytes(content)
    (tmp_path / "b-atime").write_bytes(b"")
    assert sorted(path.name for path in drop_cut_short(tmp_path)) == ["b-cache", "c-cache"]
    assert sorted(path.name for path in tmp_path.glob("*-*")) == ["a-cache", "b-atime"]
    assert drop_cut_short(tmp_path) == []
    (tmp_path / "d-cache").write_bytes(whole[:5])  # since the last look
    os.utime(tmp_path / "d-cache", (time.time() + 5,) * 2)
    assert [path.name for path in drop_cut_short(tmp_path)] == ["d-cache"]


def test_the_cache_folder_by_name_or_none(tmp_path, monkeypatch):
    import jax

    from planetcd_jax.runtime import cache_compilations

    before = {name: getattr(jax.config, name) for name in (
        "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes")}  # fmt: skip
    try:
        assert cache_compilations("") is None and jax.config.jax_compilation_cache_dir is None
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_compilations(None) == tmp_path / "planetcd_jax" / "xla"
        (tmp_path / "file").write_text("")
        with pytest.raises(pcd.ConfigError, match="file/x cannot be made .*; name another folder, or give it empty"):
            cache_compilations(str(tmp_path / "file" / "x"))
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
