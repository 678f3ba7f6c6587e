"""Parquet files of encoded images, as Hugging Face's ``datasets`` writes them.

A column holds the bytes of the images, or structures of bytes and path. Labels are texts, or numbers whose names are in the
metadata of the schema: https://huggingface.co/docs/datasets/about_dataset_features.
"""

import itertools
import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa

from visiongate.errors import DataError
from visiongate.ingestion.label_tables import format_cell, is_nested
from visiongate.ingestion.labeled_paths import (
    UNLABELED,
    describe_classes,
    find_group,
    find_missing_classes,
    name_counts,
    name_labels,
)
from visiongate.ingestion.limits import check_limit
from visiongate.ingestion.parquet_files import iterate_batches, open_parquet, read_cells
from visiongate.ingestion.shard_names import find_shard_splits
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.table_columns import ColumnGuess, Columns, name_split
from visiongate.ingestion.trees import EXCLUDED, Tree, is_excluded
from visiongate.settings.dataset import Dataset

EXTENSION = ".parquet"
METADATA = b"huggingface"
# Images in memory, and labels.
IMAGE_ROWS, LABEL_ROWS = 32, 4096
# Characters of an image's name that its path keeps.
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of images.

    Attributes:
        path: Its path in the source.
        stem: The path without extension, with which the paths of its images begin.
        schema: Its columns.
        split: The split that its name gives, if any.
    """

    path: str
    stem: str
    schema: pa.Schema
    split: str | None = None


def find_parquet_images(tree: Tree, dataset: Dataset) -> list[Shard]:
    """Return the files that have a column of images.

    Raises:
        DataError: A file is damaged or exceeds a limit.
    """
    shards = []
    for path in tree.paths:
        if path.lower().endswith(EXTENSION):
            with open_parquet(tree, path, dataset) as file:
                schema = file.schema_arrow
            if any(_is_image(field.type) for field in schema):
                shards.append(Shard(path, path[: -len(EXTENSION)], schema))
    # A slash sorts before most characters of a name.
    return sorted(shards, key=lambda shard: f"{shard.stem}/")


def open_parquet_images(tree: Tree, shards: Sequence[Shard], dataset: Dataset) -> Source:
    """Open files of images.

    Raises:
        DataError: The columns differ or have several meanings, a label has no name, or the labels do not match the settings.
    """
    splits = find_shard_splits(tree.name, [shard.stem for shard in shards], dataset)
    reader = _Reader(tree, [replace(shard, split=splits[shard.stem]) for shard in shards], dataset)
    raw, ignored = reader.count_labels()
    order = list(dict.fromkeys(name for names in reader.names.values() for name in names))
    classes = name_labels(tree.name, {label for label, _ in raw}, dataset, order)
    counts = name_counts(raw, classes)

    def read() -> Iterator[SourceImage]:
        return (replace(image, label=classes[image.label]) for image in reader.read())

    ignored["not a Parquet file of images"] = len(tree.paths) - len(shards)
    notes = [f"{tree.name}: {reader.columns.describe()}"] if reader.columns.guessed else []
    return Source(
        list(dict.fromkeys(classes.values())),
        counts,
        +(tree.ignored + ignored),
        read,
        f"{describe_classes(counts)}; images in {len(shards):,} Parquet file{'s' * (len(shards) > 1)}",
        (*notes, *find_missing_classes(counts)),
    )


class _Row(NamedTuple):
    """A row: where it is, its path in the image table, the cell of the image if it was read, and the rest as texts."""

    where: str
    path: str
    cell: Mapping[str, Any] | bytes | None
    label: str
    split: str | None
    group: str


class _Reader:
    """Reads the rows of shards with the same columns."""

    def __init__(self, tree: Tree, shards: Sequence[Shard], dataset: Dataset) -> None:
        self._tree, self._shards, self._dataset = tree, shards, dataset
        self.columns = self._find_columns()
        self._label = str(self.columns.label)
        self._check_columns()
        self.names = {shard.path: _class_names(shard.schema).get(self._label, ()) for shard in shards}

    def count_labels(self) -> tuple[Counter[tuple[str, str | None]], Counter[str]]:
        """Return the number of images by label and split, and the number of ignored rows by reason."""
        counts, ignored = Counter[tuple[str, str | None]](), Counter[str]()
        image = self._shards[0].schema.field(self.columns.image).type
        # The paths alone, which decide about exclusion.
        has_path = pa.types.is_struct(image) and image.get_field_index("path") >= 0
        names = [f"{self.columns.image}.path"] if has_path and self._dataset.exclude else []
        for row in self._iterate([*names, self._label, self.columns.split], LABEL_ROWS):
            if reason := self._ignore_reason(row):
                ignored[reason] += 1
            else:
                counts[row.label, row.split] += 1
        check_limit(self._tree.name, "max_files", counts.total(), "images", self._dataset.limits)
        return counts, ignored

    def read(self) -> Iterator[SourceImage]:
        """Yield the images that have a label, with a few in memory."""
        total = 0
        names = [self.columns.image, self._label, self.columns.split, self.columns.group]
        for row in self._iterate(names, IMAGE_ROWS):
            if self._ignore_reason(row) is None:
                content = self._read_image(row)
                # A dictionary may repeat an image without end.
                total += len(content)
                check_limit(
                    self._tree.name, "max_total_bytes", total, "bytes of images", self._dataset.limits
                )
                group = find_group(row.path, self._dataset.group) if self._dataset.group else row.group
                yield SourceImage(content, row.label, row.path, row.split, group or None)

    def _iterate(self, names: Sequence[str | None], size: int) -> Iterator[_Row]:
        columns = list(dict.fromkeys(filter(None, names)))
        for shard in self._shards:
            where, numbers = f"{self._tree.name}: {shard.path}", itertools.count()
            for batch in iterate_batches(self._tree, shard.path, self._dataset, columns, size):
                labels, splits = self._read_labels(shard, batch), self._read_splits(shard, batch)
                images = read_cells(where, batch, self.columns.image)
                groups = read_cells(where, batch, self.columns.group)
                for row, cell, label, split, group in zip(numbers, images, labels, splits, groups):  # noqa: B905 - endless numbers
                    path = _make_path(shard.stem, row, cell)
                    yield _Row(f"{where}: row {row:,}", path, cell, label, split, format_cell(group))

    def _ignore_reason(self, row: _Row) -> str | None:
        if is_excluded(row.path, self._dataset.exclude):
            return EXCLUDED
        return None if row.label else UNLABELED

    def _read_image(self, row: _Row) -> bytes:
        cell = row.cell
        content, name = (cell.get("bytes"), cell.get("path")) if isinstance(cell, Mapping) else (cell, None)
        if content is None and name:
            raise DataError(
                f"{row.where} has the path {name!r} instead of an image; write the files with embedded images"
            )
        check_limit(
            row.where, "max_file_bytes", len(content or b""), "bytes in an image", self._dataset.limits
        )
        return content or b""

    def _read_labels(self, shard: Shard, batch: pa.RecordBatch) -> list[str]:
        names, values = self.names[shard.path], read_cells(shard.path, batch, self._label)
        if not names:
            return list(map(format_cell, values))
        unknown = [value for value in values if value is not None and value >= len(names)]
        if unknown:
            raise DataError(
                f"{self._tree.name}: {shard.path}: label {unknown[0]} in column {self._label!r} has no name: there are "
                f"{len(names)}"
            )
        # Hugging Face writes -1 for the hidden labels of a test split.
        return ["" if value is None or value < 0 else names[value] for value in values]

    def _read_splits(self, shard: Shard, batch: pa.RecordBatch) -> Sequence[str | None]:
        if not self.columns.split:
            return [shard.split] * batch.num_rows
        texts = list(map(format_cell, read_cells(shard.path, batch, self.columns.split)))
        splits = {text: name_split(text, self._dataset) for text in set(texts)}
        if None in splits.values():
            unknown = next(text for text, split in splits.items() if split is None)
            raise DataError(
                f"{self._tree.name}: {shard.path}: {unknown!r} in column {self.columns.split!r} is no split; give it one with "
                "dataset.splits, or set dataset.table.split= for none"
            )
        return [splits[text] for text in texts]

    def _find_columns(self) -> Columns:
        first, table = self._shards[0], self._dataset.table
        source = f"{self._tree.name}: {first.path}"
        flat = [field.name for field in first.schema if not is_nested(field.type)]
        images = [field.name for field in first.schema if _is_image(field.type)]
        named = _class_names(first.schema)
        guess = ColumnGuess(
            source, flat, self._dataset, [each for each in first.schema.names if each not in flat]
        )
        guess.check_names(("label", "split", "group"))
        image = ColumnGuess(source, images, self._dataset).choose_image(images)
        if image is None or image not in images:
            raise DataError(
                f"{source}: column {image!r} holds no images; those of images are {', '.join(images)}"
            )
        split = table.split or None
        group = guess.find_group(image)
        label = ColumnGuess(source, list(named) or flat, self._dataset).find_label(image, (split, group))
        if label is None:
            raise guess.explain_no_label((image, split, group))
        if not isinstance(label, str):
            raise DataError(
                f"{source}: dataset.table.label names several columns; choose one for Parquet files of images"
            )
        roles = {"image": image, "label": label, "split": split, "group": group}
        return Columns(image, label, split, group, guess.list_guessed(roles))

    def _check_columns(self) -> None:
        needed = {self.columns.image, self._label, *filter(None, (self.columns.split, self.columns.group))}
        for shard in self._shards:
            if missing := sorted(needed - set(shard.schema.names)):
                raise DataError(
                    f"{self._tree.name}: {shard.path}: no column {missing[0]!r}, unlike {self._shards[0].path}; leave it "
                    "out with dataset.exclude"
                )


def _is_image(kind: pa.DataType) -> bool:
    """Return whether a column may hold encoded images: bytes, or structures with bytes."""
    if pa.types.is_struct(kind):
        return any(
            kind.field(index).name == "bytes" and _is_image(kind.field(index).type)
            for index in range(kind.num_fields)
        )
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def _class_names(schema: pa.Schema) -> Mapping[str, Sequence[str]]:
    """Return the names of the labels by column, from the metadata of the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(METADATA, b"{}"))["info"]["features"]
        return {
            name: [str(each) for each in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and name in schema.names
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _make_path(stem: str, row: int, cell: object) -> str:
    """Return the path of a row in the image table, which ends with the name of the image's file if there is one."""
    name = (cell.get("path") if isinstance(cell, Mapping) else None) or ""
    file = posixpath.basename(str(name).replace("\\", "/"))[-MAX_NAME:]
    return f"{stem}/{row:07d}{f'-{file}' if file else ''}"
