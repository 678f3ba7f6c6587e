"""The web application: its routes, and what happens when it starts and stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from visiongate.serving.inference_protocol.routes import build_inference_protocol_router
from visiongate.serving.routes.admin import build_admin_router
from visiongate.serving.routes.feedback import build_feedback_router
from visiongate.serving.routes.health import build_health_router
from visiongate.serving.routes.model import build_model_router
from visiongate.serving.routes.monitoring import build_monitoring_router
from visiongate.serving.routes.pages import build_page_router
from visiongate.serving.routes.predict import build_predict_router
from visiongate.serving.service import Service
from visiongate.serving.versions.keeper import ModelKeeper
from visiongate.serving.web.access import AccessMiddleware
from visiongate.serving.web.error_answers import ErrorAnswers
from visiongate.serving.web.middleware import RequestMiddleware


def build_application(service: Service, keeper: ModelKeeper, *, waits: bool = False) -> FastAPI:
    """Return the application.

    Args:
        service: What its routes share.
        keeper: Loads the models after the application has started, so that it can say that it lives.
        waits: Start only when the models are loaded, because another process answers until then.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if service.log is not None:
            service.log.start()
        if service.images is not None:
            service.images.start()
        keeper.start()
        watch = asyncio.create_task(service.keys.watch())
        if waits:
            await keeper.wait()
        yield
        watch.cancel()
        await keeper.stop()
        await asyncio.gather(
            *(asyncio.to_thread(each.close) for each in (service.log, service.images) if each is not None)
        )
        service.close()

    application = FastAPI(
        title="visiongate",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # The service has its own, and FastAPI would look for a collector at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    application.state.service = service
    errors = ErrorAnswers(service.metrics)
    errors.add_to(application)
    _add_layers(application, service, errors)
    # The routes are tried in this order.
    application.include_router(build_predict_router(service))
    application.include_router(build_health_router(service))
    application.include_router(build_feedback_router(service))
    application.include_router(build_monitoring_router(service))
    application.include_router(build_model_router(service))
    application.include_router(build_inference_protocol_router(service))
    application.include_router(build_admin_router(service, keeper))
    application.include_router(build_page_router())
    return application


def _add_layers(application: FastAPI, service: Service, errors: ErrorAnswers) -> None:
    """Add the layers around the routes, the outermost last."""
    application.add_middleware(AccessMiddleware, service=service, errors=errors)
    if origins := service.settings.cors_origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    application.add_middleware(RequestMiddleware, service=service, errors=errors)
