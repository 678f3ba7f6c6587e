"""Registering under fault: who is stopped, at whatever point, leaves a registry that serves and that the next run completes."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from registering import (
    MortalClient,
    PulledPlug,
    aliases,
    change,
    mortal,
    numbers,
    start_registering,
)
from visiongate.adapters.mlflow.registry import fetch_model, find_champion, list_versions
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.registration import stage as register
from visiongate.registration.aliases import ChampionMovedError
from visiongate.registry.rollback import rollback
from visiongate.settings.schema import Settings
from workspaces import enter_workspace, tracked_settings, write_judged_model


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return tracked_settings()


def registered(settings: Settings, threshold: float = 127.5, *, passed: bool = True) -> str:
    write_judged_model(threshold, passed=passed)
    register.run(settings)
    return str(json.loads(Path("reports/registration.json").read_text())["decision"])


def check_serves(store: Store, settings: Settings) -> str:
    """Somebody is champion, its file is there, and it was promoted; return its number."""
    champion = find_champion(store, settings.registry.name)
    assert champion is not None
    assert fetch_model(store, champion).exists()
    assert champion.tags["visiongate.decision"] == "promoted"
    return champion.number


def count_writes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """Register the model that is there, and count what that writes."""
    store = mortal(open_store(settings.tracking), 0)
    with monkeypatch.context() as patch:
        patch.setattr(register, "open_store", lambda _: store)
        register.run(settings)
    assert isinstance(store.client, MortalClient)
    return -store.client.left


def test_killed_after_any_write_it_still_serves_and_the_next_run_completes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = settings.registry.name
    registered(settings, threshold=140)
    writes = None
    left = 1
    while writes is None or left <= writes:
        # Each round registers a model of its own, better than version 1, and then goes back to version 1.
        write_judged_model(127.5 + left / 100)
        store = open_store(settings.tracking)
        before = numbers(store, settings)
        dying = mortal(store, left)
        with monkeypatch.context() as patch:
            patch.setattr(register, "open_store", lambda _, dying=dying: dying)
            with pytest.raises(PulledPlug):
                register.run(settings)
        assert check_serves(store, settings) in {"1", *numbers(store, settings)[len(before) :]}
        register.run(settings)
        assert json.loads(Path("reports/registration.json").read_text())["decision"] == "promoted"
        after = numbers(store, settings)
        assert len(after) == len(before) + 1
        assert aliases(store, settings) == {"champion": after[-1]}
        version = store.client.get_model_version(name, after[-1])
        assert version.tags["visiongate.previous_champion"] == "1"
        outputs = store.client.get_run(version.run_id).outputs.model_outputs  # those cut off before, too
        stored = [store.client.get_logged_model(output.model_id) for output in outputs]
        [logged] = [model for model in stored if model.artifact_location == version.source]
        assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": name, "version": after[-1]}]
        rollback(store, name, "1", "the next round", force=False)
        if writes is None:
            write_judged_model(127.4)
            writes = count_writes(settings, monkeypatch)
            rollback(store, name, "1", "the next round", force=False)
        left += 1
    assert writes > 10


def test_a_champion_that_changes_meanwhile_is_compared_with_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(settings, threshold=140)
    registered(settings, threshold=128)
    store = open_store(settings.tracking)
    rollback(store, settings.registry.name, "1", "to begin with", force=False)
    store.client.delete_model_version_tag(settings.registry.name, "2", "visiongate.rolled_back")
    write_judged_model(127.5)
    decide = register._decide  # noqa: SLF001 - what happens between the decision and the alias cannot be reached else

    def decide_and_be_overtaken(*arguments: object) -> object:
        decision = decide(*arguments)  # type: ignore[arg-type]
        store.client.set_registered_model_alias(settings.registry.name, "champion", "2")
        return decision

    monkeypatch.setattr(register, "_decide", decide_and_be_overtaken)
    register.run(settings)
    answer = json.loads(Path("reports/registration.json").read_text())
    assert (answer["decision"], answer["comparison"]["wins"]) == ("registered", 1)
    assert "champion version 2's" in answer["reason"]
    assert aliases(store, settings) == {"champion": "2", "challenger": "3"}


def test_a_champion_that_never_rests_is_given_up_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(settings)
    write_judged_model(129)

    def moved(*_: object) -> None:
        raise ChampionMovedError("another version became champion meanwhile")

    monkeypatch.setattr(register, "apply_decision", moved)
    with pytest.raises(
        TrackingError, match="the champion changed 5 times while it was compared with; no alias"
    ):
        register.run(settings)
    assert not (aliases(open_store(settings.tracking), settings).keys() - {"champion"})


def test_two_processes_at_once_on_a_local_store_have_one_winner(settings: Settings, tmp_path: Path) -> None:
    registered(settings, threshold=140)
    store = open_store(settings.tracking)
    race(tmp_path, store.address)
    check_race(store, settings)


def race(tmp_path: Path, address: str) -> None:
    """Register two models at the same time, each better than version 1, and neither than the other."""
    processes = []
    for name, threshold in (("one", 127.5), ("other", 129)):
        (tmp_path / name).mkdir()
        here = Path.cwd()
        os.chdir(tmp_path / name)
        write_judged_model(threshold)
        os.chdir(here)
        known = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        environment = {**known, "MLFLOW_TRACKING_URI": address}
        processes.append(start_registering(tmp_path / name, **environment))
    for process in processes:
        _, told = process.communicate(timeout=200)
        assert process.returncode == 0, told


def check_race(store: Store, settings: Settings) -> None:
    versions = {version.number: version for version in list_versions(store, settings.registry.name)}
    assert sorted(versions) == ["1", "2", "3"]
    found = aliases(store, settings)
    assert sorted(found) == ["challenger", "champion"]
    assert set(found.values()) == {"2", "3"}
    winner, loser = versions[found["champion"]], versions[found["challenger"]]
    assert winner.tags["visiongate.previous_champion"] == "1"
    assert f"champion version {winner.number}'s" in loser.tags["visiongate.reason"]


# What is deleted by hand


def test_a_deleted_champion_leaves_room_for_the_next(settings: Settings) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    store.client.delete_model_version(settings.registry.name, "1")
    assert registered(settings, threshold=129) == "promoted"
    assert aliases(store, settings) == {"champion": "2"}


def test_a_deleted_version_of_the_same_file_is_made_anew(settings: Settings) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    store.client.delete_model_version(settings.registry.name, "1")
    assert registered(settings) == "promoted"
    assert numbers(store, settings) == ["2"]


def test_an_alias_that_names_nothing_is_told_and_replaced(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    assert store.database is not None
    with sqlite3.connect(store.database) as connection:
        connection.execute("UPDATE registered_model_aliases SET version = 7")
    assert registered(settings, threshold=129) == "promoted"
    assert (
        "digits-classifier@champion names version 7, which is not there: it is taken for none" in caplog.text
    )
    assert aliases(store, settings) == {"champion": "2"}


def test_a_registered_model_that_is_deleted_is_made_anew(settings: Settings) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    store.client.delete_registered_model(settings.registry.name)
    assert registered(settings) == "promoted"
    assert aliases(store, settings) == {"champion": "1"}


# A server


@dataclass
class Server:
    """An MLflow server on loopback, that can be killed and started again."""

    folder: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    address: str = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                start_new_session=True,
            )
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            try:
                urlopen(f"{self.address}/health", timeout=1).close()  # noqa: S310 - ours
            except (URLError, OSError):
                time.sleep(0.2)
            else:
                return
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def served(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Settings:
    """Settings that write to the server, under a name of their own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    return change(settings, name=request.node.name.replace("_", "-")[:60])


def test_two_processes_at_once_on_a_server_have_one_winner(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    registered(settings, threshold=140)
    race(tmp_path, server.address)
    store = open_store(settings.tracking)
    check_race(store, settings)
    assert "visiongate.lock" not in store.client.get_registered_model(settings.registry.name).tags


def test_a_server_that_dies_half_way_loses_nothing(
    server: Server, served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(served, threshold=140)
    write_judged_model()

    def die(*_: object) -> None:
        server.kill()

    with monkeypatch.context() as patch:
        patch.setattr(register, "find_champion", die)
        with pytest.raises(
            TrackingError, match=r"^MLflow at http://127.*see that the address answers"
        ) as caught:
            register.run(served)
    assert "\n" not in str(caught.value)
    server.start()
    store = open_store(served.tracking)
    assert check_serves(store, served) == "1"
    store.client.delete_registered_model_tag(served.registry.name, "visiongate.lock")  # or wait until it ends
    register.run(served)
    assert (aliases(store, served), numbers(store, served)) == ({"champion": "2"}, ["1", "2"])
