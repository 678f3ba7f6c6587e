"""From the source of a served model to the prediction log: its reference is checked, and stored for `visiongate drift`."""

import asyncio
import io
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from drift_references import make_reference
from pooled_models import write_pooled_model
from served import application
from tiny_models import brightness_images, write_threshold_model
from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import (
    Version,
    add_version,
    attach_reference,
    set_alias,
)
from visiongate.adapters.mlflow.runs import find_or_create_run
from visiongate.adapters.mlflow.store import open_store
from visiongate.monitoring import prediction_log
from visiongate.records.drift_reference import encode_reference, write_reference
from visiongate.records.files import sha256_of
from visiongate.records.served_model import ServedModel, write_served_folder
from visiongate.serving.sources.addresses import Places, find_source
from visiongate.serving.sources.model_sources import FileSource, FolderSource, ServedFile
from visiongate.serving.sources.work_tree import WorkTree
from visiongate.serving.versions.reference import load_reference
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.serving import Serving, ServingRegistry
from visiongate.settings.serving_environment import Deployment
from workspaces import TRACKING, enter_workspace

NAME = "tiny"


def content_of(model: Path, seed: int = 0) -> bytes:
    return encode_reference(make_reference(model_sha256=sha256_of(model), seed=seed))


def export(folder: Path, model: Path, reference: bytes | None) -> Path:
    """Write a folder as `visiongate registry export` does."""
    described = ServedModel(NAME, "3", sha256_of(model))
    path = None
    if reference is not None:
        path = folder.with_name("exported.npz")
        path.write_bytes(reference)
    write_served_folder(folder, described, model, path)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_pooled_model(tmp_path / "first.onnx")
    return tmp_path / "first.onnx"


# Sources


def test_a_folder_has_the_reference_that_was_exported(tmp_path: Path, model: Path) -> None:
    content = content_of(model)
    assert load_reference(FolderSource(export(tmp_path / "served", model, content)).current()) == content


def test_older_folders_and_other_files_have_none_and_that_is_no_error(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = export(tmp_path / "served", model, None)
    described = json.loads((folder / "served.json").read_text())
    del described["reference_sha256"]
    (folder / "served.json").write_text(json.dumps(described))
    (folder / "reference.npz").write_bytes(b"of another program")
    assert load_reference(FolderSource(folder).current()) is None
    assert load_reference(FileSource(model).current()) is None
    assert caplog.messages == []


def test_the_model_of_a_work_tree_has_the_reference_of_its_evaluation(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = WorkTree(
        model,
        *(tmp_path / name for name in ("metrics.json", "registration.json", "card.md", "reference.npz")),
    )
    file = FileSource(model, tree).current()
    assert load_reference(file) is None
    tree.reference.write_bytes(content_of(model))
    assert load_reference(file) == tree.reference.read_bytes()
    assert caplog.messages == []
    # The model was trained again, and not yet evaluated.
    write_reference(tree.reference, make_reference())
    assert load_reference(file) is None
    assert "it belongs to the model aaaaaaaaaaaa…" in caplog.text


def damage(folder: Path) -> None:
    path = folder / "reference.npz"
    path.write_bytes(path.read_bytes()[:-100])


def exchange(folder: Path) -> None:
    """Replace the reference by that of another model, also in the description."""
    write_reference(folder / "reference.npz", make_reference())
    described = json.loads((folder / "served.json").read_text())
    described["reference_sha256"] = sha256_of(folder / "reference.npz")
    (folder / "served.json").write_text(json.dumps(described))


def inflate(folder: Path) -> None:
    (folder / "reference.npz").write_bytes(bytes(3_000_000))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage, "not the registered"),
        (exchange, "it belongs to the model aaaaaaaaaaaa…"),
        (inflate, "more than 2,000,000 bytes"),
        (lambda folder: (folder / "reference.npz").unlink(), "No such file"),
    ],
)
def test_an_unusable_reference_is_one_warning(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], words: str
) -> None:
    folder = export(tmp_path / "served", model, content_of(model))
    spoil(folder)
    assert load_reference(FolderSource(folder).current()) is None
    [message] = caplog.messages
    assert words in message
    assert message.endswith(f"`visiongate drift` has no reference for {folder} (tiny version 3)")


# MLflow's registry


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Version]:
    """The address of a registry, and its champion."""
    enter_workspace(tmp_path / "workspace", monkeypatch)
    store, path = open_store(TRACKING), Path("model.onnx")
    write_threshold_model(path)
    candidate = Candidate(path, sha256_of(path), brightness_images(1)[0], {})
    run_id = find_or_create_run(store, candidate.sha256, "train tiny", {}, [])
    version = add_version(store, NAME, candidate, run_id, {})
    set_alias(store, version, "champion")
    return f"sqlite:///{Path('mlruns/mlflow.db').absolute()}", version


def attach(version: Version, seed: int = 0) -> bytes:
    content = content_of(Path("model.onnx"), seed)
    Path("reference.npz").write_bytes(content)
    attach_reference(open_store(TRACKING), version, Path("reference.npz"))
    return content


