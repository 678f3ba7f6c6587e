"""``POST /predict``: answers equal those of the model, and each bad request gets a problem that helps."""

import asyncio
import base64
import io
import json
import zlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from PIL import Image

from pooled_models import write_pooled_model
from served import Application, application
from tiny_models import add_reliability, write_threshold_model
from visiongate.models.model_input import to_input
from visiongate.models.predictor import open_predictor
from visiongate.serving.web.problems import MEDIA_TYPE

Result = TypeVar("Result")


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


PHOTO = encode(Image.linear_gradient("L").resize((40, 30)).convert("RGB"), "JPEG")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pooled.onnx"
    write_pooled_model(path)
    return path


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def post(
    model: Path,
    environment: dict[str, str] | None = None,
    path: str = "/predict",
    **request: Any,  # noqa: ANN401 - as httpx
) -> httpx.Response:
    """Start a service, send one request, and return the response."""

    async def send() -> httpx.Response:
        async with application(model, environment) as app:
            return await app.client.post(path, **request)

    return run(send())


def test_an_image_is_answered_as_the_model_predicts_it(model: Path) -> None:
    response = post(model, content=PHOTO)

    answer = response.json()
    predictor = open_predictor(model)
    expected = predictor.predict(to_input(PHOTO, predictor.contract)[None])[0]
    actual = np.array([answer["probabilities"][name] for name in "abc"], np.float32)
    # As `visiongate predict` and evaluate store them.
    exact = expected.astype(np.float64)
    np.testing.assert_array_equal(actual, (exact / exact.sum()).astype(np.float32))
    assert answer["predicted_class"] == int(expected.argmax())
    assert answer["predicted_label"] == "abc"[answer["predicted_class"]]
    assert answer["confidence"] == max(answer["probabilities"].values())
    assert answer["model"] == {"name": "pooled", "version": None, "sha256": answer["model"]["sha256"]}
    times = answer["processing_time_ms"]
    assert times["total"] == pytest.approx(times["decode"] + times["wait"] + times["inference"], abs=0.01)


def test_body_and_form_have_the_same_answer_and_several_images_a_list(model: Path) -> None:
    async def send() -> tuple[Any, Any, Any]:
        async with application(model) as app:
            body = await app.client.post("/predict", content=PHOTO)
            form = await app.client.post("/predict", files={"file": ("a.jpg", PHOTO)})
            several = [("file", ("a.jpg", PHOTO)), ("file", ("notes.txt", b"hello"))]
            return body.json(), form.json(), (await app.client.post("/predict", files=several)).json()

    body, form, several = run(send())

    assert body["probabilities"] == form["probabilities"]
    assert (body["filename"], form["filename"]) == (None, "a.jpg")
    first, second = several["predictions"]
    assert first["probabilities"] == body["probabilities"]
    assert (second["filename"], second["status"]) == ("notes.txt", 422)
    assert "text file" in second["detail"]
    assert len({body["prediction_id"], form["prediction_id"], first["prediction_id"]}) == 3


def test_a_heat_map_is_a_picture_of_the_size_of_the_model_input(model: Path) -> None:
    answer = post(model, path="/predict?explain=true", content=PHOTO).json()

    start, _, data = answer["heat_map"].partition(",")
    assert start == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (8, 8)


def test_the_answer_says_what_can_be_relied_on(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_threshold_model(path)
    add_reliability(
        path, {"error_rate": 0.1, "min_probability": 0.3, "novelty_threshold": 200.0, "images": 50}
    )

    async def send() -> list[Any]:
        async with application(path) as app:
            shades = [encode(Image.new("L", (4, 4), shade)) for shade in (0, 127, 255)]
            return [(await app.client.post("/predict", content=shade)).json() for shade in shades]

    dark, between, bright = run(send())

    assert (dark["sure"], dark["possible"], dark["out_of_distribution"]) == (True, ["dark"], False)
    assert (between["sure"], between["possible"]) == (False, ["dark", "bright"])
    assert bright["out_of_distribution"] is True


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _bomb() -> bytes:
    """A PNG of a few bytes that claims 60,000 × 60,000 pixels."""
    header = (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(100))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": b""}, 422, "no image"),
        ({"content": b"hello"}, 422, "text file"),
        ({"content": PHOTO[: len(PHOTO) // 2]}, 422, "truncated"),
        ({"content": _bomb()}, 413, "pixels"),
        ({"content": bytes(9000)}, 413, "8,000 bytes"),
        ({"json": {"url": "http://example.org/a.jpg"}}, 415, "application/json"),
        ({"files": [("file", ("a", PHOTO))] * 3}, 413, "more than 2 images"),
        ({"files": {"other": ("a.jpg", PHOTO)}}, 422, "field file"),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": PHOTO, "headers": {"Content-Length": "many"}}, 400, "Content-Length"),
    ],
)
def test_a_bad_request_gets_a_problem(model: Path, request_: dict[str, Any], status: int, words: str) -> None:
    environment = {
        "VISIONGATE_SERVING__LIMITS__FILES": "2",
        "VISIONGATE_SERVING__LIMITS__BODY_BYTES": "8000",
    }

    response = post(model, environment, **request_)

    problem = response.json()
    assert response.headers["content-type"].startswith(MEDIA_TYPE)
    assert (response.status_code, problem["status"]) == (status, status)
    assert words in problem["detail"]


def test_a_jpeg_may_have_more_pixels_than_other_images(model: Path) -> None:
    limit = {"VISIONGATE_SERVING__LIMITS__PIXELS": "1000"}

    statuses = [
        post(model, limit, content=encode(Image.new("L", size), kind)).status_code
        for size, kind in (((40, 25), "PNG"), ((40, 26), "PNG"), ((40, 26), "JPEG"))
    ]

    assert statuses == [200, 413, 200]


def test_an_unknown_model_is_named_with_the_known_ones(model: Path) -> None:
    environment = {"VISIONGATE_SERVING__MODELS": json.dumps({"second": str(model)})}

    unknown = post(model, environment, "/predict?model=cats", content=PHOTO)
    known = post(model, environment, "/predict?model=second", content=PHOTO)

    assert unknown.status_code == 404
    assert "default, second" in unknown.json()["detail"]
    assert known.status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "punycode", "utf-7", "unicode_escape", "no such"])
