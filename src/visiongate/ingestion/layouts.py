"""Find labeled images in a tree: IDX files, CIFAR-10 batches, or one folder per class."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from visiongate.errors import DataError
from visiongate.ingestion.cifar10 import holds_cifar10, open_cifar10
from visiongate.ingestion.class_folders import MIN_CLASSES, LabeledPath, read_class_folders
from visiongate.ingestion.flat_names import advise_on_flat_files
from visiongate.ingestion.idx_files import holds_idx_files, open_idx_files
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset


def find_images(tree: Tree, dataset: Dataset) -> Source:
    """Recognize a tree's layout and open it.

    Raises:
        DataError: The layout is unknown, a file is damaged, or the classes do not match the settings.
    """
    if holds_idx_files(tree):
        return open_idx_files(tree, dataset)
    if holds_cifar10(tree):
        return open_cifar10(tree, dataset)
    return _open_class_folders(tree, dataset)


def _open_class_folders(tree: Tree, dataset: Dataset) -> Source:
    folders = read_class_folders(tree, dataset)
    classes = _check_classes(tree, folders.images, dataset.classes)

    def read() -> Iterator[SourceImage]:
        for image in folders.images:
            group = _find_group(image.path, dataset.group)
            yield SourceImage(tree.read(image.path), image.label, image.path, image.split, group)

    layout, warnings = folders.describe(tree.name), tuple(folders.warnings)
    counts = Counter((image.label, image.split) for image in folders.images)
    return Source(classes, counts, +folders.ignored, read, layout, warnings)


def _check_classes(tree: Tree, images: Sequence[LabeledPath], expected: list[str] | None) -> list[str]:
    name, paths, actual = tree.name, [image.path for image in images], {image.label for image in images}
    unknown, missing = sorted(actual - set(expected or actual)), sorted(set(expected or actual) - actual)
    if unknown:
        raise DataError(
            f"{name}: {len(unknown)} {'folders are' if len(unknown) > 1 else 'folder is'} not among dataset.classes, such as "
            f"{', '.join(map(repr, unknown[:3]))}; add them to dataset.classes or dataset.exclude"
        )
    if missing:
        raise DataError(
            f"{name}: {len(missing)} of dataset.classes {'have' if len(missing) > 1 else 'has'} no folder with images, such as "
            f"{', '.join(map(repr, missing[:3]))}; there are {', '.join(sorted(actual))}"
        )
    if len(actual) < MIN_CLASSES:
        raise DataError(
            f"{name}: {', '.join(actual)} is the only class; a classifier needs at least two: "
            f"{advise_on_flat_files(paths, [])}"
        )
    return expected or sorted(actual)


def _find_group(path: str, pattern: str | None) -> str | None:
    match = re.search(pattern, path) if pattern else None
    return match.group(1) if match else None
