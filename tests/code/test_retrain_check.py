"""A new model is due after harm or with new labels, and never after drift alone."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, select

from drift_references import make_reference
from drift_reports import make_report
from logged_rollouts import CHAMPION, Log, Shown
from visiongate.cli import main
from visiongate.monitoring.decisions import read_decisions
from visiongate.monitoring.drift.advice import CAMERA, CAUSES, FLOOD
from visiongate.monitoring.drift.store import record_report
from visiongate.monitoring.harm import measure_harm
from visiongate.monitoring.retrain_report import RetrainReport
from visiongate.monitoring.tables import drift_references, models
from visiongate.monitoring.times import WEEK_US, now_us
from visiongate.monitoring.votes import Vote
from visiongate.records.collected import COLUMNS
from visiongate.records.drift_reference import encode_reference
from visiongate.settings.rollout import RetrainRules

RULES = RetrainRules()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.chdir(tmp_path)
    found = Log(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", found.address)
    return found


def _run(expected: int) -> RetrainReport:
    with pytest.raises(SystemExit) as ended:
        main(["retrain-check", "--json", "retrain.json"])
    report = RetrainReport.model_validate_json(Path("retrain.json").read_text())
    assert ended.value.code == expected
    return report


def _due(report: RetrainReport) -> dict[str, bool | None]:
    return {check.check: check.due for check in report.checks}


def _add_reference(log: Log, accuracy: float) -> None:
    rows = 2000
    predicted = np.zeros(rows, np.int16)
    labels = (np.arange(rows) >= rows * accuracy).astype(np.int16)
    confusion = np.zeros((2, 2), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    made = replace(
        make_reference(rows=rows, model_sha256=CHAMPION.sha256),
        labels=labels,
        predicted=predicted,
        confusion=confusion,
        class_counts=confusion.sum(axis=1),
    )
    content = encode_reference(made)
    with log.database.engine.begin() as connection:
        number = connection.scalars(select(models.c.model_id)).one()
        values = {"model_id": number, "content": content, "time_us": now_us()}
        connection.execute(insert(drift_references).values(values))


def _add_drift(  # noqa: PLR0913 - what is found
    log: Log,
    harm: str,
    accuracy: float,
    hours_ago: float = 1.0,
    *,
    reliable: bool = True,
    causes: Sequence[str] = (),
) -> None:
    report = make_report(brightness=True)
    [model] = report.models
    assert model.accuracy is not None
    values = {"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "reliable": reliable}
    estimate = model.accuracy.model_copy(update=values)
    found = model.model_copy(update={"harm": harm, "accuracy": estimate, "causes": list(causes)})
    checked_at = datetime.now(UTC) - timedelta(hours=hours_ago)
    record_report(
        log.database.engine, report.model_copy(update={"checked_at": checked_at, "models": [found]}), 90
    )


def test_measured_harm_is_a_reason(log: Log) -> None:
    log.show([Shown(champion=number % 4 > 0) for number in range(200)])
    _add_reference(log, 0.95)

    report = _run(1)

    assert report.verdict == "retrain"
    assert _due(report)["measured harm"] is True
    assert report.accuracy is not None
    assert report.accuracy.value == 0.75
    assert (report.labels, report.version) == (200, "1")


def test_an_accuracy_as_on_held_out_images_is_none(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.show([Shown(champion=number % 20 > 0) for number in range(200)])
    _add_reference(log, 0.95)

    assert _due(_run(0)) == {"measured harm": False, "estimated harm": None, "new labels": False}
    assert "no need: keep the champion" in capsys.readouterr().out


def test_drift_alone_is_no_reason(log: Log) -> None:
    log.show([Shown(labeled=False)] * 10)
    _add_drift(log, "possible", 0.94)

    assert _due(_run(0))["estimated harm"] is False


def test_estimated_harm_is_a_reason(log: Log) -> None:
    log.show([Shown(labeled=False)] * 10)
    _add_drift(log, "estimated", 0.7)

    report = _run(1)

    assert _due(report) == {"measured harm": None, "estimated harm": True, "new labels": False}
    assert "70.0% (68.0% to 72.0%)" in report.checks[1].reason


@pytest.mark.parametrize("causes", [(CAMERA, CAUSES[1].name), (FLOOD, CAMERA)])
def test_a_broken_camera_is_repaired_and_not_learned(
    causes: tuple[str, ...], log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.show([Shown(labeled=False)] * 10)
    _add_drift(log, "estimated", 0.4, reliable=False, causes=causes)

    report = _run(2)

    assert _due(report)["estimated harm"] is None
    assert report.checks[1].reason.startswith(f"repair first: {causes[0]}; the drift check estimates")
    assert "cannot say: repair what `visiongate drift` names first" in capsys.readouterr().out


@pytest.mark.parametrize("reliable", [True, False])
def test_a_camera_is_named_although_labels_are_reason_enough(log: Log, reliable: bool) -> None:  # noqa: FBT001
    log.show([Shown(champion=number % 4 > 0) for number in range(200)])
    _add_reference(log, 0.95)
    _add_drift(log, "possible", 0.94, reliable=reliable, causes=[CAMERA])

    assert f"names first ({CAMERA}): a fault" in _run(1).advice


def test_labels_count_with_a_broken_camera_too(log: Log) -> None:
    log.show([Shown(champion=number % 4 > 0) for number in range(200)])
    _add_reference(log, 0.95)
    _add_drift(log, "estimated", 0.4, reliable=False, causes=[CAMERA])

    assert _due(_run(1)) == {"measured harm": True, "estimated harm": None, "new labels": False}


@pytest.mark.parametrize(("reliable", "cause"), [(True, CAMERA), (False, CAUSES[1].name)])
def test_harm_of_a_new_class_or_of_known_images_is_a_reason(
    reliable: bool,  # noqa: FBT001
    cause: str,
    log: Log,
) -> None:
    log.show([Shown(labeled=False)] * 10)
    _add_drift(log, "estimated", 0.7, reliable=reliable, causes=[cause, CAMERA])

    assert _due(_run(1))["estimated harm"] is True


def test_an_old_drift_check_says_nothing(log: Log) -> None:
    log.show([Shown(labeled=False)] * 10)
    _add_drift(log, "estimated", 0.7, hours_ago=337)

    assert _run(2).verdict == "cannot say"


def test_corrections_that_people_volunteer_are_no_harm(log: Log) -> None:
    log.show([Shown(champion=False, asked=False)] * 300)
    _add_reference(log, 0.95)

    assert _due(_run(2))["measured harm"] is None


def test_enough_new_labels_are_a_reason_until_they_are_collected(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONGATE_MONITORING__RETRAIN__NEW_LABELS", "20")
    images = [f"{number:064x}" for number in range(30)]
    log.show([Shown(image=image, kept=True) for image in images])
    log.show([Shown(kept=False)] * 30)

    assert _due(_run(1))["new labels"] is True
    rows = [f"{image},cat,png" + "," * (len(COLUMNS) - 3) for image in images[:15]]
    Path("data").mkdir()
    Path("data/collected.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))
    assert _due(_run(2))["new labels"] is False


def test_a_new_champion_starts_anew(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONGATE_MONITORING__RETRAIN__NEW_LABELS", "20")
    log.show([Shown(kept=True)] * 30)
    log.champion = log.challenger
    # The log's predictions are a millisecond apart, the last one is of now.
    time.sleep(0.05)
    log.show([Shown(kept=True)] * 10)

    report = _run(2)

    assert (report.version, _due(report)["new labels"]) == ("2", False)
    assert report.checks[2].reason.startswith("10 images")


def test_without_predictions_the_log_cannot_say(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    assert log.database
    report = _run(2)

    assert capsys.readouterr().out.startswith("No prediction was recorded: there is no champion to judge.\n")

    assert (report.verdict, report.name) == ("cannot say", None)


def test_the_decision_is_recorded(log: Log) -> None:
    _run(2)

    [recorded] = read_decisions(log.database.engine, "retrain", 5)
    assert json.loads(recorded)["verdict"] == "cannot say"


def _votes(correct: list[bool], *, given_by: str | None = None, week: int = 0) -> list[Vote]:
    return [Vote(None, given_by, None, each, week * WEEK_US + number) for number, each in enumerate(correct)]


def test_one_liar_measures_no_harm() -> None:
    honest = _votes([True] * 190 + [False] * 10, given_by="honest")
    lies = _votes([False] * 300, given_by="liar", week=1)

    assert measure_harm([*honest, *lies], 0.95, RULES).shown is False
    lenient = RULES.model_copy(update={"one_giver_decides": True})
    assert measure_harm([*honest, *lies], 0.95, lenient).shown is True


def test_few_labels_measure_nothing() -> None:
    assert measure_harm(_votes([False] * 49), 0.95, RULES).shown is None
    assert measure_harm(_votes([False] * 50), 0.95, RULES).shown is True


def test_a_fall_within_the_margin_is_accepted() -> None:
    votes = _votes([number % 100 >= 6 for number in range(3000)])

    assert measure_harm(votes, 0.95, RULES).shown is False
    assert measure_harm(votes, 0.95, RULES.model_copy(update={"margin": 0.0})).shown is False
    assert measure_harm(votes, 0.99, RULES).shown is True
