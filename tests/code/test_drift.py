"""`visiongate drift`: what it finds in the prediction log, and how the service tells Prometheus."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import select

from command_line import run_cli
from drift_reports import make_report
from pooled_models import write_pooled_model
from served import application
from visiongate.monitoring import watch
from visiongate.monitoring.database import Database, Retention
from visiongate.monitoring.drift.store import record_report
from visiongate.monitoring.entries import ImageFacts, LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.monitoring.tables import drift_checks
from visiongate.records.drift_reference import DriftReference, encode_reference

CLASSES = ("Cat", "Dog", "Fox")
MODEL = LoggedModel("pets", "3", "a" * 64, CLASSES)
SHARES = (0.5, 0.3, 0.2)
CENTERS = np.random.default_rng(7).normal(size=(len(CLASSES) + 1, 16))


@dataclass(frozen=True)
class Stream:
    """Images of three classes around centers, which a model tells apart by their distance to these.

    A fourth class, which it does not know, is in `unknown`; `light` multiplies the brightness.
    """

    shares: Sequence[float] = SHARES
    unknown: float = 0.0
    light: float = 1.0
    spread: float = 1.0
    format: str = "JPEG"

    def draw(self, count: int, seed: int) -> "Drawn":
        generator = np.random.default_rng(seed)
        labels = generator.choice(len(CLASSES), count, p=self.shares)
        places = np.where(generator.random(count) < self.unknown, len(CLASSES), labels)
        points = CENTERS[places] + generator.normal(0, self.spread, (count, CENTERS.shape[1]))
        scores = -((points[:, None] - CENTERS[: len(CLASSES)]) ** 2).sum(axis=2) / 6
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        brightness = generator.beta(8, 8, count) * self.light
        return Drawn(
            labels, probabilities, points / np.linalg.norm(points, axis=1, keepdims=True), brightness
        )


@dataclass(frozen=True)
class Drawn:
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    embedding: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]

    def entries(
        self,
        start: int,
        stream: Stream,
        model: LoggedModel,
        **changes: Any,  # noqa: ANN401 - as `LoggedPrediction`
    ) -> list[LoggedPrediction]:
        predicted = self.probabilities.argmax(axis=1)
        return [
            LoggedPrediction(
                new_prediction_id(),
                model,
                CLASSES[place],
                float(self.probabilities[number, place]),
                20.0,
                probabilities=self.probabilities[number].astype("<f4").tobytes(),
                embedding=self.embedding[number].astype("<f2").tobytes(),
                out_of_distribution=False,
                image=ImageFacts(
                    f"{start}-{number}",
                    900,
                    640,
                    480,
                    stream.format,
                    "RGB",
                    float(self.brightness[number]),
                    0.2,
                ),
                time_us=start + 1000 * number,
                **changes,
            )
            for number, place in enumerate(predicted.tolist())
        ]

    def reference(self, *, is_holdout: bool) -> DriftReference:
        count = len(self.labels)
        predicted = self.probabilities.argmax(axis=1)
        confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        np.add.at(confusion, (self.labels, predicted), 1)
        return DriftReference(
            classes=CLASSES,
            protocol="holdout" if is_holdout else "cross_validation",
            model_sha256=MODEL.sha256,
            images=count,
            labels=self.labels.astype(np.int16),
            predicted=predicted.astype(np.int16),
            probabilities=self.probabilities.astype(np.float16),
            embedding=self.embedding.astype(np.float16) if is_holdout else None,
            out_of_distribution=np.zeros(count, np.bool_),
            brightness=self.brightness.astype(np.float32),
            contrast=np.full(count, 0.2, np.float32),
            width=np.full(count, 640, np.int32),
            height=np.full(count, 480, np.int32),
            file_bytes=np.full(count, 900, np.int32),
            formats=("JPEG",),
            format=np.zeros(count, np.int8),
            modes=("RGB",),
            mode=np.zeros(count, np.int8),
            class_counts=confusion.sum(axis=1),
            confusion=confusion,
        )


def record(  # noqa: PLR0913 - what is recorded
    address: str,
    stream: Stream,
    count: int,
    hours_ago: float,
    *,
    seed: int = 1,
    model: LoggedModel = MODEL,
    **changes: Any,  # noqa: ANN401 - as `LoggedPrediction`
) -> None:
    """Write predictions, a millisecond apart."""
    start = time.time_ns() // 1000 - round(hours_ago * 3_600_000_000)
    write(address, stream.draw(count, seed).entries(start, stream, model, **changes))


def write(address: str, entries: Sequence[LoggedPrediction]) -> None:
    database = Database(address)
    assert database.write(entries) == 0
    database.close()


def store_reference(address: str, *, is_holdout: bool = True) -> None:
    database = Database(address)
    assert database.write_reference(
        MODEL, encode_reference(Stream().draw(1000, 0).reference(is_holdout=is_holdout))
    )
    database.close()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prediction log, which the command reads; with fewer permutations, to save time."""
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/log.sqlite"
    Database(address).close()
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", address)
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__PERMUTATIONS", "199")
    return address


