"""All that a service can tell about itself: a service in this process that exports every metric, and its log."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field

from captured_log import captured
from drift_reports import make_report
from image_samples import encode
from served import Application, application
from tiny_models import add_reliability, write_threshold_model
from visiongate.monitoring.database import Database
from visiongate.monitoring.decision_report import DecisionKind, DecisionReport
from visiongate.monitoring.decisions import record_decision
from visiongate.monitoring.drift.store import record_report
from visiongate.monitoring.entries import Feedback, LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.records.files import sha256_of
from visiongate.records.served_model import ServedModel, write_served_folder
from visiongate.serving.sources.registration_time import add_registration_time
from visiongate.serving.web.problems import PROBLEMS
from visiongate.settings.monitoring import DRIFT_TESTS
from waiting import wait_until

RELIABILITY = {"error_rate": 0.1, "min_probability": 0.3, "novelty_threshold": 200.0, "images": 50}
Series = dict[str, list[dict[str, str]]]


class RetrainDecision(DecisionReport):
    """A check whether a new model is due, as far as the metrics read it."""

    kind: ClassVar[DecisionKind] = "retrain"


class RolloutDecision(DecisionReport):
    """A judgment about challengers, as far as the metrics read it."""

    kind: ClassVar[DecisionKind] = "rollout"

    applied: list[str] = Field(default_factory=list)


def write_registered_model(folder: Path) -> Path:
    """Write a version as ``registry export`` does, of a model that says when it is sure; return its folder."""
    write_threshold_model(folder / "made.onnx")
    add_reliability(folder / "made.onnx", RELIABILITY)
    model = ServedModel("tiny", "3", sha256_of(folder / "made.onnx"))
    write_served_folder(
        folder / "served", add_registration_time(model, int(1000 * time.time())), folder / "made.onnx"
    )
    return folder / "served"


def read_service(folder: Path) -> tuple[Series, set[str]]:
    """Return the series by metric, and the fields of the log, of a service that has answered requests of all kinds."""
    address = f"sqlite:///{folder}/log.sqlite"
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": address,
        "VISIONGATE_SERVING__LOG__IMAGES__KEEP": "all",
        "VISIONGATE_SERVING__LOG__IMAGES__FOLDER": str(folder / "images"),
    }
    served = write_registered_model(folder)
    write_threshold_model(folder / "canary.onnx", threshold=100)
    write_threshold_model(folder / "shadow.onnx", threshold=150)
    environment |= {
        "VISIONGATE_SERVING__ROLLOUT__CANARY": str(folder / "canary.onnx"),
        "VISIONGATE_SERVING__ROLLOUT__SHADOW": str(folder / "shadow.onnx"),
    }
    # Before the service starts: its log reads the latest check as soon as it opens the database.
    database = Database(address)
    report = make_report(**dict.fromkeys(DRIFT_TESTS, False))
    models = [report.models[0].model_copy(update={"name": "tiny"})]
    record_report(database.engine, report.model_copy(update={"models": models}), days=90)
    _record_feedback(database, sha256_of(folder / "made.onnx"))
    for decision in (RetrainDecision, RolloutDecision):
        made = decision(checked_at=datetime.now(UTC), verdict="hold", advice="")
        record_decision(database.engine, made, days=90)
    database.close()

    async def run() -> str:
        async with application(served, environment) as app:
            await _send_requests(app)
            # As if each problem had occurred, and the model came from a registry.
            for kind in PROBLEMS:
                app.service.metrics.failed(kind)
            app.service.registry_reachable = True
            log = app.service.log
            assert log is not None
            slot = app.service.slots["default"]
            await asyncio.to_thread(wait_until, lambda: log.watch.accuracies and slot.canary and slot.shadow)
            return app.service.metrics.render("")[0].decode()

    with captured() as stream:
        text = asyncio.run(run())
    return parse(text), {name for line in stream.getvalue().splitlines() for name in _fields(line)}


def _record_feedback(database: Database, sha256: str) -> None:
    """Record an answer that was asked about and one that was not, with feedback."""
    model = LoggedModel("tiny", "3", sha256, ("dark", "bright"))
    for asked in (True, False):
        entry = LoggedPrediction(new_prediction_id(), model, "dark", 0.9, 1.0, asked=asked)
        database.write([entry])
        database.record_feedback(Feedback(entry.prediction_id, "dark"))


def parse(text: str) -> Series:
    """Return the series in Prometheus' text format."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(dict(sample.labels))
    return series


async def _send_requests(app: Application) -> None:
    image = encode(Image.new("L", (4, 4), 127), "PNG")
    for content in (image, image[:50], b"text"):
        await app.client.post(
            "/predict", content=content, headers={"traceparent": f"00-{'4b' * 16}-{'0f' * 8}-01"}
        )
    await app.client.get("/nothing")
    await app.client.put("/predict")


def _fields(line: str) -> Iterator[str]:
    fields: dict[str, Any] = json.loads(line)
    yield from fields
