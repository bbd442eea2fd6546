"""The tutorials as texts; building the documentation executes them, and an error in a cell ends it."""

import ast
import pathlib
import re

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def cells(path):
    """Code of a tutorial's cells, without the lines of options."""
    found = re.findall(r"^```\{code-cell\} python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    return ["".join(line for line in cell.splitlines(keepends=True) if not line.startswith(":")) for cell in found]


def test_there_are_tutorials_and_the_index_lists_each():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert len(TUTORIALS) >= 5 and all(f"tutorials/{path.stem}\n" in index for path in TUTORIALS)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_each_has_code_that_needs_no_network_and_no_folder_of_one_machine(path):
    code = cells(path)
    assert len(code) >= 2
    for cell in code:
        ast.parse(cell)
        assert not re.search(r"[\"'](/|~|[A-Z]:\\)", cell), cell
    assert 'source="simulated"' in "".join(code) or "--demo" in "".join(code) or "demo_archive" in "".join(code)


def test_building_executes_them_and_stops_at_an_error():
    settings: dict = {}
    for line in (ROOT / "docs" / "conf.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("nb_"):
            exec(line, settings)
    assert settings["nb_execution_mode"] in ("cache", "force") and settings["nb_execution_raise_on_error"]
