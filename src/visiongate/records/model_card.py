"""``reports/model_card.md``: a page in Markdown, with metadata for the Hugging Face Hub before it."""

import re


def strip_front_matter(text: str) -> str:
    """Return a card without its front matter, which a page would show as a list."""
    return re.sub(r"\A---\n.*?\n---\n+", "", text, count=1, flags=re.DOTALL)
