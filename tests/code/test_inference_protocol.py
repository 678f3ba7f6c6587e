"""The messages of the Open Inference Protocol: what is written is read, and whatever is not a request is a problem."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiongate.serving.inference_protocol.byte_strings import pack, unpack
from visiongate.serving.inference_protocol.compression import decompress, read_encoding
from visiongate.serving.inference_protocol.messages import InferenceResponse
from visiongate.serving.inference_protocol.requests import MAX_JSON_VALUES, Expected, parse_request
from visiongate.serving.inference_protocol.responses import Tensor, make_response
from visiongate.serving.web.problems import Problem

SHAPE = (2, 3, 1)
EXPECTED = Expected(SHAPE, {"probabilities": True, "label": True, "embedding": False}, max_images=4)
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, *SHAPE)
quick = settings(max_examples=80, deadline=None)


def image_input(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """A valid input, with changes; None removes a member."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, *SHAPE], "data": PIXELS.tolist(), **changes}
    return {name: value for name, value in tensor.items() if value is not None}


def file_input(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    files = [base64.b64encode(content).decode() for content in (b"first", b"second")]
    return {"name": "encoded", "datatype": "BYTES", "shape": [2], "data": files, **changes}


def request(tensor: dict[str, Any], **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"inputs": [tensor], **members}


def binary(tensor: dict[str, Any], content: bytes, **members: Any) -> tuple[bytes, str]:  # noqa: ANN401 - any JSON
    """Return a body with a binary tensor, and the length of its JSON object."""
    parameters = {"binary_data_size": len(content)} | tensor.pop("parameters", {})
    tensor = {name: value for name, value in tensor.items() if name != "data"} | {"parameters": parameters}
    text = json.dumps(request(tensor, **members)).encode()
    return text + content, str(len(text))


def detail_of(function: Callable[..., object], *arguments: object) -> str:
    """Return kind and detail of the problem that a function raises."""
    with pytest.raises(Problem) as caught:
        function(*arguments)
    return f"{caught.value.kind}: {caught.value.detail}"


def kind_of(function: Callable[..., object], *arguments: object) -> str:
    """Return the kind of the problem that a function raises; nothing if it returns."""
    try:
        function(*arguments)
    except Problem as problem:
        return problem.kind
    return ""


def problem_of(message: object, length: str | None = None) -> str:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return detail_of(parse_request, body, length, EXPECTED)


@given(st.lists(st.binary(max_size=40), max_size=4))
@quick
def test_byte_strings_are_read_as_written(elements: list[bytes]) -> None:
    assert unpack("encoded", memoryview(pack(elements)), len(elements)) == elements


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.booleans(), st.booleans())
@quick
def test_files_are_read_as_written(files: list[bytes], is_binary: bool, is_column: bool) -> None:  # noqa: FBT001
    shape = [len(files), 1] if is_column else [len(files)]
    if is_binary:
        body, length = binary(file_input(shape=shape), pack(files), id="7")
        parsed = parse_request(body, length, EXPECTED)
    else:
        texts = [base64.b64encode(file).decode() for file in files]
        data = [[text] for text in texts] if is_column else texts
        parsed = parse_request(
            json.dumps(request(file_input(shape=shape, data=data), id="7")).encode(), None, EXPECTED
        )
    assert (parsed.id, parsed.images) == ("7", files)
    assert parsed.outputs == {"probabilities": False, "label": False}


@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
def test_pixels_are_read_as_written(form: str) -> None:
    if form == "binary":
        body, length = binary(image_input(), PIXELS.tobytes())
        parsed = parse_request(body, length, EXPECTED)
    else:
        data = PIXELS.ravel().tolist() if form == "flat" else PIXELS.tolist()
        parsed = parse_request(json.dumps(request(image_input(data=data))).encode(), None, EXPECTED)
    assert np.array_equal(parsed.images, PIXELS)
    assert parsed.id is None


