"""The explanations on the evaluation's page: heat maps, nearest training images and the map of the embeddings."""

import io
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from evaluated_models import evaluated_report
from localizable_models import CLASSES, draw_scenes, write_probe
from page_structure import check_page
from tiny_models import SIDE, brightness_images, write_threshold_model
from visiongate.evaluation import explanations, figures
from visiongate.evaluation.explanations import EmbeddingMap, explain, map_embeddings
from visiongate.evaluation.folds import JudgedFold, Split
from visiongate.evaluation.page import TITLES, render_report
from visiongate.explanation.heat_maps import CLASS_ACTIVATION, OCCLUSION
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import Predictor, open_predictor


def split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(PixelSplit(images, labels), pa.table({"path": [str(row) for row in range(len(labels))]}))


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = tmp_path_factory.mktemp("probe") / "model.onnx"
    write_probe(path)
    return open_predictor(path)


def scene_fold(model: Predictor, count: int, seed: int) -> JudgedFold:
    test, train = draw_scenes(count, seed), draw_scenes(60, seed + 1)
    splits = [split(scenes.images, scenes.labels) for scenes in (train, train, test)]
    return JudgedFold(model, *splits)


def predict(model: Predictor, images: np.ndarray, labels: np.ndarray) -> Predictions:
    return Predictions(model.predict(images).astype(np.float64), labels, model.contract.classes)


def test_each_image_is_explained_by_the_model_and_the_training_images_of_its_fold(probe: Predictor) -> None:
    folds = [scene_fold(probe, count, seed) for count, seed in ((9, 10), (6, 20))]
    images, labels = (
        np.concatenate([getattr(fold.test.pixels, name) for fold in folds]) for name in ("images", "labels")
    )
    test = predict(probe, images, labels)

    found = explain(folds, test, [14, 2])

    assert (found.method, found.searched, sorted(found.mistakes)) == (CLASS_ACTIVATION, 60, [2, 14])
    for row, fold in ((2, folds[0]), (14, folds[1])):
        explanation = found.mistakes[row]
        assert explanation.predicted == CLASSES[test.predicted[row]]
        assert explanation.overlay.shape == images[row].shape
        # The trained model finds the scenes of the same color the most similar.
        assert {each.label for each in explanation.similar} == {CLASSES[labels[row]]}
        similarities = [each.similarity for each in explanation.similar]
        assert similarities == sorted(similarities, reverse=True)
        for each in explanation.similar:
            assert (fold.train.pixels.images == each.image).all(axis=(1, 2, 3)).any()


def test_models_without_embeddings_have_heat_maps_only(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    model = open_predictor(tmp_path / "model.onnx")
    images, labels = brightness_images(20)
    judged = split(images, labels)

    found = explain([JudgedFold(model, judged, judged, judged)], predict(model, images, labels), [3])

    assert (found.method, found.searched) == (OCCLUSION, 0)
    assert found.mistakes[3].overlay.shape == (SIDE, SIDE, 3)
    assert found.mistakes[3].similar == ()
    assert map_embeddings(model, judged.pixels) is None


def test_large_splits_are_searched_and_mapped_in_part(
    probe: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanations, "MAX_SEARCHED", 25)
    monkeypatch.setattr(explanations, "MAX_IMAGES", 12)
    fold = scene_fold(probe, 30, 10)
    pixels = fold.test.pixels
    test = predict(probe, pixels.images, pixels.labels)

    assert explain([fold], test, [0]).searched == 20
    found = map_embeddings(probe, pixels)
    assert found is not None
    assert found.points.shape == (12, 2)
    assert np.bincount(pixels.labels[found.rows]).tolist() == [4, 4, 4]
    few = PixelSplit(pixels.images[:5], pixels.labels[:5])
    assert map_embeddings(probe, few) is None


@pytest.mark.parametrize("classes", [2, 40])
def test_map_is_drawn_with_any_number_of_classes(classes: int) -> None:
    report = evaluated_report(classes)
    rows = np.arange(0, 300, 2)
    points = np.random.default_rng(0).normal(size=(len(rows), 2))

    picture = figures.draw_embeddings(EmbeddingMap(points, rows), report.result.test)

    content = Image.open(io.BytesIO(picture))
    assert content.size[0] == 600
    assert len(content.convert("RGB").getcolors(maxcolors=100_000)) > 3


def test_page_shows_the_explanations(probe: Predictor) -> None:
    fold = scene_fold(probe, 12, 10)
    report = evaluated_report(complete=False)
    found = explain([fold], predict(probe, *astuple(fold.test.pixels)), range(12))
    explained = {row: found.mistakes[row % 12] for row in report.rows}
    report = replace(report, explanations=replace(found, mistakes=explained))

    parsed = check_page(render_report(report, {"embeddings": b""}))

    assert "(class activation map)" in parsed.text
    assert "The nearest of 60 training images" in parsed.text
    assert TITLES["embeddings"] in parsed.text
    described = [attributes["alt"] for attributes, _ in parsed.all("img")]
    assert sum(text.startswith("Heat map for ") for text in described) == len(report.rows)
    assert sum(text.startswith("Training image of ") for text in described) == 3 * len(report.rows)
    folded = replace(report, result=replace(report.result, folds=5))
    assert "(t-SNE), of the exported model" in render_report(folded, {"embeddings": b""})
