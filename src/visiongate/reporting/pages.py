"""Self-contained HTML pages: no script, no link to the outside, readable from disk and on a phone."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **context: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Fill a template of ``reporting/templates``, every value escaped.

    Args:
        template: The file's name, such as ``preparation.html``; it extends ``base.html``.
        context: What the template shows; a name it misses is an error.
    """
    return _environment().get_template(template).render(**context)


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    """Embed a file in a page."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment
