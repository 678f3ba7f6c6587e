"""Self-contained HTML pages: no script, no link to the outside, readable from disk and on a phone."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOMS = Path(__file__).parent.parent


def render_page(template: str, **context: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Render a template of this package, with every value escaped.

    Args:
        template: The path from ``src/visiongate``, such as ``preparation/page.html``; pages extend ``pages/base.html``.
        context: What the template shows; a name it misses is an error.
    """
    return _environment().get_template(template).render(**context)


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    """Embed a file in a page."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ROOMS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment
