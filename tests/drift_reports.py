"""Results of drift checks, as `visiongate drift` records them."""

from datetime import UTC, datetime

from visiongate.monitoring.drift.report import (
    AccuracyEstimate,
    DriftReport,
    DriftTestResult,
    Finding,
    ModelDrift,
    Period,
    ReferenceSummary,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_report(**drifted: bool) -> DriftReport:
    """Return the report of one version, by what each of its tests found."""
    tests = [
        DriftTestResult(test=test, drifted=value, effect=0.5, unit="", p_value=0.5, what="")  # type: ignore[arg-type]
        for test, value in drifted.items()
    ]
    findings = [
        Finding(**each.model_dump(), severity="warning", harm="possible", since=NOW, advice="look")
        for each in tests
        if each.drifted
    ]
    verdict = "drift" if findings else "no drift"
    model = ModelDrift(
        name="pets",
        version="3",
        sha256="a" * 64,
        verdict=verdict,
        harm="possible" if findings else "none",
        reference=ReferenceSummary(origin="held-out images", images=1000, accuracy=0.9, missing=None),
        window=Period(predictions=0, compared=0, first=None, last=None),
        causes=[],
        findings=findings,
        tests=tests,
        accuracy=AccuracyEstimate(value=0.8, low=0.7, high=0.9, reference=0.9, reliable=True, limits=""),
        label_shift=None,
        advice="",
    )
    return DriftReport(
        checked_at=NOW,
        hours=168,
        yearly_level=0.05,
        level=0.001,
        verdict=verdict,
        harm=model.harm,
        advice="",
        models=[model],
    )
