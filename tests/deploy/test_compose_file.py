"""The compose file: its schema, rules of our own with a mistake for each, and the files that it mounts."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from compose_rules import (
    DEPLOY,
    PIPELINE,
    Document,
    addresses_unknown,
    calls_without_a_way,
    changed,
    checks_elsewhere,
    data_lost,
    files_missing,
    images_not_pinned,
    limits_missing,
    names_undeclared,
    open_ports,
    passwords_not_read,
    paths_not_mounted,
    ports_without_listeners,
    privileges,
    profiles_shared,
    secrets_in_the_file,
    share_a_network,
    strangers_met,
    supervision_missing,
    variables,
)
from image_facts import IMAGES
from visiongate.serving.web.keys import ApiKeys

FILES = sorted(DEPLOY.glob("compose*.yaml"))
COMPOSE: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCS = (DEPLOY.parent / "docs/compose.md").read_text(encoding="utf-8")
MONITORING = DEPLOY / "monitoring"
ALLOY = (MONITORING / "alloy/config.alloy").read_text(encoding="utf-8")
# Set by the engine, not by the user.
GIVEN = {"COMPOSE_PROJECT_NAME"}
PORTS = {name: facts.port for name, facts in IMAGES.items() if facts.port}
SCRAPED = {"visiongate", "prometheus", "alertmanager", "grafana", "loki", "alloy"}
# The port and the path of the page that says whether a service is ready.
READINESS = {
    "visiongate": "8000/health/ready",
    "prometheus": "9090/-/ready",
    "alertmanager": "9093/-/ready",
    "grafana": "3000/api/health",
    "mlflow": "5000/health",
    "s3": "7070/health",
}
IMAGE = "localhost/visiongate:serve"
TOOLS = Path(sys.executable).parent


def read(path: str) -> Document:
    document: Document = yaml.safe_load((MONITORING / path).read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    write_secrets(folder)
    return folder


def write_secrets(folder: Path) -> str:
    command = ["sh", str(DEPLOY / "secrets.sh"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check_schema(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_files_obey_the_schema(tmp_path: Path) -> None:
    result = check_schema(*FILES)
    assert result.returncode == 0, result.stdout
    (tmp_path / "compose.yaml").write_text(
        yaml.safe_dump(changed(COMPOSE, "services.visiongate.tmpfs", {"/cache": 1}))
    )
    assert check_schema(tmp_path / "compose.yaml").returncode == 1


RULES: dict[Callable[[Document], list[str]], list[tuple[str, Any]]] = {
    secrets_in_the_file: [
        ("services.grafana.environment.GF_SECURITY_ADMIN_PASSWORD", "admin"),
        ("services.develop.environment.JUPYTER_TOKEN", "${JUPYTER_TOKEN:-visiongate}"),
        ("services.s3.environment", {"ROOT_SECRET_KEY": "minioadmin"}),
        ("services.mlflow.command", ["--backend-store-uri=postgresql://mlflow:mlflow@postgres/mlflow"]),
    ],
    images_not_pinned: [
        ("services.loki.image", "docker.io/grafana/loki:latest"),
        ("services.loki.image", "docker.io/grafana/loki:3.7.8"),
        ("services.loki.image", COMPOSE["services"]["loki"]["image"][:-1]),
        ("services.mlflow.image", "ghcr.io/mlflow/mlflow"),
    ],
    privileges: [
        ("services.alloy.cap_add", ["DAC_READ_SEARCH"]),
        ("services.alloy.volumes", ["/var/run/docker.sock:/var/run/docker.sock:ro"]),
        ("services.visiongate.privileged", True),
        ("services.visiongate.network_mode", "host"),
        ("services.visiongate.user", None),
        ("services.visiongate.user", "visiongate"),
        ("services.postgres.user", "0:0"),
        ("services.visiongate.read_only", False),
        ("services.train.security_opt", []),
    ],
    open_ports: [
        ("services.visiongate.ports", ["8000:8000"]),
        ("services.grafana.ports", ["0.0.0.0:3000:3000"]),
        ("services.mlflow.ports", ["${MLFLOW_PORT:-5000}:5000"]),
    ],
    limits_missing: [
        ("services.visiongate.deploy.resources.limits.memory", None),
        ("services.train.deploy", None),
        ("services.loki.logging.options", {"max-size": "10m"}),
    ],
    supervision_missing: [
        ("services.postgres.healthcheck", None),
        ("services.mlflow.restart", None),
        ("services.checks.healthcheck", None),
    ],
    paths_not_mounted: [
        ("services.prometheus.command", ["--config.file=/etc/prometheus/prometheus.yml"]),
        ("services.mlflow.secrets", ["mlflow_database"]),
        ("services.loki.volumes", ["loki:/loki"]),
    ],
    names_undeclared: [
        ("services.prometheus.networks", ["service", "monitor"]),
        ("secrets.jupyter_token", None),
        ("volumes.spare", {}),
    ],
    strangers_met: [
        ("services.visiongate.networks", ["service", "database"]),
        ("networks.objects.internal", False),
    ],
    profiles_shared: [
        ("services.train.profiles", ["monitoring"]),
        ("services.evaluate.profiles", None),
    ],
    ports_without_listeners: [
        ("services.grafana.ports", ["127.0.0.1:3000:3001"]),
        ("services.develop.ports", ["127.0.0.1:8888:8889"]),
        ("services.mlflow.command", ["--port=5001"]),
    ],
    data_lost: [
        # Of images before PostgreSQL 18.
        ("services.postgres.volumes", ["postgres:/var/lib/postgresql/data"]),
        ("services.grafana.volumes", ["grafana:/var/grafana"]),
        ("services.grafana.volumes", ["./grafana:/var/lib/grafana"]),
        ("services.prometheus.command", ["--storage.tsdb.path=/prometheus/data"]),
        ("services.checks.volumes", ["predictions:/var/lib/vision"]),
    ],
    passwords_not_read: [
        # Grafana would have the password `admin`.
        ("services.grafana.environment.GF_SECURITY_ADMIN_PASSWORD__FILE", None),
        ("services.mlflow.environment.PGSERVICEFILE", "/run/secrets/s3_credentials"),
    ],
    calls_without_a_way: [
        ("services.visiongate.networks", ["service"]),
        ("services.mlflow.networks", ["registry", "objects"]),
        ("services.checks.networks", ["monitoring"]),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_obeys_each_rule_and_a_mistake_is_noticed(rule: Callable[[Document], list[str]]) -> None:
    assert rule(COMPOSE) == []
    for path, value in RULES[rule]:
        assert rule(changed(COMPOSE, path, value)), f"{path} = {value!r} is not noticed"


def test_health_checks_ask_where_a_service_says_that_it_is_ready() -> None:
    assert checks_elsewhere(COMPOSE, READINESS) == []
    operations = (DEPLOY.parent / "docs/operations.md").read_text(encoding="utf-8")
    assert f"`{READINESS['visiongate'].removeprefix('8000')}`" in operations
    test = COMPOSE["services"]["visiongate"]["healthcheck"]["test"]
    for broken in (test[-1].replace("/ready", "/readyz"), test[-1].replace("8000", "8080")):
        assert checks_elsewhere(
            changed(COMPOSE, "services.visiongate.healthcheck.test", [*test[:-1], broken]), READINESS
        )
    assert checks_elsewhere(changed(COMPOSE, "services.postgres.healthcheck", None), READINESS)


def test_the_service_fits_its_image() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    service = COMPOSE["services"]["visiongate"]
    [folder] = re.findall(r"LOG__ADDRESS=sqlite:///(/.+)/", dockerfile)
    assert f"predictions:{folder}" in service["volumes"]
    [images] = re.findall(r"LOG__IMAGES__FOLDER=(/\S+)", dockerfile)
    assert f"images:{images}" in service["volumes"]
    # A new volume belongs to the owner of the folder in the image.
    assert re.search(rf"^RUN install .*--owner=10001 .* {images}$", dockerfile, re.MULTILINE)
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[0] == service["user"]
    for name in ("visiongate", *PIPELINE):
        build = COMPOSE["services"][name]["build"]
        assert build["dockerfile"] == "deploy/Dockerfile"
        assert re.search(rf"^FROM \w+ AS {build['target']}$", dockerfile, re.MULTILINE)
        assert COMPOSE["services"][name]["image"] == f"visiongate:{build['target']}"


def test_the_dashboard_finds_the_logs() -> None:
    dashboard = json.loads((MONITORING / "grafana/dashboards/visiongate.json").read_text(encoding="utf-8"))
    [logs] = [each for each in dashboard["templating"]["list"] if each["name"] == "logs"]
    label, service = re.fullmatch(r'(\w+)="(\w+)"', logs["query"]).groups()
    assert service in COMPOSE["services"]
    assert label in keys("\n".join(re.findall(r"stage\.labels \{(.*?)\n\t\}", ALLOY, re.DOTALL)))


def test_each_mounted_file_exists_or_is_a_secret_that_the_script_writes(secrets: Path) -> None:
    written = names(secrets)
    for path in FILES:
        assert files_missing(yaml.safe_load(path.read_text(encoding="utf-8")), written) == [], path
    mounts = ["./monitoring/logs:/etc/loki:ro"]
    assert files_missing(changed(COMPOSE, "services.loki.volumes", mounts), written) == ["./monitoring/logs"]
    assert files_missing(COMPOSE, written - {"jupyter_token"}) == ["./secrets/jupyter_token"]


def test_the_script_keeps_secrets_and_shares_them_with_no_other_user(secrets: Path) -> None:
    assert (secrets.stat().st_mode & 0o777) == 0o700
    passwords = [
        (secrets / name).read_text()
        for name in ("grafana_admin_password", "postgres_password", "jupyter_token")
    ]
    assert len(set(passwords)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", password) for password in passwords)
    assert write_secrets(secrets) == ""
    assert (secrets / "grafana_admin_password").read_text() == passwords[0]


def test_the_service_knows_the_key_that_prometheus_sends(secrets: Path) -> None:
    keys = ApiKeys([], str(secrets / "keys/keys"))
    found = keys.find((secrets / "prometheus_key").read_text())
    assert found is not None
    assert (found.name, found.is_admin) == ("prometheus", False)


def test_the_environment_file_names_each_variable_with_its_default() -> None:
    used: dict[str, set[str]] = {}
    for path in FILES:
        for name, defaults in variables(path.read_text(encoding="utf-8")).items():
            used.setdefault(name, set()).update(defaults)
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert {name: {value} for name, value in example.items()} == {
        name: defaults for name, defaults in used.items() if name not in GIVEN
    }


def test_the_docs_name_profiles_files_ports_and_volumes() -> None:
    profiles = {
        profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])
    }
    assert set(re.findall(r"--profile ([a-z-]+)", DOCS)) <= profiles
    for name in (*profiles, *COMPOSE["volumes"]):
        assert f"`{name}`" in DOCS, name
    assert all(f"deploy/{path.name}" in DOCS for path in FILES)
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            default = re.search(r":-(\d+)\}", port)
            assert default, f"{name}: {port}"
            assert f"127.0.0.1:{default[1]}" in DOCS, name


def test_only_the_override_brings_the_service_to_the_database() -> None:
    override = yaml.safe_load((DEPLOY / "compose.prediction-log.yaml").read_text(encoding="utf-8"))
    added = override["services"]["visiongate"]
    assert not share_a_network(COMPOSE, "visiongate", "postgres")
    assert set(added["networks"]) == set(COMPOSE["services"]["postgres"]["networks"])
    assert set(added["secrets"]) <= set(COMPOSE["services"]["postgres"]["secrets"])
    assert added["environment"]["VISIONGATE_SERVING__LOG__ADDRESS"].endswith("?service=predictions")
    assert override["services"]["checks"] == added


def targets(config: Document) -> list[str]:
    alerting = config["alerting"]["alertmanagers"]
    groups = [group for job in (*config["scrape_configs"], *alerting) for group in job["static_configs"]]
    return [target for group in groups for target in group["targets"]]


def test_prometheus_scrapes_what_listens() -> None:
    config = read("prometheus/prometheus.yaml")
    assert {job["job_name"] for job in config["scrape_configs"]} == SCRAPED
    assert addresses_unknown(COMPOSE, "prometheus", targets(config), PORTS) == []
    assert addresses_unknown(COMPOSE, "prometheus", ["visiongate:8080"], PORTS)
    assert addresses_unknown(COMPOSE, "prometheus", ["postgres:5432"], {"postgres": 5432})
    published = COMPOSE["services"]["visiongate"]["ports"][0].rpartition(":")[2]
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert (
        re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE)[:1]
        == [published]
        == [str(PORTS["visiongate"])]
    )


def test_grafana_has_the_data_sources_and_the_dashboards() -> None:
    sources = read("grafana/provisioning/datasources/visiongate.yaml")["datasources"]
    addresses = [source["url"].removeprefix("http://") for source in sources]
    assert addresses_unknown(COMPOSE, "grafana", addresses, PORTS) == []
    assert {source["uid"] for source in sources} == {"prometheus", "loki", "alertmanager"}
    [provider] = read("grafana/provisioning/dashboards/visiongate.yaml")["providers"]
    mounted = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    [folder] = [source for source, target, *_ in mounted if target == provider["options"]["path"]]
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / folder / Path(home).name).is_file()


def loki_problems(config: Document) -> list[str]:
    """Loki keeps logs for a time, in its volume, and accepts what Alloy sends."""
    found = []
    folders = [config["common"]["path_prefix"], *config["common"]["storage"]["filesystem"].values()]
    folders.append(config["compactor"]["working_directory"])
    mount = next(volume for volume in COMPOSE["services"]["loki"]["volumes"] if volume.startswith("loki:"))
    found += [
        f"{folder} is not in the volume" for folder in folders if not folder.startswith(mount.split(":")[1])
    ]
    if config["schema_config"]["configs"][-1]["schema"] != "v13":
        found.append("structured metadata needs the schema v13")
    compactor = config["compactor"]
    if not (compactor["retention_enabled"] and config["limits_config"]["retention_period"]):
        found.append("logs are kept forever")
    if compactor.get("delete_request_store") != config["schema_config"]["configs"][-1]["object_store"]:
        found.append("retention does not start without delete_request_store")
    return found


def test_loki_keeps_logs_for_a_time() -> None:
    config = read("loki/loki.yaml")
    assert config["server"]["http_listen_port"] == PORTS["loki"]
    assert loki_problems(config) == []
    for section, key, value in (
        ("common", "path_prefix", "/var/loki"),
        ("compactor", "retention_enabled", False),
        ("compactor", "delete_request_store", None),
    ):
        assert loki_problems({**config, section: {**config[section], key: value}}), key


def alloy_problems(text: str) -> list[str]:
    """Each receiver is a component, blocks are closed, and what becomes metadata was extracted."""
    found = []
    if text.count("{") != text.count("}"):
        found.append("a block is not closed")
    components = {
        f"{kind}.{label}" for kind, label in re.findall(r'^([a-z_.]+) "(\w+)" \{', text, re.MULTILINE)
    }
    found += [
        f"{receiver} is no component"
        for receiver in re.findall(r"([a-z_.]+)\.receiver", text)
        if receiver not in components
    ]
    extracted = {
        name for block in re.findall(r"expressions = \{(.*?)\}", text, re.DOTALL) for name in keys(block)
    }
    used = {name for block in re.findall(r"\bvalues = \{(.*?)\}", text, re.DOTALL) for name in keys(block)}
    return found + [f"{name} is used, but not extracted" for name in sorted(used - extracted)]


def keys(block: str) -> list[str]:
    return re.findall(r"^\s*(\w+)\s*=", block, re.MULTILINE)


def test_alloy_sends_the_lines_of_this_project_with_the_fields_of_the_log() -> None:
    assert alloy_problems(ALLOY) == []
    assert alloy_problems(ALLOY.replace("loki.write.loki.receiver", "loki.write.other.receiver"))
    assert alloy_problems(ALLOY.replace("request_id    = ", "requestid = ", 1))
    assert alloy_problems(ALLOY.rstrip().removesuffix("}"))
    [metadata] = re.findall(r"structured_metadata \{\s*values = \{(.*?)\}", ALLOY, re.DOTALL)
    operations = (DEPLOY.parent / "docs/operations.md").read_text(encoding="utf-8")
    assert [
        name for name in keys(metadata) if f'"{name}"' not in operations and f"`{name}`" not in operations
    ] == []
    [address] = re.findall(r'url = "http://([^/"]+)', ALLOY)
    assert addresses_unknown(COMPOSE, "alloy", [address], PORTS) == []


def test_docker_adds_the_labels_that_alloy_reads() -> None:
    pattern = COMPOSE["services"]["visiongate"]["logging"]["options"]["labels-regex"].replace("$$", "$")
    wanted = re.findall(r'attrs\.\\"([\w.]+)\\"', ALLOY)
    assert wanted == ["com.docker.compose.project", "com.docker.compose.service"]
    assert all(re.match(pattern, label) for label in wanted)
    assert not re.match(pattern, "com.docker.compose.project.config_files")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        package = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name]
        pytest.skip(f"{name} is missing (Debian: apt install {package})")
    return path


def test_promtool_accepts_the_configuration(secrets: Path, tmp_path: Path) -> None:
    promtool = tool("promtool")
    shutil.copy(MONITORING / "prometheus/rules.yaml", tmp_path)
    text = (MONITORING / "prometheus/prometheus.yaml").read_text(encoding="utf-8")
    (tmp_path / "prometheus.yaml").write_text(text.replace("/run/secrets", str(secrets)))
    command = [promtool, "check", "config", str(tmp_path / "prometheus.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (tmp_path / "rules.yaml").unlink()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("name", ["alertmanager", "receivers.example"])
def test_amtool_accepts_the_configuration(name: str, tmp_path: Path) -> None:
    amtool = tool("amtool")
    path = MONITORING / f"alertmanager/{name}.yaml"
    (tmp_path / "broken.yaml").write_text(
        re.sub(r"receiver: \w+", "receiver: absent", path.read_text(), count=1)
    )
    assert (
        subprocess.run([amtool, "check-config", str(path)], capture_output=True, check=False).returncode == 0
    )
    broken = [amtool, "check-config", str(tmp_path / "broken.yaml")]
    assert subprocess.run(broken, capture_output=True, check=False).returncode == 1


def matchers(value: object) -> Iterator[str]:
    """Yield the matchers of the routes and inhibitions in a configuration of Alertmanager."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if str(key).endswith("matchers"):
            yield from item
        elif isinstance(item, (dict, list)):
            yield from matchers(item)


