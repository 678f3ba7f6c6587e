"""The rules: they name what the service exports, each alert is tested and has a runbook, and Prometheus fires them."""

import copy
import re
import runpy
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from doc_commands import blocks
from exported_metrics import Series, read_service, write_registered_model
from promtool import INSTALL, find_query_errors, find_rule_errors, needs_promtool, run_rule_tests
from queries import Query, find_faults, record
from served import process
from visiongate.serving.metrics import OWN_PROBLEMS, RESERVED_ROUTES
from visiongate.serving.web.problems import OF_PREDICTIONS

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
RULES = MONITORING / "prometheus/rules.yaml"
TESTS = sorted(RULES.parent.glob("rules_*test.yaml"))
RUNBOOKS = ROOT / "docs/alerts.md"
RUNBOOK_URL = '{{ or $externalLabels.runbooks "docs/alerts.md" }}#'
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason=f"Prometheus is missing; {INSTALL}"
)
START_SECONDS = 15
Rule = dict[str, Any]


def read_rules(text: str) -> list[Rule]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


RULE_LIST = read_rules(RULES.read_text(encoding="utf-8"))
ALERTS = {rule["alert"]: rule for rule in RULE_LIST if "alert" in rule}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return read_service(tmp_path_factory.mktemp("service"))[0]


# What the rules name


def faults(rules: list[Rule], series: Series) -> list[str]:
    known = record(rules, series)
    return [fault for rule in rules for fault in find_faults(rule["expr"], known)]


def test_the_rules_name_only_what_the_service_exports(series: Series) -> None:
    assert faults(RULE_LIST, series) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("visiongate_queue_length", "visiongate_queue_size", "no metric visiongate_queue_size"),
        (
            "job:visiongate_burn:rate1h{",
            "job:visiongate_burn:rate4h{",
            "no metric job:visiongate_burn:rate4h",
        ),
        (
            "(namespace, job, kind)",
            "(namespace, job, type)",
            "visiongate_prediction_errors_total has no label type",
        ),
        ('status="429"', 'state="429"', "visiongate_http_requests_total has no label state"),
        ('status="429"', 'status="428"', "visiongate_http_requests_total has no status 428"),
        ('role="active"', 'role="current"', "visiongate_model_info has no role current"),
        ('le="0.25"', 'le="0.5"', r"visiongate_prediction_latency_seconds_bucket has no le 0\.5"),
        (
            "no_image|too_many_files",
            "no_image|many_files",
            "visiongate_prediction_errors_total has no kind many_files",
        ),
        ('slo="latency"', 'slo="speed"', "job:visiongate_burn:rate1h has no slo speed"),
        ("on (slo) group_left", "on (sla) group_left", "no label sla"),
    ],
)
def test_a_wrong_name_in_a_rule_is_found(series: Series, before: str, after: str, fault: str) -> None:
    rules = copy.deepcopy(RULE_LIST)
    for rule in rules:
        rule["expr"] = rule["expr"].replace(before, after)
    assert any(re.fullmatch(fault, found) for found in faults(rules, series)), faults(rules, series)


def test_the_objectives_are_about_the_routes_with_series_of_their_own() -> None:
    [predict, infer, _] = RESERVED_ROUTES
    used = {
        matcher.value
        for rule in RULE_LIST
        for _, matchers in Query.parse(rule["expr"]).selectors()
        for matcher in matchers
        if matcher.label == "route"
    }
    assert used == {f"{predict}|{infer}"}


def test_the_problems_of_clients_are_those_of_images_and_of_requests_with_images() -> None:
    [rule] = [rule for rule in RULE_LIST if rule.get("record") == "kind:visiongate_client_problems:rate1h"]
    kinds = [
        kind
        for _, matchers in Query.parse(rule["expr"]).selectors()
        for matcher in matchers
        for kind in matcher.value.split("|")
    ]
    of_images = {"damaged_image", "not_an_image", "unsupported_format", "too_many_pixels"}
    assert set(kinds) == {*OF_PREDICTIONS, *of_images}.difference(OWN_PROBLEMS)
    assert len(kinds) == len(set(kinds))


def find_wrong_windows(rules: list[Rule]) -> list[str]:
    """Return recorded names that end with another window than that of what they read."""
    wrong = []
    for rule in rules:
        named = re.search(r"rate(\d+[mhd])$|increase(\d+[mhd])$", rule.get("record", ""))
        if named:
            read = set(re.findall(r"\[(\w+)\]|(?:rate|increase)(\d+[mhd])\b", rule["expr"]))
            if {window for pair in read for window in pair if window} != {named[1] or named[2]}:
                wrong.append(rule["record"])
    return wrong


