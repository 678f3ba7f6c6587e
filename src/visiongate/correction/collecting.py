"""Plan what feedback changes: collected images, corrections of known images, and labels for a person to look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from visiongate.correction.desk import today
from visiongate.monitoring.opinions import Answer, Opinion
from visiongate.records.collected import CollectedImage
from visiongate.records.corrections import Correction
from visiongate.records.doubtful_labels import DoubtfulLabel

# Who made a correction: later feedback may change one that feedback made, and none that a person made.
FEEDBACK = "feedback"
# Who gave the label of a collected image, if a person has looked at it.
REVIEWED = "reviewed by "


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is decided already.

    Attributes:
        dataset: The name of the data set.
        source: The labels of the images of the source, by sha256.
        collected: The rows of ``data/collected.csv`` for this data set.
        corrections: The rows of ``data/corrections.csv``.
        doubtful: The labels that a person should look at, from earlier runs.
    """

    dataset: str
    source: Mapping[str, str]
    collected: Mapping[str, CollectedImage]
    corrections: Mapping[str, Correction]
    doubtful: Mapping[str, DoubtfulLabel]

    def is_by_person(self, sha256: str) -> bool:
        """Return whether a person has decided about an image."""
        correction, row = self.corrections.get(sha256), self.collected.get(sha256)
        is_corrected = correction is not None and not correction.who.startswith(FEEDBACK)
        return is_corrected or (row is not None and row.given_by.startswith(REVIEWED))


@dataclass(frozen=True, slots=True)
class Review:
    """What a person decides about doubtful labels.

    Attributes:
        who: The name of the person.
        accepted: The accepted images by sha256, each with another label or None.
        rejected: The images whose labels are refused.
    """

    who: str
    accepted: Mapping[str, str | None] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()


@dataclass(slots=True)
class Plan:
    """What to change.

    Attributes:
        taken: New rows of ``data/collected.csv``, whose images are still to be copied.
        updated: Rows with another label than before.
        removed: The sha256 of rows that are no longer collected.
        corrections: New rows of ``data/corrections.csv``.
        withdrawn: The sha256 of corrections that feedback made and no longer supports.
        doubtful: What a person should look at.
        known: Number of images whose label is the known one.
        decided: Number of images that a person has decided about.
        outvoted: Number of answers that most others contradict.
        missing: The sha256 of images that the service has not kept.
    """

    taken: list[CollectedImage] = field(default_factory=list)
    updated: list[CollectedImage] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    doubtful: list[DoubtfulLabel] = field(default_factory=list)
    known: int = 0
    decided: int = 0
    outvoted: int = 0
    missing: list[str] = field(default_factory=list)


# Returns the extension of the file of an image, None if it is not kept.
FindImage = Callable[[str], str | None]


def plan_collection(
    opinions: Mapping[str, Opinion], decisions: Decisions, review: Review, find_image: FindImage
) -> Plan:
    """Return what to change so that the tables say what people say.

    A person's decision is final: no feedback changes it. Nothing is planned twice, so that the next plan is empty.

    Args:
        opinions: About each image, by sha256.
        decisions: What is decided already.
        review: What a person decides now.
        find_image: Finds the files of images.
    """
    planner = _Planner(decisions, review, find_image, Plan())
    for sha256 in sorted(opinions.keys() | decisions.doubtful.keys()):
        opinion = opinions.get(sha256)
        label = decisions.doubtful[sha256] if opinion is None else describe_opinion(sha256, opinion)
        planner.plan.outvoted += 0 if opinion is None else opinion.outvoted
        planner.add(label)
    return planner.plan


