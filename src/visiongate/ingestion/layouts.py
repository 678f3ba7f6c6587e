"""Find labeled images in a tree: files of many images, class folders, or images that a table labels."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from visiongate.errors import DataError
from visiongate.images.extensions import claimed_format
from visiongate.ingestion.cifar10 import holds_cifar10, open_cifar10
from visiongate.ingestion.class_folders import read_class_folders
from visiongate.ingestion.flat_names import advise_on_flat_files
from visiongate.ingestion.idx_files import holds_idx_files, open_idx_files
from visiongate.ingestion.image_arrays import find_image_arrays, open_image_arrays
from visiongate.ingestion.label_tables import is_label_table
from visiongate.ingestion.labeled_paths import MAX_LISTED, MIN_CLASSES, LabeledPath, LabeledPaths
from visiongate.ingestion.parquet_images import find_parquet_images, open_parquet_images
from visiongate.ingestion.setting_advice import advise_on_excluding, advise_on_table
from visiongate.ingestion.source import Source
from visiongate.ingestion.table_labels import read_table_labels
from visiongate.ingestion.trees import Tree
from visiongate.ingestion.webdataset import find_samples, read_samples
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

Result = TypeVar("Result")


def find_images(tree: Tree, dataset: Dataset) -> Source:
    """Recognize a tree's layout and open it.

    Raises:
        DataError: The layout is unknown, a file is damaged, or the classes do not match the settings.
    """
    if holds_idx_files(tree):
        return open_idx_files(tree, dataset)
    if holds_cifar10(tree):
        return open_cifar10(tree, dataset)
    # Beside image files, such files are no images but what somebody computed from them.
    if not any(map(claimed_format, tree.paths)):
        if arrays := find_image_arrays(tree):
            return open_image_arrays(tree, arrays, dataset)
        if shards := find_parquet_images(tree, dataset):
            return open_parquet_images(tree, shards, dataset)
    if not dataset.table.file and (samples := find_samples(tree)):
        return read_samples(tree, samples, dataset).open(tree, dataset.group)
    return _read_labels(tree, dataset).open(tree, dataset.group)


def _read_labels(tree: Tree, dataset: Dataset) -> LabeledPaths:
    """Return the labels of the table that the settings choose; otherwise those of the folders or of a table."""
    if any(value for value in dataset.table.model_dump().values()):
        chosen = read_table_labels(tree, dataset)
        if chosen is None:
            raise DataError(
                f"{tree.name}: dataset.table is set, but no table in it names its images; set dataset.table.file"
            )
        return chosen
    folders, table = _attempt(_read_class_folders, tree, dataset), _attempt(read_table_labels, tree, dataset)
    if isinstance(folders, DataError):
        if isinstance(table, LabeledPaths):
            return table
        raise DataError(f"{table}\n{folders}") if table else _mention_tables(tree, folders)
    if isinstance(table, DataError):
        return folders.warn(f"the folders are the classes; the table beside them is not read: {table}")
    return _choose(tree, folders, table, dataset) if table else folders


def _mention_tables(tree: Tree, error: DataError) -> DataError:
    """Return an error with the tables of a tree, whose cells surely name no images but may label them."""
    tables = [path for path in tree.paths if is_label_table(path)]
    if not tables:
        return error
    choice = advise_on_table("file", tables[0])
    return DataError(
        f"{error}\nIf {join_first(tables, MAX_LISTED)} labels the images, choose the table: {choice}"
    )


def _attempt(read: Callable[[Tree, Dataset], Result], tree: Tree, dataset: Dataset) -> Result | DataError:
    try:
        return read(tree, dataset)
    except DataError as error:
        return error


def _choose(tree: Tree, folders: LabeledPaths, table: LabeledPaths, dataset: Dataset) -> LabeledPaths:
    """Return the labels of the folders, if each folder is one label of the table.

    Raises:
        DataError: The folders and the table divide the images differently.
    """
    labels = {image.path: image.label for image in table.images}
    pairs = {(image.label, labels[image.path]) for image in folders.images if image.path in labels}
    choice = advise_on_table("file", table.tables[0])
    if len(pairs) == len({label for label, _ in pairs}) == len({label for _, label in pairs}):
        return folders.warn(
            f"the folders are the classes; {', '.join(table.tables)} labels the images in the same way; to read its splits and "
            f"groups, {choice}"
        )
    raise DataError(
        f"{tree.name}: the folders give the classes {join_first(folders.classes, MAX_LISTED)}, but {', '.join(table.tables)} "
        f"gives {join_first(table.classes, MAX_LISTED)}; choose the table: {choice}; or the folders: "
        f"{advise_on_excluding(table.tables, dataset)}"
    )


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
