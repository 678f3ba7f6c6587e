"""What Prometheus reads from ``/metrics``.

The number of series is bounded, to about 200 in all. No label has a value that a client can invent. At most `CLASS_SERIES`
classes have a series of their own; `OTHER` counts the others. The routes that clients depend on have theirs from the start, so
that no other request can take them; of the other routes, `HTTP_SERIES` successes have one. The series of versions that are no
longer loaded are removed.

Counters that alerts watch start at 0: `rate` and `increase` do not see the first count of a series that appears with it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from visiongate.monitoring.decision_report import VERDICTS, LatestDecision
from visiongate.monitoring.entries import FailureKind, Role
from visiongate.serving.sources.registration_time import read_registration_time
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.versions.slots import ACTIVE
from visiongate.serving.web.problems import PROBLEMS

if TYPE_CHECKING:
    from visiongate.models.classifier import Answers
    from visiongate.monitoring.drift.report import DriftState
    from visiongate.monitoring.entries import LoggedModel
    from visiongate.monitoring.image_store import ImageStore
    from visiongate.monitoring.prediction_log import PredictionLog
    from visiongate.monitoring.watch import FeedbackAccuracy, Watch
    from visiongate.serving.service import Answered, Service

OPENMETRICS: Final = "application/openmetrics-text"
OTHER: Final = "other"
CLASS_SERIES: Final = 30
HTTP_SERIES: Final = 22
ACCURACY_VERSIONS: Final = 4
METHODS: Final = frozenset({"GET", "POST"})
RESERVED_ROUTES: Final = ("/predict", "/v2/models/{name}/infer", "/feedback")
# Statuses that have a label of their own; the others are counted by their class.
STATUSES: Final = frozenset({200, 429, 499, 500, 503})
ROUTE_STATUSES: Final = ("200", "4xx", "429", "499", "500", "503")
OTHER_STATUSES: Final = ("2xx", "3xx", "5xx", *ROUTE_STATUSES)
FAILED: Final = 400
# Problems that are not the client's fault: the service is overloaded, or failed.
OWN_PROBLEMS: Final = tuple(
    kind
    for kind, problem in PROBLEMS.items()
    if problem.status == HTTPStatus.TOO_MANY_REQUESTS or problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
)
# In seconds.
LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16)
CONFIDENCE_BUCKETS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FAILURE_KINDS: Final = get_args(FailureKind)
# Of the sha256 that stands for the version of a model that is not registered.
DIGEST_LENGTH: Final = 12

Labels = tuple[str, ...]


class Metrics:
    """The metrics of one application, in a registry of their own. Its methods are called in the event loop."""

    def __init__(self) -> None:
        # Each histogram and counter would have a further series with the time of its creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._loaded: Callable[[], Sequence[LoadedModel]] = tuple
        counter = partial(Counter, namespace="visiongate", registry=self._registry)
        histogram = partial(Histogram, namespace="visiongate", registry=self._registry)
        ProcessCollector(registry=self._registry)
        labels = ["predicted_class", "model", "model_version"]
        self._predictions = _BoundedCounter(
            counter("prediction_requests", "Predicted images, by class.", labels),
            CLASS_SERIES,
            lambda values: (OTHER, *values[1:]),
        )
        self._doubtful = _DoubtCounters(counter)
        self._http = _BoundedCounter(
            counter("http_requests", "Answered requests.", ["route", "method", "status"]),
            HTTP_SERIES,
            lambda values: (OTHER, OTHER, values[2]),
        )
        latency = histogram(
            "prediction_latency_seconds", "Of each stage of an image.", ["stage"], buckets=LATENCY_BUCKETS
        )
        self._decode, self._wait = latency.labels("decode"), latency.labels("wait")
        self._inference, self._total = latency.labels("inference"), latency.labels("total")
        self._batch_size = histogram(
            "batch_size", "Images in the batch of each image.", buckets=BATCH_BUCKETS
        )
        self._confidence = histogram(
            "prediction_confidence", "Probability of the predicted class.", buckets=CONFIDENCE_BUCKETS
        )
        self._errors = counter("prediction_errors", "Requests that were answered with a problem.", ["kind"])
        self._health_checks = counter("health_check_requests", "Requests for the health.", ["check"])
        self._failures = _FailureCounters(counter)
        self._asked = counter("feedback_requests", "Answers whose true class was asked for.")
        self._feedback = counter("feedback", "Recorded feedback.", ["asked", "correct"])
        self._shadow = counter("shadow_predictions", "Predictions beside an answer.", ["agrees"])
        self._reloads = counter("model_reloads", "Versions that were loaded, or failed to load.", ["result"])
        self._start_at_zero()

    def observe(self, service: "Service") -> None:
        """Report the state of a service, too, as it is when the metrics are read."""
        self._registry.register(_ServiceCollector(service))
        self._loaded = lambda: [model for slot in service.slots.values() for _, model in slot.versions()]

    def predicted(self, answered: "Answered") -> None:
        """Count a prediction."""
        inference, timing = answered.inference, answered.timing
        answers, row = inference.answers, inference.row
        model = answered.model
        label = model.classifier.classes[answers.predicted[row]]
        self._predictions.count((label, *_labels(model)))
        self._doubtful.count(model, answers, row)
        self._decode.observe(timing.decode)
        self._wait.observe(timing.wait)
        self._inference.observe(timing.inference)
        self._total.observe(timing.total)
        self._batch_size.observe(inference.batch_size)
        self._confidence.observe(float(answers.confidence[row]))
        self._asked.inc(answered.asked)

    def compared(self, answered: "Answered", shadow: "Answered") -> None:
        """Count whether the shadow predicts the class of the answer."""
        predicted = {int(each.inference.answers.predicted[each.inference.row]) for each in (answered, shadow)}
        self._shadow.labels(str(len(predicted) == 1).lower()).inc()

    def unanswered(self, model: LoadedModel, _: Role, kind: FailureKind) -> None:
        """Count a failure of a version."""
        self._failures.count(model, kind)

    def failed(self, kind: str) -> None:
        """Count a problem, by its kind in `PROBLEMS`."""
        self._errors.labels(kind).inc()

    def answered(self, route: str | None, method: str, status: int) -> None:
        """Count an answer.

        Args:
            route: The template of the path; None for an unknown path.
            method: Of the request.
            status: Of the answer.
        """
        label = str(status) if status in STATUSES else f"{status // 100}xx"
        # To a route, it is a GET without the body.
        labels = (route or OTHER, "GET" if method == "HEAD" else method, label)
        is_named = route is not None and labels[1] in METHODS and status < FAILED
        self._http.count(labels if is_named or self._http.has(labels) else (OTHER, OTHER, label))

    def checked(self, check: str) -> None:
        """Count a request for the health."""
        self._health_checks.labels(check).inc()

    def reviewed(self, *, asked: bool, correct: bool) -> None:
        """Count feedback."""
        self._feedback.labels(str(asked).lower(), str(correct).lower()).inc()

    def reloaded(self, *, loaded: bool) -> None:
        """Count an attempt to load a version."""
        self._reloads.labels("loaded" if loaded else "failed").inc()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type.

        Args:
            accept: The header of the request: OpenMetrics, if it is named, otherwise Prometheus' text format.
        """
        models = self._loaded()
        versions = {_labels(model) for model in models}
        self._predictions.keep(lambda labels: labels[1:] in versions)
        self._doubtful.keep(models)
        self._failures.keep(models)
        # The library fails on other parts of the header.
        encode, media_type = choose_encoder(OPENMETRICS if OPENMETRICS in accept else "")
        return encode(self._registry), media_type

    def _start_at_zero(self) -> None:
        """Create the series whose first count matters."""
        for status in ROUTE_STATUSES:
            for route in RESERVED_ROUTES:
                self._http.reserve((route, "POST", status))
        for status in OTHER_STATUSES:
            self._http.reserve((OTHER, OTHER, status))
        for kind in OWN_PROBLEMS:
            self._errors.labels(kind)
        for truth in ("true", "false"):
            self._feedback.labels("true", truth)
            self._feedback.labels("false", truth)
            self._shadow.labels(truth)
        for result in ("loaded", "failed"):
            self._reloads.labels(result)


