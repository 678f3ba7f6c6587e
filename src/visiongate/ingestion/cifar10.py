"""CIFAR-10's binary version: batches of records, each a label and three color planes.

The format is described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.ingestion.source import Source, SourceImage, encode_png
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset

BATCH = re.compile(r"(?:.*/)?(?:data_batch_[1-5]|test_batch)\.bin")
PICKLED_BATCH = re.compile(r"(?:.*/)?(?:data_batch_[1-5]|test_batch)")
CLASS_NAMES = "batches.meta.txt"
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE**2


def holds_cifar10(tree: Tree) -> bool:
    """Return whether a tree holds CIFAR-10's batches.

    Raises:
        DataError: The batches are pickled.
    """
    if any(PICKLED_BATCH.fullmatch(path) for path in tree.paths):
        raise DataError(
            f"{tree.name}: CIFAR-10's pickled version, which could run any program; use cifar-10-binary.tar.gz"
        )
    return any(BATCH.fullmatch(path) for path in tree.paths)


def open_cifar10(tree: Tree, dataset: Dataset) -> Source:
    """Open a tree of CIFAR-10's batches.

    Raises:
        DataError: A batch is damaged, or the class names do not match those in the settings.
    """
    batches = [path for path in tree.paths if BATCH.fullmatch(path)]
    names = _read_class_names(tree) or dataset.classes or []
    classes = dataset.classes or names
    if not names:
        raise DataError(f"{tree.name}: {CLASS_NAMES} is missing; list the names in dataset.classes")
    if sorted(names) != sorted(classes):
        raise DataError(
            f"{tree.name}: the classes are {', '.join(names)}, but dataset.classes lists {', '.join(classes)}"
        )
    counts: Counter[tuple[str, str | None]] = Counter(
        (names[label], _split_of(path))
        for path in batches
        for label in _read_batch(tree, path, len(classes))[:, 0].tolist()
    )
    order = sorted(batches, key=lambda path: (not path.endswith("test_batch.bin"), path))
    ignored = tree.ignored + Counter({"not a batch": len(tree.paths) - len(batches)})

    def read() -> Iterator[SourceImage]:
        numbers: Counter[str] = Counter()
        for path in order:
            split = _split_of(path)
            for record in _read_batch(tree, path, len(classes)):
                pixels = record[1:].reshape(3, SIDE, SIDE).transpose(1, 2, 0)
                name = f"{split}/{numbers[split]:06d}.png"
                yield SourceImage(encode_png(pixels), names[record[0]], name, split)
                numbers[split] += 1

    return Source(classes, counts, +ignored, read, f"{len(classes)} classes in CIFAR-10 batches")


def _split_of(path: str) -> str:
    return "test" if path.endswith("test_batch.bin") else "train"


def _read_class_names(tree: Tree) -> list[str]:
    """Return the class names, one per line; empty if there is no such file."""
    path = next((path for path in tree.paths if path.split("/")[-1] == CLASS_NAMES), None)
    if path is None:
        return []
    lines = tree.read(path).decode("utf-8", "replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _read_batch(tree: Tree, path: str, classes: int) -> npt.NDArray[np.uint8]:
    """Return uint8, N × (1 + 3·32·32): the label, then the color planes."""
    content = np.frombuffer(tree.read(path), np.uint8)
    if not len(content) or len(content) % RECORD_BYTES:
        raise DataError(f"{tree.name}: {path}: {len(content):,} bytes, not a multiple of {RECORD_BYTES:,}")
    records = content.reshape(-1, RECORD_BYTES)
    if records[:, 0].max() >= classes:
        raise DataError(f"{tree.name}: {path}: label {records[:, 0].max()} has no class: there are {classes}")
    return records
