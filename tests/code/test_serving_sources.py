"""Where a served model comes from: files, folders, and MLflow's registry in a SQLite file."""

import json
import shutil
import sqlite3
from dataclasses import asdict
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tiny_models import brightness_images, write_threshold_model
from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import add_version, describe_version, set_alias, set_tags
from visiongate.adapters.mlflow.runs import find_or_create_run
from visiongate.adapters.mlflow.store import Store, open_store
from visiongate.errors import DataError, SettingsError, VisiongateError
from visiongate.records.files import sha256_of
from visiongate.records.registration import RecordedLineage, Registration
from visiongate.records.served_model import ServedModel, read_served_model, write_served_folder
from visiongate.serving.sources.addresses import Places, find_source
from visiongate.serving.sources.cache import KEPT, ModelCache
from visiongate.serving.sources.model_sources import (
    FileSource,
    FolderSource,
    ModelSource,
    NoVersionError,
    UnreachableError,
)
from visiongate.serving.sources.registration_time import add_registration_time, read_registration_time
from visiongate.serving.sources.registry_source import RegistrySource
from visiongate.serving.sources.work_tree import WorkTree
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.serving import Serving, ServingRegistry
from visiongate.settings.serving_environment import Deployment
from workspaces import TRACKING, enter_workspace