class _BoundedCounter:
    """A counter with a limited number of series."""

    def __init__(self, counter: Counter, limit: int, overflow: Callable[[Labels], Labels]) -> None:
        self._counter, self._limit, self._overflow = counter, limit, overflow
        self._series: dict[Labels, Counter] = {}

    def has(self, labels: Labels) -> bool:
        return labels in self._series

    def reserve(self, labels: Labels) -> None:
        """Add a series beyond the limit."""
        self._limit += 1
        self._add(labels)

    def count(self, labels: Labels) -> None:
        series = self._series.get(labels)
        if series is None:
            series = self._add(labels)
        series.inc()

    def _add(self, labels: Labels) -> Counter:
        if len(self._series) >= self._limit:
            labels = self._overflow(labels)
        # The overflow may exist already; the counter then returns it.
        series = self._series[labels] = self._counter.labels(*labels)
        return series

    def keep(self, is_kept: Callable[[Labels], bool]) -> None:
        """Remove all other series."""
        for labels in [labels for labels in self._series if not is_kept(labels)]:
            del self._series[labels]
            self._counter.remove(*labels)


class _DoubtCounters:
    """Count the predictions that may be wrong, of each version that can say so, from 0 on."""

    def __init__(self, counter: Callable[[str, str, list[str]], Counter]) -> None:
        labels = ["model", "model_version"]
        self._unsure = counter("predictions_unsure", "Predicted images whose class is not sure.", labels)
        self._outside = counter(
            "predictions_out_of_distribution", "Predicted images unlike the training images.", labels
        )
        self._series: set[tuple[Counter, Labels]] = set()

    def count(self, model: LoadedModel, answers: "Answers", row: int) -> None:
        """Count the prediction of an image, if it is doubtful."""
        if answers.sure is not None and not answers.sure[row]:
            self._find(self._unsure, model).inc()
        if answers.out_of_distribution is not None and answers.out_of_distribution[row]:
            self._find(self._outside, model).inc()

    def keep(self, models: Sequence[LoadedModel]) -> None:
        """Create the series of loaded versions, and remove those of others."""
        kept = {(self._unsure, _labels(model)) for model in models if model.classifier.knows_sure}
        kept |= {(self._outside, _labels(model)) for model in models if model.classifier.knows_novelty}
        for counter, labels in self._series - kept:
            counter.remove(*labels)
        for counter, labels in kept:
            counter.labels(*labels)
        self._series = kept

    def _find(self, counter: Counter, model: LoadedModel) -> Counter:
        labels = _labels(model)
        self._series.add((counter, labels))
        return counter.labels(*labels)


