"""The images that judge a model: a test split, or every fold with the model that has not seen it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from visiongate import paths
from visiongate.errors import DataError
from visiongate.evaluation.baselines import BaselineResults, evaluate_baselines
from visiongate.evaluation.corruptions import (
    Robustness,
    average_robustness,
    measure_robustness,
    sample_images,
)
from visiongate.evaluation.leaks import find_leaks
from visiongate.evaluation.metrics import undo_temperature
from visiongate.evaluation.operating_point import choose_threshold
from visiongate.images.folds import FoldedImages, load_folds
from visiongate.images.pixels import PixelSplit, load_split
from visiongate.models.predictions import Predictions, predict_split
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.records.evaluation import Leak
from visiongate.records.manifest import read_manifest
from visiongate.records.splits import SPLITS
from visiongate.settings.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Split:
    """The images of a split and their manifest, in the same order."""

    pixels: PixelSplit
    manifest: pa.Table


@dataclass(frozen=True, slots=True)
class JudgedFold:
    """A model, and the images that it was trained, validated and tested on. A test split is a single fold."""

    model: Predictor
    train: Split
    val: Split
    test: Split


def read_holdout(directory: Path, model: Predictor) -> list[JudgedFold]:
    """Read the three splits as a single fold.

    Raises:
        DataError: A file is missing or damaged.
    """
    splits = (Split(load_split(directory, name), read_manifest(directory, name)) for name in SPLITS)
    return [JudgedFold(model, *splits)]


def read_folds(directory: Path) -> list[JudgedFold]:
    """Read all folds, each with its model in ``models/folds``.

    Raises:
        DataError: A file is missing or damaged.
    """
    data = load_folds(directory)
    return [
        JudgedFold(open_predictor(paths.fold_model(fold)), *(_select(data, fold, name) for name in SPLITS))
        for fold in data
    ]


def judged_images(folds: Sequence[JudgedFold]) -> Split:
    """Return the test images of all folds, one fold after the other."""
    return _join([fold.test for fold in folds])


def training_images(folds: Sequence[JudgedFold]) -> Split:
    """Return the images that the exported model was trained on: with cross-validation, all."""
    return folds[0].train if len(folds) == 1 else judged_images(folds)


def predict_judged(
    folds: Sequence[JudgedFold], settings: Evaluation
) -> tuple[Predictions, Predictions | None]:
    """Predict the test images of each fold with its model.

    The threshold of two classes is chosen on the validation images of all folds, predicted by the models that they validate.

    Returns:
        The predictions, and the same without calibration; None if a model does not state its temperature.

    Raises:
        DataError: A split does not fit its model.
        SettingsError: The threshold's rule does not fit the classes.
    """
    tested = [_predict(fold.model, "test", fold.test) for fold in folds]
    chosen_on = tested
    if settings.threshold != "argmax":
        chosen_on = [_predict(fold.model, "val", fold.val) for fold in folds]
    threshold = choose_threshold(_concatenate(chosen_on), settings)
    raw = [
        undo_temperature(predictions, fold.model.temperature)
        for predictions, fold in zip(tested, folds, strict=True)
        if fold.model.temperature is not None
    ]
    predictions = replace(_concatenate(tested), threshold=threshold)
    is_known = len(raw) == len(folds)
    return predictions, replace(_concatenate(raw), threshold=threshold) if is_known else None


def predict_training(model: Predictor, split: Split, threshold: float | None) -> Predictions:
    """Predict training images with the exported model.

    Raises:
        DataError: The images do not fit the model.
    """
    return replace(_predict(model, "train", split), threshold=threshold)


def judge_baselines(folds: Sequence[JudgedFold], seed: int) -> BaselineResults:
    """Fit the baselines on the training images of each fold, and evaluate them on its test images."""
    results = [evaluate_baselines(fold.train.pixels, fold.test.pixels, seed) for fold in folds]
    majority, linear = (
        np.concatenate([getattr(result, name) for result in results]) for name in ("majority", "linear")
    )
    return BaselineResults(majority, linear)


def judge_robustness(folds: Sequence[JudgedFold], settings: Evaluation) -> Robustness | None:
    """Return the mean over the folds of what their models make of corrupted test images; None if it is not measured."""
    results = []
    for fold in folds:
        rows = sample_images(
            fold.test.pixels.labels, math.ceil(settings.corruption_images / len(folds)), settings.seed
        )
        if not len(rows):
            continue
        images, labels = fold.test.pixels.images[rows], fold.test.pixels.labels[rows]
        results.append(measure_robustness(fold.model, images, labels, settings.seed, settings.batch_size))
    return average_robustness(results) if results else None


def find_fold_leaks(folds: Sequence[JudgedFold]) -> list[Leak]:
    """Return the test images of each fold that leak from the images that its model was trained or validated on."""
    leaks: list[Leak] = []
    for fold in folds:
        splits = {"train": fold.train, "val": fold.val, "test": fold.test}
        images = {name: split.pixels.images for name, split in splits.items()}
        leaks += find_leaks(images, {name: split.manifest for name, split in splits.items()})
    return leaks


def _select(data: FoldedImages, fold: int, name: str) -> Split:
    return Split(data.split(fold, name), data.manifest.take(pa.array(data.rows(fold, name))))


def _join(splits: Sequence[Split]) -> Split:
    if len(splits) == 1:
        return splits[0]
    images = np.concatenate([split.pixels.images for split in splits])
    labels = np.concatenate([split.pixels.labels for split in splits])
    return Split(PixelSplit(images, labels), pa.concat_tables([split.manifest for split in splits]))


def _predict(model: Predictor, name: str, split: Split) -> Predictions:
    try:
        return predict_split(model, split.pixels, split.manifest)
    except DataError as error:
        raise DataError(f"{name} split: {error}") from None


def _concatenate(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.labels for part in parts]),
        parts[0].classes,
    )
