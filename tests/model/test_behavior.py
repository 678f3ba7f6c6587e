"""The behavior of the trained model: that of the work tree, or the committed one."""

import json
from pathlib import Path

import numpy as np
import pytest

from visiongate.images.pixels import PixelSplit, load_split
from visiongate.models.predictor import Predictor, open_predictor


@pytest.fixture(scope="module")
def model(pipeline_outputs: Path) -> Predictor:
    return open_predictor(pipeline_outputs / "models/model.onnx")


@pytest.fixture(scope="module")
def unseen(pipeline_outputs: Path) -> PixelSplit:
    return load_split(pipeline_outputs / "data/transformed", "test")


def test_accuracy_matches_the_metrics_and_reaches_the_minimum(
    model: Predictor, unseen: PixelSplit, pipeline_outputs: Path
) -> None:
    accuracy = (model.predict(unseen.images).argmax(axis=1) == unseen.labels).mean()
    assert accuracy == pytest.approx(
        json.loads((pipeline_outputs / "reports/metrics.json").read_text())["accuracy"]
    )
    assert accuracy >= 0.985


def test_each_class_has_a_minimum_recall(model: Predictor, unseen: PixelSplit) -> None:
    predicted = model.predict(unseen.images).argmax(axis=1)
    for label in np.unique(unseen.labels):
        assert (predicted[unseen.labels == label] == label).mean() >= 0.85


@pytest.mark.parametrize(("axis", "step"), [(1, 1), (1, -1), (2, 1), (2, -1)])
def test_a_shift_of_one_pixel_keeps_most_predictions(
    model: Predictor, unseen: PixelSplit, axis: int, step: int
) -> None:
    shifted = np.roll(unseen.images, step, axis=axis)
    edge = [slice(None)] * 4
    edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
    shifted[tuple(edge)] = 0
    same = model.predict(shifted).argmax(axis=1) == model.predict(unseen.images).argmax(axis=1)
    assert same.mean() >= 0.9


def test_a_blank_image_has_lower_confidence_than_a_digit(model: Predictor, unseen: PixelSplit) -> None:
    shape = unseen.images.shape[1:]
    blank = np.stack([np.full(shape, value, np.uint8) for value in (0, 128, 255)])
    assert model.predict(blank).max() < np.median(model.predict(unseen.images).max(axis=1))


def test_predictions_do_not_depend_on_the_batch(model: Predictor, unseen: PixelSplit) -> None:
    together = model.predict(unseen.images[:20])
    alone = np.concatenate([model.predict(unseen.images[index : index + 1]) for index in range(20)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
