"""Find labeled images in a tree: IDX files, CIFAR-10 batches, or one folder per class."""

from collections.abc import Sequence

from visiongate.errors import DataError
from visiongate.ingestion.cifar10 import holds_cifar10, open_cifar10
from visiongate.ingestion.class_folders import read_class_folders
from visiongate.ingestion.flat_names import advise_on_flat_files
from visiongate.ingestion.idx_files import holds_idx_files, open_idx_files
from visiongate.ingestion.labeled_paths import MIN_CLASSES, LabeledPath, LabeledPaths
from visiongate.ingestion.source import Source
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
    return _read_class_folders(tree, dataset).open(tree, dataset.group)


def _read_class_folders(tree: Tree, dataset: Dataset) -> LabeledPaths:
    folders = read_class_folders(tree, dataset)
    classes = _check_classes(tree, folders.images, dataset.classes)
    layout = folders.describe(tree.name)
    return LabeledPaths(folders.images, classes, folders.ignored, layout, folders.warnings)


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
