"""`visiongate drift`: what it finds in the prediction log, and how the service tells Prometheus."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pooled_models import write_pooled_model
from served import application
from visiongate.monitoring import prediction_log
from visiongate.monitoring.database import Database
from visiongate.monitoring.drift_report import Comparison, DriftReport, ModelDrift, Period
from visiongate.monitoring.drift_store import record_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(**drifted: bool) -> DriftReport:
    period = Period(predictions=0, first=None, last=None)
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


def test_the_service_exports_the_latest_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "DRIFT_SECONDS", 0.05)
    path = tmp_path / "model.onnx"
    write_pooled_model(path)
    address = f"sqlite:///{tmp_path}/log.sqlite"
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": address,
    }

    async def check() -> None:
        async with application(path, environment) as app:

            async def drift() -> list[str]:
                lines = (await app.client.get("/metrics")).text.splitlines()
                return [line for line in lines if line.startswith("visiongate_drift")]

            async def wait_for(count: int) -> list[str]:
                end = time.monotonic() + 10
                while len(found := await drift()) != count:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.02)
                return found

            assert await drift() == []
            database = Database(address)
            record_report(database.engine, report(classes=True, confidence=False))
            assert await wait_for(3) == [
                'visiongate_drift{check="classes"} 1.0',
                'visiongate_drift{check="confidence"} 0.0',
                "visiongate_drift_checked_timestamp_seconds 1.7672256e+09",
            ]
            # Too few predictions: nothing is known.
            later = report().model_copy(update={"checked_at": datetime.now(UTC)})
            record_report(database.engine, later)
            await wait_for(1)
            database.close()

    asyncio.run(check())
