"""Leaks: test images that share pixels, a file or a group with an image of another split."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from visiongate.images.pixels import Pixels
from visiongate.records.evaluation import Leak

# The strongest reason first.
SHARED = ("pixels", "file", "group")


def find_leaks(images: Mapping[str, Pixels], manifests: Mapping[str, pa.Table]) -> list[Leak]:
    """Return the test images that leak, each once, with its strongest reason.

    Pixels are compared as the model sees them, so that a copy in another format counts if it decodes to the same pixels.

    Args:
        images: uint8, N×H×W×C, by split.
        manifests: By split, in the same order, with the columns ``path``, ``sha256`` and ``group``.
    """
    test_paths = manifests["test"].column("path").to_pylist()
    leaks: dict[int, Leak] = {}
    for shared in SHARED:
        test_keys = list(_keys(shared, images["test"], manifests["test"]))
        for split in sorted(images.keys() - {"test"}):
            paths = manifests[split].column("path").to_pylist()
            known = {key: row for row, key in _keys(shared, images[split], manifests[split])}
            for row, key in test_keys:
                if key in known:
                    leaks.setdefault(row, Leak(test_paths[row], split, paths[known[key]], shared))
    return [leaks[row] for row in sorted(leaks)]


def _keys(shared: str, images: Pixels, manifest: pa.Table) -> Iterator[tuple[int, object]]:
    """Yield each row with its key; an image without a group has no key."""
    if shared == "pixels":
        for row, image in enumerate(images):
            yield row, blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
    else:
        column = manifest.column("sha256" if shared == "file" else "group").to_pylist()
        yield from ((row, key) for row, key in enumerate(column) if key is not None)
