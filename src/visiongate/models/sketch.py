"""A short form of embeddings, small enough to record one with each prediction.

Distances between sketches are close to distances between embeddings, so that samples of them can be compared. A sketch does not
show an image, but two sketches of one image are equal: it is as much about a person as a fingerprint of the file is.
"""

import hashlib
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

WIDTH: Final = 64
_NORM_FLOOR: Final = 1e-12

Sketch = npt.NDArray[np.float16]


def sketch(embedding: npt.NDArray[np.float32]) -> Sketch:
    """Return embeddings of unit length, projected to `WIDTH` dimensions if they have more.

    The projection is random and fixed, with entries ±1: it preserves distances as a Gaussian one does (Achlioptas, 2003,
    Database-friendly random projections), and the bits of a hash are the same in every version of NumPy.

    Args:
        embedding: float32, N×D.

    Returns:
        float16, little-endian, N×min(D, `WIDTH`).
    """
    norms = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = embedding / np.maximum(norms, _NORM_FLOOR)
    dimensions = embedding.shape[1]
    short = unit @ _projection(dimensions) if dimensions > WIDTH else unit
    result: Sketch = short.astype("<f2")
    return result


@cache
def _projection(dimensions: int) -> npt.NDArray[np.float32]:
    count = dimensions * WIDTH
    digest = hashlib.shake_256(f"visiongate sketch {dimensions}".encode()).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(digest, np.uint8), count=count).reshape(dimensions, WIDTH)
    return ((2 * bits.astype(np.float32) - 1) / np.float32(WIDTH**0.5)).astype(np.float32)
