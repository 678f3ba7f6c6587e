"""What the service records of each answer: facts about the image, embedding, role, question, and the image itself."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from image_samples import encode, photo, with_alpha
from pooled_models import CLASSES, random_images, write_pooled_model
from served import Application, application
from tiny_models import add_reliability, write_threshold_model
from visiongate.models.model_input import to_input
from visiongate.models.predictor import open_predictor
from visiongate.models.sketch import sketch
from visiongate.monitoring import prediction_log
from visiongate.serving.web.keys import make_key

Talk = Callable[[Application], Coroutine[Any, Any, None]]
Serve = Callable[..., None]
PNG = encode(with_alpha(photo(40, 30)), "PNG")
JPEG = encode(photo(64, 48).convert("L"), "JPEG")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(prediction_log, "FAILURE_SECONDS", 0.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "pooled.onnx"
    write_pooled_model(path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def serve(model: Path, file: Path, tmp_path: Path) -> Serve:
    """Runs a conversation with a service with some settings, and waits until all is recorded."""

    def run(talk: Talk, served: Path = model, **changes: str) -> None:
        settings = {
            "LOG__ENABLED": "true",
            "LOG__ADDRESS": f"sqlite:///{file}",
            "LOG__IMAGES__FOLDER": str(tmp_path / "images"),
            **changes,
        }
        environment = {f"VISIONGATE_SERVING__{name}": value for name, value in settings.items()}

        async def start() -> None:
            async with application(served, environment) as app:
                await talk(app)

        asyncio.run(start())

    return run


def rows(file: Path, table: str = "predictions") -> list[dict[str, Any]]:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608


async def predict(app: Application, image: bytes, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's
    response = await app.client.post("/predict", content=image, **options)
    assert response.status_code == httpx.codes.OK, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def infer(app: Application, **message: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    pixels = random_images(1)
    tensor = {"name": "images", "shape": pixels.shape, "datatype": "UINT8", "data": pixels.ravel().tolist()}
    return await app.client.post("/v2/models/default/infer", json={"inputs": [tensor], **message})


def test_images_are_described_as_they_came(serve: Serve, model: Path, file: Path) -> None:
    async def talk(app: Application) -> None:
        for image in (PNG, JPEG):
            await predict(app, image)
        assert (await infer(app)).status_code == httpx.codes.OK

    serve(talk)
    first, second, third = rows(file)
    contract = open_predictor(model).contract
    for row, image, facts in (
        (first, PNG, (40, 30, "PNG", "RGBA")),
        (second, JPEG, (64, 48, "JPEG", "L")),
    ):
        pixels = to_input(image, contract) / 255
        assert row["image_sha256"] == hashlib.sha256(image).hexdigest()
        assert row["image_bytes"] == len(image)
        assert (row["width"], row["height"], row["format"], row["mode"]) == facts
        assert (row["brightness"], row["contrast"]) == pytest.approx((pixels.mean(), pixels.std()))
        assert (row["role"], row["kept"]) == ("active", 0)
    named = ["image_sha256", "image_bytes", "width", "height", "format", "mode", "brightness", "kept"]
    assert [third[name] for name in named] == [None] * 8
    assert third["embedding"] is not None


def test_sketches_of_a_batch_belong_to_their_images(serve: Serve, model: Path, file: Path) -> None:
    images = {encode(photo(20 + number, 30), "PNG"): number for number in range(12)}

    async def talk(app: Application) -> None:
        await asyncio.gather(*(predict(app, image) for image in images))

    serve(talk)
    predictor = open_predictor(model)
    expected = {
        hashlib.sha256(image).hexdigest(): predictor.run(
            to_input(image, predictor.contract)[None], ["embedding"]
        )
        for image in images
    }
    found = rows(file)
    assert len(found) == 12
    for row in found:
        actual = np.frombuffer(row["embedding"], "<f2")
        assert actual == pytest.approx(sketch(expected[row["image_sha256"]]["embedding"])[0], abs=1e-3)


def test_embeddings_can_be_left_out(serve: Serve, file: Path) -> None:
    async def talk(app: Application) -> None:
        await predict(app, PNG)
        # Also if a client wants them.
        answer = (await infer(app, outputs=[{"name": "embedding"}])).json()
        assert answer["outputs"][0]["shape"][0] == 1

    serve(talk, LOG__EMBEDDINGS="false")
    assert [row["embedding"] for row in rows(file)] == [None, None]


def test_a_model_without_an_embedding_is_recorded_without(serve: Serve, tmp_path: Path, file: Path) -> None:
    bare = tmp_path / "bare.onnx"
    write_pooled_model(bare, embedding=False)

    async def talk(app: Application) -> None:
        await predict(app, PNG)

    serve(talk, bare)
    assert [row["embedding"] for row in rows(file)] == [None]


def test_a_random_share_is_asked_for_the_true_class(serve: Serve, file: Path) -> None:
    asked: dict[str, bool] = {}

    async def talk(app: Application) -> None:
        for _ in range(20):
            answers = await asyncio.gather(*(predict(app, PNG) for _ in range(20)))
            asked.update({each["prediction_id"]: each["feedback_requested"] for each in answers})
        chosen = [number for number, is_asked in asked.items() if is_asked][:2]
        other = next(number for number, is_asked in asked.items() if not is_asked)
        for number in (*chosen, other):
            given = {"prediction_id": number, "label": CLASSES[0]}
            assert (await app.client.post("/feedback", json=given)).json()["asked"] is asked[number]

    serve(talk, LOG__ASK_SHARE="0.25")
    assert {row["prediction_id"]: bool(row["asked"]) for row in rows(file)} == asked
    # Four standard deviations around 100.
    assert 65 < sum(asked.values()) < 135
    assert sorted(row["asked"] for row in rows(file, "feedback")) == [0, 1, 1]


@pytest.mark.parametrize(("changes", "expected"), [({"LOG__ASK_SHARE": "0"}, {False}), ({}, {True, False})])
def test_no_one_is_asked_if_nobody_should_be(
    changes: dict[str, str], expected: set[bool], serve: Serve
) -> None:
    async def talk(app: Application) -> None:
        answers = await asyncio.gather(*(predict(app, PNG) for _ in range(30)))
        assert {each["feedback_requested"] for each in answers} <= expected

    serve(talk, **changes)


def test_a_protocol_without_a_place_for_the_question_asks_no_one(serve: Serve, file: Path) -> None:
    async def talk(app: Application) -> None:
        await infer(app)
        await predict(app, PNG)

    serve(talk, LOG__ASK_SHARE="1")
    assert [row["asked"] for row in rows(file)] == [0, 1]


def test_without_a_log_no_one_is_asked(model: Path) -> None:
    async def talk() -> bool:
        async with application(model, {"VISIONGATE_SERVING__LOG__ASK_SHARE": "1"}) as app:
            requested: bool = (await predict(app, PNG))["feedback_requested"]
            return requested

    assert asyncio.run(talk()) is False


def test_the_name_of_the_key_is_recorded_with_feedback(serve: Serve, file: Path) -> None:
    secret, key = make_key("phone", is_admin=False)
    headers = {"Authorization": f"Bearer {secret}"}

    async def talk(app: Application) -> None:
        answer = await predict(app, PNG, headers=headers)
        given = {"prediction_id": answer["prediction_id"], "label": CLASSES[1]}
        await app.client.post("/feedback", json=given, headers=headers)

    serve(talk, KEYS=f'["{key.line}"]')
    assert [row["given_by"] for row in rows(file, "feedback")] == ["phone"]


def test_the_canary_and_the_shadow_are_told_apart(serve: Serve, tmp_path: Path, file: Path) -> None:
    second = tmp_path / "second.onnx"
    write_pooled_model(second, temperature=3.0)
    roles = {
        "ROLLOUT__CANARY": str(second),
        "ROLLOUT__CANARY_SHARE": "0.5",
        "ROLLOUT__SHADOW": str(second),
        "ROLLOUT__SHADOW_SHARE": "1",
    }

    async def talk(app: Application) -> None:
        slot = app.service.slots["default"]
        while not (slot.canary and slot.shadow):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for _ in range(30):
            await predict(app, PNG)
        while app.service._background:  # noqa: ASYNC110, SLF001 - the shadow's predictions
            await asyncio.sleep(0.005)

    serve(talk, **roles)
    found = rows(file)
    by_role = {role: [row for row in found if row["role"] == role] for role in ("active", "canary", "shadow")}
    assert len(by_role["active"]) + len(by_role["canary"]) == 30
    assert all(by_role.values())
    assert {row["model_id"] for row in by_role["canary"]} != {row["model_id"] for row in by_role["active"]}
    for row in by_role["shadow"]:
        assert row["shadow_of"] is not None
        assert (row["image_sha256"], row["asked"], row["kept"]) == (hashlib.sha256(PNG).hexdigest(), 0, None)


def test_failures_of_a_version_are_counted(serve: Serve, file: Path) -> None:
    async def talk(app: Application) -> None:
        classifier = app.service.slots["default"].require().classifier
        real = type(classifier).answer

        def fail(*_: object) -> None:
            raise RuntimeError("broken")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(classifier), "answer", fail)
            failed = [await app.client.post("/predict", content=PNG) for _ in range(3)]
        assert {response.status_code for response in failed} == {500}
        assert type(classifier).answer is real
        # An image that cannot be read is the client's fault.
        assert (await app.client.post("/predict", content=b"no image")).is_client_error
        labels = '{kind="error",model="pooled",model_version="'
        metrics = (await app.client.get("/metrics")).text
        [line] = [each for each in metrics.splitlines() if f"inference_failures_total{labels}" in each]
        assert line.endswith(" 3.0")

    serve(talk)
    # Several rows, which readers add up.
    found = rows(file, "failures")
    assert sum(row["count"] for row in found) == 3
    model_id = rows(file, "models")[0]["model_id"]
    assert {(row["model_id"], row["role"], row["kind"], row["time_us"] % 60_000_000) for row in found} == {
        (model_id, "active", "error", 0)
    }


def test_answers_that_come_too_late_are_counted(serve: Serve, file: Path) -> None:
    async def talk(app: Application) -> None:
        batcher = app.service.slots["default"].require().batcher

        async def wait(*_: object) -> None:
            await asyncio.Event().wait()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(batcher), "infer", wait)
            late = await app.client.post("/predict", content=PNG)
        assert late.status_code == 503

    serve(talk, LIMITS__DEADLINE_SECONDS="0.05")
    assert [(row["kind"], row["count"]) for row in rows(file, "failures")] == [("timeout", 1)]


def stored(tmp_path: Path) -> set[str]:
    return {path.stem for path in (tmp_path / "images").glob("*/*")}


@pytest.mark.parametrize(("keep", "share"), [("none", "1"), ("all", "0"), ("sample", "1"), ("sample", "0")])
def test_images_are_stored_as_the_settings_say(
    keep: str, share: str, serve: Serve, tmp_path: Path, file: Path
) -> None:
    is_kept = keep == "all" or (keep, share) == ("sample", "1")

    async def talk(app: Application) -> None:
        await predict(app, PNG)
        await predict(app, JPEG)
        await infer(app)
        metrics = (await app.client.get("/metrics")).text
        assert ("visiongate_images_stored_total" in metrics) is (keep != "none")

    settings = {"LOG__IMAGES__KEEP": keep, "LOG__IMAGES__SHARE": share, "LOG__ASK_SHARE": "0"}
    serve(talk, **settings)
    contents = {path.suffix[1:]: path.read_bytes() for path in (tmp_path / "images").glob("*/*")}
    assert contents == ({"png": PNG, "jpg": JPEG} if is_kept else {})
    assert [row["kept"] for row in rows(file)] == [is_kept, is_kept, None]


@pytest.mark.parametrize("keep", ["sample", "unsure"])
def test_images_whose_class_is_asked_for_are_stored(
    keep: str, serve: Serve, tmp_path: Path, file: Path
) -> None:
    async def talk(app: Application) -> None:
        for side in range(20, 60):
            await predict(app, encode(photo(side, 30), "PNG"))

    serve(
        talk,
        LOG__IMAGES__KEEP=keep,
        LOG__IMAGES__SHARE="0",
        LOG__ASK_SHARE="0.5",
    )
    asked = {row["image_sha256"] for row in rows(file) if row["asked"]}
    assert stored(tmp_path) == asked
    assert {row["image_sha256"] for row in rows(file) if row["kept"]} == asked
    assert 5 < len(asked) < 35


def test_images_that_the_model_doubts_are_stored(serve: Serve, tmp_path: Path, file: Path) -> None:
    model = tmp_path / "sure.onnx"
    write_threshold_model(model)
    add_reliability(
        model, {"error_rate": 0.1, "min_probability": 0.3, "novelty_threshold": None, "images": 50}
    )

    async def talk(app: Application) -> None:
        for level in range(120, 136):
            await predict(app, encode(Image.new("L", (4, 4), level), "PNG"))

    serve(talk, model, LOG__IMAGES__KEEP="unsure", LOG__ASK_SHARE="0")
    found = rows(file)
    assert stored(tmp_path) == {row["image_sha256"] for row in found if not row["sure"]}
    assert {row["sure"] for row in found} == {0, 1}
    assert all(row["kept"] == (not row["sure"]) for row in found)


def test_an_image_that_cannot_be_stored_is_not_kept(serve: Serve, tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "images"
    folder.write_text("in the way")

    async def talk(app: Application) -> None:
        images = app.service.images
        assert images is not None
        await predict(app, PNG)
        while images.fault is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await predict(app, JPEG)
        folder.unlink()
        while images.waiting_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await predict(app, encode(photo(20, 30), "PNG"))

    serve(talk, LOG__IMAGES__KEEP="all")
    # The first was not known to fail. The second was stored later.
    assert [row["kept"] for row in rows(file)][1:] == [0, 1]
    assert len(stored(tmp_path)) == 3


def test_a_full_log_takes_no_image_either(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("in the way")

    async def talk(app: Application) -> None:
        for side in range(20, 26):
            await predict(app, encode(photo(side, 30), "PNG"))
        images = app.service.images
        assert images is not None
        while images.waiting_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    serve(
        talk,
        LOG__IMAGES__KEEP="all",
        LOG__QUEUE="3",
        LOG__ADDRESS=f"sqlite:///{tmp_path}/folder/log.sqlite",
    )
    assert len(stored(tmp_path)) == 3
