"""``reference.npz``: written the same each time, read back, and refused when it is damaged, too large or of another model."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from drift_references import SHA256, make_reference
from visiongate.errors import DataError
from visiongate.records.drift_reference import (
    MAX_BYTES,
    DriftReference,
    encode_reference,
    read_reference,
    rows_that_fit,
    write_reference,
)


def repack(content: bytes, **changes: npt.NDArray[Any] | None) -> bytes:
    """Return a reference with other members; None removes one."""
    with np.load(io.BytesIO(content)) as archive:
        members = {name: archive[name] for name in archive.files} | changes
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: value for name, value in members.items() if value is not None})
    return buffer.getvalue()


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    reference = make_reference(rows=40, classes=("a", "b", "ß"), embedding=16)
    write_reference(tmp_path / "reference.npz", reference)
    read = read_reference(tmp_path / "reference.npz", SHA256)
    for name in DriftReference.__slots__:
        written, found = getattr(reference, name), getattr(read, name)
        assert np.array_equal(written, found) if isinstance(written, np.ndarray) else written == found, name
    assert len(read) == 40
    assert read.accuracy == np.trace(reference.confusion) / reference.images
    assert read.confidence.tolist() == [
        row[predicted] for row, predicted in zip(read.probabilities, read.predicted, strict=True)
    ]


def test_a_reference_has_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = make_reference()
    content = encode_reference(reference)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert encode_reference(reference) == content
    assert encode_reference(read_reference(content)) == content


def test_not_all_models_have_an_embedding_and_a_novelty() -> None:
    content = encode_reference(replace(make_reference(embedding=None), out_of_distribution=None))
    read = read_reference(content)
    assert (read.embedding, read.out_of_distribution) == (None, None)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_rows_that_fit_stay_below_the_limit_even_if_nothing_can_be_compressed(classes: int) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    rows = min(5000, rows_that_fit(classes, 64))
    content = encode_reference(make_reference(rows=rows, classes=names, embedding=64))
    assert len(content) < MAX_BYTES
    assert rows == 5000 or len(content) > MAX_BYTES / 3


def test_a_reference_of_another_model_is_refused() -> None:
    content = encode_reference(make_reference())
    with pytest.raises(
        DataError, match=r"reference\.npz: it belongs to the model aaaaaaaaaaaa…, not to bbbbbbbbbbbb…"
    ):
        read_reference(content, "b" * 64)


@pytest.mark.parametrize("end", [0, 1, 100, -1])
def test_a_truncated_file_is_refused(end: int) -> None:
    with pytest.raises(DataError, match=r"reference\.npz: damaged: .*; run `dvc checkout --force`"):
        read_reference(encode_reference(make_reference())[:end])


def test_a_changed_byte_is_found() -> None:
    content = bytearray(encode_reference(make_reference()))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(DataError, match="damaged"):
        read_reference(bytes(content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none\.npz: No such file or directory; `dvc repro evaluate` writes it"
    ):
        read_reference(tmp_path / "none.npz")


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    path.write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(DataError, match=r"more than 2,000,000 bytes; lower evaluation\.reference_images"):
        read_reference(path)


def test_a_small_file_with_huge_arrays_is_not_decompressed() -> None:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("meta.npy", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1_000_000))
    assert len(buffer.getvalue()) < MAX_BYTES
    with pytest.raises(DataError, match="300,000,000 bytes when decompressed"):
        read_reference(buffer.getvalue())


def test_pickles_are_not_loaded() -> None:
    content = repack(encode_reference(make_reference()), labels=np.array([print], dtype=object))
    with pytest.raises(DataError, match="damaged: Object arrays cannot be loaded"):
        read_reference(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": None}, "damaged"),
        ({"meta": np.frombuffer(b"[]", np.uint8)}, "meta: Input should be"),
        (
            {"meta": np.frombuffer(b'{"format": 2}', np.uint8)},
            "its format is 2, not 1; use the version of visiongate",
        ),
        ({"labels": None}, "labels is missing"),
        ({"labels": np.zeros(3, np.int16)}, r"int16 \(20,\), not int16 \(3,\)"),
        ({"labels": np.zeros(20)}, r"labels is float64 \(20,\), not int16 \(20,\)"),
        ({"labels": np.full(20, 7, np.int16)}, "labels: a value is not a place in classes"),
        ({"mode": np.full(20, 7, np.int8)}, "mode: a value is not a place in modes"),
        ({"brightness": np.full(20, np.nan, np.float32)}, "brightness: a value is not from 0 to 1"),
        ({"width": np.zeros(20, np.int32)}, "width: a value is not from 1 to"),
        ({"embedding": np.zeros(20, np.float16)}, r"embedding is float16 \(20,\), not float16 \(20, None\)"),
        ({"class_counts": np.ones(2, np.int64)}, "class_counts are not the sums"),
    ],
)
def test_an_array_that_does_not_fit_is_named(
    changes: dict[str, npt.NDArray[Any] | None], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_reference(repack(encode_reference(make_reference()), **changes))


def test_counts_must_be_those_of_all_images() -> None:
    with pytest.raises(DataError, match="its counts are not those of 7 images"):
        encode_reference(replace(make_reference(), images=7))
