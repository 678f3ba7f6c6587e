"""Train, judge and register a model: by hand, when the data set changes, or when a new model is due.

Each stage of ``dvc.yaml`` belongs to one of the tasks, by its position.
"""

from typing import Any

from airflow.sdk import Asset, dag, get_current_context, task, teardown

from visiongate_dags import tasks
from visiongate_dags.settings import make_params
from visiongate_dags.stages import IMAGE_TRAINING, assign_stages
from visiongate_dags.tasks import Run

DATA = Asset("visiongate_data", uri="visiongate://data")
RETRAIN = Asset(tasks.RETRAIN, uri="visiongate://retrain")


@dag(
    schedule=(DATA | RETRAIN),
    catchup=False,
    max_active_runs=1,
    # It starts by hand or by an event only.
    is_paused_upon_creation=False,
    params=make_params(fetch=False),
    default_args=tasks.DEFAULTS,
    doc_md=__doc__,
    tags=["visiongate"],
)
def image_training_pipeline() -> None:
    """Run every stage of ``dvc.yaml``, then write the report and the summary."""

    @task
    def check_environment() -> Run:
        """Check the project, the settings and the disk; make the clone of the run."""
        return tasks.check(get_current_context())

    @task
    def preprocess_data(run: Run) -> dict[str, Any]:
        """Read, validate, clean and resize the images."""
        return tasks.run_task(run, "preprocess_data", IMAGE_TRAINING, assign_stages)

    @task
    def train_model(run: Run) -> dict[str, Any]:
        """Train the model, and search for better settings."""
        return tasks.run_task(run, "train_model", IMAGE_TRAINING, assign_stages)

    @task
    def evaluate_model(run: Run) -> dict[str, Any]:
        """Evaluate the model and apply the gate."""
        return tasks.evaluate(run, "evaluate_model", IMAGE_TRAINING, assign_stages)

    @task
    def register_model(run: Run) -> dict[str, Any]:
        """Register the model; promote and propose it if it is better than the champion."""
        return tasks.register(run, "register_model", IMAGE_TRAINING, assign_stages)

    # Teardowns run after a failure, too, and do not hide it: the state of the run is that of the other tasks.
    @teardown
    def generate_report(run: Run | None) -> str | None:
        """Write the report, also of a failed run."""
        return tasks.report(run)

    @teardown
    def notify() -> None:
        """Write the summary to the log, and send it."""
        tasks.notify(get_current_context())

    run: Any = check_environment()
    registered = register_model(run)
    preprocess_data(run) >> train_model(run) >> evaluate_model(run) >> registered
    registered >> generate_report(run) >> notify()


image_training_pipeline()
