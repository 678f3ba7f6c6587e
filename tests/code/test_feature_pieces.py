"""The cache of features, filled in pieces: the same bytes as without, each image once, and nothing left behind."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pooled_models import random_images, write_pooled_model
from sending_engine import SendingEngine
from visiongate.engine.pieces import LocalEngine
from visiongate.models import embedding, feature_pieces
from visiongate.models.embedding import Embedder
from visiongate.models.feature_cache import Features
from visiongate.models.feature_graph import FeatureGraph, feature_graph
from visiongate.models.feature_pieces import compute_missing, fill_cache
from visiongate.settings.loading import load_settings
from visiongate.user_cache import FOLDER, LIMIT
from workspaces import ROOT

ARRAYS = [Path("train.npy"), Path("test.npy")]


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureGraph:
    """A model's graph, and arrays with 51 images, of which 8 occur twice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    monkeypatch.delenv(LIMIT, raising=False)
    for module in (embedding, feature_pieces):
        monkeypatch.setattr(module, "CHUNK", 8)
    images = random_images(43)
    np.save(ARRAYS[0], np.concatenate([images[:40], images[:5]]))
    np.save(ARRAYS[1], images[37:])
    write_pooled_model(Path("model.onnx"))
    return feature_graph(onnx.load("model.onnx"))


def embed_all(graph: FeatureGraph) -> Features:
    return np.concatenate([Embedder(graph)(np.load(array, mmap_mode="r")) for array in ARRAYS])


def test_the_features_in_pieces_are_those_without(
    graph: FeatureGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_pieces, "HASHED_CHUNKS", 2)
    assert compute_missing(SendingEngine(), graph, ARRAYS) == 43
    assert compute_missing(SendingEngine(), graph, ARRAYS) == 0
    assert sorted(path.name for path in Path().iterdir()) == [
        *("cache", "model.onnx", "test.npy", "train.npy")
    ]
    with monkeypatch.context() as patch:
        # All are in the cache.
        patch.delattr(embedding, "run_features")
        filled = embed_all(graph)
    monkeypatch.setenv(FOLDER, str(Path("cache2").absolute()))
    assert embed_all(graph).tobytes() == filled.tobytes()


def test_an_interruption_keeps_what_was_computed(
    graph: FeatureGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, pieces = feature_pieces.compute_piece, []

    def stop(model: Path, piece: Any) -> None:  # noqa: ANN401 - a piece
        if len(pieces) == 3:
            raise KeyboardInterrupt
        pieces.append(piece)
        compute(model, piece)

    monkeypatch.setattr(feature_pieces, "compute_piece", stop)
    with pytest.raises(KeyboardInterrupt):
        compute_missing(LocalEngine(), graph, ARRAYS)
    assert not list(Path().glob(".engine-*"))
    monkeypatch.setattr(feature_pieces, "compute_piece", compute)
    assert compute_missing(SendingEngine(), graph, ARRAYS) == 43 - 3 * 8


def test_a_cache_that_is_too_small_is_not_filled(
    graph: FeatureGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_settings(ROOT / "params.yaml").engine
    monkeypatch.delattr(feature_pieces, "compute_missing")
    fill_cache(engine, graph, ARRAYS)
    assert not caplog.records
    monkeypatch.setenv(LIMIT, "0")
    fill_cache(engine.model_copy(update={"kind": "ray"}), graph, ARRAYS)
    assert "too small for the features of 51 images, so that a cluster cannot compute them" in caplog.text
    assert f"set {LIMIT}=1" in caplog.text
