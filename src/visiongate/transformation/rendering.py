"""Render each image of a table into the pixel array of its split, piece by piece on the engine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visiongate.engine.pieces import Engine
from visiongate.errors import DataError
from visiongate.images.array_files import ArrayFile
from visiongate.images.decoding import DEFAULT_OPTIONS, DecodeOptions, Pixels, StoredImage
from visiongate.images.parallel import map_in_order
from visiongate.images.pixels import Histogram, count_levels
from visiongate.images.preprocessing import preprocess
from visiongate.images.shards import TablePiece, cut_table
from visiongate.records.files import atomic_path
from visiongate.records.manifest import MANIFEST_FILE, MANIFEST_SCHEMA, STORED_COLUMNS, write_manifest
from visiongate.settings.transformation import Transformation

# The files that `write_splits` writes, and the unfinished ones that a killed run leaves behind.
OUTPUTS = ("*.npy", ".*.npy", MANIFEST_FILE, f".{MANIFEST_FILE}.*")
# Columns that the manifest copies from the image table.
COPIED_COLUMNS = ("path", "sha256", "group")
_STORED_SCHEMA = pa.schema([MANIFEST_SCHEMA.field(name) for name in STORED_COLUMNS])


@dataclass(frozen=True, slots=True)
class Rendering:
    """How an encoded image becomes a row of an array.

    Attributes:
        settings: Size, mode and resize rule.
        options: As in `to_pixels`.
    """

    settings: Transformation
    options: DecodeOptions = DEFAULT_OPTIONS

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a row."""
        return (self.settings.size, self.settings.size, len(self.settings.mode))

    def __call__(self, encoded: bytes) -> tuple[Pixels, StoredImage]:
        """Return the pixels and the header of an image."""
        return preprocess(encoded, self.settings.size, self.settings.mode, self.settings.resize, self.options)


