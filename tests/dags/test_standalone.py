"""Airflow standalone, as `make` starts it: a run over its REST API, and no process left."""

import json
import os
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest

from waiting import wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
STANDALONE = ROOT / "dags/visiongate_dags/standalone.py"


class Server:
    """Airflow in a folder, on a free port."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.token = ""

    def call(self, command: str) -> str:
        own = {"AIRFLOW_HOME": str(self.home), "PORT": str(self.port), "PYTHONPATH": str(ROOT / "dags")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        done = subprocess.run(
            [sys.executable, str(STANDALONE), command],
            env={**kept, **own},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def request(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http
            return json.load(answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was set up, started and signed in to."""
    server = Server(tmp_path_factory.mktemp("airflow"))
    printed = server.call("init")
    password = printed.split("with the password ")[1].split(",")[0]
    assert password not in server.call("init")
    server.call("up")
    server.token = server.request("/auth/token", {"username": "admin", "password": password})["access_token"]
    yield server
    processes = psutil.Process(int((server.home / "standalone.pid").read_text())).children(recursive=True)
    assert processes
    assert "has stopped" in server.call("down")
    wait_until(lambda: not any(process.is_running() for process in processes))
    assert "not running" in server.call("down")


def test_secrets_are_private(server: Server) -> None:
    for name in ("airflow.cfg", "simple_auth_manager_passwords.json.generated"):
        assert stat.S_IMODE((server.home / name).stat().st_mode) == 0o600


def test_a_run_over_the_api_fails_with_one_line_and_notifies(server: Server) -> None:
    """It has a misspelled name, so that it takes seconds."""
    runs = "/api/v2/dags/image_training_pipeline/dagRuns"
    run = server.request(runs, {"logical_date": None, "conf": {"treshold": 0.9}})["dag_run_id"]
    wait_until(lambda: server.request(f"{runs}/{run}")["state"] == "failed", 180)
    tasks = server.request(f"{runs}/{run}/taskInstances")["task_instances"]
    states = {task["task_id"]: task["state"] for task in tasks}
    assert (states["check_environment"], states["train_model"], states["notify"]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    log = server.request(f"{runs}/{run}/taskInstances/check_environment/logs/1?full_content=true")
    assert "the run's configuration has unknown names: treshold" in json.dumps(log)


def test_the_form_has_the_typed_parameters_and_refuses_an_option(server: Server) -> None:
    params = server.request("/api/v2/dags/image_training_pipeline/details")["params"]
    assert params["accuracy_threshold"]["schema"]["maximum"] == 1
    with pytest.raises(HTTPError, match=r"40\d"):
        server.request(
            "/api/v2/dags/image_training_pipeline/dagRuns",
            {"logical_date": None, "conf": {"data": "--help"}},
        )


def test_the_pool_has_one_slot(server: Server) -> None:
    assert server.request("/api/v2/pools/visiongate")["slots"] == 1
