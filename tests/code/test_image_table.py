"""The image table: rows in order, old shards untouched, the same bytes each time."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from visiongate.data.image_table import (
    SCHEMA,
    Dataset,
    content_hash,
    iterate_images,
    read_dataset,
    read_table,
    write_dataset,
    write_shards,
)
from visiongate.errors import DataError

DATASET = Dataset("tiny", ["0", "é"], 2, "CC0", "nobody", "https://example.org", "ab" * 32, "cd" * 32)


def rows(count: int) -> list[dict[str, Any]]:
    """Rows whose images are no images: the table does not look."""
    images = [bytes([index, 0, 255]) * index for index in range(count)]
    return [
        {
            "image": image,
            "label": str(index % 3),
            "path": f"{index}.png",
            "split": "test" if index % 2 else None,
            "group": None,
            "sha256": hashlib.sha256(image).hexdigest(),
        }
        for index, image in enumerate(images)
    ]


def shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    assert write_shards(tmp_path, rows(7), rows_per_shard=3) == 7
    table = read_table(tmp_path)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == rows(7)
    assert list(shards(tmp_path)) == ["images-00000.parquet", "images-00001.parquet", "images-00002.parquet"]


def test_images_come_back_in_the_order_of_the_table(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(7), rows_per_shard=3)
    assert list(iterate_images(tmp_path)) == [row["image"] for row in rows(7)]


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(2))
    assert read_table(tmp_path, ["path", "label"]).to_pydict() == {
        "path": ["0.png", "1.png"],
        "label": ["0", "1"],
    }


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write_shards(tmp_path / "one", rows(7), rows_per_shard=3)
    write_shards(tmp_path / "two", iter(rows(7)), rows_per_shard=3)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_more_images_leave_full_shards_as_they_were(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(6), rows_per_shard=3)
    before = shards(tmp_path)
    write_shards(tmp_path, rows(8), rows_per_shard=3)
    after = shards(tmp_path)
    assert len(after) == 3
    assert after.items() >= before.items()


def test_fewer_images_leave_no_stale_shard(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(8), rows_per_shard=3)
    write_shards(tmp_path, rows(2), rows_per_shard=3)
    assert read_table(tmp_path).num_rows == 2


def test_a_shard_is_written_before_the_next_is_read(tmp_path: Path) -> None:
    def source() -> Iterator[dict[str, Any]]:
        for index, row in enumerate(rows(6)):
            assert len(list(tmp_path.glob("images-*"))) == index // 3
            yield row

    assert write_shards(tmp_path, source(), rows_per_shard=3) == 6


def test_a_row_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid, match="label"):
        write_shards(tmp_path, [rows(1)[0] | {"label": None}])


def test_a_folder_without_shards_says_what_to_do(tmp_path: Path) -> None:
    assert write_shards(tmp_path, []) == 0
    expected = r"no images-\*\.parquet; `dvc repro` makes them, `dvc pull` fetches them"
    with pytest.raises(DataError, match=expected):
        read_table(tmp_path)
    with pytest.raises(DataError, match=expected):
        next(iterate_images(tmp_path))


def test_the_description_comes_back_as_it_went_in(tmp_path: Path) -> None:
    write_dataset(tmp_path, DATASET)
    assert read_dataset(tmp_path) == DATASET


def test_a_missing_description_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"dataset\.json: no such file; `dvc repro` makes it, `dvc pull` fetches it"
    ):
        read_dataset(tmp_path)


def test_the_content_has_one_name_for_an_order() -> None:
    assert content_hash(["ab", "cd"]) == hashlib.sha256(b"abcd").hexdigest()
    assert content_hash(["cd", "ab"]) != content_hash(iter(["ab", "cd"]))
