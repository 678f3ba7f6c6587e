"""Which images train, which validate, which test: a function of each image's own content, so that new ones move no old one."""

import hashlib
from collections.abc import Sequence

from visiongate.config import Split
from visiongate.errors import DataError

SPLITS = ("train", "val", "test")


def assign_splits(
    keys: Sequence[str], given: Sequence[str | None], labels: Sequence[str], split: Split
) -> list[str]:
    """Assign each image to a split.

    A split that the source gives is kept, but where it gives no ``val``, that is drawn out of its ``train``. The others
    are drawn by hash. Every class is drawn at the same shares; since an image's place depends on nothing but its key, the
    shares hold within each class up to the chance of the draw, and not to the image.

    Args:
        keys: What an image is drawn by: its group, so that a group never straddles two splits, or else its content's hash.
        given: The source's own split of each image, or None.
        labels: The class of each image.
        split: The shares and the seed.

    Returns:
        ``train``, ``val`` or ``test`` for each image.

    Raises:
        DataError: A split would have no image of some class.
    """
    val_given = "val" in given
    splits = [_draw(key, split, own, val_given=val_given) for key, own in zip(keys, given, strict=True)]
    _check_classes(splits, labels)
    return splits


def position(key: str, seed: int) -> float:
    """Place a key in [0, 1), uniformly and for ever, by SHA-256."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    # Six bytes: every such fraction is an exact float, and the largest stays below 1.
    return int.from_bytes(digest[:6], "big") / 2**48


def _draw(key: str, split: Split, given: str | None, *, val_given: bool) -> str:
    if given in ("val", "test") or (given == "train" and val_given):
        return given
    place = position(key, split.seed)
    if given == "train":
        return "train" if place < split.train / (split.train + split.val) else "val"
    if place < split.train:
        return "train"
    return "val" if place < split.train + split.val else "test"


def _check_classes(splits: Sequence[str], labels: Sequence[str]) -> None:
    seen = set(zip(splits, labels, strict=True))
    for label in sorted(set(labels)):
        empty = [split for split in SPLITS if (split, label) not in seen]
        if empty:
            raise DataError(
                f"class {label!r} has no image in {' and '.join(empty)}: it needs more images, "
                "or transformation.split other shares or another seed"
            )
