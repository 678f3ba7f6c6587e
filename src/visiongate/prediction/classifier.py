"""A model that answers: its class, confidence and probabilities for images, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.errors import DataError
from visiongate.models.model_input import check_input
from visiongate.models.predictions import check_probabilities, decide
from visiongate.models.predictor import NOVELTY, PROBABILITIES, Images, Outputs, Predictor
from visiongate.models.reliability import is_out_of_distribution, is_sure, prediction_sets
from visiongate.records.reliability import Reliability, read_reliability

TWO_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model, and how its probabilities become answers.

    Attributes:
        name: Before the names of its columns, if there are several models.
        model: The model.
        threshold: The probability from which the second of two classes is predicted; None for the most probable class.
        reliability: When its answers are sure; None if the model does not state it.
        sha256: Of the model's file.
    """

    name: str
    model: Predictor
    threshold: float | None
    reliability: Reliability | None
    sha256: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.model.contract.classes

    @property
    def schema(self) -> pa.Schema:
        """The names and types of the columns of `answer`."""
        columns = {
            "predicted": pa.string(),
            "confidence": pa.float32(),
            "sure": pa.bool_(),
            "out_of_distribution": pa.bool_(),
            **{probability_column(name): pa.float32() for name in self.classes},
        }
        return pa.schema(columns)

    def run(self, images: Images, outputs: Sequence[str]) -> Outputs:
        """Return what `answer` needs, and further outputs of the model, for images, uint8 N×H×W×C."""
        novelty = [NOVELTY] if self.knows_novelty else []
        return self.model.run(images, sorted({PROBABILITIES, *novelty, *outputs}))

    def answer(self, outputs: Outputs, paths: Sequence[str]) -> pa.Table:
        """Return one row for each image.

        Args:
            outputs: As `run` returns them, for N images.
            paths: Of the images, for error messages.

        Raises:
            DataError: The outputs are not probabilities.
        """
        probabilities = check_probabilities(self.model, outputs[PROBABILITIES], paths)
        predicted = decide(probabilities, self.threshold)
        confidence = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
        columns = [
            pa.array(np.asarray(self.classes)[predicted], pa.string()),
            pa.array(confidence, pa.float32()),
            self._sure(probabilities, predicted),
            self._outside(outputs, len(paths)),
            *(pa.array(column, pa.float32()) for column in probabilities.T),
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    @property
    def knows_sure(self) -> bool:
        """Whether the model can be sure: it was fitted on enough images to exclude a class."""
        return self.reliability is not None and self.reliability.min_probability > 0

    @property
    def knows_novelty(self) -> bool:
        """Whether the model can tell that an image is unlike its training images."""
        known = self.reliability is not None and self.reliability.novelty_threshold is not None
        return known and NOVELTY in self.model.outputs

    def _sure(self, probabilities: npt.NDArray[np.float64], predicted: npt.NDArray[np.int64]) -> pa.Array:
        if self.reliability is None or not self.knows_sure:
            return pa.nulls(len(predicted), pa.bool_())
        return pa.array(is_sure(prediction_sets(probabilities, self.reliability), predicted))

    def _outside(self, outputs: Outputs, images: int) -> pa.Array:
        if self.reliability is None or not self.knows_novelty:
            return pa.nulls(images, pa.bool_())
        return pa.array(is_out_of_distribution(outputs[NOVELTY], self.reliability))


def make_classifier(name: str, model: Predictor, threshold: float | None, sha256: str) -> Classifier:
    """Check a loaded model, and read from its file when its answers are sure.

    Raises:
        DataError: Its preprocessing is unknown, or a threshold is given and there are not two classes.
    """
    check_input(model)
    classes = len(model.contract.classes)
    if threshold is not None and classes != TWO_CLASSES:
        raise DataError(f"{model.name}: a threshold of {threshold:g} needs two classes, not {classes}")
    return Classifier(name, model, threshold, read_reliability(model.metadata, model.name), sha256)


def probability_column(name: str) -> str:
    """Return the name of the column with a class's probability."""
    return f"probability_{name}"
