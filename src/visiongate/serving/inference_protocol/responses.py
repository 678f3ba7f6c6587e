"""From predictions to the answer of an inference request."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from starlette.responses import Response

from visiongate.serving.inference_protocol.byte_strings import pack
from visiongate.serving.inference_protocol.requests import HEADER_LENGTH
from visiongate.serving.inference_protocol.signature import BYTES, Values


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output of an answer.

    Attributes:
        datatype: Of the protocol.
        values: N×…; bytes for the datatype BYTES.
        binary: Whether it follows the JSON object.
    """

    datatype: str
    values: Values
    binary: bool


def make_response(
    name: str, version: str | None, request_id: str | None, tensors: Mapping[str, Tensor]
) -> Response:
    """Return the answer of an inference request.

    Args:
        name: Of the model, as the client wrote it.
        version: Of the model; None for a file.
        request_id: Of the client; None without one.
        tensors: The outputs by name.
    """
    binary = {each: _to_bytes(tensor) for each, tensor in tensors.items() if tensor.binary}
    outputs = [_describe(each, tensor, binary.get(each)) for each, tensor in tensors.items()]
    message = {"model_name": name, "model_version": version, "id": request_id, "outputs": outputs}
    present = {member: value for member, value in message.items() if value is not None}
    # Writes float32 in as few digits as tell it from its neighbors.
    content = orjson.dumps(present, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return Response(content, media_type="application/json")
    return Response(
        b"".join([content, *binary.values()]),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(content))},
    )


def _to_bytes(tensor: Tensor) -> bytes:
    return pack(tensor.values.tolist()) if tensor.datatype == BYTES else tensor.values.tobytes()


def _describe(name: str, tensor: Tensor, binary: bytes | None) -> dict[str, object]:
    """Return a tensor as `ResponseOutput` describes it."""
    output = {"name": name, "datatype": tensor.datatype, "shape": tensor.values.shape}
    if binary is not None:
        return output | {"parameters": {"binary_data_size": len(binary)}}
    if tensor.datatype == BYTES:
        return output | {"data": [each.decode() for each in tensor.values]}
    return output | {"data": np.ascontiguousarray(tensor.values).ravel()}
