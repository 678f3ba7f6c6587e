"""NumPy's ``.npz`` of pixels and labels, as MedMNIST and Keras distribute them.

The names of the arrays are those of https://medmnist.com (``train_images``, ``train_labels``), of Keras' ``mnist.npz``
(``x_train``, ``y_train``), or ``images`` and ``labels``. The pixels are read image by image, whatever the size of the file.
"""

import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.ingestion.archives import explain_damage
from visiongate.ingestion.labeled_paths import (
    describe_classes,
    find_missing_classes,
    name_counts,
    name_labels,
)
from visiongate.ingestion.limits import check_limit, check_ratio
from visiongate.ingestion.setting_advice import advise_on_excluding
from visiongate.ingestion.source import Source, SourceImage, encode_png
from visiongate.ingestion.trees import EXCLUDED, Tree, is_excluded
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

EXTENSION = ".npz"
# In the order of the rows' paths; an array without a split has the prefix `images`.
PREFIXES = {"images": None, "test": "test", "train": "train", "val": "val"}
IMAGES = re.compile(r"(?:(?P<before>train|val|test)_images|x_(?P<after>train|val|test)|images)\.npy")
# The array of labels by that of images.
LABEL_WORDS = {"images": "labels", "x": "y"}
GRAY_DIMENSIONS, COLOR_DIMENSIONS, COLORS = 3, 4, (1, 3)


@dataclass(frozen=True, slots=True)
class Pixels:
    """An array of images in a file.

    Attributes:
        entry: Its name.
        labels: The name of the array of labels.
        prefix: The folder of its images' paths: the split, or ``images``.
        shape: N×H×W or N×H×W×C.
    """

    entry: str
    labels: str
    prefix: str
    shape: tuple[int, ...]

    def name_image(self, index: int) -> str:
        """Return the path of an image in the image table."""
        return f"{self.prefix}/{index:07d}.png"


def find_image_arrays(tree: Tree) -> list[str]:
    """Return the ``.npz`` files with arrays of images.

    Raises:
        DataError: One is damaged.
    """
    found = []
    for path in tree.paths:
        if path.lower().endswith(EXTENSION):
            with _open(tree, path) as file:
                found += [path] if any(map(IMAGES.fullmatch, file.namelist())) else []
    return found


def open_image_arrays(tree: Tree, paths: Sequence[str], dataset: Dataset) -> Source:
    """Open a file of arrays.

    Raises:
        DataError: There are several files, or the arrays are no gray or color images of 8 bits with one label each.
    """
    path, source = _choose(tree, paths, dataset), f"{tree.name}: {paths[0]}"
    with _open(tree, path) as file:
        _check_limits(source, file, dataset)
        arrays = sorted(_find_pixels(source, file, dataset), key=lambda each: each.prefix)
        labels = {each.prefix: _read_labels(source, file, each, dataset) for each in arrays}
    kept = [(each, name, label) for each in arrays for name, label in labels[each.prefix].items()]
    check_limit(source, "max_files", len(kept), "images", dataset.limits)
    raw = Counter((label, PREFIXES[each.prefix]) for each, _, label in kept)
    classes = name_labels(source, {label for label, _ in raw}, dataset)
    counts = name_counts(raw, classes)

    def read() -> Iterator[SourceImage]:
        for each in arrays:
            with _open(tree, path) as file, explain_damage(source, each.entry):
                for index, pixels in enumerate(_iterate(source, file, each)):
                    name = each.name_image(index)
                    if (label := labels[each.prefix].get(name)) is not None:
                        yield SourceImage(encode_png(pixels), classes[label], name, PREFIXES[each.prefix])

    excluded = sum(each.shape[0] for each in arrays) - len(kept)
    ignored = tree.ignored + Counter({"not an array of images": len(tree.paths) - 1, EXCLUDED: excluded})
    layout, warnings = f"{describe_classes(counts)}; arrays in {path}", find_missing_classes(counts)
    return Source(list(dict.fromkeys(classes.values())), counts, +ignored, read, layout, tuple(warnings))


def _choose(tree: Tree, paths: Sequence[str], dataset: Dataset) -> str:
    path, *others = paths
    if others:
        raise DataError(
            f"{tree.name}: {len(paths)} files of arrays: {join_first(paths, 3)}; set dataset.path to one of them, or keep one: "
            f"{advise_on_excluding(others, dataset)}"
        )
    return path


