"""Ask every week whether a new model is due; if so, collect the labels, train, and register the model if it beats the champion.

The prediction log of the service is asked, as by `visiongate retrain-check`. A run by hand, or without a log, always trains.
There is no search for settings.

The Variable ``visiongate_schedule`` changes the schedule. It must be one of the environment, AIRFLOW_VAR_VISIONGATE_SCHEDULE,
because Airflow reads the schedule when it reads this file.
"""

from typing import Any

from airflow.sdk import dag, get_current_context, task

from visiongate_dags import tasks
from visiongate_dags.settings import make_params, read_schedule
from visiongate_dags.stages import ML_TRAINING, assign_needed_stages
from visiongate_dags.tasks import Run


@dag(
    schedule=read_schedule(),
    catchup=False,
    max_active_runs=1,
    params=make_params(fetch=True),
    default_args={**tasks.DEFAULTS, "on_failure_callback": tasks.notify_failure},
    doc_md=__doc__,
    tags=["visiongate"],
)
def ml_training_pipeline() -> None:
    """Run the stages that the model needs."""

    @task
    def prepare_data() -> dict[str, Any]:
        """Skip the run if no new model is due; make its clone, fetch the images again, and prepare them."""
        run = tasks.check(get_current_context())
        return {**run, **tasks.run_task(run, "prepare_data", ML_TRAINING, assign_needed_stages)}

    @task
    def train_model(run: Run) -> dict[str, Any]:
        """Train the model."""
        return tasks.run_task(run, "train_model", ML_TRAINING, assign_needed_stages)

    @task
    def evaluate_model(run: Run) -> dict[str, Any]:
        """Evaluate the model and apply the gate."""
        return tasks.evaluate(run, "evaluate_model", ML_TRAINING, assign_needed_stages)

    @task(on_success_callback=tasks.notify_success)
    def register_model(run: Run) -> dict[str, Any]:
        """Compare the model with the champion, and register it."""
        return tasks.register(run, "register_model", ML_TRAINING, assign_needed_stages)

    run: Any = prepare_data()
    train_model(run) >> evaluate_model(run) >> register_model(run)


ml_training_pipeline()
