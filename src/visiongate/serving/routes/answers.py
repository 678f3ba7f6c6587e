"""What ``POST /predict`` returns."""

from typing import Annotated

from pydantic import BaseModel, Field

from visiongate.serving.service import Answered
from visiongate.serving.versions.loaded_model import LoadedModel


class ModelReference(BaseModel):
    """The model that answered."""

    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: Annotated[str, Field(description="Of the model's file.")]

    @classmethod
    def of(cls, model: LoadedModel) -> "ModelReference":
        """Return the reference of a loaded model."""
        return cls(name=model.name, version=model.version, sha256=model.origin.sha256)


class ProcessingTime(BaseModel):
    """Where the time went, in milliseconds."""

    decode: float
    wait: Annotated[float, Field(description="For a thread to decode, and for the model to become free.")]
    inference: Annotated[float, Field(description="Of the batch.")]
    total: Annotated[float, Field(description="From the complete request to the answer.")]


class Prediction(BaseModel):
    """The answer for an image."""

    prediction_id: Annotated[str, Field(description="For feedback.")]
    filename: Annotated[str | None, Field(description="As the client states it.")] = None
    predicted_class: Annotated[int, Field(description="From 0, in the order of the model's classes.")]
    predicted_label: str
    confidence: Annotated[float, Field(description="The probability of the predicted class.")]
    probabilities: dict[str, float]
    possible: Annotated[
        list[str] | None,
        Field(description="The classes that the model cannot exclude; null if it cannot say."),
    ]
    sure: Annotated[
        bool | None,
        Field(description="Whether all other classes are excluded; null if the model cannot say."),
    ]
    out_of_distribution: Annotated[
        bool | None,
        Field(description="Whether the image is unlike the training images; null if the model cannot say."),
    ]
    model: ModelReference
    processing_time_ms: ProcessingTime
    feedback_requested: Annotated[
        bool,
        Field(
            description="Whether the true class of this image is asked for, to be sent to `POST /feedback`. The images are "
            "chosen at random, so that the accuracy of the answers can be estimated without bias."
        ),
    ]
    heat_map: Annotated[str | None, Field(description="A PNG as a data URL, with `explain=true`.")] = None


class FailedImage(BaseModel):
    """Why one of several images has no prediction: the members of a problem."""

    filename: str | None = None
    type: str
    title: str
    status: int
    detail: str


class Predictions(BaseModel):
    """The answers for several images, in their order."""

    predictions: list[Prediction | FailedImage]


def make_prediction(answered: Answered, filename: str | None, heat_map: str | None) -> Prediction:
    """Return the answer for an image.

    Args:
        answered: The image.
        filename: As the client states it.
        heat_map: See `Service.explain`.
    """
    classes, inference, timing = answered.model.classifier.classes, answered.inference, answered.timing
    answers, row = inference.answers, inference.row
    predicted = int(answers.predicted[row])
    sets, sure, outside = answers.sets, answers.sure, answers.out_of_distribution
    return Prediction(
        prediction_id=answered.prediction_id,
        filename=filename,
        predicted_class=predicted,
        predicted_label=classes[predicted],
        confidence=float(answers.confidence[row]),
        probabilities=dict(zip(classes, answers.probabilities[row].tolist(), strict=True)),
        possible=None if sets is None else [classes[index] for index in sets[row].nonzero()[0]],
        sure=None if sure is None else bool(sure[row]),
        out_of_distribution=None if outside is None else bool(outside[row]),
        model=ModelReference.of(answered.model),
        processing_time_ms=ProcessingTime(
            decode=_milliseconds(timing.decode),
            wait=_milliseconds(timing.wait),
            inference=_milliseconds(timing.inference),
            total=_milliseconds(timing.total),
        ),
        feedback_requested=answered.asked,
        heat_map=heat_map,
    )


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
