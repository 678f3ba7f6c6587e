"""What `deploy/monitoring` adds to an overlay: it finds the service, and has the rules and the dashboard unchanged."""

import asyncio
import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exported_metrics import write_registered_model
from served import application

DEPLOY = Path(__file__).parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    content: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


MONITOR = read(MONITORING / "kubernetes/service-monitor.yaml")
SERVICE = read(DEPLOY / "kubernetes/base/service.yaml")


def find_mismatches(monitor: Manifest, service: Manifest) -> list[str]:
    """Return why a ServiceMonitor does not find a Service, finds it as another job than the rules, or looks too seldom."""
    [endpoint] = monitor["spec"]["endpoints"]
    labels = service["metadata"]["labels"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    faults = [f"label {name}" for name, value in wanted.items() if labels.get(name) != value]
    if endpoint["port"] not in {port["name"] for port in service["spec"]["ports"]}:
        faults.append(f"port {endpoint['port']}")
    if service["metadata"]["name"] != "visiongate":
        faults.append("the job is named after the Service")
    [kept] = [each for each in endpoint["relabelings"] if each["action"] == "keep"]
    if kept["regex"] != service["metadata"]["name"]:
        faults.append(f"only {kept['regex']} is kept")
    if kept["sourceLabels"] != ["__meta_kubernetes_service_name"]:
        faults.append(f"kept by {kept['sourceLabels']}")
    # The shortest windows are of five minutes, and a rate needs two scrapes, even if one fails.
    if endpoint["interval"] not in {"15s", "30s", "60s", "1m"}:
        faults.append(f"interval {endpoint['interval']}")
    return faults


def test_the_monitor_finds_the_service() -> None:
    assert find_mismatches(MONITOR, SERVICE) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (
            ("spec", "selector", "matchLabels", "app.kubernetes.io/component"),
            "web",
            "label app.kubernetes.io/component",
        ),
        (("spec", "endpoints", 0, "port"), "web", "port web"),
        (
            ("spec", "endpoints", 0, "relabelings", 0, "regex"),
            "visiongate-public",
            "only visiongate-public is kept",
        ),
        (
            ("spec", "endpoints", 0, "relabelings", 0, "sourceLabels", 0),
            "service",
            "kept by ['service']",
        ),
        (("spec", "endpoints", 0, "interval"), "30m", "interval 30m"),
    ],
)
def test_a_monitor_that_does_not_find_the_service_is_noticed(
    path: tuple[str | int, ...], value: str, fault: str
) -> None:
    monitor = copy.deepcopy(MONITOR)
    target: Any = monitor
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert find_mismatches(monitor, SERVICE) == [fault]


def test_a_service_of_another_name_is_noticed() -> None:
    service = copy.deepcopy(SERVICE)
    service["metadata"]["name"] = "pets"
    assert "the job is named after the Service" in find_mismatches(MONITOR, service)


def test_the_path_of_the_monitor_has_metrics(tmp_path: Path) -> None:
    async def check() -> None:
        async with application(write_registered_model(tmp_path)) as app:
            for endpoint in MONITOR["spec"]["endpoints"]:
                answer = await app.client.get(endpoint["path"])
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")

    asyncio.run(check())


@pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is missing; see https://kubernetes.io/docs/tasks/tools"
)
def test_an_overlay_gets_rules_and_dashboard_unchanged(tmp_path: Path) -> None:
    shutil.copytree(MONITORING, tmp_path / "monitoring")
    overlay = {"kind": "Kustomization", "namespace": "visiongate", "components": ["../monitoring"]}
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay/kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    rendered = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "overlay"], capture_output=True, text=True, check=True
    ).stdout
    objects = {each["kind"]: each for each in yaml.safe_load_all(rendered)}
    assert set(objects) == {"ConfigMap", "PrometheusRule", "ServiceMonitor"}
    # The sidecar of Grafana looks for the label.
    assert objects["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = (MONITORING / "grafana/dashboards/visiongate.json").read_text(encoding="utf-8")
    assert json.loads(objects["ConfigMap"]["data"]["visiongate.json"]) == json.loads(dashboard)
    assert objects["PrometheusRule"]["spec"] == read(MONITORING / "prometheus/rules.yaml")
    [endpoint] = objects["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "visiongate-metrics-key", "key": "key"}
