"""The work of the tasks, and how their errors become Airflow's: only what a retry can help is tried again."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from visiongate_dags import steps
from visiongate_dags.clone import Clone, apply_gate, run_name, run_stages, write_report
from visiongate_dags.errors import RunError, TemporaryError
from visiongate_dags.feedback import find_log, is_due
from visiongate_dags.notifications import send
from visiongate_dags.project import POOL, Project
from visiongate_dags.results import Values, read_evaluation, read_hashes
from visiongate_dags.settings import read_emails, read_project, read_run_settings, read_workspace
from visiongate_dags.stages import Pipeline, PipelineError, read_pipeline
from visiongate_dags.summary import SUCCESS, RunSummary

# Of every task. What a retry cannot help fails at once.
DEFAULTS: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2,
    "pool": POOL,
}
RESULT = "return_value"
# Of the asset whose events say that a new model is due, and of runs that a schedule starts.
RETRAIN, SCHEDULED = "visiongate_retrain", "scheduled"
ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, or set the Variable visiongate_workspace to a folder on another disk",
    errno.EDQUOT: "the disk quota is exhausted; free some space",
    errno.EROFS: "the file system is read-only; set the Variable visiongate_workspace to a folder that can be written",
    errno.EACCES: "permission denied; check the owner and the permissions",
}
Assign = Callable[[Pipeline, Mapping[str, str]], Mapping[str, Sequence[str]]]

logger = logging.getLogger(__name__)


class Run(TypedDict):
    """What the first task tells the others.

    Attributes:
        project: The root of the repository.
        python: Its interpreter.
        folder: The clone of the run.
        base: The commit of the repository.
        commit: The commit with the run's settings.
        fetch: Whether to read the data again.
    """

    project: str
    python: str
    folder: str
    base: str
    commit: str
    fetch: bool


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise errors as Airflow's, in one line: `AirflowFailException` if no retry can help.

    Raises:
        AirflowFailException: A retry gives the same result.
        AirflowException: A retry may help.
    """
    try:
        yield
    except (RunError, PipelineError) as error:
        raise AirflowFailException(str(error)) from None
    except TemporaryError as error:
        raise AirflowException(str(error)) from None
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, error.strerror or type(error).__name__)
        raise AirflowFailException(f"{error.filename or 'Airflow'}: {advice}") from None


def check(context: Mapping[str, Any]) -> Run:
    """Check what the run needs, and make its clone.

    Raises:
        AirflowSkipException: The run is scheduled, and no new model is due.
    """
    with airflow_errors():
        settings, project = read_run_settings(context), read_project()
        workspace = read_workspace(project)
        project.check(workspace)
        feedback = find_feedback(context, project)
        if changed := project.changed_files():
            logger.warning("The run does not see uncommitted changes of %s", ", ".join(changed))
        clone = Clone(project, workspace / context["dag"].dag_id / run_name(context["run_id"]))
        commit = steps.prepare(clone, settings.data, settings.overrides, settings.keep_runs, feedback)
        return {
            "project": str(project.folder),
            "python": str(project.python),
            "folder": str(clone.folder),
            "base": project.commit(),
            "commit": commit,
            "fetch": settings.fetch,
        }


def find_feedback(context: Mapping[str, Any], project: Project) -> Mapping[str, str] | None:
    """Return the prediction log whose labels the run collects; None if it collects none.

    A scheduled run asks the log first. Without a log it trains on the data that it fetches, as a run by hand does.

    Raises:
        AirflowSkipException: No new model is due.
        RunError: The log cannot be read.
        TemporaryError: The check was killed, or lost its network.
    """
    scheduled = context["dag_run"].run_type == SCHEDULED
    sent = {asset.name for asset in context.get("triggering_asset_events") or ()}
    log = find_log(project) if scheduled or RETRAIN in sent else None
    if log is not None and scheduled and not is_due(project, log):
        raise AirflowSkipException("no new model is due: see `visiongate retrain-check` above")
    return log


