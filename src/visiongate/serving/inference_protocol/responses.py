"""From predictions to the answer of an inference request."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from visiongate.serving.inference_protocol.byte_strings import pack
from visiongate.serving.inference_protocol.messages import InferenceResponse, ResponseOutput
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
    binary = {name: _to_bytes(tensor) for name, tensor in tensors.items() if tensor.binary}
    outputs = [_describe(name, tensor, binary.get(name)) for name, tensor in tensors.items()]
    message = InferenceResponse(model_name=name, model_version=version, id=request_id, outputs=outputs)
    content = message.model_dump_json(exclude_none=True).encode()
    if not binary:
        return Response(content, media_type="application/json")
    return Response(
        b"".join([content, *binary.values()]),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(content))},
    )


def _to_bytes(tensor: Tensor) -> bytes:
    return pack(tensor.values.tolist()) if tensor.datatype == BYTES else tensor.values.tobytes()


def _describe(name: str, tensor: Tensor, binary: bytes | None) -> ResponseOutput:
    output = ResponseOutput(name=name, datatype=tensor.datatype, shape=list(tensor.values.shape))
    if binary is not None:
        output.parameters = {"binary_data_size": len(binary)}
    else:
        elements = tensor.values.ravel().tolist()
        output.data = [each.decode() for each in elements] if tensor.datatype == BYTES else elements
    return output