def test_a_recorded_name_says_its_window() -> None:
    assert find_wrong_windows(RULE_LIST) == []
    rules = copy.deepcopy(RULE_LIST)
    [rule] = [rule for rule in rules if rule.get("record") == "job:visiongate_burn:rate6h"]
    rule["expr"] = rule["expr"].replace("rate6h", "rate2h")
    assert find_wrong_windows(rules) == ["job:visiongate_burn:rate6h"]


# Labels, annotations and runbooks


def headings(page: str) -> list[str]:
    """Return the sections that are runbooks: those of level 3."""
    return re.findall(r"^### (\w+)$", page, flags=re.MULTILINE)


def find_missing_runbooks(alerts: Mapping[str, Rule], page: str) -> list[str]:
    """Return alerts whose link leads to no section, and sections of no alert."""
    sections = headings(page)
    anchors = {section.lower() for section in sections}
    links = {
        name: alert["annotations"]["runbook_url"].removeprefix(RUNBOOK_URL) for name, alert in alerts.items()
    }
    unlinked = [name for name, anchor in links.items() if anchor not in anchors or anchor != name.lower()]
    return unlinked + [section for section in sections if section not in alerts]


def test_each_alert_has_a_runbook() -> None:
    page = RUNBOOKS.read_text(encoding="utf-8")
    assert find_missing_runbooks(ALERTS, page) == []
    assert headings(page) == list(ALERTS)


def test_a_missing_runbook_is_found() -> None:
    page = RUNBOOKS.read_text(encoding="utf-8")
    assert find_missing_runbooks(ALERTS, page.replace("### VisiongateDown\n", "")) == ["VisiongateDown"]
    assert find_missing_runbooks(ALERTS, f"{page}\n### VisiongateGone\n") == ["VisiongateGone"]
    alerts = copy.deepcopy(ALERTS)
    alerts["VisiongateDown"]["annotations"]["runbook_url"] += "s"
    assert find_missing_runbooks(alerts, page) == ["VisiongateDown"]


def test_the_page_states_the_objectives_and_burn_rates_of_the_rules() -> None:
    page = RUNBOOKS.read_text(encoding="utf-8")
    stated = re.findall(r"^\| (\w+) \| ([\d.]+)% \|", page, flags=re.MULTILINE)
    rules = [rule for rule in RULE_LIST if rule.get("record") == "visiongate:objective:ratio"]
    assert {name: f"vector({round(float(share) / 100, 4)})" for name, share in stated} == {
        rule["labels"]["slo"]: rule["expr"] for rule in rules
    }
    rates = re.findall(
        r"^\| ([\d.]+) \| (\d+) (\w+) and (\d+) (\w+) \|.*\| (\w+) \|$", page, flags=re.MULTILINE
    )
    assert len(rates) == 4
    for slo in ("Availability", "Latency"):
        for rate, long, long_unit, short, short_unit, severity in rates:
            alert = ALERTS[f"Visiongate{slo}Burns{'Fast' if severity == 'page' else 'Slowly'}"]
            for window in (f"{long}{long_unit}", f"{short}{short_unit[0]}"):
                assert f'job:visiongate_burn:rate{window}{{slo="{slo.lower()}"}} > {rate}' in alert["expr"]


def runbook_queries() -> list[str]:
    found = blocks(RUNBOOKS.read_text(encoding="utf-8"), "promql")
    return [query for block in found for query in block.splitlines()]


def test_the_queries_of_the_runbooks_name_what_the_service_exports(series: Series) -> None:
    known = record(RULE_LIST, series)
    assert [fault for query in runbook_queries() for fault in find_faults(query, known)] == []
    assert len(runbook_queries()) >= len(ALERTS)


