"""``/v2``: the routes of the protocol."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from visiongate.serving.inference_protocol.inference import InferenceHandler
from visiongate.serving.inference_protocol.messages import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from visiongate.serving.inference_protocol.requests import HEADER_LENGTH
from visiongate.serving.inference_protocol.signature import describe_inputs, describe_outputs
from visiongate.serving.routes.health import require_ready
from visiongate.serving.service import Service
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.web.problems import OF_PREDICTIONS, document_problems

Name = Annotated[str, Path(description="One of the models of the service.", examples=["default"])]
Version = Annotated[str, Path(description="A version that is loaded.")]


def build_inference_protocol_router(service: Service) -> APIRouter:
    """Return the routes of the protocol."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    _add_server_routes(router, service)
    _add_model_routes(router, service)
    _add_inference_routes(router, service)
    return router


def _add_server_routes(router: APIRouter, service: Service) -> None:
    @router.get("", summary="Describe the server")
    async def server(request: Request) -> ServerMetadata:
        """Return the name and version of the server, and its extensions of the protocol."""
        return ServerMetadata(version=request.app.version)

    @router.get("/health/live", summary="Whether the process lives")
    async def live() -> ServerLive:
        """Answer as `/health/live` does."""
        service.metrics.checked("live")
        return ServerLive()

    @router.get(
        "/health/ready",
        summary="Whether the service should get requests",
        responses=document_problems("not_ready"),
    )
    async def ready() -> ServerReady:
        """Answer as `/health/ready` does."""
        service.metrics.checked("ready")
        require_ready(service)
        return ServerReady()


def _add_model_routes(router: APIRouter, service: Service) -> None:
    problems = document_problems("unknown_model", "not_ready")

    def describe(name: str, model: LoadedModel) -> ModelMetadata:
        versions = {each.version: None for _, each in service.slot(name).versions() if each.version}
        inputs, outputs = describe_inputs(model.classifier), describe_outputs(model.classifier)
        return ModelMetadata(name=name, versions=list(versions), inputs=inputs, outputs=outputs)

    @router.get("/models/{name}", summary="Describe the inputs and outputs of a model", responses=problems)
    async def model(name: Name) -> ModelMetadata:
        """Return the tensors of the active version. A request has one of the two inputs."""
        return describe(name, service.slot(name).require())

    @router.get(
        "/models/{name}/versions/{version}",
        summary="Describe the inputs and outputs of a version",
        responses=problems,
    )
    async def model_version(name: Name, version: Version) -> ModelMetadata:
        """Return the tensors of a loaded version. A request has one of the two inputs."""
        return describe(name, service.slot(name).find(version))

    @router.get("/models/{name}/ready", summary="Whether a model is loaded", responses=problems)
    async def model_ready(name: Name) -> ModelReady:
        """Answer with status 200 if the model can predict."""
        service.slot(name).require()
        return ModelReady(name=name)

    @router.get(
        "/models/{name}/versions/{version}/ready", summary="Whether a version is loaded", responses=problems
    )
    async def model_version_ready(name: Name, version: Version) -> ModelReady:
        """Answer with status 200 if the version can predict."""
        service.slot(name).find(version)
        return ModelReady(name=name)


def _add_inference_routes(router: APIRouter, service: Service) -> None:
    handler = InferenceHandler(service)
    documented: dict[str, Any] = {
        "response_model": InferenceResponse,
        "response_model_exclude_none": True,
        "responses": document_problems(*OF_PREDICTIONS),
        "openapi_extra": {"requestBody": _document_body()},
    }

    @router.post("/models/{name}/infer", summary="Predict the classes of images", **documented)
    async def infer_model(request: Request, name: Name) -> Response:
        """Predict the images of a tensor: `images`, pixels as the model takes them, or `encoded`, image files."""
        return await handler.infer(request, name)

    @router.post(
        "/models/{name}/versions/{version}/infer",
        summary="Predict the classes of images by a version",
        **documented,
    )
    async def infer_version(request: Request, name: Name, version: Version) -> Response:
        """Predict as without a version, by a version that is loaded."""
        return await handler.infer(request, name, version)


def _document_body() -> dict[str, Any]:
    """Return the description of the body for OpenAPI. The handler reads it, so that its limits hold while it arrives."""
    schema = InferenceRequest.model_json_schema()
    binary = (
        f"The JSON object, whose bytes the header {HEADER_LENGTH} states, and the tensors in binary form."
    )
    return {
        "required": True,
        "content": {
            "application/json": {"schema": _resolve(schema, schema.pop("$defs"))},
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "description": binary}
            },
        },
    }


def _resolve(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any part of a JSON schema
    """Replace the references of a JSON schema, because OpenAPI has them elsewhere."""
    if isinstance(schema, list):
        return [_resolve(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolve(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _resolve(each, definitions) for name, each in schema.items()}
