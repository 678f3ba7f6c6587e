"""Options of ``dvc exp run`` that a message can print, and that work as printed."""

import glob
import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

# Longer lists cannot be read; `quarantine.csv` has them.
MAX_PATTERNS = 10


def override(key: str, value: object) -> str:
    """Return the option that sets a key, such as ``-S validation.balance.max_ratio=3``; lists and texts are quoted."""
    text = f"[{','.join(map(_quote, value))}]" if isinstance(value, list) else str(value)
    return f"-S {shlex.quote(f'{key}={text}')}"


def exclude(refused: Iterable[str], others: Iterable[str], excluded: Sequence[str]) -> str:
    """Return the option that leaves files out; empty if it would be too long.

    Args:
        refused: Their paths.
        others: The paths of all other files. An extension that none of these has stands for all files with it.
        excluded: The patterns that the setting has already.
    """
    kept = {PurePosixPath(path).suffix for path in others}
    patterns = dict.fromkeys(
        exact_pattern(path)
        if not (suffix := PurePosixPath(path).suffix) or suffix in kept
        else f"*{exact_pattern(suffix)}"
        for path in refused
    )
    return override("dataset.exclude", [*excluded, *patterns]) if len(patterns) <= MAX_PATTERNS else ""


def exact_pattern(path: str) -> str:
    """Return a pattern for a path. Letters that Hydra's grammar or a terminal would change stand for any letter."""
    return "".join(
        letter if letter.isprintable() and letter not in '\\"$' else "?" for letter in glob.escape(path)
    )


def _quote(text: object) -> str:
    """Quote a text for Hydra's grammar, in which words such as ``null`` and numbers are no texts."""
    escaped = str(text).replace('"', '\\"')
    return f'"{escaped}"'
