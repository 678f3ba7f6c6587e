"""An inference request, from its body to the predictions of all of its images."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from visiongate.images.pixels import Pixels
from visiongate.serving.inference_protocol.compression import decompress, read_encoding
from visiongate.serving.inference_protocol.requests import (
    HEADER_LENGTH,
    Expected,
    ParsedRequest,
    json_length,
    parse_request,
)
from visiongate.serving.inference_protocol.responses import Tensor, make_response
from visiongate.serving.inference_protocol.signature import ENCODED, Output, outputs_of
from visiongate.serving.routes.predict import deadline, while_connected
from visiongate.serving.service import Answered, Service
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.versions.slots import Slot
from visiongate.serving.web.admission import Place
from visiongate.serving.web.problems import Problem
from visiongate.serving.web.uploads import read_body
from visiongate.settings.serving import Limits

# A smaller JSON object is parsed faster than it is handed to a thread.
INLINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Target:
    """The model that a request is for. One version answers all of its images.

    Attributes:
        slot: The model.
        model: The version.
        outputs: Of the version, by name.
    """

    slot: Slot
    model: LoadedModel
    outputs: Mapping[str, Output]


class InferenceHandler:
    """Answers inference requests.

    Args:
        service: Has the models.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        # One at a time: Python parses no faster in several threads, and each body takes memory.
        self._parsing = asyncio.Semaphore(1)

    async def infer(self, request: Request, name: str, version: str | None = None) -> Response:
        """Answer a request.

        Args:
            request: Its body has not been read.
            name: Of the model.
            version: Of the model; None for the one that the slot chooses.

        Raises:
            Problem: There is no such model, the request is not one for it, or an image is not usable.
        """
        slot, limits = self._service.slot(name), self._service.settings.limits
        model = slot.choose() if version is None else slot.find(version)
        target = Target(slot, model, outputs_of(model.classifier))
        encoding = read_encoding(request.headers.get("content-encoding"))
        with self._service.admission.enter() as place:
            body = await read_body(request, limits, place)
            place.take()
            async with deadline(self._service):
                if encoding is not None:
                    body = await self._decompress(body, place)
                parsed = await self._parse(body, request.headers.get(HEADER_LENGTH), target)
                # Image files in base64 are copies; their text is not needed while they are predicted.
                del body
                answered = await while_connected(request, _predict_all(self._service, target, parsed))
            return _respond(name, target, parsed, answered)

    async def _decompress(self, body: bytes, place: Place) -> bytes:
        async with self._parsing:
            content = await asyncio.to_thread(decompress, body, self._service.settings.limits.body_bytes)
            place.receive(len(content))
        return content

    async def _parse(self, body: bytes, header_length: str | None, target: Target) -> ParsedRequest:
        limits = self._service.settings.limits
        if json_length(body, header_length) < INLINE_BYTES:
            return _parse(body, header_length, target, limits)
        async with self._parsing:
            return await asyncio.to_thread(_parse, body, header_length, target, limits)


def _parse(body: bytes, header_length: str | None, target: Target, limits: Limits) -> ParsedRequest:
    outputs = {name: not output.costly for name, output in target.outputs.items()}
    expected = Expected(target.model.classifier.model.contract.input_shape, outputs, limits.files)
    return parse_request(body, header_length, expected)


def _respond(name: str, target: Target, parsed: ParsedRequest, answered: Sequence[Answered]) -> Response:
    tensors = {
        each: Tensor(target.outputs[each].datatype, target.outputs[each].collect(answered), binary)
        for each, binary in parsed.outputs.items()
    }
    return make_response(name, target.model.version, parsed.id, tensors)


async def _predict_all(service: Service, target: Target, parsed: ParsedRequest) -> list[Answered]:
    """Predict all images. One that cannot be predicted fails the request: a tensor has no gaps."""
    further = [name for name in parsed.outputs if target.outputs[name].costly]

    async def predict(image: Pixels | bytes) -> Answered:
        if isinstance(image, bytes):
            return await service.predict(image, target.slot, further, target.model)
        return await service.predict_pixels(image, target.slot, further, target.model)

    if len(parsed.images) == 1:
        return [await predict(parsed.images[0])]
    results = await asyncio.gather(*map(predict, parsed.images), return_exceptions=True)
    return [_require(number, result) for number, result in enumerate(results)]


def _require(number: int, result: Answered | BaseException) -> Answered:
    """Return an answer, or raise why there is none."""
    if isinstance(result, Problem):
        raise Problem(result.kind, f"{ENCODED}[{number}]: {result.detail}", result.headers)
    if isinstance(result, BaseException):
        raise result
    return result