NAME = "tiny"
CARD = "# A model\n"
TAGS = {"visiongate.threshold": "0.25", "visiongate.git_dirty": "false", "visiongate.data_raw_md5": "abc.dir"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two versions; the first is champion."""
    with pytest.MonkeyPatch.context() as patch:
        folder = enter_workspace(tmp_path_factory.mktemp("registry") / "workspace", patch)
        store = open_store(TRACKING)
        for threshold in (100, 150):
            _register(store, threshold)
    return folder


def _register(store: Store, threshold: float) -> None:
    path = Path("model.onnx")
    write_threshold_model(path, threshold)
    candidate = Candidate(path, sha256_of(path), brightness_images(1)[0], {})
    run_id = find_or_create_run(store, candidate.sha256, "train tiny", {}, [])
    version = add_version(store, NAME, candidate, run_id, {"mlflow.source.git.commit": "c0ffee"})
    if version.number == "1":
        set_alias(store, set_tags(store, version, TAGS), "champion")
        describe_version(store, version, CARD)


@pytest.fixture
def database(template: Path) -> str:
    """MLflow's address of the registry; its champion is version 1."""
    address = f"sqlite:///{template / 'mlruns/mlflow.db'}"
    MlflowClient(address, address).set_registered_model_alias(NAME, "champion", "1")
    return address


def _places(
    tmp_path: Path, uri: str | None, *, name: str | None = NAME, tree: WorkTree | None = None
) -> Places:
    registry = ServingRegistry(uri=uri, timeout_seconds=1, cache=str(tmp_path / "cache"))
    return Places(Deployment(Serving(registry=registry), Monitoring(), name), tree, {})


def _source(tmp_path: Path, uri: str, address: str = f"models:/{NAME}@champion") -> ModelSource:
    return find_source(address, _places(tmp_path, uri))


def _work_tree(folder: Path) -> WorkTree:
    write_threshold_model(folder / "model.onnx")
    (folder / "metrics.json").write_text('{"accuracy": 0.9, "threshold": 0.4}')
    return WorkTree(
        folder / "model.onnx",
        folder / "metrics.json",
        folder / "registration.json",
        folder / "card.md",
        folder / "reference.npz",
    )


def _registration(sha256: str) -> str:
    lineage = RecordedLineage("c0ffee", False, {}, "abc", None, [])  # noqa: FBT003 - as the field
    registration = Registration("promoted", "", NAME, "1", [], sha256, True, None, None, lineage)  # noqa: FBT003
    return json.dumps(asdict(registration))


# Files and folders


def test_a_file_is_hashed_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    write_threshold_model(path)
    source = FileSource(path)
    first = source.current()
    with monkeypatch.context() as patch:
        patch.setattr(
            "visiongate.serving.sources.model_sources.sha256_of", lambda _: pytest.fail("hashed again")
        )
        assert source.current() is first
    write_threshold_model(tmp_path / "new.onnx", 100)
    (tmp_path / "new.onnx").replace(path)

    assert (first.name, first.version, first.threshold) == ("model", None, None)
    assert source.current().sha256 == sha256_of(path) != first.sha256
    path.unlink()
    with pytest.raises(DataError, match=r"model\.onnx: no such model file"):
        source.current()


def test_the_model_of_a_work_tree_is_described_if_it_is_the_registered_one(tmp_path: Path) -> None:
    tree = _work_tree(tmp_path)
    tree.card.write_text("---\ntags: [a]\n---\n\n# Card\n")
    tree.registration.write_text(_registration(sha256_of(tree.model)))
    described = FileSource(tree.model, tree).current()
    assert (described.name, described.threshold, described.card) == (NAME, 0.4, "# Card\n")
    assert described.lineage["git_commit"] == "c0ffee"

    tree.registration.write_text(_registration("0" * 64))
    other = FileSource(tree.model, tree).current()
    assert (other.name, other.threshold, other.card) == ("model", 0.4, None)
    write_threshold_model(tmp_path / "elsewhere.onnx")
    assert FileSource(tmp_path / "elsewhere.onnx", tree).current().threshold is None


def test_a_folder_is_served_without_a_registry(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    sha256 = sha256_of(tmp_path / "model.onnx")
    model = ServedModel(NAME, "3", sha256, 0.3, CARD, {"git_commit": "c0ffee"}, ["champion"])
    write_served_folder(tmp_path / "served", model, tmp_path / "model.onnx")
    source = find_source(str(tmp_path / "served"), _places(tmp_path, None))

    file = source.current()

    assert isinstance(source, FolderSource)
    assert source.fallback() is None
    assert read_served_model(tmp_path / "served/served.json") == model
    assert sha256_of(file.path) == file.sha256 == sha256
    assert (file.name, file.version, file.threshold, file.aliases) == (NAME, "3", 0.3, ("champion",))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file or directory"), ("{}", "name: Field required"), ("x", "Invalid JSON")],
)
def test_a_folder_without_a_description_is_an_error(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "served.json").write_text(content)
    with pytest.raises(
        DataError, match=f"served.json: .*{words}.*; write the folder with `visiongate registry"
    ):
        FolderSource(tmp_path).current()


# Addresses


@pytest.mark.parametrize(
    ("text", "uri", "words"),
    [
        ("nothing.onnx", None, "no such model; name an ONNX file"),
        ("models:/tiny", None, "no such model"),
        ("models:/tiny@champion", None, "no registry is known"),
        ("models:/tiny/3", "postgresql://user:secret@host/db", r"postgresql:…: not supported"),
    ],
)
def test_an_unknown_address_is_an_error(tmp_path: Path, text: str, uri: str | None, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        find_source(text, _places(tmp_path, uri))
    assert "secret" not in str(caught.value)


def test_without_a_name_and_params_there_is_no_champion(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no params\.yaml"):
        find_source(None, _places(tmp_path, "sqlite:///x", name=None))


def test_without_a_registry_the_champion_is_the_model_of_the_work_tree(tmp_path: Path) -> None:
    tree = _work_tree(tmp_path)
    source = find_source(None, _places(tmp_path, f"sqlite:///{tmp_path}/none.db", tree=tree))
    with pytest.raises(UnreachableError, match=r"models:/tiny@champion: there is no registry at sqlite:///"):
        source.current()
    file = source.fallback()
    assert file is not None
    assert (file.path, file.threshold) == (tree.model, 0.4)
    tree.metrics.write_text("no metrics")
    assert find_source(None, _places(tmp_path, "sqlite:///none.db", tree=tree)).fallback() is None


# MLflow's SQLite file


def test_a_version_is_read_as_mlflow_reads_it(tmp_path: Path, database: str) -> None:
    source = _source(tmp_path, database)
    assert isinstance(source, RegistrySource)
    client = MlflowClient(database, database)
    expected = client.get_model_version_by_alias(NAME, "champion")
    model = source.registry.find(source.address)

    assert (model.version, model.card, model.aliases) == (str(expected.version), CARD, expected.aliases)
    assert model.sha256 == expected.tags["visiongate.model_sha256"]
    assert model.threshold == 0.25
    lineage = dict(model.lineage)
    assert read_registration_time(lineage) == expected.creation_timestamp // 1000
    del lineage["registered_at"]
    assert lineage == {"git_commit": "c0ffee", "git_dirty": "false", "data_raw_md5": "abc.dir"}
    assert source.registry.locate(model) == client.get_model_version_download_uri(NAME, "1")


def test_a_moved_alias_is_another_version(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(tmp_path, database)
    first = source.current()
    with monkeypatch.context() as patch:
        patch.setattr("visiongate.serving.sources.cache.sha256_of", lambda _: pytest.fail("fetched again"))
        assert source.current() == first
    MlflowClient(database, database).set_registered_model_alias(NAME, "champion", "2")
    second = source.current()

    assert (first.version, second.version) == ("1", "2")
    assert first.identity != second.identity
    for file in (first, second):
        assert sha256_of(file.path) == file.sha256
        assert FolderSource(file.path.parent).current().sha256 == file.sha256
    assert second.source == f"tiny version 2 (champion) of {database}"
    assert _source(tmp_path, database, "models:/tiny/1").current().identity == first.identity


def test_reading_writes_nothing_to_the_registry(tmp_path: Path, database: str) -> None:
    path = Path(database.removeprefix("sqlite:///"))
    before = {file: file.stat().st_mtime_ns for file in path.parent.iterdir()}
    _source(tmp_path, database).current()
    assert {file: file.stat().st_mtime_ns for file in path.parent.iterdir()} == before


@pytest.mark.parametrize("address", ["models:/tiny@nobody", "models:/tiny/9", "models:/other@champion"])
def test_a_missing_version_is_an_error(tmp_path: Path, database: str, address: str) -> None:
    with pytest.raises(NoVersionError, match=f"{address}: no such version at sqlite:///"):
        _source(tmp_path, database, address).current()


def test_a_locked_or_damaged_database_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + bytes(200))
    with pytest.raises(UnreachableError, match=r"MLflow at sqlite:///.*damaged\.db: "):
        _source(tmp_path, f"sqlite:///{tmp_path}/damaged.db").current()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM model_version_tags WHERE key LIKE '%sha256'", "registered without a sha256"),
        ("UPDATE model_version_tags SET value = 'x' WHERE key LIKE '%threshold'", "is no number: 'x'"),
        ("UPDATE model_versions SET storage_location = '/nowhere'", "/nowhere/model.onnx: No such file"),
        ("UPDATE model_versions SET storage_location = 'mlflow-artifacts:/1'", "an MLflow server has it"),
        ("UPDATE model_versions SET storage_location = 'nfs4://a/b'", r"pip install 'fsspec\[nfs4\]'"),
        ("UPDATE model_versions SET storage_location = 'memory://nowhere'", "memory://nowhere/model.onnx: "),
    ],
)
def test_a_version_that_cannot_be_fetched_is_one_line(
    tmp_path: Path, database: str, statement: str, words: str
) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(database.removeprefix("sqlite:///"), copy)
    with sqlite3.connect(copy) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(VisiongateError, match=words) as caught:
        _source(tmp_path, f"sqlite:///{copy}").current()
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("model.onnx"))


