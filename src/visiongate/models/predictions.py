"""The predictions of an exported model for a split."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.errors import DataError
from visiongate.images.pixels import Labels, PixelSplit
from visiongate.models.embedding import run_cached
from visiongate.models.predictor import PROBABILITIES, Contract, Predictor
from visiongate.models.probabilities import check_probabilities, decide
from visiongate.records.transform import Transform


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions for N images, and their labels."""

    # N×K; each row sums to 1.
    probabilities: npt.NDArray[np.float64]
    # N, in 0..K-1.
    labels: Labels
    # K names.
    classes: tuple[str, ...]
    # See `decide`.
    threshold: float | None = None

    @property
    def predicted(self) -> Labels:
        """The predicted class of each image, N."""
        return decide(self.probabilities, self.threshold)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The probability of the predicted class, N."""
        confidence: npt.NDArray[np.float64] = np.take_along_axis(
            self.probabilities, self.predicted[:, None], axis=1
        )[:, 0]
        return confidence

    @property
    def label_probability(self) -> npt.NDArray[np.float64]:
        """The probability of each image's label, N."""
        own: npt.NDArray[np.float64] = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[
            :, 0
        ]
        return own

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is correct, N."""
        return np.equal(self.predicted, self.labels)

    def by_probability(self) -> "Predictions":
        """Return the same predictions without a threshold, as calibration needs them."""
        return replace(self, threshold=None)


def check_contract(model: Predictor, transform: Transform, source: str) -> None:
    """Check that a model was trained on images and classes like these.

    Args:
        model: The model to evaluate.
        transform: The preprocessing of the images.
        source: The file of the transform, for the error message.

    Raises:
        DataError: Input shape, mode, resize rule or classes differ.
    """
    required = Contract.of(transform)
    if difference := required.difference(model.contract):
        raise DataError(f"{model.name}: it has {difference} as in {source}; train it on these data")


def predict_split(model: Predictor, split: PixelSplit, manifest: pa.Table) -> Predictions:
    """Predict every image of a split.

    Args:
        model: The model to evaluate.
        split: Images and labels.
        manifest: One row per image in the same order, with the column ``path``.

    Raises:
        DataError: The model's outputs are not one row of probabilities per image.
    """
    outputs = run_cached(model, split.images, [PROBABILITIES])[PROBABILITIES]
    probabilities = check_probabilities(model, outputs, manifest.column("path").to_pylist())
    return Predictions(probabilities, split.labels, model.contract.classes)


def tabulate(predictions: Predictions, manifest: pa.Table) -> pa.Table:
    """Return one row per image, in the order of the manifest.

    Returns:
        The columns ``path``, ``sha256``, ``label`` and ``predicted`` (class names), ``correct``, ``confidence`` (float32) and
        ``probabilities`` (a list of float32 in the order of the classes).
    """
    names = np.asarray(predictions.classes)
    probabilities = pa.FixedSizeListArray.from_arrays(
        pa.array(predictions.probabilities.ravel(), pa.float32()), len(names)
    )
    columns = {
        "path": manifest.column("path"),
        "sha256": manifest.column("sha256"),
        "label": pa.array(names[predictions.labels]),
        "predicted": pa.array(names[predictions.predicted]),
        "correct": pa.array(predictions.correct),
        "confidence": pa.array(predictions.confidence, pa.float32()),
        "probabilities": probabilities,
    }
    return pa.table(columns)
