"""What people say about images, weighed: agreed labels, and those that a person should look at.

Nobody is asked for a reason, and anybody with access to the service may lie. Therefore a label is taken without a review only
if nothing speaks against it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from visiongate.monitoring.givers import Mark, find_unreliable
from visiongate.settings.collecting import CollectRules


@dataclass(frozen=True, slots=True)
class Answer:
    """The true class of an image, as somebody told it, and what a model had answered.

    Attributes:
        prediction_id: Of the answered prediction.
        sha256: Of the encoded file.
        label: The true class.
        predicted: The class that the model answered.
        confidence: The probability of that class.
        probability: That of the label, by the same model.
        classes: Number of the model's classes.
        model: The model's name.
        version: Of the model; empty for a file without a registry.
        time_us: When the label was given.
        unlike: Whether the image was unlike the training images, so that the confidence means nothing.
        asked: Whether the service asked for the class, of a random share of its answers.
        given_by: The name of the API key; None without keys.
    """

    prediction_id: str
    sha256: str
    label: str
    predicted: str
    confidence: float
    probability: float
    classes: int
    model: str
    version: str
    time_us: int
    unlike: bool = False
    asked: bool = False
    given_by: str | None = None

    @property
    def contradicts(self) -> bool:
        """Whether the label is not what the model answered."""
        return self.label != self.predicted


class Doubt(StrEnum):
    """Why a person should look at a label."""

    UNKNOWN_CLASS = "unknown_class"
    CONFLICTING = "conflicting"
    UNRELIABLE_GIVER = "unreliable_giver"
    IMPLAUSIBLE = "implausible"
    CONTRADICTS_DATA = "contradicts_data"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is known of an image by what people said.

    Attributes:
        label: That of most voices.
        latest: The last answer with this label.
        givers: The names of the API keys behind it, sorted.
        doubt: Why a person should look at it; None if the label can be taken.
        detail: The same in words; empty without a doubt.
        outvoted: Answers that gave another label.
    """

    label: str
    latest: Answer
    givers: tuple[str, ...]
    doubt: Doubt | None = None
    detail: str = ""
    outvoted: int = 0


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known without the feedback.

    Attributes:
        classes: Of the data set; None if any label may become one.
        labels: The labels of the images in the data set, by sha256.
    """

    classes: Collection[str] | None
    labels: Mapping[str, str]


def weigh(answers: Iterable[Answer], known: Knowledge, rules: CollectRules) -> dict[str, Opinion]:
    """Return an opinion about each image, by sha256.

    Each API key has one voice for an image, its last. Without keys, nobody can be told apart: such answers together have one
    voice, and count only if they agree and no key gave a label. The label of most voices is taken. It is doubted if

    1. it is not a class of the data;
    2. no label has more than half of the voices;
    3. it comes only from keys that `find_unreliable` doubts;
    4. it is one voice's, and `is_implausible` by the model's probabilities;
    5. one voice contradicts the label of the data, and no model answered with its label.

    Args:
        answers: All that people said about the images, in any order.
        known: What is known without them.
        rules: The settings.
    """
    by_image: dict[str, list[Answer]] = defaultdict(list)
    for answer in sorted(answers, key=lambda each: (each.time_us, each.prediction_id)):
        by_image[answer.sha256].append(answer)
    unreliable = find_unreliable(_mark(by_image, known, rules), rules)
    weighing = _Weighing(known, unreliable, rules)
    return {sha256: weighing.weigh(found) for sha256, found in by_image.items()}


@dataclass(frozen=True, slots=True)
class _Weighing:
    """What all images are weighed by; the unreliable keys have a reason."""

    known: Knowledge
    unreliable: Mapping[str, str]
    rules: CollectRules

    def weigh(self, answers: Sequence[Answer]) -> Opinion:
        """Return the opinion about an image from the answers about it, the latest last."""
        reliable = [answer for answer in answers if answer.given_by not in self.unreliable]
        voices = _count_voices(reliable or answers)
        label = voices.most_common(1)[0][0]
        supporting = [answer for answer in reliable or answers if answer.label == label]
        doubts = (
            self._doubt_class(label),
            _doubt_majority(voices),
            None if reliable else self._doubt_givers(answers),
            *(
                []
                if voices[label] > 1
                else [self._doubt_answer(supporting), self._doubt_data(label, answers)]
            ),
        )
        doubt, detail = next((found for found in doubts if found), (None, ""))
        givers = sorted({answer.given_by for answer in supporting if answer.given_by is not None})
        outvoted = sum(answer.label != label for answer in answers)
        return Opinion(label, supporting[-1], tuple(givers), doubt, detail, outvoted)

    def _doubt_class(self, label: str) -> tuple[Doubt, str] | None:
        if self.known.classes is None or label in self.known.classes:
            return None
        return Doubt.UNKNOWN_CLASS, f"{label} is not a class of the data"

    def _doubt_givers(self, answers: Sequence[Answer]) -> tuple[Doubt, str]:
        names = {answer.given_by for answer in answers if answer.given_by is not None}
        return Doubt.UNRELIABLE_GIVER, "; ".join(self.unreliable[name] for name in sorted(names))

    def _doubt_answer(self, supporting: Sequence[Answer]) -> tuple[Doubt, str] | None:
        if not all(is_implausible(answer, self.rules) for answer in supporting):
            return None
        answer = supporting[-1]
        # A file that is not registered has no version.
        version = " ".join(filter(None, (answer.model, answer.version)))
        answered = f"{version} answered {answer.predicted} with {answer.confidence:.1%}"
        return Doubt.IMPLAUSIBLE, f"{answered}, and this label with {answer.probability:.2%}"

    def _doubt_data(self, label: str, answers: Sequence[Answer]) -> tuple[Doubt, str] | None:
        own = self.known.labels.get(answers[-1].sha256)
        if own in {None, label} or any(answer.predicted == label for answer in answers):
            return None
        return Doubt.CONTRADICTS_DATA, f"the data have {own}"


def is_implausible(answer: Answer, rules: CollectRules) -> bool:
    """Return whether a label is more likely to be a slip or a lie than right.

    A calibrated model gives a label the probability p. If a share w of feedback is wrong, with any of the other classes alike,
    the label is right with odds of p (1 - w) to w / (classes - 1). The probabilities for an image unlike the training images
    mean nothing: no label of one is implausible.
    """
    wrong = rules.wrong_share / max(answer.classes - 1, 1)
    return answer.contradicts and not answer.unlike and answer.probability * (1 - rules.wrong_share) < wrong


def _count_voices(answers: Sequence[Answer]) -> Counter[str]:
    """Return the voices of each label; of equals, the first label had one first."""
    named = {answer.given_by: answer.label for answer in answers if answer.given_by is not None}
    return Counter(named.values()) if named else Counter(dict.fromkeys((each.label for each in answers), 1))


def _doubt_majority(voices: Counter[str]) -> tuple[Doubt, str] | None:
    if 2 * voices.most_common(1)[0][1] > voices.total():
        return None
    return Doubt.CONFLICTING, ", ".join(f"{count} for {label}" for label, count in sorted(voices.items()))


def _mark(by_image: Mapping[str, Sequence[Answer]], known: Knowledge, rules: CollectRules) -> Iterator[Mark]:
    """Yield what speaks for or against the keys: one mark of a kind for a key and an image.

    A label can be checked if the data have one, or two other keys agree on one. A label that cannot be checked still tells
    something if it contradicts the answer: what honest people say instead is rarely implausible, and what liars say often is.
    """
    for sha256, answers in by_image.items():
        last = {answer.given_by: answer for answer in answers if answer.given_by is not None}
        for giver, answer in last.items():
            truth = known.labels.get(sha256) or _agree(each for name, each in last.items() if name != giver)
            if truth is not None:
                yield Mark(giver, "checked", is_bad=answer.label != truth)
            elif answer.contradicts and not answer.unlike:
                yield Mark(giver, "contradicting", is_bad=is_implausible(answer, rules))


def _agree(answers: Iterable[Answer]) -> str | None:
    """Return the label of at least two keys that no other contradicts."""
    labels = [answer.label for answer in answers]
    return labels[0] if len(labels) > 1 and len(set(labels)) == 1 else None
