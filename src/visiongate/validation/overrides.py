"""Options of ``dvc exp run`` that a message can print, and that work as printed."""

import glob
import shlex


def override(key: str, value: object) -> str:
    """Return the option that sets a key, such as ``-S validation.balance.max_ratio=3``; lists and texts are quoted."""
    text = f"[{','.join(map(_quote, value))}]" if isinstance(value, list) else str(value)
    return f"-S {shlex.quote(f'{key}={text}')}"


def exact_pattern(path: str) -> str:
    """Return a pattern for a path. Letters that Hydra's grammar or a terminal would change stand for any letter."""
    return "".join(
        letter if letter.isprintable() and letter not in '\\"$' else "?" for letter in glob.escape(path)
    )


def _quote(text: object) -> str:
    """Quote a text for Hydra's grammar, in which words such as ``null`` and numbers are no texts."""
    escaped = str(text).replace('"', '\\"')
    return f'"{escaped}"'