def test_the_charset_of_a_form_does_not_matter(model: Path, charset: str) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="+2AA-\\ud800\xff.jpg"\r\n\r\n'
    media_type = f"multipart/form-data; boundary=B; charset={charset}"

    response = post(model, content=part + PHOTO + b"\r\n--B--\r\n", headers={"Content-Type": media_type})

    assert response.status_code == 200


async def _slow_body(go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield PHOTO[:10]
    await go_on.wait()
    yield PHOTO[10:]


def _hold(app: Application, go_on: asyncio.Event) -> None:
    """Make all predictions wait."""
    predict = app.service.predict

    async def wait(*arguments: Any) -> Any:  # noqa: ANN401 - as the method
        await go_on.wait()
        return await predict(*arguments)

    app.service.predict = wait  # type: ignore[method-assign]


def test_beyond_the_limit_a_request_is_rejected_at_once_and_later_ones_are_answered(model: Path) -> None:
    async def send() -> tuple[Any, Any, Any]:
        async with application(model, {"VISIONGATE_SERVING__LIMITS__REQUESTS": "1"}) as app:
            go_on = asyncio.Event()
            _hold(app, go_on)
            first = asyncio.create_task(app.client.post("/predict", content=PHOTO))
            while not app.service.admission.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            # Its body never arrives.
            rejected = await app.client.post("/predict", content=_slow_body(asyncio.Event()))
            go_on.set()
            return await first, rejected, await app.client.post("/predict", content=PHOTO)

    first, rejected, later = run(send())

    assert (first.status_code, rejected.status_code, later.status_code) == (200, 429, 200)
    assert int(rejected.headers["retry-after"]) >= 1


def test_clients_that_send_slowly_take_nothing_from_the_others(model: Path) -> None:
    environment = {
        "VISIONGATE_SERVING__LIMITS__REQUESTS": "1",
        "VISIONGATE_SERVING__LIMITS__BODY_BYTES": str(len(PHOTO)),
        "VISIONGATE_SERVING__LIMITS__BYTES": str(len(PHOTO) + 30),
    }

    async def send() -> tuple[int, list[int], int]:
        async with application(model, environment) as app:
            go_on = asyncio.Event()
            slow = [
                asyncio.create_task(app.client.post("/predict", content=_slow_body(go_on))) for _ in range(3)
            ]
            while app.service.admission.bytes < 30:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            quick = await app.client.post("/predict", content=PHOTO)
            go_on.set()
            answers = [answer.status_code for answer in await asyncio.gather(*slow)]
            return quick.status_code, answers, app.service.admission.bytes

    quick, slow, left = run(send())

    assert quick == 200
    # Together, their images do not fit.
    assert set(slow) == {200, 429}
    assert left == 0


def test_a_body_that_does_not_arrive_ends_the_request(model: Path) -> None:
    async def send() -> tuple[Any, int]:
        async with application(model, {"VISIONGATE_SERVING__LIMITS__SEND_SECONDS": "0.05"}) as app:
            answer = await app.client.post("/predict", content=_slow_body(asyncio.Event()))
            return answer, app.service.admission.bytes

    response, left = run(send())

    assert response.status_code == 408
    assert "did not arrive" in response.json()["detail"]
    assert left == 0


def test_an_answer_that_takes_too_long_ends(model: Path) -> None:
    async def send() -> tuple[Any, int]:
        async with application(model, {"VISIONGATE_SERVING__LIMITS__DEADLINE_SECONDS": "0.05"}) as app:
            _hold(app, asyncio.Event())
            return await app.client.post("/predict", content=PHOTO), app.service.admission.requests

    response, left = run(send())

    assert response.status_code == 503
    assert "no answer within" in response.json()["detail"]
    assert left == 0


def test_a_client_that_leaves_frees_its_place(model: Path) -> None:
    async def send() -> tuple[int, int]:
        async with application(model) as app:
            return await _leave(app)

    waiting, left = run(send())

    assert (waiting, left) == (1, 0)


async def _leave(app: Application) -> tuple[int, int]:
    """Send an image while all runners are busy, and leave. Return how many images waited before and after."""
    batcher = app.service.slots["default"].require().batcher
    batcher._free = 0  # noqa: SLF001 - no runner is free
    request = asyncio.create_task(app.client.post("/predict", content=PHOTO))
    while not len(batcher):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    waiting = len(batcher)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    batcher._free = 1  # noqa: SLF001
    return waiting, len(batcher._take())  # noqa: SLF001
