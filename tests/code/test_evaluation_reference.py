"""The reference that `evaluate` writes, on images with a known object and a model that recognizes it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import helper

from localizable_models import CLASSES, SIDE, draw_scenes, write_probe
from visiongate.evaluation import reference as evaluation_reference
from visiongate.evaluation.folds import Split
from visiongate.evaluation.reference import Judgment, build_reference
from visiongate.images.exposure import measure_exposure
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.models.sketch import sketch
from visiongate.records.drift_reference import UNKNOWN, encode_reference, read_reference
from visiongate.records.files import sha256_of

COUNT = 90


@pytest.fixture
def model(tmp_path: Path) -> Predictor:
    write_probe(tmp_path / "model.onnx")
    return open_predictor(tmp_path / "model.onnx")


def judged() -> Split:
    scenes = draw_scenes(COUNT, seed=5)
    manifest = {
        "width": [SIDE + row for row in range(COUNT)],
        "height": [SIDE] * COUNT,
        "format": ["PNG", "JPEG", None] * 30,
        "mode": ["RGB", "L"] * 45,
        "bytes": [1000 + row for row in range(COUNT)],
    }
    return Split(PixelSplit(scenes.images, scenes.labels), pa.table(manifest))


def predict(model: Predictor, split: Split) -> Predictions:
    probabilities = model.predict(split.pixels.images).astype(np.float64)
    return Predictions(probabilities, split.pixels.labels, CLASSES)


def test_a_reference_has_a_row_for_each_held_out_image(model: Predictor) -> None:
    split = judged()
    predictions, outside = predict(model, split), np.arange(COUNT) < 3
    reference = build_reference(model, split, Judgment(predictions, "holdout", outside), 5000)
    assert (reference.classes, reference.protocol, reference.images) == (CLASSES, "holdout", COUNT)
    assert isinstance(model.source, Path)
    assert reference.model_sha256 == sha256_of(model.source)
    assert reference.labels.tolist() == split.pixels.labels.tolist()
    assert reference.predicted.tolist() == predictions.predicted.tolist()
    assert np.abs(reference.probabilities - predictions.probabilities).max() < 1e-3
    assert reference.out_of_distribution is not None
    assert reference.out_of_distribution.tolist() == outside.tolist()
    assert reference.embedding is not None
    expected = sketch(model.run(split.pixels.images, ["embedding"])["embedding"])
    assert np.array_equal(reference.embedding, expected)
    exposures = [measure_exposure(image) for image in split.pixels.images]
    assert reference.brightness == pytest.approx([exposure.brightness for exposure in exposures])
    assert reference.contrast == pytest.approx([exposure.contrast for exposure in exposures])
    assert reference.width.tolist() == split.manifest.column("width").to_pylist()
    assert reference.file_bytes.tolist() == split.manifest.column("bytes").to_pylist()
    assert (reference.formats, reference.modes) == (("JPEG", "PNG"), ("L", "RGB"))
    assert reference.format[:3].tolist() == [1, 0, UNKNOWN]
    assert reference.mode[:2].tolist() == [1, 0]
    assert reference.accuracy == pytest.approx(predictions.correct.mean())
    read_reference(encode_reference(reference), reference.model_sha256)


def test_a_subset_keeps_the_classes_in_proportion_and_counts_all_images(model: Predictor) -> None:
    split = judged()
    reference = build_reference(model, split, Judgment(predict(model, split), "holdout"), 30)
    assert (len(reference), reference.images) == (30, COUNT)
    assert Counter(reference.labels.tolist()) == {0: 10, 1: 10, 2: 10}
    assert reference.class_counts.tolist() == [30, 30, 30]
    assert reference.confusion.sum() == COUNT
    same = build_reference(model, split, Judgment(predict(model, split), "holdout"), 30)
    assert encode_reference(same) == encode_reference(reference)


def test_many_classes_leave_space_for_fewer_rows(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_reference, "rows_that_fit", lambda *_: 12)
    split = judged()
    assert len(build_reference(model, split, Judgment(predict(model, split), "holdout"), 5000)) == 12


def test_predictions_follow_the_threshold(model: Predictor) -> None:
    split = judged()
    two = Split(PixelSplit(split.pixels.images, split.pixels.labels % 2), split.manifest)
    probabilities = np.tile([0.8, 0.2], (COUNT, 1))
    predictions = Predictions(probabilities, two.pixels.labels, ("a", "b"), threshold=0.1)
    reference = build_reference(model, two, Judgment(predictions, "holdout"), 5000)
    assert set(reference.predicted.tolist()) == {1}
    assert reference.confusion[:, 1].tolist() == reference.class_counts.tolist()


@pytest.mark.parametrize("is_frozen", [False, True])
def test_embeddings_of_learned_images_are_left_out_unless_the_backbone_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_frozen: bool
) -> None:
    monkeypatch.setenv("VISIONGATE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.onnx"
    write_probe(path)
    if is_frozen:
        graph = onnx.load(path)
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        helper.set_model_props(graph, metadata | {"backbone": '"random"'})
        onnx.save(graph, path)
    model, split = open_predictor(path), judged()
    reference = build_reference(model, split, Judgment(predict(model, split), "cross_validation"), 5000)
    assert reference.protocol == "cross_validation"
    assert (reference.embedding is not None) == is_frozen


def test_a_model_without_an_embedding_has_a_reference(tmp_path: Path) -> None:
    write_probe(tmp_path / "model.onnx", explainable=False)
    model, split = open_predictor(tmp_path / "model.onnx"), judged()
    assert build_reference(model, split, Judgment(predict(model, split), "holdout"), 5000).embedding is None