@needs_promtool
def test_prometheus_parses_the_queries_of_the_runbooks(tmp_path: Path) -> None:
    assert find_query_errors(runbook_queries(), tmp_path) == ""


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_what_it_is_about(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert "$labels.job" in alert["annotations"]["description"]
    assert "$labels.namespace" in alert["annotations"]["description"]


def test_the_manifest_has_the_same_rules() -> None:
    manifest = (MONITORING / "kubernetes/prometheus-rule.yaml").read_text(encoding="utf-8")
    write = runpy.run_path(str(MONITORING / "write_prometheus_rule.py"))
    assert write["render"](RULES.read_text(encoding="utf-8")) == manifest
    assert yaml.safe_load(manifest)["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


# promtool


def find_untested(alerts: Mapping[str, Rule], tests: list[dict[str, Any]]) -> set[str]:
    """Return the alerts that no test expects to fire, or no test expects not to."""
    seen: dict[str, set[bool]] = defaultdict(set)
    for test in tests:
        for check in test["alert_rule_test"]:
            seen[check["alertname"]].add(bool(check["exp_alerts"]))
    return {name for name in alerts if seen[name] != {True, False}}


def read_tests() -> list[dict[str, Any]]:
    return [test for path in TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]


def test_each_alert_is_tested_both_ways() -> None:
    tests = read_tests()
    assert find_untested(ALERTS, tests) == set()
    for test in tests:
        test["alert_rule_test"] = [
            check
            for check in test["alert_rule_test"]
            if check["alertname"] != "VisiongateDrift" or check["exp_alerts"]
        ]
    assert find_untested(ALERTS, tests) == {"VisiongateDrift"}


def test_a_service_without_requests_is_tested_with_each_alert() -> None:
    [idle] = [test for test in read_tests() if test["name"] == "A service without requests fires no alert"]
    assert {check["alertname"] for check in idle["alert_rule_test"]} == set(ALERTS)
    assert not [check for check in idle["alert_rule_test"] if check["exp_alerts"]]


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    assert find_rule_errors(RULES) == ""


@needs_promtool
@pytest.mark.slow
def test_the_alerts_fire_when_they_should() -> None:
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(run_rule_tests, TESTS)) == [""] * len(TESTS)


@needs_promtool
def test_a_changed_threshold_is_noticed(tmp_path: Path) -> None:
    [test] = [test for test in read_tests() if test["name"] == "5 percent of the requests are rejected"]
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    rules, threshold = RULES.read_text(encoding="utf-8"), "> 0.05\n        for: 10m"
    assert threshold in rules
    for content, output in (
        (rules, ""),
        (rules.replace(threshold, threshold.replace("5", "4")), "VisiongateOverloaded"),
    ):
        (tmp_path / "rules.yaml").write_text(content, encoding="utf-8")
        found = run_rule_tests(tmp_path / "test.yaml")
        assert output in found
        assert bool(output) == bool(found)


# Prometheus itself


def ask(address: str, path: str) -> Any:  # noqa: ANN401 - any JSON value
    return httpx.get(f"{address}/api/v1/{path}").raise_for_status().json()["data"]


def wait_for(condition: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the condition returns
    """Wait until a condition is true, and return it; Prometheus may not answer yet."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if result := condition():
                return result
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    pytest.fail("Prometheus did not get there in time")


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start Prometheus with the rules for a service, and looks each second; return its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(target: str) -> str:
        (tmp_path / "rules.yaml").write_text(
            RULES.read_text(encoding="utf-8").replace("for: 10m", "for: 1s"), encoding="utf-8"
        )
        scrape = {"job_name": "visiongate", "static_configs": [{"targets": [target]}]}
        settings = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration = {"global": settings, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}
        (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        options = [
            f"--config.file={tmp_path}/prometheus.yaml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={address}",
        ]
        with (tmp_path / "prometheus.log").open("wb") as log:
            started.append(subprocess.Popen(["prometheus", *options], stdout=log, stderr=log))
        return f"http://{address}"

    yield start
    for each in started:
        each.kill()
        each.wait()


def fetch_rules(address: str) -> list[Rule]:
    return [rule for group in ask(address, "rules")["groups"] for rule in group["rules"]]


@needs_prometheus
@pytest.mark.slow
def test_prometheus_scrapes_the_service_and_fires_an_alert(
    tmp_path: Path, prometheus: Callable[[str], str]
) -> None:
    served = write_registered_model(tmp_path)
    with process(served, tmp_path, {"VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.2"}) as service:
        address = prometheus(service.url.removeprefix("http://"))
        wait_for(lambda: all(rule["health"] == "ok" for rule in fetch_rules(address)))
        wait_for(lambda: ask(address, "query?query=up")["result"])
        [target] = ask(address, "targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        # Before the first scrape, there was no replica.
        wait_for(lambda: ask(address, "alerts")["alerts"] == [])
        # The next version is broken: the service goes on with the one before it.
        (served / "served.json").write_text("{}")
        [alert] = wait_for(
            lambda: [each for each in ask(address, "alerts")["alerts"] if each["state"] == "firing"]
        )
        assert (alert["labels"]["alertname"], alert["labels"]["slot"]) == (
            "VisiongateModelProblem",
            "default",
        )
        assert alert["annotations"]["runbook_url"] == "docs/alerts.md#visiongatemodelproblem"
        assert [rule["lastError"] for rule in fetch_rules(address) if rule["health"] != "ok"] == []
