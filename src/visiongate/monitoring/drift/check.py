"""The check of all versions that answered recently, from samples to a report with verdicts and advice."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, get_args

import numpy as np

from visiongate.monitoring.drift.accuracy import LIMITS as ACCURACY_LIMITS
from visiongate.monitoring.drift.advice import ADVICE, FLOOD, NOTHING, explain, first_test
from visiongate.monitoring.drift.error_level import adjust_by_holm, spend
from visiongate.monitoring.drift.label_shift import LIMITS as SHIFT_LIMITS
from visiongate.monitoring.drift.label_shift import estimate_label_shift
from visiongate.monitoring.drift.report import (
    AccuracyEstimate,
    DriftReport,
    DriftTestResult,
    EstimatedShare,
    Finding,
    Harm,
    LabelShiftEstimate,
    ModelDrift,
    Origin,
    Period,
    ReferenceSummary,
    Verdict,
)
from visiongate.monitoring.drift.sample import Array, Sample
from visiongate.monitoring.drift.suite import UNITS, Pair, TestResult, run_test
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.times import to_datetime
from visiongate.records.drift_reference import DriftReference
from visiongate.settings.monitoring import DRIFT_TESTS, DriftTest, Monitoring

# With these, the images are others than those by which the confidence was calibrated, or the estimate leaves copies out.
UNLIKE: Final[frozenset[DriftTest]] = frozenset(
    {"flood", "brightness", "contrast", "novelty", "out_of_distribution"}
)
WAIT: Final = "wait for more predictions, or look further back with --window"
WITHOUT_COPIES: Final = " Of copies of one picture, one counts."
OUT_OF_FOLD: Final = (
    " The held-out images were predicted by the models of a cross-validation, trained with fewer images."
)
Key = tuple[str, str | None, str, DriftTest]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A version that answered in the window.

    Attributes:
        model: The version.
        held_out: Its reference; None without.
        first: Its first predictions; None if they are not needed, or too few.
        missing: What the reference lacks, in words; None if nothing.
        recent: The window, after the first predictions if they are needed.
        total: Predictions of the window, of which ``recent`` is an even selection.
        by_rollout: Whether ``first`` are the predictions beside the champion by which a rollout promoted the version. They take
            the place of the held-out images, which may lack what collected images taught it.
        files: Of each file of the window one prediction, or an even selection of these; None if ``recent`` has all predictions,
            or all files are different.
        file_count: Number of predictions that ``files`` is a selection of.
    """

    model: LoggedModel
    held_out: DriftReference | None
    first: Sample | None
    missing: str | None
    recent: Sample
    total: int
    by_rollout: bool = False
    files: Sample | None = None
    file_count: int = 0

    @cached_property
    def facts(self) -> Sample | None:
        """The images that those of the window are compared with."""
        if self.held_out is None or self.by_rollout:
            return self.first
        return Sample.of_reference(self.held_out)

    @cached_property
    def outputs(self) -> Sample | None:
        """The outputs of the served model: those of a cross-validation are of other models."""
        held_out = self.held_out
        return self.facts if held_out is not None and held_out.protocol == "holdout" else self.first

    @property
    def origin(self) -> Origin | None:
        """Where the reference comes from; None without one."""
        if self.by_rollout:
            return "predictions beside the champion"
        if self.held_out is None:
            return None if self.first is None else "first predictions"
        return "held-out images" if self.first is None else "held-out images and first predictions"


@dataclass(frozen=True, eq=False)
class _Tested:
    candidate: Candidate
    pair: Pair
    results: Mapping[DriftTest, TestResult]


@dataclass(frozen=True)
class _Levels:
    """What p-values are compared with: those of a new finding, and of one that the check before had."""

    new: float
    known: float
    since: Mapping[Key, datetime | None]


