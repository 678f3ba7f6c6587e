"""The settings of a run: the form's parameters, the extra of the event that started it, and Airflow's Variables.

A value of the run's configuration counts before one of the event, and that before the Variable ``visiongate_NAME``. Nothing is
read when a DAG is imported but the schedule, whose Variable is one of the environment.
"""

import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import Param, Variable
from airflow.sdk.exceptions import ParamValidationError

from visiongate_dags.errors import RunError
from visiongate_dags.project import Project

PREFIX = "visiongate_"
# Airflow's own name for a Variable in the environment.
SCHEDULE = "AIRFLOW_VAR_VISIONGATE_SCHEDULE"
WEEKLY = "@weekly"
KEEP_RUNS = 5
# Added to the gate: `++` also replaces a rule of this name.
THRESHOLD = '++gate.rules.accuracy={{metric: accuracy, comparison: ">=", threshold: {}}}'


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is to do.

    Attributes:
        data: A folder, archive, address or data set of ``conf/dataset``; None for the project's own.
        overrides: Overrides of settings, with the gate's rule for the accuracy.
        fetch: Whether to read the data again, although DVC sees no change.
        emails: Addresses for the summary.
        keep_runs: Number of clones to keep.
    """

    data: str | None
    overrides: tuple[str, ...]
    fetch: bool
    emails: tuple[str, ...]
    keep_runs: int


def make_params(*, fetch: bool) -> dict[str, Param]:
    """Return the typed parameters, which Airflow shows as a form.

    Args:
        fetch: Whether a run reads the data again by default.
    """
    return {
        "accuracy_threshold": Param(
            None,
            "Lowest accuracy of a model that may be registered; a rule of the gate. Empty: the gate of conf/ alone.",
            title="Accuracy threshold",
            type=["null", "number"],
            minimum=0,
            maximum=1,
        ),
        "data": Param(
            None,
            "Folder, archive, address or data set of conf/dataset. Empty: the data set of the repository.",
            title="Data set",
            type=["null", "string"],
            # A value that begins with a dash would be an option of the command.
            pattern="^[^-\\s][^\\n\\r]*$",
        ),
        "overrides": Param(
            None,
            "One setting per line, as of `dvc exp run -S`: training.epochs=60",
            title="Overrides",
            type=["null", "array"],
            # Hydra would replace ${oc.env:NAME} by a variable of the worker, which may be a password.
            items={"type": "string", "pattern": "^(\\+\\+?|~)?[A-Za-z][^$\\n\\r]*$"},
        ),
        "fetch": Param(
            fetch,
            "Read the data again, although DVC sees no change. A run that an event starts always does.",
            title="Fetch the data",
            type="boolean",
        ),
        "emails": Param(
            None,
            "Addresses for the summary, one per line; needs the connection visiongate_smtp.",
            title="Notify by e-mail",
            type=["null", "array"],
            items={"type": "string", "pattern": "^[^-\\s@]\\S*@\\S+$"},
        ),
        "keep_runs": Param(
            None,
            f"Number of clones of earlier runs to keep; by default {KEEP_RUNS}.",
            title="Clones to keep",
            type=["null", "integer"],
            minimum=1,
        ),
    }


def read_schedule() -> str | None:
    """Return the schedule of the weekly run. ``none`` stands for no schedule."""
    text = os.environ.get(SCHEDULE, WEEKLY).strip()
    return None if text.lower() in {"", "none"} else text


def read_run_settings(context: Mapping[str, Any]) -> RunSettings:
    """Return the settings of the run of a task.

    Raises:
        RunError: A name is unknown, or a value invalid; the message says where it comes from.
    """
    extra, by_event = _read_event(context)
    _reject_unknown((context["dag_run"].conf or {}), "the run's configuration")
    _reject_unknown(extra, "the event's extra")
    chosen = {name: _choose(name, context["params"], extra) for name in make_params(fetch=False)}
    overrides = list(chosen["overrides"] or ())
    if chosen["accuracy_threshold"] is not None:
        overrides.append(THRESHOLD.format(chosen["accuracy_threshold"]))
    return RunSettings(
        chosen["data"],
        tuple(overrides),
        bool(chosen["fetch"]) or by_event,
        tuple(chosen["emails"] or ()),
        chosen["keep_runs"] or KEEP_RUNS,
    )


def read_emails(context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses for the summary, also of a run whose other settings are invalid."""
    extra, _ = _read_event(context)
    try:
        return tuple(_choose("emails", context["params"], extra) or ())
    except RunError as error:
        logger.warning("No e-mail is sent: %s", error)
        return ()


def read_project() -> Project:
    """Return the project that the Variables name, by default the repository of the DAGs with its own environment."""
    folder = Path(_variable_text("project") or Path(__file__).parents[2]).expanduser()
    return Project(folder, Path(_variable_text("python") or folder / ".venv/bin/python").expanduser())


def read_workspace(project: Project) -> Path:
    """Return the folder of all clones that the Variables name, by default one that the project's git ignores."""
    return Path(_variable_text("workspace") or project.folder / ".airflow/runs").expanduser()


def _choose(name: str, params: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:  # noqa: ANN401 - by schema
    if name == "fetch" and name not in extra:
        return params[name]
    if params[name] not in (None, [], "") and name != "fetch":
        return params[name]
    if name in extra:
        return _validate(name, extra[name], f"{name} in the event's extra")
    text = _variable_text(name)
    return None if text is None else _validate(name, _parse(name, text), f"the Variable {PREFIX}{name}")


def _validate(name: str, value: Any, where: str) -> Any:  # noqa: ANN401 - by schema
    try:
        return make_params(fetch=False)[name].resolve(value)
    except ParamValidationError as error:
        raise RunError(f"{where} = {value!r} is invalid: {str(error).splitlines()[0]}") from None


def _parse(name: str, text: str) -> Any:  # noqa: ANN401 - JSON, or a text
    """Return the value of a Variable: JSON, or a text; a list may also be words, quoted as in a shell."""
    try:
        return json.loads(text)
    except ValueError:
        return shlex.split(text) if name in {"overrides", "emails"} else text


def _variable_text(name: str) -> str | None:
    text = Variable.get(f"{PREFIX}{name}", default=None)
    return None if text is None or not str(text).strip() else str(text).strip()


def _read_event(context: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return the extra of the last event that started the run, and whether an event did."""
    events = [event for each in (context.get("triggering_asset_events") or {}).values() for event in each]
    if not events:
        return {}, False
    last = max(events, key=lambda event: event.timestamp)
    # Airflow adds names of its own, such as from_rest_api.
    known = {name: value for name, value in (last.extra or {}).items() if not name.startswith("from_")}
    return known, True


def _reject_unknown(values: Mapping[str, Any], where: str) -> None:
    known: Sequence[str] = list(make_params(fetch=False))
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise RunError(f"{where} has unknown names: {', '.join(unknown)}; choose from {', '.join(known)}")
