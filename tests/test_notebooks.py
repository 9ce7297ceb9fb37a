"""Every notebook runs from top to bottom, as a user would run it, and comes to the answer that is kept in it."""

import ast
import pathlib
import re
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 600
PUBLIC = {"analysis", "hwmodel", "workloads", "pandas", "IPython.display", "pathlib", "tempfile", "random"}
"""What a notebook may import."""


def read(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def answers(cells):
    """The texts that cells compute and show as text, not as figures or tables."""
    return [output["data"]["text/markdown"] for cell in cells for output in cell.outputs if "text/markdown" in output.get("data", {})]


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "06", "07"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_outputs_from_its_question_to_its_answer(path):
    notebook = read(path)
    first, *_, last = notebook.cells
    assert re.match(r"# .*\?\n", first.source), "it opens with the question"
    assert "## Answer" in notebook.cells[-2].source and answers([last]), "it closes with an answer that is computed"
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert [cell.execution_count for cell in code_of(notebook)] == list(range(1, len(code_of(notebook)) + 1)), "run top to bottom"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_public_names_only(path):
    for cell in code_of(read(path)):
        for node in ast.walk(ast.parse(cell.source)):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert set(named) <= PUBLIC
            assert not (isinstance(node, ast.Attribute) and node.attr.startswith("_"))


@pytest.mark.notebook
@pytest.mark.filterwarnings("default")  # of Jupyter's own making
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_comes_to_its_answer(path, monkeypatch):
    import nbclient

    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook, kept = read(path), answers(code_of(read(path)))
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(FOLDER)}})
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable  # this environment's, not one that is registered elsewhere
    client.execute()
    assert answers(code_of(notebook)) == kept