def check_drift(
    candidates: Sequence[Candidate], settings: Monitoring, earlier: DriftReport | None, now: datetime
) -> DriftReport:
    """Compare each window with its reference, and adjust the p-values for all tests and versions.

    Args:
        candidates: The versions.
        settings: Which tests to make, and how.
        earlier: The check before, which says since when, and how much of the yearly level is left; None for the first one.
        now: The end of the windows.
    """
    drift = settings.drift
    hours = None if earlier is None else (now - earlier.checked_at) / timedelta(hours=1)
    whole = spend(drift.yearly_level, drift.window_hours, None)
    level = spend(drift.yearly_level, drift.window_hours, hours)
    tested = [_test(each, settings) for each in candidates]
    adjusted = iter(adjust_by_holm([result.p_value for each in tested for result in each.results.values()]))
    # What was found goes on until a look with a whole window would no longer find it.
    levels = _Levels(level, whole, _read_since(earlier))
    models = [_describe(each, adjusted, levels, settings) for each in tested]
    verdict = _overall(model.verdict for model in models)
    return DriftReport(
        checked_at=now,
        hours=drift.window_hours,
        yearly_level=drift.yearly_level,
        level=level,
        verdict=verdict,
        harm=_worst(model.harm for model in models),
        advice=next((each.advice for each in models if each.verdict == verdict), WAIT),
        models=models,
    )


def _test(candidate: Candidate, settings: Monitoring) -> _Tested:
    drift = settings.drift
    pair = Pair(
        candidate.model.classes,
        candidate.facts,
        candidate.outputs,
        candidate.held_out,
        candidate.recent,
        drift,
        candidate.by_rollout,
        candidate.files,
    )
    tests = [test for test in DRIFT_TESTS if settings.rules[test].enabled]
    if len(candidate.recent) < drift.min_images:
        tests = []
    elif len(pair.window) < drift.min_images:
        # A flood of one picture leaves too little for the others.
        tests = [test for test in tests if test == "flood"]
    results = {test: result for test in tests if (result := run_test(test, pair))}
    return _Tested(candidate, pair, results)


def _describe(
    tested: _Tested, adjusted: Iterator[float], levels: _Levels, settings: Monitoring
) -> ModelDrift:
    candidate, pair = tested.candidate, tested.pair
    model = candidate.model
    results, findings = [], []
    for test, result in tested.results.items():
        judged = _judge(tested, test, next(adjusted), levels, settings)
        results.append(judged)
        if judged.drifted:
            findings.append(_find(tested, judged, result, levels, settings))
    verdict = _verdict(findings, results)
    effects = {each.test: each.effect for each in findings if each.severity != "info"}
    repeated = tested.results["flood"].cause if "flood" in effects else None
    causes = explain(effects, repeated or FLOOD)
    window = _period(candidate, pair)
    enough = len(candidate.recent) >= settings.drift.min_images
    return ModelDrift(
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        verdict=verdict,
        harm=_worst(each.harm for each in findings),
        reference=_summarize(candidate),
        window=window,
        causes=causes,
        findings=findings,
        tests=results,
        accuracy=_accuracy(candidate, pair, effects.keys(), window.copies) if enough else None,
        label_shift=_label_shift(candidate, pair) if enough else None,
        advice=_advise(candidate, verdict, findings, causes, settings.drift.min_images),
    )


def _judge(
    tested: _Tested, test: DriftTest, p_value: float, levels: _Levels, settings: Monitoring
) -> DriftTestResult:
    result = tested.results[test]
    level = levels.known if _key(tested.candidate.model, test) in levels.since else levels.new
    return DriftTestResult(
        test=test,
        drifted=p_value <= level and result.effect >= settings.rules[test].min_effect,
        effect=result.effect,
        unit=UNITS[test],
        p_value=p_value,
        what=result.what,
    )


def _find(
    tested: _Tested, judged: DriftTestResult, result: TestResult, levels: _Levels, settings: Monitoring
) -> Finding:
    rule, model = settings.rules[judged.test], tested.candidate.model
    times = tested.pair.recent.times if judged.test == "flood" else tested.pair.window.times
    since = levels.since.get(_key(model, judged.test)) or to_datetime(_find_onset(times, result))
    return Finding(
        **judged.model_dump(),
        severity=rule.severity,
        harm=rule.harm,
        since=since,
        advice=rule.advice or ADVICE[judged.test],
    )


def _find_onset(times: Array, result: TestResult) -> int:
    """Return the time at which a change of the mean most likely began: the change point of the largest likelihood."""
    if result.scores is None:
        return int(times[0])
    scores, usual = result.scores
    rest = (scores - usual)[::-1].cumsum()[::-1]
    return int(times[int((rest**2 / np.arange(len(rest), 0, -1)).argmax())])


