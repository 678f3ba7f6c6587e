"""Tests of the DAGs. Most need Airflow and run in its environment: tests/pipeline/test_airflow_dags.py starts them there."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of what needs no Airflow.
EVERYWHERE = ("test_dag_stages.py", "test_feedback.py", "test_guard.py", "test_run_clones.py")
HAS_AIRFLOW = find_spec("airflow") is not None
if HAS_AIRFLOW:
    # Airflow reads them when it is imported.
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="visiongate-airflow-")
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] = "False"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Run each file in one environment: what needs no Airflow in that of the pipeline."""
    if not collection_path.name.startswith("test_"):
        return None
    return True if (collection_path.name in EVERYWHERE) == HAS_AIRFLOW else None
