"""`visiongate drift`: what it finds in the prediction log, and how the service tells Prometheus."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import run_cli
from drift_reports import make_report
from pooled_models import write_pooled_model
from served import application
from visiongate.errors import SettingsError
from visiongate.monitoring import drift, drift_check, drift_store, watch
from visiongate.monitoring.database import Database
from visiongate.monitoring.drift import Sample
from visiongate.monitoring.drift_store import record_report
from visiongate.monitoring.entries import LoggedModel, LoggedPrediction, new_prediction_id


def test_the_service_exports_the_latest_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.05)
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
            record_report(database.engine, make_report(classes=True, confidence=False), 90)
            assert await wait_for(3) == [
                'visiongate_drift{check="classes"} 1.0',
                'visiongate_drift{check="confidence"} 0.0',
                "visiongate_drift_checked_timestamp_seconds 1.7672256e+09",
            ]
            # Too few predictions: nothing is known.
            later = make_report().model_copy(update={"checked_at": datetime.now(UTC)})
            record_report(database.engine, later, 90)
            await wait_for(1)
            database.close()

    asyncio.run(check())


CLASSES = ("Cat", "Dog", "Fox")
MODEL = LoggedModel("pets", "3", "a" * 64, CLASSES)
SHARES = (0.5, 0.3, 0.2)


def draw(
    count: int, shares: Sequence[float] = SHARES, confident: float = 8.0, seed: int = 0
) -> tuple[list[str], list[float]]:
    """Return predicted classes and confidences; a larger number is more confident."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, count, p=np.array(shares) / sum(shares)).tolist()
    return labels, generator.beta(confident, 1.5, count).tolist()


def sample(count: int, **changes: Any) -> Sample:  # noqa: ANN401 - as `draw`
    labels, confidences = draw(count, **changes)
    return Sample(Counter(labels), np.array(confidences), 0, count, count)


def record(
    address: str,
    drawn: tuple[list[str], list[float]],
    hours_ago: float,
    model: LoggedModel = MODEL,
    **changes: Any,  # noqa: ANN401 - as `LoggedPrediction`
) -> None:
    """Write predictions, a millisecond apart."""
    start = time.time_ns() // 1000 - round(hours_ago * 3_600_000_000)
    entries = [
        LoggedPrediction(
            new_prediction_id(), model, label, confidence, 20.0, time_us=start + 1000 * number, **changes
        )
        for number, (label, confidence) in enumerate(zip(*drawn, strict=True))
    ]
    database = Database(address)
    assert database.write(entries) == 0
    database.close()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prediction log, which the command reads; with fewer permutations, to save time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drift, "PERMUTATIONS", 1999)
    address = f"sqlite:///{tmp_path}/log.sqlite"
    Database(address).close()
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", address)
    return address


