"""GitHub takes 65,536 characters: a report that would be longer loses detail, in an order that is always the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

LIMIT = (
    60_000  # bytes in UTF-8, which is never fewer than GitHub's characters; what posts the comment adds some
)
STEPS = (20, 10, 5, 0)  # rows of a table; at 0 the section is left out, and said to be
LEFT_OUT = "Left out, to stay within what a comment may hold: `make report` writes the same, and `reports/` has it all."


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report."""

    title: str  # ours, so that it needs no escaping
    write: Callable[[int], str]  # from the most rows of a table to Markdown; nothing to say, nothing written
    importance: int  # the lowest loses its detail first


def fit(sections: Sequence[Section], show: Callable[[Section, str], str], limit: int = LIMIT) -> str:
    """Write sections one below the other, with as much detail as fits.

    The least important section is cut from 20 rows a table to 10, to 5, and left out; then the next one is.

    Args:
        sections: In the order in which they are shown.
        show: Puts a section's text below its title.
        limit: Bytes in UTF-8.
    """
    texts = [section.write(STEPS[0]) for section in sections]
    for index in sorted(range(len(sections)), key=lambda index: sections[index].importance):
        for rows in STEPS[1:]:
            if _join(sections, texts, show)[1] <= limit:
                break
            if texts[index]:
                texts[index] = sections[index].write(rows) if rows else LEFT_OUT
    return _join(sections, texts, show)[0]


def _join(
    sections: Sequence[Section], texts: Sequence[str], show: Callable[[Section, str], str]
) -> tuple[str, int]:
    shown = [show(section, text) for section, text in zip(sections, texts, strict=True) if text]
    text = "\n\n".join(shown)
    return text, len(text.encode())
