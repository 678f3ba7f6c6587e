"""The compose file of Airflow: rules with a mistake for each, its secrets, and what its services say to each other."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from clones import ROOT
from compose_rules import (
    DEPLOY,
    Document,
    calls_without_a_way,
    changed,
    checks_elsewhere,
    images_not_pinned,
    limits_missing,
    mount_of,
    names_undeclared,
    open_ports,
    paths_not_mounted,
    privileges,
    secrets_in_the_file,
    share_a_network,
    supervision_missing,
)
from image_facts import POSTGRES_DATA, POSTGRES_SCRIPTS

AIRFLOW: Document = yaml.safe_load((DEPLOY / "compose.airflow.yaml").read_text(encoding="utf-8"))
COMPOSE: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = AIRFLOW["services"]
# What runs Airflow.
PARTS = (
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "airflow-migrate",
)
READINESS = {"airflow-api-server": "8080/api/v2/version", "airflow-scheduler": "8974/health"}
KEYS = ("CORE__FERNET_KEY", "API__SECRET_KEY", "API_AUTH__JWT_SECRET")


def keys_that_differ(document: Document) -> list[str]:
    """All parts sign and read with the same keys, and use one database."""
    found = []
    for name in PARTS:
        variables = document["services"][name]["environment"]
        expected = {f"AIRFLOW__{key}_CMD" for key in KEYS}
        found += [f"{name}: no {each}" for each in sorted(expected - variables.keys())]
        addresses = {
            variables.get(f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN{suffix}") for suffix in ("", "_ASYNC")
        }
        if addresses != {"postgresql+psycopg:///?service=airflow"}:
            found.append(f"{name}: databases {addresses}")
    return found


def starts_too_early(document: Document) -> list[str]:
    """Nothing of Airflow starts before its tables are there, and they are made once."""
    wanted = {
        "airflow-postgres": {"condition": "service_healthy"},
        "airflow-migrate": {"condition": "service_completed_successfully"},
    }
    return [
        f"{name}: waits for {document['services'][name]['depends_on']}"
        for name in PARTS
        if document["services"][name]["depends_on"]
        != ({"airflow-postgres": wanted["airflow-postgres"]} if name == "airflow-migrate" else wanted)
    ]


def strangers_met(document: Document) -> list[str]:
    """The database reaches nothing outside, and what does not run tasks reaches no registry."""
    found = [
        f"{name}: the network {network} has a way out"
        for name in ("airflow-postgres", "airflow-migrate")
        for network in document["services"][name]["networks"]
        if not document["networks"][network].get("internal")
    ]
    return found + [
        f"{name}: reaches the registry"
        for name in PARTS
        if name != "airflow-scheduler" and "registry" in document["services"][name]["networks"]
    ]


RULES: dict[Callable[[Document], list[str]], list[tuple[str, Any]]] = {
    secrets_in_the_file: [
        ("services.airflow-api-server.environment.AIRFLOW__API__SECRET_KEY", "airflow"),
        ("services.airflow-scheduler.environment.AIRFLOW__CORE__FERNET_KEY_CMD", "echo key"),
        (
            "services.airflow-migrate.environment.AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
            "postgresql+psycopg://airflow:airflow@airflow-postgres/airflow",
        ),
    ],
    images_not_pinned: [
        ("services.airflow-postgres.image", "docker.io/library/postgres:18"),
        ("services.airflow-api-server.build", None),
    ],
    privileges: [
        ("services.airflow-scheduler.read_only", None),
        ("services.airflow-scheduler.volumes", ["/var/run/docker.sock:/var/run/docker.sock"]),
        ("services.airflow-postgres.user", "0:0"),
        ("services.airflow-triggerer.user", "${CALLER:-0:0}"),
    ],
    open_ports: [("services.airflow-api-server.ports", ["8080:8080"])],
    limits_missing: [("services.airflow-scheduler.deploy", None)],
    supervision_missing: [
        ("services.airflow-triggerer.healthcheck", None),
        ("services.airflow-migrate.healthcheck", None),
        ("services.airflow-api-server.restart", None),
    ],
    paths_not_mounted: [
        ("services.airflow-api-server.secrets", ["airflow_database"]),
        ("services.airflow-postgres.secrets", ["airflow_database"]),
    ],
    names_undeclared: [
        ("services.airflow-scheduler.networks", ["airflow", "databases"]),
        ("secrets.airflow_passwords", None),
        ("volumes.spare", {}),
    ],
    calls_without_a_way: [
        ("services.airflow-migrate.networks", ["airflow"]),
        ("services.airflow-triggerer.networks", ["registry"]),
        ("services.airflow-scheduler.networks", ["airflow", "registry"]),
    ],
    keys_that_differ: [
        ("services.airflow-scheduler.environment.AIRFLOW__API_AUTH__JWT_SECRET_CMD", None),
        ("services.airflow-triggerer.environment.AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC", None),
    ],
    starts_too_early: [
        ("services.airflow-scheduler.depends_on", {"airflow-postgres": {"condition": "service_healthy"}}),
        ("services.airflow-migrate.depends_on", {"airflow-postgres": {"condition": "service_started"}}),
    ],
    strangers_met: [
        ("networks.airflow-database.internal", None),
        ("services.airflow-triggerer.networks", ["airflow", "airflow-database", "registry"]),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_obeys_each_rule_and_a_mistake_is_noticed(rule: Callable[[Document], list[str]]) -> None:
    assert rule(AIRFLOW) == []
    for path, value in RULES[rule]:
        assert rule(changed(AIRFLOW, path, value)), f"{path} = {value!r} is not noticed"


def test_health_checks_ask_the_part_itself_or_the_server_about_it() -> None:
    assert checks_elsewhere(AIRFLOW, READINESS) == []
    for name, part in (("airflow-dag-processor", "dag_processor"), ("airflow-triggerer", "triggerer")):
        code = SERVICES[name]["healthcheck"]["test"][-1]
        compile(code, name, "exec")
        assert f'health["{part}"]["status"] != "healthy"' in code
        assert "http://airflow-api-server:8080/api/v2/monitor/health" in code
    assert SERVICES["airflow-scheduler"]["environment"]["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "true"


def test_the_tasks_find_the_work_tree_and_the_environment_of_the_pipeline() -> None:
    scheduler = SERVICES["airflow-scheduler"]
    variables = scheduler["environment"]
    mounts = dict(map(mount_of, scheduler["volumes"]))
    assert mounts[variables["AIRFLOW_VAR_VISIONGATE_PROJECT"]] == ".."
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == "/work/dags"
    workspace = Path(variables["AIRFLOW_VAR_VISIONGATE_WORKSPACE"])
    assert mounts[str(workspace.parent)] == "airflow"
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert f"AIRFLOW_HOME={workspace.parent}\n" in dockerfile
    # The volume takes the mode of the folder of the image, so that each caller may write.
    assert f"install --directory --mode=1777 {workspace.parent}\n" in dockerfile
    assert f"{Path(variables['AIRFLOW_VAR_VISIONGATE_PYTHON']).parents[1]}/bin:" in dockerfile
    # What reads the DAGs changes nothing.
    assert "..:/work:ro" in SERVICES["airflow-dag-processor"]["volumes"]


def test_the_pool_of_the_tasks_is_made_once() -> None:
    project = (ROOT / "dags/visiongate_dags/project.py").read_text(encoding="utf-8")
    [pool] = re.findall(r'^POOL = "(\w+)"$', project, re.MULTILINE)
    [script] = SERVICES["airflow-migrate"]["command"]
    assert re.fullmatch(rf"airflow db migrate; airflow pools set {pool} 1 '[\w ,]+'", script)


def test_the_database_is_that_of_the_other_compose_file() -> None:
    ours, theirs = SERVICES["airflow-postgres"], COMPOSE["services"]["postgres"]
    for key in ("image", "user", "environment", "healthcheck", "stop_grace_period", "tmpfs"):
        assert ours[key] == theirs[key], key
    targets = dict(map(mount_of, ours["volumes"]))
    assert targets[POSTGRES_DATA] == "airflow-postgres"
    assert targets[f"{POSTGRES_SCRIPTS}/databases.sh"] == "./postgres/databases.sh"
    # One database, that of Airflow.
    assert [name for name in ours["secrets"] if name.endswith("_database")] == ["airflow_database"]


def test_both_files_can_be_used_together() -> None:
    assert AIRFLOW["name"] == COMPOSE["name"]
    assert not SERVICES.keys() & COMPOSE["services"].keys()
    assert AIRFLOW["networks"]["registry"] == COMPOSE["networks"]["registry"]
    together = {**COMPOSE, "services": {**COMPOSE["services"], **SERVICES}}
    assert share_a_network(together, "airflow-scheduler", "mlflow")
    assert not share_a_network(together, "visiongate", "airflow-postgres")


def test_the_secrets_are_what_airflow_reads(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(folder)], check=True, capture_output=True)
    Fernet((folder / "airflow_fernet_key").read_bytes().strip())
    users = SERVICES["airflow-api-server"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    passwords = json.loads((folder / "airflow_passwords").read_text())
    assert [user.partition(":")[0] for user in users.split(",")] == list(passwords)
    values = [
        *passwords.values(),
        *((folder / f"airflow_{name}_key").read_text() for name in ("api", "jwt", "fernet")),
    ]
    assert len(set(values)) == 4
    assert min(map(len, values)) >= 44


def test_the_image_has_both_environments() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    stage = dockerfile.partition("FROM torch AS airflow\n")[2].partition("\nFROM ")[0]
    assert "COPY dags/requirements.lock /build/dags.lock" in stage
    assert "--requirement /build/dags.lock --requirement /build/airflow.lock" in stage
    # The builder must see the lock.
    assert "!dags/requirements.lock" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    # The first `python` and `airflow` are Airflow's.
    assert "PATH=/opt/airflow/bin:/opt/visiongate/bin:" in stage
    assert {SERVICES[name]["image"] for name in PARTS} == {"visiongate:airflow"}


def test_the_docs_name_the_volumes_and_the_address() -> None:
    docs = (ROOT / "docs/compose.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in docs for name in (*AIRFLOW["volumes"], "airflow-migrate"))
    assert "127.0.0.1:8080" in docs
    assert SERVICES["airflow-api-server"]["ports"] == ["127.0.0.1:${AIRFLOW_PORT:-8080}:8080"]
