"""Every error of a route as a problem, with the request's id."""

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from visiongate.serving.metrics import Metrics
from visiongate.serving.web.problems import Problem
from visiongate.serving.web.request_context import current_request

# As nginx has it: nobody sees the answer.
CLIENT_CLOSED_REQUEST = 499
# Clients of the Open Inference Protocol look for the reason in the member `error`.
PROTOCOL_PREFIX = "/v2"


class ErrorAnswers:
    """Answers errors, and counts them.

    Args:
        metrics: Count the kinds.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def add_to(self, application: FastAPI) -> None:
        """Answer the errors of an application's routes."""
        application.add_exception_handler(Problem, self._answer_problem)
        application.add_exception_handler(HTTPException, self._answer_http)
        application.add_exception_handler(RequestValidationError, self._answer_validation)
        application.add_exception_handler(ClientDisconnect, self._answer_nobody)

    def respond(self, problem: Problem, path: str) -> Response:
        """Return the answer to a request for a path."""
        self._metrics.failed(problem.kind)
        if path.startswith(PROTOCOL_PREFIX):
            problem.extension.setdefault("error", problem.detail)
        if context := current_request.get():
            context.problem = problem.kind
            problem.extension.setdefault("request_id", context.request_id)
        return problem.response()

    async def _answer_problem(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - as registered
        return self.respond(error, request.url.path)

    async def _answer_http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as registered
        return self.respond(_problem_of_status(error), request.url.path)

    async def _answer_validation(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
        return self.respond(Problem("invalid_request", _explain(error)), request.url.path)

    async def _answer_nobody(self, _: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)


def _problem_of_status(error: HTTPException) -> Problem:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem("not_found", "the service has nothing at this address; /docs lists its addresses")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"this address supports {allowed}" if allowed else "this address has another method"
        return Problem("method_not_allowed", detail, error.headers)
    return Problem("invalid_request", error.detail, error.headers)


def _explain(error: RequestValidationError) -> str:
    """Return what is wrong with each value, without the value."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))[:80]}: {each['msg']}" for each in error.errors()[:5])
