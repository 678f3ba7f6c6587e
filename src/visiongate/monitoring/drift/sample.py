"""Predictions as arrays: a window, first predictions, or the held-out images of a reference."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.records.drift_reference import DriftReference

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """N predictions of a version, in the order of time.

    Attributes:
        times: int64, N; microseconds since 1970; 0 where they are unknown.
        predicted: int16, N; the place of the class.
        confidence: float16, N. Outputs of a model are rounded as in a reference, so that equal ones are equal.
        probabilities: float16, N×K; NaN where they are unknown.
        embedding: float16, N×d; NaN where it is unknown; d is 0 if it is unknown of all.
        out_of_distribution: int8, N: 1, 0, or -1 where it is unknown.
        brightness: float32, N; NaN where it is unknown.
        contrast: The same.
        width: int32, N; 0 where it is unknown.
        height: The same.
        format: Text, N; empty where it is unknown.
        mode: The same.
        image: The sha256 of each image, N; empty where it is unknown.
    """

    times: Array
    predicted: Array
    confidence: Array
    probabilities: Array
    embedding: Array
    out_of_distribution: Array
    brightness: Array
    contrast: Array
    width: Array
    height: Array
    format: Array
    mode: Array
    image: Array

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.times)

    @staticmethod
    @lru_cache(maxsize=4)
    def of_reference(reference: DriftReference) -> "Sample":
        """Return the held-out images of a reference; of the same one, the same."""
        count, outside = len(reference), reference.out_of_distribution
        return Sample(
            times=np.zeros(count, np.int64),
            predicted=reference.predicted,
            confidence=reference.confidence,
            probabilities=reference.probabilities,
            embedding=np.zeros((count, 0), np.float16)
            if reference.embedding is None
            else reference.embedding,
            out_of_distribution=np.full(count, -1, np.int8) if outside is None else outside.astype(np.int8),
            brightness=reference.brightness,
            contrast=reference.contrast,
            width=reference.width,
            height=reference.height,
            # The code of an unknown name is -1, which is the last place.
            format=np.array([*reference.formats, ""])[reference.format],
            mode=np.array([*reference.modes, ""])[reference.mode],
            image=np.full(count, ""),
        )

    def take(self, rows: Array) -> Self:
        """Return some of the predictions, by their places or marks."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def encode(self) -> bytes:
        """Return all arrays as the content of a file."""
        content = io.BytesIO()
        np.savez_compressed(
            content, allow_pickle=False, **{field.name: getattr(self, field.name) for field in fields(self)}
        )
        return content.getvalue()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return what `encode` made the content of.

        Raises:
            DataError: It is damaged, or of another version of this program.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return cls(**{field.name: archive[field.name] for field in fields(cls)})
        except (KeyError, OSError, ValueError) as error:
            raise DataError(
                f"first_predictions: a row is damaged ({error}); delete it, and the reference starts anew"
            ) from None


def to_matrix(blobs: Iterable[bytes | None], width: int, kind: str) -> Array:
    """Return binary columns of a table as rows of float16; NaN where one is missing or has another width.

    Args:
        blobs: N.
        width: Numbers of each row.
        kind: NumPy's name of their type.
    """
    size = np.dtype(kind).itemsize * width
    rows = list(blobs)
    matrix = np.full((len(rows), width), np.nan, np.float16)
    for index, blob in enumerate(rows):
        if blob is not None and len(blob) == size:
            matrix[index] = np.frombuffer(blob, kind)
    return matrix
