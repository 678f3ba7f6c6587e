"""Rollouts and retrain checks of a prediction log in PostgreSQL say the same as of one in SQLite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from logged_rollouts import Log, draw_arms, draw_pairs
from postgres import PostgresServer, needs_postgres, postgres_server
from visiongate.monitoring.retrain_check import judge_retrain
from visiongate.monitoring.retrain_store import read_retrain_evidence
from visiongate.monitoring.rollout import judge_rollout
from visiongate.monitoring.rollout_report import RolloutReport
from visiongate.monitoring.rollout_store import read_rollouts
from visiongate.monitoring.tables import failures, models
from visiongate.monitoring.times import now_us
from visiongate.settings.collecting import CollectRules
from visiongate.settings.rollout import RetrainRules, RolloutRules

pytestmark = [needs_postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def _fill(log: Log) -> None:
    log.show([*draw_pairs(200, 0.7, 0.9), *draw_arms(400, 0.8, 0.9)], shadow=True)
    with log.database.engine.begin() as connection:
        number = connection.scalars(select(models.c.model_id).where(models.c.version == "2")).one()
        values = {"time_us": now_us(), "model_id": number, "role": "canary", "kind": "error", "count": 2}
        connection.execute(insert(failures).values([values, values]))


def _judge(log: Log) -> RolloutReport:
    return judge_rollout(read_rollouts(log.database.engine, 0), RolloutRules())


def test_both_databases_say_the_same(server: PostgresServer, tmp_path: Path) -> None:
    remote, local = Log(tmp_path, address=server.address(server.new_database())), Log(tmp_path)
    for log in (remote, local):
        _fill(log)

    there, here = _judge(remote), _judge(local)

    volatile = {"checked_at": True, "stages": {"__all__": {"first", "last"}}}
    assert there.model_dump(exclude=volatile) == here.model_dump(exclude=volatile)
    assert [stage.stage for stage in there.stages] == ["shadow", "canary"]
    assert there.stages[1].challenger_did.failures == 4
    for log in (remote, local):
        evidence = read_retrain_evidence(log.database.engine, "pets", (), CollectRules())
        assert len(evidence.votes) > 400
        assert judge_retrain(evidence, RetrainRules()).verdict == "cannot say"
    remote.database.close()
