"""Is the difference between two revisions more than luck? Asked of both models' answers to the same test images."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.comparison.paired_test import Comparison, compare, uses_mcnemar
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.review.report.markdown import figure
from visiongate.review.report.snapshot import Answered, Snapshot
from visiongate.settings.registry import Registry

UNKNOWN = "Whether the difference is more than luck is not known"


def tell_luck(now: Snapshot, base: Snapshot, registry: Registry) -> str:
    """Say in a sentence whether one of two models is better by more than luck, or why that cannot be told.

    The metric and the test are those by which `register` compares a model with the champion.
    """
    if now.answers is None or base.answers is None:
        return f"{UNKNOWN}: the answers to single test images are not at hand."
    if reason := _find_difference(now.answers, base.answers):
        return reason
    names = _find_classes(now, now.answers)
    if names is None or names != _find_classes(base, base.answers):
        return f"{UNKNOWN}: the two models know different classes."
    groups = _find_groups(now.images, now.answers)
    if groups is None:
        return f"{UNKNOWN}: which test images go together is not at hand."
    return _compare((now.answers, base.answers), names, groups, registry)


def _find_difference(now: Answered, base: Answered) -> str:
    """Say why two models were not asked the same; nothing where they were."""
    if list(now.sha256) != list(base.sha256):
        shared = len(set(now.sha256) & set(base.sha256))
        return (
            f"The two were judged on different test images ({len(now.sha256):,} now, {len(base.sha256):,} before, {shared:,} "
            "of them the same): their numbers cannot be compared as such."
        )
    changed = sum(mine != theirs for mine, theirs in zip(now.labels, base.labels, strict=True))
    if changed:
        return (
            f"{changed:,} test images have another label than before: the numbers cannot be compared as such."
        )
    return ""


def _find_classes(snapshot: Snapshot, answers: Answered) -> list[str] | None:
    """Return the classes in the order of the probabilities, if they are known and all that is answered is among them."""
    names = [row.name for row in snapshot.classes or ()]
    whole = len(set(names)) == len(names) == answers.probabilities.shape[1]
    return names if whole and {*answers.labels, *answers.predicted} <= set(names) else None


def _find_groups(images: pa.Table | None, answers: Answered) -> list[str | None] | None:
    """Find which test images go together, in the order of the answers."""
    if images is None:
        return None
    known = dict(zip(images["sha256"].to_pylist(), images["group"].to_pylist(), strict=True))
    return [known[sha256] for sha256 in answers.sha256] if set(answers.sha256) <= known.keys() else None


def _compare(
    pair: tuple[Answered, Answered], names: Sequence[str], groups: Sequence[str | None], registry: Registry
) -> str:
    numbers = {name: number for number, name in enumerate(names)}
    exam = GroundTruth(_number(numbers, pair[0].labels), groups)
    if len(set(groups)) == 1 and groups[0] is not None and not uses_mcnemar(exam, registry):
        return f"{UNKNOWN}: all test images are of one group."
    mine, theirs = (
        UnlabeledPredictions(each.probabilities, _number(numbers, each.predicted)) for each in pair
    )
    found = compare(mine, theirs, exam, registry)
    if found.difference >= 0:
        return _tell(found, "better", registry.alpha)
    return _tell(compare(theirs, mine, exam, registry), "worse", registry.alpha)


def _number(numbers: Mapping[str, int], names: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([numbers[name] for name in names], dtype=np.int64)


def _tell(found: Comparison, direction: str, alpha: float) -> str:
    if found.wins == found.losses == 0 and found.difference == 0:
        return f"Both answer right and wrong on the same {found.images:,} test images."
    wins, losses = (found.wins, found.losses) if direction == "better" else (found.losses, found.wins)
    told = (
        f"**{direction.capitalize()} by more than luck**" if found.p_value < alpha else "**It could be luck**"
    )
    return (
        f"{told}: on the same {found.images:,} test images right on {wins:,} that it got wrong before, and wrong on {losses:,} "
        f"that it got right ({found.metric}, one-sided {found.test}, p = {figure(found.p_value)})."
    )