@pytest.mark.parametrize("name", ["alertmanager", "receivers.example"])
def test_alertmanager_matches_alerts_and_severities_that_exist(name: str) -> None:
    rules = [
        rule
        for group in read("prometheus/rules.yaml")["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    known = {f'alertname="{rule["alert"]}"' for rule in rules}
    known |= {f'severity="{rule["labels"]["severity"]}"' for rule in rules}
    found = set(matchers(read(f"alertmanager/{name}.yaml")))
    assert found
    assert found <= known


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def compose(project: str, *arguments: str, environment: Mapping[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "podman_compose",
        "-p",
        project,
        "-f",
        str(DEPLOY / "compose.yaml"),
        *arguments,
    ]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, timeout=120)


@pytest.fixture
def started() -> Iterator[str]:
    """The service, as `compose up` starts it on a free port."""
    if shutil.which("podman") is None:
        pytest.skip("podman is missing (Debian: apt install podman)")
    if subprocess.run(["podman", "image", "exists", IMAGE], check=False).returncode:
        pytest.skip(f"{IMAGE} is missing: docs/images.md says how to build it")
    port = unused_port()
    project, environment = f"visiongate-test-{port}", {"VISIONGATE_PORT": str(port)}
    try:
        compose(project, "up", "--detach", "--no-build", environment=environment)
        yield f"http://127.0.0.1:{port}"
    finally:
        compose(project, "down", "--volumes", environment=environment)


@pytest.mark.slow
def test_the_service_starts_and_answers(started: str) -> None:
    command = [sys.executable, "-m", "visiongate", "smoke", "--url", started, "--wait", "60"]
    environment = {**os.environ, "PYTHONPATH": str(DEPLOY.parent / "src")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    # The volume is writable.
    assert httpx.get(f"{started}/health").json()["log"]["recording"]
