"""Versions of a served model: loaded beside the current one, exchanged between requests, rolled back, and shown a share."""

import asyncio
import base64
import io
import json
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import onnx
import pytest
from PIL import Image

from pooled_models import write_pooled_model
from served import Application, application
from visiongate.serving.service import Answered

Result = TypeVar("Result")
QUICKLY = {"VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.02"}


def _photo() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = _photo()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The file that is served, of version ``first``; ``second`` lies beside it."""
    write_pooled_model(tmp_path / "first.onnx", 2.0)
    write_pooled_model(tmp_path / "second.onnx", 1.0)
    served = tmp_path / "model.onnx"
    shutil.copy(tmp_path / "first.onnx", served)
    return served


def _replace(model: Path, content: bytes) -> None:
    """Replace a file at once, as a release does."""
    temporary = model.with_name("new")
    temporary.write_bytes(content)
    temporary.replace(model)


async def _sha256(app: Application) -> str:
    answer = (await app.client.post("/predict", content=PHOTO)).json()
    sha256: str = answer["model"]["sha256"]
    return sha256


async def _until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_new_version_is_served_while_requests_go_on(model: Path) -> None:
    async def work() -> tuple[set[int], list[str]]:
        async with application(model, QUICKLY) as app:
            slot = app.service.slots["default"]
            statuses, versions = set(), [await _sha256(app)]
            for name in ("second", "first") * 10:
                before = slot.require()
                _replace(model, model.with_name(f"{name}.onnx").read_bytes())
                while slot.require() is before:
                    answers = await asyncio.gather(
                        *(app.client.post("/predict", content=PHOTO) for _ in range(4))
                    )
                    statuses |= {answer.status_code for answer in answers}
                versions.append(await _sha256(app))
            return statuses, versions

    statuses, versions = run(work())

    assert statuses == {200}
    first, second = versions[:2]
    assert versions == [first, *[second, first] * 10]


def _damaged(model: Path) -> bytes:
    return model.read_bytes()[:-200]


def _wrong_example(model: Path) -> bytes:
    changed = onnx.load(model)
    example = {"image": base64.b64encode(PHOTO).decode(), "probabilities": [1.0, 0.0, 0.0]}
    changed.metadata_props.add(key="example", value=json.dumps(example))
    content: bytes = changed.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_damaged, "not a model that the train stage exported"),
        (_wrong_example, "probabilities for the example"),
        (lambda _: b"", "not a model that the train stage exported"),
    ],
)
def test_a_version_that_cannot_be_loaded_is_said_once_and_the_current_one_stays(
    model: Path, spoil: Callable[[Path], bytes], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> tuple[str, str, str | None]:
        async with application(model, QUICKLY) as app:
            slot, before = app.service.slots["default"], await _sha256(app)
            _replace(model, spoil(model.with_name("second.onnx")))
            await _until(lambda: slot.problem)
            await asyncio.sleep(0.2)
            return before, await _sha256(app), slot.problem

    before, after, problem = run(work())

    assert before == after
    assert words in str(problem)
    assert sum(words in record.getMessage() for record in caplog.records) == 1
    assert "the current version stays" in caplog.text


def test_a_problem_is_over_when_the_loaded_version_is_back(model: Path) -> None:
    async def work() -> str | None:
        async with application(model, QUICKLY) as app:
            slot = app.service.slots["default"]
            _replace(model, b"nothing")
            await _until(lambda: slot.problem)
            _replace(model, model.with_name("first.onnx").read_bytes())
            await _until(lambda: not slot.problem)
            return slot.problem

    assert run(work()) is None


def _make_pipe(model: Path) -> None:
    model.unlink()
    os.mkfifo(model)


def test_a_pipe_in_place_of_the_file_stops_neither_the_watch_nor_a_reload(model: Path) -> None:
    async def work() -> tuple[int, str]:
        async with application(model, QUICKLY) as app:
            slot, before = app.service.slots["default"], await _sha256(app)
            _make_pipe(model)
            status = (await app.client.post("/admin/reload")).status_code
            _replace(model, model.with_name("second.onnx").read_bytes())
            await _until(lambda: slot.require().origin.sha256 != before)
            return status, await _sha256(app)

    status, sha256 = run(work())

    assert status == 409
    assert sha256


def test_without_a_model_the_service_lives_and_becomes_ready_later(model: Path) -> None:
    good = model.read_bytes()
    model.write_bytes(b"\x08nothing")

    async def work() -> tuple[Any, str]:
        async with application(model, QUICKLY, wait=False) as app:
            slot = app.service.slots["default"]
            await _until(lambda: slot.problem)
            early = await app.client.post("/predict", content=PHOTO)
            _replace(model, good)
            await _until(lambda: slot.active)
            return early, await _sha256(app)

    early, sha256 = run(work())

    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    assert "not loaded yet" in early.json()["detail"]
    assert sha256


def test_a_rollback_lasts_until_another_version_or_a_reload(model: Path) -> None:
    async def work() -> list[str]:
        async with application(model, QUICKLY) as app:
            slot, seen = app.service.slots["default"], [await _sha256(app)]
            _replace(model, model.with_name("second.onnx").read_bytes())
            await _until(lambda: slot.previous)
            seen.append(await _sha256(app))
            response = await app.client.post("/admin/rollback")
            assert response.json()["versions"][0]["sha256"] == seen[0]
            await asyncio.sleep(0.2)
            seen.append(await _sha256(app))
            assert (await app.client.post("/admin/reload")).status_code == 200
            return [*seen, await _sha256(app)]

    first, second, rolled_back, reloaded = run(work())

    assert first != second
    assert (rolled_back, reloaded) == (first, second)


def test_a_rollback_needs_an_earlier_version(model: Path) -> None:
    async def work() -> Any:  # noqa: ANN401
        async with application(model) as app:
            return await app.client.post("/admin/rollback")

    response = run(work())

    assert response.status_code == 409
    assert "no earlier version" in response.json()["detail"]


def test_a_canary_answers_its_share(model: Path) -> None:
    canary = {
        "VISIONGATE_SERVING__ROLLOUT__CANARY": str(model.with_name("second.onnx")),
        "VISIONGATE_SERVING__ROLLOUT__CANARY_SHARE": "0.3",
    }

    async def work() -> tuple[int, int]:
        async with application(model, canary) as app:
            slot = app.service.slots["default"]
            await _until(lambda: slot.canary)
            versions = [slot.choose() for _ in range(2000)]
            answers = {await _sha256(app) for _ in range(60)}
            return sum(each is slot.canary for each in versions), len(answers)

    share, versions = run(work())

    # Five standard deviations around 600.
    assert 500 < share < 700
    assert versions == 2


def test_a_request_that_is_repeated_meets_the_same_version(model: Path) -> None:
    canary = {
        "VISIONGATE_SERVING__ROLLOUT__CANARY": str(model.with_name("second.onnx")),
        "VISIONGATE_SERVING__ROLLOUT__CANARY_SHARE": "0.5",
    }

    async def ask(app: Application, request_id: str) -> str:
        answer = await app.client.post("/predict", content=PHOTO, headers={"X-Request-ID": request_id})
        sha256: str = answer.json()["model"]["sha256"]
        return sha256

    async def work() -> list[list[str]]:
        async with application(model, canary) as app:
            await _until(lambda: app.service.slots["default"].canary)
            return [[await ask(app, f"order-{number}") for _ in range(5)] for number in range(20)]

    answers = run(work())

    assert all(len(set(each)) == 1 for each in answers)
    assert len({each[0] for each in answers}) == 2


class Comparisons:
    """Collects what the shadow predicts."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Answered, Answered]] = []

    def predicted(self, answered: Answered) -> None:
        pass

    def compared(self, answered: Answered, shadow: Answered) -> None:
        self.pairs.append((answered, shadow))