@contextmanager
def _open(tree: Tree, path: str) -> Iterator[zipfile.ZipFile]:
    with tree.open(path) as stream:
        with explain_damage(tree.name, path):
            file = zipfile.ZipFile(stream)
        with file:
            yield file


def _check_limits(source: str, file: zipfile.ZipFile, dataset: Dataset) -> None:
    plain = sum(entry.file_size for entry in file.infolist())
    check_ratio(source, plain, sum(entry.compress_size for entry in file.infolist()), dataset.limits)
    check_limit(source, "max_total_bytes", plain, "bytes in total", dataset.limits)


def _find_pixels(source: str, file: zipfile.ZipFile, dataset: Dataset) -> Iterator[Pixels]:
    entries = set(file.namelist())
    for entry in sorted(entries):
        match = IMAGES.fullmatch(entry)
        if match is None:
            continue
        labels = re.sub(r"images|\bx(?=_)", lambda word: LABEL_WORDS[word[0]], entry)
        if labels not in entries:
            raise DataError(
                f"{source}: {entry.removesuffix('.npy')} without {labels.removesuffix('.npy')}; add the labels"
            )
        with explain_damage(source, entry), file.open(entry) as stream:
            shape, is_fortran, kind = _read_header(stream)
        _check_pixels(f"{source}: {entry.removesuffix('.npy')}", shape, kind, is_fortran=is_fortran)
        check_limit(source, "max_file_bytes", math.prod(shape[1:]), "bytes in an image", dataset.limits)
        yield Pixels(entry, labels, match["before"] or match["after"] or "images", shape)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _check_pixels(
    source: str, shape: tuple[int, ...], kind: np.dtype[np.generic], *, is_fortran: bool
) -> None:
    listed = "×".join(map(str, shape))
    if kind != np.uint8 or is_fortran:
        order = " in Fortran's order" if is_fortran else ""
        raise DataError(f"{source}: {kind}{order}; save pixels from 0 to 255 as uint8 in C's order")
    is_color = len(shape) == COLOR_DIMENSIONS and shape[3] in COLORS
    if 0 in shape[1:] or not (len(shape) == GRAY_DIMENSIONS or is_color):
        raise DataError(
            f"{source}: shape {listed} is not N×H×W or N×H×W×3: volumes and other orders of the colors are not supported; save "
            "one image per slice, with the colors last"
        )


def _read_labels(source: str, file: zipfile.ZipFile, pixels: Pixels, dataset: Dataset) -> dict[str, str]:
    """Return the labels by the paths of the images, without the excluded ones."""
    name, count = pixels.labels.removesuffix(".npy"), pixels.shape[0]
    with explain_damage(source, name), file.open(pixels.labels) as stream:
        shape, _, kind = _read_header(stream)
        check_limit(source, "max_file_bytes", count * kind.itemsize, f"bytes in {name}", dataset.limits)
        if len(shape) > 1 and set(shape[1:]) != {1}:
            raise DataError(
                f"{source}: {name}: {math.prod(shape[1:])} labels per image, but an image has one label here; save one "
                "label per image, or choose another data set"
            )
        if shape[:1] != (count,) or kind.kind not in "uiUb":
            raise DataError(
                f"{source}: {name}: {'×'.join(map(str, shape))} values of type {kind} for {count:,} images; save one whole "
                "number or text per image"
            )
        labels = np.frombuffer(stream.read(count * kind.itemsize), kind, count)
    named = ((pixels.name_image(index), str(label)) for index, label in enumerate(labels.tolist()))
    return {name: label for name, label in named if not is_excluded(name, dataset.exclude)}


def _iterate(source: str, file: zipfile.ZipFile, pixels: Pixels) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images, H×W or H×W×3, one at a time in memory."""
    count, *shape = pixels.shape
    size = math.prod(shape)
    visible = shape[:2] if shape[2:] == [1] else shape
    with file.open(pixels.entry) as stream:
        _read_header(stream)
        for index in range(count):
            content = stream.read(size)
            if len(content) < size:
                raise DataError(
                    f"{source}: {pixels.entry} ends after {index:,} of {count:,} images; download it again"
                )
            yield np.frombuffer(content, np.uint8).reshape(visible)
