"""Fill the cache of features on the engine.

The rows of pixel arrays are hashed, and those that the cache lacks are computed, in pieces. The features of a piece go through
a file, because they are too large for a result. Only the calling process opens the cache: SQLite is not made for several
machines. The bytes do not depend on the engine: the images of a piece are those that `visiongate.models.embedding` computes
together, and the features do not depend on the number of threads.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visiongate.cores import usable_cores
from visiongate.engine.folders import shared_folder
from visiongate.engine.pieces import Engine, open_engine
from visiongate.images.pixels import Pixels
from visiongate.models.embedding import CHUNK, image_keys, run_features
from visiongate.models.feature_cache import FeatureCache
from visiongate.models.feature_graph import FeatureGraph
from visiongate.models.predictor import open_session
from visiongate.records.files import atomic_path
from visiongate.settings.engine import Engine as EngineSettings
from visiongate.user_cache import LIMIT, MEGABYTE, cache_limit

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Of a piece that is only hashed, which takes a fraction of a second.
HASHED_CHUNKS = 8
# What the database adds to the features of an image.
ROW_BYTES = 100
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArrayRows:
    """Rows of a pixel array.

    Attributes:
        array: The ``.npy`` file.
        rows: Their numbers, in ascending order.
    """

    array: Path
    rows: Sequence[int]

    def read(self) -> Pixels:
        """Return the images."""
        images: Pixels = np.load(self.array, mmap_mode="r")[list(self.rows)]
        return images


@dataclass(frozen=True, slots=True)
class FeaturePiece:
    """Images whose features are computed.

    Attributes:
        images: The images.
        keys: Of the cache, for each image.
        target: The ``.npy`` file for their features.
    """

    images: ArrayRows
    keys: Sequence[bytes]
    target: Path


def fill_cache(settings: EngineSettings, graph: FeatureGraph, arrays: Iterable[Path]) -> None:
    """Compute the features that the cache lacks on a cluster; without one, they are computed when they are needed.

    Args:
        settings: The section ``engine``.
        graph: From pixels to features.
        arrays: The ``.npy`` files of pixels.

    Raises:
        EngineError: The cluster cannot be used.
    """
    files = list(arrays)
    if settings.kind == "local" or not _fits(files, graph.size):
        return
    with open_engine(settings) as engine:
        logger.info("Features of %d images were computed", compute_missing(engine, graph, files))


def compute_missing(engine: Engine, graph: FeatureGraph, arrays: Sequence[Path]) -> int:
    """Compute the features that the cache lacks, and return their number."""
    cache = FeatureCache(graph.sha256, graph.size)
    missing = _find_missing(engine, cache, arrays)
    with shared_folder() as folder:
        model = folder / f"{graph.sha256}.onnx"
        model.write_bytes(graph.content)
        pieces = list(_cut_missing(missing, folder))
        for piece, _ in zip(pieces, engine.stream(partial(compute_piece, model), pieces), strict=True):
            cache.write(dict(zip(piece.keys, np.load(piece.target), strict=True)))
            piece.target.unlink()
    return len(missing)


def hash_rows(images: ArrayRows) -> list[bytes]:
    """Return the key of each image in the cache."""
    return image_keys(images.read())


def compute_piece(model: Path, piece: FeaturePiece) -> None:
    """Write the features of a piece to its file.

    Args:
        model: The ONNX file from pixels to features.
        piece: The images.
    """
    features = run_features(_open_once(model), piece.images.read())
    with atomic_path(piece.target) as temporary:
        np.save(temporary, features)


# The file is named by its content.
@lru_cache(maxsize=2)
def _open_once(model: Path) -> "InferenceSession":
    return open_session(model, threads=usable_cores())


def _find_missing(
    engine: Engine, cache: FeatureCache, arrays: Sequence[Path]
) -> dict[bytes, tuple[Path, int]]:
    """Return where images are that the cache lacks, by key; of equal images the first."""
    missing: dict[bytes, tuple[Path, int]] = {}
    pieces = [piece for array in arrays for piece in _cut_array(array)]
    for piece, keys in zip(pieces, engine.stream(hash_rows, pieces), strict=True):
        known = cache.read(keys)
        for row, key in zip(piece.rows, keys, strict=True):
            if key not in known:
                missing.setdefault(key, (piece.array, row))
    return missing


def _cut_array(array: Path) -> Iterator[ArrayRows]:
    rows = range(_count(array))
    step = HASHED_CHUNKS * CHUNK
    for start in rows[::step]:
        yield ArrayRows(array, rows[start : start + step])


def _cut_missing(missing: dict[bytes, tuple[Path, int]], folder: Path) -> Iterator[FeaturePiece]:
    """Cut images into pieces: a piece for each chunk of an array."""
    for (array, chunk), group in groupby(missing.items(), lambda item: (item[1][0], item[1][1] // CHUNK)):
        found = list(group)
        images = ArrayRows(array, [row for _, (_, row) in found])
        yield FeaturePiece(images, [key for key, _ in found], folder / f"{array.stem}-{chunk:06d}.npy")


def _count(array: Path) -> int:
    return len(np.load(array, mmap_mode="r"))


def _fits(arrays: Sequence[Path], size: int) -> bool:
    """Return whether the cache can hold the features of all images, and otherwise say how to change that."""
    images = sum(map(_count, arrays))
    needed = images * (4 * size + ROW_BYTES)
    if needed <= cache_limit():
        return True
    logger.warning(
        "The cache is too small for the features of %d images, so that a cluster cannot compute them, and each stage computes "
        "them again; set %s=%d",
        *(images, LIMIT, 2 * needed // MEGABYTE + 1),
    )
    return False
