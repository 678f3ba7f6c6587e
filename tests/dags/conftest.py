"""Tests of the DAGs. Most need Airflow and run in its environment: tests/pipeline/test_airflow_dags.py starts them there."""

from importlib.util import find_spec
from pathlib import Path

# Of what needs no Airflow.
EVERYWHERE = ("test_dag_stages.py", "test_guard.py")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs Airflow in the environment of the pipeline."""
    needs_airflow = collection_path.suffix == ".py" and collection_path.name not in EVERYWHERE
    return True if needs_airflow and find_spec("airflow") is None else None
