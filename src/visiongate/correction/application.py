"""The web application for corrections: pages of suspects for one person, on this machine.

All addresses begin with a random token, so that neither another user of the machine nor a page in the browser can read the
images or write a correction. The page loads nothing from elsewhere, and a content security policy holds it to that.
"""

import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from visiongate.correction.desk import Card, Desk
from visiongate.correction.pictures import Pictures
from visiongate.correction.suspects import Suspect
from visiongate.errors import DataError
from visiongate.pages.rendering import render_template
from visiongate.records.corrections import Correction
from visiongate.records.parsing import parse_json

PER_PAGE = 20
# Of a picture, in pixels: as large as the page shows it, at two device pixels per pixel.
LARGE, SMALL = 640, 192
MAX_BODY, MAX_DIGITS = 10_000, 9
VIEWS = {"likely": "Likely wrong", "all": "All images", "decided": "Decided"}
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Review:
    """What the application serves: the suspects, their pictures, and how many of them on a page."""

    desk: Desk
    pictures: Pictures
    per_page: int = PER_PAGE


def build_application(review: Review, token: str | None = None) -> tuple[Starlette, str]:
    """Return the application and the path of its page.

    Args:
        review: What to serve.
        token: Of the addresses; by default a random one.
    """
    token = token or secrets.token_urlsafe(24)
    routes = [
        Route("/", _page),
        Route("/card", _change, methods=["POST"]),
        Route("/picture/{sha256}", _picture),
        Route("/page.css", _style),
        Route("/page.js", _script),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        Middleware(BaseHTTPMiddleware, dispatch=_secure),
    ]
    application = Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=middleware,
        exception_handlers={DataError: _explain},
    )
    application.state.review = review
    return application, f"/{token}/"


async def _secure(request: Request, call_next: Next) -> Response:
    response = await call_next(request)
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    return response


async def _explain(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


def _page(request: Request) -> Response:
    review, query = _review(request), request.query_params
    desk, per_page = review.desk, review.per_page
    view = query["view"] if query.get("view") in VIEWS else "likely"
    items: Sequence[Any] = _items(desk, view)
    pages = max(1, math.ceil(len(items) / per_page))
    page = min(max(1, _whole(query.get("page", "1"))), pages)
    shown = items[(page - 1) * per_page : page * per_page]
    content = render_template(
        "correction/page.html",
        cards=desk.show_decided(shown) if view == "decided" else desk.show(shown),
        classes=desk.classes,
        counts={name: len(_items(desk, name)) for name in VIEWS},
        page=page,
        pages=pages,
        view=view,
        views=VIEWS,
    )
    return Response(content, media_type="text/html")


def _items(desk: Desk, view: str) -> Sequence[Suspect] | Sequence[Correction]:
    """Return what a view shows: suspects, or the decisions, the latest first."""
    if view == "decided":
        return list(reversed(desk.corrections().values()))
    return desk.suspects(likely=view == "likely")


def _picture(request: Request) -> Response:
    pictures, sha256 = _review(request).pictures, request.path_params["sha256"]
    side = LARGE if "large" in request.query_params else SMALL
    try:
        content = pictures.show(sha256, side)
    except (KeyError, DataError):
        return Response(status_code=404)
    # The address has the hash of the content.
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


async def _change(request: Request) -> Response:
    """Write or undo a decision, and return the new card."""
    if int(request.headers.get("content-length", MAX_BODY + 1)) > MAX_BODY:
        return JSONResponse({"error": "the request is too large"}, status_code=413)
    body = parse_json(await request.body())
    desk = _review(request).desk
    card = await run_in_threadpool(_apply, desk, body)
    html = render_template("correction/card.html", card=card, classes=desk.classes)
    return JSONResponse({"html": html, "decided": len(desk.corrections())})


def _apply(desk: Desk, body: Any) -> Card:  # noqa: ANN401 - whatever JSON holds
    sha256, action, label, why = (
        str(body.get(name, "")) if isinstance(body, dict) else ""
        for name in ("sha256", "action", "label", "why")
    )
    if action == "undo":
        return desk.undo(sha256)
    if action in {"label", "exclude"}:
        return desk.decide(sha256, label if action == "label" else None, why)
    raise DataError(f"action {action[:80]!r} is unknown")


def _style(_: Request) -> Response:
    content = (files("visiongate") / "pages/base.css").read_text() + (
        files("visiongate") / "correction/page.css"
    ).read_text()
    return Response(content, media_type="text/css")


def _script(_: Request) -> Response:
    return Response((files("visiongate") / "correction/page.js").read_text(), media_type="text/javascript")


def _review(request: Request) -> Review:
    review: Review = request.app.state.review
    return review


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else 1
