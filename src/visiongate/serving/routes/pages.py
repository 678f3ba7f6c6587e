"""The pages of the service: they load nothing from another host, and a content security policy holds them to that.

The files are in ``serving/page``: HTML, CSS and ES modules that need no build. A page asks the service for whatever depends
on the model. The addresses in it are relative, so that a proxy may serve it below a path.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from visiongate.serving.web.problems import PROBLEMS, Problem

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGES = {
    "/": "index.html",
    "/live": "live.html",
    "/docs": "docs.html",
    "/docs/problems": "problems.html",
}
MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
REVALIDATE = "no-cache"
FOR_A_YEAR = "public, max-age=31536000, immutable"

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    digest: str

    def respond(self, request: Request, caching: str) -> Response:
        """Return the file, or status 304 if the client has it.

        Args:
            request: Its ``If-None-Match`` states what the client has.
            caching: The value of ``Cache-Control``.
        """
        etag = f'"{self.digest}"'
        headers = {
            "Cache-Control": caching,
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "ETag": etag,
        }
        known = [
            tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")
        ]
        if etag in known:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def build_page_router() -> APIRouter:
    """Return the routes of the pages and of the files that they load."""
    static = read_static_files()
    # One digest for all: a module imports its neighbors by a relative address, which keeps the digest.
    digest = _digest("".join(file.digest for file in static.values()).encode())
    router = APIRouter()
    for path, name in PAGES.items():
        router.add_api_route(
            path, _page(_complete(_read(f"serving/page/{name}"), digest)), include_in_schema=False
        )
    router.add_api_route("/favicon.ico", _page(static["icon.svg"]), include_in_schema=False)
    router.add_api_route("/static/{digest}/{name}", _static(static, digest), include_in_schema=False)
    return router


def read_static_files() -> dict[str, PageFile]:
    """Return the style sheets, scripts and the icon by name. The first style sheet is that of the reports."""
    folder = files("visiongate") / "serving" / "page"
    names = sorted(item.name for item in folder.iterdir() if not item.name.endswith(".html"))
    return {"base.css": _read("pages/base.css"), **{name: _read(f"serving/page/{name}") for name in names}}


def _read(path: str) -> PageFile:
    content = (files("visiongate") / path).read_bytes()
    return PageFile(content, MEDIA_TYPES[PurePath(path).suffix], _digest(content))


def _complete(page: PageFile, digest: str) -> PageFile:
    """Add the kinds of problem, and the digest to the addresses of the static files, which a browser may keep for a year."""
    content = page.content.replace(b"<!-- problems -->", _list_problems().encode())
    content = content.replace(b"static/", f"static/{digest}/".encode())
    return PageFile(content, page.media_type, _digest(content))


def _list_problems() -> str:
    return "\n".join(
        f'<dt id="{kind}"><code>{kind}</code> {escape(problem.title)} <span class="hint">{problem.status}</span></dt>'
        f"<dd>{escape(problem.meaning)}</dd>"
        for kind, problem in PROBLEMS.items()
    )


def _page(page: PageFile) -> Endpoint:
    async def send(request: Request) -> Response:
        return page.respond(request, REVALIDATE)

    return send


def _static(static: Mapping[str, PageFile], digest: str) -> Endpoint:
    async def send(request: Request) -> Response:
        file = static.get(request.path_params["name"])
        if file is None:
            raise Problem("not_found", "the pages have no such file")
        # During a rollout, a page of another version may ask this process. The answer is better than none, but not for keeps.
        is_current = request.path_params["digest"] == digest
        return file.respond(request, FOR_A_YEAR if is_current else REVALIDATE)

    return send


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
