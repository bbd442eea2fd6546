"""The README: short, its links lead somewhere, its Python runs, its figures are those of the evaluation."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
DOCUMENTS = [ROOT / "README.md", ROOT / "BUILD.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_it_is_short():
    lines = TEXT.splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 120
    assert len((ROOT / "BUILD.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_its_two_commands_are_those_of_the_gate():
    commands = re.findall(r"^\$ (.*)", TEXT, re.MULTILINE)
    assert len(commands) == 2 and "planetcd_jax.main --dataset=ctx" in commands[0] and "pytest" in commands[1]


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_its_python_runs_as_it_stands(snippet, tmp_path):
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "True" in done.stdout and "Traceback" not in done.stderr


def test_there_is_python():
    assert SNIPPETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    gone = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not gone


def test_its_figures_are_rows_of_the_evaluation():
    block = TEXT.partition("<!-- begin short-results -->")[2].partition("<!-- end short-results -->")[0]
    evaluation = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()[2:]]
    assert rows
    for title, preset, auc, found, alarms in rows:
        source = next(line for line in evaluation.splitlines() if line.startswith(f"| {title} | {preset} |"))
        assert auc in source and found in source and alarms in source
