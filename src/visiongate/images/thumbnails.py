"""Thumbnails of a few images of a table, for a page."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from visiongate.engine.pieces import Engine
from visiongate.images.decoding import DecodeOptions
from visiongate.images.preprocessing import thumbnail
from visiongate.images.shards import TablePiece, cut_table


@dataclass(frozen=True, slots=True)
class ThumbnailPiece:
    """Images to show.

    Attributes:
        images: The shard that has them.
        rows: Their rows in the table.
    """

    images: TablePiece
    rows: frozenset[int]


def make_thumbnails(
    engine: Engine, table: Path, rows: Iterable[int], side: int, options: DecodeOptions
) -> dict[int, bytes]:
    """Return thumbnails as PNG, by row. Only shards with such an image are read; without rows, nothing is.

    Args:
        engine: What makes them.
        table: The folder of the image table.
        rows: The images, which decode.
        side: As in `thumbnail`.
        options: As in `thumbnail`.
    """
    wanted = set(rows)
    if not wanted:
        return {}
    pieces = (
        ThumbnailPiece(piece, frozenset(wanted.intersection(range(piece.start, piece.stop))))
        for piece in cut_table(table, shards=1)
    )
    make = partial(make_in_piece, side=side, options=options)
    found: dict[int, bytes] = {}
    for made in engine.stream(make, (piece for piece in pieces if piece.rows)):
        found |= made
    return found


def make_in_piece(piece: ThumbnailPiece, side: int, options: DecodeOptions) -> dict[int, bytes]:
    """Make the thumbnails of a piece."""
    images = enumerate(piece.images.images(), piece.images.start)
    return {row: thumbnail(image, side, options) for row, image in images if row in piece.rows}
