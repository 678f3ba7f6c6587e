"""GitHub Markdown that is safe for text from untrusted files.

Class names, parameters, paths and reasons come from files that the author of a pull request may write. Each of them goes into
a code span, where Markdown, HTML, mentions, references and links have no effect. Backslashes or entities would not suffice:
GitHub resolves them before it looks for mentions and addresses. Characters that are invisible or change the writing direction
are escaped.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from visiongate.records.parsing import is_finite
from visiongate.text_tables import join_first

MAX_NAME, MAX_SENTENCE, MAX_SCANNED = 60, 300, 10_000
MAX_ROWS, MAX_ITEMS, MAX_ACCENTS = 20, 10, 2
# Printable by their Unicode class but invisible: fillers, joiners, variation selectors, an empty Braille cell.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
TERMINAL_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
SMALL, LARGE, HUGE = 1e-4, 10_000, 1e15


class Markdown(str):
    """Text that is inserted as it is: jinja2 does not escape a value that has this method."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the text unchanged."""
        return self


def render_value(value: object) -> Markdown:
    """Return a value as Markdown: text in a code span, a number in four digits, Markdown as it is."""
    if hasattr(value, "__html__"):
        return Markdown(value)
    if value is None:
        return Markdown("-")
    if isinstance(value, bool):
        return Markdown(str(value).lower())
    if isinstance(value, int | float):
        return _format_number(value) if is_finite(value) else Markdown("not a finite number")
    return code(value)


def code(text: object, limit: int = MAX_NAME) -> Markdown:
    """Return a code span: one line, cut to a number of characters."""
    words = " ".join(str(text)[:MAX_SCANNED].split())
    shown = reveal(words[: limit + 1])
    if len(shown) > limit:
        shown = f"{shown[: limit - 1]}…"
    if not shown:
        return Markdown("(empty)")
    marks = "`" * (_longest_run(shown) + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return Markdown(f"{marks}{space}{shown}{space}{marks}")


def sentence(text: object) -> Markdown:
    """Return a longer code span."""
    return code(text, MAX_SENTENCE)


def setting(value: object) -> Markdown:
    """Return the value of a parameter as YAML writes it; a dash if there is none."""
    if isinstance(value, tuple | list):
        items = ", ".join(map(_scalar, value[:MAX_ROWS]))
        return code(f"[{items}{', …' if len(value) > MAX_ROWS else ''}]")
    return code(_scalar(value))


def listing(names: Sequence[object], limit: int = MAX_ITEMS) -> Markdown:
    """Return the first names, and how many more there are."""
    return Markdown(join_first(map(code, names), limit))


def difference(current: object, base: object) -> Markdown:
    """Return a difference with its sign; nothing if a value is not a number, ``=`` if the difference does not show."""
    if not (is_finite(current) and is_finite(base) and is_finite(float(current) - float(base))):
        return Markdown("")
    if _format_number(current) == _format_number(base):
        return Markdown("=")
    whole = isinstance(current, int) and isinstance(base, int)
    distance = abs(current - base) if whole else float(f"{abs(current - base):.3g}")
    return Markdown(f"{'+' if current > base else '-'}{_format_number(distance)}")


def interval(low: object, high: object) -> Markdown:
    """Return bounds in parentheses; nothing if one is missing."""
    if low is None or high is None:
        return Markdown("")
    return Markdown(f" ({render_value(low)} to {render_value(high)})")


def table(header: Sequence[str | Markdown], rows: Sequence[Sequence[object]], numbers: int = 0) -> Markdown:
    """Return a table of at most 20 rows, without the columns in which every cell is empty.

    Args:
        header: Names of the columns, which are trusted.
        rows: Cells, in the order of the header.
        numbers: How many columns at the end are aligned as numbers.
    """
    kept = [index for index in range(len(header)) if any(row[index] not in {None, ""} for row in rows)]
    rule = ["---"] * (len(header) - numbers) + ["--:"] * numbers
    body = [[_cell(render_value(row[index])) for index in kept] for row in rows[:MAX_ROWS]]
    head = [[_cell(header[index]) for index in kept], [rule[index] for index in kept]]
    lines = [f"| {' | '.join(cells)} |" for cells in (*head, *body)]
    more = ["", f"The first {MAX_ROWS} of {len(rows):,} rows."] if len(rows) > MAX_ROWS else []
    return Markdown("\n".join([*lines, *more]))


def fence(text: str, language: str = "text") -> Markdown:
    """Return a code block that no line of the text can close."""
    marks = "`" * max(3, _longest_run(text) + 1)
    return Markdown(f"{marks}{language}\n{text}\n{marks}")


def reveal(text: str) -> str:
    """Return text with escapes for invisible characters, with line breaks, and with at most two accents on a letter."""
    return "".join(_reveal(TERMINAL_ESCAPE.sub("", text)))


def _reveal(text: str) -> Iterator[str]:
    accents = 0
    for letter in text:
        accents = accents + 1 if unicodedata.category(letter).startswith("M") else 0
        if letter in "\n\t":
            yield letter.expandtabs(4)
        elif not letter.isprintable() or INVISIBLE.match(letter):
            yield letter.encode("unicode_escape").decode()
        elif accents <= MAX_ACCENTS:
            yield letter


def _format_number(value: float) -> Markdown:
    if abs(value) >= HUGE:
        return Markdown(f"{float(value):.3g}")
    if isinstance(value, int) or abs(value) >= LARGE:
        return Markdown(f"{value:,.0f}")
    digits = "4g" if abs(value) >= SMALL else "1g"
    return Markdown(f"{value:.{digits}}")


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """Escape bars as GitHub's tables require, also in code spans. A bar after a backslash cannot be escaped."""
    return text.replace("\\|", "\\¦").replace("|", "\\|").replace("\n", "<br>")


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
