# ruff: noqa: INP001 - a script
"""Write the Grafana dashboard ``grafana/dashboards/visiongate.json``, of which this file is the source."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

DASHBOARD: Final = Path(__file__).parent / "grafana/dashboards/visiongate.json"
# Of the JSON of Grafana 12.
SCHEMA_VERSION: Final = 42
WIDTH: Final = 24
Json = dict[str, Any]

METRICS: Final = {"type": "prometheus", "uid": "${prometheus}"}
LOGS: Final = {"type": "loki", "uid": "${loki}"}
# Replicas, and what the rules record for all replicas of an installation.
REPLICAS: Final = 'job="visiongate",namespace=~"$namespace",instance=~"$instance"'
INSTALLATION: Final = 'job="visiongate",namespace=~"$namespace"'
PREDICTS: Final = f'{REPLICAS},route=~"/predict|/v2/models/{{name}}/infer"'
REQUESTS: Final = f"visiongate_http_requests_total{{{PREDICTS}}}"
FAILURES: Final = f'visiongate_http_requests_total{{{PREDICTS},status=~"5.."}}'
TOTAL: Final = f'{REPLICAS},stage="total"'
LINES: Final = "{$logs} | json"


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: A few words.
        description: What it shows, and when to act.
        queries: By their legends.
        kind: Of Grafana's panels.
        unit: Of Grafana's units.
        width: Of 24.
        steps: Colors from a value on; the first is for lower values.
        runbook: The alert that it belongs to.
        defaults: Further options of the field.
        options: Further options of the panel.
        source: The data source.
    """

    title: str
    description: str
    queries: dict[str, str]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    steps: Sequence[tuple[str, float | None]] = (("green", None),)
    runbook: str | None = None
    defaults: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    source: Json = field(default_factory=lambda: METRICS)


def stat(title: str, description: str, query: str, **options: Any) -> Panel:  # noqa: ANN401 - those of Panel
    """Return a panel with a single number."""
    return Panel(title, description, {"": query}, kind="stat", **{"width": 4, **options})


def log(title: str, description: str, query: str, width: int = 12) -> Panel:
    """Return a panel with lines of the log."""
    return Panel(title, description, {"": query}, kind="logs", width=width, source=LOGS)


def share(part: str, whole: str) -> str:
    """Return a ratio of sums, absent while nothing is counted."""
    return f"sum({part}) / (sum({whole}) > 0)"


