"""Find labeled images in a tree: IDX files, CIFAR-10 batches, or one folder per class."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from visiongate.errors import DataError
from visiongate.ingestion.cifar10 import holds_cifar10, open_cifar10
from visiongate.ingestion.idx_files import holds_idx_files, open_idx_files
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset

MIN_CLASSES = 2
# Folder names that an error message lists.
MAX_LISTED = 5


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
    ignored = Counter(tree.ignored)
    labeled = _label_paths(tree, dataset, ignored)
    if not labeled:
        raise DataError(f"{tree.name}: no image found; create one folder per class: CLASS/… or SPLIT/CLASS/…")
    classes = _check_classes(tree.name, {label for _, _, label in labeled}, dataset.classes)

    def read() -> Iterator[SourceImage]:
        for path, split, label in labeled:
            yield SourceImage(tree.read(path), label, path, split, _find_group(path, dataset.group))

    return Source(classes, len(labeled), ignored, read)


def _label_paths(tree: Tree, dataset: Dataset, ignored: Counter[str]) -> list[tuple[str, str | None, str]]:
    """Return the path, given split and label of each image; count files above the class folders as ignored."""
    parts = {path: path.split("/") for path in tree.paths}
    depth = _count_wrappers(list(parts.values()), dataset)
    splits = _find_splits(tree.name, [names[depth:] for names in parts.values()], dataset)
    labeled = []
    for path, names in parts.items():
        inner = names[depth:]
        split = splits[inner[0]] if splits and len(inner) > 1 else None
        inner = inner[1:] if splits else inner
        if len(inner) > 1:
            labeled.append((path, split, inner[0]))
        else:
            ignored["above the classes"] += 1
    return labeled


def _count_wrappers(paths: Sequence[Sequence[str]], dataset: Dataset) -> int:
    """Count the nested folders that hold everything else and are neither a split nor a class."""
    depth = 0
    while True:
        folders = {names[depth] for names in paths if len(names) > depth + 1}
        has_subfolders = any(len(names) > depth + 2 for names in paths)
        (only,) = folders if len(folders) == 1 else (None,)
        known = only is None or only.lower() in dataset.splits or only in (dataset.classes or ())
        if known or not has_subfolders:
            return depth
        depth += 1


def _find_splits(name: str, paths: Sequence[Sequence[str]], dataset: Dataset) -> dict[str, str]:
    """Return the split of each top folder; empty if the top folders are the classes."""
    folders = sorted({names[0] for names in paths if len(names) > 1})
    splits: dict[str, str] = {
        folder: dataset.splits[folder.lower()] for folder in folders if folder.lower() in dataset.splits
    }
    others = [folder for folder in folders if folder not in splits]
    if splits and others and not set(folders) <= set(dataset.classes or ()):
        raise DataError(
            f"{name}: unknown folders {', '.join(others[:MAX_LISTED])} beside {', '.join(splits)}; "
            "add them to dataset.splits or dataset.exclude, or set dataset.splits to {} if all are classes"
        )
    return {} if others else splits


def _check_classes(name: str, actual: set[str], expected: list[str] | None) -> list[str]:
    unknown, missing = sorted(actual - set(expected or actual)), sorted(set(expected or actual) - actual)
    if unknown:
        raise DataError(
            f"{name}: folder {unknown[0]!r} is not one of the classes {', '.join(expected or [])}; "
            "add it to dataset.classes or dataset.exclude"
        )
    if missing:
        raise DataError(
            f"{name}: class {missing[0]!r} has no folder with images; there are {', '.join(sorted(actual))}"
        )
    if len(actual) < MIN_CLASSES:
        raise DataError(f"{name}: {', '.join(actual)} is the only class; a classifier needs at least two")
    return expected or sorted(actual)


def _find_group(path: str, pattern: str | None) -> str | None:
    match = re.search(pattern, path) if pattern else None
    return match.group(1) if match else None
