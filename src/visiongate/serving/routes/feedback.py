"""``POST /feedback`` and ``GET /performance``: what an image really shows, and how good the answers were."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visiongate.monitoring.entries import (
    Feedback,
    LogUnavailableError,
    UnknownLabelError,
    UnknownPredictionError,
)
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.monitoring.report import PerformanceReport, Question, Reporter
from visiongate.serving.service import Service
from visiongate.serving.web.problems import Problem, document_problems
from visiongate.serving.web.request_context import current_request
from visiongate.serving.web.uploads import read_body
from visiongate.settings.serving import MAX_WINDOW_HOURS, Limits

MAX_FEEDBACK_BYTES = 4096
# The log writes within milliseconds, or fails.
FEEDBACK_SECONDS = 5.0
# Requests that wait for a report at a time.
MAX_WAITING = 16
JSON: Final = "application/json"
# PostgreSQL refuses NUL.
TEXT: Final = r"^[^\x00]+$"


class FeedbackRequest(BaseModel):
    """What an image really shows."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prediction_id: Annotated[str, Field(description="As in the prediction.", pattern="^[!-~]{1,64}$")]
    label: Annotated[
        str, Field(description="A class of the model that made the prediction.", max_length=1024)
    ]


class FeedbackAnswer(BaseModel):
    """Recorded feedback."""

    prediction_id: str
    label: str
    predicted_label: str
    correct: Annotated[bool, Field(description="Whether the prediction was correct.")]
    replaced: Annotated[bool, Field(description="Whether there was earlier feedback for it.")]
    asked: Annotated[bool, Field(description="Whether the service had asked for it.")]


BODY: dict[str, Any] = {
    "required": True,
    "content": {JSON: {"schema": FeedbackRequest.model_json_schema()}},
}


def build_feedback_router(service: Service) -> APIRouter:
    """Return the routes of the prediction log."""
    router = APIRouter(tags=["feedback"])
    reports = _Reports(service)
    limits = service.settings.limits.model_copy(update={"body_bytes": MAX_FEEDBACK_BYTES})

    @router.post(
        "/feedback",
        summary="Say what an image really shows",
        responses=document_problems(
            "invalid_request",
            "body_too_large",
            "slow_request",
            "unknown_prediction",
            "unknown_class",
            "log_unavailable",
        ),
        openapi_extra={"requestBody": BODY},
    )
    async def feedback(request: Request) -> FeedbackAnswer:
        """Record the true class of a predicted image. It replaces earlier feedback for the same prediction."""
        answer = await _record(require_log(service.log), await _read_feedback(request, limits))
        # Who corrects one prediction again and again is one voice.
        if not answer.replaced:
            service.metrics.reviewed(asked=answer.asked, correct=answer.correct)
        return answer

    @router.get(
        "/performance",
        summary="Show how good the answers were",
        responses=document_problems("invalid_request", "overloaded", "log_unavailable"),
    )
    async def performance(
        hours: Annotated[
            int | None,
            Query(
                description="How far to look back; by default as the settings say.", ge=1, le=MAX_WINDOW_HOURS
            ),
        ] = None,
        model: Annotated[
            str | None, Query(description="Name of a model; by default all.", pattern=TEXT, max_length=256)
        ] = None,
        version: Annotated[
            str | None, Query(description="Version of a model.", pattern=TEXT, max_length=64)
        ] = None,
    ) -> PerformanceReport:
        """Return predictions, scores by feedback with intervals, and latency, of each version of a model and of all.

        Feedback that people volunteer is not representative: they report mistakes more often than they confirm answers.
        """
        window = service.settings.log.window_hours if hours is None else hours
        return await reports.get(Question(window, _registered_name(service, model), version))

    return router


class _Reports:
    """Makes one report at a time, and lets few requests wait."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reporter = Reporter(service.log) if service.log else None
        self._turn, self._waiting = asyncio.Lock(), 0

    async def get(self, question: Question) -> PerformanceReport:
        require_log(self._service.log)
        assert self._reporter is not None  # noqa: S101 - there is a log
        if report := self._reporter.recall(question):
            return report
        if self._waiting >= MAX_WAITING:
            raise Problem(
                "overloaded", "too many reports are being made; try again in a second", {"Retry-After": "1"}
            )
        self._waiting += 1
        try:
            async with self._turn:
                # Whoever was first has made it for all.
                if report := self._reporter.recall(question):
                    return report
                return await asyncio.to_thread(self._reporter.report, question)
        except LogUnavailableError:
            raise unavailable() from None
        finally:
            self._waiting -= 1


async def _read_feedback(request: Request, limits: Limits) -> Feedback:
    body = await read_body(request, limits)
    try:
        given = FeedbackRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise Problem(
            "invalid_request",
            f'{place}: {first["msg"]}; send JSON such as {{"prediction_id": "…", "label": "…"}}',
        ) from None
    context = current_request.get()
    return Feedback(given.prediction_id, given.label, given_by=context.key if context else None)


async def _record(log: PredictionLog, given: Feedback) -> FeedbackAnswer:
    try:
        async with asyncio.timeout(FEEDBACK_SECONDS):
            receipt = await asyncio.wrap_future(log.record_feedback(given))
    except UnknownPredictionError:
        raise Problem(
            "unknown_prediction",
            "the log has no prediction with this id; it is kept for a limited time and appears in the answer to POST /predict",
        ) from None
    except UnknownLabelError as error:
        raise Problem("unknown_class", str(error), extension={"classes": error.classes}) from None
    except (LogUnavailableError, TimeoutError):
        raise unavailable() from None
    correct = receipt.label == receipt.predicted
    return FeedbackAnswer(
        prediction_id=receipt.prediction_id,
        label=receipt.label,
        predicted_label=receipt.predicted,
        correct=correct,
        replaced=receipt.replaced,
        asked=receipt.asked,
    )


def require_log(log: PredictionLog | None) -> PredictionLog:
    """Return the log of a service.

    Raises:
        Problem: It is switched off.
    """
    if log is None:
        raise Problem(
            "log_unavailable", "the prediction log is switched off; set serving.log.enabled to true"
        )
    return log


def unavailable() -> Problem:
    """Return the problem that the database cannot be used."""
    # The service's own log has the cause, which may name folders and hosts.
    return Problem(
        "log_unavailable", "the prediction log cannot be used now; try again later", {"Retry-After": "5"}
    )


def _registered_name(service: Service, model: str | None) -> str | None:
    """Return the name that the log knows a model by."""
    slot = service.slots.get(model) if model is not None else None
    return slot.active.name if slot and slot.active else model
