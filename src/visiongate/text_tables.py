"""Tables in plain text."""

from collections.abc import Sequence

WIDTH = 100
GAP = "  "


def lay_out(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = WIDTH) -> str:
    """Align columns of text; the last is cut where a line would be wider than ``width`` characters, if there is a width."""
    table = [[escape_unprintable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = (
        GAP.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in table
    )
    return "\n".join(line if width is None else shorten(line, width) for line in lines)


def escape_unprintable(text: str) -> str:
    """Escape characters that would break a line or control a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def shorten(text: str, length: int) -> str:
    """Cut a text to a length, and show that it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
