"""The JSON objects of the protocol."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

# Longer lists would be no request for a classifier.
MAX_TENSORS = 16
MAX_DIMENSIONS = 8
# A gray PNG of one pixel.
TINY_IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
EXAMPLE: JsonValue = {
    "id": "1",
    "inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [TINY_IMAGE]}],
    "outputs": [{"name": "probabilities"}, {"name": "label"}],
}
# Some clients send null in place of none. Their values are checked where they are used; unknown ones are ignored.
Parameters = Annotated[
    dict[str, Any],
    BeforeValidator(
        lambda value: {} if value is None else value, json_schema_input_type=dict[str, Any] | None
    ),
]


class Message(BaseModel):
    """An object from a client. Types are checked strictly, and unknown members are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class RequestInput(Message):
    """A tensor that a client sends."""

    name: Annotated[str, Field(description="`images` or `encoded`.")]
    datatype: Annotated[str, Field(description="`UINT8` for `images`, `BYTES` for `encoded`.")]
    shape: Annotated[list[int], Field(max_length=MAX_DIMENSIONS)]
    data: Annotated[
        list[Any] | None,
        Field(description="The elements, flat or nested. Those of `encoded` are image files in base64."),
    ] = None
    parameters: Annotated[
        Parameters,
        Field(
            default_factory=dict,
            description="`binary_data_size`: the bytes of the tensor after the JSON object, in place of `data`.",
        ),
    ]


class RequestOutput(Message):
    """A tensor that a client asks for."""

    name: str
    parameters: Annotated[
        Parameters,
        Field(
            default_factory=dict,
            description="`binary_data`: whether the tensor follows the JSON object of the answer as bytes.",
        ),
    ]


class InferenceRequest(Message):
    """A request for predictions."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: Annotated[str | None, Field(description="Returned with the answer.")] = None
    inputs: Annotated[list[RequestInput], Field(max_length=MAX_TENSORS, description="One tensor.")]
    outputs: Annotated[
        list[RequestOutput] | None,
        Field(max_length=MAX_TENSORS, description="By default, those that cost nothing."),
    ] = None
    parameters: Annotated[
        Parameters,
        Field(
            default_factory=dict,
            description="`binary_data_output`: whether outputs without `binary_data` follow the JSON object as bytes.",
        ),
    ]


class ResponseOutput(BaseModel):
    """A tensor of an answer, without `data` if its bytes follow the JSON object."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: Annotated[list[Any] | None, Field(description="The elements in row-major order.")] = None


class InferenceResponse(BaseModel):
    """The answer with predictions."""

    model_name: str
    model_version: Annotated[str | None, Field(description="Absent for a file.")] = None
    id: Annotated[str | None, Field(description="Of the request.")] = None
    outputs: list[ResponseOutput]


class TensorMetadata(BaseModel):
    """An input or output of a model."""

    name: str
    datatype: str
    shape: Annotated[list[int], Field(description="-1 stands for the number of images.")]


class ModelMetadata(BaseModel):
    """The inputs and outputs of a model. A request has one of the inputs."""

    name: str
    versions: Annotated[list[str], Field(description="That are loaded; empty for a file.")]
    platform: str = "onnxruntime_onnx"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """The server and its extensions of the protocol."""

    name: str = "visiongate"
    version: str
    extensions: list[str] = ["binary_tensor_data"]


class ServerLive(BaseModel):
    """The server answers."""

    live: bool = True


class ServerReady(BaseModel):
    """All models are loaded."""

    ready: bool = True


class ModelReady(BaseModel):
    """A model is loaded."""

    name: str
    ready: bool = True
