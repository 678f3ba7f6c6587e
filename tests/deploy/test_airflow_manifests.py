"""The namespace of Airflow's tasks and their pods: rendered, held against schemas and rules, and broken one field at a time."""

import functools
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import airflow_rules
import connection_rules
import workload_rules
from broken_airflow_manifests import BROKEN_AIRFLOW, POD
from clones import ROOT, call, clone_tree
from manifest_cases import case_without_service
from manifest_schemas import VERSIONS, schema_findings
from manifests import FOLDER, Document, change, render

AIRFLOW_PYTHON = ROOT / ".venv-airflow/bin/python"
PODS = ROOT / "dags/visiongate_dags/pods.yaml"
IMAGE = "ghcr.io/example/visiongate/train@sha256:" + "0" * 64
NAMESPACE = "visiongate-airflow"
# Of those of the other manifests, what also holds here.
COMMON = (
    *workload_rules.OF_ANY_PODS,
    connection_rules.denies_what_no_policy_allows,
    connection_rules.allows_ports_and_peers_that_exist,
)
RULES = {rule.__name__: rule for rule in COMMON} | airflow_rules.RULES


@functools.cache
def rendered() -> list[Document]:
    """Return the objects of the namespace, and the pods as the file describes them."""
    described = yaml.safe_load(PODS.read_text(encoding="utf-8"))
    pods = [
        _complete(described["pod"], task, resources) for task, resources in described["resources"].items()
    ]
    return [*render("airflow"), *pods]


def _complete(pod: Document, task: str, resources: Document) -> Document:
    """Return the pod with what the operator adds."""
    container = {**pod["spec"]["containers"][0], "image": IMAGE, "args": [task], "resources": resources}
    metadata = {**pod["metadata"], "name": f"visiongate-{task.replace('_', '-')}"}
    return {**pod, "metadata": metadata, "spec": {**pod["spec"], "containers": [container]}}


def findings(documents: Sequence[Document]) -> list[str]:
    """What the rules and the schemas say."""
    found = [
        finding for rule in RULES.values() for finding in rule(case_without_service(NAMESPACE, documents))
    ]
    return found + schema_findings(documents, VERSIONS[-1])


@pytest.mark.parametrize("rule", RULES)
def test_the_manifests_hold_the_rule(rule: str) -> None:
    assert list(RULES[rule](case_without_service(NAMESPACE, rendered()))) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_supported_versions(version: str) -> None:
    assert schema_findings(rendered(), version) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "finding"),
    [(name, *row) for name, rows in BROKEN_AIRFLOW.items() for row in rows],
)
def test_a_broken_field_is_found(name: str, path: str, value: object, finding: str) -> None:
    assert finding in "\n".join(findings(change(rendered(), name, path, value)))


def test_each_rule_finds_something() -> None:
    broken = [
        change(rendered(), name, path, value)
        for name, rows in BROKEN_AIRFLOW.items()
        for path, value, _ in rows
    ]
    cases = [case_without_service(NAMESPACE, documents) for documents in broken]

    assert [name for name, rule in RULES.items() if not any(list(rule(case)) for case in cases)] == []


@pytest.mark.slow
def test_the_pods_that_the_operator_makes_are_valid_and_hold_the_rules(tmp_path: Path) -> None:
    if not AIRFLOW_PYTHON.exists():
        pytest.skip("Airflow's environment is missing: make airflow-init")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}/dags",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    command = [str(AIRFLOW_PYTHON), str(ROOT / "tests/dags/rendered_pods.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    pods = json.loads(result.stdout.splitlines()[-1])

    assert list(pods) == [
        "check_environment",
        "preprocess_data",
        "train_model",
        "evaluate_model",
        "register_model",
        "generate_report",
    ]
    documents = [*render("airflow"), *pods.values()]
    assert findings(documents) == []
    assert [found for version in VERSIONS for found in schema_findings(documents, version)] == []
    # What the file describes is what Kubernetes is asked for.
    [described] = [found for found in rendered() if found["metadata"]["name"] == POD.partition("/")[2]]
    for field, value in described["spec"].items():
        if field != "containers":
            assert pods["train_model"]["spec"][field] == value, field


def run_task(folder: Path, task: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a task as its pod does, with the volume in a folder of this machine."""
    script = folder / "task.sh"
    script.write_text((FOLDER / "airflow/task.sh").read_text(encoding="utf-8"), encoding="utf-8")
    settings = {"data": None, "overrides": [], "fetch": False, "emails": [], "keep_runs": 2}
    environment = {
        "HOME": str(folder / "work/home"),
        "VISIONGATE_RUN": "manual",
        "VISIONGATE_RUN_SETTINGS": json.dumps(settings),
        **variables,
    }
    (folder / "work").mkdir(exist_ok=True)
    return call(folder / "work", "sh", str(script), task, check=False, **environment)


@pytest.mark.slow
def test_the_tasks_run_in_a_clone_of_the_repository(tmp_path: Path) -> None:
    origin = clone_tree(tmp_path / "origin")
    variables = {"REPOSITORY": str(origin), "COMMIT": "HEAD"}

    wrong = json.dumps({"data": None, "overrides": ["training.epoch=1"], "fetch": False, "keep_runs": 2})
    refused = run_task(tmp_path, "check_environment", **variables, VISIONGATE_RUN_SETTINGS=wrong)
    assert refused.returncode == 1
    assert "training.epoch" in refused.stderr

    for task in ("check_environment", "preprocess_data"):
        ended = run_task(tmp_path, task, **variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    clone = tmp_path / "work/runs/manual"
    assert (clone / "data/transformed").is_dir()
    commit = call(origin, "git", "rev-parse", "HEAD").stdout.strip()
    assert call(clone, "git", "rev-parse", "HEAD").stdout.strip() == commit

    missing = run_task(tmp_path, "train_model", **variables, VISIONGATE_RUN="other")
    assert missing.returncode == 1
    assert "the clone of this run is gone" in missing.stderr
