"""From the body of a request to encoded images, within the limits."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from io import BytesIO

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from visiongate.serving.web.admission import Place
from visiongate.serving.web.problems import Problem
from visiongate.settings.serving import Limits

MULTIPART = "multipart/form-data"
FIELD = "file"
# A body that is so many times too large is read and discarded; the connection of a larger one is closed.
DISCARDED = 8
# Fields of a form besides the images; none of them is used.
MAX_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Upload:
    """An encoded image.

    Attributes:
        name: Of the file, as the client states it; None in a request without a form.
        content: The bytes of the file.
    """

    name: str | None
    content: bytes


def check_length(request: Request, limits: Limits) -> None:
    """Check the length of a body as its header states it.

    Raises:
        Problem: The length is invalid or too large.
    """
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Problem("invalid_request", "Content-Length must be a number of bytes")
    if len(text) > 18 or int(text) > limits.body_bytes:  # noqa: PLR2004 - beyond any limit
        is_short = len(text) <= 18 and int(text) <= DISCARDED * limits.body_bytes  # noqa: PLR2004
        raise _too_large(limits, closes=not is_short)


async def read_body(request: Request, limits: Limits, place: Place | None = None) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        limits: Of the body and its time.
        place: Counts its bytes, too.

    Raises:
        Problem: It is too large, or did not arrive in time, or all requests together have too many bytes.
    """
    check_length(request, limits)
    # Unlike a list of chunks, it grows in place and hands its bytes over without a copy.
    body, size = BytesIO(), 0
    try:
        async with asyncio.timeout(limits.send_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.body_bytes:
                    raise _too_large(limits, closes=True)
                if place is not None:
                    place.receive(len(chunk))
                body.write(chunk)
    except TimeoutError:
        raise Problem(
            "slow_request",
            f"the body did not arrive within {limits.send_seconds:g} seconds",
            headers={"Connection": "close"},
        ) from None
    return body.getvalue()


async def read_uploads(request: Request, limits: Limits, place: Place) -> list[Upload]:
    """Return the images of a request.

    Args:
        request: The request.
        limits: Of the body and its images.
        place: Counts its bytes.

    Raises:
        Problem: The body has no image, or exceeds a limit.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request, limits, place)
    if media_type == MULTIPART:
        return await _parse_form(request, body, limits)
    # curl sends the bytes of a file as a URL-encoded form, unless it is told otherwise; therefore most types are accepted.
    if media_type == "application/json":
        raise Problem(
            "unsupported_media_type",
            f"the body is {media_type}; send the bytes of an image, or a form ({MULTIPART}) with the field {FIELD}",
        )
    if not body:
        raise _no_image()
    return [Upload(None, body)]


async def _parse_form(request: Request, body: bytes, limits: Limits) -> list[Upload]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        _boundary_only(request),
        stream(),
        max_files=limits.files + 1,
        max_fields=MAX_FIELDS,
        max_part_size=1024,
    )
    # The body is in memory already; nothing is written to the disk.
    parser.spool_max_size = len(body) + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _explain_form(error, limits) from None
    files = [value for name, value in form.multi_items() if name == FIELD and isinstance(value, UploadFile)]
    if len(files) > limits.files:
        raise too_many_images(limits.files)
    if not files:
        raise _no_image()
    return [Upload(file.filename or None, file.file.read()) for file in files]


def _boundary_only(request: Request) -> Headers:
    """Return the header of a form without its charset: names are in UTF-8, and some charsets make the parser fail."""
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"").decode("latin-1")
    if not boundary or '"' in boundary or "\\" in boundary:
        raise Problem("invalid_request", "invalid form: its Content-Type has no valid boundary")
    return Headers({"content-type": f'{MULTIPART}; boundary="{boundary}"'})


def _explain_form(error: MultiPartException, limits: Limits) -> Problem:
    if error.message.startswith("Too many files"):
        return too_many_images(limits.files)
    return Problem("invalid_request", f"invalid form: {error.message}")


def _too_large(limits: Limits, *, closes: bool) -> Problem:
    # Most clients read no answer before they have sent the body: if the connection is closed, the answer is lost.
    return Problem(
        "body_too_large",
        f"the request has more than {limits.body_bytes:,} bytes; send fewer or smaller images",
        headers={"Connection": "close"} if closes else {},
    )


def too_many_images(limit: int) -> Problem:
    """Return the problem of a request with more images than are allowed."""
    return Problem("too_many_files", f"the request has more than {limit} images; send several requests")


def _no_image() -> Problem:
    return Problem(
        "no_image",
        f"the request has no image; send its bytes, or a form ({MULTIPART}) with the field {FIELD}",
    )
