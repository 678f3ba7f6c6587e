"""``reference.npz``: held-out images of a model in numbers, which later predictions of the same model are compared with.

`evaluate` writes it, a version carries it, and the prediction log stores it. It has neither images nor names of files. NumPy
alone reads it: ``numpy.load("reference.npz")``.
"""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from visiongate.errors import DataError
from visiongate.records.files import atomic_path

REFERENCE_FILE: Final = "reference.npz"
# Of the file. `rows_that_fit` keeps a reference below it.
MAX_BYTES: Final = 2_000_000
# Of its arrays, decompressed: the confusion matrix of thousands of classes is nearly empty.
MAX_UNPACKED_BYTES: Final = 256_000_000
# The code of a format or a color mode that is unknown.
UNKNOWN: Final = -1
# Changes when a reader of today would misunderstand the file.
_FORMAT: Final = 1
_META: Final = "meta"
# Bytes of a row besides its probabilities and its embedding.
_ROW_BYTES: Final = 27
# The part of `MAX_BYTES` for what does not grow with the rows.
_FIXED_BYTES: Final = 250_000
_DAMAGED = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)

Protocol = Literal["holdout", "cross_validation"]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class DriftReference:
    """Held-out images of a model: N of them row by row, and counts of all.

    Outputs are stored as float16. Round what is compared with them in the same way: otherwise, a test of distributions finds
    the rounding.

    Attributes:
        classes: Names, in the order of the model's outputs.
        protocol: Whether the images are a test split, or were predicted out of fold by the models of a cross-validation.
        model_sha256: Of the model's file.
        images: Of how many held-out images the rows are a random subset.
        labels: int16, N.
        predicted: int16, N; by the threshold that the model is served with.
        probabilities: float16, N×K.
        embedding: float16, N×d, as `visiongate.models.sketch.sketch` makes it; None if the model has none, or if each fold's
            model has another.
        out_of_distribution: bool, N; None if the model cannot say.
        brightness: float32, N; mean of the model's input pixels, 0 to 1.
        contrast: float32, N; their standard deviation.
        width: int32, N; in pixels, as stored.
        height: int32, N.
        file_bytes: int32, N; the size of the encoded image.
        formats: Names of formats, as Pillow names them.
        format: int8, N; the place in `formats`, or `UNKNOWN`.
        modes: Names of color modes, as Pillow names them.
        mode: int8, N; the place in `modes`, or `UNKNOWN`.
        class_counts: int64, K; labels of all held-out images.
        confusion: int64, K×K; all held-out images by label (rows) and predicted class (columns).
    """

    classes: tuple[str, ...]
    protocol: Protocol
    model_sha256: str
    images: int
    labels: Array
    predicted: Array
    probabilities: Array
    embedding: Array | None
    out_of_distribution: Array | None
    brightness: Array
    contrast: Array
    width: Array
    height: Array
    file_bytes: Array
    formats: tuple[str, ...]
    format: Array
    modes: tuple[str, ...]
    mode: Array
    class_counts: Array
    confusion: Array

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    @property
    def confidence(self) -> npt.NDArray[np.float16]:
        """The probability of the predicted class, N."""
        confidence: npt.NDArray[np.float16] = self.probabilities[np.arange(len(self)), self.predicted]
        return confidence

    @property
    def accuracy(self) -> float:
        """Of all held-out images."""
        return float(self.confusion.trace() / self.images)


@validated(frozen=True)
class _Meta:
    format: Literal[1]
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=np.iinfo(np.int16).max)]
    protocol: Protocol
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    images: Annotated[int, Field(ge=1)]
    formats: Annotated[tuple[str, ...], Field(max_length=np.iinfo(np.int8).max)]
    modes: Annotated[tuple[str, ...], Field(max_length=np.iinfo(np.int8).max)]


class _Rule(NamedTuple):
    """What an array must be: `rows`, `classes` and None in its shape stand for their number, and for any."""

    type: str
    shape: tuple[Literal["rows", "classes"] | None, ...]
    low: float
    high: float


_META_FIELDS: Final = ("classes", "protocol", "model_sha256", "images", "formats", "modes")
_MAX_INT: Final = np.iinfo(np.int32).max
# Normalized embeddings are far below the limit, which excludes NaN and infinity.
_MAX_EMBEDDING: Final = 1000
_ARRAYS: Final = {
    "labels": _Rule("<i2", ("rows",), 0, np.iinfo(np.int16).max),
    "predicted": _Rule("<i2", ("rows",), 0, np.iinfo(np.int16).max),
    "probabilities": _Rule("<f2", ("rows", "classes"), 0, 1),
    "embedding": _Rule("<f2", ("rows", None), -_MAX_EMBEDDING, _MAX_EMBEDDING),
    "out_of_distribution": _Rule("|b1", ("rows",), 0, 1),
    "brightness": _Rule("<f4", ("rows",), 0, 1),
    "contrast": _Rule("<f4", ("rows",), 0, 1),
    "width": _Rule("<i4", ("rows",), 1, _MAX_INT),
    "height": _Rule("<i4", ("rows",), 1, _MAX_INT),
    "file_bytes": _Rule("<i4", ("rows",), 1, _MAX_INT),
    "format": _Rule("|i1", ("rows",), UNKNOWN, np.iinfo(np.int8).max),
    "mode": _Rule("|i1", ("rows",), UNKNOWN, np.iinfo(np.int8).max),
    "class_counts": _Rule("<i8", ("classes",), 0, _MAX_INT),
    "confusion": _Rule("<i8", ("classes", "classes"), 0, _MAX_INT),
}
_OPTIONAL: Final = {"embedding", "out_of_distribution"}
# Whose values are places in a list of names.
_CODES: Final = {"labels": "classes", "predicted": "classes", "format": "formats", "mode": "modes"}


