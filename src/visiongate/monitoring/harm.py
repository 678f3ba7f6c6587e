"""Whether a version has become worse than it was, by true classes that were asked for, however often somebody looks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from visiongate.monitoring.sequential import SHARE, confidence_sequence, count_values, log_evidence_of_fall
from visiongate.monitoring.times import WEEK_US
from visiongate.monitoring.votes import Vote, keep_first_of_image, leave_out_most_active
from visiongate.records.interval import Interval
from visiongate.settings.rollout import RetrainRules

WEEKS_PER_YEAR: Final = 365.25 / 7
# Accuracy cannot fall below nothing.
_LEAST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class MeasuredHarm:
    """What the votes say about an accuracy.

    Attributes:
        accuracy: Share of the answers that were correct, with bounds that hold at all looks; None without votes.
        labels: Votes, one for each different image.
        least: The accuracy below which harm is done.
        shown: Whether the accuracy is shown to have fallen below; None with too few votes.
    """

    accuracy: Interval | None
    labels: int
    least: float
    shown: bool | None


def measure_harm(votes: Sequence[Vote], reference: float, rules: RetrainRules) -> MeasuredHarm:
    """Say whether the accuracy has fallen below a reference by more than the margin, at some time.

    Args:
        votes: About the champion, in the order in which they arrived.
        reference: The accuracy on held-out images; of an interval, the lower bound.
        rules: Level, margin, and how many votes are needed.
    """
    counted = keep_first_of_image(votes)
    least = max(_LEAST, reference - rules.margin)
    if not counted:
        return MeasuredHarm(None, 0, least, None)
    correct = [float(bool(vote.champion)) for vote in counted]
    accuracy = confidence_sequence(*count_values(correct), rules.yearly_level, SHARE)
    if len(counted) < rules.min_labels:
        return MeasuredHarm(accuracy, len(counted), least, None)
    evidence = _collect_evidence(counted, least)
    if not rules.one_giver_decides:
        evidence = min(evidence, _collect_evidence(leave_out_most_active(counted), least))
    return MeasuredHarm(accuracy, len(counted), least, evidence >= -math.log(rules.yearly_level))


def _collect_evidence(votes: Sequence[Vote], least: float) -> float:
    correct = np.array([bool(vote.champion) for vote in votes], bool)
    weeks = np.array([vote.time_us // WEEK_US for vote in votes], np.int64)
    return log_evidence_of_fall(correct, weeks, least, WEEKS_PER_YEAR)
