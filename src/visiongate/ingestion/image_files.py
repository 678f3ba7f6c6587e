"""Tell the images among files by their extension or, without one, by their first bytes."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

from visiongate.images.extensions import claimed_format, has_image_signature

# What editors append to the name of a copy.
BACKUP = "~"
EXTENSION = re.compile(r"\.[a-z]\w*")


def select_images(paths: Iterable[str], read: Callable[[str], bytes]) -> tuple[list[str], Counter[str]]:
    """Return the images among files, and the number of the other files by reason.

    Args:
        paths: The files.
        read: Returns the content of a file by path.
    """
    images, ignored = list[str](), Counter[str]()
    for path in paths:
        suffix = _suffix(path)
        if _is_image_suffix(suffix) if suffix else has_image_signature(read(path)):
            images.append(path)
        else:
            ignored[f"not an image: {suffix or 'without an extension'}"] += 1
    return images, ignored


def _suffix(path: str) -> str:
    suffix = BACKUP if path.endswith(BACKUP) else posixpath.splitext(path)[1].rstrip().lower()
    # Not an extension, but a part of a name such as ``IMG 2.10.2026``.
    return suffix if suffix == BACKUP or EXTENSION.fullmatch(suffix) else ""


@lru_cache(1_000)
def _is_image_suffix(suffix: str) -> bool:
    return claimed_format(f"image{suffix}") is not None
