"""What the compose file, its overrides and its scripts say to each other and to the service: settings, secrets, databases."""

import configparser
import importlib.util
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo

from compose_rules import DEFAULT, DEPLOY, PIPELINE, Document, addresses_unknown, mount_of, paths_not_mounted
from drift_looks import WEEK_HOURS, weekly_problems
from image_facts import IMAGES, POSTGRES_SCRIPTS, POSTGRES_STOP_SECONDS
from manifest_cases import NONE
from postgres import PROGRAMS, PostgresServer, needs_postgres, postgres_server
from visiongate.cli import main
from visiongate.settings.serving import Serving
from visiongate.settings.serving_environment import PREFIXES, SHORT_NAMES, load_serving
from workload_rules import CLOSING_SECONDS

COMPOSE: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
DOCS = (DEPLOY.parent / "docs/compose.md").read_text(encoding="utf-8")
ALLOY = (DEPLOY / "monitoring/alloy/config.alloy").read_text(encoding="utf-8")
# The clients of PostgreSQL, each with the server that has its database.
SERVERS = {"mlflow": "postgres", "predictions": "postgres", "airflow": "airflow-postgres"}
CLIENTS = tuple(SERVERS)


def override(name: str) -> Document:
    document: Document = yaml.safe_load((DEPLOY / f"compose.{name}.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(folder)], check=True, capture_output=True)
    return folder


def fields(path: Path, section: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    return dict(parser[section])


def environment(service: Document, **variables: str) -> dict[str, str]:
    """The variables of a container, where the caller or `.env` has set some."""
    return {
        name: DEFAULT.sub(lambda match: variables.get(match["name"], match["default"]), str(value))
        for name, value in service.get("environment", {}).items()
    }


def serving_of(service: Document, **variables: str) -> Serving:
    found = environment(service, **variables)
    assert [name for name in found if name not in SHORT_NAMES and not name.startswith(PREFIXES)] == []
    return load_serving(NONE, found).serving


def test_the_service_reads_the_variables_of_the_file() -> None:
    assert serving_of(SERVICES["visiongate"]) == Serving(model="/models")
    serving = serving_of(
        SERVICES["visiongate"],
        MODEL_PATH="models:/pets@champion",
        TRACKING_URI="http://mlflow:5000",
        LOG_LEVEL="DEBUG",
    )
    assert (serving.model, serving.registry.uri, serving.log_level) == (
        "models:/pets@champion",
        "http://mlflow:5000",
        "DEBUG",
    )


def test_the_override_of_keys_names_the_file_that_the_script_writes(secrets: Path) -> None:
    service = override("keys")["services"]["visiongate"]
    folder, _, name = str(serving_of(service).keys_file).rpartition("/")
    [(target, source)] = map(mount_of, service["volumes"])
    assert target == folder
    assert (secrets.parent / source / name).is_file()


def test_the_override_of_the_prediction_log_names_a_database(secrets: Path) -> None:
    document = override("prediction-log")
    assert paths_not_mounted(document) == []
    for service in document["services"].values():
        variables = environment(service)
        file = secrets / Path(variables.pop("PGSERVICEFILE")).name
        address = load_serving(NONE, variables).serving.log.address
        assert address == f"postgresql+psycopg:///?service={file.name.removesuffix('_database')}"
        assert fields(file, "predictions")["host"] in SERVICES


def test_the_service_has_the_time_that_it_needs_to_stop() -> None:
    limits = Serving().limits
    needed = limits.drain_seconds + limits.deadline_seconds + limits.send_seconds + CLOSING_SECONDS
    assert int(SERVICES["visiongate"]["stop_grace_period"].removesuffix("s")) >= needed
    assert SERVICES["postgres"]["stop_grace_period"] == f"{POSTGRES_STOP_SECONDS}s"


DAY_SECONDS = 24 * 3600
LOOP = re.compile(
    r"trap exit TERM; while :; do (?P<weekly>.+?); for day in (?P<days>[\d ]+); do "
    r"(?P<daily>.+?); sleep (?P<seconds>\d+) & wait \$\$!; done; done"
)


def test_each_check_is_made_as_often_as_it_should() -> None:
    [script] = SERVICES["checks"]["command"]
    lines = [line.strip() for line in script.strip().splitlines()]
    loop = LOOP.fullmatch(re.sub(r"\bdo; ", "do ", "; ".join(lines)))
    assert loop, lines
    drift, retrain = (shlex.split(command)[1:] for command in loop["weekly"].split("; "))
    assert weekly_problems(drift) == []
    assert (retrain, shlex.split(loop["daily"])[1:]) == (["retrain-check"], ["rollout"])
    assert int(loop["seconds"]) == DAY_SECONDS
    assert len(loop["days"].split()) * DAY_SECONDS == WEEK_HOURS * 3600
    assert {"retrain-check", "rollout"} <= main.commands.keys()


@pytest.mark.parametrize(
    "arguments",
    ["drift --windows 168", "drift --window 24", "drift --yearly-level 0.2", "drfit"],
)
def test_another_look_is_noticed(arguments: str) -> None:
    assert weekly_problems(arguments.split())


def test_mlflow_knows_its_variables() -> None:
    found = importlib.util.find_spec("mlflow")
    assert found
    assert found.submodule_search_locations
    known = (Path(found.submodule_search_locations[0]) / "environment_variables.py").read_text(
        encoding="utf-8"
    )
    for name in ("mlflow", *PIPELINE):
        unknown = [
            each
            for each in environment(SERVICES[name])
            if each.startswith("MLFLOW_") and f'"{each}"' not in known
        ]
        assert unknown == [], name


def test_the_pipeline_reaches_mlflow_as_the_docs_say() -> None:
    told = dict(re.findall(r"(MLFLOW_ENABLE_\w+)=(\w+)", DOCS)) | {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000"
    }
    for name in PIPELINE:
        found = environment(SERVICES[name], TRACKING_URI="http://mlflow:5000")
        assert told.items() <= found.items(), name
    [hosts] = [each for each in SERVICES["mlflow"]["command"] if each.startswith("--allowed-hosts=")]
    assert {f"mlflow:{IMAGES['mlflow'].port}", "127.0.0.1:*"} <= set(hosts.partition("=")[2].split(","))


def test_mlflow_uses_its_database_and_its_store(secrets: Path, tmp_path: Path) -> None:
    command, variables = SERVICES["mlflow"]["command"], environment(SERVICES["mlflow"])
    assert "--backend-store-uri=postgresql+psycopg2:///?service=mlflow" in command
    assert (secrets / Path(variables["PGSERVICEFILE"]).name).read_text().startswith("[mlflow]\n")
    address = variables["MLFLOW_S3_ENDPOINT_URL"].removeprefix("http://")
    assert addresses_unknown(COMPOSE, "mlflow", [address], {"s3": IMAGES["s3"].port or 0}) == []
    [bucket] = [each.partition("//")[2] for each in command if each.startswith("--artifacts-destination=s3:")]
    started = start_store(secrets, tmp_path)
    assert (tmp_path / "data" / bucket).is_dir()
    # The names of boto3.
    credentials = fields(secrets / Path(variables["AWS_SHARED_CREDENTIALS_FILE"]).name, "default")
    assert started == [
        credentials["aws_access_key_id"],
        credentials["aws_secret_access_key"],
        f"{tmp_path}/data",
    ]


def start_store(secrets: Path, folder: Path) -> list[str]:
    """Start the store with a program that prints its credentials and its folder."""
    program = folder / "versitygw"
    program.write_text(
        '#!/bin/sh\nfor last; do :; done\nprintf "%s\\n" "$ROOT_ACCESS_KEY" "$ROOT_SECRET_KEY" "$last"\n'
    )
    program.chmod(0o755)
    [script] = SERVICES["s3"]["command"]
    for old, new in (("$$", "$"), ("/run/secrets", str(secrets)), ("/data", f"{folder}/data")):
        script = script.replace(old, new)
    variables = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["sh", "-ec", script]
    return subprocess.run(
        command, env=variables, check=True, capture_output=True, text=True
    ).stdout.splitlines()


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_of_postgresql_understand_the_secrets(name: str, secrets: Path) -> None:
    service = fields(secrets / f"{name}_database", name)
    # libpq refuses fields that it does not know.
    make_conninfo(**service)
    assert service["host"] == SERVERS[name]
    assert (service["dbname"], service["user"]) == (name, name)


@pytest.fixture(scope="module")
def databases(secrets: Path) -> Iterator[PostgresServer]:
    """A server whose databases were made by the script of compose."""
    [target] = [
        target
        for target, source in map(mount_of, SERVICES["postgres"]["volumes"])
        if "databases.sh" in source
    ]
    assert target == f"{POSTGRES_SCRIPTS}/databases.sh"
    script = (
        (DEPLOY / "postgres/databases.sh").read_text(encoding="utf-8").replace("/run/secrets", str(secrets))
    )
    with postgres_server() as server:
        server.query("postgres", "CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'postgres'")
        variables = {
            "PATH": PROGRAMS,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGPASSWORD": "postgres",
        }
        subprocess.run(["sh", "-c", script], env=variables, check=True, capture_output=True)
        yield server


@needs_postgres
@pytest.mark.parametrize("name", CLIENTS)
def test_a_role_has_its_database_and_no_other(
    name: str, databases: PostgresServer, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(secrets / f"{name}_database"))
    server = {"service": name, "host": "127.0.0.1", "port": databases.port}
    with psycopg.connect(**server) as connection:
        connection.execute("CREATE TABLE found (id integer)")
    for other in {*CLIENTS, "postgres", "template1"} - {name}:
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(**server, dbname=other)


def test_alloy_and_prometheus_get_what_their_files_read() -> None:
    read = re.findall(r'sys\.env\("(\w+)"\)', ALLOY)
    assert read
    assert set(read) <= SERVICES["alloy"]["environment"].keys()
    [logs] = re.findall(r'__path__ = "([^*"]+)/\*', ALLOY)
    assert logs in dict(map(mount_of, SERVICES["alloy"]["volumes"]))
    text = (DEPLOY / "monitoring/prometheus/prometheus.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= SERVICES["prometheus"]["environment"].keys()
    rules = (DEPLOY / "monitoring/prometheus/rules.yaml").read_text(encoding="utf-8")
    labels = set(re.findall(r"\{\{[^}]*\$externalLabels\.(\w+)", rules))
    assert labels
    assert labels <= yaml.safe_load(text)["global"]["external_labels"].keys()


def test_measurements_and_logs_are_kept_as_long_as_the_docs_say() -> None:
    [[logs, days, size]] = re.findall(r"Loki keeps (\d+) days, Prometheus (\d+) days or (\d+) GB", DOCS)
    command = SERVICES["prometheus"]["command"]
    assert f"--storage.tsdb.retention.time={days}d" in command
    assert f"--storage.tsdb.retention.size={size}GB" in command
    loki = yaml.safe_load((DEPLOY / "monitoring/loki/loki.yaml").read_text(encoding="utf-8"))
    assert loki["limits_config"]["retention_period"] == f"{logs}d"
