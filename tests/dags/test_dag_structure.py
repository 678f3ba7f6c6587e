"""The DAGs as Airflow reads them; nothing runs."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from visiongate_dags.project import POOL

DAGS = Path(__file__).parents[2] / "dags"
IMAGE_TASKS = [
    "check_environment",
    "preprocess_data",
    "train_model",
    "evaluate_model",
    "register_model",
    "generate_report",
    "notify",
]
ML_TASKS = ["prepare_data", "train_model", "evaluate_model", "register_model"]
# Of our own code, on top of Airflow's.
MAX_IMPORT_SECONDS = 2
MEASURE = """\
import sys, time
import airflow.sdk, airflow.sdk.exceptions, yaml
started = time.perf_counter()
import image_training_pipeline, ml_training_pipeline
print(time.perf_counter() - started)
assert not {"airflow.providers.slack.hooks", "airflow.providers.smtp.hooks", "pandas"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    """The DAGs of the folder, by id, but for the one whose tasks are pods: test_pods.py."""
    bag = DagBag(DAGS)
    assert not bag.import_errors
    return {name: dag for name, dag in bag.dags.items() if not name.endswith("_kubernetes")}


def test_there_are_two_pipelines_whose_tasks_follow_each_other(dags: dict[str, DAG]) -> None:
    assert {name: [task.task_id for task in dag.topological_sort()] for name, dag in dags.items()} == {
        "image_training_pipeline": IMAGE_TASKS,
        "ml_training_pipeline": ML_TASKS,
    }
    for dag in dags.values():
        order = [task.task_id for task in dag.topological_sort()]
        for before, after in pairwise(order):
            assert after in dag.get_task(before).downstream_task_ids


def test_one_run_at_a_time_in_a_pool(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert (dag.max_active_runs, dag.catchup) == (1, False)
        assert {(task.pool, task.retries) for task in dag.tasks} == {(POOL, 2)}


def test_the_report_and_the_summary_follow_a_failure_and_do_not_hide_it(dags: dict[str, DAG]) -> None:
    tasks = dags["image_training_pipeline"].tasks
    last = [task.task_id for task in tasks if task.is_teardown and not task.on_failure_fail_dagrun]
    assert last == ["generate_report", "notify"]


def test_the_schedules_are_weekly_and_by_event(dags: dict[str, DAG], monkeypatch: pytest.MonkeyPatch) -> None:
    assert dags["ml_training_pipeline"].schedule == "@weekly"
    by_event = dags["image_training_pipeline"].timetable.asset_condition.objects
    assert {asset.name for asset in by_event} == {"visiongate_data", "visiongate_retrain"}
    monkeypatch.setenv("AIRFLOW_VAR_VISIONGATE_SCHEDULE", "@daily")
    assert DagBag(DAGS).dags["ml_training_pipeline"].schedule == "@daily"
    monkeypatch.setenv("AIRFLOW_VAR_VISIONGATE_SCHEDULE", "none")
    assert DagBag(DAGS).dags["ml_training_pipeline"].schedule is None


def test_the_parameters_are_typed_and_explained(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert list(dag.params) == ["accuracy_threshold", "data", "overrides", "fetch", "emails", "keep_runs"]
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.schema["type"]
            assert param.schema["title"]
            assert param.description


def test_the_docs_name_every_task_and_parameter(dags: dict[str, DAG]) -> None:
    text = (DAGS.parent / "docs/airflow.md").read_text(encoding="utf-8")
    for name in (*IMAGE_TASKS, *ML_TASKS, *dags["ml_training_pipeline"].params, *dags):
        assert f"`{name}`" in text, name


def test_an_import_is_quick_and_reads_no_database(tmp_path: Path) -> None:
    """Without a database, a module-level Variable would fail."""
    environment = {**os.environ, "PYTHONPATH": str(DAGS), "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < MAX_IMPORT_SECONDS
    assert not list(tmp_path.glob("*.db"))
