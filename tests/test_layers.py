"""The house: imports go down only, flags are read at the top only, and nothing is reached around."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "planetcd_jax"

# From the ground up. A module may import modules of its own layer and of those below.
LAYERS = [
    {"constants", "errors", "types", "version"},
    {"config"},
    {"vgg"},
    {"porting"},
    {"weights_io"},
    {"extraction", "filters", "masked", "registration", "resampling", "thresholds", "windows"},
    {"brightness", "relief"},
    {"residual_null"},
    {"robust"},
    {"score", "augment", "robust_map"},
    {"detection", "pixelmap", "scoremap", "explain"},
    {"baselines"},
    {"runtime"},
    {"data", "rasters"},
    {"report"},
    {"evaluation"},
    {"commandline"},
    {"experiment", "methods", "survey"},
    {"main", "scene", "__main__"},
]
LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def place(path):
    """The module or folder directly below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Names of this package's modules that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "planetcd_jax" and len(parts) > 1:
                yield parts[1]


def test_every_module_has_a_place():
    assert {place(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    for name in imported(path):
        assert LEVEL[name] <= LEVEL[place(path)], f"{place(path)} imports {name}, which lies above it"
        assert {name, place(path)} != {"data", "rasters"}, "data and rasters do not know each other"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_flags_are_read_at_the_top_only(path):
    names = {alias.name for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.ImportFrom) and node.module == "absl" for alias in node.names}  # fmt: skip
    if place(path) not in ("main", "scene", "commandline", "__main__"):
        assert not names & {"flags", "app"}


PURE = {name for layer in LAYERS[:10] for name in layer} - {"weights_io", "baselines"}


@pytest.mark.parametrize("path", [p for p in FILES if place(p) in PURE], ids=lambda p: p.name)
def test_the_method_reads_no_file_clock_or_hidden_randomness(path):
    tree = ast.parse(path.read_text())
    modules = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    modules |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not modules & {"os", "time", "random", "pathlib", "logging", "h5py", "rasterio", "datetime"}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input"}
    assert "np.random" not in path.read_text()
