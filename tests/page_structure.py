"""The structure that every HTML page has: accessible, self-contained, linked to the other pages."""

from html.parser import HTMLParser

from visiongate.pages.rendering import PAGES

VOID = {"meta", "img", "br", "link", "input", "hr"}
NAMED = {"h1", "h2", "h3", "th", "a", "title", "figcaption", "dt", "caption"}
# Commit and date of the runs, which no page depends on.
RUNS = "../runs.js"
LINKS = {f"../{folder}/index.html" for folder, _ in PAGES.values()}

Attributes = dict[str, str]


class Page(HTMLParser):
    """A parsed page. An element is its tag, its attributes and its text, which includes that of its children.

    Attributes:
        elements: In order of their start tags.
        text: All that a reader sees.
    """

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes, list[str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[tuple[str, Attributes, list[str]]] = []
        self.feed(content)
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {name: value or "" for name, value in attrs}, list[str]())
        assert tag != "table" or self._is_focusable(), "a table is outside of a region that scrolls"
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "script":
            self.scripts.append(data)
        elif not self._open or self._open[-1][0] != "style":
            self.text += data
            for _, _, texts in self._open:
                texts.append(data)

    def all(self, tag: str) -> list[tuple[Attributes, str]]:
        """Return the attributes and the text of the elements with a tag."""
        return [(attrs, "".join(texts).strip()) for name, attrs, texts in self.elements if name == tag]

    def _is_focusable(self) -> bool:
        return any(
            attrs.get("tabindex") == "0"
            and attrs.get("role") == "region"
            and attrs.get("aria-label", "").strip()
            for _, attrs, _ in self._open
        )


def check_page(content: str) -> Page:
    """Check the structure of a page, and return it."""
    page = Page(content)
    [(html, _)] = page.all("html")
    assert html["lang"] == "en"
    for tag in ("main", "h1", "nav", "title"):
        assert len(page.all(tag)) == 1, tag
    for tag, attrs, texts in page.elements:
        assert tag not in NAMED or "".join(texts).strip(), f"an empty {tag}"
        assert tag != "img" or attrs.get("alt", "").strip(), "an image without a description"
        assert tag not in {"iframe", "link", "object", "form"}, tag
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)), "an id occurs twice"
    _check_addresses(page, ids)
    return page


def _check_addresses(page: Page, ids: list[str]) -> None:
    assert {attrs["href"] for attrs, _ in page.all("a")} <= LINKS | {f"#{name}" for name in ids}
    assert [attrs.get("src") for attrs, _ in page.all("script")] == [RUNS, None]
    for tag, attrs, _ in page.elements:
        assert not attrs.keys() & {"srcset", "action", "onclick", "onerror", "onload"}
        assert tag == "script" or attrs.get("src", "data:image/").startswith("data:image/")
