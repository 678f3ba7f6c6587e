"""What a verdict changes in the registry: aliases, tags, and the history that lists show."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logged_rollouts import Log, Shown
from registering import ProcessKilledError, aliases, fail_after
from visiongate.adapters.mlflow.registry import ROLLOUT_TAG, find_number, set_alias
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.cli import main
from visiongate.monitoring.decisions import read_decisions
from visiongate.monitoring.rollout_report import (
    Exposed,
    RolloutCheck,
    RolloutModel,
    RolloutVerdict,
    Stage,
    StageReport,
)
from visiongate.records.registry_tags import MODEL_TAG
from visiongate.registration import stage as register
from visiongate.registry.listing import format_versions
from visiongate.registry.rollback import promote_by_hand, roll_back
from visiongate.registry.rollout import Move, RolloutAliases, apply_verdict
from visiongate.registry.trace import format_trace, trace_version
from visiongate.settings.schema import Settings
from workspaces import commit_workspace, enter_copy, enter_workspace, tracked_settings, write_judged_model

SHADOW_ONLY = RolloutAliases("challenger", None)
BOTH = RolloutAliases("challenger", "canary")


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a registry in which version 1 is champion and version 2 is challenger."""
    folder = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patched:
        workspace = enter_workspace(folder / "workspace", patched)
        patched.setenv("GIT_CEILING_DIRECTORIES", str(folder))
        commit_workspace()
        for threshold in (127.5, 145):
            write_judged_model(threshold)
            register.run(tracked_settings())
    return workspace


@pytest.fixture
def settings(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    enter_copy(registered, tmp_path / "copy", monkeypatch)
    return tracked_settings()


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings.tracking)


def _stage(store: Store, settings: Settings, verdict: RolloutVerdict, stage: Stage = "shadow") -> StageReport:
    name, did = settings.registry.name, Exposed(predictions=2000, failures=0, confidence=0.9, p95_ms=5.0)
    models = []
    for number in "12":
        version = find_number(store, name, number)
        assert version is not None
        models.append(RolloutModel(name=name, version=number, sha256=version.tags[MODEL_TAG]))
    time = datetime(2026, 11, 29, tzinfo=UTC)
    return StageReport(
        stage=stage,
        champion=models[0],
        challenger=models[1],
        verdict=verdict,
        checks=[RolloutCheck(check="accuracy", verdict=verdict, reason="accuracy +4.0%")],
        first=time,
        last=time,
        challenger_did=did,
        champion_did=did,
        agreement=0.95,
        labels=200,
        volunteered=0,
        givers=2,
        difference=None,
        wins=10,
        losses=2,
    )


def _apply(
    store: Store,
    settings: Settings,
    verdict: RolloutVerdict,
    stage: Stage = "shadow",
    known: RolloutAliases = SHADOW_ONLY,
) -> str | None:
    move = apply_verdict(store, settings.registry.name, _stage(store, settings, verdict, stage), known)
    return move.text if move is not None and move.done else None


def test_a_shadow_that_passes_becomes_champion_with_a_history(store: Store, settings: Settings) -> None:
    name = settings.registry.name

    assert _apply(store, settings, "promote") == "version 2 is champion in place of version 1"

    assert aliases(store, settings) == {"champion": "2"}
    version = find_number(store, name, "2")
    assert version is not None
    assert version.tags[ROLLOUT_TAG].endswith("shadow: promote: accuracy: accuracy +4.0%")
    assert version.before == ("1",)
    assert "shadow: promote" in format_versions(store, name, None)
    assert "rollout" in format_trace(trace_version(store, f"models:/{name}/2"), "elsewhere")


def test_the_promotion_can_be_rolled_back(store: Store, settings: Settings) -> None:
    _apply(store, settings, "promote")

    assert roll_back(store, settings.registry.name, None, "worse", force=False).number == "1"
    assert aliases(store, settings) == {"champion": "1"}


@pytest.mark.parametrize("known", [SHADOW_ONLY, BOTH])
def test_a_version_that_was_rolled_back_is_not_promoted_again(
    known: RolloutAliases, store: Store, settings: Settings
) -> None:
    name = settings.registry.name
    _apply(store, settings, "promote")
    roll_back(store, name, None, "worse at night", force=False)

    move = apply_verdict(store, name, _stage(store, settings, "promote"), known)

    assert move is not None
    assert not move.done
    assert move.text.startswith("version 2 was rolled back")
    assert move.text.endswith("`visiongate registry rollback --to 2` makes it champion again")
    assert aliases(store, settings) == {"champion": "1"}


def test_a_champion_that_was_replaced_by_hand_is_not_promoted_by_what_it_showed_before(
    store: Store, settings: Settings
) -> None:
    name = settings.registry.name
    _apply(store, settings, "promote")
    promote_by_hand(store, name, "1", "for the demo")

    assert _apply(store, settings, "promote") is None
    assert aliases(store, settings) == {"champion": "1"}
    later = {"first": datetime.now(UTC) + timedelta(minutes=1)}
    stage = _stage(store, settings, "promote").model_copy(update=later)
    assert apply_verdict(store, name, stage, SHADOW_ONLY) == Move(
        "version 2 is champion in place of version 1"
    )


