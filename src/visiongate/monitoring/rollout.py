"""Judge a challenger beside the champion: as a shadow, which answers nothing, or as a canary, which answers a share.

Pure functions of what the prediction log recorded. Each check holds its part of the error level at all looks together.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.rollout_report import (
    Exposed,
    RolloutCheck,
    RolloutModel,
    RolloutReport,
    RolloutVerdict,
    Stage,
    StageReport,
    keep_deciding,
)
from visiongate.monitoring.sequential import SHARE, Floats, log_evidence_above
from visiongate.monitoring.times import to_datetime
from visiongate.monitoring.votes import Vote, bound_difference, count_givers, count_wins, keep_first_of_image
from visiongate.records.interval import Interval
from visiongate.settings.rollout import RolloutRules

# Of the latencies that are compared.
PERCENTILE: Final = 95
_SLOWER: Final = 1 - PERCENTILE / 100
NOTHING: Final = (
    "no challenger predicts beside the champion; set serving.rollout.shadow or .canary of the service"
)
ADVICE: Final[dict[RolloutVerdict, str]] = {
    "promote": "move the challenger on: run `visiongate rollout --apply`",
    "hold": "wait for more predictions and true classes",
    "roll back": "take the challenger out: run `visiongate rollout --apply`",
}
EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a version did in its role.

    Attributes:
        predictions: How many it made.
        failures: Images that it could not predict.
        confidence: Sum of the confidences.
        latencies: Of a random selection of the predictions, in milliseconds.
    """

    predictions: int = 0
    failures: int = 0
    confidence: float = 0.0
    latencies: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class RolloutEvidence:
    """What the log has about a challenger.

    Attributes:
        stage: The challenger's role.
        challenger, champion: The versions.
        challenger_did, champion_did: What they did since the challenger's start.
        first_us, last_us: Times of the challenger's first and last prediction, in microseconds since 1970.
        agreeing: Predictions of a shadow that are those of the answers; None for a canary.
        votes: True classes that were asked for, in the order in which they arrived.
        volunteered: Number of other true classes.
    """

    stage: Stage
    challenger: LoggedModel
    champion: LoggedModel
    challenger_did: Exposure
    champion_did: Exposure
    first_us: int
    last_us: int
    agreeing: int | None = None
    votes: Sequence[Vote] = ()
    volunteered: int = 0


def judge_rollout(evidence: Sequence[RolloutEvidence], rules: RolloutRules) -> RolloutReport:
    """Return the verdicts about challengers, and that about all of them: roll back takes precedence, then promote."""
    stages = [judge_stage(each, rules) for each in evidence]
    found = {stage.verdict for stage in keep_deciding(stages)}
    verdict: RolloutVerdict = (
        "roll back" if "roll back" in found else "promote" if "promote" in found else "hold"
    )
    return RolloutReport(
        checked_at=datetime.now(UTC),
        verdict=verdict,
        advice=ADVICE[verdict] if stages else NOTHING,
        level=rules.level,
        stages=stages,
    )


def judge_stage(evidence: RolloutEvidence, rules: RolloutRules) -> StageReport:
    """Return the verdict about a challenger: promoted if all checks pass, rolled back if one fails, else held."""
    votes = keep_first_of_image(evidence.votes)
    names = ("accuracy", "errors") if evidence.stage == "shadow" else ("accuracy", "errors", "latency")
    level = rules.level / len(names)
    difference = bound_difference(votes, level, one_giver_decides=rules.one_giver_decides) if votes else None
    checks = [_judge_accuracy(evidence.stage, difference, len(votes), rules)]
    checks.append(_judge_errors(evidence, rules, level))
    if evidence.stage == "canary":
        checks.append(_judge_latency(evidence, rules, level))
    wins, losses = count_wins(votes)
    did, pairs = evidence.challenger_did, max(1, evidence.challenger_did.predictions)
    return StageReport(
        stage=evidence.stage,
        challenger=_name(evidence.challenger),
        champion=_name(evidence.champion),
        verdict=_combine(check.verdict for check in checks),
        checks=checks,
        first=to_datetime(evidence.first_us) or EPOCH,
        last=to_datetime(evidence.last_us) or EPOCH,
        challenger_did=_describe(did),
        champion_did=_describe(evidence.champion_did),
        agreement=None if evidence.agreeing is None else evidence.agreeing / pairs,
        labels=len(votes),
        volunteered=evidence.volunteered,
        givers=len(count_givers(votes)),
        difference=difference,
        wins=wins,
        losses=losses,
    )


