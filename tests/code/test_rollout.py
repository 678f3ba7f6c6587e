"""Rollouts: what a challenger must show beside the champion, and what does not count."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, select

from logged_rollouts import CHALLENGER, CHAMPION, Log, Shown, draw_arms, draw_pairs
from visiongate.cli import main
from visiongate.monitoring.decisions import read_decisions
from visiongate.monitoring.rollout import Exposure, RolloutEvidence, judge_rollout, judge_stage
from visiongate.monitoring.rollout_report import RolloutReport, StageReport
from visiongate.monitoring.rollout_store import read_rollouts
from visiongate.monitoring.tables import decisions, failures, models
from visiongate.monitoring.times import now_us
from visiongate.monitoring.votes import Vote
from visiongate.settings.rollout import RolloutRules

RULES = RolloutRules(min_labels=50, min_answers=100)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def _judge(log: Log, rules: RolloutRules = RULES) -> StageReport:
    [stage] = judge_rollout(read_rollouts(log.database.engine, 0), rules).stages
    return stage


def _verdicts(stage: StageReport) -> dict[str, str]:
    return {check.check: check.verdict for check in stage.checks}


def test_a_shadow_that_is_better_is_promoted(log: Log) -> None:
    log.show(draw_pairs(400, 0.7, 0.9), shadow=True)

    stage = _judge(log)

    assert stage.verdict == "promote"
    assert (stage.stage, stage.challenger.version, stage.champion.version) == ("shadow", "2", "1")
    assert stage.difference is not None
    assert 0 < stage.difference.low < 0.2 < stage.difference.high
    assert stage.labels == 400
    assert stage.wins - stage.losses == pytest.approx(400 * stage.difference.value)
    assert stage.agreement == pytest.approx(1 - (stage.wins + stage.losses) / 400)


def test_both_are_counted_from_the_first_image_of_the_shadow(log: Log) -> None:
    log.show(draw_pairs(20, 0.9, 0.9), shadow=True)

    stage = _judge(log)

    assert (stage.champion_did.predictions, stage.challenger_did.predictions) == (20, 20)


def test_a_shadow_that_is_worse_is_rolled_back(log: Log) -> None:
    log.show(draw_pairs(400, 0.9, 0.7), shadow=True)

    assert _verdicts(_judge(log)) == {"accuracy": "roll back", "errors": "promote"}


def test_a_shadow_that_is_no_better_is_held(log: Log) -> None:
    log.show(draw_pairs(400, 0.8, 0.8), shadow=True)

    assert _judge(log).verdict == "hold"


def test_a_margin_lets_an_equal_shadow_pass(log: Log) -> None:
    log.show([Shown(challenger=True)] * 390 + [Shown(champion=False, challenger=True)] * 10, shadow=True)

    assert _judge(log, RULES.model_copy(update={"margin": 0.05})).verdict == "promote"


def test_volunteered_corrections_do_not_count(log: Log) -> None:
    # Who corrects the champion's mistakes makes every challenger look better.
    corrections = [Shown(champion=False, challenger=True, asked=False)] * 300
    log.show([*corrections, *draw_pairs(20, 0.9, 0.9)], shadow=True)

    stage = _judge(log)

    assert stage.verdict == "hold"
    assert (stage.labels, stage.volunteered) == (20, 300)


def test_one_image_has_one_vote(log: Log) -> None:
    again = [Shown(champion=False, challenger=True, image="c" * 64)] * 300
    log.show([*again, *draw_pairs(100, 0.9, 0.9)], shadow=True)

    stage = _judge(log)

    assert stage.verdict == "hold"
    assert stage.labels == 101


def test_one_liar_decides_nothing_beside_others(log: Log) -> None:
    lies = [Shown(champion=False, challenger=True, given_by="liar")] * 300
    honest = [replace(each, given_by="honest") for each in draw_pairs(200, 0.9, 0.9)]
    log.show([*lies, *honest], shadow=True)

    assert _judge(log).verdict == "hold"
    assert _judge(log, RULES.model_copy(update={"one_giver_decides": True})).verdict == "promote"


def test_a_single_key_of_an_application_may_decide(log: Log) -> None:
    log.show([replace(each, given_by="application") for each in draw_pairs(400, 0.7, 0.9)], shadow=True)

    assert _judge(log).verdict == "promote"


def test_few_labels_promote_nothing(log: Log) -> None:
    log.show([Shown(champion=False, challenger=True)] * 30, shadow=True)

    stage = _judge(log)

    assert stage.verdict == "hold"
    assert "50 labels" in stage.checks[0].reason


def test_without_labels_a_challenger_is_held(log: Log) -> None:
    log.show([replace(each, labeled=False) for each in draw_pairs(200, 0.7, 0.9)], shadow=True)

    stage = _judge(log)

    assert stage.verdict == "hold"
    assert stage.difference is None
    assert "serving.log.ask_share" in stage.checks[0].reason


def test_a_canary_that_is_hardly_worse_is_promoted(log: Log) -> None:
    log.show(draw_arms(3000, 0.9, 0.95))

    stage = _judge(log)

    assert stage.verdict == "promote"
    assert (stage.stage, stage.agreement) == ("canary", None)
    assert stage.challenger_did.predictions + stage.champion_did.predictions == pytest.approx(3000, abs=30)


def test_a_canary_that_is_worse_is_rolled_back(log: Log) -> None:
    log.show(draw_arms(3000, 0.95, 0.75))

    assert _verdicts(_judge(log))["accuracy"] == "roll back"


def test_a_slow_canary_is_rolled_back(log: Log) -> None:
    slow = [replace(each, total_ms=50.0 if each.champion is None else 5.0) for each in draw_arms(800, 1, 1)]
    log.show(slow)

    stage = _judge(log)

    assert _verdicts(stage)["latency"] == "roll back"
    assert "50.0 ms" in stage.checks[2].reason


def test_a_canary_is_not_slower_because_the_champion_was_idle_lately(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of so many latencies, the latest ones of the champion would all be of the quiet time, but not those of the canary."""
    monkeypatch.setattr("visiongate.monitoring.rollout_store.MAX_LATENCIES", 200)
    log.show([replace(each, total_ms=50.0) for each in draw_arms(800, 1, 1)])
    log.show([replace(each, total_ms=5.0) for each in draw_arms(400, 1, 1, seed=1)])

    assert _verdicts(_judge(log))["latency"] == "promote"


