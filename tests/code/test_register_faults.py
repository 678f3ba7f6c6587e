"""Interrupted and concurrent registrations: the champion stays valid, and the next run completes the work."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from registering import (
    FailingClient,
    ProcessKilledError,
    aliases,
    fail_after,
    numbers,
    start_registering,
)
from visiongate.adapters.mlflow.registry import fetch_model, find_champion, list_versions
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.records.registration import read_registration
from visiongate.registration import stage as register
from visiongate.registry.rollback import roll_back
from visiongate.settings.schema import Settings
from workspaces import (
    commit_workspace,
    enter_committed,
    write_judged_model,
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return enter_committed(tmp_path, monkeypatch)


def registered(settings: Settings, threshold: float = 127.5, *, passed: bool = True) -> str:
    write_judged_model(threshold, passed=passed)
    register.run(settings)
    return read_registration(Path("reports/registration.json")).decision


def check_champion(store: Store, settings: Settings) -> str:
    """Check that there is a promoted champion with its file; return its number."""
    champion = find_champion(store, settings.registry.name)
    assert champion is not None
    assert fetch_model(store, champion).exists()
    assert champion.tags["visiongate.decision"] == "promoted"
    return champion.number


def count_writes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many writes a registration makes."""
    store = fail_after(open_store(settings.tracking), 0)
    with monkeypatch.context() as patch:
        patch.setattr(register, "open_store", lambda _: store)
        register.run(settings)
    assert isinstance(store.client, FailingClient)
    return -store.client.left


@pytest.mark.slow
def test_killed_registration_keeps_a_champion_and_is_completed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = settings.registry.name
    registered(settings, threshold=140)
    writes = None
    left = 1
    while writes is None or left <= writes:
        # Each round registers another model, better than version 1, and then rolls back to version 1.
        write_judged_model(127.5 + left / 100)
        store = open_store(settings.tracking)
        before = numbers(store, settings)
        failing = fail_after(store, left)
        with monkeypatch.context() as patch:
            patch.setattr(register, "open_store", lambda _, failing=failing: failing)
            with pytest.raises(ProcessKilledError):
                register.run(settings)
        assert check_champion(store, settings) in {"1", *numbers(store, settings)[len(before) :]}
        register.run(settings)
        assert read_registration(Path("reports/registration.json")).decision == "promoted"
        after = numbers(store, settings)
        assert len(after) == len(before) + 1
        assert aliases(store, settings) == {"champion": after[-1]}
        version = store.client.get_model_version(name, after[-1])
        assert version.tags["visiongate.previous_champion"] == "1"
        # Interrupted registrations leave models too.
        outputs = store.client.get_run(version.run_id).outputs.model_outputs
        stored = [store.client.get_logged_model(output.model_id) for output in outputs]
        [logged] = [model for model in stored if model.artifact_location == version.source]
        assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": name, "version": after[-1]}]
        roll_back(store, name, "1", "next round", force=False)
        if writes is None:
            write_judged_model(127.4)
            writes = count_writes(settings, monkeypatch)
            roll_back(store, name, "1", "next round", force=False)
        left += 1
    assert writes > 10


def test_changed_champion_stops_the_registration(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(settings, threshold=140)
    registered(settings, threshold=128)
    store = open_store(settings.tracking)
    name = settings.registry.name
    roll_back(store, name, "1", "first", force=False)
    store.client.delete_model_version_tag(name, "2", "visiongate.rolled_back")
    write_judged_model(127.5)
    decide = register.decide

    def decide_while_the_champion_changes(*arguments: object) -> object:
        decision = decide(*arguments)  # type: ignore[arg-type]
        store.client.set_registered_model_alias(name, "champion", "2")
        return decision

    with monkeypatch.context() as patch:
        patch.setattr(register, "decide", decide_while_the_champion_changes)
        with pytest.raises(TrackingError, match=name):
            register.run(settings)
    assert aliases(store, settings) == {"champion": "2"}
    register.run(settings)
    assert read_registration(Path("reports/registration.json")).decision == "registered"
    assert aliases(store, settings) == {"champion": "2", "challenger": "3"}


@pytest.mark.slow
def test_concurrent_registrations_have_one_champion(settings: Settings, tmp_path: Path) -> None:
    registered(settings, threshold=140)
    store = open_store(settings.tracking)
    race(tmp_path, store.address)
    check_race(store, settings)


def race(tmp_path: Path, address: str) -> None:
    """Register two models at once, which are better than version 1 and not significantly better than each other."""
    processes = []
    for name, threshold in (("one", 127.5), ("other", 129)):
        (tmp_path / name).mkdir()
        here = Path.cwd()
        os.chdir(tmp_path / name)
        commit_workspace()
        write_judged_model(threshold)
        os.chdir(here)
        known = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        environment = {**known, "MLFLOW_TRACKING_URI": address}
        processes.append(start_registering(tmp_path / name, **environment))
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors


def check_race(store: Store, settings: Settings) -> None:
    versions = {version.number: version for version in list_versions(store, settings.registry.name)}
    assert sorted(versions) == ["1", "2", "3"]
    found = aliases(store, settings)
    assert sorted(found) == ["challenger", "champion"]
    assert set(found.values()) == {"2", "3"}
    winner, loser = versions[found["champion"]], versions[found["challenger"]]
    assert winner.tags["visiongate.previous_champion"] == "1"
    assert f"champion version {winner.number}" in loser.tags["visiongate.reason"]


# Deletions by hand


def test_deleted_champion_is_replaced(settings: Settings) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    store.client.delete_model_version(settings.registry.name, "1")
    assert registered(settings, threshold=129) == "promoted"
    assert aliases(store, settings) == {"champion": "2"}


def test_deleted_version_is_registered_again(settings: Settings) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    store.client.delete_model_version(settings.registry.name, "1")
    assert registered(settings) == "promoted"
    assert numbers(store, settings) == ["2"]


def test_alias_of_a_missing_version_is_replaced(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    assert store.database is not None
    with sqlite3.connect(store.database) as connection:
        connection.execute("UPDATE registered_model_aliases SET version = 7")
    assert registered(settings, threshold=129) == "registered"
    assert "digits-classifier@champion" in caplog.text
    assert aliases(store, settings) == {"champion": "1", "challenger": "2"}


def test_deleted_alias_is_restored_to_the_last_champion(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    for threshold in (165, 145, 127.5):
        registered(settings, threshold)
    store, name = open_store(settings.tracking), settings.registry.name
    roll_back(store, name, None, "slow", force=False)
    store.client.delete_registered_model_alias(name, "champion")
    assert registered(settings, threshold=146) == "registered"
    assert aliases(store, settings) == {"champion": "2", "challenger": "4"}
    assert [text for text in caplog.messages if "restoring version 2" in text]


def test_deleted_registered_model_is_created_again(settings: Settings) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    store.client.delete_registered_model(settings.registry.name)
    assert registered(settings) == "promoted"
    assert aliases(store, settings) == {"champion": "1"}
