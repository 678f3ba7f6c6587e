"""The web application: its routes, and what happens when it starts and stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from visiongate.serving.admin_routes import build_admin_router
from visiongate.serving.model_keeper import ModelKeeper
from visiongate.serving.model_routes import build_model_router
from visiongate.serving.page_routes import build_page_router
from visiongate.serving.predict_routes import build_predict_router
from visiongate.serving.problems import Problem
from visiongate.serving.service import Service

# As nginx has it: nobody sees the answer.
CLIENT_CLOSED_REQUEST = 499


def build_application(service: Service, keeper: ModelKeeper, *, waits: bool = False) -> FastAPI:
    """Return the application.

    Args:
        service: What its routes share.
        keeper: Loads the models after the application has started, so that it can say that it lives.
        waits: Start only when the models are loaded, because another process answers until then.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeper.start()
        if waits:
            await keeper.wait()
        yield
        await keeper.stop()
        service.close()

    application = FastAPI(title="visiongate", docs_url=None, redoc_url=None, lifespan=lifespan)
    application.state.service = service
    application.add_exception_handler(Problem, _answer_problem)
    application.add_exception_handler(ClientDisconnect, _answer_nobody)
    application.include_router(build_predict_router(service))
    application.include_router(build_model_router(service))
    application.include_router(build_admin_router(service, keeper))
    application.include_router(build_page_router())
    return application


async def _answer_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - as registered
    return error.response()


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