def _judge_accuracy(
    stage: Stage, difference: Interval | None, labels: int, rules: RolloutRules
) -> RolloutCheck:
    margin = rules.margin if stage == "shadow" else rules.canary_margin
    if difference is None:
        return RolloutCheck(
            check="accuracy",
            verdict="hold",
            reason="no true class was given that the service asked for (serving.log.ask_share)",
        )
    reason = (
        f"accuracy {difference.value:+.1%} against the champion ({difference.low:+.1%} to {difference.high:+.1%} at all looks; "
        f"{labels} labels); a lower bound above {0.0 - margin:+.1%} is required"
    )
    verdict: RolloutVerdict = "hold"
    if difference.high < -margin:
        verdict = "roll back"
    elif difference.low > -margin and labels >= rules.min_labels:
        verdict = "promote"
    elif difference.low > -margin:
        reason += f", and {rules.min_labels} labels"
    return RolloutCheck(check="accuracy", verdict=verdict, reason=reason)


def _judge_errors(evidence: RolloutEvidence, rules: RolloutRules, level: float) -> RolloutCheck:
    """Say whether the challenger fails more often than is accepted.

    Given the number of failures of both, its part of them has a known expectation at the largest ratio that is accepted.
    """
    new, old = evidence.challenger_did, evidence.champion_did
    tried, others = new.predictions + new.failures, old.predictions + old.failures
    reason = f"{new.failures:,} failures in {tried:,} images; the champion has {old.failures:,} in {others:,}"
    part = rules.max_error_ratio * tried / max(1.0, rules.max_error_ratio * tried + others)
    too_many = new.failures > part * (new.failures + old.failures)
    if too_many and others and _is_shown([old.failures, new.failures], part, level):
        reason += f": more than {rules.max_error_ratio:g} times as often"
        return RolloutCheck(check="errors", verdict="roll back", reason=reason)
    if too_many:
        return RolloutCheck(check="errors", verdict="hold", reason=f"{reason}; that may be chance")
    verdict, reason = _require_answers(new.predictions, reason, rules)
    return RolloutCheck(check="errors", verdict=verdict, reason=reason)


def _judge_latency(evidence: RolloutEvidence, rules: RolloutRules, level: float) -> RolloutCheck:
    """Say whether more of the challenger's answers than one in twenty are slower than is accepted."""
    new, old = evidence.challenger_did.latencies, evidence.champion_did.latencies
    if not len(new) or not len(old):
        return RolloutCheck(check="latency", verdict="hold", reason="there are no latencies to compare")
    limit = rules.max_latency_ratio * float(np.percentile(old, PERCENTILE))
    slower = int((new > limit).sum())
    reason = (
        f"95% of the answers take up to {np.percentile(new, PERCENTILE):.1f} ms, those of the champion "
        f"{np.percentile(old, PERCENTILE):.1f} ms; {slower / len(new):.1%} are slower than {limit:.1f} ms"
    )
    if slower > _SLOWER * len(new):
        shown = _is_shown([len(new) - slower, slower], _SLOWER, level)
        verdict: RolloutVerdict = "roll back" if shown else "hold"
        return RolloutCheck(check="latency", verdict=verdict, reason=reason)
    verdict, reason = _require_answers(len(new), reason, rules)
    return RolloutCheck(check="latency", verdict=verdict, reason=reason)


def _is_shown(counts: Sequence[int], share: float, level: float) -> bool:
    """Return whether the share of ones is shown to be larger, by the counts of zeros and ones."""
    return float(log_evidence_above([0.0, 1.0], counts, share, SHARE)) >= -math.log(level)


def _require_answers(answers: int, reason: str, rules: RolloutRules) -> tuple[RolloutVerdict, str]:
    if answers >= rules.min_answers:
        return "promote", reason
    return "hold", f"{reason}; {rules.min_answers:,} predictions are required"


def _combine(verdicts: Iterable[RolloutVerdict]) -> RolloutVerdict:
    found = set(verdicts)
    return "roll back" if "roll back" in found else "promote" if found == {"promote"} else "hold"


def _describe(exposure: Exposure) -> Exposed:
    latencies = exposure.latencies
    return Exposed(
        predictions=exposure.predictions,
        failures=exposure.failures,
        confidence=exposure.confidence / exposure.predictions if exposure.predictions else None,
        p95_ms=float(np.percentile(latencies, PERCENTILE)) if len(latencies) else None,
    )


def _name(model: LoggedModel) -> RolloutModel:
    return RolloutModel(name=model.name, version=model.version, sha256=model.sha256)
