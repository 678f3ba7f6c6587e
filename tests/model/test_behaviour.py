"""How the committed model behaves; skipped where `dvc pull` or `make repro` has not brought it."""

import json
from pathlib import Path

import numpy as np
import pytest

from visiongate.data.pixels import PixelSplit, load_split
from visiongate.evaluation.served_model import ServedModel, open_model

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/model.onnx"
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="no model: make repro or dvc pull")


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return open_model(MODEL)


@pytest.fixture(scope="module")
def test_split() -> PixelSplit:
    return load_split(ROOT / "data/transformed", "test")


def test_accuracy_is_what_the_metrics_say_and_what_was_promised(
    model: ServedModel, test_split: PixelSplit
) -> None:
    accuracy = (model.predict(test_split.images).argmax(axis=1) == test_split.labels).mean()
    assert accuracy == pytest.approx(json.loads((ROOT / "reports/metrics.json").read_text())["accuracy"])
    assert accuracy >= 0.985


def test_each_class_is_found(model: ServedModel, test_split: PixelSplit) -> None:
    predicted = model.predict(test_split.images).argmax(axis=1)
    for label in np.unique(test_split.labels):
        assert (predicted[test_split.labels == label] == label).mean() >= 0.85


@pytest.mark.parametrize(("axis", "step"), [(1, 1), (1, -1), (2, 1), (2, -1)])
def test_a_shift_of_one_pixel_keeps_most_labels(
    model: ServedModel, test_split: PixelSplit, axis: int, step: int
) -> None:
    shifted = np.roll(test_split.images, step, axis=axis)
    edge = [slice(None)] * 4
    edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
    shifted[tuple(edge)] = 0
    same = model.predict(shifted).argmax(axis=1) == model.predict(test_split.images).argmax(axis=1)
    assert same.mean() >= 0.9


def test_a_blank_image_gets_less_confidence_than_a_digit(model: ServedModel, test_split: PixelSplit) -> None:
    shape = test_split.images.shape[1:]
    blank = np.stack([np.full(shape, value, np.uint8) for value in (0, 128, 255)])
    assert model.predict(blank).max() < np.median(model.predict(test_split.images).max(axis=1))


def test_an_image_is_judged_alike_alone_and_in_a_batch(model: ServedModel, test_split: PixelSplit) -> None:
    together = model.predict(test_split.images[:20])
    alone = np.concatenate([model.predict(test_split.images[index : index + 1]) for index in range(20)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
