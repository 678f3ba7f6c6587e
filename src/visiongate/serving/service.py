"""The service: models by name, and the way of an image from its bytes to an answer."""

import asyncio
import base64
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from visiongate.explanation.heat_maps import heat_map_outputs, heat_maps
from visiongate.explanation.overlay import overlay
from visiongate.images.decoding import RefusedImageError
from visiongate.images.pixels import Pixels
from visiongate.models.model_input import read_input
from visiongate.models.predictor import EMBEDDING
from visiongate.monitoring.entries import FailureKind, Role, new_prediction_id
from visiongate.serving.memory import DecodingMemory
from visiongate.serving.metrics import Metrics
from visiongate.serving.sent_image import SentImage
from visiongate.serving.versions.batching import Inference
from visiongate.serving.versions.loaded_model import LoadedModel, Runtime
from visiongate.serving.versions.shares import find_position
from visiongate.serving.versions.slots import Slot
from visiongate.serving.web.admission import Admission
from visiongate.serving.web.keys import ApiKeys
from visiongate.serving.web.problems import Problem, problem_of_image
from visiongate.serving.web.request_context import current_request
from visiongate.settings.serving import DEFAULT, Serving

if TYPE_CHECKING:
    from visiongate.monitoring.image_store import ImageStore
    from visiongate.monitoring.prediction_log import PredictionLog
    from visiongate.serving.tracing import Tracing

# What a share of the prediction ids is drawn for.
FEEDBACK = "feedback"
JPEG_START = b"\xff\xd8\xff"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each step of an image."""

    decode: float
    wait: float
    inference: float
    total: float


@dataclass(frozen=True, slots=True)
class Answered:
    """An image that was predicted.

    Attributes:
        prediction_id: Unguessable.
        model: That answered.
        inference: The pixels, the outputs and the answer.
        timing: Seconds of each step.
        is_example: Whether the image is the example in the model's file, as `visiongate smoke` sends it.
        role: How the model was chosen.
        asked: Whether the client is asked for the true class.
        image: The file; None if the client sent pixels, and for an example.
    """

    prediction_id: str
    model: LoadedModel
    inference: Inference
    timing: Timing
    is_example: bool = False
    role: Role = "active"
    asked: bool = False
    image: SentImage | None = None

    @property
    def pixels(self) -> Pixels:
        """The model's input, uint8 H×W×C."""
        return self.inference.pixels


@dataclass(frozen=True, slots=True)
class _Asked:
    """An image to predict: how to decode it, and which outputs are needed besides those of the answer."""

    decode: Callable[[], Pixels]
    further: Sequence[str]
    image: SentImage | None = None
    is_example: bool = False


class Observer(Protocol):
    """Hears of predictions in the event loop, as the metrics and the prediction log do; it must be quick."""

    def predicted(self, answered: Answered) -> None:
        """An image was predicted."""

    def compared(self, answered: Answered, shadow: Answered) -> None:
        """The shadow predicted the same image."""

    def unanswered(self, model: LoadedModel, role: Role, kind: FailureKind) -> None:
        """A version failed to predict an image, or was too late."""


class RequestObserver:
    """Notes predictions in the context of their request, for the log."""

    def predicted(self, answered: Answered) -> None:
        """Note a prediction."""
        if context := current_request.get():
            context.images += 1
            context.model, context.model_version = answered.model.name, answered.model.version

    def compared(self, answered: Answered, shadow: Answered) -> None:
        """Ignore the predictions of a shadow."""

    def unanswered(self, model: LoadedModel, role: Role, kind: FailureKind) -> None:
        """Ignore what the answer's status says."""


