"""The pictures of an image table, found by content hash."""

from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.images.decoding import DecodeOptions
from visiongate.images.preprocessing import thumbnail
from visiongate.images.table import SHARDS

# Shards of about 4 MB that stay in memory.
SHARDS_IN_MEMORY = 8


class Pictures:
    """Makes pictures that a browser can show, of images of any supported format."""

    def __init__(self, directory: Path, options: DecodeOptions) -> None:
        """Find the images of a table.

        Args:
            directory: The table's folder.
            options: The data set's conversion to 8 bits.
        """
        self._options = options
        self._places = {
            sha256: (shard, row)
            for shard in sorted(directory.glob(SHARDS))
            for row, sha256 in enumerate(_read_column(shard, "sha256").to_pylist())
        }

    def show(self, sha256: str, side: int) -> bytes:
        """Return an upright PNG whose sides are at most ``side``.

        Raises:
            KeyError: The table does not have the image.
            DataError: The image does not decode.
        """
        shard, row = self._places[sha256]
        return thumbnail(_read_images(shard)[row].as_py(), side, self._options)


@lru_cache(maxsize=SHARDS_IN_MEMORY)
def _read_images(shard: Path) -> pa.ChunkedArray:
    return _read_column(shard, "image")


def _read_column(shard: Path, name: str) -> pa.ChunkedArray:
    return pq.read_table(shard, columns=[name]).column(name)
