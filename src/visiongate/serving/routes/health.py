"""``/health``: whether the process lives, has started, and should get requests; and ``/metrics``."""

import time
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.serving.service import Service
from visiongate.serving.versions.slots import Slot
from visiongate.serving.web.problems import Problem, document_problems


class Check(BaseModel):
    """The answer of a check that passed."""

    status: Literal["ok"] = "ok"


class VersionHealth(BaseModel):
    """A loaded version."""

    role: str
    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: str
    loaded_at: datetime
    example: Annotated[
        Literal["passed", "none"],
        Field(description="Whether the model predicted the example in its file, if it has one."),
    ]


class ModelHealth(BaseModel):
    """A model of the service."""

    ready: bool
    versions: list[VersionHealth]
    problem: Annotated[
        str | None,
        Field(
            description="Why the last version is not served, or cannot be found; with API keys, `/models` says it."
        ),
    ]
    registry_unreachable_since: Annotated[
        datetime | None, Field(description="Null if the registry answers, or is not used.")
    ]

    @classmethod
    def of(cls, slot: Slot, problem: str | None) -> "ModelHealth":
        """Return the health of a model, with its problem as far as everybody may know it."""
        versions = [
            VersionHealth(
                role=role,
                name=model.name,
                version=model.version,
                sha256=model.origin.sha256,
                loaded_at=datetime.fromtimestamp(model.loaded_at, UTC),
                example="none" if model.example is None else "passed",
            )
            for role, model in slot.versions()
        ]
        return cls(
            ready=slot.active is not None,
            versions=versions,
            problem=problem,
            registry_unreachable_since=None
            if slot.unreachable_since is None
            else datetime.fromtimestamp(slot.unreachable_since, UTC),
        )


class LogHealth(BaseModel):
    """The prediction log."""

    waiting: Annotated[int, Field(description="Predictions that are not yet recorded.")]
    dropped: Annotated[int, Field(description="Predictions that were not recorded.")]
    # The cause is in the service's log only: it may name hosts and users, and everybody may ask for the health.
    recording: Annotated[bool, Field(description="Whether predictions can be recorded at present.")]

    @classmethod
    def of(cls, log: PredictionLog) -> "LogHealth":
        """Return the health of a log."""
        return cls(waiting=log.waiting, dropped=sum(log.dropped.values()), recording=log.fault is None)


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ready", "starting", "draining"]
    uptime_seconds: float
    requests_in_flight: int
    models: dict[str, ModelHealth]
    registry_reachable: Annotated[
        bool | None, Field(description="At the last look; null if no model comes from a registry.")
    ]
    log: Annotated[LogHealth | None, Field(description="The prediction log; null if it is disabled.")]


def build_health_router(service: Service) -> APIRouter:
    """Return the routes for probes and for Prometheus."""
    router = APIRouter(tags=["health"])
    metrics = service.metrics

    @router.get("/health/live", summary="Whether the process lives")
    async def live() -> Check:
        """Answer as long as the event loop runs, also while models are loaded and while the service stops."""
        metrics.checked("live")
        return Check()

    @router.get(
        "/health/startup",
        summary="Whether the service has started",
        responses=document_problems("not_ready"),
    )
    async def startup() -> Check:
        """Answer once each model has an active version, which has predicted the example in its file.

        A canary or a shadow is not waited for.
        """
        metrics.checked("startup")
        _require_models(service)
        return Check()

    @router.get(
        "/health/ready",
        summary="Whether the service should get requests",
        responses=document_problems("not_ready"),
    )
    async def ready() -> Check:
        """Answer as `/health/startup` does, but no longer after SIGTERM."""
        metrics.checked("ready")
        require_ready(service)
        return Check()

    @router.get("/health", summary="The state of the service and its models")
    async def health() -> Health:
        """Describe the loaded versions; the status of the answer is always 200."""
        metrics.checked("status")
        return _describe(service)

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def read_metrics(request: Request) -> Response:
        """Return the metrics of this process as text, or as OpenMetrics if `Accept` names it."""
        content, media_type = metrics.render(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type})

    return router


def require_ready(service: Service) -> None:
    """Check that the service should get requests.

    Raises:
        Problem: It is stopping, or a model has no version that answers.
    """
    if service.draining:
        raise _not_ready("the service is stopping")
    _require_models(service)


def _require_models(service: Service) -> None:
    """Check that each model has a version that answers.

    Raises:
        Problem: A model has none.
    """
    for slot in service.slots.values():
        if slot.active is None:
            raise _not_ready(_problem(service, slot) or f"the model {slot.name} is being loaded")


def _problem(service: Service, slot: Slot) -> str | None:
    """Return the problem of a model. With API keys, paths and addresses are for their owners only, who have `/models`."""
    if slot.problem is not None and service.keys.are_required:
        return f"the last version of the model {slot.name} is not served; /models and the log say why"
    return slot.problem


def _describe(service: Service) -> Health:
    models = {name: ModelHealth.of(slot, _problem(service, slot)) for name, slot in service.slots.items()}
    ready = all(model.ready for model in models.values())
    return Health(
        status="draining" if service.draining else "ready" if ready else "starting",
        uptime_seconds=round(time.time() - service.started_at, 1),
        requests_in_flight=service.admission.requests,
        models=models,
        registry_reachable=service.registry_reachable,
        log=None if service.log is None else LogHealth.of(service.log),
    )


def _not_ready(reason: str) -> Problem:
    return Problem("not_ready", reason, {"Retry-After": "1"})
