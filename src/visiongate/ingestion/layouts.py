"""From a tree of files to images: MNIST's IDX files, CIFAR-10's binary batches, or a folder for each class."""

import io
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.errors import DataError
from visiongate.ingestion.trees import Tree
from visiongate.settings.schema import Dataset

IDX = re.compile(r"(?:.*/)?(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
IDX_SPLITS = {"t10k": "test", "train": "train"}  # in the order of the rows' paths
IDX_MAGIC = {"images": 0x803, "labels": 0x801}
CIFAR = re.compile(r"(?:.*/)?(?:data_batch_[1-5]|test_batch)\.bin")
CIFAR_PICKLE = re.compile(r"(?:.*/)?(?:data_batch_[1-5]|test_batch)")
CIFAR_SIDE = 32
CIFAR_RECORD = 1 + 3 * CIFAR_SIDE**2
TWO = 2  # classes at least


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image as its source gives it."""

    image: bytes  # the encoded file
    label: str
    path: str  # within the source
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Images ready to be read, in the order of their paths."""

    classes: list[str]  # in the order of the model's outputs
    images: int
    ignored: Counter[str]  # files that are no images of a class, by why
    read: Callable[[], Iterator[SourceImage]]


def find_images(tree: Tree, dataset: Dataset) -> Source:
    """Recognize how a tree holds its images.

    Raises:
        DataError: It is laid out in no known way, its files are damaged, or its classes are not those that are expected.
    """
    if any(IDX.fullmatch(path) for path in tree.paths):
        return _open_idx(tree, dataset)
    if any(CIFAR.fullmatch(path) for path in tree.paths):
        return _open_cifar(tree, dataset)
    if any(CIFAR_PICKLE.fullmatch(path) for path in tree.paths):
        raise DataError(
            f"{tree.name}: CIFAR-10's Python version, which is pickled and could run any program: take cifar-10-binary.tar.gz"
        )
    return _open_folders(tree, dataset)


# A folder for each class


def _open_folders(tree: Tree, dataset: Dataset) -> Source:
    ignored = Counter(tree.ignored)
    places = _place(tree, dataset, ignored)
    if not places:
        raise DataError(
            f"{tree.name}: no image in it: it needs a folder for each class, CLASS/… or SPLIT/CLASS/…"
        )
    classes = _check_classes(tree.name, {label for _, _, label in places}, dataset.classes)

    def read() -> Iterator[SourceImage]:
        for path, split, label in places:
            yield SourceImage(tree.read(path), label, path, split, _find_group(path, dataset.group))

    return Source(classes, len(places), ignored, read)


def _place(tree: Tree, dataset: Dataset, ignored: Counter[str]) -> list[tuple[str, str | None, str]]:
    """Give each path its split and label; count those above the classes' folders."""
    parts = {path: path.split("/") for path in tree.paths}
    depth = _skip_wrappers(list(parts.values()), dataset)
    splits = _read_splits(tree.name, [names[depth:] for names in parts.values()], dataset)
    places = []
    for path, names in parts.items():
        inner = names[depth:]
        split = splits[inner[0]] if splits and len(inner) > 1 else None
        inner = inner[1:] if splits else inner
        if len(inner) > 1:
            places.append((path, split, inner[0]))
        else:
            ignored["above the classes"] += 1
    return places


def _skip_wrappers(paths: Sequence[Sequence[str]], dataset: Dataset) -> int:
    """Count the folders that hold everything else and are neither a split nor a class."""
    depth = 0
    while True:
        folders = {names[depth] for names in paths if len(names) > depth + 1}
        deeper = any(len(names) > depth + 2 for names in paths)
        (only,) = folders if len(folders) == 1 else (None,)
        known = only is None or only.lower() in dataset.splits or only in (dataset.classes or ())
        if known or not deeper:
            return depth
        depth += 1


def _read_splits(name: str, paths: Sequence[Sequence[str]], dataset: Dataset) -> dict[str, str]:
    """Return the split that each top folder gives; nothing, where these are the classes."""
    folders = sorted({names[0] for names in paths if len(names) > 1})
    splits: dict[str, str] = {
        folder: dataset.splits[folder.lower()] for folder in folders if folder.lower() in dataset.splits
    }
    others = [folder for folder in folders if folder not in splits]
    if splits and others and not set(folders) <= set(dataset.classes or ()):
        raise DataError(
            f"{name}: {', '.join(others[:5])} beside {', '.join(splits)}: name it in dataset.splits or dataset.exclude; "
            "or, if all of these are classes, set dataset.splits to {}"
        )
    return {} if others else splits


def _check_classes(name: str, found: set[str], expected: list[str] | None) -> list[str]:
    unknown, missing = sorted(found - set(expected or found)), sorted(set(expected or found) - found)
    if unknown:
        raise DataError(
            f"{name}: a folder {unknown[0]!r} that is none of the classes {', '.join(expected or [])}: "
            "name it in dataset.classes, or in dataset.exclude"
        )
    if missing:
        raise DataError(
            f"{name}: no folder with images of class {missing[0]!r}; there are {', '.join(sorted(found))}"
        )
    if len(found) < TWO:
        raise DataError(f"{name}: one class alone, {', '.join(found)}: a classifier needs two")
    return expected or sorted(found)


def _find_group(path: str, pattern: str | None) -> str | None:
    found = re.search(pattern, path) if pattern else None
    return found.group(1) if found else None


# IDX files: http://yann.lecun.com/exdb/mnist/ describes them


def _open_idx(tree: Tree, dataset: Dataset) -> Source:
    files: dict[tuple[str, str], str] = {}
    for path in tree.paths:
        if match := IDX.fullmatch(path):
            files.setdefault((match[1], match[2]), path)
    parts = {part for part, _ in files}
    for part in sorted(parts):
        for kind in IDX_MAGIC:
            if (part, kind) not in files:
                raise DataError(f"{tree.name}: no file {part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte")
    labels = {part: _read_idx(tree, files[part, "labels"], "labels", dataset) for part in parts}
    classes = _check_labels(tree.name, labels, dataset.classes)
    ignored = tree.ignored + Counter({"not IDX": len(tree.paths) - len(files)})

    def read() -> Iterator[SourceImage]:
        for part in (part for part in IDX_SPLITS if part in parts):
            images = _read_idx(tree, files[part, "images"], "images", dataset)
            if len(images) != len(labels[part]):
                raise DataError(f"{tree.name}: {len(images)} images and {len(labels[part])} labels in {part}")
            split = IDX_SPLITS[part]
            for index, (pixels, label) in enumerate(zip(images, labels[part], strict=True)):
                yield SourceImage(encode_png(pixels), classes[label], f"{split}/{index:06d}.png", split)

    return Source(classes, sum(map(len, labels.values())), +ignored, read)


def _read_idx(tree: Tree, path: str, kind: str, dataset: Dataset) -> npt.NDArray[np.uint8]:
    """Read uint8, N×H×W for images and N for labels."""
    content = tree.read(path)
    if path.endswith(".gz"):
        content = _gunzip(tree.name, path, content, dataset.limits.max_file_bytes)
    dimensions = 3 if kind == "images" else 1
    header = 4 + 4 * dimensions
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header].ljust(header, b"\0"))
    count = int(np.prod(shape, dtype=object))
    if magic != IDX_MAGIC[kind] or len(content) != header + count:
        raise DataError(
            f"{tree.name}: {path}: not an IDX file of {kind}, or cut short: {len(content):,} bytes"
        )
    if 0 in shape[1:]:
        raise DataError(f"{tree.name}: {path}: images of {shape[2]}×{shape[1]} pixels")
    return np.frombuffer(content, np.uint8, count, header).reshape(shape)


