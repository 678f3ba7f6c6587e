"""One task of a run, in a pod: ``python -m visiongate_dags.pod_task TASK``, called in the repository. Needs no Airflow.

The run's name and settings are in variables. What the tasks tell each other is in a file of the run's clone, which lies
beside the repository on the volume of the pods.

It exits with 1 if a retry gives the same result, with 75 if it may help.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from visiongate_dags import steps
from visiongate_dags.clone import Clone, apply_gate, run_stages, write_report
from visiongate_dags.errors import RunError, TemporaryError
from visiongate_dags.project import Project
from visiongate_dags.results import Values, read_evaluation, read_json
from visiongate_dags.stages import IMAGE_TRAINING, PipelineError, assign_stages, read_pipeline

# The variables that the DAG sets.
RUN, SETTINGS = "VISIONGATE_RUN", "VISIONGATE_RUN_SETTINGS"
# Of the clones, beside the repository.
RUNS = "runs"
# What the first task tells the others, in the clone.
STATE = Path("logs/pod_run.json")
FAILED, TEMPORARY = 1, 75

logger = logging.getLogger(__name__)


def check_environment(clone: Clone) -> None:
    """Check the disk, and make the clone of the run with its settings."""
    settings = json.loads(os.environ[SETTINGS])
    clone.project.check(clone.folder.parent)
    commit = steps.prepare(clone, settings["data"], settings["overrides"], settings["keep_runs"])
    state = {"base": clone.project.commit(), "commit": commit, "fetch": settings["fetch"]}
    path = clone.folder / STATE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(state), encoding="utf-8")


def preprocess_data(clone: Clone) -> None:
    """Read, validate, clean and resize the images."""
    forced = {steps.FETCHES} if _state(clone)["fetch"] else set()
    run_stages(clone, _stages_of(clone, "preprocess_data"), forced)


def train_model(clone: Clone) -> None:
    """Train the model, and search for better settings."""
    run_stages(clone, _stages_of(clone, "train_model"))


def evaluate_model(clone: Clone) -> None:
    """Evaluate the model, and apply the gate."""
    run_stages(clone, _stages_of(clone, "evaluate_model"))
    logger.info("%s", json.dumps(read_evaluation(clone.folder)["metrics"]))
    apply_gate(clone)


def register_model(clone: Clone) -> None:
    """Register the model, which is compared with the champion of this moment, and propose it if it is promoted."""
    state = _state(clone)
    steps.register(clone, _stages_of(clone, "register_model"), state["base"], state["commit"])


def generate_report(clone: Clone) -> None:
    """Write the report, also of a failed run, to the log, which is all that is read of a pod."""
    logger.info("%s", write_report(clone, _state(clone)["base"]).read_text(encoding="utf-8"))


TASKS: Mapping[str, Callable[[Clone], None]] = {
    work.__name__: work
    for work in (
        check_environment,
        preprocess_data,
        train_model,
        evaluate_model,
        register_model,
        generate_report,
    )
}


def main(arguments: list[str]) -> int:
    """Run the task that the argument names; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    [task] = arguments
    project = Project(Path.cwd(), Path(sys.executable))
    clone = Clone(project, project.folder.parent / RUNS / os.environ[RUN])
    try:
        TASKS[task](clone)
    except (RunError, PipelineError) as error:
        print(f"{task}: {error}", file=sys.stderr)
        return FAILED
    except TemporaryError as error:
        print(f"{task}: {error}", file=sys.stderr)
        return TEMPORARY
    return 0


def _stages_of(clone: Clone, task: str) -> Sequence[str]:
    clone.check()
    return assign_stages(read_pipeline(clone.folder / "dvc.yaml"), IMAGE_TRAINING)[task]


def _state(clone: Clone) -> Values:
    clone.check()
    state: Values = read_json(clone.folder / STATE)
    return state


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
