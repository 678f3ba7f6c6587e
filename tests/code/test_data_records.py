"""The records that the data stages write: each is read back as written, and a bad file names itself."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest

from visiongate.errors import DataError
from visiongate.records.clusters import read_clusters, write_clusters
from visiongate.records.dataset import DatasetRecord, read_dataset, write_dataset
from visiongate.records.manifest import MANIFEST_SCHEMA, parse_manifest, read_manifest, write_manifest
from visiongate.records.splits import protection
from visiongate.records.transform import Transform, parse_transform, read_transform, write_transform

DATASET = DatasetRecord(
    "tiny",
    ["0", "é"],
    2,
    "CC0",
    "nobody",
    "https://example.org",
    "tiny.zip",
    "ab" * 32,
    "cd" * 32,
    {"hidden": 1},
)
TRANSFORM = Transform(4, "RGB", "stretch", [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], ["a", "b"])
IMAGE = {"row": 0, "label": 1, "path": "p", "sha256": "s", "group": None, "width": 5, "height": 4}


def test_dataset_round_trip(tmp_path: Path) -> None:
    write_dataset(tmp_path, DATASET)
    assert read_dataset(tmp_path) == DATASET


def test_transform_round_trip(tmp_path: Path) -> None:
    write_transform(tmp_path, TRANSFORM)
    assert read_transform(tmp_path) == TRANSFORM
    assert parse_transform((tmp_path / "transform.json").read_bytes()) == TRANSFORM
    assert TRANSFORM.input_shape == (4, 4, 3)


def test_manifest_round_trip(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**IMAGE, "split": name} for name in ("train", "test")], MANIFEST_SCHEMA)
    write_manifest(tmp_path, table)
    assert read_manifest(tmp_path) == table
    assert read_manifest(tmp_path, "test").num_rows == 1
    content = (tmp_path / "manifest.parquet").read_bytes()
    assert parse_manifest(content, ["sha256", "group"]).column_names == ["sha256", "group"]
    with pytest.raises(DataError, match="'unknown'"):
        parse_manifest(content, ["unknown"])


def test_clusters_round_trip(tmp_path: Path) -> None:
    write_clusters(tmp_path, [("s2", "s2"), ("s1", "s2")])
    assert read_clusters(tmp_path) == {"s1": "s2", "s2": "s2"}
    assert (tmp_path / "near_duplicates.csv").read_text() == "sha256,cluster\ns1,s2\ns2,s2\n"


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_dataset, "dataset.json"),
        (read_transform, "transform.json"),
        (read_manifest, "manifest.parquet"),
        (read_clusters, "near_duplicates.csv"),
    ],
)
def test_a_missing_file_is_named(read: object, name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=name):
        read(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"[]", ""),
        (b"{}", "name"),
        (json.dumps(asdict(DATASET) | {"images": "2"}).encode(), "images"),
        (json.dumps(asdict(DATASET) | {"ignored": {"hidden": None}}).encode(), "ignored: hidden"),
    ],
)
def test_an_invalid_file_names_the_key(tmp_path: Path, text: bytes, key: str) -> None:
    (tmp_path / "dataset.json").write_bytes(text)
    with pytest.raises(DataError, match=f"dataset.json: {key}"):
        read_dataset(tmp_path)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"not Parquet")
    with pytest.raises(DataError, match=r"manifest\.parquet"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"manifest\.parquet"):
        parse_manifest(b"not Parquet", ["sha256"])


def test_later_splits_are_better_protected() -> None:
    assert [protection(split) for split in (None, "train", "val", "test")] == [0, 1, 2, 3]
