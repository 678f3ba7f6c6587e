"""What the prediction log records: predictions, the models that made them, and feedback."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from uuid import UUID

from visiongate.errors import VisiongateError
from visiongate.monitoring.times import now_us

# How the version that predicted was chosen.
Role = Literal["active", "canary", "shadow"]
# Why an image was not answered: the model failed, or the answer was too late.
FailureKind = Literal["error", "timeout"]
# Where a true class comes from. People who volunteer it choose the images.
FeedbackSource = Literal["volunteered"]
# In a message.
SHOWN_CLASSES = 10


class UnknownPredictionError(VisiongateError):
    """No recorded prediction has this id."""


class UnknownLabelError(VisiongateError):
    """The label is not a class of the model that made the prediction.

    Attributes:
        classes: The classes of that model.
    """

    def __init__(self, label: str, classes: Sequence[str]) -> None:
        shown = ", ".join(classes[:SHOWN_CLASSES])
        more = f" and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
        super().__init__(f"{label[:80]!r} is not a class of the model; choose one of {shown}{more}")
        self.classes = tuple(classes)


class LogUnavailableError(VisiongateError):
    """The database of the prediction log cannot be read or written."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the prediction log is unavailable: {reason}")


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """The model that made a prediction.

    Attributes:
        name: Of the model.
        version: In its registry; None for a file.
        sha256: Of the file.
        classes: In the order of the probabilities.
    """

    name: str
    version: str | None
    sha256: str
    classes: tuple[str, ...]


class ImageFacts(NamedTuple):
    """What describes the file of an image, and the pixels that the model gets.

    Attributes:
        sha256: Of the file.
        bytes: Of the file.
        width, height: As stored in the file.
        format: As decoding names it, such as JPEG.
        mode: The color mode of the file as Pillow names it, such as RGB.
        brightness, contrast: Mean and standard deviation of the model's input, 0 to 1.
    """

    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    mode: str
    brightness: float
    contrast: float


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """A prediction, without the image and without anything about who sent it.

    Attributes:
        prediction_id: Of `new_prediction_id`.
        model: The model.
        predicted: The predicted class.
        confidence: The probability of the predicted class.
        probabilities: float32, little-endian, one for each class; None to leave them out.
        sure: Whether the model is sure; None if it cannot tell.
        out_of_distribution: Whether the image is unlike the training images; None if the model cannot tell.
        decode_ms, wait_ms, inference_ms, total_ms: Milliseconds of decoding, of waiting for the model, of the model, of all.
        request_id: Of the request, as in the service's log.
        shadow_of: The id of the prediction that was answered, if this one was made beside it and not answered.
        role: How the version was chosen.
        asked: Whether the client was asked for the true class.
        image: Describes the image; None if no file was sent.
        embedding: A `sketch`, float16, little-endian; None if the model has no embedding.
        kept: Whether the file is stored in a moment; False also if it waits, because the folder cannot be written, or is lost.
            None if no file was sent.
        time_us: Microseconds since 1970, UTC.
    """

    prediction_id: str
    model: LoggedModel
    predicted: str
    confidence: float
    total_ms: float
    decode_ms: float | None = None
    wait_ms: float | None = None
    inference_ms: float | None = None
    probabilities: bytes | None = None
    sure: bool | None = None
    out_of_distribution: bool | None = None
    request_id: str | None = None
    shadow_of: str | None = None
    role: Role = "active"
    asked: bool = False
    image: ImageFacts | None = None
    embedding: bytes | None = None
    kept: bool | None = None
    time_us: int = field(default_factory=now_us)


@dataclass(frozen=True, slots=True)
class Failure:
    """What happened to an image that a version could not answer.

    Attributes:
        minute_us: The start of the minute, in microseconds since 1970.
        model: The version.
        role: How it was chosen.
        kind: What happened.
    """

    minute_us: int
    model: LoggedModel
    role: Role
    kind: FailureKind


@dataclass(frozen=True, slots=True)
class Feedback:
    """The true class of the image of a prediction.

    Attributes:
        prediction_id: Of the prediction.
        label: The true class.
        source: Where it comes from.
        given_by: The name of the API key; None without keys.
    """

    prediction_id: str
    label: str
    source: FeedbackSource = "volunteered"
    given_by: str | None = None


@dataclass(frozen=True, slots=True)
class FeedbackReceipt:
    """Recorded feedback, what had been predicted, whether there was earlier feedback, and whether it was asked for."""

    prediction_id: str
    label: str
    predicted: str
    replaced: bool
    asked: bool = False


def new_prediction_id() -> str:
    """Return a UUID of version 7: 48 bits of time, so that ids ascend, and 74 random bits, so that nobody can guess one.

    RFC 9562, section 5.7.
    """
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    # The version and the variant.
    number = number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def age_seconds(prediction_id: str) -> float:
    """Return how long ago an id was made, by the clock of who made it; infinity for what `new_prediction_id` did not make."""
    try:
        return time.time() - (UUID(prediction_id).int >> 80) / 1000
    except ValueError:
        return math.inf
