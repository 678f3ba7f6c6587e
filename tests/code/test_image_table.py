"""The image table: rows are sorted, shards are reproducible, and new images leave most shards unchanged."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visiongate.errors import DataError
from visiongate.images import table as image_table
from visiongate.images.table import (
    SCHEMA,
    content_hash,
    iterate_images,
    iterate_shards,
    read_table,
    write_shard,
    write_shards,
)

TARGET_ROWS = 16


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_table, "SHARD_ROWS", TARGET_ROWS)


def row(path: str, image: bytes = b"", **others: object) -> dict[str, Any]:
    """Return a row. Its image need not be an image, because the table does not decode it."""
    sha256 = hashlib.sha256(image).hexdigest()
    return {
        "image": image,
        "label": "a",
        "path": path,
        "split": None,
        "group": None,
        "sha256": sha256,
    } | others


def rows(count: int) -> list[dict[str, Any]]:
    return [
        row(
            f"{index:04d}.png",
            bytes([index % 256, 0, 255]) * (index % 50),
            label=str(index % 3),
            split="test" if index % 2 else None,
        )
        for index in range(count)
    ]


def shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def sizes(directory: Path) -> list[int]:
    return [table.num_rows for table in iterate_shards(directory)]


def test_round_trip(tmp_path: Path) -> None:
    assert write_shards(tmp_path, rows(300)) == 300
    table = read_table(tmp_path)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.to_pylist() == rows(300)
    assert len(shards(tmp_path)) > 5


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(300))
    paths = [
        path for table in iterate_shards(tmp_path, ["path"]) for path in table.column("path").to_pylist()
    ]
    assert paths == [row["path"] for row in rows(300)]


def test_images_are_read_in_order(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(300))
    assert list(iterate_images(tmp_path)) == [row["image"] for row in rows(300)]


def test_chosen_columns_are_read(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(2))
    assert read_table(tmp_path, ["path", "label"]).to_pydict() == {
        "path": ["0000.png", "0001.png"],
        "label": ["0", "1"],
    }


def test_shards_are_reproducible(tmp_path: Path) -> None:
    write_shards(tmp_path / "one", rows(300))
    write_shards(tmp_path / "two", iter(rows(300)))
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_shard_sizes_are_bounded(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(5000))
    assert all(TARGET_ROWS / 8 <= size <= TARGET_ROWS * 4 for size in sizes(tmp_path)[:-1])
    assert TARGET_ROWS / 2 < 5000 / len(sizes(tmp_path)) < TARGET_ROWS * 2


def test_large_images_give_shards_of_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_table, "SHARD_BYTES", 1000)
    images = [bytes([index]) * 400 for index in range(200)]
    write_shards(tmp_path, (row(f"{index:04d}", image) for index, image in enumerate(images)))
    assert max(sizes(tmp_path)) <= 10
    write_shards(tmp_path, [row("0", b"x"), row("1", bytes(9000)), row("2", b"y")])
    assert sizes(tmp_path) == [1, 1, 1]


@pytest.mark.parametrize("position", [0, 500, 999])
def test_new_images_leave_other_shards_unchanged(tmp_path: Path, position: int) -> None:
    write_shards(tmp_path, rows(1000))
    before = shards(tmp_path)
    added = [row(f"{position:04d}.png-{index:03d}", bytes([index])) for index in range(100)]
    write_shards(tmp_path, sorted([*rows(1000), *added], key=lambda row: row["path"]))
    gone = before.keys() - shards(tmp_path).keys()
    assert len(gone) <= 2
    assert all(shards(tmp_path)[name] == before[name] for name in before.keys() - gone)
    assert read_table(tmp_path).num_rows == 1100


def test_removed_images_leave_other_shards_unchanged(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(1000))
    before = shards(tmp_path)
    write_shards(tmp_path, rows(1000)[:300] + rows(1000)[310:])
    assert len(before.keys() - shards(tmp_path).keys()) <= 2


def test_a_shard_written_alone_has_the_same_name(tmp_path: Path) -> None:
    write_shards(tmp_path / "all", rows(300))
    for table in iterate_shards(tmp_path / "all"):
        write_shard(tmp_path / "each", table)
    assert shards(tmp_path / "each") == shards(tmp_path / "all")


def test_stale_shards_are_removed(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(300))
    write_shards(tmp_path, rows(2))
    assert read_table(tmp_path).num_rows == 2


def test_shards_are_streamed() -> None:
    def source() -> Iterator[dict[str, Any]]:
        for index, row in enumerate(rows(300)):
            assert index - read < TARGET_ROWS * 4 + 1
            yield row

    read = 0
    for written in image_table._split_rows(source()):  # noqa: SLF001 - the part that streams
        read += len(written)
    assert read == 300


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"]])
def test_unsorted_rows_are_refused(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(ValueError, match="sorted by path"):
        write_shards(tmp_path, map(row, paths))


def test_paths_sort_alike_as_text_and_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_table, "SHARD_ROWS", 1)
    paths = sorted(["a/é", "a/z", "a/\U0001f431", "a/\uffee", "A", "a b"])
    write_shards(tmp_path, map(row, paths))
    assert sizes(tmp_path) == [1] * 6
    assert read_table(tmp_path).column("path").to_pylist() == paths


def test_a_row_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid, match="label"):
        write_shards(tmp_path, [rows(1)[0] | {"label": None}])


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    assert write_shards(tmp_path, []) == 0
    with pytest.raises(DataError, match="dvc pull"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="dvc pull"):
        next(iterate_images(tmp_path))


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_damaged_shard_is_named(tmp_path: Path, keep: float) -> None:
    write_shards(tmp_path, rows(10))
    shard = next(tmp_path.iterdir())
    content = shard.read_bytes()
    shard.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    with pytest.raises(DataError, match=shard.name):
        read_table(tmp_path)


def test_a_shard_with_damaged_pages_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, rows(60)[:10])
    shard = next(tmp_path.iterdir())
    content = bytearray(shard.read_bytes())
    start = pq.ParquetFile(shard).metadata.row_group(0).column(2).data_page_offset
    content[start : start + 40] = b"\xff" * 40
    shard.write_bytes(content)
    with pytest.raises(DataError, match=shard.name):
        read_table(tmp_path)


def test_the_content_hash_depends_on_the_order() -> None:
    assert content_hash(["ab", "cd"]) == hashlib.sha256(b"abcd").hexdigest()
    assert content_hash(["cd", "ab"]) != content_hash(iter(["ab", "cd"]))