def _verdict(findings: Sequence[Finding], results: Sequence[DriftTestResult]) -> Verdict:
    if any(each.severity != "info" for each in findings):
        return "drift"
    return "no drift" if any(each.test != "flood" for each in results) else "cannot say"


def _advise(
    candidate: Candidate, verdict: Verdict, findings: Sequence[Finding], causes: Sequence[str], wanted: int
) -> str:
    if verdict == "no drift":
        return NOTHING
    if verdict == "cannot say":
        few = f"the window has {len(candidate.recent):,} predictions; at least {wanted:,} different images are needed"
        return candidate.missing or few
    advice = {each.test: each.advice for each in findings}
    chosen = [first_test(cause, advice.keys()) for cause in causes] + [
        test for test in ("accuracy",) if test in advice
    ]
    return "; ".join(dict.fromkeys(advice[test] for test in chosen if test))


def _accuracy(
    candidate: Candidate, pair: Pair, found: Collection[DriftTest], copies: int
) -> AccuracyEstimate | None:
    held_out = candidate.held_out
    if held_out is None or (estimate := pair.accuracy) is None:
        return None
    return AccuracyEstimate(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        reference=held_out.accuracy,
        reliable=not UNLIKE & set(found),
        limits=ACCURACY_LIMITS + (WITHOUT_COPIES if copies else "") + _caveat(held_out),
    )


def _label_shift(candidate: Candidate, pair: Pair) -> LabelShiftEstimate | None:
    if (held_out := candidate.held_out) is None:
        return None
    names = candidate.model.classes
    predicted = np.bincount(pair.window.predicted, minlength=len(names))
    shift = estimate_label_shift(held_out.confusion, predicted)
    usual = held_out.class_counts / held_out.class_counts.sum()
    rows = zip(names, shift.shares, shift.low, shift.high, usual, shift.changed.tolist(), strict=True)
    classes = [
        EstimatedShare(name=name, share=share, low=low, high=high, reference=reference, changed=changed)
        for name, share, low, high, reference, changed in rows
    ]
    return LabelShiftEstimate(classes=classes, limits=SHIFT_LIMITS + _caveat(held_out))


def _caveat(held_out: DriftReference) -> str:
    return OUT_OF_FOLD if held_out.protocol == "cross_validation" else ""


def _summarize(candidate: Candidate) -> ReferenceSummary:
    held_out, first = candidate.held_out, candidate.first
    is_held_out = held_out is not None and not candidate.by_rollout
    images = held_out.images if held_out is not None and is_held_out else len(first or ())
    accuracy = None if held_out is None else held_out.accuracy
    return ReferenceSummary(
        origin=candidate.origin, images=images, accuracy=accuracy, missing=candidate.missing
    )


def _period(candidate: Candidate, pair: Pair) -> Period:
    times = candidate.recent.times
    first, last = (int(times[0]), int(times[-1])) if len(times) else (None, None)
    compared = len(pair.window) if len(times) else 0
    return Period(
        predictions=candidate.total,
        copies=candidate.total - _count_pictures(candidate, compared),
        compared=compared,
        first=to_datetime(first),
        last=to_datetime(last),
    )


def _count_pictures(candidate: Candidate, compared: int) -> int:
    """Return about how many different pictures the window has, if so many of a selection are."""
    if candidate.files is not None:
        return round(candidate.file_count * compared / len(candidate.files))
    return round(candidate.total * compared / max(1, len(candidate.recent)))


def _overall(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return "drift" if "drift" in found else "no drift" if "no drift" in found else "cannot say"


def _worst(harms: Iterable[Harm]) -> Harm:
    order: tuple[Harm, ...] = get_args(Harm)
    return max(harms, key=order.index, default="none")


def _read_since(earlier: DriftReport | None) -> dict[Key, datetime | None]:
    return {
        (model.name, model.version, model.sha256, each.test): each.since
        for model in (earlier.models if earlier else ())
        for each in model.findings
    }


def _key(model: LoggedModel, test: DriftTest) -> Key:
    return (model.name, model.version, model.sha256, test)