def test_a_version_in_a_bucket_is_fetched_by_fsspec(tmp_path: Path, database: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    copy = tmp_path / "copy.db"
    shutil.copy(database.removeprefix("sqlite:///"), copy)
    with sqlite3.connect(copy) as connection:
        [[folder]] = connection.execute("SELECT storage_location FROM model_versions WHERE version = 1")
        connection.execute("UPDATE model_versions SET storage_location = 'memory://bucket'")
    connection.close()
    fsspec.filesystem("memory").pipe_file("/bucket/model.onnx", Path(folder, "model.onnx").read_bytes())
    file = _source(tmp_path, f"sqlite:///{copy}").current()
    assert sha256_of(file.path) == file.sha256


@pytest.mark.parametrize("milliseconds", [None, 0, -5, "", "soon", 10**30])
def test_a_time_of_registration_that_is_none_is_left_out(milliseconds: object) -> None:
    model = ServedModel(NAME, "1", "0" * 64)
    assert add_registration_time(model, milliseconds) == model
    assert read_registration_time({"registered_at": milliseconds}) is None


# The cache


def test_a_file_that_is_not_the_registered_one_is_refused(tmp_path: Path) -> None:
    cache, model = ModelCache(tmp_path / "cache"), ServedModel(NAME, "1", "0" * 64)
    with pytest.raises(
        DataError, match=r"models:/tiny/1: its file has the sha256 .*, not the registered 0000"
    ):
        cache.add(model, lambda target: target.write_bytes(b"other") and None)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def _fill(cache: ModelCache, version: int, content: bytes = b"model") -> ServedModel:
    (cache.folder.parent / "content").write_bytes(content)
    model = ServedModel(NAME, str(version), sha256_of(cache.folder.parent / "content"))
    cache.add(model, lambda target: target.write_bytes(content) and None)
    return model


def test_a_damaged_copy_is_fetched_again(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    model = _fill(cache, 1)
    path = cache.find(model)
    assert path is not None
    path.write_bytes(b"damaged")
    assert cache.find(model) is None
    _fill(cache, 1)
    assert cache.find(model) == path


def test_the_cache_keeps_the_versions_that_were_used_last(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    models = [_fill(cache, version) for version in range(KEPT)]
    assert all(cache.find(model) for model in [*models[1:], models[0]])
    abandoned = tmp_path / "cache" / NAME / ".part-killed"
    abandoned.mkdir()
    _fill(cache, 99)
    assert cache.find(models[1]) is None
    assert cache.find(models[0]) is not None
    # It may be that of a process that runs.
    assert abandoned.exists()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, database: str) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"set serving\.registry\.cache to a folder that can be written"):
        _source(tmp_path, database).current()


def test_after_a_restart_the_last_copy_is_served(tmp_path: Path, database: str) -> None:
    address = tmp_path / "moved.db"
    shutil.copy(database.removeprefix("sqlite:///"), address)
    before = _source(tmp_path, f"sqlite:///{address}").current()
    address.write_bytes(b"no database any more")

    source = _source(tmp_path, f"sqlite:///{address}")
    with pytest.raises(UnreachableError):
        source.current()
    file = source.fallback()

    assert file is not None
    assert file.identity == before.identity
    assert file.source.startswith("the last copy of tiny version 1")
    assert file.lineage == before.lineage
    assert "registered_at" in file.lineage
    assert _source(tmp_path, "sqlite:///another.db").fallback() is None


def test_a_copy_that_was_deleted_is_not_served(tmp_path: Path, database: str) -> None:
    source = _source(tmp_path, database)
    source.current()
    assert source.fallback() is not None
    shutil.rmtree(tmp_path / "cache" / NAME)
    assert source.fallback() is None
    assert source.current().path.exists()
