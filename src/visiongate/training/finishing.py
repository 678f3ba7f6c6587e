"""Finish an exported file: apply the options of export, add the novelty, and fit the thresholds of the reliability.

Everything is fitted on what the file itself computes for validation images, so that it holds for the served model. The
probabilities of an int8 model, for example, are not those of the network that was trained.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto

from visiongate.images.pixels import Labels, PixelSplit
from visiongate.models.calibrated_graph import set_temperature
from visiongate.models.embedding import embed, run_cached
from visiongate.models.novelty import EmbeddingDistance, add_novelty, fit_distance
from visiongate.models.onnx_files import write_onnx
from visiongate.models.predictor import EMBEDDING, NOVELTY, PROBABILITIES, Predictor, open_predictor
from visiongate.models.quantization import quantize
from visiongate.models.reliability import fit_min_probability, fit_novelty_threshold
from visiongate.models.view_averaging import VIEWS, average_views
from visiongate.records.files import atomic_path
from visiongate.records.reliability import RELIABILITY, Reliability
from visiongate.settings.model import Baseline
from visiongate.settings.schema import Settings
from visiongate.settings.training import ReliabilityChoice
from visiongate.training.calibration import fit_temperature

# Training images that the novelty and the ranges of int8 are fitted on, and validation images for the thresholds.
NOVELTY_IMAGES, RANGE_IMAGES, VALIDATION_IMAGES = 2000, 128, 5000


@dataclass(frozen=True, slots=True)
class ValidationOutputs:
    """What a finished file computes for images that the model was not trained on.

    Attributes:
        logits: float64, N×K, before the temperature, up to a constant of each image.
        novelty: N; None if the file does not have it.
        labels: N.
    """

    logits: npt.NDArray[np.float64]
    novelty: npt.NDArray[np.float32] | None
    labels: Labels


@dataclass(frozen=True, slots=True)
class _File:
    """The graph and the metadata of an exported file."""

    model: ModelProto
    metadata: Mapping[str, Any]

    @property
    def temperature(self) -> float:
        return float(self.metadata["temperature"])

    def save(self, path: Path) -> Predictor:
        """Write the file as it is so far, and open it."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.model.SerializeToString(deterministic=True))
        return open_predictor(path)


def finish(path: Path, train: PixelSplit, val: PixelSplit, settings: Settings) -> ValidationOutputs:
    """Finish the file of a model that has validation images.

    Args:
        path: The exported file, which is replaced.
        train: Images that the model was trained on.
        val: Images that it was not trained on.
        settings: The sections ``model`` and ``training``.

    Returns:
        The outputs for the validation images.

    Raises:
        SettingsError: int8 was chosen, and the model has no convolution.
    """
    file = _change(path, train, settings)
    outputs = _validate(file.save(path), _sample(val, VALIDATION_IMAGES))
    _write(path, file, outputs, settings)
    return outputs


def finish_on_folds(
    path: Path, train: PixelSplit, folds: Sequence[ValidationOutputs], settings: Settings
) -> None:
    """Finish the file of a model that was trained on all images, with what `finish` returned for the folds.

    Args:
        path: The exported file, which is replaced.
        train: All images.
        folds: The outputs of the model of each fold for its validation images.
        settings: The sections ``model`` and ``training``.

    Raises:
        SettingsError: int8 was chosen, and the model has no convolution.
    """
    _write(path, _change(path, train, settings), _join(folds), settings)


def calibrate_fold(path: Path, folds: Sequence[ValidationOutputs], settings: Settings) -> None:
    """Fit the temperature and the thresholds of a fold's finished file on the validation images of several folds.

    The validation images of one fold of a small data set are too few for both.

    Args:
        path: The finished file, which is replaced.
        folds: What `finish` returned for folds whose validation images do not test this file.
        settings: The section ``training``.
    """
    outputs, file = _join(folds), _File(onnx.load(path), open_predictor(path).metadata)
    temperature = fit_temperature(torch.from_numpy(outputs.logits), torch.from_numpy(outputs.labels))
    _write_calibrated(
        path, file, temperature, _fit_reliability(outputs, temperature, settings.training.reliability)
    )


def _join(folds: Sequence[ValidationOutputs]) -> ValidationOutputs:
    novelty = [fold.novelty for fold in folds if fold.novelty is not None]
    return ValidationOutputs(
        np.concatenate([fold.logits for fold in folds]),
        np.concatenate(novelty) if novelty else None,
        np.concatenate([fold.labels for fold in folds]),
    )


def _change(path: Path, train: PixelSplit, settings: Settings) -> _File:
    """Return the file with the options of export and the novelty."""
    export, predictor = settings.training.export, open_predictor(path)
    model = onnx.load(path)
    if export.precision == "int8":
        metadata = list(model.metadata_props)
        model = quantize(model, _sample(train, RANGE_IMAGES).images)
        model.metadata_props.extend(metadata)
    if export.tta != "none":
        average_views(model, VIEWS[export.tta])
    file = _File(model, predictor.metadata)
    # The logits of a baseline are logarithms of probabilities, whose energy is the same for all images.
    if not isinstance(settings.model, Baseline):
        add_novelty(model, _fit_distance(file.save(path), train))
    return file


def _fit_distance(predictor: Predictor, train: PixelSplit) -> EmbeddingDistance | None:
    if EMBEDDING not in predictor.outputs:
        return None
    chosen = _sample(train, NOVELTY_IMAGES)
    return fit_distance(embed(predictor, chosen.images), chosen.labels)


def _sample(split: PixelSplit, count: int) -> PixelSplit:
    """Return at most so many evenly spaced images of a split."""
    step = max(1, math.ceil(len(split.labels) / count))
    return PixelSplit(split.images[::step], split.labels[::step])


def _validate(predictor: Predictor, val: PixelSplit) -> ValidationOutputs:
    outputs = run_cached(predictor, val.images, [PROBABILITIES, *({NOVELTY} & predictor.outputs)])
    probabilities = np.maximum(outputs[PROBABILITIES].astype(np.float64), np.finfo(np.float32).tiny)
    logits = float(predictor.metadata["temperature"]) * np.log(probabilities)
    return ValidationOutputs(logits, outputs.get(NOVELTY), val.labels)


def _write(path: Path, file: _File, outputs: ValidationOutputs, settings: Settings) -> None:
    temperature, export = file.temperature, settings.training.export
    if (export.tta, export.precision) != ("none", "fp32"):
        temperature = fit_temperature(torch.from_numpy(outputs.logits), torch.from_numpy(outputs.labels))
    _write_calibrated(
        path, file, temperature, _fit_reliability(outputs, temperature, settings.training.reliability)
    )


def _write_calibrated(path: Path, file: _File, temperature: float, reliability: Reliability) -> None:
    set_temperature(file.model, temperature)
    del file.model.metadata_props[:]
    metadata = {**file.metadata, "temperature": temperature, RELIABILITY: asdict(reliability)}
    write_onnx(file.model, metadata, path)


def _fit_reliability(
    outputs: ValidationOutputs, temperature: float, chosen: ReliabilityChoice
) -> Reliability:
    # As the file rounds them.
    probabilities = torch.from_numpy(outputs.logits / temperature).softmax(dim=1).float().numpy()
    novelty = outputs.novelty
    return Reliability(
        error_rate=chosen.error_rate,
        min_probability=fit_min_probability(probabilities, outputs.labels, chosen.error_rate),
        novelty_threshold=None if novelty is None else fit_novelty_threshold(novelty, chosen.false_alarms),
        images=len(outputs.labels),
    )
