"""Predictions and features on a Ray cluster of this machine: the same bytes as in this process, with 1, 2 and 4 workers."""

import hashlib
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from command_line import run_cli
from pooled_models import random_images, write_pooled_model
from s3_server import CREDENTIALS, s3_client, serve_s3
from visiongate.adapters.ray.cluster import connect
from visiongate.adapters.ray.pieces import RayEngine
from visiongate.engine.pieces import Engine, LocalEngine
from visiongate.errors import EngineError
from visiongate.models.classifier import make_classifier
from visiongate.models.embedding import Embedder
from visiongate.models.feature_graph import feature_graph
from visiongate.models.feature_pieces import compute_missing
from visiongate.models.predictor import open_predictor
from visiongate.prediction.additions import EmbeddingColumn
from visiongate.prediction.file_predictor import FilePredictor
from visiongate.prediction.input_files import InputFile
from visiongate.prediction.pieces import predict_in_pieces, shared
from visiongate.prediction.result_files import write_results
from visiongate.prediction.sources import RemoteFile, Sources
from visiongate.records.files import sha256_of
from visiongate.settings.loading import load_settings
from visiongate.user_cache import FOLDER
from workspaces import ROOT

pytestmark = pytest.mark.slow
WORKERS = (1, 2, 4)
FILES = 600
MODEL, ARRAY = Path("models/model.onnx"), Path("train.npy")


@pytest.fixture(scope="module", autouse=True)
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder with a model, images in a folder and an archive, pixel arrays, and settings for Ray with two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("workspace"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        MODEL.parent.mkdir()
        write_pooled_model(MODEL)
        Path("photos").mkdir()
        for number, pixels in enumerate(random_images(FILES)):
            Image.fromarray(pixels[:, :, 0]).save(f"photos/{number:03d}.png")
        Path("photos/500.png").write_bytes(b"")
        with zipfile.ZipFile("more.zip", "w") as archive:
            for number in range(300):
                archive.write(f"photos/{number:03d}.png")
        np.save(ARRAY, random_images(700, seed=1))
        tree = yaml.safe_load((ROOT / "params.yaml").read_text())
        tree["engine"] |= {"address": "local", "workers": 2}
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        yield


def list_files(*names: str) -> Iterable[InputFile]:
    return Sources(names, [], load_settings().dataset).files()


def load_predictor() -> FilePredictor:
    classifier = make_classifier("model", open_predictor(MODEL), None, sha256_of(MODEL))
    return FilePredictor([classifier], [EmbeddingColumn()], 10**8)


def predict(engine: Engine | None, *sources: str) -> list[pa.Table]:
    """Return the results; without an engine, those of the stream."""
    predictor, files = load_predictor(), list_files(*sources)
    if engine is None:
        return list(predictor.predict(files))
    with shared(predictor) as sharable:
        return list(predict_in_pieces(engine, sharable, files))


def write_all(engine: Engine | None, name: str) -> list[bytes]:
    """Return the bytes of the results in each format."""
    tables = predict(engine, "photos", "more.zip")
    assert pa.concat_tables(tables).num_rows == FILES + 300
    paths = [Path(f"{name}{suffix}") for suffix in (".csv", ".jsonl", ".parquet")]
    for path in paths:
        write_results(path, load_predictor().schema, tables)
    return [path.read_bytes() for path in paths]


def fill(engine: Engine | None, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return hashes of the cache and of the features; without an engine, those that are computed when they are needed."""
    monkeypatch.setenv(FOLDER, str(Path(name).absolute()))
    graph = feature_graph(onnx.load(MODEL))
    if engine is not None:
        assert compute_missing(engine, graph, [ARRAY]) == 700
    features = Embedder(graph)(np.load(ARRAY, mmap_mode="r"))
    [path] = Path(name, "features").glob("*.sqlite")
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT image, content FROM features ORDER BY rowid").fetchall()
    contents = b"".join(part for row in rows for part in row)
    return hashlib.sha256(contents).hexdigest(), hashlib.sha256(features.tobytes()).hexdigest()


def check_unseen(engine: Engine) -> None:
    """Check that a file that no node sees stops the prediction."""
    path = Path("photos/gone.png")
    path.write_bytes(Path("photos/000.png").read_bytes())
    found = list(list_files("photos"))
    path.unlink()
    with (
        shared(load_predictor()) as sharable,
        pytest.raises(EngineError, match=r"photos/gone.png: node \S+ does not see this file"),
    ):
        list(predict_in_pieces(engine, sharable, found))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of images on S3, which workers reach with the credentials of their environment."""
    with serve_s3() as endpoint:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        client = s3_client(endpoint)
        client.create_bucket(Bucket="images")
        for number in range(40):
            client.upload_file(f"photos/{number:03d}.png", "images", f"new/{number:03d}.png")
        yield "s3://images/new/"


def test_outputs_are_the_same_with_any_number_of_workers(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = pa.concat_tables(predict(None, "photos")).slice(0, 40)
    streamed, alone = write_all(None, "stream"), fill(None, "alone", monkeypatch)
    assert write_all(LocalEngine(), "local") == streamed
    settings = load_settings().engine.model_copy(update={"kind": "ray", "workers": max(WORKERS)})
    # A process can start one cluster at a time.
    with connect(settings):
        engines = {
            f"ray{count}": RayEngine(settings.model_copy(update={"workers": count})) for count in WORKERS
        }
        assert [name for name, engine in engines.items() if write_all(engine, name) != streamed] == []
        assert [name for name, engine in engines.items() if fill(engine, name, monkeypatch) != alone] == []
        check_unseen(engines["ray2"])
        # The workers download; the driver only lists.
        monkeypatch.setattr(RemoteFile, "__call__", None)
        [read_there] = predict(engines["ray2"], bucket)
    monkeypatch.undo()
    assert read_there.drop(["path"]) == predicted.drop(["path"])
    assert read_there["path"][0].as_py() == "s3://images/new/000.png"
    assert not list(Path().glob(".engine-*"))


def test_the_command_predicts_on_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    for engine in ("local", "ray"):
        words = ["--engine", engine, "--output", f"command-{engine}.csv", "--embed", f"{engine}.npy"]
        assert run_cli("predict", "photos", *words) == 1
    assert "engine: Ray at this machine, nodes: 1, pieces at a time: 2" in capsys.readouterr().err
    for name in ("command-{}.csv", "{}.npy"):
        assert Path(name.format("ray")).read_bytes() == Path(name.format("local")).read_bytes()