def test_outputs_are_those_that_are_asked_for_in_their_form() -> None:
    outputs = [
        {"name": "embedding"},
        {"name": "label", "parameters": {"binary_data": False, "classification": 0, "unknown": "x"}},
    ]
    message = request(image_input(), outputs=outputs, parameters={"binary_data_output": True}, unknown=[1])
    parsed = parse_request(json.dumps(message).encode(), None, EXPECTED)
    assert parsed.outputs == {"embedding": True, "label": False}
    message = request(image_input(parameters=None), outputs=[], parameters={"binary_data_output": True})
    parsed = parse_request(json.dumps(message).encode(), None, EXPECTED)
    assert parsed.outputs == {"probabilities": True, "label": True}


@given(st.binary(max_size=60), st.none() | st.text(max_size=6))
@quick
def test_any_body_is_a_request_or_a_problem(body: bytes, length: str | None) -> None:
    detail_of(parse_request, body, length, EXPECTED)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["inputs", "outputs", "parameters", "id"]), json_values)
@quick
def test_any_member_is_read_or_a_problem(name: str, value: object) -> None:
    body = json.dumps(request(image_input()) | {name: value}).encode()
    assert kind_of(parse_request, body, None, EXPECTED) in {"", "invalid_request"}


@given(
    st.sampled_from(["images", "encoded"]),
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    json_values,
    st.binary(max_size=20),
)
@quick
def test_any_tensor_is_read_or_a_problem(name: str, member: str, value: object, tail: bytes) -> None:
    tensor = image_input() if name == "images" else file_input()
    text = json.dumps(request(tensor | {member: value})).encode()
    kinds = {"", "invalid_request", "no_image", "too_many_files"}
    assert kind_of(parse_request, text + tail, str(len(text)), EXPECTED) in kinds


@given(st.binary(max_size=30), st.integers(min_value=0, max_value=4))
@quick
def test_any_byte_strings_are_read_or_a_problem(content: bytes, count: int) -> None:
    assert kind_of(unpack, "encoded", memoryview(content), count) in {"", "invalid_request"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "invalid_request: Invalid JSON: EOF"),
        (b"[]", "invalid_request: Input should be an object"),
        (b"\xff", "invalid_request: Invalid JSON"),
        (b'{"inputs": ' + b"[" * 5000, "recursion limit exceeded"),
        ({}, "invalid_request: inputs: Field required"),
        ({"inputs": [1] * 100_000}, "invalid_request: inputs: List should have at most 16 items"),
        ({"inputs": []}, "the request has 0 inputs; send one, images or encoded"),
        ({"inputs": [image_input(), file_input()]}, "the request has 2 inputs"),
        (request({"name": "images"}), "inputs.0.datatype: Field required"),
        (request(image_input(name="pixels")), "no input 'pixels'; send images or encoded"),
        (request(image_input(datatype="FP32")), "the input images must have the datatype UINT8"),
        (request(image_input(shape=[2, 3, 2, 1])), "must have the shape [-1, 2, 3, 1], not [2, 3, 2, 1]"),
        (request(image_input(shape=[])), "must have the shape [-1, 2, 3, 1], not []"),
        (request(image_input(shape=[10**4000, 1])), "must have the shape [-1, 2, 3, 1], not [1000"),
        (request(image_input(shape=[1] * 100_000)), "inputs.0.shape: List should have at most 8 items"),
        (request(image_input(shape=[2.0, *SHAPE])), "inputs.0.shape.0: Input should be a valid integer"),
        (request(image_input(shape=[0, *SHAPE])), "no_image: the input images has no image"),
        (request(image_input(shape=[-1, *SHAPE])), "no_image: the input images has no image"),
        (request(image_input(shape=[5, *SHAPE])), "too_many_files: the request has more than 4 images"),
        (request(image_input(shape=[2**63, *SHAPE])), "too_many_files"),
        (request(image_input(data=[1, 2])), "the input images has 2 bytes; its shape [2, 2, 3, 1] has 12"),
        (request(image_input(data=None)), "the input images has neither data nor binary_data_size"),
        (request(image_input(data=[[1], [2]])), "is not nested as its shape [2, 2, 3, 1]"),
        (request(image_input(data=[[[[[1]]] * 3] * 2] * 2)), "must be whole numbers from 0 to 255"),
        (request(image_input(data=[256] * 12)), "must be whole numbers from 0 to 255"),
        (request(image_input(data=[-1] * 12)), "must be whole numbers from 0 to 255"),
        (request(image_input(data=[0.5] * 12)), "must be whole numbers from 0 to 255"),
        (request(image_input(data=[float("nan")] * 12)), "must be whole numbers from 0 to 255"),
        (request(image_input(data=["1"] * 12)), "must be whole numbers from 0 to 255"),
        (request(file_input(shape=[2, 2])), "must have the shape [-1] or [-1, 1], not [2, 2]"),
        (request(file_input(shape=[3])), "the input encoded has 2 elements; its shape has 3"),
        (request(file_input(data=["\x00é", "a"])), "must be image files in base64"),
        (request(file_input(data=[1, None])), "must be image files in base64"),
        (
            request(image_input(), outputs=[{"name": "logits"}]),
            "no output 'logits'; choose from probabilities",
        ),
        (request(image_input(), outputs=[{"name": "label"}] * 2), "the output label is requested twice"),
        (request(image_input(), id=7), "id: Input should be a valid string"),
        (
            request(image_input(), outputs=[{"name": "label", "parameters": {"binary_data": 1}}]),
            "the parameter binary_data must be true or false",
        ),
        (
            request(image_input(), parameters={"binary_data_output": "yes"}),
            "the parameter binary_data_output must be true or false",
        ),
        (
            request(image_input(), outputs=[{"name": "label", "parameters": {"classification": 2}}]),
            "the classification extension is not supported; request the output label",
        ),
        (
            request(image_input(), outputs=[{"name": "label", "parameters": {"shared_memory_region": "a"}}]),
            "shared memory is not supported",
        ),
        (
            request(image_input(data=None, parameters={"shared_memory_region": "a"})),
            "shared memory is not supported",
        ),
        (
            request(image_input(parameters={"binary_data_size": 0})),
            "the input images has both data and binary_data_size",
        ),
    ],
)
def test_an_invalid_request_is_a_problem_that_helps(message: object, expected: str) -> None:
    assert expected in problem_of(message)


