"""Notebooks read only committed runs, run without warnings, and reproduce their committed outputs."""

from __future__ import annotations

import ast
import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from notebooks.execute import execute
from tests.test_views import ROOT

NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
SCREEN = 24  # lines
ABSOLUTE = re.compile(r"(?:^|[\s\"'(=])(/\w+/\w+|[A-Z]:\\)", re.MULTILINE)
FIRST = "import warnings\nwarnings.simplefilter('error')"
LAST = "import sys\nassert 'jax' not in sys.modules, 'a notebook measures nothing'"


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_outputs(cell):
    """Yield the outputs of a cell as text. A picture is an empty text."""
    for output in cell.outputs:
        yield output.get("text") or {
            kind: "" if kind.startswith("image/") else text for kind, text in output.get("data", {}).items()
        }


def parameters(notebook):
    """Return the settings of the first code cell."""
    settings = {}
    exec(code(notebook)[0].source, settings)
    return {name: value for name, value in settings.items() if name.isupper()}


def runs(notebook):
    """Return the run folders among the parameters, relative to the notebook."""
    return [value for value in parameters(notebook).values() if isinstance(value, str)]


def test_there_is_one_notebook_per_question():
    assert set(NOTEBOOKS) == {"remat_tradeoffs", "memory_budget", "checkpoint_io", "compare_runs"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_reproduces_its_outputs_from_the_committed_runs(name, tmp_path):
    committed = read(NOTEBOOKS[name])
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / f"{name}.ipynb"
    for run in runs(committed):
        (path.parent / run).mkdir(parents=True)
        for file in ("run.json", "records.jsonl"):
            shutil.copy(ROOT / "notebooks" / run / file, path.parent / run / file)
    again = read(NOTEBOOKS[name])
    again.cells = [new_code_cell(FIRST), *again.cells, new_code_cell(LAST)]
    for cell in code(again):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(again, path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != path}
    execute(path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != path} == before
    for old, new in zip(code(committed), code(read(path))[1:-1], strict=True):
        assert list(read_outputs(new)) == list(read_outputs(old)), "`make notebooks` writes the new outputs"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_committed_as_it_ran(name):
    cells = code(read(NOTEBOOKS[name]))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not cells[0].outputs and all(cell.outputs for cell in cells[1:])
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type in ("execute_result", "stream") and output.get("name", "stdout") == "stdout"
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_has_no_absolute_path(name):
    notebook = read(NOTEBOOKS[name])
    shown = [cell.source for cell in notebook.cells]
    for output in (output for cell in code(notebook) for output in read_outputs(cell)):
        shown += [output] if isinstance(output, str) else output.values()
    assert not [path for text in shown for path in ABSOLUTE.findall(text)]
    for run in runs(notebook):
        assert re.fullmatch(r"\.\./results/reference-[\w-]+", run)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_short_with_parameters_at_the_top_and_prose_between(name):
    notebook = read(NOTEBOOKS[name])
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert re.fullmatch(r"mcc(mc)+", kinds)  # prose, parameters, imports, then prose before each code cell
    assert all(len(cell.source.splitlines()) <= SCREEN for cell in code(notebook))
    top = ast.parse(code(notebook)[0].source)
    assert all(isinstance(line, ast.Assign) for line in top.body)
    assert not any(line.startswith(("def ", "class ")) for cell in code(notebook) for line in cell.source.splitlines())


def test_absolute_paths_are_recognized():
    assert ABSOLUTE.search("see /home/me/runs") and ABSOLUTE.search("'C:\\runs'")
    assert not ABSOLUTE.search("../results/run, save / raw write, tokens/s")