def rate(metric: str, labels: str = REPLICAS) -> str:
    """Return the rate of a counter per second."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def increase(selector: str) -> str:
    """Return the increase of a counter over the range of the dashboard."""
    return f"increase({selector}[$__range])"


def quantile(share_below: float, metric: str, labels: str) -> str:
    """Return a quantile of a histogram."""
    return f"histogram_quantile({share_below}, sum by (le) ({rate(f'{metric}_bucket', labels)}))"


def budget(slo: str, errors: str) -> str:
    """Return the share of an error budget that is left after the range of the dashboard."""
    return f'1 - ({errors}) / (1 - scalar(visiongate:objective:ratio{{slo="{slo}"}}))'


def accuracy(source: str) -> dict[str, str]:
    """Return the queries for the accuracy by a source, with the bounds of its interval, of each version."""
    labels = f'{REPLICAS},source="{source}"'
    return {
        f"{{{{model}}}} {{{{model_version}}}}{name}": (
            f"max by (model, model_version) (visiongate_accuracy{suffix}{{{labels}}})"
        )
        for name, suffix in (("", ""), (", lower bound", "_low"), (", upper bound", "_high"))
    }


def verdict(title: str, description: str, kind: str, runbook: str) -> Panel:
    """Return a panel with the verdict of the latest decision of a kind."""
    query = f'max by (verdict) (visiongate_decision{{{REPLICAS},kind="{kind}"}}) == 1'
    shown = {"displayName": "${__field.labels.verdict}"}
    return stat(title, description, query, defaults=shown, options={"textMode": "name"}, runbook=runbook)


ERRORS: Final = share(increase(FAILURES), increase(REQUESTS))
FAST: Final = share(
    increase(f'visiongate_prediction_latency_seconds_bucket{{{TOTAL},le="0.25"}}'),
    increase(f"visiongate_prediction_latency_seconds_count{{{TOTAL}}}"),
)
BUDGET_STEPS: Final = (("red", None), ("orange", 0.0), ("green", 0.25))
BAD_ABOVE_0: Final = (("green", None), ("red", 1.0))
BAD_BELOW_1: Final = (("red", None), ("green", 1.0))
PERCENT: Final = {"min": 0, "max": 1}
STACKED: Final = {"custom": {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}}
STEPPED: Final = {"custom": {"lineInterpolation": "stepAfter"}, "decimals": 0}
LIMIT: Final = {"custom": {"thresholdsStyle": {"mode": "dashed"}}}

OVERVIEW: Final = [
    stat(
        "Availability",
        "Of the requests for predictions in this range, the share without a status of 5xx. The objective is 99.9%.",
        f"1 - {ERRORS}",
        unit="percentunit",
        steps=(("red", None), ("orange", 0.998), ("green", 0.999)),
        defaults={"decimals": 3},
        runbook="VisiongateAvailabilityBurnsFast",
    ),
    stat(
        "Error budget left",
        "Of the failures that the objective allows in this range, the share that has not happened.",
        budget("availability", ERRORS),
        unit="percentunit",
        steps=BUDGET_STEPS,
        runbook="VisiongateAvailabilityBurnsSlowly",
    ),
    stat(
        "Predictions within 0.25 s",
        "Share in this range. The objective is 99%.",
        FAST,
        unit="percentunit",
        steps=(("red", None), ("orange", 0.98), ("green", 0.99)),
        defaults={"decimals": 2},
        runbook="VisiongateLatencyBurnsFast",
    ),
    stat(
        "Latency budget left",
        "Of the slow predictions that the objective allows in this range, the share that has not happened.",
        budget("latency", f"1 - {FAST}"),
        unit="percentunit",
        steps=BUDGET_STEPS,
        runbook="VisiongateLatencyBurnsSlowly",
    ),
    stat(
        "Replicas up",
        "Replicas that answer Prometheus.",
        f"sum(up{{{REPLICAS}}})",
        steps=BAD_BELOW_1,
        runbook="VisiongateDown",
    ),
    stat(
        "Alerts firing",
        "Of the rules for this service.",
        f'count(ALERTS{{alertname=~"Visiongate.+",alertstate="firing",{INSTALLATION}}}) or vector(0)',
        steps=BAD_ABOVE_0,
    ),
    Panel(
        "Requests for predictions",
        "By status. 429: rejected, because there were too many; 499: the client left.",
        {"{{status}}": f"sum by (status) (rate({REQUESTS}[$__rate_interval])) > 0"},
        unit="reqps",
        defaults=STACKED,
        runbook="VisiongateOverloaded",
    ),
    Panel(
        "Latency of predictions",
        "From the complete request to the answer. The line is at 0.25 s, the objective for 99%.",
        {
            f"p{percent}": quantile(percent / 100, "visiongate_prediction_latency_seconds", TOTAL)
            for percent in (50, 95, 99)
        },
        unit="s",
        steps=(("green", None), ("red", 0.25)),
        defaults=LIMIT,
        runbook="VisiongateLatencyBurnsFast",
    ),
    Panel(
        "Burn rate",
        "How many times as fast as the objective allows the error budget is used up, over an hour. 14.4 pages at once.",
        {"{{slo}} {{namespace}}": f"job:visiongate_burn:rate1h{{{INSTALLATION}}}"},
        steps=(("green", None), ("orange", 6.0), ("red", 14.4)),
        defaults=LIMIT,
        runbook="VisiongateAvailabilityBurnsFast",
    ),
    Panel(
        "In flight and waiting",
        "Requests that are being answered, and images that wait for a model. The autoscaler follows the first.",
        {
            "requests in flight": f"sum(visiongate_requests_in_flight{{{REPLICAS}}})",
            "images waiting": f"sum(visiongate_queue_length{{{REPLICAS}}})",
        },
        runbook="VisiongateQueueLong",
    ),
    Panel(
        "Latency by stage",
        "Mean seconds of each stage of an image. Waiting shows a lack of processor time.",
        {
            "{{stage}}": (
                f"sum by (stage) ({rate('visiongate_prediction_latency_seconds_sum')}) "
                f"/ (sum by (stage) ({rate('visiongate_prediction_latency_seconds_count')}) > 0)"
            )
        },
        unit="s",
        runbook="VisiongateQueueLong",
    ),
    Panel(
        "Problems by kind",
        "Requests, and images in them, that were answered with a problem; the service explains each kind at /docs/problems.",
        {"{{kind}}": f"sum by (kind) ({rate('visiongate_prediction_errors_total')}) > 0"},
        unit="reqps",
        defaults=STACKED,
        runbook="VisiongateManyProblems",
    ),
]
PREDICTIONS: Final = [
    Panel(
        "Predictions by class",
        "Images per second. A class that takes over, or vanishes, may be drift.",
        {"{{predicted_class}}": f"sum by (predicted_class) ({rate('visiongate_prediction_requests_total')})"},
        unit="cps",
        defaults=STACKED,
        runbook="VisiongateDrift",
    ),
    Panel(
        "Confidence",
        "Probability of the predicted class: median, and the lower quartile and tenth.",
        {
            "median": quantile(0.5, "visiongate_prediction_confidence", REPLICAS),
            "lower quartile": quantile(0.25, "visiongate_prediction_confidence", REPLICAS),
            "lowest tenth": quantile(0.1, "visiongate_prediction_confidence", REPLICAS),
        },
        unit="percentunit",
        defaults=PERCENT,
        runbook="VisiongateDrift",
    ),
    Panel(
        "Doubtful predictions",
        "Shares of predictions that are not sure, and of images unlike the training images. Absent if the model cannot say.",
        {
            "not sure": share(
                rate("visiongate_predictions_unsure_total"), rate("visiongate_prediction_requests_total")
            ),
            "out of distribution": share(
                rate("visiongate_predictions_out_of_distribution_total"),
                rate("visiongate_prediction_requests_total"),
            ),
        },
        unit="percentunit",
        defaults={"min": 0},
        runbook="VisiongateUnlikeTrainingImages",
    ),
    Panel(
        "Images per batch",
        "Mean. It grows with the load.",
        {"images": share(rate("visiongate_batch_size_sum"), rate("visiongate_batch_size_count"))},
    ),
    Panel(
        "Predictions by version",
        "Images per second. During a canary, both versions answer.",
        {
            "{{model}} {{model_version}}": (
                f"sum by (model, model_version) ({rate('visiongate_prediction_requests_total')})"
            )
        },
        unit="cps",
        defaults=STACKED,
        runbook="VisiongateMixedVersions",
    ),
]
MODELS: Final = [
    Panel(
        "Loaded versions",
        "The number of replicas that have each version.",
        {
            "": f"count by (namespace, slot, role, name, version, sha256) (visiongate_model_info{{{REPLICAS}}})"
        },
        kind="table",
        width=16,
        runbook="VisiongateMixedVersions",
    ),
    stat(
        "Age of the model",
        "Since the active version was registered. Absent if its source does not say it.",
        f"time() - max by (slot) (visiongate_model_registered_timestamp_seconds{{{REPLICAS}}})",
        unit="s",
        steps=(("green", None), ("orange", 60 * 86400.0), ("red", 90 * 86400.0)),
        runbook="VisiongateModelOld",
    ),
    stat(
        "Registry",
        "Whether all replicas reach it. Absent if no model comes from one.",
        f"min(visiongate_registry_reachable{{{REPLICAS}}})",
        steps=BAD_BELOW_1,
        defaults={
            "mappings": [
                {"type": "value", "options": {"0": {"text": "unreachable"}, "1": {"text": "reachable"}}}
            ]
        },
        runbook="VisiongateRegistryUnreachable",
    ),
    Panel(
        "Loads",
        "Versions that were loaded, or failed to load.",
        {
            "{{result}}": f"sum by (result) (increase(visiongate_model_reloads_total{{{REPLICAS}}}[$__rate_interval]))"
        },
        width=12,
        defaults={"custom": {"drawStyle": "bars", "fillOpacity": 80}, "decimals": 0},
        runbook="VisiongateModelProblem",
    ),
    Panel(
        "Model problems",
        "1 while a replica cannot find or load a version; `GET /models` says why.",
        {"{{slot}}": f"max by (slot) (visiongate_model_problem{{{REPLICAS}}})"},
        width=12,
        defaults={**STEPPED, **PERCENT},
        runbook="VisiongateModelProblem",
    ),
]
DRIFT: Final = [
    stat(
        "Drift",
        "Whether the last drift check found drift, by check. Tests that could not be made are absent.",
        f"max by (check) (visiongate_drift{{{REPLICAS}}})",
        width=20,
        steps=BAD_ABOVE_0,
        defaults={
            "displayName": "${__field.labels.check}",
            "mappings": [{"type": "value", "options": {"0": {"text": "none"}, "1": {"text": "drift"}}}],
        },
        runbook="VisiongateDrift",
    ),
    stat(
        "Last drift check",
        "Since the last check, which runs each week.",
        f"time() - max(visiongate_drift_checked_timestamp_seconds{{{REPLICAS}}})",
        unit="s",
        steps=(("green", None), ("red", 8 * 86400.0)),
        runbook="VisiongateDriftCheckOld",
    ),
    Panel(
        "Estimated accuracy",
        "By the last drift check, without labels, with its 95% interval. It is wrong where the model is sure and wrong.",
        accuracy("estimated"),
        unit="percentunit",
        defaults={"max": 1},
        runbook="VisiongateAccuracyEstimatedLow",
    ),
    Panel(
        "Out of distribution",
        "Share of a day, and of the week before.",
        {
            "{{model}}": f"model:visiongate_out_of_distribution:ratio_increase1d{{{INSTALLATION}}}",
            "{{model}}, week before": f"model:visiongate_out_of_distribution:ratio_past7d{{{INSTALLATION}}}",
        },
        unit="percentunit",
        defaults={"min": 0},
        runbook="VisiongateUnlikeTrainingImages",
    ),
    Panel(
        "Not sure",
        "Share of a day, and of the week before.",
        {
            "{{model}}": f"model:visiongate_unsure:ratio_increase1d{{{INSTALLATION}}}",
            "{{model}}, week before": f"model:visiongate_unsure:ratio_past7d{{{INSTALLATION}}}",
        },
        unit="percentunit",
        defaults={"min": 0},
        runbook="VisiongateUnsure",
    ),
]
FEEDBACK: Final = [
    Panel(
        "Accuracy of a random sample",
        "By the answers to the question for the true class, in seven days, with its 95% interval. This accuracy counts.",
        {
            **accuracy("sampled"),
            "objective": 'visiongate:objective:ratio{slo="accuracy"}',
        },
        unit="percentunit",
        defaults={"max": 1},
        runbook="VisiongateAccuracyLow",
    ),
    Panel(
        "Accuracy by volunteered feedback",
        "People report mistakes more often than they confirm answers: compare it with the past only.",
        accuracy("volunteered"),
        unit="percentunit",
        defaults={"max": 1},
        runbook="VisiongateAccuracyLow",
    ),
    Panel(
        "Response rate",
        "Of the questions for the true class in seven days, the share that was answered.",
        {
            "{{namespace}}": (
                f"job:visiongate_feedback_answers:increase7d{{{INSTALLATION}}} "
                f"/ (job:visiongate_feedback_requests:increase7d{{{INSTALLATION}}} > 0)"
            )
        },
        unit="percentunit",
        steps=(("red", None), ("green", 0.01)),
        defaults={"min": 0, **LIMIT},
        runbook="VisiongateQuestionsUnanswered",
    ),
    Panel(
        "Questions and answers",
        "Of seven days.",
        {
            "asked": f"sum(increase(visiongate_feedback_requests_total{{{REPLICAS}}}[7d]))",
            "answered, correct={{correct}}": (
                f'sum by (correct) (increase(visiongate_feedback_total{{{REPLICAS},asked="true"}}[7d]))'
            ),
        },
        width=12,
        defaults={"min": 0},
        runbook="VisiongateQuestionsUnanswered",
    ),
    Panel(
        "Volunteered feedback",
        "Answers that people confirmed or corrected unasked, in seven days.",
        {
            "correct={{correct}}": (
                f'sum by (correct) (increase(visiongate_feedback_total{{{REPLICAS},asked="false"}}[7d]))'
            ),
        },
        width=12,
        defaults={"min": 0},
    ),
]
ROLLOUT: Final = [
    verdict(
        "Rollout",
        "What the latest `visiongate rollout` says about challengers.",
        "rollout",
        "VisiongateRolloutWaits",
    ),
    verdict(
        "Retraining", "What the latest `visiongate retrain-check` says.", "retrain", "VisiongateRetrainDue"
    ),
    stat(
        "Last checks",
        "Since the latest of each kind.",
        f"time() - max by (kind) (visiongate_decision_timestamp_seconds{{{REPLICAS}}})",
        unit="s",
        width=8,
        steps=(("green", None), ("red", 8 * 86400.0)),
        defaults={"displayName": "${__field.labels.kind}"},
        runbook="VisiongateDecisionOld",
    ),
    stat(
        "Canaries",
        "Replicas with a canary.",
        f'count(visiongate_model_info{{{REPLICAS},role="canary"}}) or vector(0)',
    ),
    stat(
        "Shadows",
        "Replicas with a shadow.",
        f'count(visiongate_model_info{{{REPLICAS},role="shadow"}}) or vector(0)',
    ),
    Panel(
        "Shadow agrees",
        "Of the images that the shadow predicted, too, the share with the class of the answer.",
        {
            "agrees": share(
                rate("visiongate_shadow_predictions_total", f'{REPLICAS},agrees="true"'),
                rate("visiongate_shadow_predictions_total"),
            )
        },
        unit="percentunit",
        defaults=PERCENT,
        width=12,
    ),
    Panel(
        "Failures by version",
        "Images that a version could not answer, because the model failed or was too late.",
        {
            "{{model}} {{model_version}} {{kind}}": (
                f"sum by (model, model_version, kind) ({rate('visiongate_inference_failures_total')})"
            )
        },
        width=12,
        unit="cps",
        defaults={"min": 0},
        runbook="VisiongateCanaryFails",
    ),
]
PREDICTION_LOG: Final = [
    Panel(
        "Predictions waiting to be recorded",
        "More than a batch of 200 for long: the database is slow or away.",
        {"{{instance}}": f"visiongate_prediction_log_waiting{{{REPLICAS}}}"},
        runbook="VisiongatePredictionLogBehind",
    ),
    Panel(
        "Predictions not recorded",
        "By reason.",
        {
            "{{reason}}": f"sum by (reason) (increase(visiongate_prediction_log_dropped_total{{{REPLICAS}}}[$__rate_interval]))"
        },
        defaults={"custom": {"drawStyle": "bars", "fillOpacity": 80}, "decimals": 0},
        runbook="VisiongatePredictionLogDropped",
    ),
    Panel(
        "Images not kept",
        "Of those that should have been, by reason.",
        {
            "{{reason}}": f"sum by (reason) (increase(visiongate_images_dropped_total{{{REPLICAS}}}[$__rate_interval]))"
        },
        defaults={"custom": {"drawStyle": "bars", "fillOpacity": 80}, "decimals": 0},
        runbook="VisiongateImagesDropped",
    ),
]
RESOURCES: Final = [
    Panel(
        "Memory",
        "Of each replica.",
        {"{{instance}}": f"process_resident_memory_bytes{{{REPLICAS}}}"},
        unit="bytes",
        width=6,
        defaults={"min": 0},
        runbook="VisiongateRestarts",
    ),
    Panel(
        "Processor",
        "Cores that each replica uses.",
        {"{{instance}}": rate("process_cpu_seconds_total")},
        width=6,
        defaults={"min": 0},
        runbook="VisiongateQueueLong",
    ),
    Panel(
        "File descriptors",
        "Share of those that each replica may open.",
        {"{{instance}}": f"process_open_fds{{{REPLICAS}}} / process_max_fds{{{REPLICAS}}}"},
        unit="percentunit",
        width=6,
        steps=(("green", None), ("red", 0.8)),
        defaults={**PERCENT, **LIMIT},
        runbook="VisiongateFilesRunOut",
    ),
    Panel(
        "Time since the start",
        "Of each replica. It falls to 0 at a restart.",
        {"{{instance}}": f"time() - process_start_time_seconds{{{REPLICAS}}}"},
        unit="s",
        width=6,
        defaults={"min": 0},
        runbook="VisiongateRestarts",
    ),
]
LOG: Final = [
    Panel(
        "Problems in the log",
        "Requests by the kind of their problem.",
        {"{{problem}}": f'sum by (problem) (count_over_time({LINES} | problem!="" [$__auto]))'},
        width=12,
        defaults={**STACKED, "decimals": 0},
        source=LOGS,
        runbook="VisiongateManyProblems",
    ),
    Panel(
        "Slowest requests in the log",
        "The 99th percentile by route, of the requests that were logged.",
        {
            "{{route}}": (
                f'quantile_over_time(0.99, {LINES} | logger="visiongate.access" | unwrap duration_ms | __error__="" '
                "[$__auto]) by (route)"
            )
        },
        unit="ms",
        width=12,
        source=LOGS,
        runbook="VisiongateLatencyBurnsFast",
    ),
    log(
        "Errors and warnings",
        "With their tracebacks; and lines that are not JSON, such as those of a process that ends.",
        f'{LINES} | level=~"WARNING|ERROR|CRITICAL" or __error__!=""',
    ),
    log(
        "Slow requests",
        "Requests that took longer than 250 ms.",
        f'{LINES} | logger="visiongate.access" | duration_ms > 250 '
        '| line_format "{{.duration_ms}} ms  {{.status}}  {{.method}} {{.route}}  {{.request_id}}"',
    ),
    log(
        "One request",
        "The lines of the request with the id at the top, as `X-Request-ID`, a problem and the prediction log have it.",
        f'{LINES} | request_id=~".+" | request_id="$request_id"',
        width=24,
    ),
]
ROWS: Final = {
    "Overview": OVERVIEW,
    "Predictions": PREDICTIONS,
    "Models": MODELS,
    "Drift": DRIFT,
    "Feedback and accuracy": FEEDBACK,
    "Rollout": ROLLOUT,
    "Prediction log": PREDICTION_LOG,
    "Resources": RESOURCES,
    "Log": LOG,
}
HEIGHTS: Final = {"stat": 4, "table": 8, "logs": 9, "timeseries": 8}


def place(rows: dict[str, list[Panel]]) -> Iterator[Json]:
    """Yield the rows and panels, from left to right and from top to bottom."""
    ids, y = count(1), 0
    for title, panels in rows.items():
        yield {
            "type": "row",
            "id": next(ids),
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            size = {"x": x, "y": y, "w": panel.width, "h": HEIGHTS[panel.kind]}
            yield {"id": next(ids), **describe(panel), "gridPos": size}
            x, height = x + panel.width, max(height, size["h"])
        y += height


def describe(panel: Panel) -> Json:
    """Return a panel without its place."""
    links = (
        [{"title": f"Runbook {panel.runbook}", "url": f"${{runbooks}}#{panel.runbook.lower()}"}]
        if panel.runbook
        else []
    )
    steps = [{"color": color, "value": value} for color, value in panel.steps]
    defaults = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, **panel.defaults}
    if panel.kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": panel.source,
        "targets": [
            target(panel, ref, legend, query)
            for ref, (legend, query) in zip("ABCDEF", panel.queries.items(), strict=False)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {**OPTIONS[panel.kind], **panel.options},
        "links": links,
        **({"transformations": TABLE} if panel.kind == "table" else {}),
    }


def target(panel: Panel, ref: str, legend: str, query: str) -> Json:
    """Return a query of a panel."""
    is_instant = panel.kind in {"stat", "table"}
    kind: Json = {"instant": is_instant, "range": not is_instant}
    if panel.source is LOGS:
        kind = {"queryType": "range"}
    elif panel.kind == "table":
        kind["format"] = "table"
    named = {"legendFormat": legend} if legend else {}
    return {"refId": ref, "datasource": panel.source, "expr": query, **named, **kind}


OPTIONS: Final[dict[str, Json]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    },
    "table": {"showHeader": True},
    "logs": {"showTime": True, "wrapLogMessage": True, "enableLogDetails": True, "sortOrder": "Descending"},
}
TABLE: Final = [
    {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True},
            "renameByName": {"Value": "replicas"},
            "indexByName": {},
        },
    }
]


def source_variable(kind: str, label: str) -> Json:
    """Return the choice of a data source."""
    return {"type": "datasource", "name": kind, "label": label, "query": kind, "refresh": 1, "hide": 0}


def label_variable(name: str, query: str) -> Json:
    """Return the choice of a label's values. All values include that the label is absent."""
    return {
        "type": "query",
        "name": name,
        "label": name.capitalize(),
        "datasource": METRICS,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def text_variable(name: str, label: str, description: str, value: str) -> Json:
    """Return a field for a text."""
    return {
        "type": "textbox",
        "name": name,
        "label": label,
        "description": description,
        "query": value,
        "current": {"text": value, "value": value},
    }


def annotation(name: str, color: str, query: str, title: str) -> Json:
    """Return marks at times at which a query has a result."""
    return {
        "name": name,
        "datasource": METRICS,
        "enable": True,
        "target": {"refId": "Anno", "expr": query, "interval": "60s"},
        "iconColor": color,
        "titleFormat": title,
    }


def build() -> Json:
    """Return the dashboard."""
    loaded = f'increase(visiongate_model_reloads_total{{{REPLICAS},result="loaded"}}[1m]) > 0'
    firing = f'ALERTS{{alertname=~"Visiongate.+",alertstate="firing",{INSTALLATION}}}'
    return {
        "uid": "visiongate",
        "title": "visiongate",
        "description": "The inference service: objectives, predictions, models, drift, feedback, rollout, resources and log.",
        "tags": ["visiongate"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "links": [
            {"type": "link", "title": "Runbooks", "url": "${runbooks}", "icon": "doc", "targetBlank": True}
        ],
        "templating": {
            "list": [
                source_variable("prometheus", "Metrics"),
                source_variable("loki", "Log"),
                label_variable("namespace", 'label_values(up{job="visiongate"}, namespace)'),
                label_variable(
                    "instance", 'label_values(up{job="visiongate",namespace=~"$namespace"}, instance)'
                ),
                text_variable("logs", "Log streams", "A selector of Loki.", 'service_name="visiongate"'),
                text_variable("request_id", "Request id", "As in X-Request-ID.", ""),
                text_variable("runbooks", "Runbooks", "The address of docs/alerts.md.", ""),
            ]
        },
        "annotations": {
            "list": [
                annotation("Version loaded", "blue", loaded, "{{instance}} has loaded a version"),
                annotation("Alerts", "red", firing, "{{alertname}}"),
            ]
        },
        "panels": list(place(ROWS)),
    }


if __name__ == "__main__":
    DASHBOARD.write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")
