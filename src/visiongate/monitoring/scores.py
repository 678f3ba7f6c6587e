"""The scores of a model, as they are sent and written."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from visiongate.monitoring.calibration import Calibration
from visiongate.records.interval import Interval


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The scores of a class, by feedback."""

    name: str
    predicted: Annotated[int, Field(description="Predictions of the class, with and without feedback.")]
    labeled: Annotated[int, Field(description="Predictions with feedback whose true class is this one.")]
    precision: Annotated[
        Interval | None,
        Field(description="Share of its predictions that feedback confirms; null without feedback for one."),
    ]
    recall: Annotated[
        Interval | None,
        Field(description="Share of `labeled` that was predicted as this class; null if there is none."),
    ]
    f1: Annotated[Interval | None, Field(description="The harmonic mean of both; null if `labeled` is 0.")]


@dataclass(frozen=True, slots=True)
class Others:
    """The scores without the feedback of the giver who gave most of it: one who lies, or sees other images, is one voice."""

    removed: Annotated[int, Field(description="Feedback of the most active giver.")]
    labeled: Annotated[int, Field(description="Feedback of all others.")]
    accuracy: Annotated[Interval | None, Field(description="By the others; null if there are none.")]
    macro_f1: Annotated[Interval | None, Field(description="By the others; null if there are none.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of a model, by feedback."""

    labeled: Annotated[int, Field(description="Predictions with feedback.")]
    images: Annotated[
        int,
        Field(
            description="Different images among them, as far as the log knows the files. Repeated ones widen the intervals: "
            "one picture a hundred times is not a hundred pictures."
        ),
    ]
    accuracy: Annotated[
        Interval | None, Field(description="Share of them that was correct; null if there are none.")
    ]
    macro_f1: Annotated[
        Interval | None,
        Field(description="The mean F1 of the classes with `labeled` above 0; null if there are none."),
    ]
    classes: Annotated[tuple[ClassScores, ...], Field(description="In the order of the model's classes.")]
    calibration: Annotated[Calibration | None, Field(description="Null without feedback.")]
    givers: Annotated[
        int, Field(description="API keys that feedback came with. Feedback without a key has no giver.")
    ]
    others: Annotated[
        Others | None, Field(description="The scores without the most active giver; null without API keys.")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledScores(Scores):
    """The scores by the feedback that the service asked for, for a random sample of its answers."""

    asked: Annotated[
        int | None,
        Field(
            description="Answers whose true class the service asked for; null for a shadow, which answers nothing."
        ),
    ]
    response_rate: Annotated[
        Interval | None, Field(description="Share of `asked` with feedback; null if none was asked for.")
    ]
    worst: Annotated[
        float | None,
        Field(
            description="The accuracy of `asked` if all predictions without feedback were wrong; null if `asked` is."
        ),
    ]
    best: Annotated[
        float | None,
        Field(description="The accuracy of `asked` if all predictions without feedback were correct."),
    ]