def test_a_shadow_becomes_canary_first_if_the_service_has_one(store: Store, settings: Settings) -> None:
    assert _apply(store, settings, "promote", known=BOTH) == "version 2 is canary"
    assert aliases(store, settings) == {"champion": "1", "challenger": "2", "canary": "2"}
    assert _apply(store, settings, "promote", known=BOTH) is None

    assert _apply(store, settings, "promote", "canary", BOTH) == "version 2 is champion in place of version 1"
    assert aliases(store, settings) == {"champion": "2"}
    version = find_number(store, settings.registry.name, "2")
    assert version is not None
    stages = [line.split(", ")[1].split(":")[0] for line in version.tags[ROLLOUT_TAG].splitlines()]
    assert stages == ["canary", "shadow"]


def test_a_canary_that_fails_loses_its_aliases_and_is_not_promoted_by_itself(
    store: Store, settings: Settings
) -> None:
    _apply(store, settings, "promote", known=BOTH)

    assert (
        _apply(store, settings, "roll back", "canary", BOTH) == "version 2 lost the alias canary, challenger"
    )

    assert aliases(store, settings) == {"champion": "1"}
    assert "rolled back" in format_versions(store, settings.registry.name, None)
    assert _apply(store, settings, "roll back", "canary", BOTH) is None
    # The same model again, although it passes the gate.
    write_judged_model(145)
    register.run(settings)
    assert aliases(store, settings)["champion"] == "1"
    assert "was rolled back" in Path("reports/registration.json").read_text()


def test_hold_changes_nothing(store: Store, settings: Settings) -> None:
    assert _apply(store, settings, "hold") is None
    assert aliases(store, settings) == {"champion": "1", "challenger": "2"}


def test_another_champion_than_the_compared_one_is_not_replaced(store: Store, settings: Settings) -> None:
    stage = _stage(store, settings, "promote")
    other = stage.champion.model_copy(update={"sha256": "f" * 64})

    with pytest.raises(TrackingError, match="wait until the service has loaded it"):
        apply_verdict(
            store, settings.registry.name, stage.model_copy(update={"champion": other}), SHADOW_ONLY
        )

    assert aliases(store, settings) == {"champion": "1", "challenger": "2"}


def test_a_file_that_is_no_version_cannot_be_promoted(store: Store, settings: Settings) -> None:
    stage = _stage(store, settings, "promote")
    file = stage.challenger.model_copy(update={"version": None})

    with pytest.raises(TrackingError, match="not a version of the registered model"):
        apply_verdict(
            store, settings.registry.name, stage.model_copy(update={"challenger": file}), SHADOW_ONLY
        )


def test_a_version_that_never_passed_the_gate_is_not_promoted(store: Store, settings: Settings) -> None:
    write_judged_model(200, passed=False)
    register.run(settings)
    version = find_number(store, settings.registry.name, "3")
    assert version is not None
    set_alias(store, version, "challenger")
    stage = _stage(store, settings, "promote")
    rejected = RolloutModel(name=version.name, version="3", sha256=version.tags[MODEL_TAG])

    with pytest.raises(TrackingError, match="never passed the gate"):
        apply_verdict(
            store, settings.registry.name, stage.model_copy(update={"challenger": rejected}), SHADOW_ONLY
        )


@pytest.mark.parametrize("writes", range(1, 6))
def test_a_move_that_was_interrupted_can_be_repeated(store: Store, settings: Settings, writes: int) -> None:
    try:
        _apply(fail_after(store, writes), settings, "promote")
    except ProcessKilledError:
        _apply(store, settings, "promote")

    assert aliases(store, settings)["champion"] == "2"


def test_the_command_moves_the_aliases_and_says_so(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = _stage(store, settings, "promote")
    log = Log(Path.cwd(), stage.champion, stage.challenger)
    log.show([Shown(champion=number % 4 > 0, challenger=True) for number in range(300)], shadow=True)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", log.address)
    monkeypatch.setenv("VISIONGATE_SERVING__ROLLOUT__SHADOW", f"models:/{settings.registry.name}@challenger")
    monkeypatch.setenv("VISIONGATE_MONITORING__ROLLOUT__MIN_ANSWERS", "100")

    def run() -> str:
        with pytest.raises(SystemExit) as ended:
            main(["rollout", "--apply"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    printed = run()
    assert "registry: version 2 is champion in place of version 1" in printed
    assert "images that were asked for, without API keys; 0 that" in printed
    assert aliases(store, settings) == {"champion": "2"}
    assert "hold: version 2 is the champion already; nothing to move" in run()
    roll_back(store, settings.registry.name, None, "worse at night", force=False)
    assert "hold: version 2 was rolled back" in run()
    assert aliases(store, settings) == {"champion": "1"}
    verdicts = [json.loads(each)["verdict"] for each in read_decisions(log.database.engine, "rollout", 5)]
    assert verdicts == ["hold", "hold", "promote"]
