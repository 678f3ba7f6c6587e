"""Say whether a new model is due: after measured harm, estimated harm, or enough new labels. Drift alone is no reason.

A new model costs a training and a review, and teaches nothing if the images differ but are recognized as before.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.harm import MeasuredHarm, measure_harm
from visiongate.monitoring.retrain_report import RetrainCheck, RetrainReport, RetrainVerdict
from visiongate.monitoring.votes import Vote
from visiongate.records.interval import Interval
from visiongate.settings.rollout import RetrainRules

ADVICE: Final[dict[RetrainVerdict, str]] = {
    "retrain": "train again: start the workflow `retrain`, or run `visiongate collect` and `visiongate retrain`",
    "no need": "keep the champion",
    "cannot say": "ask for true classes (serving.log.ask_share), and run `visiongate drift` each week",
}
REPAIR_FIRST: Final = (
    "repair what `visiongate drift` names first: training with such images would teach the fault"
)


@dataclass(frozen=True, slots=True)
class EstimatedHarm:
    """What a drift check says about the accuracy without labels.

    Attributes:
        accuracy: The estimate with its interval.
        reference: The accuracy on held-out images.
        found: Whether the check found that the accuracy has fallen.
        repair: What is to be repaired first, in words, if the estimate is not reliable for that reason; None otherwise.
        blamed: The likeliest cause, if it can be repaired where the images come from; None otherwise.
    """

    accuracy: Interval
    reference: float
    found: bool
    repair: str | None = None
    blamed: str | None = None


@dataclass(frozen=True, slots=True)
class RetrainEvidence:
    """What the log has about the champion.

    Attributes:
        champion: The version that answers; None without a prediction.
        votes: True classes that were asked for, in the order in which they arrived.
        reference: The accuracy on held-out images with its interval; None if it is unknown.
        estimate: Of the latest drift check; None if there is no recent one, or it could not estimate.
        new_labels: Images with true classes that were not collected yet.
    """

    champion: LoggedModel | None
    votes: list[Vote]
    reference: Interval | None
    estimate: EstimatedHarm | None
    new_labels: int


def judge_retrain(evidence: RetrainEvidence, rules: RetrainRules) -> RetrainReport:
    """Return whether a new model is due; one reason is enough."""
    harm = measure_harm(evidence.votes, evidence.reference.low, rules) if evidence.reference else None
    checks = [
        _judge_measured(harm, evidence, rules),
        _judge_estimated(evidence.estimate),
        _judge_labels(evidence, rules),
    ]
    champion = evidence.champion
    verdict: RetrainVerdict = "no need"
    if any(check.due for check in checks):
        verdict = "retrain"
    elif champion is None or all(check.due is None for check in checks if check.check != "new labels"):
        verdict = "cannot say"
    return RetrainReport(
        checked_at=datetime.now(UTC),
        verdict=verdict,
        advice=_advise(verdict, evidence.estimate),
        name=champion.name if champion else None,
        version=champion.version if champion else None,
        sha256=champion.sha256 if champion else None,
        checks=checks,
        accuracy=harm.accuracy if harm else None,
        labels=harm.labels if harm else 0,
    )


def _advise(verdict: RetrainVerdict, estimate: EstimatedHarm | None) -> str:
    if verdict != "retrain" and estimate is not None and estimate.repair:
        return REPAIR_FIRST
    if verdict == "retrain" and estimate is not None and estimate.blamed:
        return (
            f"{ADVICE[verdict]}; before that, look at what `visiongate drift` names first ({estimate.blamed}): a fault is to be "
            "repaired, not learned"
        )
    return ADVICE[verdict]


def _judge_measured(
    harm: MeasuredHarm | None, evidence: RetrainEvidence, rules: RetrainRules
) -> RetrainCheck:
    if harm is None or evidence.reference is None:
        reason = (
            "the log has no reference of the champion; serve a version that the stage `evaluate` has judged"
        )
        return RetrainCheck(check="measured harm", due=None, reason=reason)
    if harm.accuracy is None:
        reason = "no true class was given that the service asked for (serving.log.ask_share)"
        return RetrainCheck(check="measured harm", due=None, reason=reason)
    reason = (
        f"accuracy {harm.accuracy.value:.1%} ({harm.accuracy.low:.1%} to {harm.accuracy.high:.1%} at all looks; {harm.labels} "
        f"labels), {harm.least:.1%} is accepted: {evidence.reference.low:.1%} on held-out images less {rules.margin:.1%}"
    )
    if harm.shown is None:
        reason += f"; {rules.min_labels} labels are required"
    return RetrainCheck(check="measured harm", due=harm.shown, reason=reason)


def _judge_estimated(estimate: EstimatedHarm | None) -> RetrainCheck:
    if estimate is None:
        reason = "no recent drift check could estimate the accuracy; run `visiongate drift`"
        return RetrainCheck(check="estimated harm", due=None, reason=reason)
    accuracy = estimate.accuracy
    reason = (
        f"the drift check estimates an accuracy of {accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%}), which is "
        f"{estimate.reference:.1%} on held-out images"
    )
    if estimate.found and estimate.repair is not None:
        # The estimate is of images that the model should not get, and the fault may be gone tomorrow.
        reason = f"repair first: {estimate.repair}; {reason}"
        return RetrainCheck(check="estimated harm", due=None, reason=reason)
    return RetrainCheck(check="estimated harm", due=estimate.found, reason=reason)


def _judge_labels(evidence: RetrainEvidence, rules: RetrainRules) -> RetrainCheck:
    reason = f"{evidence.new_labels:,} images with true classes were not collected yet; {rules.new_labels:,} are reason enough"
    return RetrainCheck(check="new labels", due=evidence.new_labels >= rules.new_labels, reason=reason)
