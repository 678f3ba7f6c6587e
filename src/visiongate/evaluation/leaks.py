"""Test images that training has seen: the same pixels, the same file, or a picture of the same group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from visiongate.images.pixels import Pixels

SHARED = ("pixels", "file", "group")  # the strongest reason first
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Leak:
    """A test image, and what it shares with an image of another split."""

    path: str  # of the test image
    split: str  # where the other lies
    other: str  # its path
    shared: str  # one of `SHARED`


def find_leaks(
    images: Mapping[str, Pixels], manifests: Mapping[str, pa.Table], judged: str = "test"
) -> list[Leak]:
    """Name each test image of which another split has a copy, or an image of the same group: once, for the strongest reason.

    Pixels are compared as the model sees them, so that a copy under another name or in another format is found when it
    comes to the same. Preparation looks for near copies, before the images are split.

    Args:
        images: uint8, N×H×W×C, by split.
        manifests: With the columns ``path``, ``sha256`` and ``group``, in the same order, by split.
        judged: The split that must not be known to the others.
    """
    mine = manifests[judged].column("path").to_pylist()
    found: dict[int, Leak] = {}
    for shared in SHARED:
        judged_keys = list(_keys(shared, images[judged], manifests[judged]))
        for split in sorted(images.keys() - {judged}):
            others = manifests[split].column("path").to_pylist()
            known = {key: row for row, key in _keys(shared, images[split], manifests[split])}
            for row, key in judged_keys:
                if key in known:
                    found.setdefault(row, Leak(mine[row], split, others[known[key]], shared))
    return [found[row] for row in sorted(found)]


def _keys(shared: str, images: Pixels, manifest: pa.Table) -> Iterator[tuple[int, object]]:
    """Yield each row and what it is known by; an image without a group is known by none."""
    if shared == "pixels":
        yield from enumerate(_digests(images))
        return
    column: Sequence[str | None] = manifest.column("sha256" if shared == "file" else "group").to_pylist()
    yield from ((row, key) for row, key in enumerate(column) if key is not None)


def _digests(images: Pixels) -> Iterator[bytes]:
    for image in images:
        yield blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES).digest()