def fetch(tmp_path: Path, address: str) -> ServedFile:
    registry = ServingRegistry(uri=address, timeout_seconds=1, cache=str(tmp_path / "cache"))
    places = Places(Deployment(Serving(registry=registry), Monitoring(), NAME), None, {})
    return find_source(f"models:/{NAME}@champion", places).current()


def test_a_registry_has_the_reference_that_was_registered(
    tmp_path: Path, registered: tuple[str, Version], caplog: pytest.LogCaptureFixture
) -> None:
    address, version = registered
    assert load_reference(fetch(tmp_path, address)) is None
    assert caplog.messages == []
    # The cache has the version, and lacks the reference; later, it has another one.
    for seed in (0, 1):
        content = attach(version, seed)
        file = fetch(tmp_path, address)
        assert file.path.is_relative_to(tmp_path / "cache")
        assert load_reference(file) == content
    shutil.rmtree("mlruns/artifacts")
    assert load_reference(fetch(tmp_path, address)) == content


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_version_is_served_when_its_reference_cannot_be_fetched(
    tmp_path: Path, registered: tuple[str, Version], caplog: pytest.LogCaptureFixture, *, is_lost: bool
) -> None:
    address, version = registered
    attach(version)
    [path] = Path("mlruns/artifacts").rglob("reference.npz")
    if is_lost:
        path.unlink()
    else:
        path.write_bytes(b"another")
    file = fetch(tmp_path, address)
    assert sha256_of(file.path) == file.sha256
    assert load_reference(file) is None
    [message] = caplog.messages
    assert "reference.npz" in message
    assert "`visiongate drift` has no reference for tiny version 1 (champion)" in message


# The prediction log


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "GATHER_SECONDS", 0.01)


def stored_references(database: Path) -> dict[str, bytes]:
    """Return the references in the log by the sha256 of their models."""
    if not database.exists():
        return {}
    query = "SELECT sha256, content FROM drift_references JOIN models USING (model_id)"
    with closing(sqlite3.connect(database)) as connection:
        try:
            return dict(connection.execute(query))
        except sqlite3.OperationalError:
            return {}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def environment(database: Path, **further: str) -> dict[str, str]:
    return {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{database}",
        "VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.02",
        **further,
    }


def test_references_of_all_roles_are_stored_and_stored_again_when_the_database_is_exchanged(
    tmp_path: Path,
) -> None:
    folders, expected = {}, {}
    for role, temperature in (("active", 2.0), ("canary", 1.0), ("shadow", 0.5)):
        file = tmp_path / f"{role}.onnx"
        write_pooled_model(file, temperature)
        expected[sha256_of(file)] = content_of(file)
        folders[role] = export(tmp_path / role, file, content_of(file))
    rollout = "VISIONGATE_SERVING__ROLLOUT__"
    database = tmp_path / "logs/predictions.sqlite"
    variables = environment(
        database,
        **{f"{rollout}CANARY": str(folders["canary"]), f"{rollout}CANARY_SHARE": "0.5"},
        **{f"{rollout}SHADOW": str(folders["shadow"]), f"{rollout}SHADOW_SHARE": "0.5"},
    )

    async def run() -> None:
        async with application(folders["active"], variables) as app:
            await until(lambda: stored_references(database) == expected)
            database.rename(tmp_path / "moved.sqlite")
            # A prediction wakes the thread.
            assert (await app.client.post("/predict", content=photo())).status_code == 200
            await until(lambda: stored_references(database) == expected)

    asyncio.run(run())


def photo() -> bytes:

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_version_that_follows_has_its_own(tmp_path: Path, model: Path) -> None:
    database, folder = tmp_path / "predictions.sqlite", export(tmp_path / "served", model, content_of(model))
    write_pooled_model(tmp_path / "second.onnx", 1.0)
    second = tmp_path / "second.onnx"

    async def run() -> None:
        async with application(folder, environment(database)):
            await until(lambda: stored_references(database) == {sha256_of(model): content_of(model)})
            export(folder, second, content_of(second))
            await until(lambda: len(stored_references(database)) == 2)
        assert stored_references(database)[sha256_of(second)] == content_of(second)

    asyncio.run(run())


def test_a_damaged_reference_is_one_warning_and_the_service_goes_on(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database, folder = tmp_path / "predictions.sqlite", export(tmp_path / "served", model, content_of(model))
    damage(folder)

    async def run() -> None:
        async with application(folder, environment(database)) as app:
            for _ in range(3):
                assert (await app.client.post("/predict", content=photo())).status_code == 200
            await until(database.exists)
            await asyncio.sleep(0.2)

    with caplog.at_level(logging.WARNING, "visiongate"):
        asyncio.run(run())
    assert [message for message in caplog.messages if "reference" in message] == [
        message for message in caplog.messages if "has no reference for" in message
    ]
    assert len([message for message in caplog.messages if "reference" in message]) == 1
    assert stored_references(database) == {}


def test_another_evaluation_of_the_same_model_replaces_the_reference(tmp_path: Path, model: Path) -> None:
    database = tmp_path / "predictions.sqlite"

    async def serve_once(content: bytes) -> None:
        folder = export(tmp_path / "served", model, content)
        async with application(folder, environment(database)):
            await until(lambda: stored_references(database) == {sha256_of(model): content})

    for seed in (0, 1):
        asyncio.run(serve_once(content_of(model, seed)))