@pytest.mark.parametrize("length", ["", "0", "-1", "1.5", "٣", "1e3", "99999", "9" * 5000])
def test_an_invalid_header_length_is_a_problem(length: str) -> None:
    assert "must be the bytes of the JSON object, from 1 to the body's" in problem_of(
        request(image_input()), length
    )


def test_invalid_binary_tensors_are_problems() -> None:
    pixels = PIXELS.tobytes()
    assert "has 11 bytes; its shape [2, 2, 3, 1] has 12" in problem_of(*binary(image_input(), pixels[1:]))
    for size in (11, 13, -1, 2**70, True, "12", 12.0, [12]):
        body = binary(image_input(parameters={"binary_data_size": size}), pixels)
        assert "binary_data_size must be the 12 bytes after the JSON object" in problem_of(*body)
    text = json.dumps(request(image_input())).encode()
    assert "3 bytes follow the JSON object" in problem_of(text + b"abc", str(len(text)))
    files = pack([b"first", b"second"])
    truncated = problem_of(*binary(file_input(), files[:-1]))
    assert "the input encoded" not in truncated
    assert "end within element 1 of 2; each element is its length (4 bytes, little-endian)" in truncated
    assert "end within element 0 of 2" in problem_of(*binary(file_input(), struct.pack("<I", 2**32 - 1)))
    assert "end within element 1 of 2" in problem_of(*binary(file_input(), pack([b"first"])))
    assert "4 bytes follow its 2 elements" in problem_of(*binary(file_input(), files + pack([b""])))


def test_null_is_accepted_for_what_is_absent() -> None:
    tensor = image_input() | {"parameters": None}
    nothing = {"id": None, "outputs": None, "parameters": None}
    parsed = parse_request(json.dumps(request(tensor, **nothing)).encode(), None, EXPECTED)
    assert np.array_equal(parsed.images, PIXELS)
    body, length = binary(image_input() | {"parameters": {}}, PIXELS.tobytes())
    assert np.array_equal(
        parse_request(
            body.replace(b'"parameters"', b'"data":null,"parameters"'), str(int(length) + 12), EXPECTED
        ).images,
        PIXELS,
    )


def test_tensors_are_answered_in_the_form_that_is_asked_for() -> None:
    scores = np.array([[0.1, np.nan], [2**-149, 3e38]], np.float32)
    tensors = {
        "scores": Tensor("FP32", scores, binary=True),
        "flags": Tensor("BOOL", np.array([True, False]), binary=False),
        "names": Tensor("BYTES", np.array(["é".encode(), b""], np.object_), binary=True),
        "again": Tensor("FP32", scores, binary=False),
        "words": Tensor("BYTES", np.array(["é".encode(), b""], np.object_), binary=False),
    }

    response = make_response("name", "3", "id", tensors)

    size = int(response.headers["Inference-Header-Content-Length"])
    message, content = json.loads(bytes(response.body)[:size]), memoryview(response.body)[size:]
    assert (message["model_name"], message["model_version"], message["id"]) == ("name", "3", "id")
    InferenceResponse.model_validate(message, strict=True, extra="forbid")
    values, flags, names, again, words = message["outputs"]
    assert values == {
        "name": "scores",
        "datatype": "FP32",
        "shape": [2, 2],
        "parameters": {"binary_data_size": 16},
    }
    assert np.array_equal(np.frombuffer(content[:16], "<f4").reshape(2, 2), scores, equal_nan=True)
    assert flags == {"name": "flags", "datatype": "BOOL", "shape": [2], "data": [True, False]}
    assert unpack("names", content[16:], 2) == ["é".encode(), b""]
    assert names["parameters"] == {"binary_data_size": len(content) - 16}
    # As few digits as tell float32 from its neighbors; JSON has no NaN.
    assert again["data"][:2] == [0.1, None]
    assert np.array_equal(np.array(again["data"][2:], np.float32), scores[1])
    assert words["data"] == ["é", ""]


def test_an_object_of_too_many_values_is_not_parsed() -> None:
    text = b'{"inputs": [' + b"[]," * MAX_JSON_VALUES
    assert "send the tensor in binary form" in problem_of(text)
    # The text of a large file in base64 is one value.
    large = base64.b64encode(bytes(MAX_JSON_VALUES)).decode()
    body = json.dumps(request(file_input(data=[large, large]))).encode()
    assert parse_request(body, None, EXPECTED).images == [bytes(MAX_JSON_VALUES)] * 2


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_bodies_are_read_within_their_limit(compress: Callable[[bytes], bytes]) -> None:
    body = compress(b"x" * 5000)
    assert decompress(body, 5000) == b"x" * 5000
    assert "body_too_large: the decompressed request has more than 4,999 bytes" in detail_of(
        decompress, body, 4999
    )
    assert "truncated" in detail_of(decompress, body[:-2], 5000)
    assert "or more bytes follow it" in detail_of(decompress, body + b"x", 5000)
    damaged = body[:-1] + bytes([body[-1] ^ 1])
    assert "or is damaged" in detail_of(decompress, damaged, 5000)


@given(st.binary(max_size=60))
@quick
def test_any_compressed_body_is_read_or_a_problem(body: bytes) -> None:
    assert kind_of(decompress, body, 10) in {"", "invalid_request", "body_too_large"}


def test_encodings_are_recognized() -> None:
    assert (read_encoding(None), read_encoding("identity")) == (None, None)
    assert (read_encoding(" GZIP"), read_encoding("deflate")) == ("gzip", "deflate")
    for header in ("br", "gzip, gzip", "", "é"):
        with pytest.raises(Problem) as caught:
            read_encoding(header or ",")
        assert caught.value.status == 415
        assert caught.value.headers == {"Accept-Encoding": "gzip, deflate"}