def rows_that_fit(classes: int, embedding: int) -> int:
    """Return how many rows a reference can have, whatever their values.

    Args:
        classes: How many there are.
        embedding: Numbers of an embedding; 0 without.
    """
    return max(1, (MAX_BYTES - _FIXED_BYTES) // (_ROW_BYTES + 2 * (classes + embedding)))


def encode_reference(reference: DriftReference) -> bytes:
    """Return the content of ``reference.npz``. Equal references have equal bytes.

    Raises:
        DataError: An array has another shape or an invalid value, or the file would be too large.
    """
    meta = {"format": _FORMAT} | {name: getattr(reference, name) for name in _META_FIELDS}
    arrays = {name: value for name in _ARRAYS if (value := getattr(reference, name)) is not None}
    content = io.BytesIO()
    text = json.dumps(meta, ensure_ascii=False).encode()
    np.savez_compressed(
        content,
        allow_pickle=False,
        **{_META: np.frombuffer(text, np.uint8)},
        **{name: np.ascontiguousarray(value, _ARRAYS[name].type) for name, value in arrays.items()},
    )
    read_reference(content.getvalue())
    return content.getvalue()


def write_reference(path: Path, reference: DriftReference) -> None:
    """Write ``reference.npz``.

    Raises:
        DataError: As `encode_reference`.
    """
    content = encode_reference(reference)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_reference(source: Path | bytes, model_sha256: str | None = None) -> DriftReference:
    """Read ``reference.npz``, which may come from others.

    Args:
        source: The file, or its content.
        model_sha256: Of the model that it must belong to; None for any.

    Raises:
        DataError: The file is missing, damaged, too large, of a newer version or of another model.
    """
    name = str(source) if isinstance(source, Path) else REFERENCE_FILE
    meta, arrays = _unpack(read_content(source), name)
    if model_sha256 not in (None, meta.model_sha256):
        raise DataError(
            f"{name}: it belongs to the model {meta.model_sha256[:12]}…, not to {model_sha256[:12]}…; "
            "run `dvc repro evaluate`, or export the version again with `visiongate registry export`"
        )
    values: dict[str, Any] = {field: getattr(meta, field) for field in _META_FIELDS}
    reference = DriftReference(**values | {field: arrays.get(field) for field in _ARRAYS})
    if problem := _find_problem(reference):
        raise _damaged(name, problem)
    return reference


def read_content(source: Path | bytes) -> bytes:
    """Return the bytes of a file that is not too large, unchecked.

    Raises:
        DataError: The file cannot be read, or is too large.
    """
    name = str(source) if isinstance(source, Path) else REFERENCE_FILE
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                source = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise DataError(f"{name}: {error.strerror}; `dvc repro evaluate` writes it") from None
    if len(source) > MAX_BYTES:
        raise DataError(f"{name}: more than {MAX_BYTES:,} bytes; lower evaluation.reference_images")
    return source


def _unpack(content: bytes, name: str) -> tuple[_Meta, dict[str, Array]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise _damaged(name, f"{unpacked:,} bytes when decompressed")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            meta = json.loads(archive[_META].tobytes())
            if isinstance(meta, dict) and meta.get("format") != _FORMAT:
                raise DataError(
                    f"{name}: its format is {meta.get('format')!r}, not {_FORMAT}; use the version of visiongate that wrote it"
                )
            parsed = TypeAdapter(_Meta).validate_python(meta)
            return parsed, {field: archive[field] for field in archive.files if field in _ARRAYS}
    except ValidationError as error:
        problem = error.errors()[0]
        key = "".join(f"{part}: " for part in problem["loc"])
        raise _damaged(name, f"{_META}: {key}{problem['msg']}") from None
    except _DAMAGED as error:
        raise _damaged(name, " ".join(str(error).split())[:120] or type(error).__name__) from None


def _find_problem(reference: DriftReference) -> str | None:
    sizes = {"rows": np.size(reference.labels), "classes": len(reference.classes)}
    for name in _ARRAYS:
        if problem := _find_misfit(name, getattr(reference, name), sizes):
            return problem
    for name, table in _CODES.items():
        if getattr(reference, name).max() >= len(getattr(reference, table)):
            return f"{name}: a value is not a place in {table}"
    if not np.array_equal(reference.confusion.sum(axis=1), reference.class_counts):
        return "class_counts are not the sums of the rows of confusion"
    if reference.class_counts.sum() != reference.images or len(reference) > reference.images:
        return f"its counts are not those of {reference.images} images"
    return None


def _find_misfit(name: str, values: Array | None, sizes: dict[str, int]) -> str | None:
    """Return what is wrong with the type, the shape or the values of an array."""
    rule = _ARRAYS[name]
    if values is None:
        return None if name in _OPTIONAL else f"{name} is missing"
    shape = tuple(None if size is None else sizes[size] for size in rule.shape)
    is_shaped = values.ndim == len(shape) and all(
        size in (None, actual) for size, actual in zip(shape, values.shape, strict=True)
    )
    if values.dtype.str != rule.type or not is_shaped or values.size == 0:
        return f"{name} is {values.dtype} {values.shape}, not {np.dtype(rule.type)} {shape}"
    # The negated comparison is true for NaN, too.
    if not (values.min() >= rule.low and values.max() <= rule.high):
        return f"{name}: a value is not from {rule.low} to {rule.high}"
    return None


def _damaged(name: str, problem: str) -> DataError:
    return DataError(f"{name}: damaged: {problem}; run `dvc checkout --force` or `dvc repro evaluate`")