@dataclass(frozen=True, slots=True)
class RenderPiece:
    """Images to render.

    Attributes:
        images: Where they are.
        splits: The split of each image; None for one that is left out.
        rows: The row of each image within its split.
    """

    images: TablePiece
    splits: tuple[str | None, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RenderedPiece:
    """What is known of rendered images.

    Attributes:
        stored: The columns `STORED_COLUMNS` of the manifest.
        levels: The histogram of the training images.
    """

    stored: pa.Table
    levels: Histogram


def build_manifest(
    table: pa.Table,
    splits: Sequence[str | None],
    classes: Sequence[str],
    folds: Sequence[int | None] | None = None,
) -> pa.Table:
    """Number the images of each split, in the table's order.

    Args:
        table: The columns ``label`` and `COPIED_COLUMNS` of an image table.
        splits: The split of each image; None for one that is left out.
        classes: The labels, in the order of the model's outputs.
        folds: The fold of each image, with cross-validation; None for one that only trains.

    Returns:
        The manifest without `STORED_COLUMNS`: one row per image, in the table's order, also of those that are left out.
    """
    names = np.asarray(splits, dtype=np.object_)
    rows = np.zeros(len(names), dtype=np.int64)
    for name in dict.fromkeys(name for name in splits if name is not None):
        (members,) = np.nonzero(names == name)
        rows[members] = np.arange(len(members))
    number = {label: index for index, label in enumerate(classes)}
    labels = [number[label] for label in table.column("label").to_pylist()]
    columns = {"split": pa.array(splits, pa.string()), "row": rows, "label": pa.array(labels, pa.int64())}
    copied = {name: table.column(name) for name in COPIED_COLUMNS}
    fold = pa.nulls(len(names), pa.int32()) if folds is None else pa.array(folds, pa.int32())
    return pa.table({**columns, **copied, "fold": fold})


def write_splits(
    engine: Engine, table: Path, directory: Path, manifest: pa.Table, rendering: Rendering
) -> Histogram:
    """Decode the images that are not left out; write ``SPLIT.npy``, ``SPLIT_labels.npy`` and ``manifest.parquet``.

    Memory grows with the number of images only by the manifest. Each file appears complete or not at all, and does not depend
    on the engine or the number of cores.

    Args:
        engine: What renders the pieces of the table.
        table: The folder of the image table.
        directory: The folder of the outputs. Files of an earlier run are removed.
        manifest: Result of `build_manifest` for the table. The `STORED_COLUMNS` of each image are added.
        rendering: How images become pixels.

    Returns:
        How many pixels of the training images have each level: `count_levels`.

    Raises:
        DataError: An image cannot be decoded. The error names the first such image.
    """
    _remove_outputs(directory)
    counts = {
        entry["values"]: entry["counts"]
        for entry in manifest.column("split").drop_null().value_counts().to_pylist()
    }
    with ExitStack() as stack:
        files = {}
        for split, count in counts.items():
            name = directory / f"{split}.npy"
            files[split] = ArrayFile(stack.enter_context(atomic_path(name)), name, (count, *rendering.shape))
            files[split].reserve()
        render = partial(render_piece, files=files, rendering=rendering)
        rendered = list(engine.stream(render, _cut(table, manifest)))
        for file in files.values():
            file.finish()
        stored = pa.concat_tables([piece.stored for piece in rendered]).combine_chunks()
        for column in STORED_COLUMNS:
            manifest = manifest.append_column(column, stored.column(column))
        manifest = manifest.filter(pc.is_valid(manifest.column("split")))
        _write_labels(directory, manifest, counts)
        write_manifest(directory, manifest)
    levels: Histogram = np.sum([piece.levels for piece in rendered], axis=0)
    return levels


def render_piece(piece: RenderPiece, files: Mapping[str, ArrayFile], rendering: Rendering) -> RenderedPiece:
    """Write the images of a piece to their rows.

    Raises:
        DataError: An image cannot be decoded. The error names the first such image.
    """
    rows: list[dict[str, int | str | None]] = [{}] * len(piece.rows)
    levels = np.zeros((rendering.shape[-1], 256), dtype=np.int64)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(files[split].open())
            for split in sorted(filter(None, set(piece.splits)))
        }

        def write_image(item: tuple[int, str, bytes]) -> Histogram | None:
            index, path, encoded = item
            split = piece.splits[index]
            if split is None:
                return None
            try:
                pixels, stored = rendering(encoded)
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            writers[split].write(piece.rows[index], pixels)
            rows[index] = _describe(stored, len(encoded))
            return count_levels(pixels) if split == "train" else None

        for counted in map_in_order(write_image, _read(piece.images), lambda item: len(item[2])):
            if counted is not None:
                levels += counted
    return RenderedPiece(pa.Table.from_pylist(rows, _STORED_SCHEMA), levels)


def _describe(stored: StoredImage, size: int) -> dict[str, int | str | None]:
    values = (stored.width, stored.height, stored.format, stored.mode, size)
    return dict(zip(STORED_COLUMNS, values, strict=True))


def _read(images: TablePiece) -> Iterator[tuple[int, str, bytes]]:
    """Yield the position, the path and the content of each image."""
    rows = (
        (path.as_py(), image.as_py())
        for shard in images.read(["path", "image"])
        for path, image in zip(shard.column("path"), shard.column("image"), strict=True)
    )
    for index, (path, image) in enumerate(rows):
        yield index, path, image


def _cut(table: Path, manifest: pa.Table) -> Iterator[RenderPiece]:
    """Yield the pieces of an image table, with the places of their images."""
    pieces = cut_table(table)
    if pieces[-1].stop != manifest.num_rows:
        raise ValueError(f"{table} has {pieces[-1].stop} images, the manifest {manifest.num_rows}")
    splits, rows = manifest.column("split"), manifest.column("row")
    for piece in pieces:
        length = piece.stop - piece.start
        chosen = (tuple(column.slice(piece.start, length).to_pylist()) for column in (splits, rows))
        yield RenderPiece(piece, *chosen)


def _remove_outputs(directory: Path) -> None:
    for pattern in OUTPUTS:
        for stale in directory.glob(pattern):
            stale.unlink()


def _write_labels(directory: Path, manifest: pa.Table, splits: Iterable[str]) -> None:
    for split in splits:
        labels = manifest.filter(pc.equal(manifest.column("split"), split)).column("label")
        with atomic_path(directory / f"{split}_labels.npy") as temporary:
            np.save(temporary, labels.to_numpy())