class _FailureCounters:
    """Count the images that a version could not answer, of each loaded version from 0 on."""

    def __init__(self, counter: Callable[[str, str, list[str]], Counter]) -> None:
        self._counter = counter(
            "inference_failures",
            "Images that a version could not answer: the model failed, or was too late.",
            ["model", "model_version", "kind"],
        )
        self._series: set[Labels] = set()

    def count(self, model: LoadedModel, kind: FailureKind) -> None:
        """Count a failure."""
        labels = (*_labels(model), kind)
        self._series.add(labels)
        self._counter.labels(*labels).inc()

    def keep(self, models: Sequence[LoadedModel]) -> None:
        """Create the series of loaded versions, and remove those of others."""
        kept = {(*_labels(model), kind) for model in models for kind in FAILURE_KINDS}
        for labels in self._series - kept:
            self._counter.remove(*labels)
        for labels in kept:
            self._counter.labels(*labels)
        self._series = kept


class _ServiceCollector(Collector):
    """Reads the state of a service when the metrics are read, so that nothing has to be kept up to date."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service = self._service
        models = [
            (slot.name, role, model) for slot in service.slots.values() for role, model in slot.versions()
        ]
        yield GaugeMetricFamily(
            "visiongate_requests_in_flight", "Requests with images.", service.admission.requests
        )
        yield GaugeMetricFamily(
            "visiongate_queued_bytes", "Bytes of these requests.", service.admission.bytes
        )
        waiting = sum(len(model.batcher) for _, _, model in models)
        yield GaugeMetricFamily("visiongate_queue_length", "Images that wait for a model.", waiting)
        yield from _describe_models(models)
        problems = GaugeMetricFamily(
            "visiongate_model_problem", "Whether `/models` names a problem.", labels=["slot"]
        )
        for each in service.slots.values():
            problems.add_metric([each.name], int(each.problem is not None))
        yield problems
        if service.registry_reachable is not None:
            yield GaugeMetricFamily(
                "visiongate_registry_reachable",
                "Whether the last look at the registry succeeded.",
                int(service.registry_reachable),
            )
        if service.images is not None:
            yield from _describe_images(service.images)
        if service.log is not None:
            yield from _describe_log(service.log)
            yield from _describe_accuracy(service.log.watch, [model for _, _, model in models])


def _describe_models(models: Sequence[tuple[str, str, LoadedModel]]) -> Iterator[Metric]:
    """Yield which versions are loaded, and when the active ones were registered, by slot, role and version."""
    info = GaugeMetricFamily(
        "visiongate_model_info", "Loaded models.", labels=["name", "version", "sha256", "slot", "role"]
    )
    for slot, role, model in models:
        info.add_metric([model.name, version_label(model), model.origin.sha256, slot, role], 1)
    yield info
    registered = GaugeMetricFamily(
        "visiongate_model_registered_timestamp_seconds",
        "When the active version was registered, in seconds since 1970.",
        labels=["slot"],
    )
    for slot, role, model in models:
        time = read_registration_time(model.origin.lineage)
        if role == ACTIVE and time is not None:
            registered.add_metric([slot], time)
    yield registered


def _describe_images(images: "ImageStore") -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "visiongate_images_waiting_bytes", "Bytes of images that wait to be stored.", images.waiting_bytes
    )
    yield CounterMetricFamily("visiongate_images_stored", "Images that were stored.", images.stored)
    dropped = CounterMetricFamily(
        "visiongate_images_dropped", "Images that were to be stored and were not.", labels=["reason"]
    )
    for reason, count in images.dropped.items():
        dropped.add_metric([reason], count)
    yield dropped


def _describe_log(log: "PredictionLog") -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "visiongate_prediction_log_waiting", "Predictions that wait to be recorded.", log.waiting
    )
    yield GaugeMetricFamily(
        "visiongate_prediction_log_recording", "Whether predictions can be recorded.", int(log.fault is None)
    )
    dropped = CounterMetricFamily(
        "visiongate_prediction_log_dropped", "Predictions that were not recorded.", labels=["reason"]
    )
    for reason, predictions in log.dropped.items():
        dropped.add_metric([reason], predictions)
    yield dropped
    if log.watch.drift is not None:
        yield from _describe_drift(log.watch.drift)
    yield from _describe_decisions(log.watch.decisions)


def _describe_accuracy(watch: "Watch", models: Sequence[LoadedModel]) -> Iterator[Metric]:
    """Yield the accuracy of the first loaded versions by feedback and by the drift check, as the log's thread read it last."""
    labels = ["source", "model", "model_version"]
    value, low, high, count = (
        GaugeMetricFamily(f"visiongate_accuracy{suffix}", text, labels=labels)
        for suffix, text in (
            (
                "",
                "Share of correct answers of the last `serving.log.window_hours`, or of the window of the drift check.",
            ),
            ("_low", "The lower bound of its 95% interval."),
            ("_high", "The upper bound of its 95% interval."),
            ("_labels", "The answers with feedback that it is measured on."),
        )
    )
    shown = {_labels(model) for model in models[:ACCURACY_VERSIONS]}
    measured: dict[Labels, FeedbackAccuracy] = {
        (each.source, each.model.name, _version_of(each.model)): each for each in watch.accuracies
    }
    known = {row: each.accuracy for row, each in measured.items()}
    if watch.drift is not None:
        known |= {("estimated", *version): found for version, found in watch.drift.estimated.items()}
    for row, found in known.items():
        if row[1:] in shown:
            value.add_metric(row, found.value)
            low.add_metric(row, found.low)
            high.add_metric(row, found.high)
            if row in measured:
                count.add_metric(row, measured[row].labels)
    yield from (value, low, high, count)


