"""The notebook runs from top to bottom on the outputs of the committed run."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = Path("notebooks/01_explore.ipynb")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, pipeline_outputs: Path) -> None:
    for name in ("dvc.yaml", "data", "models", "reports"):
        (tmp_path / name).symlink_to(pipeline_outputs / name)
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / NOTEBOOK, tmp_path / NOTEBOOK)
    notebook = nbformat.read(tmp_path / NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "same predictions as evaluate: 1.0" in printed
