"""A model that answers: the class, confidence and probabilities of images, and whether the answer can be relied on.

Prediction and the service share it, so that both have the same answers for the same image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.models.model_input import check_input
from visiongate.models.predictor import NOVELTY, PROBABILITIES, Images, Outputs, Predictor
from visiongate.models.probabilities import check_probabilities, decide
from visiongate.models.reliability import Flags, is_out_of_distribution, is_sure, prediction_sets
from visiongate.records.reliability import Reliability, read_reliability

TWO_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a model for N images.

    Attributes:
        predicted: The class, an index, N.
        confidence: The probability of the predicted class, N.
        probabilities: N×K; each row sums to 1.
        sets: The prediction set, N×K; None if the model cannot exclude a class.
        sure: Whether the prediction set has the predicted class only, N; None without prediction sets.
        out_of_distribution: Whether an image is unlike the training images, N; None if the model cannot tell.
    """

    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    sets: Flags | None
    sure: Flags | None
    out_of_distribution: Flags | None


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model, and how its probabilities become answers.

    Attributes:
        name: Short, for messages and columns.
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
    def knows_sure(self) -> bool:
        """Whether the model can be sure: it was fitted on enough images to exclude a class."""
        return self.reliability is not None and self.reliability.min_probability > 0

    @property
    def knows_novelty(self) -> bool:
        """Whether the model can tell that an image is unlike its training images."""
        known = self.reliability is not None and self.reliability.novelty_threshold is not None
        return known and NOVELTY in self.model.outputs

    def outputs(self, further: Sequence[str] = ()) -> list[str]:
        """Return the names of the outputs that `answer` needs, and further ones."""
        novelty = [NOVELTY] if self.knows_novelty else []
        return sorted({PROBABILITIES, *novelty, *further})

    def run(self, images: Images, further: Sequence[str] = ()) -> Outputs:
        """Return the `outputs` of the model for images, uint8 N×H×W×C."""
        return self.model.run(images, self.outputs(further))

    def answer(self, outputs: Outputs, paths: Sequence[str]) -> Answers:
        """Return the answers for N images.

        Args:
            outputs: As `run` returns them.
            paths: Of the images, for error messages.

        Raises:
            DataError: The outputs are not probabilities.
        """
        probabilities = check_probabilities(self.model, outputs[PROBABILITIES], paths)
        predicted = decide(probabilities, self.threshold)
        confidence = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
        sets = sure = outside = None
        if self.reliability is not None and self.knows_sure:
            sets = prediction_sets(probabilities, self.reliability)
            sure = is_sure(sets, predicted)
        if self.reliability is not None and self.knows_novelty:
            outside = is_out_of_distribution(outputs[NOVELTY], self.reliability)
        return Answers(predicted, confidence, probabilities, sets, sure, outside)


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