def _describe_drift(drift: "DriftState") -> Iterator[Metric]:
    found = GaugeMetricFamily(
        "visiongate_drift", "Whether the last drift check found drift, of any version.", labels=["check"]
    )
    for check, drifted in drift.drifted.items():
        found.add_metric([check], int(drifted))
    yield found
    yield GaugeMetricFamily(
        "visiongate_drift_checked_timestamp_seconds",
        "When `visiongate drift` made the last check, in seconds since 1970.",
        drift.checked_at,
    )


def _describe_decisions(decisions: Sequence[LatestDecision]) -> Iterator[Metric]:
    verdicts = GaugeMetricFamily(
        "visiongate_decision",
        "Whether the latest `visiongate retrain-check` or `visiongate rollout` came to this verdict.",
        labels=["kind", "verdict"],
    )
    times = GaugeMetricFamily(
        "visiongate_decision_timestamp_seconds", "When, in seconds since 1970.", labels=["kind"]
    )
    for decision in decisions:
        for verdict in VERDICTS[decision.kind]:
            verdicts.add_metric([decision.kind, verdict], int(decision.verdict == verdict))
        times.add_metric([decision.kind], decision.decided_at)
    yield from (verdicts, times)


def _labels(model: LoadedModel) -> Labels:
    return model.name, version_label(model)


def version_label(model: LoadedModel) -> str:
    """Return the version of a model as a label: of a file that is not registered, the start of its sha256."""
    return model.version or model.origin.sha256[:DIGEST_LENGTH]


def _version_of(model: "LoggedModel") -> str:
    return model.version or model.sha256[:DIGEST_LENGTH]