class Service:
    """What the routes share. Its methods run in the event loop.

    Args:
        settings: Of the service.
        cores: Threads of a batch, and of decoding.

    Raises:
        SettingsError: The API keys are invalid.
    """

    def __init__(self, settings: Serving, cores: int, decoding: DecodingMemory | None = None) -> None:
        self.settings = settings
        self.slots: dict[str, Slot] = {}
        self.decoding = decoding or DecodingMemory(None)
        self.admission = Admission(settings.limits.requests, settings.limits.bytes)
        # SIGTERM has arrived: what was accepted is finished.
        self.draining = False
        self.started_at = time.time()
        # None if it is switched off.
        self.log: PredictionLog | None = None
        # None if no image is stored.
        self.images: ImageStore | None = None
        self.tracing: Tracing | None = None
        # Whether the last look at the registry succeeded; None if no model comes from one.
        self.registry_reachable: bool | None = None
        self.keys = ApiKeys(settings.keys, settings.keys_file)
        self.metrics = Metrics()
        self.metrics.observe(self)
        self.observers: list[Observer] = [RequestObserver(), self.metrics]
        self._inference = ThreadPoolExecutor(cores, "inference")
        # One at a time: some models need many predictions for it.
        self._explainer = ThreadPoolExecutor(1, "explain")
        self._background: set[asyncio.Task[None]] = set()
        self.runtime = Runtime(
            self._inference, cores, settings.batch, settings.threshold, lambda: self.admission.requests <= 1
        )

    def slot(self, name: str | None) -> Slot:
        """Return a model by its name in this process, or that of the registry; the default one without a name.

        Raises:
            Problem: There is none.
        """
        slot = self.slots.get(DEFAULT if name is None else name)
        if slot is None:
            slot = next(
                (each for each in self.slots.values() if each.active and each.active.name == name), None
            )
        if slot is None:
            known = ", ".join(self.slots)
            raise Problem("unknown_model", f"no model {name!r}; choose one of {known}")
        return slot

    async def predict(
        self, encoded: bytes, slot: Slot, further: Sequence[str] = (), model: LoadedModel | None = None
    ) -> Answered:
        """Predict an encoded image.

        Args:
            encoded: The bytes of the file.
            slot: The model.
            further: Outputs besides those of the answer.
            model: A version of the slot; by default, the slot chooses it.

        Raises:
            Problem: The bytes are no usable image, or no model is loaded.
        """
        model = model or slot.choose()
        is_example = any(encoded == each.example_image for _, each in slot.versions())
        # Examples are not recorded.
        image = None if is_example else SentImage(encoded)
        asked = _Asked(partial(self._decode, encoded, image, model), further, image, is_example)
        return await self._infer(asked, slot, model)

    async def predict_pixels(
        self, pixels: Pixels, slot: Slot, further: Sequence[str] = (), model: LoadedModel | None = None
    ) -> Answered:
        """Predict the pixels of an image, uint8 H×W×C of the model's input shape, as `predict`."""
        return await self._infer(_Asked(lambda: pixels, further), slot, model or slot.choose())

    async def explain(self, answered: Answered) -> str:
        """Return a heat map for the predicted class as a data URL of a PNG.

        Class activation maps are computed from the outputs `heat_map_outputs`, which `predict` was asked for; other models need
        many predictions.
        """
        loop = asyncio.get_running_loop()
        png = await loop.run_in_executor(self._explainer, _draw, answered)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"

    def close(self) -> None:
        """Stop the threads."""
        self._explainer.shutdown(wait=False, cancel_futures=True)
        self._inference.shutdown(wait=False, cancel_futures=True)
        if self.tracing is not None:
            self.tracing.close()

    def _decode(self, encoded: bytes, image: SentImage | None, model: LoadedModel) -> Pixels:
        limits = self.settings.limits
        max_pixels = limits.jpeg_pixels if encoded.startswith(JPEG_START) else limits.pixels
        try:
            with self.decoding.reserve(encoded, max_pixels):
                pixels, stored = read_input(encoded, model.classifier.model.contract, max_pixels)
        except RefusedImageError as error:
            raise problem_of_image(error, encoded) from None
        if image is not None and self.log is not None:
            image.describe(pixels, stored)
        return pixels

    async def _infer(self, asked: "_Asked", slot: Slot, model: LoadedModel) -> Answered:
        start = time.perf_counter()
        # Another version may get the role before the answer.
        role: Role = "canary" if model is slot.canary else "active"
        inference = await self._run(model, role, asked.decode, asked.further)
        timing = _timing(inference, time.perf_counter() - start)
        number, is_example = new_prediction_id(), asked.is_example
        asks = not is_example and self._asks(number)
        answered = Answered(number, model, inference, timing, is_example, role, asks, asked.image)
        for observer in self.observers:
            observer.predicted(answered)
        if shadow := slot.choose_shadow(model):
            self._start(self._compare(answered, shadow))
        return answered

    async def _compare(self, answered: Answered, shadow: LoadedModel) -> None:
        """Predict an image that has been answered with the shadow, too. It must not delay or disturb answers."""
        if len(answered.model.batcher) or _preprocessing(shadow) != _preprocessing(answered.model):
            return
        start = time.perf_counter()
        try:
            inference = await self._run(shadow, "shadow", lambda: answered.pixels)
        except Exception:
            logger.exception("The shadow %s failed", shadow.origin.source)
            return
        timing = _timing(inference, time.perf_counter() - start)
        compared = Answered(
            answered.prediction_id, shadow, inference, timing, role="shadow", image=answered.image
        )
        for observer in self.observers:
            observer.compared(answered, compared)

    def _asks(self, prediction_id: str) -> bool:
        context = current_request.get()
        if self.log is None or context is None or not context.can_ask:
            return False
        return find_position(prediction_id, FEEDBACK) < self.settings.log.ask_share

    async def _run(
        self, model: LoadedModel, role: Role, decode: Callable[[], Pixels], further: Sequence[str] = ()
    ) -> Inference:
        """Predict an image, and tell the observers if the version fails or is too late."""
        if self.log is not None and self.settings.log.embeddings and model.has_embedding:
            further = (*further, EMBEDDING)
        try:
            return await model.batcher.infer(decode, further)
        except Problem:
            # The image cannot be used.
            raise
        except asyncio.CancelledError:
            context = current_request.get()
            if role != "shadow" and context is not None and context.is_late():
                self._failed(model, role, "timeout")
            raise
        except Exception:
            self._failed(model, role, "error")
            raise

    def _failed(self, model: LoadedModel, role: Role, kind: FailureKind) -> None:
        for observer in self.observers:
            observer.unanswered(model, role, kind)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _timing(inference: Inference, total: float) -> Timing:
    decode, run = inference.decode_seconds, inference.inference_seconds
    return Timing(decode, total - decode - run, run, total)


def _preprocessing(model: LoadedModel) -> tuple[object, ...]:
    contract = model.classifier.model.contract
    return replace(contract, classes=()), model.classifier.classes


def _draw(answered: Answered) -> bytes:
    model, inference = answered.model.classifier.model, answered.inference
    predicted = inference.answers.predicted[inference.row : inference.row + 1]
    outputs = {name: inference.output(name) for name in heat_map_outputs(model)} or None
    [heat] = heat_maps(model, answered.pixels[None], predicted, outputs)
    return overlay(answered.pixels, heat.values)
