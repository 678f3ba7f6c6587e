"""The dashboard: its queries parse and name what the service exports and logs, and its panels can be read."""

import copy
import json
import re
import runpy
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from exported_metrics import Series, read_service
from promtool import find_query_errors, needs_promtool
from queries import fill_in, find_faults, find_log_fields, record

MONITORING = Path(__file__).parents[2] / "deploy/monitoring"
FILE = MONITORING / "grafana/dashboards/visiongate.json"
RULES = yaml.safe_load((MONITORING / "prometheus/rules.yaml").read_text(encoding="utf-8"))
RULE_LIST = [rule for group in RULES["groups"] for rule in group["rules"]]
Dashboard = dict[str, Any]
# Of a request with a key, of one with a trace, of a failed one, and of a message with a traceback.
OTHER_LOG_FIELDS = {"key", "trace_id", "exception"}


@pytest.fixture(scope="module")
def dashboard() -> Dashboard:
    content: Dashboard = json.loads(FILE.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Series, set[str]]:
    """The series, with recorded ones, and the fields of the log."""
    series, fields = read_service(tmp_path_factory.mktemp("service"))
    return dict(record(RULE_LIST, series)), fields | OTHER_LOG_FIELDS


def queries(dashboard: Dashboard, kind: str) -> Iterator[str]:
    """Yield the queries of panels, annotations and variables for a kind of data source."""
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    marks = [
        {**mark["target"], "datasource": mark["datasource"]} for mark in dashboard["annotations"]["list"]
    ]
    for each in [*targets, *marks]:
        if each["datasource"]["type"] == kind:
            yield fill_in(each["expr"])


def faults(dashboard: Dashboard, exported: tuple[Series, set[str]]) -> list[str]:
    known, fields = exported
    found = [fault for query in queries(dashboard, "prometheus") for fault in find_faults(query, known)]
    read = {field for query in queries(dashboard, "loki") for field in find_log_fields(query)}
    return found + [f"no field {field}" for field in sorted(read - fields)]


def test_the_queries_name_what_the_service_exports_and_logs(
    dashboard: Dashboard, exported: tuple[Series, set[str]]
) -> None:
    assert faults(dashboard, exported) == []
    assert len(list(queries(dashboard, "prometheus"))) > 40
    assert len(list(queries(dashboard, "loki"))) == 5


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("visiongate_queue_length", "visiongate_queue_size", "no metric visiongate_queue_size"),
        ("visiongate_burn:rate1h", "visiongate_burn:rate1w", "no metric job:visiongate_burn:rate1w"),
        ("by (predicted_class)", "by (class)", "visiongate_prediction_requests_total has no label class"),
        ('agrees=\\"true\\"', 'agrees=\\"yes\\"', "visiongate_shadow_predictions_total has no agrees yes"),
        (
            'stage=\\"total\\"',
            'stage=\\"all\\"',
            "visiongate_prediction_latency_seconds_bucket has no stage all",
        ),
        ("process_open_fds", "process_fds", "no metric process_fds"),
        ("duration_ms > 250", "duration > 250", "no field duration"),
        ("unwrap duration_ms", "unwrap seconds", "no field seconds"),
        ("{{.status}}", "{{.code}}", "no field code"),
        ("by (problem)", "by (kind_of_problem)", "no field kind_of_problem"),
    ],
)
def test_a_wrong_name_in_a_query_is_found(
    exported: tuple[Series, set[str]], before: str, after: str, fault: str
) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert before in text
    assert fault in faults(json.loads(text.replace(before, after)), exported)


# Prometheus' parser


@needs_promtool
def test_prometheus_parses_the_queries(dashboard: Dashboard, tmp_path: Path) -> None:
    expressions = list(queries(dashboard, "prometheus"))
    assert find_query_errors(expressions, tmp_path) == ""
    assert not [each for each in expressions if "$" in each]
    assert "parse" in find_query_errors([*expressions, "sum(rate(up[5m])"], tmp_path)


# Panels


def find_flaws(dashboard: Dashboard) -> list[str]:
    """Return panels that lack something, or lie over others."""
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    alerts = {rule["alert"].lower() for rule in RULE_LIST if "alert" in rule}
    flaws = []
    for panel in panels:
        title, links = panel["title"], panel["links"]
        if not panel["description"]:
            flaws.append(f"{title}: no description")
        if panel["type"] == "timeseries" and not panel["fieldConfig"]["defaults"]["unit"]:
            flaws.append(f"{title}: no unit")
        if panel["type"] == "timeseries" and not all(
            target.get("legendFormat") for target in panel["targets"]
        ):
            flaws.append(f"{title}: no legend")
        flaws += [
            f"{title}: {link['url']}"
            for link in links
            if link["url"].rpartition("${runbooks}#")[2] not in alerts
        ]
    for one, two in combinations(dashboard["panels"], 2):
        if one["id"] == two["id"] or _overlap(one["gridPos"], two["gridPos"]):
            flaws.append(f"{one['title']} and {two['title']}")
    return flaws


def _overlap(one: dict[str, int], two: dict[str, int]) -> bool:
    return all(
        one[at] < two[at] + two[size] and two[at] < one[at] + one[size]
        for at, size in (("x", "w"), ("y", "h"))
    )


def test_each_panel_is_described_and_has_its_place(dashboard: Dashboard) -> None:
    assert find_flaws(dashboard) == []
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard["panels"])
    broken = copy.deepcopy(dashboard)
    one, two, three = [panel for panel in broken["panels"] if panel["type"] == "timeseries"][:3]
    one["description"] = ""
    two["links"][0]["url"] += "s"
    three["gridPos"]["x"] -= 1
    flaws = find_flaws(broken)
    assert len(flaws) == 3
    assert flaws[0] == f"{one['title']}: no description"
    assert flaws[2] == f"{two['title']} and {three['title']}"


def test_the_colors_of_the_objectives_are_those_of_the_rules(dashboard: Dashboard) -> None:
    panels = {panel["title"]: panel for panel in dashboard["panels"]}
    objectives = {
        rule["labels"]["slo"]: float(rule["expr"].removeprefix("vector(").removesuffix(")"))
        for rule in RULE_LIST
        if rule.get("record") == "visiongate:objective:ratio"
    }
    for title, slo in (("Availability", "availability"), ("Predictions within 0.25 s", "latency")):
        assert panels[title]["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == objectives[slo]


def test_the_rows_are_those_of_an_operator(dashboard: Dashboard) -> None:
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == [
        "Overview",
        "Predictions",
        "Models",
        "Drift",
        "Feedback and accuracy",
        "Rollout",
        "Prediction log",
        "Resources",
        "Log",
    ]


def test_data_sources_are_chosen_in_the_dashboard(dashboard: Dashboard) -> None:
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert {name for name, each in variables.items() if each["type"] == "datasource"} == {
        "prometheus",
        "loki",
    }
    text = FILE.read_text(encoding="utf-8")
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${prometheus}", "${loki}", "visiongate"}
    used = set(re.findall(r"\$\{?([a-z]\w*)", text)) - {"__rate_interval"}
    assert used <= {*variables, "__field"}, used - set(variables)


def test_the_file_is_what_its_source_writes(dashboard: Dashboard) -> None:
    source = runpy.run_path(str(MONITORING / "write_dashboard.py"))
    assert source["build"]() == dashboard