def test_a_canary_that_fails_often_is_rolled_back(log: Log) -> None:
    log.show(draw_arms(1000, 1, 1))
    with log.database.engine.begin() as connection:
        number = connection.scalars(select(models.c.model_id).where(models.c.version == "2")).one()
        values = {"time_us": now_us(), "model_id": number, "role": "canary", "kind": "error", "count": 6}
        connection.execute(insert(failures).values(values))

    stage = _judge(log)

    assert _verdicts(stage)["errors"] == "roll back"
    assert stage.challenger_did.failures == 6


@pytest.mark.parametrize(("failed", "verdict"), [(0, "promote"), (1, "hold"), (10, "roll back")])
def test_a_failure_that_may_be_chance_holds_a_challenger(failed: int, verdict: str) -> None:
    new, old = (
        Exposure(1000, failed, 900.0, np.full(1000, 5.0)),
        Exposure(9000, 2, 8000.0, np.full(9000, 5.0)),
    )
    evidence = RolloutEvidence("canary", CHALLENGER, CHAMPION, new, old, 1, 2)

    assert _verdicts(judge_stage(evidence, RolloutRules()))["errors"] == verdict


def test_a_challenger_without_recent_predictions_is_not_judged(log: Log) -> None:
    log.show(draw_pairs(100, 0.7, 0.9), shadow=True)

    assert judge_rollout(read_rollouts(log.database.engine, now_us() + 1), RULES).stages == []


def test_the_canary_decides_about_a_shadow_that_passed() -> None:
    did = Exposure(2000, 0, 1800.0, np.full(2000, 5.0))
    failing = Exposure(2000, 90, 1800.0, np.full(2000, 5.0))
    shadow = RolloutEvidence("shadow", CHALLENGER, CHAMPION, did, did, 1, 2, 1900)
    canary = RolloutEvidence("canary", CHALLENGER, CHAMPION, failing, did, 1, 2)

    assert judge_rollout([shadow, canary], RULES).verdict == "roll back"


def test_equal_canaries_are_rarely_promoted_or_rolled_back_however_often_somebody_looks() -> None:
    rules = RolloutRules(canary_margin=0.0, min_labels=1, min_answers=1)
    wrong = 0
    for seed in range(40):
        votes = [
            (shown.champion, shown.challenger) for shown in draw_arms(1000, 0.9, 0.9, share=0.3, seed=seed)
        ]
        wrong += any(_decides(votes[:looked], rules) for looked in range(100, 1001, 100))

    assert wrong <= 2


def _decides(pairs: list[tuple[bool | None, bool | None]], rules: RolloutRules) -> bool:
    votes = [Vote(None, None, challenger, champion) for champion, challenger in pairs]
    did = Exposure(1000, 0, 900.0, np.full(1000, 5.0))
    evidence = RolloutEvidence("canary", CHALLENGER, CHAMPION, did, did, 1, 2, votes=votes)
    return judge_stage(evidence, rules).checks[0].verdict != "hold"


def test_the_command_prints_and_records_the_verdict(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", log.address)
    monkeypatch.setenv("VISIONGATE_MONITORING__ROLLOUT__MIN_ANSWERS", "100")
    log.show(draw_pairs(400, 0.7, 0.9), shadow=True)

    with pytest.raises(SystemExit) as ended:
        main(["rollout", "--json", "rollout.json"])

    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "shadow pets 2 beside pets 1: promote" in printed
    assert "promote: move the challenger on" in printed
    written = RolloutReport.model_validate_json(Path("rollout.json").read_text())
    assert written.verdict == "promote"
    [recorded] = read_decisions(log.database.engine, "rollout", 5)
    assert json.loads(recorded) == json.loads(Path("rollout.json").read_text())
    with log.database.engine.connect() as connection:
        assert connection.execute(select(decisions.c.kind, decisions.c.verdict)).all() == [
            ("rollout", "promote")
        ]


def test_without_a_challenger_there_is_nothing_to_do(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", log.address)
    log.show(draw_pairs(10, 1, 1))

    with pytest.raises(SystemExit) as ended:
        main(["rollout"])

    assert ended.value.code == 0
    assert "hold: no challenger predicts beside the champion" in capsys.readouterr().out
