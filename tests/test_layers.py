"""The house: imports go down only, flags are read at the top only, and nothing is reached around."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "planetcd_jax"

FLOORS = (
    {"constants", "errors", "types", "version", "words"},
    {"extras", "records"},
    {"files", "ops", "thresholds"},
    {"networks"},
    {"scores"},
    {"config"},
    {"detection", "explain", "scoremap"},
    {"baselines", "runtime", "simulate"},
    {"images"},
    {"report"},
    {"scenes"},
    {"pairs"},
    {"surveys"},
    {"cli"},
    {"experiments"},
    {"main", "scene"},
    {"survey"},
)
"""Rooms and top modules, from the ground up. Each may import what lies below it, and modules of its own room."""

PURE = {
    "config", "constants", "detection", "explain", "networks", "ops", "records", "scoremap", "scores", "simulate",
    "thresholds", "types",
}  # fmt: skip
"""The method: no file, clock, environment or hidden randomness."""

FILES_OF_THE_METHOD = {
    "networks/custom.py", "networks/flax_files.py", "networks/porting.py", "networks/weights_io.py",
    "networks/winograd.py", "simulate/demo_archive.py", "simulate/demo_scene.py",
}  # fmt: skip
"""Modules of pure rooms whose purpose is a file: weights, the compiled network, the demo's images."""

HANDLES_FLAGS = {"main", "scene", "survey", "cli"}

LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name(path):
    """As in `FILES_OF_THE_METHOD`."""
    return path.relative_to(PACKAGE).as_posix()


def place(path):
    """The room, or the module at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Full names of what a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path):
    """Rooms and top modules of this package that a file imports."""
    for full in imports(path):
        parts = full.split(".")
        if parts[0] == "planetcd_jax" and len(parts) > 1:
            yield parts[1]


def test_every_module_has_a_floor_and_every_floor_is_there():
    assert {place(path) for path in FILES} == set(LEVEL)


def test_imports_go_down_only():
    up = [
        f"{name(path)} imports {other}, which does not lie below it"
        for path in FILES
        for other in own_imports(path)
        if other != place(path) and LEVEL[other] >= LEVEL[place(path)]
    ]
    assert up == []


def test_flags_are_read_at_the_top_only():
    readers = {name(path) for path in FILES if {"absl.flags", "absl.app"} & set(imports(path))}
    assert {place(PACKAGE / reader) for reader in readers} <= HANDLES_FLAGS


def test_the_method_reads_no_file_clock_or_hidden_randomness():
    assert PURE <= set(LEVEL)
    forbidden = {"io", "os", "pathlib", "random", "subprocess", "tempfile", "time", "datetime"}
    called = {"open", "print", "input"}
    found = []
    for path in FILES:
        if place(path) not in PURE or name(path) in FILES_OF_THE_METHOD:
            continue
        found += [f"{name(path)} imports {full}" for full in imports(path) if full.split(".")[0] in forbidden]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                text = ast.unparse(node.func)
                if text in called or text.startswith(("np.random.", "numpy.random.")):
                    found.append(f"{name(path)} calls {text}")
    assert found == []


def test_two_files_share_a_name_for_one_idea_only():
    names = [path.name for path in FILES if path.name != "__init__.py"]
    assert {name for name in names if names.count(name) > 1} == {"marks.py"}  # of a scene's page, and of a survey's


MANY_ARGUMENTS = {"open_dataset", "null_score_map", "score_layers", "score_map"}
"""What users call with keywords."""


def test_records_travel_and_not_ten_arguments():
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                found |= {node.name} if len(set(names) - {"self", "cls"}) > 9 else set()
    assert found == MANY_ARGUMENTS
