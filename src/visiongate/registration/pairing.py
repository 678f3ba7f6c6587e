"""Predictions of challenger and champion for the same images, from which neither model has learned.

The challenger's predictions are those of its evaluation. The champion's are those of its own evaluation; for other images its
model is run, unless it was trained or validated on them. The remaining images are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions, predict_images
from visiongate.images.pixels import load_split
from visiongate.models.predictor import Images, Predictor
from visiongate.records.predictions import RecordedPredictions

# Images that the champion predicts at a time.
CHUNK = 1024
# With fewer images, two models are not compared if others were left out.
MIN_IMAGES = 20


@dataclass(frozen=True, slots=True)
class EvaluatedImages:
    """The images that the challenger was evaluated on.

    Attributes:
        predictions: Of the challenger.
        manifest: The images behind the pixel arrays.
        transformed: The folder of the pixel arrays.
        is_cross_validated: Whether each image was predicted by the model of a fold.
    """

    predictions: RecordedPredictions
    manifest: pa.Table
    transformed: Path
    is_cross_validated: bool

    def column(self, name: str) -> list[Any]:
        """Return a column of the manifest for each evaluated image."""
        keys, values = (self.manifest.column(each).to_pylist() for each in ("sha256", name))
        by_image = dict(zip(keys, values, strict=True))
        return [by_image[sha256] for sha256 in self.predictions.sha256]

    def load(self, positions: Sequence[int]) -> Images:
        """Return the pixels of some evaluated images, uint8 N×H×W×C."""
        splits, rows = self.column("split"), self.column("row")
        arrays = {name: load_split(self.transformed, name).images for name in set(splits)}
        return np.stack([arrays[splits[position]][rows[position]] for position in positions])


@dataclass(frozen=True, slots=True)
class Champion:
    """The champion, and what the registry knows about its images.

    Attributes:
        model: The loaded file; None if it takes other images than the challenger.
        threshold: The probability from which the second of two classes is predicted.
        predictions: Of its evaluation; None if they are not recorded.
        learned: The sha256 of the images that it was trained or validated on; None if they are not recorded.
    """

    model: Predictor | None
    threshold: float | None
    predictions: RecordedPredictions | None
    learned: frozenset[str] | None

    def may_run(self, sha256: str, *, is_cross_validated: bool) -> bool:
        """Return whether the model is run on an image; without a record, only on those of a test split."""
        if self.model is None:
            return False
        return not is_cross_validated if self.learned is None else sha256 not in self.learned


@dataclass(frozen=True, slots=True)
class Pairing:
    """Both models' predictions for N images, and the truth about them.

    Attributes:
        challenger: Its predictions.
        champion: Its predictions.
        truth: The labels and groups.
        left_out: Number of evaluated images that cannot be compared.
        note: Why they were left out, or why the comparison may favor the champion; may be empty.
    """

    challenger: UnlabeledPredictions
    champion: UnlabeledPredictions
    truth: GroundTruth
    left_out: int
    note: str

    @property
    def is_too_small(self) -> bool:
        """Whether too few images remain for a comparison."""
        return self.left_out > 0 and len(self.truth.labels) < MIN_IMAGES


def pair_predictions(images: EvaluatedImages, champion: Champion, classes: Sequence[str]) -> Pairing:
    """Pair the predictions of two models with the same classes, in the order of their outputs."""
    sha256 = images.predictions.sha256
    known = {} if champion.predictions is None else _number(champion.predictions.sha256)
    run = [
        position
        for position, each in enumerate(sha256)
        if each not in known and champion.may_run(each, is_cross_validated=images.is_cross_validated)
    ]
    recorded = [position for position, each in enumerate(sha256) if each in known]
    kept, parts = recorded + run, []
    if champion.predictions is not None:
        parts.append(_select(champion.predictions, [known[sha256[each]] for each in recorded], classes))
    if champion.model is not None:
        starts = range(0, len(run), CHUNK)
        pixels = (images.load(run[start : start + CHUNK]) for start in starts)
        parts += [predict_images(champion.model, part, champion.threshold) for part in pixels]
    numbers, groups = _number(classes), images.column("group")
    labels = np.array([numbers[images.predictions.labels[each]] for each in kept], np.int64)
    left_out = len(sha256) - len(kept)
    return Pairing(
        challenger=_select(images.predictions, kept, classes),
        champion=_join(parts, len(classes)),
        truth=GroundTruth(labels, [groups[each] for each in kept]),
        left_out=left_out,
        note=_explain(champion, len(sha256), left_out, is_guess=champion.learned is None and bool(run)),
    )


def _explain(champion: Champion, images: int, left_out: int, *, is_guess: bool) -> str:
    unrecorded = "the images that the champion was trained on are not recorded"
    if is_guess:
        return f"{unrecorded}, so it may have learned from some of these"
    if not left_out:
        return ""
    if champion.model is None:
        reason = "the champion has no prediction for them and takes images of another size or mode"
    else:
        reason = unrecorded if champion.learned is None else "the champion was trained or validated on them"
    return f"{left_out} of {images} evaluated images were left out, because {reason}"


def _number(names: Sequence[str]) -> Mapping[str, int]:
    return {name: position for position, name in enumerate(names)}


def _select(
    predictions: RecordedPredictions, positions: Sequence[int], classes: Sequence[str]
) -> UnlabeledPredictions:
    numbers = _number(classes)
    probabilities = predictions.probabilities[np.array(positions, np.int64)]
    predicted = np.array([numbers[predictions.predicted[each]] for each in positions], np.int64)
    return UnlabeledPredictions(probabilities / probabilities.sum(axis=1, keepdims=True), predicted)


def _join(parts: Sequence[UnlabeledPredictions], classes: int) -> UnlabeledPredictions:
    probabilities: npt.NDArray[np.float64] = np.concatenate(
        [np.empty((0, classes)), *(part.probabilities for part in parts)]
    )
    predicted: npt.NDArray[np.int64] = np.concatenate(
        [np.empty(0, np.int64), *(part.predicted for part in parts)]
    )
    return UnlabeledPredictions(probabilities, predicted)
