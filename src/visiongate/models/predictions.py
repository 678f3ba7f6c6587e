"""What the exported model says of every image of a split, checked to be complete and to be probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.errors import DataError
from visiongate.images.pixels import Labels, PixelSplit, Transform
from visiongate.models.predictor import Contract, ServedModel

# Far above what rounding does to a softmax in float32, far below what a missing softmax does.
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Predictions:
    """The model's answer to each of N images, and the truth."""

    probabilities: npt.NDArray[np.float64]  # N×K, each row scaled to sum to 1
    labels: Labels  # N, in 0..K-1
    classes: tuple[str, ...]  # K names
    threshold: float | None = None  # as `decide` takes it

    @property
    def predicted(self) -> Labels:
        """The class that each image is taken for, N; of several equally probable ones the first."""
        return decide(self.probabilities, self.threshold)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The probability of the predicted class, N."""
        confidence: npt.NDArray[np.float64] = np.take_along_axis(
            self.probabilities, self.predicted[:, None], axis=1
        )[:, 0]
        return confidence

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each image is predicted right, N."""
        return np.equal(self.predicted, self.labels)

    def by_probability(self) -> "Predictions":
        """Return the same without a threshold, to ask whether the probabilities can be believed."""
        return replace(self, threshold=None)


def decide(probabilities: npt.NDArray[np.floating], threshold: float | None) -> Labels:
    """Turn probabilities, N×K, into the classes answered, N.

    Args:
        probabilities: Of each image.
        threshold: Of two classes, the second is answered where its probability reaches it; None takes the more probable, of
            several the first.

    Raises:
        DataError: There is a threshold, and there are not two classes.
    """
    if threshold is None:
        likeliest: Labels = probabilities.argmax(axis=1)
        return likeliest
    if probabilities.shape[1] != 2:  # noqa: PLR2004
        raise DataError(f"a threshold of {threshold:g} needs two classes, not {probabilities.shape[1]}")
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def check_contract(model: ServedModel, transform: Transform, source: str) -> None:
    """Refuse to judge a model on images or classes other than those it was made for.

    Args:
        model: The model to judge.
        transform: What the images went through.
        source: Where the transform comes from, for the message.

    Raises:
        DataError: Input shape, mode, resize rule or classes differ; the message names both values.
    """
    wanted = Contract(transform.input_shape, transform.mode, transform.resize, tuple(transform.classes))
    if difference := wanted.difference(model.contract):
        raise DataError(f"{model.path} has {difference} as in {source}; train it on these data")


def predict_split(model: ServedModel, split: PixelSplit, manifest: pa.Table, batch_size: int) -> Predictions:
    """Predict every image of a split.

    Args:
        model: The model to judge.
        split: The images and labels.
        manifest: Where they came from, in the same order, with the columns ``label`` and ``path``.
        batch_size: Images given to the model at a time.

    Raises:
        DataError: There is no image or a single class, the three disagree on what the split holds, or the model's answer
            is not one row of probabilities for each image; the message names the image.
    """
    _check_split(split, manifest, len(model.contract.classes))
    probabilities = model.predict(split.images, batch_size).astype(np.float64)
    expected = (len(split.images), len(model.contract.classes))
    if probabilities.shape != expected:
        raise DataError(f"{model.path}: answered {probabilities.shape} probabilities, not {expected}")
    sums = _check_sums(model, probabilities, manifest.column("path").to_pylist())
    return Predictions(probabilities / sums, split.labels, model.contract.classes)


def tabulate(predictions: Predictions, manifest: pa.Table) -> pa.Table:
    """Say for each image, in the manifest's order, where it came from and what the model made of it.

    Returns:
        Columns ``path``, ``sha256``, ``label``, ``predicted`` (names), ``correct``, ``confidence`` and ``probabilities``, a
        list in the order of the classes; both in float32, as the model gave them but for the scaling.
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


def _check_split(split: PixelSplit, manifest: pa.Table, classes: int) -> None:
    if classes < 2:  # noqa: PLR2004
        raise DataError("there is one class: every answer is right, and there is nothing to evaluate")
    counts = {"images": len(split.images), "labels": len(split.labels), "manifest rows": manifest.num_rows}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} {what}" for what, count in counts.items())
        raise DataError(f"the split has {listed}; `dvc repro` makes it anew")
    if not len(split.images):
        raise DataError("the split has no image: there is nothing to evaluate")
    if (split.labels != manifest.column("label").to_numpy()).any():
        raise DataError("labels and manifest disagree on the split's order; `dvc repro` makes it anew")
    if not 0 <= split.labels.min() <= split.labels.max() < classes:
        raise DataError(f"labels from {split.labels.min()} to {split.labels.max()}, but {classes} classes")


def _check_sums(
    model: ServedModel, probabilities: npt.NDArray[np.float64], names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return each row's sum, N×1, near 1."""
    sums: npt.NDArray[np.float64] = probabilities.sum(axis=1, keepdims=True)
    # Negated, so that a NaN, of which every comparison is false, counts as wrong too.
    wrong = ~(np.abs(sums[:, 0] - 1) <= SUM_TOLERANCE) | (probabilities < 0).any(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{model.path}: the outputs for {names[first]} are no probabilities: from {probabilities[first].min():g} to "
            f"{probabilities[first].max():g}, sum {sums[first, 0]:g}; so for {int(wrong.sum())} of {len(wrong)} images"
        )
    return sums