@dataclass(frozen=True, slots=True)
class _Planner:
    decisions: Decisions
    review: Review
    find_image: FindImage
    plan: Plan

    def add(self, label: DoubtfulLabel) -> None:
        """Plan what a label changes; one without a doubt has an empty one."""
        sha256 = label.sha256
        if sha256 in self.review.rejected:
            self._reject(label)
        elif sha256 in self.review.accepted:
            self._take(replace(label, label=self.review.accepted[sha256] or label.label), is_reviewed=True)
        elif self.decisions.is_by_person(sha256):
            self.plan.decided += 1
        elif label.doubt:
            self._doubt(label)
        else:
            self._take(label, is_reviewed=False)

    def _reject(self, label: DoubtfulLabel) -> None:
        """Confirm the label of the data, or exclude an image that the data do not have."""
        own = self.decisions.source.get(label.sha256)
        why = f"refused {label.label!r}, which feedback gave; {_describe(label)}"
        self.plan.corrections.append(Correction(label.sha256, own, self.review.who, today(), why))
        self._drop_row(label.sha256)

    def _doubt(self, label: DoubtfulLabel) -> None:
        self.plan.doubtful.append(label)
        self._drop_row(label.sha256)
        if label.sha256 in self.decisions.corrections:
            self.plan.withdrawn.append(label.sha256)

    def _take(self, label: DoubtfulLabel, *, is_reviewed: bool) -> None:
        if label.sha256 in self.decisions.source:
            self._correct(label, is_reviewed=is_reviewed)
        else:
            self._collect(label, is_reviewed=is_reviewed)

    def _correct(self, label: DoubtfulLabel, *, is_reviewed: bool) -> None:
        """Correct an image of the source, unless its label is right."""
        sha256, correction = label.sha256, self.decisions.corrections.get(label.sha256)
        self._drop_row(sha256)
        if is_reviewed or (label.label != self.decisions.source[sha256]):
            if correction is not None and correction.label == label.label:
                self.plan.known += 1
                return
            names = f"{FEEDBACK} of {label.given_by}" if label.given_by else FEEDBACK
            who = self.review.who if is_reviewed else names
            self.plan.corrections.append(
                Correction(sha256, label.label, who, label.time[:10], _describe(label))
            )
            return
        self.plan.known += 1
        if correction is not None:
            self.plan.withdrawn.append(sha256)

    def _collect(self, label: DoubtfulLabel, *, is_reviewed: bool) -> None:
        row = self.decisions.collected.get(label.sha256)
        if row is not None and row.label == label.label and not is_reviewed:
            self.plan.known += 1
            return
        extension = self.find_image(label.sha256) if row is None else row.extension
        if extension is None:
            self.plan.missing.append(label.sha256)
            return
        image = _to_row(label, extension)
        image = replace(image, dataset=self.decisions.dataset, group=None if row is None else row.group)
        if is_reviewed:
            image = replace(image, given_by=f"{REVIEWED}{self.review.who}")
            if label.sha256 in self.decisions.corrections:
                # A person who refused the label changes their mind.
                self.plan.withdrawn.append(label.sha256)
        (self.plan.taken if row is None else self.plan.updated).append(image)

    def _drop_row(self, sha256: str) -> None:
        if sha256 in self.decisions.collected:
            self.plan.removed.append(sha256)


def describe_opinion(sha256: str, opinion: Opinion) -> DoubtfulLabel:
    """Return an opinion as a row of the table of doubtful labels; without a doubt, the reason is empty."""
    latest: Answer = opinion.latest
    return DoubtfulLabel(
        sha256,
        opinion.label,
        opinion.doubt or "",
        opinion.detail,
        latest.predicted,
        round(latest.confidence, 4),
        latest.model,
        latest.version,
        latest.asked,
        ", ".join(opinion.givers),
        f"{datetime.fromtimestamp(latest.time_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "",
    )


def _describe(label: DoubtfulLabel) -> str:
    return f"{label.model} {label.version} answered {label.predicted} with {label.confidence:.0%}".replace(
        "  ", " "
    )


def _to_row(label: DoubtfulLabel, extension: str) -> CollectedImage:
    return CollectedImage(
        label.sha256,
        label.label,
        extension,
        label.predicted,
        label.confidence,
        label.model,
        label.version,
        label.asked,
        label.given_by,
        label.time,
    )
