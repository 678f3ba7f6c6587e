"""Folder names that say which split their images belong to, such as ``train``, ``Test_Set`` and ``seg_train``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}
# Words that often accompany the split, separately (test_set) or not (testset).
FILLERS = (
    "set",
    "sets",
    "images",
    "image",
    "imgs",
    "img",
    "data",
    "dataset",
    "photos",
    "pictures",
    "split",
    "seg",
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_GLUED = re.compile(rf"({'|'.join(sorted(WORDS, key=len, reverse=True))})({'|'.join(FILLERS)})")


@dataclass(frozen=True, slots=True)
class SplitName:
    """What a folder's name says.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        rest: The other words, such as the name of the data set; none if the name can only mean the split.
    """

    split: str
    rest: tuple[str, ...]


def read_split_name(folder: str) -> SplitName | None:
    """Read a folder's name in any case, with any separators and digits; None if it names no split, or two."""
    joined = re.sub(r"(?i)hold[\W_]*out", "holdout", folder)
    words = [_GLUED.sub(r"\1", word.lower()) for word in _WORD.findall(joined)]
    found = [word for word in words if word in WORDS]
    if len(found) != 1:
        return None
    rest = tuple(word for word in words if word not in WORDS and word not in FILLERS)
    return SplitName(WORDS[found[0]], rest)


def recognize_splits(names: Sequence[str]) -> dict[str, str]:
    """Return the split of each name that is one of the usual names of a split.

    Names with other words, such as pets_train and pets_test, must differ by nothing but the split.
    """
    read = {name: found for name in names if (found := read_split_name(name))}
    certain = {name: found.split for name, found in read.items() if not found.rest}
    if certain or len(read) < len(names):
        return certain
    splits = {name: found.split for name, found in read.items()}
    is_same = len({found.rest for found in read.values()}) == 1
    return splits if is_same and len(set(splits.values())) > 1 else {}
