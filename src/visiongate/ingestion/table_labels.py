"""Label the images of a tree by the rows of a table."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from visiongate.errors import DataError
from visiongate.ingestion.auxiliary import find_auxiliary
from visiongate.ingestion.found_tables import ON, FoundTable, find_tables
from visiongate.ingestion.image_files import select_images
from visiongate.ingestion.image_lookup import ImageLookup
from visiongate.ingestion.label_tables import is_label_table
from visiongate.ingestion.labeled_paths import (
    MAX_EXAMPLES,
    UNLABELED,
    LabeledPath,
    LabeledPaths,
    describe_classes,
    find_missing_classes,
    format_left_out,
    merge_spellings,
    name_labels,
    rename_labels,
)
from visiongate.ingestion.setting_advice import advise_on_splits
from visiongate.ingestion.table_columns import name_split
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

# The share of the rows that must label an image; otherwise the table does not fit.
MIN_LABELED = 0.5
# Why an image is left out, or a row.
MISSING = "listed, but missing"
AMBIGUOUS = "with an ambiguous name"
MANY = "with several or no classes"
CONFLICTING = "with contradictory rows"
REPEATED = "listed twice"
UNLISTED = "not in the table"


def read_table_labels(tree: Tree, dataset: Dataset) -> LabeledPaths | None:
    """Label the images by the table of the settings, or by one whose cells name them; None if there is none.

    Raises:
        DataError: The table does not fit the images or the settings, or its columns have several meanings.
    """
    if not dataset.table.file and not any(map(is_label_table, tree.paths)):
        return None
    images, others = select_images(tree.paths, tree.read)
    parts = {path: tuple(path.split("/")) for path in images}
    auxiliary = {path for paths in find_auxiliary(parts, dataset).values() for path in paths}
    lookup = ImageLookup(images, auxiliary)
    tables = find_tables(tree, lookup, dataset)
    if not tables:
        return None
    labeled = _Reader(tree.name, tables, lookup, dataset).read(images)
    for found in tables:
        others[f"not an image: {posixpath.splitext(found.table.path)[1].lower()}"] -= 1
    return replace(labeled, ignored=labeled.ignored + tree.ignored + others)


class _Reader:
    """Reads the rows of all tables, and collects what it leaves out."""

    def __init__(
        self, source: str, tables: Sequence[FoundTable], lookup: ImageLookup, dataset: Dataset
    ) -> None:
        self._source, self._tables, self._lookup, self._dataset = source, tables, lookup, dataset
        self._left_out: dict[str, list[str]] = defaultdict(list)
        self._labels: dict[str, LabeledPath] = {}

    def read(self, images: Sequence[str]) -> LabeledPaths:
        """Label images.

        Raises:
            DataError: Too few rows label an image, a split is unknown, or the labels do not match the settings.
        """
        for found in self._tables:
            self._read_rows(found)
        # Every image with a row is still among the labels here.
        self._left_out[UNLISTED] = [path for path in images if path not in self._labels]
        self._left_out[CONFLICTING] = list(dict.fromkeys(self._left_out[CONFLICTING]))
        for path in self._left_out[CONFLICTING]:
            del self._labels[path]
        warnings = [
            format_left_out(reason, names)
            for reason, names in self._left_out.items()
            if names and reason != REPEATED
        ]
        rows = sum(found.table.rows for found in self._tables) - len(self._left_out[REPEATED])
        if len(self._labels) < max(1, MIN_LABELED * rows):
            raise DataError(
                f"{self._name}: only {len(self._labels):,} of {rows:,} rows label an image ({self._describe_columns()}): "
                f"{'; '.join(warnings) or 'the table is empty'}"
            )
        return self._finish(warnings)

    def _finish(self, warnings: list[str]) -> LabeledPaths:
        named = merge_spellings(
            sorted(self._add_splits(), key=lambda image: image.path), self._dataset.classes or (), warnings
        )
        classes = name_labels(self._name, {image.label for image in named}, self._dataset)
        labeled = rename_labels(named, classes)
        counts = {(image.label, image.split) for image in labeled}
        ignored = Counter({reason: len(names) for reason, names in self._left_out.items() if names})
        guessed = any(found.columns.guessed for found in self._tables)
        notes = [f"{self._name}: {self._describe_columns()}"] if guessed else []
        return LabeledPaths(
            labeled,
            list(dict.fromkeys(classes.values())),
            ignored,
            f"{describe_classes(counts)}; labels in {self._name}",
            [*notes, *warnings, *find_missing_classes(counts)],
            tuple(found.table.path for found in self._tables),
        )

    @property
    def _name(self) -> str:
        return join_first((f"{self._source}/{found.table.path}" for found in self._tables), MAX_EXAMPLES)

    def _describe_columns(self) -> str:
        return self._tables[0].columns.describe()

    def _read_rows(self, found: FoundTable) -> None:
        columns, folder = found.table.columns, posixpath.dirname(found.table.path)
        labels = self._read_labels(found)
        groups = columns[found.columns.group] if found.columns.group else [""] * found.table.rows
        for cell, label, split, group in zip(
            columns[found.columns.image], labels, self._read_splits(found), groups, strict=True
        ):
            paths = self._lookup.find(cell, folder, found.skipped)
            if len(paths) != 1:
                self._left_out[AMBIGUOUS if paths else MISSING].append(cell)
            elif not label:
                reason = UNLABELED if isinstance(found.columns.label, str) else MANY
                self._left_out[reason].append(cell)
            else:
                self._add(LabeledPath(paths[0], label, split, group or None))

    def _add(self, image: LabeledPath) -> None:
        known = self._labels.setdefault(image.path, image)
        if known is not image:
            self._left_out[REPEATED if known == image else CONFLICTING].append(image.path)

    def _read_labels(self, found: FoundTable) -> Sequence[str]:
        columns, label = found.table.columns, found.columns.label
        if isinstance(label, str):
            return columns[label]
        marked = zip(*(columns[name] for name in label), strict=True)
        on = ([name for name, cell in zip(label, row, strict=True) if cell in ON] for row in marked)
        return [names[0] if len(names) == 1 else "" for names in on]

    def _read_splits(self, found: FoundTable) -> Sequence[str | None]:
        name = found.columns.split
        if name is None:
            return [found.split] * found.table.rows
        cells = found.table.columns[name]
        splits = {cell: name_split(cell, self._dataset) for cell in set(cells)}
        unknown = sorted(cell for cell, split in splits.items() if split is None)
        where = f"{self._source}/{found.table.path}: column {name!r}"
        if "" in unknown:
            raise DataError(
                f"{where} has {cells.count(''):,} empty cells; fill them, or set dataset.table.split= for no splits"
            )
        if unknown:
            raise DataError(
                f"{where} has cells that are no split, such as {join_first(map(repr, unknown), MAX_EXAMPLES)}; give them one: "
                f"{advise_on_splits(unknown, self._dataset)}; or set dataset.table.split= for no splits"
            )
        return [splits[cell] for cell in cells]

    def _add_splits(self) -> list[LabeledPath]:
        """Return the images with the splits of their folders, if each image lies in one and no table gives any."""
        images = list(self._labels.values())
        if self._dataset.splits == {} or any(image.split for image in images):
            return images
        splits = {image.path: self._split_of(image.path) for image in images}
        given = set(splits.values())
        if None in given or len(given) == 1:
            return images
        return [replace(image, split=splits[image.path]) for image in images]

    def _split_of(self, path: str) -> str | None:
        names = (name_split(folder, self._dataset) for folder in path.split("/")[:-1])
        return next(filter(None, names), None)
