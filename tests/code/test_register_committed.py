"""A registry without a champion starts from the committed model."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from clones import call
from drift_references import make_reference
from registering import aliases, change
from visiongate.adapters.mlflow.store import open_store
from visiongate.records.drift_reference import write_reference
from visiongate.records.files import sha256_of
from visiongate.records.registration import Registration, read_registration
from visiongate.registration import stage as register
from visiongate.settings.schema import Settings
from workspaces import commit_workspace, enter_workspace, tracked_settings, write_judged_model

REFERENCE = Path("reports/evaluation/reference.npz")
STAGES = """\
stages:
  train:
    cmd: "true"
    outs: [data/transformed, models/model.json, models/model.onnx, reports/evaluation, reports/training]
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a repository whose commit has a promoted model with a threshold of 128."""
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    commit_workspace()
    for pair in ("user.name a", "user.email a@b.c", "core.excludesFile /dev/null"):
        call(Path(), "git", "config", *pair.split())
    call(Path(), "dvc", "init", "-q")
    Path("dvc.yaml").write_text(STAGES)
    Path(".gitignore").write_text("/mlruns\n")
    write_judged_model(128)
    write_reference(REFERENCE, make_reference(model_sha256=sha256_of(Path("models/model.onnx"))))
    call(Path(), "dvc", "commit", "-q", "-f")
    call(Path(), "git", "add", "--all")
    call(Path(), "git", "commit", "-qm", "The code")
    settings = tracked_settings()
    registered(settings)
    call(Path(), "git", "add", "--all")
    call(Path(), "git", "commit", "-qm", "The model")
    open_store(settings.tracking).client.delete_registered_model(settings.registry.name)
    return settings


def registered(settings: Settings) -> Registration:
    register.run(settings)
    return read_registration(Path("reports/registration.json"))


@pytest.mark.slow
def test_committed_model_is_registered_before_another(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    committed = sha256_of(Path("models/model.onnx"))
    head = call(Path(), "git", "rev-parse", "HEAD").stdout.strip()
    reference = sha256_of(REFERENCE)
    write_judged_model(127.5)
    REFERENCE.unlink()
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", head)
    monkeypatch.setenv("DVC_EXP_NAME", "rooky-nard")

    with caplog.at_level(logging.INFO, "visiongate"):
        answer = registered(settings)

    assert (answer.decision, answer.version, answer.aliases) == ("registered", "2", [])
    assert "champion version 1" in answer.reason
    assert [text for text in caplog.messages if f"commit {head[:7]} as version 1" in text]
    store, name = open_store(settings.tracking), settings.registry.name
    assert aliases(store, settings) == {"champion": "1"}
    champion = store.client.get_model_version(name, "1")
    assert champion.tags["visiongate.model_sha256"] == committed
    assert champion.tags["visiongate.reference_sha256"] == reference
    assert champion.tags["mlflow.source.git.commit"] == head
    assert champion.tags["visiongate.dvc_lock"] != "dvc.lock: nothing recorded"
    assert champion.description
    run = store.client.get_run(champion.run_id)
    assert run.data.metrics["test/accuracy"] == 0.9

    # Another data set has another registered model.
    other = registered(change(settings, name="other-classifier"))
    assert (other.decision, other.version, other.aliases) == ("registered", "1", [])

    # The files of the committed model are gone.
    store.client.delete_registered_model(name)
    shutil.rmtree(".dvc/cache")
    caplog.clear()
    lost = registered(settings)
    assert (lost.decision, lost.version, lost.aliases) == ("registered", "1", [])
    [line] = [text for text in caplog.messages if "cannot be registered first" in text]
    assert head[:7] in line
    assert "\n" not in line


@pytest.mark.slow
def test_committed_model_itself_is_registered_once(settings: Settings) -> None:
    answer = registered(settings)
    assert (answer.decision, answer.version, answer.aliases) == ("promoted", "1", ["champion"])
    # A rejected model of a commit is not one to start from.
    record = json.loads(Path("reports/registration.json").read_text())
    Path("reports/registration.json").write_text(json.dumps({**record, "decision": "rejected"}))
    call(Path(), "git", "commit", "-qam", "A rejected model")
    open_store(settings.tracking).client.delete_registered_model(settings.registry.name)
    write_judged_model(127.5)
    REFERENCE.unlink()
    assert registered(settings).version == "1"
