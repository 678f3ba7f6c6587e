"""HTML pages that open from disk and load nothing from the network, readable on a phone and in the dark."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent.parent
# The pages by the package that writes them: the folder in reports/, and the name in the links between the pages.
PAGES = {
    "validation": ("validation", "Validation"),
    "preparation": ("preparation", "Preparation"),
    "evaluation": ("evaluation", "Evaluation"),
    "optimization": ("optimize", "Search"),
    "recommendation": ("recommendation", "Recommendation"),
    "experiments": ("experiments", "Experiments"),
}
# Stands for the digest of the page while it is rendered; the first occurrence is in the element html.
_DIGEST = "DIGEST-OF-THE-PAGE"


def render_page(template: str, **context: Any) -> str:  # noqa: ANN401 - any value of the template
    """Render a template and escape all values.

    The page contains a digest of itself, by which it finds its commit and date in ``reports/runs.js``, a file that DVC does not
    track: a page depends on its inputs alone.

    Args:
        template: Path within ``src/visiongate``, such as ``preparation/page.html``; pages extend ``pages/base.html``.
        context: Values of the template; a missing one raises `jinja2.UndefinedError`.
    """
    package = template.partition("/")[0]
    page = (
        _environment().get_template(template).render(**context, package=package, pages=PAGES, digest=_DIGEST)
    )
    return page.replace(_DIGEST, hashlib.sha256(page.encode()).hexdigest()[:16], 1)


def render_template(template: str, **context: Any) -> str:  # noqa: ANN401 - any value of the template
    """Render a template that is not a page of ``reports/``, and escape all values.

    Args:
        template: Path within ``src/visiongate``.
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
