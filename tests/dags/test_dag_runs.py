"""Both DAGs run for real, on the digits, by ``dag.test()``: in Airflow's environment, with the pipeline's Python."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.db import initdb
from airflow.utils.session import create_session

from clones import ROOT, call, clone_tree
from waiting import wait_until

pytestmark = pytest.mark.slow
PYTHON = ROOT / ".venv/bin/python"
# One batch of one trial; what is not trained is not good, so the gate keeps only the rule of the threshold.
QUICK = [
    "debug=fast",
    # Fewer than a thousand would be cross-validated.
    "dataset.limit=1200",
    "validation.rows_per_class.min_rows=1",
    "gate.rules.beats_linear.threshold=-1",
    "gate.rules.beats_majority.threshold=-1",
    "gate.rules.worst_class.threshold=0",
    "gate.rules.calibration.threshold=1",
]


class Result(NamedTuple):
    """A run that has ended."""

    run: DagRun
    states: Mapping[str, str]
    attempts: Mapping[str, int]

    def result(self, task: str) -> Any:  # noqa: ANN401 - what the task returned
        ids = {"run_id": self.run.run_id, "dag_ids": self.run.dag_id}
        with create_session() as session:
            row = session.scalars(XComModel.get_many(key="return_value", task_ids=task, **ids)).first()
            return XComModel.deserialize_value(row)


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of the working tree, which the Variables name, and a database of Airflow."""
    initdb()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(PYTHON.parent), os.environ["PATH"]]))
        folder = clone_tree(tmp_path_factory.mktemp("project"))
        patch.setenv("AIRFLOW_VAR_VISIONGATE_PROJECT", str(folder))
        patch.setenv("AIRFLOW_VAR_VISIONGATE_PYTHON", str(PYTHON))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


def run_dag(name: str, **conf: object) -> Result:
    dag = DagBag(ROOT / "dags").dags[name]
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
    run = dag.test(run_conf=conf)
    tasks = run.get_task_instances()
    return Result(
        run,
        {task.task_id: str(task.state) for task in tasks},
        {task.task_id: task.try_number for task in tasks},
    )


def kill_once(stage: str) -> threading.Thread:
    """Kill the process of a stage as soon as it runs."""

    def find() -> psutil.Process | None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.cmdline()[-2:] == ["src/run.py", stage]:
                    return process
        return None

    def kill() -> None:
        wait_until(find, 900)
        if process := find():
            process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def trained() -> Result:
    """A run of all stages whose training is killed once."""
    killer = kill_once("train")
    result = run_dag("image_training_pipeline", overrides=QUICK, accuracy_threshold=0.01, data="digits")
    killer.join()
    return result


def test_a_run_trains_evaluates_registers_and_reports(trained: Result) -> None:
    assert trained.run.state == "success"
    assert set(trained.states.values()) == {"success"}
    assert trained.result("preprocess_data")["stages"][-1] == "transformation"
    assert len(trained.result("train_model")["hashes"]["models/model.onnx"]) == 32
    evaluated = trained.result("evaluate_model")
    assert (evaluated["gate_passed"], evaluated["gate_failed"]) == (True, [])
    assert 0 < evaluated["metrics"]["accuracy"] < 1
    report = Path(trained.result("generate_report"))
    assert "accuracy" in report.read_text()


def test_a_killed_training_is_tried_again_and_nothing_else_is(trained: Result) -> None:
    assert {task for task, attempts in trained.attempts.items() if attempts > 1} == {"train_model"}


def test_the_model_is_compared_with_the_committed_one_in_the_store_of_the_project(
    trained: Result, project: Path
) -> None:
    made = trained.result("register_model")
    # A single batch does not make a better model than the committed one.
    assert made["decision"] == "registered"
    assert made["mlflow_run"]
    listed = call(project, str(PYTHON), "-m", "visiongate", "registry", "list", PYTHONPATH="src").stdout
    assert "champion" in listed
    assert "challenger" in listed
    kept = call(
        project, "git", "for-each-ref", "--format=%(objectname)", "refs/airflow-settings"
    ).stdout.split()
    assert kept == [trained.result("check_environment")["commit"]]
    assert call(project, "git", "status", "--porcelain").stdout == ""


def test_the_settings_of_a_run_are_committed_in_its_clone(trained: Result) -> None:
    folder = Path(trained.result("check_environment")["folder"])
    assert "threshold: 0.01" in (folder / "params.yaml").read_text()
    check = call(folder, str(PYTHON), "-m", "visiongate", "params", "--check", PYTHONPATH="src")
    assert "up to date" in check.stdout


@pytest.fixture(scope="module")
def rejected(trained: Result) -> Result:
    """A weekly run with the same settings, but a threshold that the model does not reach."""
    assert trained.run.state == "success"
    return run_dag("ml_training_pipeline", overrides=QUICK, accuracy_threshold=1, fetch=False)


def test_a_failed_gate_stops_the_weekly_run_without_a_retry(rejected: Result, trained: Result) -> None:
    assert rejected.run.state == "failed"
    assert rejected.states == {
        "prepare_data": "success",
        "train_model": "success",
        "evaluate_model": "failed",
        "register_model": "upstream_failed",
    }
    assert rejected.attempts["evaluate_model"] == 1
    (failed,) = rejected.result("evaluate_model")["gate_failed"]
    assert failed.startswith("accuracy: accuracy = ")
    assert failed.endswith("required >= 1")
    # The cache of the first run has the model.
    model = "models/model.onnx"
    assert rejected.result("train_model")["hashes"][model] == trained.result("train_model")["hashes"][model]
    # Its outputs are kept.
    assert (Path(rejected.result("prepare_data")["folder"]) / model).exists()


def test_a_run_that_cannot_start_still_notifies() -> None:
    result = run_dag("image_training_pipeline", treshold=0.9)
    assert result.run.state == "failed"
    assert result.attempts["check_environment"] == 1
    assert result.states["notify"] == "success"
    assert result.states["register_model"] == "upstream_failed"
