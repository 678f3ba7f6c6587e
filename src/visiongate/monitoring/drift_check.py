"""The check of all versions that answered recently, from samples to a report with verdicts and advice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

from visiongate.monitoring.drift import (
    Difference,
    Sample,
    adjust_by_holm,
    compare,
    count_permutations,
)
from visiongate.monitoring.drift_report import (
    Comparison,
    DriftReport,
    ModelDrift,
    Period,
    Quantity,
    Verdict,
)
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.times import to_datetime

# Of the window. Fewer show only differences that nobody overlooks.
MIN_WINDOW: Final = 100
ADVICE: Final[Mapping[Verdict, str]] = {
    "drift": "find out whether one client sends most images, and look at recent ones; compare the accuracy by feedback "
    "(/performance, /live) with that before. Train again if it has fallen, not because of drift alone",
    "no drift": "nothing to do",
    "cannot say": "wait for more predictions, or look further back with --window",
}
Key = tuple[str, str | None, str, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that answered in the window.

    Attributes:
        model: The version.
        reference: Its first predictions.
        window: Its recent ones, after those.
        wanted: Predictions of a whole reference.
    """

    model: LoggedModel
    reference: Sample
    window: Sample
    wanted: int

    def missing(self) -> str | None:
        """Return what is missing for a comparison; None if nothing is."""
        has, window = len(self.reference), len(self.window)
        if has < self.wanted:
            return f"the reference has {has:,} of {self.wanted:,} predictions; {self.wanted - has:,} more are needed"
        if window < MIN_WINDOW:
            return f"the window has {window:,} predictions after the reference; at least {MIN_WINDOW:,} are needed"
        return None


def check_drift(
    candidates: Sequence[Candidate], hours: float, level: float, earlier: DriftReport | None
) -> DriftReport:
    """Compare each window with its reference, and adjust the p-values for all comparisons.

    Args:
        candidates: The versions.
        hours: Length of the window.
        level: Probability of a false alarm of this check, at most.
        earlier: The check before, which says since when a quantity has drifted; None for the first one.

    Raises:
        SettingsError: The level is too low for so many versions.
    """
    comparable = sum(each.missing() is None for each in candidates)
    permutations = count_permutations(len(get_args(Quantity)) * comparable, level)
    differences = [
        [] if each.missing() else compare(each.reference, each.window, permutations) for each in candidates
    ]
    adjusted = iter(adjust_by_holm([difference.p_value for each in differences for difference in each]))
    since = _read_since(earlier)
    models = []
    for candidate, found in zip(candidates, differences, strict=True):
        comparisons = [_judge(candidate, each, next(adjusted), level, since) for each in found]
        models.append(_describe(candidate, comparisons))
    verdict = _overall(model.verdict for model in models)
    return DriftReport(
        checked_at=datetime.now(UTC),
        hours=hours,
        level=level,
        verdict=verdict,
        advice=ADVICE[verdict],
        models=models,
    )


def _judge(
    candidate: Candidate,
    difference: Difference,
    p_value: float,
    level: float,
    since: Mapping[Key, datetime | None],
) -> Comparison:
    drifted = p_value <= level
    model, start = candidate.model, to_datetime(candidate.window.first_us)
    key = (model.name, model.version, model.sha256, difference.check)
    return Comparison(
        check=difference.check,
        drifted=drifted,
        distance=difference.distance,
        p_value=p_value,
        what=difference.what,
        since=since.get(key, start) if drifted else None,
    )


def _describe(candidate: Candidate, comparisons: list[Comparison]) -> ModelDrift:
    missing = candidate.missing()
    verdict: Verdict = "no drift"
    if missing:
        verdict = "cannot say"
    elif any(each.drifted for each in comparisons):
        verdict = "drift"
    return ModelDrift(
        name=candidate.model.name,
        version=candidate.model.version,
        sha256=candidate.model.sha256,
        verdict=verdict,
        reference=_period(candidate.reference),
        window=_period(candidate.window),
        comparisons=comparisons,
        advice=missing or ADVICE[verdict],
    )


def _overall(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return "drift" if "drift" in found else "no drift" if "no drift" in found else "cannot say"


def _read_since(earlier: DriftReport | None) -> dict[Key, datetime | None]:
    return {
        (model.name, model.version, model.sha256, each.check): each.since
        for model in (earlier.models if earlier else ())
        for each in model.comparisons
        if each.drifted
    }


def _period(sample: Sample) -> Period:
    return Period(
        predictions=sample.total,
        compared=len(sample),
        first=to_datetime(sample.first_us),
        last=to_datetime(sample.last_us),
    )
