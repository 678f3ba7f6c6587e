"""MLflow runs: one per training, with its parameters, metrics, environment and git commit.

A run is found by the sha256 of the model that it trained, not by an id in a file, so that outputs that DVC tracks stay a
function of their inputs. A store that has no such run, as in a fresh clone, gets one from the records.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow.environment import describe_environment, list_requirements, source_tags
from visiongate.adapters.mlflow.store import Store, TrackingError, mlflow_errors, open_store, unless_missing
from visiongate.records.registry_tags import MODEL_TAG
from visiongate.settings.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

RECONSTRUCTED_TAG = "visiongate.reconstructed"
# Prefix of the metrics of the epoch whose weights were kept; without it, MLflow shows those of the last epoch.
KEPT = "kept/"
# The pipeline and `visiongate collect` write these, so their changes do not make a commit dirty: the next commit has them.
WRITTEN_BY_PIPELINE = (
    Path("dvc.lock"),
    Path("reports"),
    Path("data/collected.csv"),
    Path("data/collected.dvc"),
    Path("data/corrections.csv"),
)
# Metrics wait at most this long, to be sent together.
SEND_SECONDS = 2.0
# Time before a store that failed is tried again.
RETRY_SECONDS = 60.0
# Limits of MLflow: metrics and params per call, characters per param.
MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_PARAM_LENGTH = 6000
MAX_DIGEST = 36

logger = logging.getLogger(__name__)
# Name, value, milliseconds since 1970, step.
MetricRow = tuple[str, float, int, int]


class Run:
    """An open run. It never raises, because a training is worth more than its record.

    A failure is logged once. Unsent metrics are sent later, at the latest at the end.

    Args:
        store: The store; None if it failed, and then nothing is sent.
        run_id: MLflow's id.
        known_step: The last step whose metrics the store has; they are not sent again.
    """

    def __init__(self, store: Store | None, run_id: str, known_step: int = -1) -> None:
        self.id = run_id
        self._store = store
        self._known_step = known_step
        self._pending: list[MetricRow] = []
        self._send_at = time.monotonic() + SEND_SECONDS
        self._has_warned = False

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add the metrics of a step. They are sent every few seconds, because a call takes milliseconds."""
        if self._store is None or step <= self._known_step:
            return
        now = int(time.time() * 1000)
        self._pending += [(name, float(value), now, step) for name, value in metrics.items()]
        if time.monotonic() >= self._send_at or len(self._pending) >= MAX_METRICS:
            self.flush()

    def flush(self) -> None:
        """Send the pending metrics."""
        self._send_at = time.monotonic() + RETRY_SECONDS

        def send(store: Store) -> None:
            send_metrics(store, self.id, self._pending)
            self._pending.clear()
            self._send_at = time.monotonic() + SEND_SECONDS

        self._try(send)

    def log_artifacts(self, paths: Iterable[Path]) -> None:
        """Send files or folders."""

        def send(store: Store) -> None:
            for path in paths:
                store.client.log_artifact(self.id, str(path))

        self._try(send)

    def log_text(self, text: str, name: str) -> None:
        """Send text as a file of this name."""
        self._try(lambda store: store.client.log_text(self.id, text, name))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        self._try(lambda store: set_run_tags(store, self.id, tags))

    def end(self, status: str) -> None:
        """Send the pending metrics and set the status: FINISHED, FAILED or KILLED."""
        self.flush()
        self._try(lambda store: store.client.set_terminated(self.id, status))

    def _try(self, send: Callable[[Store], object]) -> None:
        if self._store is None:
            return
        try:
            with mlflow_errors(self._store.address):
                send(self._store)
        except TrackingError as error:
            if not self._has_warned:
                logger.warning("%s; continuing without it", error)
            self._has_warned = True


_NOT_RECORDED = Run(None, "")


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as the store has it: id, name, metrics and parameters."""

    id: str
    name: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]


def search_runs(
    store: Store, metric: str = "", *, ascending: bool = False, limit: int = 1000
) -> list[RecordedRun]:
    """Return the runs of the experiment, ordered by a metric if one is given; runs without the metric are left out.

    Raises:
        TrackingError: MLflow failed.
    """
    order = [f"metrics.`{metric}` {'ASC' if ascending else 'DESC'}"] if metric else []
    with mlflow_errors(store.address):
        runs = store.client.search_runs([store.experiment_id], order_by=order, max_results=limit)
    return [_convert(run) for run in runs if not metric or metric in run.data.metrics]


def find_run(store: Store, run_id: str) -> RecordedRun | None:
    """Return a run by its id, None if it does not exist.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        run = unless_missing(lambda: store.client.get_run(run_id))
    return None if run is None else _convert(run)


