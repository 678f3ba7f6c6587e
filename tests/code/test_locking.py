"""The lease that stands in for a lock where MLflow is a server."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from visiongate.adapters.mlflow import store as store_module
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.registration import lease as locking
from visiongate.registration.lease import LOCK_TAG, LeaseLostError, exclusive
from workspaces import TRACKING, enter_workspace

NAME = "tiny"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setattr(locking, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(locking, "POLL_SECONDS", 0.05)
    # To the lock any store without a file of its own is a server.
    return replace(open_store(TRACKING), database=None)


def lease(store: Store) -> str | None:
    text: str | None = store.client.get_registered_model(NAME).tags.get(LOCK_TAG)
    return text


def test_a_lease_is_written_and_taken_away(store: Store) -> None:
    with exclusive(store, NAME) as renew:
        first = lease(store)
        assert first is not None
        assert set(json.loads(first)) == {"owner", "until"}
        renew()
    assert lease(store) is None


def test_the_next_one_waits(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    told = []

    def second() -> None:
        with exclusive(store, NAME):
            told.append("second in")

    with exclusive(store, NAME):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.6)
        told.append("first out")
    thread.join(20)
    assert told == ["first out", "second in"]
    assert NAME in caplog.text


@pytest.mark.parametrize(
    "left", ['{"owner": "dead", "until": "2020-01-01T00:00:00+00:00"}', "nonsense", "[]", "{}"]
)
def test_a_lease_that_ended_or_is_none_stops_nobody(store: Store, left: str) -> None:
    store.client.create_registered_model(NAME)
    store.client.set_registered_model_tag(NAME, LOCK_TAG, left)
    with exclusive(store, NAME) as renew:
        renew()


def test_a_holder_that_stays_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LEASE_SECONDS", 0.1)
    store.client.create_registered_model(NAME)
    text = json.dumps({"owner": "there:1:abc", "until": "2999-01-01T00:00:00+00:00"})
    store.client.set_registered_model_tag(NAME, LOCK_TAG, text)
    with (
        pytest.raises(TrackingError, match="there:1:abc"),
        exclusive(store, NAME),
    ):
        pass
    assert lease(store) == text


def test_who_lost_the_lease_is_stopped_and_leaves_the_other_his(store: Store) -> None:
    text = json.dumps({"owner": "there:1:abc", "until": "2999-01-01T00:00:00+00:00"})
    with exclusive(store, NAME) as renew:
        store.client.set_registered_model_tag(NAME, LOCK_TAG, text)
        with pytest.raises(LeaseLostError, match="there:1:abc"):
            renew()
    assert lease(store) == text


def test_a_lease_that_ended_and_nobody_took_is_taken_anew(store: Store) -> None:
    with exclusive(store, NAME) as renew:
        store.client.delete_registered_model_tag(NAME, LOCK_TAG)
        renew()
        assert lease(store) is not None


def test_of_two_that_write_at_once_the_last_holds_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = json.dumps({"owner": "there:1:abc", "until": "2020-01-01T00:00:00+00:00"})
    slept = []

    def overwrite(seconds: float) -> None:
        if not slept:  # another wrote right after
            text = ended.replace("2020", "2999")
            store.client.set_registered_model_tag(NAME, LOCK_TAG, text)
        else:
            store.client.set_registered_model_tag(NAME, LOCK_TAG, ended)
        slept.append(seconds)
        if len(slept) > 2:
            monkeypatch.undo()

    monkeypatch.setattr(locking.time, "sleep", overwrite)
    with exclusive(store, NAME) as renew:
        renew()
    assert slept[:2] == [0.2, 0.05]  # wrote and lost, waited, and wrote again


def test_a_local_store_that_is_busy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.1)
    store = open_store(TRACKING)
    assert store.database is not None
    with (
        FileLock(store.database.with_name(".mlflow.db.lock")),
        pytest.raises(TrackingError, match="another process has been registering for"),
        exclusive(store, NAME),
    ):
        pass
