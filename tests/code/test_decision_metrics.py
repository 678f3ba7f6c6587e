"""The latest decisions, as the thread of the log reads them and the metrics show them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import Engine

from exported_metrics import RetrainDecision, RolloutDecision, read_service
from visiongate.monitoring.database import Database
from visiongate.monitoring.decision_report import APPLIED, VERDICTS, LatestDecision
from visiongate.monitoring.decisions import read_latest_decisions, record_decision
from visiongate.monitoring.retrain_report import RetrainVerdict
from visiongate.monitoring.rollout_report import RolloutVerdict
from visiongate.monitoring.watch import Watch

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Database(f"sqlite:///{tmp_path}/log.sqlite").engine


def test_the_verdicts_are_those_of_the_commands() -> None:
    assert set(VERDICTS["rollout"]) == {*get_args(RolloutVerdict), APPLIED}
    assert set(VERDICTS["retrain"]) == set(get_args(RetrainVerdict))


def test_the_latest_decision_of_each_kind_is_read(engine: Engine) -> None:
    watch = Watch(hours=168)
    watch.refresh(engine)
    assert watch.decisions == ()
    for days, verdict in ((1, "promote"), (0, "hold")):
        made = RolloutDecision(checked_at=NOW - timedelta(days=days), verdict=verdict, advice="")
        record_decision(engine, made, days=90)
    record_decision(engine, RetrainDecision(checked_at=NOW, verdict="retrain", advice=""), days=90)

    watch = Watch(hours=168)
    watch.refresh(engine)

    assert watch.decisions == (
        LatestDecision("retrain", "retrain", NOW.timestamp()),
        LatestDecision("rollout", "hold", NOW.timestamp()),
    )


def test_a_rollout_that_was_applied_waits_for_nobody(engine: Engine) -> None:
    for applied, expected in (([], "promote"), (["version 2 is champion"], APPLIED)):
        made = RolloutDecision(checked_at=datetime.now(UTC), verdict="promote", advice="", applied=applied)
        record_decision(engine, made, days=90)

        assert [found.verdict for found in read_latest_decisions(engine)] == [expected]


def test_each_verdict_has_a_series(tmp_path: Path) -> None:
    series, _ = read_service(tmp_path)

    found = {(each["kind"], each["verdict"]) for each in series["visiongate_decision"]}
    assert found == {(kind, verdict) for kind, verdicts in VERDICTS.items() for verdict in verdicts}
    assert {each["kind"] for each in series["visiongate_decision_timestamp_seconds"]} == set(VERDICTS)
