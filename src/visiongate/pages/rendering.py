"""Self-contained HTML pages: without scripts and external links, readable from disk and on a phone."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent.parent


def render_page(template: str, **context: Any) -> str:  # noqa: ANN401 - any value of the template
    """Render a template and escape all values.

    Args:
        template: Path within ``src/visiongate``, such as ``preparation/page.html``; pages extend ``pages/base.html``.
        context: Values of the template; a missing one raises `jinja2.UndefinedError`.
    """
    return _environment().get_template(template).render(**context)


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    """Return a file's content as a URI that a page can embed."""
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
