"""From the body of an inference request to images, and to the outputs that the client asks for."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from visiongate.models.predictor import INPUT, Images
from visiongate.serving.inference_protocol.byte_strings import unpack
from visiongate.serving.inference_protocol.messages import InferenceRequest, RequestInput, RequestOutput
from visiongate.serving.inference_protocol.signature import BYTES, ENCODED, UINT8
from visiongate.serving.web.problems import Problem
from visiongate.serving.web.uploads import too_many_images

HEADER_LENGTH = "Inference-Header-Content-Length"
# Python objects take much more time and memory than their text. This is enough for a photo of 400 × 400 pixels.
MAX_JSON_VALUES = 500_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request may contain.

    Attributes:
        input_shape: Height, width and channels of the model.
        outputs: Their names, and whether each is returned by default.
        max_images: Of a request.
    """

    input_shape: tuple[int, ...]
    outputs: Mapping[str, bool]
    max_images: int


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A valid request.

    Attributes:
        id: Of the client; None without one.
        images: Pixels, uint8 N×H×W×C, or image files.
        outputs: The names of the outputs, and whether each is returned in binary form.
    """

    id: str | None
    images: Images | list[bytes]
    outputs: dict[str, bool]


def parse_request(body: bytes, header_length: str | None, expected: Expected) -> ParsedRequest:
    """Parse the body of a request.

    Args:
        body: A JSON object, and the binary tensors after it.
        header_length: The bytes of the object; None if it is the whole body.
        expected: What the model takes and returns.

    Raises:
        Problem: It is not a request for this model.
    """
    size = json_length(body, header_length)
    request = _parse_json(body[:size])
    if len(request.inputs) != 1:
        raise _invalid(f"the request has {len(request.inputs)} inputs; send one, {INPUT} or {ENCODED}")
    [tensor] = request.inputs
    outputs = _choose_outputs(request, expected)
    raw = _find_binary(tensor, memoryview(body)[size:])
    return ParsedRequest(request.id, _read_images(tensor, raw, expected), outputs)


def json_length(body: bytes, header_length: str | None) -> int:
    """Return the bytes of the JSON object at the start of a body.

    Raises:
        Problem: `header_length` is not a number, or exceeds the body.
    """
    size, text = len(body), header_length
    if text is None:
        return size
    # Longer numbers are too large for any body.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(size)) and 0 < int(text) <= size):
        raise _invalid(f"{HEADER_LENGTH} must be the bytes of the JSON object, from 1 to the body's {size}")
    return int(text)


def _parse_json(text: bytes) -> InferenceRequest:
    if len(text) > MAX_JSON_VALUES and sum(map(text.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise Problem(
            "body_too_large",
            f"the JSON object has more than {MAX_JSON_VALUES:,} values; send the tensor in binary form",
        )
    try:
        return InferenceRequest.model_validate_json(text)
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> Problem:
    [first, *_] = error.errors(include_url=False, include_input=False)
    place = ".".join(map(str, first["loc"]))
    return _invalid(f"{place}: {first['msg']}" if place else first["msg"])


def _choose_outputs(request: InferenceRequest, expected: Expected) -> dict[str, bool]:
    """Return the outputs to return, and whether each is returned in binary form."""
    default = _flag(request.parameters, "binary_data_output", default=False)
    if not request.outputs:
        return {name: default for name, is_default in expected.outputs.items() if is_default}
    chosen: dict[str, bool] = {}
    for output in request.outputs:
        _check_output(output, expected)
        if output.name in chosen:
            raise _invalid(f"the output {output.name} is requested twice")
        chosen[output.name] = _flag(output.parameters, "binary_data", default=default)
    return chosen


def _check_output(output: RequestOutput, expected: Expected) -> None:
    if output.name not in expected.outputs:
        raise _invalid(f"no output {output.name[:80]!r}; choose from {', '.join(expected.outputs)}")
    _refuse_shared_memory(output.parameters)
    if output.parameters.get("classification"):
        raise _invalid("the classification extension is not supported; request the output label")


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _invalid(f"the parameter {name} must be true or false")
    return value


def _refuse_shared_memory(parameters: Mapping[str, Any]) -> None:
    if "shared_memory_region" in parameters:
        raise _invalid("shared memory is not supported; send tensors in binary form")


def _find_binary(tensor: RequestInput, binary: memoryview) -> memoryview | None:
    """Return the bytes of a tensor that follow the JSON object; None if the object has its data."""
    _refuse_shared_memory(tensor.parameters)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if len(binary):
            raise _invalid(f"{len(binary)} bytes follow the JSON object, but no input has binary_data_size")
        return None
    if tensor.data is not None:
        raise _invalid(f"the input {tensor.name[:80]} has both data and binary_data_size; send one of them")
    # True equals 1.
    if type(size) is not int or size != len(binary):
        raise _invalid(f"binary_data_size must be the {len(binary)} bytes after the JSON object")
    return binary


def _read_images(tensor: RequestInput, raw: memoryview | None, expected: Expected) -> Images | list[bytes]:
    if tensor.name == INPUT:
        shape = _check_shape(tensor, UINT8, [list(expected.input_shape)], expected)
        return _read_pixels(tensor, raw, shape)
    if tensor.name == ENCODED:
        count = _check_shape(tensor, BYTES, [[], [1]], expected)[0]
        return _read_files(tensor, count) if raw is None else unpack(tensor.name, raw, count)
    raise _invalid(f"no input {tensor.name[:80]!r}; send {INPUT} or {ENCODED}")


def _check_shape(
    tensor: RequestInput, datatype: str, shapes: Sequence[list[int]], expected: Expected
) -> list[int]:
    """Return the shape of a tensor.

    Args:
        tensor: The input.
        datatype: That it must have.
        shapes: That an image may have.
        expected: Limits the number of images.
    """
    if tensor.datatype != datatype:
        raise _invalid(f"the input {tensor.name} must have the datatype {datatype}")
    if not tensor.shape or tensor.shape[1:] not in shapes:
        allowed = " or ".join(str([-1, *shape]) for shape in shapes)
        raise _invalid(f"the input {tensor.name} must have the shape {allowed}, not {_shorten(tensor.shape)}")
    count = tensor.shape[0]
    if count < 1:
        raise Problem("no_image", f"the input {tensor.name} has no image; its shape starts with their number")
    if count > expected.max_images:
        raise too_many_images(expected.max_images)
    return tensor.shape


def _shorten(shape: list[int]) -> str:
    text = str(shape)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - long enough for any sensible shape


def _read_pixels(tensor: RequestInput, raw: memoryview | None, shape: list[int]) -> Images:
    if raw is None:
        flat = _flatten(tensor, shape)
        try:
            raw = memoryview(bytes(flat))
        except (TypeError, ValueError):
            raise _invalid(f"the data of the input {INPUT} must be whole numbers from 0 to 255") from None
    if len(raw) != prod(shape):
        raise _invalid(f"the input {INPUT} has {len(raw)} bytes; its shape {shape} has {prod(shape)}")
    pixels: npt.NDArray[np.uint8] = np.frombuffer(raw, np.uint8)
    return pixels.reshape(shape)


def _read_files(tensor: RequestInput, count: int) -> list[bytes]:
    """Decode image files. They are not valid Unicode, therefore JSON has them in base64."""
    texts = _flatten(tensor, tensor.shape)
    if len(texts) != count:
        raise _invalid(f"the input {ENCODED} has {len(texts)} elements; its shape has {count}")
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (TypeError, ValueError):
        raise _invalid(f"in JSON, the data of the input {ENCODED} must be image files in base64") from None


def _flatten(tensor: RequestInput, shape: list[int]) -> list[Any]:
    """Return the elements of data that are flat, or nested as their shape."""
    if tensor.data is None:
        raise _invalid(f"the input {tensor.name} has neither data nor binary_data_size")
    data = tensor.data
    if not data or not isinstance(data[0], list):
        return data
    for length in shape[1:]:
        if not all(isinstance(each, list) and len(each) == length for each in data):
            raise _invalid(f"the data of the input {tensor.name} is not nested as its shape {shape}")
        data = list(chain.from_iterable(data))
    return data


def _invalid(detail: str) -> Problem:
    return Problem("invalid_request", detail)
