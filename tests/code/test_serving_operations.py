"""What runs around the routes: health, metrics, the log, the headers and the problems of every answer."""

import asyncio
import io
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from pooled_models import write_pooled_model
from served import Application, application

Result = TypeVar("Result")


def encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = encode(Image.linear_gradient("L").resize((40, 30)).convert("RGB"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pooled.onnx"
    write_pooled_model(path)
    return path


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def samples(text: str) -> dict[tuple[str, frozenset[str]], float]:
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def read_metrics(app: Application) -> dict[tuple[str, frozenset[str]], float]:
    return samples((await app.client.get("/metrics")).text)


def test_a_prediction_is_counted_with_its_class_and_version(model: Path) -> None:
    async def check() -> None:
        async with application(model) as app:
            answer = (await app.client.post("/predict", content=PHOTO)).json()
            found = await read_metrics(app)
            version = answer["model"]["sha256"][:12]
            labels = frozenset({answer["predicted_label"], answer["model"]["name"], version})
            assert found["visiongate_prediction_requests_total", labels] == 1
            for stage in ("decode", "wait", "inference", "total"):
                assert found["visiongate_prediction_latency_seconds_count", frozenset({stage})] == 1
            assert found["visiongate_http_requests_total", frozenset({"/predict", "POST", "200"})] == 1
            assert found["visiongate_requests_in_flight", frozenset()] == 0
            print(len(found))

    run(check())
