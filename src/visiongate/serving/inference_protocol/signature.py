"""The inputs and outputs of a model in terms of the protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.models.classifier import Classifier
from visiongate.models.predictor import INPUT, PROBABILITIES
from visiongate.serving.inference_protocol.messages import TensorMetadata
from visiongate.serving.service import Answered

ENCODED = "encoded"
UINT8, FP32, BOOL, BYTES = "UINT8", "FP32", "BOOL", "BYTES"
# Stands for the number of images.
BATCH = -1
Values = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Output:
    """An output that each answer has, or that is an output of the model.

    Attributes:
        datatype: Of the protocol.
        shape: Of an image.
        read: Returns its values for an image.
        costly: Returned only if it is asked for.
    """

    datatype: str
    shape: tuple[int, ...]
    read: Callable[[Answered], object]
    costly: bool = False

    def collect(self, answered: Sequence[Answered]) -> Values:
        """Return the values of N images, N×`shape`."""
        types = {FP32: np.float32, BOOL: np.bool_, BYTES: np.object_}
        return np.array([self.read(each) for each in answered], dtype=types[self.datatype])


def _predicted(answered: Answered) -> int:
    return int(answered.inference.answers.predicted[answered.inference.row])


def _label(answered: Answered) -> bytes:
    return answered.model.classifier.classes[_predicted(answered)].encode()


def _confidence(answered: Answered) -> float:
    return float(answered.inference.answers.confidence[answered.inference.row])


def _sure(answered: Answered) -> bool:
    sure = answered.inference.answers.sure
    return sure is not None and bool(sure[answered.inference.row])


def _out_of_distribution(answered: Answered) -> bool:
    outside = answered.inference.answers.out_of_distribution
    return outside is not None and bool(outside[answered.inference.row])


def _model_output(name: str) -> Callable[[Answered], Values]:
    return lambda answered: answered.inference.output(name)[0]


# Of any model.
_ANSWERS: Final = {
    "label": Output(BYTES, (), _label),
    "confidence": Output(FP32, (), _confidence),
    # For feedback.
    "prediction_id": Output(BYTES, (), lambda answered: answered.prediction_id.encode()),
}


def outputs_of(classifier: Classifier) -> dict[str, Output]:
    """Return the outputs of a model by name."""
    shapes = {each.name: tuple(each.shape[1:]) for each in classifier.model.session.get_outputs()}
    outputs = {PROBABILITIES: Output(FP32, shapes.pop(PROBABILITIES), _model_output(PROBABILITIES))}
    outputs |= _ANSWERS
    if classifier.knows_sure:
        outputs["sure"] = Output(BOOL, (), _sure)
    if classifier.knows_novelty:
        outputs["out_of_distribution"] = Output(BOOL, (), _out_of_distribution)
    further = {name: Output(FP32, shapes[name], _model_output(name), costly=True) for name in sorted(shapes)}
    return outputs | further


def describe_inputs(classifier: Classifier) -> list[TensorMetadata]:
    """Return the two inputs, of which a request has one: pixels as the model takes them, and image files."""
    shape = [BATCH, *classifier.model.contract.input_shape]
    return [
        TensorMetadata(name=INPUT, datatype=UINT8, shape=shape),
        TensorMetadata(name=ENCODED, datatype=BYTES, shape=[BATCH]),
    ]


def describe_outputs(classifier: Classifier) -> list[TensorMetadata]:
    """Return the outputs of a model."""
    return [
        TensorMetadata(name=name, datatype=output.datatype, shape=[BATCH, *output.shape])
        for name, output in outputs_of(classifier).items()
    ]
