"""The routes of the Open Inference Protocol, called as curl does and by Triton's own client."""

import asyncio
import base64
import gc
import gzip
import io
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from localizable_models import CLASSES, FILTERS, SIDE, draw_scenes, write_random_probe
from served import Process, application, process
from tiny_models import add_reliability, write_threshold_model
from visiongate.models.model_input import to_input
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.serving.web.problems import MEDIA_TYPE, Problem

INFER = "/v2/models/default/infer"
SHAPE = [SIDE, SIDE, 3]
IMAGES = draw_scenes(3).images


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# Larger than the model's input, so that they are resized.
FILES = [encode(image.repeat(3, axis=0)) for image in draw_scenes(3, seed=1).images]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "scenes.onnx"
    write_random_probe(path, seed=0)
    return path


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return open_predictor(model)


def problems() -> list[object]:
    # By the type, because `isinstance` asks some objects for their class, which then warn.
    return [each for each in gc.get_objects() if issubclass(type(each), Problem)]


def call(
    model: Path, *requests: httpx.Request, environment: dict[str, str] | None = None
) -> list[httpx.Response]:
    """Start a service, send requests, and return the responses."""

    async def send() -> list[httpx.Response]:
        async with application(model, environment) as app:
            return [await app.client.send(each) for each in requests]

    return asyncio.run(send())


def get(path: str) -> httpx.Request:
    return httpx.Request("GET", f"http://service{path}")


def post(message: dict[str, Any], path: str = INFER, **headers: str) -> httpx.Request:
    return httpx.Request("POST", f"http://service{path}", json=message, headers=headers)


def pixels_message(images: npt.NDArray[np.uint8] = IMAGES, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.tolist()}
    return {"inputs": [tensor], **members}


def files_message(*files: bytes, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    data = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [len(files)], "data": data}
    return {"inputs": [tensor], **members}