def read_artifact(store: Store, run_id: str, name: str) -> bytes | None:
    """Return the content of a file of a run, such as ``evaluation/slices.csv``; None if the run does not have it.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address), tempfile.TemporaryDirectory() as folder:
        parent = name.rpartition("/")[0] or None
        if name not in {item.path for item in store.client.list_artifacts(run_id, parent)}:
            return None
        return Path(store.client.download_artifacts(run_id, name, folder)).read_bytes()


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
    """Open a run, and end it as FINISHED, as FAILED if the block raises, or as KILLED if it is interrupted.

    If MLflow fails, the error is logged and the work continues: `find_or_create_run` creates the run from the records later.

    Args:
        tracking: The store and the experiment.
        name: Shown by MLflow.
        params: Settings; sections become dotted names.
        tags: Besides those of git, command and user.
        parent_id: Of the run that this one is nested in, which records the environment for both. It is empty if the parent
            could not be recorded, and then this run is not recorded either.
        interrupted_id: Of the run of an interrupted training, which is reopened if the store still has it.
    """
    nested = {"mlflow.parentRunId": parent_id} if parent_id else {}
    is_recorded = parent_id != _NOT_RECORDED.id
    run = _open(tracking, interrupted_id, name, params, {**nested, **tags}) if is_recorded else _NOT_RECORDED
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


def _open(
    tracking: Tracking, interrupted_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Run:
    commit = Repository(Path.cwd()).checked_out(WRITTEN_BY_PIPELINE)
    try:
        store = open_store(tracking)
        run = _reopen(store, interrupted_id)
        return run or Run(store, create_run(store, name, params, {**source_tags(), **commit.tags(), **tags}))
    except TrackingError as error:
        logger.warning("%s; continuing, with the results in reports/ only", error)
        return _NOT_RECORDED


def _reopen(store: Store, run_id: str) -> Run | None:
    """Return a run of this experiment, set to RUNNING; None if there is none with this id."""
    if not run_id:
        return None
    with mlflow_errors(store.address):
        run = unless_missing(lambda: store.client.get_run(run_id))
        if (
            run is None
            or run.info.lifecycle_stage != "active"
            or run.info.experiment_id != store.experiment_id
        ):
            return None
        store.client.update_run(run_id, status="RUNNING")
        # The metrics of a step are sent in one call, so one metric's steps are those of all.
        names = list(run.data.metrics)[:1]
        steps = [metric.step for name in names for metric in store.client.get_metric_history(run_id, name)]
        return Run(store, run_id, max(steps, default=-1))


def find_or_create_run(
    store: Store,
    model_sha256: str,
    name: str,
    params: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> str:
    """Return the id of the run that trained a model; if the store has none, create one from the records.

    Args:
        store: Where to look.
        model_sha256: Of the model's file.
        name: Of a created run.
        params: Of the training.
        history: Metrics by epoch, each with its ``epoch``.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        query = f"tags.`{MODEL_TAG}` = '{model_sha256}'"
        runs = store.client.search_runs(
            [store.experiment_id], query, max_results=1, order_by=["attributes.start_time DESC"]
        )
        if runs:
            return str(runs[0].info.run_id)
        tags = {**source_tags(), RECONSTRUCTED_TAG: "true"}
        run_id = create_run(store, f"{name} (reconstructed)", params, tags)
        now = int(time.time() * 1000)
        rows = [(key, value, now, int(row["epoch"])) for row in history for key, value in row.items()]
        send_metrics(store, run_id, rows)
        store.client.set_terminated(run_id, "FINISHED")
        # The tag comes last: an incomplete run is not found, and is created again.
        set_run_tags(store, run_id, {MODEL_TAG: model_sha256})
        return run_id


def log_results(store: Store, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Add test results to a finished run; unchanged metrics are not sent again.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        known = store.client.get_run(run_id).data.metrics
        now = int(time.time() * 1000)
        rows = [(key, value, now, 0) for key, value in metrics.items() if known.get(key) != value]
        send_metrics(store, run_id, rows)
        set_run_tags(store, run_id, tags)


def log_reports(store: Store, run_id: str, paths: Iterable[Path]) -> None:
    """Add files, and folders under their own name, to a finished run.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        for path in paths:
            if path.is_dir():
                store.client.log_artifacts(run_id, str(path), path.name)
            else:
                store.client.log_artifact(run_id, str(path))


@dataclass(frozen=True, slots=True)
class InputDataset:
    """The data set of a run: its name, a hash of its content, where it comes from, and its number of images."""

    name: str
    digest: str
    source: str
    images: int


def log_dataset(store: Store, run_id: str, dataset: InputDataset) -> None:
    """Add the data set to a run, as MLflow's column of data sets shows it; the same one is added once.

    Raises:
        TrackingError: MLflow failed.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

    source, profile = json.dumps({"uri": dataset.source}), json.dumps({"images": dataset.images})
    digest = dataset.digest[:MAX_DIGEST]
    entity = Dataset(dataset.name, digest, "local", source, profile=profile)
    with mlflow_errors(store.address):
        store.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


def create_run(store: Store, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Create a run with its parameters and tags; return its id."""
    from mlflow.entities import Param  # noqa: PLC0415

    with mlflow_errors(store.address):
        run_id = str(store.client.create_run(store.experiment_id, tags=dict(tags), run_name=name).info.run_id)
        entries = iter([Param(key, value) for key, value in flatten(params).items()])
        while batch := list(islice(entries, MAX_PARAMS)):
            store.client.log_batch(run_id, params=batch)
    return run_id


def send_metrics(store: Store, run_id: str, rows: Iterable[MetricRow]) -> None:
    """Send metrics in as few calls as MLflow allows."""
    from mlflow.entities import Metric  # noqa: PLC0415

    entries = iter([Metric(*row) for row in rows])
    while batch := list(islice(entries, MAX_METRICS)):
        store.client.log_batch(run_id, metrics=batch)


def set_run_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Add or replace tags in one call."""
    from mlflow.entities import RunTag  # noqa: PLC0415

    store.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def _convert(run: "MlflowRun") -> RecordedRun:
    return RecordedRun(run.info.run_id, run.info.run_name or "", run.data.metrics, run.data.params)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested sections as dotted names, with values as text that is short enough for MLflow."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = (
                text if len(text) <= MAX_PARAM_LENGTH else f"{text[: MAX_PARAM_LENGTH - 1]}…"
            )
    return flat
