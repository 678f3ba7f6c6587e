"""Pairs of predictions: no image that a model has learned from, and what is said about the others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tiny_models
from visiongate.models.predictor import open_predictor
from visiongate.records.predictions import RecordedPredictions
from visiongate.registration.pairing import Champion, EvaluatedImages, pair_predictions

IMAGES = 40
NAMES = tuple(f"image {number}" for number in range(IMAGES))
LABELS = tuple(tiny_models.CLASSES[number >= IMAGES // 2] for number in range(IMAGES))


def recorded(names: tuple[str, ...], predicted: str) -> RecordedPredictions:
    """Predictions of one class for all images."""
    likely = np.array([0.25, 0.75] if predicted == "bright" else [0.75, 0.25])
    labels = [LABELS[NAMES.index(name)] for name in names]
    return RecordedPredictions(names, labels, [predicted] * len(names), np.tile(likely, (len(names), 1)))


@pytest.fixture
def images(tmp_path: Path) -> EvaluatedImages:
    """The challenger predicts dark for every image; half of them are in the training split."""
    pixels, _ = tiny_models.brightness_images(IMAGES)
    for number, split in enumerate(("test", "train")):
        np.save(tmp_path / f"{split}.npy", pixels[number::2])
        np.save(tmp_path / f"{split}_labels.npy", np.zeros(IMAGES // 2, np.int64))
    columns = {
        "sha256": NAMES,
        "split": ["test", "train"] * (IMAGES // 2),
        "row": [number // 2 for number in range(IMAGES)],
        "group": ["one", *[None] * (IMAGES - 1)],
    }
    return EvaluatedImages(recorded(NAMES, "dark"), pa.table(columns), tmp_path, is_cross_validated=True)


@pytest.fixture
def champion(tmp_path: Path) -> Champion:
    """A perfect model, which has learned from the images of odd number."""
    tiny_models.write_threshold_model(tmp_path / "model.onnx")
    return Champion(open_predictor(tmp_path / "model.onnx"), None, None, frozenset(NAMES[1::2]))


def test_champion_is_run_on_images_that_it_has_not_learned_from(
    images: EvaluatedImages, champion: Champion
) -> None:
    pairing = pair_predictions(images, champion, tiny_models.CLASSES)
    assert (len(pairing.truth.labels), pairing.left_out, pairing.is_too_small) == (20, 20, False)
    assert pairing.truth.groups[0] == "one"
    # The pixels belong to the labels.
    np.testing.assert_array_equal(pairing.champion.predicted, pairing.truth.labels)
    np.testing.assert_array_equal(pairing.challenger.predicted, 0)
    assert pairing.note == (
        "20 of 40 evaluated images were left out, because the champion was trained or validated on them"
    )


def test_recorded_predictions_are_used_for_images_that_the_champion_has_learned_from(
    images: EvaluatedImages, champion: Champion
) -> None:
    # Out of fold, for an image of the training.
    record = recorded(NAMES[1:4:2], "bright")
    pairing = pair_predictions(images, replace(champion, predictions=record), tiny_models.CLASSES)
    assert (len(pairing.truth.labels), pairing.left_out) == (22, 18)
    np.testing.assert_array_equal(pairing.champion.predicted[:2], 1)
    np.testing.assert_array_equal(pairing.truth.labels[:2], 0)


def test_too_few_images_are_not_compared(images: EvaluatedImages, champion: Champion) -> None:
    learned = replace(champion, learned=frozenset(NAMES[1:]))
    pairing = pair_predictions(images, learned, tiny_models.CLASSES)
    assert (len(pairing.truth.labels), pairing.is_too_small) == (1, True)


def test_champion_with_other_inputs_is_compared_by_its_records(
    images: EvaluatedImages, champion: Champion
) -> None:
    other = replace(champion, model=None, predictions=recorded(NAMES[:30], "bright"))
    pairing = pair_predictions(images, other, tiny_models.CLASSES)
    assert (len(pairing.truth.labels), pairing.left_out) == (30, 10)
    assert "size or mode" in pairing.note


def test_unrecorded_training_images_count_as_learned_with_cross_validation_only(
    images: EvaluatedImages, champion: Champion
) -> None:
    unrecorded = replace(champion, learned=None)
    folds = pair_predictions(images, unrecorded, tiny_models.CLASSES)
    assert (len(folds.truth.labels), folds.left_out, folds.is_too_small) == (0, 40, True)
    assert "not recorded" in folds.note
    holdout = pair_predictions(replace(images, is_cross_validated=False), unrecorded, tiny_models.CLASSES)
    assert (len(holdout.truth.labels), holdout.left_out) == (40, 0)
    assert "may have learned" in holdout.note
