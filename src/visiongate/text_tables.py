"""Tables and lists in plain text."""

from collections.abc import Iterable, Sequence

WIDTH = 100
GAP = "  "


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = WIDTH) -> str:
    """Return rows of text in aligned columns; lines longer than ``width`` characters are cut; None cuts nothing."""
    table = [[escape_unprintable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        GAP.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in table
    )
    return "\n".join(line if width is None else shorten(line, width) for line in lines)


def join_first(names: Iterable[str], limit: int, separator: str = ", ") -> str:
    """Return the first names, separated by commas or something else, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit:,} more" if len(listed) > limit else ""
    return separator.join(listed[:limit]) + more


def escape_unprintable(text: str) -> str:
    """Escape the characters that would break a line or control a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def shorten(text: str, length: int) -> str:
    """Return text of at most ``length`` characters, with an ellipsis if it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
