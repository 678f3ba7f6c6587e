"""What a machine recorded while its clock was ahead decides nothing until then."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from drift_reports import make_report
from logged_rollouts import Log, draw_arms, draw_pairs
from visiongate.monitoring.decisions import read_decisions, read_latest_decisions, record_decision
from visiongate.monitoring.drift.store import read_candidates, record_report
from visiongate.monitoring.retrain_report import RetrainReport
from visiongate.monitoring.retrain_store import read_retrain_evidence
from visiongate.monitoring.rollout_store import read_rollouts
from visiongate.monitoring.standing_store import read_standing
from visiongate.monitoring.tables import decisions, predictions
from visiongate.monitoring.times import DAY_US, HOUR_US, MINUTE_US
from visiongate.settings.collecting import CollectRules
from visiongate.settings.monitoring import Drift

AHEAD = timedelta(days=900)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def _move(log: Log, by_us: int) -> None:
    """Move all recorded predictions by some time."""
    with log.database.engine.begin() as connection:
        connection.execute(update(predictions).values(time_us=predictions.c.time_us + by_us))


def _find_champion(log: Log) -> str | None:
    evidence = read_retrain_evidence(log.database.engine, None, (), CollectRules())
    assert evidence.champion
    return evidence.champion.version


def test_the_version_that_answers_is_that_of_now(log: Log) -> None:
    log.show(draw_pairs(30, 0.9, 0.9))
    _move(log, 900 * DAY_US)
    log.champion = log.challenger
    log.show(draw_pairs(20, 0.9, 0.9))

    assert _find_champion(log) == "2"
    candidates = read_candidates(log.database.engine, 0, Drift())
    assert [(each.model.version, each.total) for each in candidates] == [("2", 20)]


def test_the_clocks_of_replicas_may_differ_a_little(log: Log) -> None:
    log.show(draw_pairs(30, 0.9, 0.9))
    _move(log, 10 * MINUTE_US)

    assert _find_champion(log) == "1"
    [candidate] = read_candidates(log.database.engine, 0, Drift())
    assert candidate.total == 30


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_an_old_challenger_is_not_judged_for_ever(stage: str, log: Log) -> None:
    images = draw_pairs(30, 0.9, 0.9) if stage == "shadow" else draw_arms(60, 0.9, 0.9, 0.5)
    log.show(images, shadow=stage == "shadow")
    [evidence] = read_rollouts(log.database.engine, 0)
    assert evidence.stage == stage
    _move(log, 900 * DAY_US)

    assert read_rollouts(log.database.engine, 0) == []


def test_the_pairs_of_a_wrong_clock_do_not_count(log: Log) -> None:
    log.show(draw_pairs(30, 0.1, 0.9), shadow=True)
    _move(log, 2 * HOUR_US)
    log.show(draw_pairs(20, 0.9, 0.9), shadow=True)

    [evidence] = read_rollouts(log.database.engine, 0)

    assert (len(evidence.votes), evidence.challenger_did.predictions) == (20, 20)


def test_the_page_shows_the_checks_and_decisions_of_now(log: Log) -> None:
    engine, now = log.database.engine, datetime.now(UTC)
    for ahead, verdict in ((AHEAD, "retrain"), (timedelta(0), "no need")):
        report = RetrainReport(
            checked_at=now + ahead,
            verdict=verdict,
            advice="",
            name=None,
            version=None,
            sha256=None,
            checks=[],
            accuracy=None,
            labels=0,
        )
        if verdict == "retrain":
            record_decision(engine, report, 90)
            assert read_decisions(engine, "retrain", 5) == []
            assert read_latest_decisions(engine) == ()
            drift = make_report(classes=True)
            record_report(engine, drift.model_copy(update={"checked_at": now + ahead}), 90)
            assert read_standing(engine) == read_standing(engine).model_copy(
                update={"drift": None, "checks": [], "decisions": []}
            )
        else:
            record_decision(engine, report, 90)
    [recorded] = read_decisions(engine, "retrain", 5)
    assert json.loads(recorded)["verdict"] == "no need"
    # The next one deletes it.
    with engine.connect() as connection:
        assert connection.scalars(select(decisions.c.verdict)).all() == ["no need"]
