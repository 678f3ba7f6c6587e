"""A version that a rollout promoted is compared with the images by which it was promoted."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select

from drift_references import make_reference
from logged_rollouts import CHALLENGER, Log, Shown, draw_pairs
from visiongate.monitoring.collection import forget_image
from visiongate.monitoring.drift.check import check_drift
from visiongate.monitoring.drift.report import ModelDrift
from visiongate.monitoring.drift.sample import Sample
from visiongate.monitoring.drift.store import read_candidates, record_rollout
from visiongate.monitoring.tables import drift_references, first_predictions, models, predictions
from visiongate.monitoring.times import now_us
from visiongate.records.drift_reference import encode_reference
from visiongate.settings.monitoring import Drift, Monitoring

DRIFT = Drift()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A version that was tried as a shadow, and answers now; its held-out images are brighter and darker."""
    log = Log(tmp_path)
    log.show(draw_pairs(150, 0.7, 0.9), shadow=True)
    log.champion = log.challenger
    log.show(draw_pairs(150, 0.9, 0.9, seed=1))
    content = encode_reference(make_reference(rows=500, model_sha256=CHALLENGER.sha256))
    with log.database.engine.begin() as connection:
        number = connection.scalars(select(models.c.model_id).where(models.c.version == "2")).one()
        values = {"model_id": number, "content": content, "time_us": now_us()}
        connection.execute(insert(drift_references).values(values))
    return log


def _check(log: Log) -> ModelDrift:
    candidates = read_candidates(log.database.engine, 0, DRIFT)
    report = check_drift(candidates, Monitoring(), None, datetime.now(UTC))
    [model] = [each for each in report.models if each.version == "2"]
    return model


def _alarms(model: ModelDrift) -> set[str]:
    return {finding.test for finding in model.findings}


def test_the_images_of_the_rollout_take_the_place_of_the_held_out_ones(log: Log) -> None:
    before = _check(log)
    assert before.reference.origin == "held-out images"
    assert "brightness" in _alarms(before)

    assert record_rollout(log.database.engine, CHALLENGER.sha256, DRIFT) == 150

    after = _check(log)
    assert (after.reference.origin, after.reference.images) == ("predictions beside the champion", 150)
    assert not _alarms(after)


def test_retention_does_not_delete_them(log: Log) -> None:
    record_rollout(log.database.engine, CHALLENGER.sha256, DRIFT)
    with log.database.engine.begin() as connection:
        connection.execute(delete(predictions).where(predictions.c.shadow_of.is_not(None)))

    assert _check(log).reference.origin == "predictions beside the champion"


def test_few_different_images_are_not_recorded(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.show([Shown(challenger=True, image="f" * 64)] * 300, shadow=True)

    assert record_rollout(log.database.engine, CHALLENGER.sha256, DRIFT) == 0


def test_a_forgotten_image_is_not_among_them(log: Log) -> None:
    with log.database.engine.connect() as connection:
        tried = select(predictions.c.image_sha256).where(predictions.c.shadow_of.is_not(None))
        forgotten = connection.scalars(tried.limit(1)).one()
    record_rollout(log.database.engine, CHALLENGER.sha256, DRIFT)

    assert forget_image(log.database.engine, forgotten) == 2

    with log.database.engine.connect() as connection:
        recorded = Sample.decode(connection.scalars(select(first_predictions.c.content)).one())
    assert len(recorded) == 149
    assert forgotten not in recorded.image