def check(tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    file = tmp_path / "drift.json"
    status = run_cli("drift", "--json", str(file), *options)
    return status, json.loads(file.read_text())


def found(report: dict[str, Any]) -> set[str]:
    [model] = report["models"]
    return {each["test"] for each in model["findings"]}


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
                end = time.monotonic() + 30
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


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (Stream(), {}),
        (Stream(shares=(0.2, 0.6, 0.2)), {"other shares of the classes": {"classes"}}),
        (Stream(unknown=0.15), {"a new class, or images of another kind": {"novelty", "embeddings"}}),
        (Stream(light=0.5), {"another camera, client or preprocessing": {"brightness"}}),
        (Stream(format="WEBP"), {"another camera, client or preprocessing": {"format"}}),
        (Stream(spread=1.8), {None: {"accuracy", "confidence"}}),
    ],
)
def test_a_window_is_compared_with_the_held_out_images(
    changed: Stream,
    expected: dict[str | None, set[str]],
    address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store_reference(address)
    record(address, changed, 800, 2)

    status, report = check(tmp_path)

    printed = capsys.readouterr().out
    assert bool(found(report)) == bool(expected), printed
    [[cause, tests]] = expected.items() or [(None, set())]
    assert found(report) >= tests, printed
    assert status == int(bool(expected))
    [model] = report["models"]
    assert cause is None or model["causes"][0] == cause
    assert model["verdict"] == report["verdict"] == ("drift" if status else "no drift")
    assert (model["reference"]["origin"], model["reference"]["images"]) == ("held-out images", 1000)
    assert (model["window"]["predictions"], model["window"]["compared"]) == (800, 800)
    assert printed.splitlines()[-1] == f"{report['verdict']}, harm: {report['harm']}: {report['advice']}"
    for each in model["findings"]:
        assert each["what"] in printed
        assert each["advice"]


def test_estimates_come_with_their_limits(address: str, tmp_path: Path) -> None:
    store_reference(address)
    shifted = Stream(shares=(0.1, 0.7, 0.2))
    record(address, shifted, 2000, 2)

    [model] = check(tmp_path)[1]["models"]

    drawn = shifted.draw(2000, 1)
    actual = float((drawn.probabilities.argmax(axis=1) == drawn.labels).mean())
    assert model["accuracy"]["low"] <= actual <= model["accuracy"]["high"]
    assert "concept shift" in model["accuracy"]["limits"]
    assert "label shift" in model["label_shift"]["limits"]
    for each, share in zip(model["label_shift"]["classes"], shifted.shares, strict=True):
        assert each["low"] - 0.02 <= share <= each["high"] + 0.02


def test_one_flood_is_a_flood_and_nothing_else(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(), 400, 3)
    now = time.time_ns() // 1000
    [picture] = Stream().draw(1, 9).entries(now, Stream(), MODEL)
    facts = picture.image
    assert facts
    # The bytes differ a little.
    write(
        address,
        [
            replace(
                picture,
                prediction_id=new_prediction_id(),
                time_us=now - number,
                image=facts._replace(sha256=str(number)),
            )  # type: ignore[type-var]
            for number in range(600)
        ],
    )

    _, report = check(tmp_path)

    assert found(report) == {"flood"}
    [model] = report["models"]
    assert model["window"]["compared"] == pytest.approx(401, abs=8)
    assert model["causes"] == ["one picture is sent again and again"]
    assert report["harm"] == "none"


def test_without_a_reference_the_first_predictions_take_its_place(address: str, tmp_path: Path) -> None:
    record(address, Stream(), 1000, 200)
    record(address, Stream(light=0.5), 300, 30, seed=2)
    _, first = check(tmp_path)
    database = Database(address)
    database.prune(Retention(days=2, max_rows=1_000_000, max_bytes=10**12))
    database.close()

    _, second = check(tmp_path)

    assert "brightness" in found(first)
    assert first["models"][0]["reference"] == second["models"][0]["reference"]
    assert first["models"][0]["reference"]["origin"] == "first predictions"
    assert first["models"][0]["accuracy"] is None


def test_out_of_fold_outputs_are_not_compared_with_those_of_the_served_model(
    address: str, tmp_path: Path
) -> None:
    store_reference(address, is_holdout=False)
    record(address, Stream(spread=1.8, light=0.5), 500, 2)

    _, early = check(tmp_path)

    [model] = early["models"]
    tested = {each["test"] for each in model["tests"]}
    assert found(early) == {"brightness"}
    assert not tested & {"probabilities", "confidence", "embeddings", "accuracy", "classes"}
    assert "more are needed" in model["reference"]["missing"]
    assert "cross-validation" in model["label_shift"]["limits"]

    record(address, Stream(spread=1.8), 500, 1, seed=3)
    record(address, Stream(spread=1.8), 300, 0.5, seed=4)
    _, later = check(tmp_path)

    assert later["models"][0]["reference"]["origin"] == "held-out images and first predictions"
    assert found(later) == set()
    assert {"probabilities", "confidence", "accuracy"} <= {
        each["test"] for each in later["models"][0]["tests"]
    }


def test_a_finding_says_where_the_distributions_differ(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(spread=1.8), 500, 1)

    _, report = check(tmp_path)

    for finding in report["models"][0]["findings"]:
        if finding["test"] in {"probabilities", "confidence"}:
            after, before = (float(each) / 100 for each in re.findall(r"([\d.]+)%", finding["what"]))
            assert abs(after - before) == pytest.approx(finding["effect"], abs=0.002)
    assert {"probabilities", "confidence"} <= found(report)


def test_clients_that_send_in_turn_are_all_compared(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second prediction would be a single client's: one has bright images, and the other dark ones."""
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__MAX_IMAGES", "500")
    store_reference(address)
    stream = Stream()
    entries = stream.draw(1000, 1).entries(time.time_ns() // 1000 - 7_200_000_000, stream, MODEL)
    facts = sorted((entry.image for entry in entries if entry.image), key=lambda each: each.brightness)
    turns = [each for pair in zip(facts[:500], facts[500:], strict=True) for each in pair]
    write(address, [replace(entry, image=image) for entry, image in zip(entries, turns, strict=True)])

    status, report = check(tmp_path)

    assert (status, found(report)) == (0, set())
    assert report["models"][0]["window"]["compared"] == 500


def test_of_many_predictions_an_even_selection_is_compared(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__MAX_IMAGES", "200")
    store_reference(address)
    record(address, Stream(), 900, 2)
    window = check(tmp_path)[1]["models"][0]["window"]
    assert (window["predictions"], window["compared"]) == (900, 180)


@pytest.mark.parametrize(
    ("counts", "advice"),
    [
        ((0, 0), "wait for more predictions"),
        ((400, 12), "the reference has 412 of 1,000 first predictions; 588 more are needed"),
        ((1000, 37), "the window has 37 predictions; at least 100 different images are needed"),
    ],
)
def test_too_few_predictions_say_nothing_but_how_many_are_needed(
    counts: tuple[int, int], advice: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, (count, hours_ago) in enumerate(zip(counts, (200, 2), strict=True)):
        if count:
            record(address, Stream(), count, hours_ago, seed=seed)

    status, report = check(tmp_path)

    assert (status, report["verdict"]) == (2, "cannot say")
    assert advice in capsys.readouterr().out


def test_the_start_of_a_drift_is_estimated_and_kept(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(), 300, 100)
    record(address, Stream(light=0.5), 300, 20, seed=2)
    before = datetime.now(UTC) - timedelta(hours=20)

    reports = [check(tmp_path, *options)[1] for options in ((), ("--window", "24"))]

    since = [
        datetime.fromisoformat(each["since"])
        for report in reports
        for each in report["models"][0]["findings"]
        if each["test"] == "brightness"
    ]
    assert len(since) == 2
    assert since[0] == since[1]
    assert abs(since[0] - before) < timedelta(minutes=5)


def test_the_start_of_a_new_class_is_estimated(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(), 300, 100)
    record(address, Stream(unknown=0.5), 300, 20, seed=2)
    before = datetime.now(UTC) - timedelta(hours=20)

    [model] = check(tmp_path)[1]["models"]

    [since] = [each["since"] for each in model["findings"] if each["test"] == "novelty"]
    assert abs(datetime.fromisoformat(since) - before) < timedelta(minutes=5)


def test_a_check_of_a_clock_that_was_ahead_hides_no_drift(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(light=0.8), 300, 20)
    database = Database(address)
    ahead = make_report(classes=False).model_copy(
        update={"checked_at": datetime.now(UTC) + timedelta(days=900)}
    )
    record_report(database.engine, ahead, 90)

    status, report = check(tmp_path)

    assert (status, "brightness" in found(report)) == (1, True)
    assert report["level"] == pytest.approx(0.05 * 7 / 365.25)
    with database.engine.connect() as connection:
        assert connection.scalars(select(drift_checks.c.verdict)).all() == ["drift"]
    database.close()


def test_a_look_spends_the_level_of_the_time_since_the_one_before(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(), 300, 2)
    first, second = (check(tmp_path)[1] for _ in range(2))
    assert first["level"] == pytest.approx(0.05 * 7 / 365.25)
    assert second["level"] < first["level"] / 1000


def test_each_version_that_answered_is_compared_with_itself(address: str, tmp_path: Path) -> None:
    other = replace(MODEL, version="4")
    shifted = Stream(shares=(0.0, 0.0, 1.0))
    record(address, Stream(), 1000, 100)
    record(address, Stream(), 200, 3, seed=2)
    record(address, shifted, 1000, 50, model=other, seed=3)
    record(address, shifted, 200, 2, model=other, seed=4)
    # The predictions of a shadow answer nobody.
    record(address, Stream(), 200, 1, model=replace(MODEL, version="5"), shadow_of="another", seed=5)

    status, report = check(tmp_path)

    assert [(model["version"], model["verdict"]) for model in report["models"]] == [
        ("4", "no drift"),
        ("3", "no drift"),
    ]
    assert status == 0


def test_a_test_that_is_only_for_information_is_no_drift(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_reference(address)
    record(address, Stream(format="WEBP"), 300, 2)
    monkeypatch.setenv("VISIONGATE_MONITORING__RULES__FORMAT__SEVERITY", "info")
    status, report = check(tmp_path)
    assert (status, found(report)) == (0, {"format"})
    monkeypatch.setenv("VISIONGATE_MONITORING__RULES__FORMAT__ENABLED", "false")
    status, report = check(tmp_path)
    assert (status, found(report)) == (0, set())
    assert "format" not in {each["test"] for each in report["models"][0]["tests"]}


def test_a_check_of_another_version_of_the_program_is_ignored(address: str, tmp_path: Path) -> None:
    store_reference(address)
    record(address, Stream(), 300, 2)
    database = Database(address)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO drift_checks VALUES (1, 3000, 'drift', '{}')")
    database.close()
    assert check(tmp_path)[0] == 0


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
