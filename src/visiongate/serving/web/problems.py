"""Errors as answers: problem details for HTTP APIs, RFC 9457."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from visiongate.images.contents import identify
from visiongate.images.decoding import Fault, RefusedImageError

MEDIA_TYPE = "application/problem+json"
# Where the kinds are explained.
PAGE = "/docs/problems"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        status: Of the answer.
        title: The same for each problem of the kind.
        meaning: When it occurs, and what to do.
    """

    status: HTTPStatus
    title: str
    meaning: str


# The names are the values of a label of a metric.
PROBLEMS: Final[Mapping[str, Kind]] = {
    "no_image": Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "No image",
        "The request has no image. Send its bytes as the body, or in a form.",
    ),
    "not_an_image": Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "Not an image", "The bytes are no image. Send an image file."
    ),
    "damaged_image": Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Damaged image",
        "The image is truncated or damaged. Send the original file again.",
    ),
    "unsupported_format": Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Unsupported format",
        "The format or color mode of the image is not supported. Save it as JPEG or PNG.",
    ),
    "too_many_pixels": Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Too many pixels",
        "The image has more pixels than the service allows. Scale it down.",
    ),
    "body_too_large": Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Request too large",
        "The request has more bytes than the service allows. Send fewer or smaller images.",
    ),
    "too_many_files": Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Too many images",
        "The request has more images than the service allows. Send several requests.",
    ),
    "headers_too_large": Kind(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "Headers too large",
        "The request has too many headers, or too long ones.",
    ),
    "unsupported_media_type": Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Unsupported media type",
        "The body has a media type that this route does not read.",
    ),
    "invalid_request": Kind(
        HTTPStatus.BAD_REQUEST, "Invalid request", "The request does not have the documented form."
    ),
    "unknown_model": Kind(
        HTTPStatus.NOT_FOUND, "Unknown model", "The service has no such model, or not this version of it."
    ),
    "unknown_prediction": Kind(
        HTTPStatus.NOT_FOUND, "Unknown prediction", "The log has no prediction with this id."
    ),
    "unknown_class": Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Unknown class", "The model has no such class."),
    "no_previous_version": Kind(
        HTTPStatus.CONFLICT, "No previous version", "The process has loaded no earlier version to return to."
    ),
    "load_failed": Kind(
        HTTPStatus.CONFLICT, "Not loaded", "The version could not be loaded; the current one stays."
    ),
    "unauthorized": Kind(HTTPStatus.UNAUTHORIZED, "API key required", "The service requires an API key."),
    "forbidden": Kind(
        HTTPStatus.FORBIDDEN, "Not allowed", "The API key or the origin does not allow this request."
    ),
    "not_found": Kind(HTTPStatus.NOT_FOUND, "Not found", "There is nothing at this address."),
    "method_not_allowed": Kind(
        HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed", "The address does not support this method."
    ),
    "overloaded": Kind(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Overloaded",
        "The service processes as many requests as it can. Try again after the time in Retry-After.",
    ),
    "deadline_exceeded": Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "Deadline exceeded", "The answer was not ready in time."
    ),
    "slow_request": Kind(
        HTTPStatus.REQUEST_TIMEOUT, "Request too slow", "The request did not arrive in time."
    ),
    "not_ready": Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready", "No model is loaded yet."),
    "log_unavailable": Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Prediction log unavailable",
        "The prediction log is switched off or cannot be read.",
    ),
    "internal": Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal error",
        "The service failed. Its log has the cause under the request id.",
    ),
}
# Of a request with images, besides those of authorization.
OF_PREDICTIONS: Final = (
    "invalid_request",
    "no_image",
    "not_an_image",
    "too_many_files",
    "body_too_large",
    "unsupported_media_type",
    "unknown_model",
    "slow_request",
    "overloaded",
    "not_ready",
    "deadline_exceeded",
)


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """An error of a request.

    Args:
        kind: One of `PROBLEMS`.
        detail: One sentence about this occurrence that helps to correct it.
        headers: Of the answer.
        extension: Further members of the answer.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        extension: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail
        self.headers, self.extension = dict(headers or {}), dict(extension or {})

    @property
    def status(self) -> int:
        """The status of the answer."""
        return PROBLEMS[self.kind].status

    def members(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        title = PROBLEMS[self.kind].title
        return {
            "type": f"{PAGE}#{self.kind}",
            "title": title,
            "status": int(self.status),
            "detail": self.detail,
            **self.extension,
        }

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.members(), self.status, self.headers, MEDIA_TYPE)


def problem_of_image(error: RefusedImageError, encoded: bytes) -> Problem:
    """Return the problem of an image that could not be decoded."""
    if error.fault is Fault.TOO_LARGE:
        size = (
            f"{error.stored.width} × {error.stored.height} pixels"
            if error.stored.width
            else "too many pixels"
        )
        return Problem("too_many_pixels", f"the image has {size}; scale it down")
    if error.fault is Fault.TRUNCATED:
        return Problem("damaged_image", "the image is truncated; send the original file again")
    content = identify(encoded)
    if content is not None and not content.is_image:
        return Problem("not_an_image", f"the file is not an image ({content.name}); send a JPEG or PNG image")
    if content is not None:
        return Problem(
            "unsupported_format",
            f"the file is of an unsupported format ({content.name}); save it as JPEG or PNG",
        )
    if error.fault is Fault.UNSUPPORTED_MODE:
        return Problem("unsupported_format", str(error))
    return Problem("damaged_image", f"the image is damaged ({error}); save it again as JPEG or PNG")


def document_problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route for some kinds of problem, for its description in OpenAPI."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, "internal"):
        status, meaning = int(PROBLEMS[kind].status), PROBLEMS[kind].meaning
        known = responses.setdefault(status, {"description": "", "content": {MEDIA_TYPE: {"schema": SCHEMA}}})
        known["description"] = f"{known['description']} {meaning}".strip()
    return responses


SCHEMA: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}