def run_task(run: Run, task: str, tasks: Mapping[str, str], assign: Assign) -> Values:
    """Run the stages of a task, and return the hashes of their outputs."""
    with airflow_errors():
        clone = open_clone(run)
        stages = _stages_of(clone, task, tasks, assign)
        run_stages(clone, stages, {steps.FETCHES} if run["fetch"] else ())
        return _describe(clone, stages)


def evaluate(run: Run, task: str, tasks: Mapping[str, str], assign: Assign) -> Values:
    """Run the evaluation, and apply the gate. If it fails, the metrics are returned to XCom nevertheless."""
    result = run_task(run, task, tasks, assign)
    with airflow_errors():
        clone = open_clone(run)
        result |= read_evaluation(clone.folder)
        get_current_context()["ti"].xcom_push(key=RESULT, value=result)
        apply_gate(clone)
    return result


def register(run: Run, task: str, tasks: Mapping[str, str], assign: Assign) -> Values:
    """Register the model, which is compared with the champion of this moment, and propose it if it is promoted."""
    with airflow_errors():
        clone = open_clone(run)
        stages = _stages_of(clone, task, tasks, assign)
        made = steps.register(clone, stages, run["base"], run["commit"])
        return {**_describe(clone, stages), **made}


def report(run: Run | None) -> str | None:
    """Write the report, also of a failed run; return its path."""
    if run is None:
        logger.warning("There is no report: the run has no clone")
        return None
    with airflow_errors():
        return str(write_report(open_clone(run), run["base"]))


def notify(context: Mapping[str, Any]) -> None:
    """Write the summary of the run to its log, and send it."""
    with airflow_errors():
        send(summarize(context), read_emails(context))


def notify_success(context: Mapping[str, Any]) -> None:
    """Send the summary after the last task of a run."""
    send(summarize(context, SUCCESS), read_emails(context))


def notify_failure(context: Mapping[str, Any]) -> None:
    """Send the summary after a task that failed and is not tried again."""
    send(summarize(context, "failed"), read_emails(context))


def summarize(context: Mapping[str, Any], own: str | None = None) -> RunSummary:
    """Return the summary of a run, from the states and the results of its tasks.

    Args:
        context: Of a task.
        own: The state of this task; None to leave it out.
    """
    ti, dag = context["ti"], context["dag"]
    found = ti.get_task_states(dag_id=dag.dag_id, run_ids=[context["run_id"]]).get(context["run_id"], {})
    states = {task.task_id: str(found.get(task.task_id) or "not run") for task in dag.topological_sort()}
    if own is None:
        del states[ti.task_id]
    else:
        states[ti.task_id] = own
    first, *_ = dag.topological_sort()
    run = _pull(context, first.task_id)
    return RunSummary(
        dag.dag_id,
        context["run_id"],
        states,
        run["folder"] if run else None,
        _pull(context, "evaluate_model") or {},
        _pull(context, "register_model") or {},
        _pull(context, "generate_report"),
    )


def open_clone(run: Run) -> Clone:
    """Return the clone of the run."""
    return Clone(Project(Path(run["project"]), Path(run["python"])), Path(run["folder"]))


def _stages_of(clone: Clone, task: str, tasks: Mapping[str, str], assign: Assign) -> Sequence[str]:
    clone.check()
    return assign(read_pipeline(clone.folder / "dvc.yaml"), tasks)[task]


def _describe(clone: Clone, stages: Sequence[str]) -> Values:
    """Return what stages have written, and where."""
    return {
        "stages": list(stages),
        "folder": str(clone.folder),
        "hashes": read_hashes(clone.folder, stages),
    }


def _pull(context: Mapping[str, Any], task: str) -> Any:  # noqa: ANN401 - what the task returned
    if task not in context["dag"].task_dict:
        return None
    return context["ti"].xcom_pull(task_ids=task, key=RESULT)
