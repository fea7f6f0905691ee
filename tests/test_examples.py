"""The notebooks run from top to bottom, and are stored without what they print."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))
NAMES = ["bottleneck", "gradient_check"]


def test_all_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_they_are_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 3
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None


# Jupyter's own modules warn of each other's plans.
@pytest.mark.filterwarnings("default")
def test_they_run(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("INTMLP_QUICK", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning")
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    if "plots." in "".join(cell.source for cell in notebook.cells):
        pictures = [output for output in outputs if "image/svg+xml" in output.get("data", {})]
        assert len(pictures) == 4
    assert any("%" in output.get("text", "") for output in outputs)
