"""MLflow runs: their content, their status, and that a failing store does not stop a training."""

import json
import logging
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from visiongate.adapters.mlflow import runs
from visiongate.adapters.mlflow.runs import MODEL_TAG, find_or_create_run, flatten, log_results, open_run
from visiongate.adapters.mlflow.store import Store, open_store
from workspaces import TRACKING, enter_workspace


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    return open_store(TRACKING)


@contextmanager
def broken(store: Store, table: str) -> Iterator[None]:
    """Remove a table, so that writes to it fail."""
    assert store.database is not None
    with sqlite3.connect(store.database) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO hidden")
    yield
    with sqlite3.connect(store.database) as connection:
        connection.execute(f"ALTER TABLE hidden RENAME TO {table}")


def values(store: Store, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in store.client.get_metric_history(run_id, metric)]


def test_run_has_params_metrics_tags_and_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("fine")
    with open_run(TRACKING, "train tiny", {"model": {"lr": 0.1}, "epochs": 2}, {"color": "blue"}) as run:
        run.log_metrics({"val_loss": 0.5}, step=1)
        run.log_metrics({"val_loss": 0.25}, step=2)
        run.log_artifacts([tmp_path / "report.txt"])
        run.log_text("a note", "notes/note.txt")
        run.set_tags({MODEL_TAG: "abc"})
    found = store.client.get_run(run.id)
    assert (found.info.run_name, found.info.status) == ("train tiny", "FINISHED")
    assert found.data.params == {"model.lr": "0.1", "epochs": "2"}
    assert found.data.tags.items() >= {"color": "blue", MODEL_TAG: "abc"}.items()
    assert values(store, run.id, "val_loss") == [(1, 0.5), (2, 0.25)]
    artifacts = Path(found.info.artifact_uri)
    assert (artifacts / "report.txt").read_text() == "fine"
    assert (artifacts / "notes/note.txt").read_text() == "a note"


def test_run_has_its_environment_and_commit(store: Store) -> None:
    with open_run(TRACKING, "train tiny", {}, {}) as run:
        pass
    found = store.client.get_run(run.id)
    assert (
        found.data.tags.items()
        >= {"mlflow.source.git.commit": "unknown", "mlflow.source.type": "LOCAL"}.items()
    )
    assert found.data.tags["mlflow.user"]
    artifacts = Path(found.info.artifact_uri)
    environment = json.loads((artifacts / "environment.json").read_text())
    assert environment["cpu"]
    assert environment["packages"]["mlflow"] == "3.17.2"
    assert "mlflow==3.17.2\n" in (artifacts / "requirements.txt").read_text()


def test_nested_run_leaves_the_environment_to_its_parent(store: Store) -> None:
    with (
        open_run(TRACKING, "study", {}, {}) as parent,
        open_run(TRACKING, "trial", {}, {}, parent_id=parent.id) as child,
    ):
        pass
    found = store.client.get_run(child.id)
    assert found.data.tags["mlflow.parentRunId"] == parent.id
    assert store.client.list_artifacts(child.id) == []


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_failed_run_keeps_its_metrics(store: Store, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), open_run(TRACKING, "train tiny", {}, {}) as run:  # noqa: PT012 - ends by raising
        run.log_metrics({"loss": 1.0}, step=1)
        raise error
    assert store.client.get_run(run.id).info.status == status
    assert values(store, run.id, "loss") == [(1, 1.0)]


