"""Results of drift checks, as `visiongate drift` records them."""

from datetime import UTC, datetime

from visiongate.monitoring.drift_report import Comparison, DriftReport, ModelDrift, Period

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_report(**drifted: bool) -> DriftReport:
    """Return the report of one version, by what it says about each quantity."""
    period = Period(predictions=0, compared=0, first=None, last=None)
    comparisons = [
        Comparison(check=check, drifted=value, distance=0.5, p_value=0.5, what="", since=None)  # type: ignore[arg-type]
        for check, value in drifted.items()
    ]
    model = ModelDrift(
        name="pets",
        version="3",
        sha256="a" * 64,
        verdict="drift" if any(drifted.values()) else "no drift",
        reference=period,
        window=period,
        comparisons=comparisons,
        advice="",
    )
    return DriftReport(checked_at=NOW, hours=24, level=0.01, verdict=model.verdict, advice="", models=[model])
