"""MLflow runs: one for each training, with its parameters, metrics, environment and git commit.

A training's run is found again by the sha256 of the model it made, never by an id kept in a file: outputs
that DVC tracks stay a function of their inputs, and a store that never saw the training can be given its run
afterwards.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from visiongate.adapters.environment import describe_environment, list_requirements, source_tags
from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow_store import Store, TrackingError, explained, open_store
from visiongate.settings.schema import Tracking

MODEL_TAG = "visiongate.model_sha256"
RECONSTRUCTED_TAG = "visiongate.reconstructed"
WRITTEN_BY_THE_LINE = (Path("dvc.lock"), Path("reports"))  # their changes do not make a commit dirty
SEND_SECONDS = 2.0  # metrics wait at most so long for others to be sent with
RETRY_SECONDS = 60.0  # a store that failed is left alone so long
METRICS_PER_CALL = 1000  # MLflow's limit
PARAMS_PER_CALL = 100  # MLflow's limit, of tags also
PARAM_LENGTH = 6000  # MLflow's limit

logger = logging.getLogger(__name__)


class Run:
    """An open run. Nothing it does raises: a training is worth more than its record.

    What could not be sent is told once, and tried again later and at the end.

    Args:
        store: Where it was made; None where it could not be, and then nothing is sent.
        run_id: As the store calls it.
        known_step: The last step whose metrics the store has: they are not sent again.
    """

    def __init__(self, store: Store | None, run_id: str, known_step: int = -1) -> None:
        self.id = run_id
        self._store = store
        self._known_step = known_step
        self._pending: list[tuple[str, float, int, int]] = []  # name, value, milliseconds, step
        self._send_at = time.monotonic() + SEND_SECONDS
        self._told = False

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics of a step, and send what waits every few seconds: each call costs milliseconds."""
        if self._store is None or step <= self._known_step:
            return
        now = int(time.time() * 1000)
        self._pending += [(name, float(value), now, step) for name, value in metrics.items()]
        if time.monotonic() >= self._send_at or len(self._pending) >= METRICS_PER_CALL:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait."""
        self._send_at = time.monotonic() + RETRY_SECONDS

        def send(store: Store) -> None:
            send_metrics(store, self.id, self._pending)
            self._pending.clear()
            self._send_at = time.monotonic() + SEND_SECONDS

        self._spare(send)

    def log_artifacts(self, paths: Iterable[Path]) -> None:
        """Send files or whole folders."""

        def send(store: Store) -> None:
            for path in paths:
                store.client.log_artifact(self.id, str(path))

        self._spare(send)

    def log_text(self, text: str, name: str) -> None:
        """Send text as a file of that name."""
        self._spare(lambda store: store.client.log_text(self.id, text, name))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        self._spare(lambda store: set_run_tags(store, self.id, tags))

    def end(self, status: str) -> None:
        """Send what waits, and close the run as FINISHED, FAILED or KILLED."""
        self.flush()
        self._spare(lambda store: store.client.set_terminated(self.id, status))

    def _spare(self, send: Callable[[Store], object]) -> None:
        """Send something, and let a failure pass."""
        if self._store is None:
            return
        try:
            with explained(self._store.address):
                send(self._store)
        except TrackingError as error:
            if not self._told:
                logger.warning("%s; the work goes on without it", error)
            self._told = True


@contextmanager
def open_run(  # noqa: PLR0913 - the rarer ones by keyword
    tracking: Tracking,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    *,
    parent_id: str | None = None,
    interrupted_id: str = "",
) -> Iterator[Run]:
    """Open a run, and close it as FINISHED, as FAILED if the block raises, or as KILLED if it is interrupted.

    Where MLflow cannot be reached, that is told, and the work goes on: `find_or_create_run` makes the run from the records.

    Args:
        tracking: The store and experiment.
        name: What the run is called.
        params: Settings; sections become dotted names.
        tags: Added to those of git, command and user.
        parent_id: Of the run to nest this one in, which tells the environment for both. Where that one is not kept, its id is
            empty, and this one is not kept either.
        interrupted_id: Of the run whose work goes on: where the store still has it, it is opened again, as it was.
    """
    nested = {"mlflow.parentRunId": parent_id} if parent_id else {}
    kept = parent_id != _UNKEPT.id
    run = _open(tracking, interrupted_id, name, params, {**nested, **tags}) if kept else _UNKEPT
    try:
        if parent_id is None:
            run.log_text(json.dumps(describe_environment(), indent=2), "environment.json")
            run.log_text(list_requirements(), "requirements.txt")
        yield run
    except KeyboardInterrupt:
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


_UNKEPT = Run(None, "")


def _open(
    tracking: Tracking, interrupted_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Run:
    commit = Repository(Path.cwd()).checked_out(WRITTEN_BY_THE_LINE)
    try:
        store = open_store(tracking)
        return _reopen(store, interrupted_id) or Run(
            store, create_run(store, name, params, {**source_tags(), **commit.tags(), **tags})
        )
    except TrackingError as error:
        logger.warning("%s; the work goes on, and what it gives is kept in reports/", error)
        return _UNKEPT


def _reopen(store: Store, run_id: str) -> Run | None:
    """Open a run of this experiment again, if there is one of that id; one that was ended runs from now on."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - a second of imports

    if not run_id:
        return None
    with explained(store.address):
        try:
            found = store.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if found.info.lifecycle_stage != "active" or found.info.experiment_id != store.experiment_id:
            return None
        store.client.update_run(run_id, status="RUNNING")
        names = list(found.data.metrics)[:1]  # one tells of all: the metrics of a step are sent in one call
        steps = [metric.step for name in names for metric in store.client.get_metric_history(run_id, name)]
        return Run(store, run_id, max(steps, default=-1))


