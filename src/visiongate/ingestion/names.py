r"""File names of folders and archives as text: their encoding, Windows' separators, and paths that lead out of the source.

A name that cannot be decoded is written with ``\xNN`` for each of its bytes that is not ASCII. All other names hold no
backslash, because it separates folders in archives that were made on Windows.
"""

import re
import unicodedata
from pathlib import PurePosixPath

from visiongate.errors import DataError

# Encodings that a message tries on names: those of Chinese, Japanese, Korean, Cyrillic and Western systems.
CANDIDATES = ("gbk", "big5", "shift_jis", "euc_kr", "cp866", "cp1251", "cp1252", "cp437")
# Letters, numbers, marks, punctuation and blanks. Wrong encodings often yield frames, symbols and unassigned characters.
PLAUSIBLE = re.compile(r"[LNMPZ]")
ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def decode_name(raw: bytes, encoding: str | None, *, prefer_utf8: bool = True) -> str:
    """Return a path as text, with forward slashes; undecodable bytes are escaped.

    Args:
        raw: The path in the folder or archive.
        encoding: The encoding of the names that are not UTF-8, from the settings.
        prefer_utf8: Whether a path that is valid as UTF-8 has that encoding in any case.
    """
    encodings = ["utf-8", encoding] if prefer_utf8 else [encoding, "utf-8"]
    for each in encodings:
        try:
            if each is not None:
                return raw.decode(each).replace("\\", "/")
        except UnicodeDecodeError:
            continue
    # The second byte of a character may be that of a backslash.
    return raw.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")


def is_undecoded(path: str) -> bool:
    """Return whether `decode_name` could not decode a path or a part of it."""
    return "\\" in path


def suggest_encodings(names: list[str]) -> str:
    """Return how undecoded names read in the encodings that fit all of them, such as ``gbk: 猫; shift_jis: ﾃｨ``."""
    raw = [ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), name.encode()) for name in names]
    readings = []
    for encoding in CANDIDATES:
        try:
            texts = [each.decode(encoding) for each in raw]
        except UnicodeDecodeError:
            continue
        if all(PLAUSIBLE.match(unicodedata.category(character)) for text in texts for character in text):
            readings.append(f"{encoding}: {', '.join(texts)}")
    return "; ".join(readings) or "none of the usual encodings fits"


def check_path(source: str, path: str) -> str:
    """Return a path of `decode_name` in canonical form.

    Args:
        source: The name of the folder or archive, for the message.
        path: The path.

    Raises:
        DataError: The path leads out of the source.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path) or "\0" in path or not parts:
        raise DataError(f"{source}: {path!r}: a path that could lead out of the archive; rename the file")
    return str(PurePosixPath(*parts))
