"""The tests of the DAGs run in Airflow's environment, by file, so that they share the cores with other slow tests."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-airflow/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="Airflow is not installed: make airflow-init"),
]
FILES = [
    "test_dag_runs.py",
    "test_dag_settings.py",
    "test_dag_structure.py",
    "test_notifications.py",
    "test_pods.py",
    "test_standalone.py",
]


def run_module(*arguments: str, folder: Path = ROOT) -> str:
    """Run a module of Airflow's environment; return its output."""
    # Not those of this run: its coverage, its temporary folders and its options.
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AIRFLOW", "COV", "PYTEST", "PYTHON"))
    }
    done = subprocess.run(
        [PYTHON, "-m", *arguments], cwd=folder, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", FILES)
def test_the_tests_of_the_dags_pass(file: str, tmp_path: Path) -> None:
    options = ("-c", "dags/pyproject.toml", "--basetemp", str(tmp_path / "tests"))
    assert " passed" in run_module("pytest", *options, f"tests/dags/{file}")


def test_the_types_of_the_dags_are_right() -> None:
    assert "Success" in run_module("mypy", folder=ROOT / "dags")


def test_every_file_of_tests_runs_in_one_of_the_two_environments() -> None:
    everywhere = {"test_dag_stages.py", "test_feedback.py", "test_guard.py", "test_run_clones.py"}
    assert {path.name for path in (ROOT / "tests/dags").glob("test_*.py")} == everywhere | set(FILES)
