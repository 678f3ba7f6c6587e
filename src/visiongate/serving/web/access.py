"""Who may send which request: API keys, administration, and pages of other sites."""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from visiongate.serving.service import Service
from visiongate.serving.web.error_answers import ErrorAnswers
from visiongate.serving.web.keys import ApiKey
from visiongate.serving.web.problems import Problem
from visiongate.serving.web.request_context import current_request
from visiongate.text_tables import shorten

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Probes have no key, and the pages ask their user for one. All other paths need one.
OPEN_PATHS: Final = frozenset(
    {"/", "/live", "/docs", "/docs/problems", "/favicon.ico", "/health", "/openapi.json"}
)
OPEN_PREFIXES: Final = ("/health/", "/static/", "/v2/health/")
ADMIN_PREFIX: Final = "/admin"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
THIS_MACHINE: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
# A proxy on this machine connects from the loopback address for others.
FORWARDED: Final = (
    "forwarded",
    "via",
    "x-forwarded-",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
)
BEARER: Final = "bearer "
MAX_ORIGIN: Final = 100


class AccessMiddleware:
    """Refuses requests before their bodies are read.

    Args:
        app: The layers below.
        service: Has the keys, and the origins of other sites whose pages may call it.
        errors: Answers the refused requests.
    """

    def __init__(self, app: ASGIApp, service: Service, errors: ErrorAnswers) -> None:
        self._app, self._keys, self._errors = app, service.keys, errors
        self._origins = frozenset(service.settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the layers below, or refuse the request."""
        if scope["type"] == "http":
            try:
                self._check(scope, Headers(scope=scope))
            except Problem as problem:
                await self._errors.respond(problem, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        if scope["method"] not in SAFE_METHODS:
            self._require_own_page(headers)
        if path == ADMIN_PREFIX or path.startswith(f"{ADMIN_PREFIX}/"):
            self._require_admin(scope, headers)
        elif self._keys.are_required and not is_open(path):
            self._require_key(headers)

    def _require_own_page(self, headers: Headers) -> None:
        """Refuse what the page of another site makes a browser send. Programs send neither of the two headers."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self._origins or site in {"same-origin", "none"}:
            return
        # Over plain HTTP, browsers do not send `Sec-Fetch-Site`.
        if site is not None or (origin is not None and not _is_own(origin, headers)):
            shown = shorten(origin or "not given", MAX_ORIGIN)
            raise Problem(
                "forbidden",
                f"a page of another origin sent the request ({shown}); list the origin in serving.cors_origins to allow it",
            )

    def _require_key(self, headers: Headers) -> ApiKey:
        secret = _read_secret(headers)
        key = None if secret is None else self._keys.find(secret)
        if key is None:
            detail = "the API key is unknown" if secret else "the request has no API key"
            raise Problem(
                "unauthorized",
                f"{detail}; send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                {"WWW-Authenticate": 'Bearer realm="visiongate"'},
            )
        if context := current_request.get():
            context.key = key.name
        return key

    def _require_admin(self, scope: Scope, headers: Headers) -> None:
        # A file of keys may be empty for a moment. That must not open the administration.
        if not self._keys.are_required:
            _require_this_machine(scope, headers)
        elif not self._require_key(headers).is_admin:
            raise Problem(
                "forbidden",
                "the API key is not that of an administrator; make one with `visiongate serve-key NAME --admin`",
            )


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


def _is_own(origin: str, headers: Headers) -> bool:
    """Return whether an origin is the host that the browser called.

    A proxy may have replaced `Host` and named the original one in `X-Forwarded-Host`. A page cannot set that header: the
    browser would ask for permission first, which `CORSMiddleware` does not give.
    """
    host = origin.partition("://")[2]
    return bool(host) and host in {headers.get("host"), headers.get("x-forwarded-host")}


def _read_secret(headers: Headers) -> str | None:
    if secret := headers.get("x-api-key"):
        return secret
    authorization = headers.get("authorization", "")
    return authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else None


def _require_this_machine(scope: Scope, headers: Headers) -> None:
    """Accept programs on this machine: neither what a proxy forwards, nor a page whose host name resolves to this machine."""
    client, is_forwarded = scope.get("client"), any(name.startswith(FORWARDED) for name in headers)
    is_named_so = THIS_MACHINE.fullmatch(headers.get("host", ""))
    if client is None or client[0] not in LOOPBACK or not is_named_so or is_forwarded:
        raise Problem(
            "forbidden",
            "without API keys, versions can be exchanged from this machine only; make one "
            "with `visiongate serve-key NAME --admin`",
        )