def check(tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    file = tmp_path / "drift.json"
    status = run_cli("drift", "--json", str(file), *options)
    return status, json.loads(file.read_text())


def drifted(report: dict[str, Any]) -> dict[str, bool]:
    [model] = report["models"]
    return {each["check"]: each["drifted"] for each in model["comparisons"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"classes": False, "confidence": False}),
        ({"shares": (0.3, 0.5, 0.2)}, {"classes": True, "confidence": False}),
        ({"confident": 4.0}, {"classes": False, "confidence": True}),
        # One client's flood of one class.
        ({"shares": (0.05, 0.05, 0.9), "confident": 20.0}, {"classes": True, "confidence": True}),
        # A class that was never predicted before.
        ({"shares": (0.4, 0.25, 0.2)}, None),
    ],
)
def test_a_window_is_compared_with_the_first_predictions(
    changes: dict[str, Any],
    expected: dict[str, bool] | None,
    address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {} if expected else {"shares": (0.6, 0.4, 0.0)}
    expected = expected or {"classes": True, "confidence": False}
    record(address, draw(1000, **before), 200)
    record(address, draw(500, seed=1, **changes), 2)

    status, report = check(tmp_path)

    printed = capsys.readouterr().out
    assert drifted(report) == expected, printed
    assert status == int(any(expected.values()))
    [model] = report["models"]
    assert model["verdict"] == report["verdict"] == ("drift" if status else "no drift")
    assert (model["reference"]["predictions"], model["window"]["predictions"]) == (1000, 500)
    for each in model["comparisons"]:
        assert (each["since"] == model["window"]["first"]) is each["drifted"]
        assert f"{each['check']}: {'drift since' if each['drifted'] else 'no drift (p'}" in printed
        assert each["what"] in printed
    assert printed.splitlines()[-1] == f"{report['verdict']}: {report['advice']}"


def test_of_many_predictions_an_even_selection_is_compared(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_store, "MAX_WINDOW", 200)
    record(address, draw(100), 200)
    record(address, draw(900, seed=1), 2)
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__REFERENCE", "100")
    _, report = check(tmp_path)
    window = report["models"][0]["window"]
    assert (window["predictions"], window["compared"]) == (900, 180)


@pytest.mark.parametrize(
    ("counts", "advice"),
    [
        ((0, 0), "wait for more predictions"),
        ((400, 12), "the reference has 412 of 1,000 predictions; 588 more are needed"),
        ((1000, 37), "the window has 37 predictions after the reference; at least 100 are needed"),
    ],
)
def test_too_few_predictions_say_nothing_but_how_many_are_needed(
    counts: tuple[int, int], advice: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count, hours_ago in zip(counts, (200, 2), strict=True):
        if count:
            record(address, draw(count), hours_ago)

    status, report = check(tmp_path)

    assert (status, report["verdict"]) == (2, "cannot say")
    assert advice in capsys.readouterr().out


def test_the_reference_outlives_retention_and_the_start_of_a_drift_is_kept(
    address: str, tmp_path: Path
) -> None:
    record(address, draw(1000), 100)
    record(address, draw(300, shares=(0, 0, 1)), 30)
    _, first = check(tmp_path, "--window", "48")
    database = Database(address)
    database.prune(days=1, max_rows=1_000_000)
    database.close()
    record(address, draw(300, shares=(0, 0, 1)), 2)

    status, second = check(tmp_path, "--window", "24")

    assert status == 1
    assert second["models"][0]["reference"] == first["models"][0]["reference"]
    since = [report["models"][0]["comparisons"][0]["since"] for report in (first, second)]
    assert since[0] == since[1] == first["models"][0]["window"]["first"]


def test_each_version_that_answered_is_compared_with_itself(address: str, tmp_path: Path) -> None:
    other = replace(MODEL, version="4")
    record(address, draw(1000), 100)
    record(address, draw(200, seed=1), 3)
    record(address, draw(1000, shares=(0, 0, 1)), 50, other)
    record(address, draw(200, shares=(0, 0, 1), seed=1), 2, other)
    # The predictions of a shadow answer nobody.
    record(address, draw(200), 1, replace(MODEL, version="5"), shadow_of="another")

    status, report = check(tmp_path)

    assert [(model["version"], model["verdict"]) for model in report["models"]] == [
        ("4", "no drift"),
        ("3", "no drift"),
    ]
    assert status == 0


def test_a_repeated_check_of_the_same_predictions_has_the_same_result(address: str, tmp_path: Path) -> None:
    record(address, draw(1000), 100)
    record(address, draw(300, shares=(0.45, 0.35, 0.2), seed=1), 2)
    results = [check(tmp_path)[1]["models"] for _ in range(2)]
    assert results[0] == results[1]


def test_unchanged_streams_alarm_no_more_often_than_the_level() -> None:
    level, windows = 0.05, 200
    alarms = 0
    for number in range(windows):
        found = drift.compare(sample(300, seed=2 * number), sample(150, seed=2 * number + 1), 199)
        alarms += min(drift.adjust_by_holm([each.p_value for each in found])) <= level
    # A binomial count with this probability is larger once in 1,000 times.
    assert 0 < alarms <= 20


def test_holm_adjusts_for_all_tests() -> None:
    assert drift.adjust_by_holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert drift.adjust_by_holm([]) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ENABLED": "false"}, "serving.log.enabled = false: there is no prediction log to read"),
        ({"ADDRESS": "sqlite:///missing.sqlite"}, "no such file; the service makes it"),
        ({"ADDRESS": "postgresql://me:secret@127.0.0.1:1/x"}, "the prediction log is unavailable: "),
        ({"ADDRESS": "postgresql://me:sec@ret@127.0.0.1:1/x"}, "has more than one @"),
    ],
)
@pytest.mark.usefixtures("address")
def test_without_a_log_the_command_says_why(
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"VISIONGATE_SERVING__LOG__{name}", value)
    assert run_cli("drift") == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "sec" not in printed.replace("seconds", "")
    assert not Path("missing.sqlite").exists()


def candidates(count: int) -> list[drift_check.Candidate]:
    """Versions whose predictions are all of another class than before."""
    before, after = (
        Sample(Counter({label: 200}), np.full(200, confidence), 0, 1, 200)
        for label, confidence in (("cat", 0.9), ("dog", 0.6))
    )
    model = LoggedModel("pets", "3", "a" * 64, ("cat", "dog"))
    return [
        drift_check.Candidate(replace(model, version=str(number)), before, after, 200)
        for number in range(count)
    ]


def test_drift_is_found_however_many_versions_are_compared() -> None:
    found = drift_check.check_drift(candidates(8), 24, 0.001, None)
    assert [model.verdict for model in found.models] == ["drift"] * 8


def test_a_level_that_no_check_can_reach_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"too low for 4 comparisons; use at least 4e-05"):
        drift_check.check_drift(candidates(2), 24, 1e-6, None)
