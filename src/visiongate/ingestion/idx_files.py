"""MNIST's IDX files: one file of images and one of labels per split.

The format is described at http://yann.lecun.com/exdb/mnist/.
"""

import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.ingestion.source import Source, SourceImage, encode_png
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset

FILE_NAME = re.compile(r"(?:.*/)?(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
# Splits by the prefix of the file name, in the order of the rows' paths.
SPLITS = {"t10k": "test", "train": "train"}
MAGIC = {"images": 0x803, "labels": 0x801}


def holds_idx_files(tree: Tree) -> bool:
    """Return whether a tree holds IDX files."""
    return any(FILE_NAME.fullmatch(path) for path in tree.paths)


def open_idx_files(tree: Tree, dataset: Dataset) -> Source:
    """Open a tree of IDX files.

    Raises:
        DataError: A file is missing or damaged, or a label has no class.
    """
    files: dict[tuple[str, str], str] = {}
    for path in tree.paths:
        if match := FILE_NAME.fullmatch(path):
            files.setdefault((match[1], match[2]), path)
    prefixes = {prefix for prefix, _ in files}
    for prefix in sorted(prefixes):
        for kind in MAGIC:
            if (prefix, kind) not in files:
                raise DataError(
                    f"{tree.name}: {prefix}-{kind}-idx{3 if kind == 'images' else 1}-ubyte is missing"
                )
    labels = {prefix: _read_idx(tree, files[prefix, "labels"], "labels", dataset) for prefix in prefixes}
    classes = _name_classes(tree.name, labels, dataset.classes)
    ignored = tree.ignored + Counter({"not IDX": len(tree.paths) - len(files)})

    def read() -> Iterator[SourceImage]:
        for prefix in (prefix for prefix in SPLITS if prefix in prefixes):
            images = _read_idx(tree, files[prefix, "images"], "images", dataset)
            if len(images) != len(labels[prefix]):
                raise DataError(
                    f"{tree.name}: {len(images)} images but {len(labels[prefix])} labels in the {prefix} files"
                )
            split = SPLITS[prefix]
            for index, (pixels, label) in enumerate(zip(images, labels[prefix], strict=True)):
                yield SourceImage(encode_png(pixels), classes[label], f"{split}/{index:06d}.png", split)

    counts: Counter[tuple[str, str | None]] = Counter(
        (classes[label], SPLITS[prefix]) for prefix, values in labels.items() for label in values.tolist()
    )
    return Source(classes, counts, +ignored, read, f"{len(classes)} classes in IDX files")


def _read_idx(tree: Tree, path: str, kind: str, dataset: Dataset) -> npt.NDArray[np.uint8]:
    """Return uint8, N×H×W for images and N for labels."""
    content = tree.read(path)
    if path.endswith(".gz"):
        content = _gunzip(f"{tree.name}: {path}", content, dataset.limits.max_file_bytes)
    dimensions = 3 if kind == "images" else 1
    header = 4 + 4 * dimensions
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header].ljust(header, b"\0"))
    count = int(np.prod(shape, dtype=object))
    if magic != MAGIC[kind] or len(content) != header + count or 0 in shape[1:]:
        raise DataError(f"{tree.name}: {path}: not a complete IDX file of {kind}; download it again")
    return np.frombuffer(content, np.uint8, count, header).reshape(shape)


def _gunzip(name: str, content: bytes, max_bytes: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise DataError(f"{name}: damaged: {error}; download it again") from None
    if len(plain) > max_bytes:
        raise DataError(f"{name}: more than dataset.limits.max_file_bytes = {max_bytes:,} bytes")
    if not decompressor.eof:
        raise DataError(f"{name}: truncated; download it again")
    return plain


def _name_classes(
    name: str, labels: Mapping[str, npt.NDArray[np.uint8]], expected: list[str] | None
) -> list[str]:
    highest = max((int(values.max()) for values in labels.values() if len(values)), default=0)
    classes = expected or [str(label) for label in range(highest + 1)]
    if highest >= len(classes):
        raise DataError(f"{name}: label {highest} has no class: dataset.classes lists {len(classes)}")
    return classes
