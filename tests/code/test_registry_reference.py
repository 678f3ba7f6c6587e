"""The reference of a version: stored in the registry beside its file, exported with it, and registered with the model."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from command_line import run_cli
from drift_references import make_reference
from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import (
    Version,
    add_version,
    attach_reference,
    fetch_model,
    fetch_reference,
    find_number,
)
from visiongate.adapters.mlflow.runs import find_or_create_run
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.errors import DataError
from visiongate.records.drift_reference import read_reference, write_reference
from visiongate.records.files import sha256_of
from visiongate.records.registration import RecordedLineage, Registration, write_registration
from visiongate.records.served_model import read_served_model
from visiongate.registration import stage as register
from visiongate.settings.schema import Settings
from workspaces import (
    TRACKING,
    enter_committed,
    enter_workspace,
    write_judged_model,
)

NAME, TAG = "tiny", "visiongate.reference_sha256"
REFERENCE, MODEL = Path("reports/evaluation/reference.npz"), Path("models/model.onnx")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    return open_store(TRACKING)


@pytest.fixture
def version(store: Store) -> Version:
    path = Path("model.onnx")
    tiny_models.write_threshold_model(path)
    images, _ = tiny_models.brightness_images(1)
    candidate = Candidate(path, sha256_of(path), images, {})
    run_id = find_or_create_run(store, candidate.sha256, "train tiny", {}, [])
    return add_version(store, NAME, candidate, run_id, {})


def write(path: Path, seed: int = 0, model: Path = Path("model.onnx")) -> Path:
    write_reference(path, make_reference(model_sha256=sha256_of(model), seed=seed))
    return path


def test_a_version_carries_its_reference(store: Store, version: Version, tmp_path: Path) -> None:
    assert fetch_reference(store, version) is None
    first = write(tmp_path / "a/reference.npz")
    attached = attach_reference(store, version, first)
    stored = fetch_reference(store, attached)
    assert stored is not None
    assert stored.read_bytes() == first.read_bytes()
    assert stored.parent == fetch_model(store, attached).parent
    assert attach_reference(store, attached, first) is attached

    second = write(tmp_path / "b/reference.npz", seed=1)
    replaced = attach_reference(store, attached, second)
    assert replaced.tags[TAG] == sha256_of(second) != attached.tags[TAG]
    assert stored.read_bytes() == second.read_bytes()


def test_a_reference_that_was_changed_in_the_registry_is_refused_and_can_be_replaced(
    store: Store, version: Version, tmp_path: Path
) -> None:
    path = write(tmp_path / "reference.npz")
    attached = attach_reference(store, version, path)
    stored = fetch_reference(store, attached)
    assert stored is not None
    stored.write_bytes(b"something else")
    with pytest.raises(TrackingError, match=r"models:/tiny/1: reference\.npz in the registry has sha256"):
        fetch_reference(store, attached)
    attach_reference(store, attached, path)
    assert stored.read_bytes() == path.read_bytes()


# Registration


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return enter_committed(tmp_path, monkeypatch)


def find(settings: Settings, number: str) -> tuple[Store, Version]:
    store = open_store(settings.tracking)
    found = find_number(store, settings.registry.name, number)
    assert found is not None
    return store, found


def judge(threshold: float, seed: int | None = 0, **judged: Any) -> None:  # noqa: ANN401
    write_judged_model(threshold, **judged)
    if seed is None:
        REFERENCE.unlink(missing_ok=True)
    else:
        write(REFERENCE, seed, MODEL)


def test_the_stage_registers_the_reference(settings: Settings) -> None:
    judge(127.5)
    register.run(settings)
    store, first = find(settings, "1")
    stored = fetch_reference(store, first)
    assert stored is not None
    assert read_reference(stored, sha256_of(MODEL)).images == 20
    run_files = {each.path for each in store.client.list_artifacts(first.run_id, "evaluation")}
    assert "evaluation/reference.npz" in run_files

    # Another evaluation of the same model.
    judge(127.5, seed=1)
    register.run(settings)
    assert find(settings, "1")[1].tags[TAG] == sha256_of(REFERENCE) != first.tags[TAG]


def test_a_model_that_was_evaluated_without_a_reference_is_registered(settings: Settings) -> None:
    judge(127.5, seed=None)
    register.run(settings)
    store, first = find(settings, "1")
    assert fetch_reference(store, first) is None
    # It gets one with the next evaluation.
    judge(127.5)
    register.run(settings)
    assert fetch_reference(*find(settings, "1")) is not None


def test_a_rejected_champion_keeps_its_reference(settings: Settings) -> None:
    judge(127.5)
    register.run(settings)
    before = find(settings, "1")[1].tags[TAG]
    judge(127.5, seed=1, passed=False)
    register.run(settings)
    assert find(settings, "1")[1].tags[TAG] == before


def test_the_reference_of_another_model_is_not_registered(settings: Settings) -> None:
    judge(127.5)
    write_judged_model(140)
    with pytest.raises(
        DataError, match=r"reference\.npz: it belongs to the model .*; run `dvc repro evaluate`"
    ):
        register.run(settings)


# Export


def test_a_version_is_exported_with_its_reference(settings: Settings, tmp_path: Path) -> None:
    judge(140, seed=None)
    register.run(settings)
    judge(127.5)
    register.run(settings)
    folder = tmp_path / "served"
    assert run_cli("registry", "export", "2", "--to", str(folder)) == 0
    assert (folder / "reference.npz").read_bytes() == REFERENCE.read_bytes()
    assert read_served_model(folder / "served.json").reference_sha256 == sha256_of(REFERENCE)

    # An older version replaces it, and has none.
    assert run_cli("registry", "export", "1", "--to", str(folder)) == 0
    assert not (folder / "reference.npz").exists()
    assert read_served_model(folder / "served.json").reference_sha256 is None
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "served.json"]


def promote_without_registry(settings: Settings) -> None:
    lineage = RecordedLineage(
        "e6e5f73", git_dirty=False, data_md5={}, model_md5="", params_sha256=None, differences=[]
    )
    registration = Registration(
        decision="promoted",
        reason="there was no champion",
        name=settings.registry.name,
        version="7",
        aliases=["champion"],
        model_sha256=sha256_of(MODEL),
        gate_passed=True,
        previous_champion=None,
        comparison=None,
        lineage=lineage,
    )
    write_registration(Path("reports/registration.json"), registration)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda: write(REFERENCE, model=MODEL), None),
        (lambda: None, None),
        (lambda: REFERENCE.write_bytes(b"damaged"), "damaged"),
        (lambda: write_reference(REFERENCE, make_reference()), "it belongs to the model aaaaaaaaaaaa…"),
    ],
)
def test_the_committed_model_is_exported_with_a_reference_that_fits(
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[], object],
    warning: str | None,
) -> None:
    judge(127.5, seed=None, passed=True)
    promote_without_registry(settings)
    change()
    folder = tmp_path / "served"
    with caplog.at_level(logging.WARNING, "visiongate"):
        assert run_cli("registry", "export", "--to", str(folder)) == 0
    assert (folder / "reference.npz").exists() == (REFERENCE.exists() and warning is None)
    described = json.loads((folder / "served.json").read_text())
    assert (described["reference_sha256"] is None) != (folder / "reference.npz").exists()
    assert [
        message for message in caplog.messages if "exported without it" in message and str(warning) in message
    ] == (caplog.messages if warning else [])
