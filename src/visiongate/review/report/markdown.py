"""GitHub's Markdown, safe for text of strangers.

Class names, parameters, paths and reasons come from files that whoever opens a pull request may write. Each goes into a code
span: there Markdown, HTML, @mentions, #123 references, links, e-mail addresses and pictures are plain letters, in tables too.
Escaping with backslashes or entities would not do: GitHub looks for mentions and addresses in the text that is left after it.
What does not show, or turns the direction of writing, is spelled out.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from visiongate.records.parsing import is_finite

MOST_LETTERS = 60  # of a name
MOST_SENTENCE = 300
MOST_READ = 10_000  # of a text, before it is cut
NOTHING, SAME = "-", "="  # in a cell
MOST_MARKS = 2  # accents on one letter
# Printable by Unicode's classes, and yet not to be seen: fillers, joiners, variation selectors, an empty Braille cell.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # of a terminal
SMALL, LARGE, HUGE = 1e-4, 10_000, 1e15


def code(text: object, most: int = MOST_LETTERS) -> str:
    """Put text into a code span, on one line, cut to so many characters."""
    words = " ".join(str(text)[:MOST_READ].split())
    shown = _shorten(reveal(words[: most + 1]), most)
    if not shown:
        return "(empty)"
    fence = "`" * (_longest_run(shown) + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Name the first of them, and say how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(code, names[:most])) + more


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """Lay out a table whose last so many columns are numbers; a bar in a cell stays in its cell."""
    rule = ["---"] * (len(header) - numbers) + ["--:"] * numbers
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in (header, rule, *rows))


def fence(text: str, language: str = "") -> str:
    """Put lines into a block that none of them can end."""
    marks = "`" * max(3, _longest_run(text) + 1)
    return f"{marks}{language}\n{text}\n{marks}"


def fold(title: str, body: str) -> str:
    """Hide a text behind its title, which must be ours."""
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def reveal(text: str) -> str:
    """Spell out what cannot be seen, keep line breaks, and take accents off a letter that has too many."""
    return "".join(_reveal(ESCAPE.sub("", text)))


def figure(value: object) -> str:
    """Write a number in four digits; tell what is none."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _spell_number(value) if is_finite(value) else "not a finite number"
    return f"not a number: {code(value, 20)}"


def setting(value: object) -> str:
    """Write a parameter's value as YAML would, cut where it is long."""
    if isinstance(value, tuple):
        return code(f"[{', '.join(_scalar(item) for item in value[:20])}{', …' if len(value) > 20 else ''}]")  # noqa: PLR2004 - more are cut anyway
    return code(_scalar(value))


def change(now: object, base: object) -> str:
    """Write a difference with its sign; nothing where one of the two is no number, or none to be seen."""
    if not (is_finite(now) and is_finite(base)):
        return ""
    difference = float(now) - float(base)
    if not is_finite(difference):
        return ""
    if figure(now) == figure(base):
        return SAME
    whole = isinstance(now, int) and isinstance(base, int)
    shown = _spell_number(abs(now - base if whole else float(f"{difference:.3g}")))
    return f"{'+' if difference >= 0 else '-'}{shown}"


def between(low: float | None, high: float | None) -> str:
    """Write an interval in parentheses; nothing where there is none."""
    return "" if low is None or high is None else f" ({figure(low)} to {figure(high)})"


def _spell_number(value: float) -> str:
    if abs(value) >= HUGE:
        return f"{float(value):.3g}"
    if isinstance(value, int) or abs(value) >= LARGE:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= SMALL else f"{value:.1g}"


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, float) else str(value)


def _reveal(text: str) -> Iterator[str]:
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter).startswith("M") else 0
        if letter in "\n\t":
            yield letter.expandtabs(4)
        elif not letter.isprintable() or INVISIBLE.match(letter):
            yield letter.encode("unicode_escape").decode()
        elif marks <= MOST_MARKS:
            yield letter


def _cell(text: str) -> str:
    """Escape bars as GitHub's tables want it, in code spans too; after a backslash they cannot be."""
    return text.replace("\\|", "\\¦").replace("|", "\\|").replace("\n", "<br>")


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