def tensors_of(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {each["name"]: each for each in response.json()["outputs"]}


def test_server_and_models_are_described(model: Path) -> None:
    paths = ["", "/health/live", "/health/ready", "/models/default", "/models/scenes/ready"]
    server, live, ready, metadata, model_ready = call(model, *(get(f"/v2{path}") for path in paths))

    assert server.json() == {"name": "visiongate", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
    assert (live.json(), ready.json()) == ({"live": True}, {"ready": True})
    # By the name of the file, too.
    assert model_ready.json() == {"name": "scenes", "ready": True}
    described = metadata.json()
    assert (described["name"], described["versions"], described["platform"]) == (
        "default",
        [],
        "onnxruntime_onnx",
    )
    assert described["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [-1, *SHAPE]},
        {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
    ]
    shapes = {each["name"]: (each["datatype"], each["shape"]) for each in described["outputs"]}
    assert shapes == {
        "probabilities": ("FP32", [-1, 3]),
        "label": ("BYTES", [-1]),
        "confidence": ("FP32", [-1]),
        "prediction_id": ("BYTES", [-1]),
        "activation_map": ("FP32", [-1, 3, SIDE // 4, SIDE // 4]),
        "embedding": ("FP32", [-1, FILTERS]),
    }


def test_pixels_and_files_are_predicted_as_the_model_does(model: Path, predictor: Predictor) -> None:
    outputs = [{"name": name} for name in ("embedding", "label", "probabilities", "confidence")]
    pixels, files = call(
        model, post(pixels_message(id="a-7", outputs=outputs)), post(files_message(*FILES), INFER)
    )

    assert (pixels.json()["id"], pixels.json()["model_name"]) == ("a-7", "default")
    assert "model_version" not in pixels.json()
    tensors = tensors_of(pixels)
    assert list(tensors) == ["embedding", "label", "probabilities", "confidence"]
    expected = predictor.run(IMAGES, ["probabilities", "embedding"])
    for name, values in expected.items():
        assert tensors[name]["shape"] == list(values.shape)
        np.testing.assert_array_equal(np.array(tensors[name]["data"], np.float32), values.ravel())
    assert tensors["label"]["data"] == [CLASSES[index] for index in expected["probabilities"].argmax(axis=1)]

    assert "id" not in files.json()
    tensors = tensors_of(files)
    assert list(tensors) == ["probabilities", "label", "confidence", "prediction_id"]
    inputs = np.stack([to_input(file, predictor.contract) for file in FILES])
    expected_values = predictor.predict(inputs).ravel()
    np.testing.assert_array_equal(np.array(tensors["probabilities"]["data"], np.float32), expected_values)
    assert len(set(tensors["prediction_id"]["data"])) == 3


def test_the_answer_says_what_can_be_relied_on(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_threshold_model(path)
    add_reliability(
        path, {"error_rate": 0.1, "min_probability": 0.3, "novelty_threshold": 200.0, "images": 50}
    )
    shades = np.array([0, 127, 255], np.uint8)[:, None, None, None] * np.ones((3, 4, 4, 1), np.uint8)

    [response] = call(path, post(pixels_message(shades)))

    tensors = tensors_of(response)
    assert (tensors["sure"]["datatype"], tensors["sure"]["data"][:2]) == ("BOOL", [True, False])
    assert tensors["out_of_distribution"]["data"] == [False, False, True]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_cannot_grow_beyond_the_limit(
    model: Path, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    headers = {"Content-Encoding": encoding}
    body = json.dumps(pixels_message()).encode()
    bomb = body[:-1] + b" " * 1_000_000 + b"}"
    requests = [
        httpx.Request("POST", f"http://service{INFER}", content=compress(each), headers=headers)
        for each in (body, bomb)
    ]
    limit = {"VISIONGATE_SERVING__LIMITS__BODY_BYTES": "1000000"}
    fine, too_large = call(model, *requests, environment=limit)

    assert tensors_of(fine)["label"]["shape"] == [3]
    assert (too_large.status_code, "1,000,000 bytes" in too_large.json()["error"]) == (413, True)


def test_a_request_that_cannot_be_answered_gets_a_problem_that_its_client_understands(model: Path) -> None:
    encoding, length = {"Content-Encoding": "br"}, {"Inference-Header-Content-Length": "x"}
    version = "/v2/models/default/versions/3"
    cases = [
        (404, "no model 'other'; choose one of default", post(pixels_message(), "/v2/models/other/infer")),
        (404, "no model 'a model'; choose one of default", get("/v2/models/a%20model/ready")),
        (404, "version 3 of default is not loaded", post(pixels_message(), f"{version}/infer")),
        (404, "version 3 of default is not loaded", get(version)),
        (404, "version 3 of default is not loaded", get(f"{version}/ready")),
        (422, "encoded[1]: the file is not an image (text file)", post(files_message(FILES[0], b"hello"))),
        (422, "the file is not an image (text file)", post(files_message(b"hello"))),
        (413, "the request has more than 2 images", post(files_message(*FILES))),
        (415, "compress it by one of gzip, deflate", post(pixels_message(), **encoding)),
        (400, "Content-Length must be", post(pixels_message(), **{"Content-Length": "x"})),
        (400, "Inference-Header-Content-Length must be", post(pixels_message(), **length)),
    ]
    limit = {"VISIONGATE_SERVING__LIMITS__FILES": "2"}
    responses = call(model, *(each for _, _, each in cases), environment=limit)

    for (status, words, _), response in zip(cases, responses, strict=True):
        problem = response.json()
        assert (response.status_code, response.headers["content-type"]) == (status, MEDIA_TYPE)
        assert words in problem["detail"]
        assert problem["error"] == problem["detail"]


def test_a_failed_request_keeps_nothing_in_memory(model: Path) -> None:
    async def send() -> list[object]:
        async with application(model) as app:
            gc.collect()
            # A test before this one may hold a problem; the list keeps its address from being used again.
            before = problems()
            known = {id(problem) for problem in before}
            gc.disable()
            for message in (files_message(b"hello"), files_message(b"hello", FILES[0]), {"inputs": []}):
                response = await app.client.send(post(message))
                assert response.status_code >= 400
            await app.client.post("/predict", content=b"hello")
            # A thread that raised a problem may still be leaving its `except` when the answer is there.
            deadline = time.monotonic() + 10
            while left := [problem for problem in problems() if id(problem) not in known]:
                if time.monotonic() > deadline:
                    break
                # The list itself keeps them.
                del left
                await asyncio.sleep(0.01)
            return left

    try:
        assert asyncio.run(send()) == []
    finally:
        gc.enable()


def test_a_version_that_is_loaded_can_be_asked_for(model: Path) -> None:
    async def send() -> list[dict[str, Any]]:
        async with application(model) as app:
            slot = app.service.slots["default"]
            active = slot.require()
            # As two versions of a registered model are.
            slot.active, slot.canary = (
                replace(active, origin=replace(active.origin, version=version)) for version in "34"
            )
            slot.canary_share = 1.0
            versions = "/v2/models/default/versions"
            requests = [
                get("/v2/models/default"),
                get(f"{versions}/4"),
                get(f"{versions}/4/ready"),
                post(pixels_message(), f"{versions}/3/infer"),
                post(pixels_message()),
            ]
            return [(await app.client.send(each)).json() for each in requests]

    metadata, version_metadata, ready, third, canary = asyncio.run(send())

    assert metadata["versions"] == ["3", "4"]
    assert metadata == version_metadata
    assert ready == {"name": "default", "ready": True}
    assert (third["model_version"], canary["model_version"]) == ("3", "4")


def test_a_model_that_is_not_loaded_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08no model")

    async def send() -> list[int]:
        async with application(path, wait=False) as app:
            paths = ["health/live", "health/ready", "models/default", "models/default/ready"]
            answers = [await app.client.get(f"/v2/{each}") for each in paths]
            answers.append(await app.client.post(INFER, json=pixels_message()))
            return [each.status_code for each in answers]

    assert asyncio.run(send()) == [200, 503, 503, 503, 503]


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with process(model, tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture
def triton(server: Process) -> Iterator[tuple[ModuleType, Any]]:
    # It imports gevent, which no other test should have to share a process with before it is needed.
    from tritonclient import http  # noqa: PLC0415

    with http.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield http, client


def triton_pixels(http: ModuleType, *, binary: bool = True) -> Any:  # noqa: ANN401 - the client has no types
    tensor = http.InferInput("images", list(IMAGES.shape), "UINT8")
    tensor.set_data_from_numpy(IMAGES, binary_data=binary)
    return tensor


def triton_files(http: ModuleType) -> Any:  # noqa: ANN401 - the client has no types
    tensor = http.InferInput("encoded", [3], "BYTES")
    tensor.set_data_from_numpy(np.array(FILES, dtype=np.object_))
    return tensor


@pytest.mark.slow
def test_the_client_of_triton_works_unchanged(triton: tuple[ModuleType, Any], predictor: Predictor) -> None:
    http, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("default")
    assert not client.is_model_ready("default", "3")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("default")["inputs"][0]["shape"] == [-1, *SHAPE]

    expected = predictor.run(IMAGES, ["probabilities", "embedding", "activation_map"])
    labels = [CLASSES[index].encode() for index in expected["probabilities"].argmax(axis=1)]
    for compression in (None, "gzip", "deflate"):
        for binary in (True, False):
            outputs = [http.InferRequestedOutput(name, binary_data=binary) for name in (*expected, "label")]
            result = client.infer(
                "default",
                [triton_pixels(http, binary=binary)],
                request_id="17",
                outputs=outputs,
                request_compression_algorithm=compression,
                response_compression_algorithm=compression,
            )
            for name, values in expected.items():
                np.testing.assert_array_equal(result.as_numpy(name), values)
            found = result.as_numpy("label").tolist()
            assert found == labels if binary else [each.encode() for each in found] == labels
            assert result.get_response()["id"] == "17"

    result = client.infer("scenes", [triton_files(http)])
    inputs = np.stack([to_input(file, predictor.contract) for file in FILES])
    np.testing.assert_array_equal(result.as_numpy("probabilities"), predictor.predict(inputs))
    assert result.as_numpy("prediction_id").shape == (3,)
    assert result.as_numpy("embedding") is None


@pytest.mark.slow
def test_the_client_of_triton_understands_problems(triton: tuple[ModuleType, Any]) -> None:
    http, client = triton
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    text = http.InferInput("encoded", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"hello"], dtype=np.object_))
    for name, inputs, words in (
        ("default", [text], r"\[422\] the file is not an image"),
        ("other", [text], r"\[404\] no model 'other'; choose one of default"),
        ("default", [triton_pixels(http), text], r"\[400\] the request has 2 inputs"),
    ):
        with pytest.raises(InferenceServerException, match=words):
            client.infer(name, inputs)
    with pytest.raises(InferenceServerException, match=r"\[400\] no output 'logits'"):
        client.infer("default", [triton_files(http)], outputs=[http.InferRequestedOutput("logits")])
    with pytest.raises(InferenceServerException, match=r"\[404\] no model"):
        client.get_model_metadata("a model")


@pytest.mark.slow
def test_no_generated_request_has_an_unexpected_answer(server: Process) -> None:
    words = [
        "run",
        f"{server.url}/openapi.json",
        "--phases",
        "examples,coverage",
        "--generation-database",
        "none",
    ]
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words, "--continue-on-failure", "--no-color"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "schemathesis.toml" in run.stdout
