"""Write the kept images of a raw table, piece by piece on the engine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from visiongate.engine.pieces import Engine
from visiongate.images.shards import TablePiece, cut_table
from visiongate.images.table import SCHEMA, remove_shards, write_shard
from visiongate.preparation.quality import ImageRow, Rejections
from visiongate.records.files import remove_unfinished


@dataclass(frozen=True, slots=True)
class KeptPiece:
    """Images to copy.

    Attributes:
        images: The raw images.
        labels: The corrected label of each.
        kept: Whether each is kept.
    """

    images: TablePiece
    labels: tuple[str, ...]
    kept: tuple[bool, ...]


def write_kept(
    engine: Engine, table: Path, directory: Path, rows: Sequence[ImageRow], rejections: Rejections
) -> None:
    """Write the kept images of each raw shard to a shard of its own, so that a new image changes only one shard.

    Args:
        engine: What copies the pieces of the table.
        table: The folder of the raw images.
        directory: The folder of the kept images. Existing shards are removed.
        rows: All raw images, with corrected labels.
        rejections: None for each image that is kept.
    """
    remove_shards(directory)
    remove_unfinished(directory)
    for _ in engine.stream(partial(copy_kept, directory=directory), _cut(table, rows, rejections)):
        pass
    remove_unfinished(directory)


def copy_kept(piece: KeptPiece, directory: Path) -> None:
    """Write the kept images of a piece."""
    start, column = 0, SCHEMA.get_field_index("label")
    for shard in piece.images.read():
        chosen = slice(start, start + len(shard))
        labels = pa.array(piece.labels[chosen], pa.string())
        kept = shard.set_column(column, SCHEMA.field(column), labels).filter(
            pa.array(piece.kept[chosen], pa.bool_())
        )
        if len(kept):
            write_shard(directory, kept)
        start += len(shard)


def _cut(table: Path, rows: Sequence[ImageRow], rejections: Rejections) -> Iterator[KeptPiece]:
    for piece in cut_table(table):
        labels = tuple(row.label for row in rows[piece.rows])
        yield KeptPiece(piece, labels, tuple(found is None for found in rejections[piece.rows]))