def test_the_run_of_a_killed_process_is_resumed(store: Store) -> None:
    killed = open_run(TRACKING, "train tiny", {}, {})
    run = killed.__enter__()
    run.log_metrics({"loss": 1.0}, step=1)
    run.flush()
    # Not sent yet.
    run.log_metrics({"loss": 0.5}, step=2)
    with open_run(TRACKING, "train tiny", {}, {}, interrupted_id=run.id) as again:
        assert store.client.get_run(run.id).info.status == "RUNNING"
        for step, loss in enumerate([1.0, 0.5, 0.25], start=1):
            again.log_metrics({"loss": loss}, step)
    assert again.id == run.id
    assert store.client.get_run(run.id).info.status == "FINISHED"
    assert values(store, run.id, "loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_a_deleted_run_is_created_again(store: Store) -> None:
    with open_run(TRACKING, "train tiny", {}, {}) as deleted:
        pass
    store.client.delete_run(deleted.id)
    for gone in (deleted.id, "0" * 32):
        with open_run(TRACKING, "train tiny", {}, {}, interrupted_id=gone) as run:
            run.log_metrics({"loss": 1.0}, step=0)
        assert run.id != gone
        assert values(store, run.id, "loss") == [(0, 1.0)]


def test_metrics_wait_to_be_sent_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(TRACKING, "train tiny", {}, {}) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        assert values(store, run.id, "loss") == []
        run.log_metrics(dict.fromkeys((f"metric {number}" for number in range(1000)), 1.0), step=1)
        assert values(store, run.id, "loss") == [(1, 1.0)]
        monkeypatch.setattr(runs, "SEND_SECONDS", 0.0)
        run.flush()
        run.log_metrics({"loss": 0.5}, step=2)
        assert values(store, run.id, "loss") == [(1, 1.0), (2, 0.5)]


def test_a_store_that_fails_does_not_stop_the_training_and_gets_the_metrics_later(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with open_run(TRACKING, "train tiny", {}, {}) as run:
        with broken(store, "metrics"), caplog.at_level(logging.WARNING, "visiongate"):
            run.log_metrics({"loss": 1.0}, step=1)
            run.flush()
            run.log_metrics({"loss": 0.5}, step=2)
            run.flush()
        assert len(caplog.records) == 1
    assert values(store, run.id, "loss") == [(1, 1.0), (2, 0.5)]
    assert store.client.get_run(run.id).info.status == "FINISHED"


def test_a_store_that_fails_from_the_start_is_logged_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with broken(store, "runs"), caplog.at_level(logging.WARNING, "visiongate"):
        with (
            open_run(TRACKING, "study", {}, {}) as run,
            open_run(TRACKING, "trial", {}, {}, parent_id=run.id) as nested,
        ):
            for one in (run, nested):
                one.log_metrics({"loss": 1.0}, step=1)
                one.set_tags({"a": "b"})
        assert ["no such table: runs" in text for text in caplog.messages] == [True]


@pytest.mark.usefixtures("store")
def test_an_absent_server_does_not_stop_the_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Nothing listens there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "visiongate"), open_run(TRACKING, "train tiny", {}, {}) as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert len([text for text in caplog.messages if "http://127.0.0.1:9" in text]) == 1


@pytest.mark.usefixtures("store")
def test_a_silent_server_does_not_stop_the_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("visiongate.adapters.mlflow.store.HEALTH_TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with open_run(TRACKING, "train tiny", {}, {}) as run:
            run.log_metrics({"loss": 1.0}, step=1)
    assert time.monotonic() - started < 10
    assert "timed out" in caplog.text


def test_run_of_a_model_is_found_by_its_hash(store: Store) -> None:
    with open_run(TRACKING, "train tiny", {}, {MODEL_TAG: "abc"}) as run:
        pass
    assert find_or_create_run(store, "abc", "train tiny", {}, []) == run.id


def test_a_missing_run_is_created_once(store: Store) -> None:
    history = [{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25}]
    made = find_or_create_run(store, "abc", "train tiny", {"model": {"lr": 0.1}}, history)
    found = store.client.get_run(made)
    assert found.info.run_name == "train tiny (reconstructed)"
    assert found.info.status == "FINISHED"
    assert found.data.tags["visiongate.reconstructed"] == "true"
    assert found.data.params == {"model.lr": "0.1"}
    assert values(store, made, "loss") == [(1, 0.5), (2, 0.25)]
    assert find_or_create_run(store, "abc", "train tiny", {}, []) == made
    assert find_or_create_run(store, "def", "train tiny", {}, []) != made


def test_results_are_added_once_and_again_when_they_change(store: Store) -> None:
    made = find_or_create_run(store, "abc", "train tiny", {}, [])
    for accuracy in (0.9, 0.9, 0.8):
        log_results(store, made, {"test/accuracy": accuracy}, {"visiongate.gate": "passed"})
    assert [value for _, value in values(store, made, "test/accuracy")] == [0.9, 0.8]
    assert store.client.get_run(made).data.tags["visiongate.gate"] == "passed"


def test_params_are_flattened_and_cut(store: Store) -> None:
    params = {"a": {"b": None, "c": True, "d": [1, 2]}, "text": "as it is", "long": "x" * 7000}
    flat = flatten(params)
    assert flat.pop("long") == "x" * 5999 + "…"
    assert flat == {"a.b": "null", "a.c": "true", "a.d": "[1, 2]", "text": "as it is"}
    many = {f"key{number}": number for number in range(150)}
    made = find_or_create_run(store, "abc", "train tiny", {**params, **many}, [])
    assert len(store.client.get_run(made).data.params) == 155
