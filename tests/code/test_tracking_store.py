"""The MLflow store: its address, its creation, and its errors."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Connection, Engine, event

from visiongate.adapters.mlflow import store as store_module
from visiongate.adapters.mlflow.store import TrackingError, open_store, resolve_address
from visiongate.settings.tracking import Tracking
from workspaces import ROOT, TRACKING, enter_workspace

OPEN = """
import sys
sys.path.insert(0, {source!r})
from visiongate.settings.tracking import Tracking
from visiongate.adapters.mlflow import store as store_module
from visiongate.adapters.mlflow.store import open_store
print(open_store(Tracking(uri="sqlite:///mlruns/mlflow.db", experiment="tried")).experiment_id)
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_workspace(tmp_path / "work space", monkeypatch)


@pytest.mark.usefixtures("workspace")
def test_relative_path_is_relative_to_the_main_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.cwd()
    assert resolve_address("sqlite:///mlruns/mlflow.db") == f"sqlite:///{here}/mlruns/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    assert resolve_address("sqlite:///mlruns/mlflow.db") == "sqlite:////elsewhere/mlruns/mlflow.db"
    assert resolve_address("sqlite:////absolute/mlflow.db") == "sqlite:////absolute/mlflow.db"
    assert resolve_address("https://mlflow.example") == "https://mlflow.example"


@pytest.mark.usefixtures("workspace")
def test_environment_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    assert resolve_address("sqlite:///mlruns/mlflow.db") == "https://mlflow.example"


def test_only_the_creation_of_a_store_does_not_wait_for_the_disk(workspace: Path) -> None:
    seen: dict[str | None, set[int]] = defaultdict(set)

    def note(connection: Connection) -> None:
        raw = connection.connection.dbapi_connection
        seen[connection.engine.url.database].add(raw.cursor().execute("PRAGMA synchronous").fetchone()[0])

    (workspace / "mlruns/mlflow.db").unlink()
    event.listen(Engine, "engine_connect", note)
    store = open_store(TRACKING)
    store.client.search_experiments()
    event.remove(Engine, "engine_connect", note)

    off, full = {0}, {2}
    assert seen.pop(str(workspace / "mlruns/mlflow.db")) == full
    assert list(seen.values()) == [off]


def test_experiment_in_a_copy_uses_the_store_of_the_main_workspace(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(workspace))
    monkeypatch.chdir(copy)
    store = open_store(TRACKING)
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.artifact_location == str(workspace / "mlruns/artifacts")
    assert list(copy.iterdir()) == []


@pytest.mark.usefixtures("workspace")
def test_opening_again_finds_the_same_experiment() -> None:
    assert open_store(TRACKING).experiment_id == open_store(TRACKING).experiment_id


def test_two_processes_create_one_store_without_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    command = [sys.executable, "-c", OPEN.format(source=str(ROOT / "src"))]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=100) for process in processes]
    assert answers == [("1\n", ""), ("1\n", "")]
    assert sorted(path.name for path in (tmp_path / "mlruns").iterdir() if path.name[0] != ".") == [
        "mlflow.db"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns"]


@pytest.mark.usefixtures("workspace")
def test_deleted_experiment_is_an_error() -> None:
    store = open_store(TRACKING)
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(TrackingError, match="'tried'"):
        open_store(TRACKING)


def test_moved_store_is_an_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(TRACKING)
    moved = workspace.parent / "moved"
    workspace.rename(moved)
    monkeypatch.chdir(moved)
    with pytest.raises(TrackingError, match=r"/moved/mlruns"):
        open_store(TRACKING)


def test_error_of_an_absent_server_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as caught:
        open_store(Tracking(uri="http://user:secret@127.0.0.1:9", experiment="tried"))
    assert str(caught.value).startswith("MLflow at http://***@127.0.0.1:9: ")
    assert "secret" not in str(caught.value)


def test_invalid_path_is_an_error(workspace: Path) -> None:
    (workspace / "file").touch()
    with pytest.raises(TrackingError, match=r"file/mlflow\.db"):
        open_store(Tracking(uri="sqlite:///file/mlflow.db", experiment="tried"))


def test_file_that_is_not_a_database_is_an_error(workspace: Path) -> None:
    (workspace / "mlruns/mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingError, match="file is not a database"):
        open_store(TRACKING)


@pytest.mark.usefixtures("workspace")
def test_local_store_is_exclusive_and_a_server_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.1)
    store = open_store(TRACKING)
    server = replace(store, database=None)
    with (
        store.exclusive(),
        server.exclusive(),
        caplog.at_level("INFO", "visiongate"),
        pytest.raises(TrackingError, match=f"process {os.getpid()} on "),
        store.exclusive(),
    ):
        pass
    [line] = [text for text in caplog.messages if "waiting up to 0.1 s" in text]
    assert f"process {os.getpid()} on " in line
    with store.exclusive():
        pass


def test_concurrently_created_experiment_is_used(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_store(TRACKING)
    asked = MlflowClient.get_experiment_by_name
    # The first call is before the other process created it.
    answers = iter([lambda *_: None])

    def late(client: MlflowClient, name: str) -> object:
        return next(answers, asked)(client, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    assert open_store(TRACKING).experiment_id == first.experiment_id
    assert workspace.is_dir()
