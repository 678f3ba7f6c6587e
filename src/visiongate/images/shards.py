"""Cut an image table into pieces of work for the engine.

A piece is a few consecutive shards, and does not depend on the engine or its workers. With several shards, the threads of a
piece rarely wait for its last images, and a small table is not a thousand tasks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from visiongate.images.table import list_shards, read_shard

# About a thousand small images, or 16 MB.
SHARDS = 4


@dataclass(frozen=True, slots=True)
class TablePiece:
    """Consecutive shards.

    Attributes:
        shards: The files, in the table's order.
        start: The row of the first image in the table.
        stop: The row after the last image.
    """

    shards: tuple[Path, ...]
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """The rows of the images in the table."""
        return slice(self.start, self.stop)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the shards, with one in memory."""
        return (read_shard(shard, columns) for shard in self.shards)

    def images(self) -> Iterator[bytes]:
        """Yield the encoded images, with one shard in memory."""
        for table in self.read(["image"]):
            for image in table.column("image"):
                yield image.as_py()


def cut_table(directory: Path, shards: int = SHARDS) -> list[TablePiece]:
    """Cut an image table into pieces, in its order.

    Args:
        directory: The table's folder.
        shards: Of a piece.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    pieces: list[TablePiece] = []
    table = list_shards(directory)
    for at in range(0, len(table), shards):
        chosen, start = table[at : at + shards], pieces[-1].stop if pieces else 0
        rows = sum(shard.rows for shard in chosen)
        pieces.append(TablePiece(tuple(shard.path for shard in chosen), start, start + rows))
    return pieces
