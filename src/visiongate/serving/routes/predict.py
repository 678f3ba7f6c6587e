"""``POST /predict``: the classes of one or several images."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from visiongate.explanation.heat_maps import heat_map_outputs
from visiongate.serving.routes.answers import FailedImage, Prediction, Predictions, make_prediction
from visiongate.serving.service import Service
from visiongate.serving.versions.slots import Slot
from visiongate.serving.web.problems import OF_PREDICTIONS, Problem, document_problems
from visiongate.serving.web.request_context import current_request
from visiongate.serving.web.uploads import FIELD, MULTIPART, Upload, read_uploads

Result = TypeVar("Result")
_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
# The body is read by `read_uploads`, so that its limits hold while it arrives.
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        MULTIPART: {"schema": {"type": "object", "properties": {FIELD: _FILES}, "required": [FIELD]}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
# See `DirectRoute`.
PARAMETERS = [
    {
        "name": "model",
        "in": "query",
        "description": "One of the models of the service.",
        "schema": {"type": "string"},
    },
    {
        "name": "explain",
        "in": "query",
        "description": "Add a heat map for the predicted class.",
        "schema": {"type": "boolean", "default": False},
    },
]
FLAGS = {"true": True, "1": True, "false": False, "0": False}


class DirectRoute(APIRoute):
    """Hands the request to the endpoint, which has no other argument, without FastAPI's dependencies.

    They would take as long as everything else that a route does for a small model.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def build_predict_router(service: Service) -> APIRouter:
    """Return the route for predictions."""
    router = APIRouter(tags=["predict"], route_class=DirectRoute)

    @router.post(
        "/predict",
        summary="Predict the classes of images",
        response_model=Prediction | Predictions,
        responses=document_problems(*OF_PREDICTIONS),
        openapi_extra={"requestBody": BODY, "parameters": PARAMETERS},
    )
    async def predict(request: Request) -> Response:
        """Predict one image, sent as the body, or several, sent as a form with the field `file`.

        One image is answered with its prediction or a problem; several are answered with a list, in which each image has its
        own.
        """
        slot, explain = service.slot(request.query_params.get("model")), read_flag(request, "explain")
        # Fails before the body is read.
        slot.choose()
        if context := current_request.get():
            context.can_ask = True
        with service.admission.enter() as place:
            uploads = await read_uploads(request, service.settings.limits, place)
            place.take()
            async with deadline(service):
                answer = await while_connected(request, _answer(service, slot, uploads, explain=explain))
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


def read_flag(request: Request, name: str) -> bool:
    """Return a parameter of the query that is false by default.

    Raises:
        Problem: It is neither true nor false.
    """
    flag = FLAGS.get(request.query_params.get(name, "false").lower())
    if flag is None:
        raise Problem("invalid_request", f"query.{name}: must be true or false")
    return flag


async def _answer(
    service: Service, slot: Slot, uploads: Sequence[Upload], *, explain: bool
) -> Prediction | Predictions:
    if len(uploads) == 1:
        return await _predict(service, slot, uploads[0], explain=explain)
    each = (_predict_or_explain(service, slot, upload, explain=explain) for upload in uploads)
    return Predictions(predictions=list(await asyncio.gather(*each)))


async def _predict(service: Service, slot: Slot, upload: Upload, *, explain: bool) -> Prediction:
    model = slot.choose()
    further = heat_map_outputs(model.classifier.model) if explain else ()
    answered = await service.predict(upload.content, slot, further, model)
    heat_map = await service.explain(answered) if explain else None
    return make_prediction(answered, upload.name, heat_map)


async def _predict_or_explain(
    service: Service, slot: Slot, upload: Upload, *, explain: bool
) -> Prediction | FailedImage:
    try:
        return await _predict(service, slot, upload, explain=explain)
    except Problem as problem:
        service.metrics.failed(problem.kind)
        return FailedImage(filename=upload.name, **problem.members())


@asynccontextmanager
async def deadline(service: Service) -> AsyncIterator[None]:
    """Cancel the work of a request when its deadline passes.

    Raises:
        Problem: The deadline has passed.
    """
    seconds = service.settings.limits.deadline_seconds
    try:
        async with asyncio.timeout(seconds) as timeout:
            if context := current_request.get():
                context.deadline = timeout.when()
            yield
    except TimeoutError:
        detail = f"no answer within {seconds:g} seconds"
        raise Problem("deadline_exceeded", detail, headers={"Retry-After": "1"}) from None


async def while_connected(request: Request, work: Coroutine[None, None, Result]) -> Result:
    """Return the result of some work, and cancel it if the client leaves. The body must have been read.

    Raises:
        ClientDisconnect: The client has left.
    """
    current = asyncio.current_task()
    assert current is not None  # noqa: S101 - a coroutine runs in a task
    gone = asyncio.ensure_future(request.receive())

    def leave(_: object) -> None:
        current.cancel()

    gone.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone.done():
            raise
        current.uncancel()
        raise ClientDisconnect from None
    finally:
        gone.remove_done_callback(leave)
        gone.cancel()