def _gunzip(name: str, path: str, content: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(content, limit + 1)
    except zlib.error as error:
        raise DataError(f"{name}: {path}: damaged: {error}") from None
    if len(plain) > limit:
        raise DataError(f"{name}: {path}: over {limit:,} bytes, dataset.limits.max_file_bytes")
    if not decompressor.eof:
        raise DataError(f"{name}: {path}: cut short")
    return plain


def _check_labels(
    name: str, labels: "dict[str, npt.NDArray[np.uint8]]", expected: list[str] | None
) -> list[str]:
    highest = max((int(found.max()) for found in labels.values() if len(found)), default=0)
    classes = expected or [str(label) for label in range(highest + 1)]
    if highest >= len(classes):
        raise DataError(f"{name}: a label {highest}, but {len(classes)} classes in dataset.classes")
    return classes


# CIFAR-10's binary version: https://www.cs.toronto.edu/~kriz/cifar.html describes it


def _open_cifar(tree: Tree, dataset: Dataset) -> Source:
    batches = [path for path in tree.paths if CIFAR.fullmatch(path)]
    names = next((path for path in tree.paths if path.split("/")[-1] == "batches.meta.txt"), None)
    told = _read_names(tree, names) if names else []
    classes = dataset.classes or told
    if told and sorted(told) != sorted(classes):
        raise DataError(
            f"{tree.name}: its classes are {', '.join(told)}, those of dataset.classes are {', '.join(classes)}"
        )
    if not classes:
        raise DataError(f"{tree.name}: no batches.meta.txt, which names the classes")
    images = sum(len(_read_cifar(tree, path, len(classes))) for path in batches)
    order = sorted(batches, key=lambda path: (not path.endswith("test_batch.bin"), path))
    ignored = tree.ignored + Counter({"no batch": len(tree.paths) - len(batches)})

    def read() -> Iterator[SourceImage]:
        counts: Counter[str] = Counter()
        for path in order:
            split = "test" if path.endswith("test_batch.bin") else "train"
            for record in _read_cifar(tree, path, len(classes)):
                pixels = record[1:].reshape(3, CIFAR_SIDE, CIFAR_SIDE).transpose(1, 2, 0)
                label = (told or classes)[record[0]]
                yield SourceImage(encode_png(pixels), label, f"{split}/{counts[split]:06d}.png", split)
                counts[split] += 1

    return Source(classes, images, +ignored, read)


def _read_names(tree: Tree, path: str) -> list[str]:
    """Read the classes' names, one a line."""
    lines = tree.read(path).decode("utf-8", "replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) != len(names):
        raise DataError(f"{tree.name}: {path}: it names a class twice")
    return names


def _read_cifar(tree: Tree, path: str, classes: int) -> npt.NDArray[np.uint8]:
    """Read uint8, N × (1 + 3·32·32): the label, then the channels' planes."""
    content = np.frombuffer(tree.read(path), np.uint8)
    if not len(content) or len(content) % CIFAR_RECORD:
        raise DataError(
            f"{tree.name}: {path}: {len(content):,} bytes are no whole number of records, cut short perhaps"
        )
    records = content.reshape(-1, CIFAR_RECORD)
    if records[:, 0].max() >= classes:
        raise DataError(f"{tree.name}: {path}: a label {records[:, 0].max()}, but {classes} classes")
    return records


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 pixels, H×W or H×W×3, losslessly."""
    buffer = io.BytesIO()
    # Small images hardly compress: the lightest level is as good, and four times as fast.
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
