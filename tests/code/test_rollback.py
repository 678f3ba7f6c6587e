"""Rollback: an earlier version becomes champion, and tags record when and why."""

import json
import sqlite3
from pathlib import Path

import pytest

from registering import ProcessKilledError, aliases, fail_after
from visiongate.adapters.mlflow.environment import user_name
from visiongate.adapters.mlflow.registry import find_champion, find_number
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.registration import stage as register
from visiongate.registry.rollback import promote_by_hand, roll_back
from visiongate.settings.schema import Settings
from workspaces import (
    commit_workspace,
    enter_committed,
    enter_copy,
    enter_workspace,
    tracked_settings,
    write_judged_model,
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return enter_committed(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a registry in which versions 1, 2 and 3 became champion, one after the other."""
    folder = tmp_path_factory.mktemp("promoted")
    with pytest.MonkeyPatch.context() as patched:
        workspace = enter_workspace(folder / "workspace", patched)
        patched.setenv("GIT_CEILING_DIRECTORIES", str(folder))
        commit_workspace()
        for threshold in (165, 145, 127.5):
            assert registered(tracked_settings(), threshold) == "promoted"
    return workspace


@pytest.fixture
def store(settings: Settings, promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A registry in which versions 1, 2 and 3 became champion, one after the other."""
    enter_copy(promoted, tmp_path / "copy", monkeypatch)
    return open_store(settings.tracking)


def registered(settings: Settings, threshold: float, *, passed: bool = True) -> str:
    write_judged_model(threshold, passed=passed)
    register.run(settings)
    return str(json.loads(Path("reports/registration.json").read_text())["decision"])


def back(store: Store, settings: Settings, number: str | None = None, *, force: bool = False) -> str:
    return roll_back(store, settings.registry.name, number, "it was slow", force=force).number


def test_previous_champion_is_restored_with_the_reason(store: Store, settings: Settings) -> None:
    assert back(store, settings) == "2"
    assert aliases(store, settings) == {"champion": "2"}
    name = settings.registry.name
    left, restored = find_number(store, name, "3"), find_champion(store, name)
    assert left is not None
    assert restored is not None
    user = user_name()
    assert left.tags["visiongate.rolled_back"].endswith(f"+00:00, by {user}, to version 2: it was slow")
    assert restored.tags["visiongate.restored"].endswith(f"+00:00, by {user}, from version 3: it was slow")
    assert restored.tags["visiongate.previous_champion"] == "1"


def test_repeated_rollbacks_go_back_in_time(store: Store, settings: Settings) -> None:
    assert [back(store, settings), back(store, settings)] == ["2", "1"]
    with pytest.raises(TrackingError, match="3, 2, 1"):
        back(store, settings)
    assert aliases(store, settings) == {"champion": "1"}
    assert back(store, settings, "3") == "3"
    # The previous champion.
    assert back(store, settings) == "1"


def test_rolled_back_version_is_not_promoted_again(store: Store, settings: Settings) -> None:
    back(store, settings)
    assert registered(settings, 127.5) == "registered"
    assert aliases(store, settings) == {"champion": "2", "challenger": "3"}
    assert back(store, settings, "3") == "3"
    assert aliases(store, settings) == {"champion": "3"}
    assert registered(settings, 127.5) == "promoted"


def test_new_champion_is_rolled_back_to_the_one_it_replaced(store: Store, settings: Settings) -> None:
    back(store, settings)
    assert registered(settings, 127.6) == "promoted"
    assert back(store, settings) == "2"


def test_deleted_version_is_skipped(store: Store, settings: Settings) -> None:
    store.client.delete_model_version(settings.registry.name, "2")
    assert back(store, settings) == "1"


def test_missing_version_is_an_error(store: Store, settings: Settings) -> None:
    for number in ("9", "two"):
        with pytest.raises(TrackingError, match=f"version {number}"):
            back(store, settings, number)
    with pytest.raises(TrackingError, match="version 3"):
        back(store, settings, "3")


def test_a_version_that_never_passed_the_gate_needs_force(store: Store, settings: Settings) -> None:
    assert registered(settings, 127.7, passed=False) == "rejected"
    with pytest.raises(TrackingError, match="--force"):
        back(store, settings, "4")
    assert aliases(store, settings) == {"champion": "3"}
    assert back(store, settings, "4", force=True) == "4"


def test_version_that_passed_once_can_be_restored(store: Store, settings: Settings) -> None:
    assert registered(settings, 145, passed=False) == "rejected"
    assert back(store, settings) == "2"


def test_without_a_champion_a_version_is_required(store: Store, settings: Settings) -> None:
    store.client.delete_model_version(settings.registry.name, "3")
    with pytest.raises(TrackingError, match="2, 1"):
        back(store, settings)
    assert back(store, settings, "2") == "2"


def test_version_is_promoted_by_hand(store: Store, settings: Settings) -> None:
    name = settings.registry.name
    assert registered(settings, 127.7, passed=False) == "rejected"
    promoted = promote_by_hand(store, name, "4", "for a demonstration")
    assert aliases(store, settings) == {"champion": "4"}
    text = f"+00:00, by {user_name()}, from version 3: for a demonstration"
    assert promoted.tags["visiongate.promoted_by_hand"].endswith(text)
    assert promoted.tags["visiongate.decision"] == "rejected"
    with pytest.raises(TrackingError, match="already champion"):
        promote_by_hand(store, name, "4", "again")
    with pytest.raises(TrackingError, match="version 9"):
        promote_by_hand(store, name, "9", "missing")
    assert back(store, settings) == "3"


def test_empty_registry_is_an_error(settings: Settings) -> None:
    with pytest.raises(TrackingError, match="digits-classifier"):
        back(open_store(settings.tracking), settings)


def test_alias_of_a_missing_version_is_replaced(store: Store, settings: Settings) -> None:
    assert store.database is not None
    with sqlite3.connect(store.database) as connection:
        connection.execute("UPDATE registered_model_aliases SET version = 9")
    assert back(store, settings, "3") == "3"
    assert aliases(store, settings) == {"champion": "3"}


@pytest.mark.slow
def test_interrupted_rollback_can_be_run_again(store: Store, settings: Settings) -> None:
    killed = 0
    for writes in range(1, 7):
        store.client.set_registered_model_alias(settings.registry.name, "challenger", "2")
        try:
            back(fail_after(store, writes), settings, "2")
        except ProcessKilledError:
            killed += 1
        if aliases(store, settings)["champion"] == "3":
            assert back(store, settings) == "2"
        # A promoted version is not a challenger.
        assert registered(settings, 145) == "promoted"
        assert aliases(store, settings) == {"champion": "2"}
        assert back(store, settings, "3") == "3"
    assert 3 <= killed < 6