def find_or_create_run(
    store: Store,
    model_sha256: str,
    name: str,
    params: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> str:
    """Return the id of the run that trained a model; if the store has none, make one from the records.

    Args:
        store: Where to look.
        model_sha256: Of the model's file.
        name: What a made run is called.
        params: What the model was trained with.
        history: Metrics by epoch, each with its ``epoch``.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        query = f"tags.`{MODEL_TAG}` = '{model_sha256}'"
        found = store.client.search_runs(
            [store.experiment_id], query, max_results=1, order_by=["attributes.start_time DESC"]
        )
        if found:
            return str(found[0].info.run_id)
        # Found by its tag only once it is whole: one that was cut short is made again.
        run_id = create_run(
            store, f"{name} (reconstructed)", params, {**source_tags(), RECONSTRUCTED_TAG: "true"}
        )
        now = int(time.time() * 1000)
        rows = [(key, value, now, int(row["epoch"])) for row in history for key, value in row.items()]
        send_metrics(store, run_id, rows)
        store.client.set_terminated(run_id, "FINISHED")
        set_run_tags(store, run_id, {MODEL_TAG: model_sha256})
        return run_id


def log_results(store: Store, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Add a test's results to a finished run; those it has already are not sent again.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        known = store.client.get_run(run_id).data.metrics
        now = int(time.time() * 1000)
        fresh = [(key, value, now, 0) for key, value in metrics.items() if known.get(key) != value]
        send_metrics(store, run_id, fresh)
        set_run_tags(store, run_id, tags)


def log_reports(store: Store, run_id: str, paths: Iterable[Path]) -> None:
    """Add files, or folders under their own name, to a finished run.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        for path in paths:
            if path.is_dir():
                store.client.log_artifacts(run_id, str(path), path.name)
            else:
                store.client.log_artifact(run_id, str(path))


def create_run(store: Store, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Make a run with its parameters and tags, and return its id."""
    from mlflow.entities import Param  # noqa: PLC0415 - a second of imports

    with explained(store.address):
        run_id = str(store.client.create_run(store.experiment_id, tags=dict(tags), run_name=name).info.run_id)
        entries = iter([Param(key, value) for key, value in flatten(params).items()])
        while batch := list(islice(entries, PARAMS_PER_CALL)):
            store.client.log_batch(run_id, params=batch)
    return run_id


def send_metrics(store: Store, run_id: str, rows: Iterable[tuple[str, float, int, int]]) -> None:
    """Send rows of name, value, milliseconds and step, in as few calls as MLflow takes."""
    from mlflow.entities import Metric  # noqa: PLC0415 - a second of imports

    entries = iter([Metric(*row) for row in rows])
    while batch := list(islice(entries, METRICS_PER_CALL)):
        store.client.log_batch(run_id, metrics=batch)


def set_run_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Add or replace tags in one call."""
    from mlflow.entities import RunTag  # noqa: PLC0415 - a second of imports

    store.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested sections into dotted names, and values into text of a length that MLflow takes."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = text if len(text) <= PARAM_LENGTH else f"{text[: PARAM_LENGTH - 1]}…"
    return flat