def test_a_shadow_predicts_the_same_images_and_answers_none(model: Path) -> None:
    shadow = {
        "VISIONGATE_SERVING__ROLLOUT__SHADOW": str(model.with_name("second.onnx")),
        "VISIONGATE_SERVING__ROLLOUT__SHADOW_SHARE": "1.0",
    }

    async def work() -> tuple[set[str], list[tuple[Answered, Answered]], str]:
        async with application(model, shadow) as app:
            slot, comparisons = app.service.slots["default"], Comparisons()
            app.service.observers.append(comparisons)
            await _until(lambda: slot.shadow)
            answers = set()
            for count in range(1, 6):
                answers.add(await _sha256(app))
                # The shadow skips images while others wait.
                await _until(lambda count=count: len(comparisons.pairs) == count)
            return answers, comparisons.pairs, (await app.client.get("/metrics")).text

    answers, pairs, metrics = run(work())

    assert len(answers) == 1
    for answered, compared in pairs:
        assert compared.prediction_id == answered.prediction_id
        assert compared.model.origin.sha256 not in answers
    # The versions differ in their temperature only.
    assert 'visiongate_shadow_predictions_total{agrees="true"} 5.0' in metrics


def _rename_class(model: Path) -> bytes:
    """Return a model with another class."""
    changed = onnx.load(model)
    for entry in changed.metadata_props:
        entry.value = entry.value.replace('"c"', '"d"')
    content: bytes = changed.SerializeToString()
    return content


@pytest.mark.parametrize("role", ["canary", "shadow"])
def test_a_version_that_does_not_fit_the_active_one_is_no_canary_and_no_shadow(
    model: Path, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = model.with_name("other.onnx")
    other.write_bytes(_rename_class(model))
    rollout = f"VISIONGATE_SERVING__ROLLOUT__{role.upper()}"

    async def work() -> list[object]:
        environment = {rollout: str(other), f"{rollout}_SHARE": "0.9", **QUICKLY}
        async with application(model, environment) as app:
            slot = app.service.slots["default"]
            await _until(lambda: slot.problem)
            assert (
                f"{role}: {other}: it has the classes"
                in (await app.client.get("/models")).json()[0]["problem"]
            )
            seen: list[object] = [slot.loaded(role)]
            # The active version changes to one that the other fits.
            _replace(model, other.read_bytes())
            await _until(lambda: slot.loaded(role))
            seen.append(slot.problem)
            slot.roll_back()
            return [*seen, slot.loaded(role), slot.problem is None]

    assert run(work()) == [None, None, None, False]
    assert f"the {role} is unloaded" in caplog.text


def test_a_model_describes_itself(model: Path) -> None:
    async def work() -> tuple[Any, Any]:
        async with application(model) as app:
            return (await app.client.get("/model")).json(), (await app.client.get("/models")).json()

    description, models = run(work())

    assert description["classes"] == ["a", "b", "c"]
    assert description["transform"]["input_shape"] == [8, 8, 1]
    assert {"probabilities", "embedding"} <= set(description["outputs"])
    assert [each["name"] for each in models] == ["default"]
    assert models[0]["versions"][0]["sha256"] == description["sha256"]
