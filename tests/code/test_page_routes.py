"""The routes of the service's pages."""

import asyncio
import re
from collections.abc import Mapping
from html.parser import HTMLParser

import httpx
import pytest
from fastapi import FastAPI

from visiongate.serving.routes.pages import (
    CONTENT_SECURITY_POLICY,
    PAGES,
    build_page_router,
    read_static_files,
)
from visiongate.serving.web.problems import PROBLEMS, Problem


def get(path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Request a path of an application that has the pages only."""
    application = FastAPI(docs_url=None, redoc_url=None)
    application.add_exception_handler(Problem, lambda _, problem: problem.response())
    application.include_router(build_page_router())

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(request())


class Links(HTMLParser):
    """Collects what a page loads, and what its policy would block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        address = given.get("src" if tag == "script" else "href")
        if tag in {"script", "link"} and address:
            self.loaded.append(address)
        if (
            tag == "style"
            or (tag == "script" and not address)
            or any(name in given for name in ("style", "onclick"))
        ):
            self.inline.append(self.get_starttag_text() or tag)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_only_files_of_the_service(path: str) -> None:
    page = get(path)

    assert page.status_code == 200
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert page.headers["cache-control"] == "no-cache"
    links = Links(page.text)
    assert links.inline == []
    for address in links.loaded:
        file = get(str(page.url.join(address)))
        assert file.status_code == 200, address
        assert file.url.host == page.url.host
        assert "immutable" in file.headers["cache-control"]


def test_a_known_page_is_not_sent_again() -> None:
    etag = get("/").headers["etag"]

    again = get("/", headers={"If-None-Match": f'"other", W/{etag}'})

    assert again.status_code == 304
    assert again.content == b""


def test_a_page_of_another_version_gets_files_that_are_not_kept() -> None:
    file = get("/static/of-another-version/classify.js")

    assert file.status_code == 200
    assert file.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["index.html", "missing.js", "..%2Fpage_routes.py", "%2Fetc%2Fpasswd"])
def test_other_files_are_not_served(name: str) -> None:
    assert get(f"/static/any/{name}").status_code == 404


def test_each_kind_of_problem_has_an_anchor() -> None:
    page = get("/docs/problems").text

    assert re.findall(r'<dt id="(\w+)"', page) == list(PROBLEMS)


def test_modules_import_their_neighbors() -> None:
    static = read_static_files()
    modules = {name: file.content.decode() for name, file in static.items() if name.endswith(".js")}

    for name, text in modules.items():
        for imported in re.findall(r'from "(.+?)"', text):
            assert imported.removeprefix("./") in modules, f"{name} imports {imported}"
        assert "innerHTML" not in text, name
