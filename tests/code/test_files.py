"""Files: written completely or not at all, never through links into DVC's cache."""

import hashlib
import os
from pathlib import Path

import pytest

from visiongate.records.files import atomic_path, read_json, sha256_of, write_csv, write_json, write_text


def write_half(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text(encoding="utf-8") == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_into_the_cache_is_replaced(tmp_path: Path) -> None:
    cached, path = tmp_path / "cached", tmp_path / "file.txt"
    cached.write_text("cached", encoding="utf-8")
    cached.chmod(0o444)
    path.hardlink_to(cached)
    write_text(path, "new")
    assert cached.read_text(encoding="utf-8") == "cached"
    assert path.read_text(encoding="utf-8") == "new"
    assert os.access(path, os.W_OK)


def test_written_files_are_readable_by_all(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "text")
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644


def test_text_is_utf8_with_unchanged_newlines(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "8×8\r\nend\n")
    assert (tmp_path / "file.txt").read_bytes() == b"8\xc3\x978\r\nend\n"


def test_json_keeps_the_order_and_unicode(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"b": [1, None], "a": "é", "x": 0.1 + 0.2})
    assert path.read_text(encoding="utf-8") == (
        '{\n  "b": [\n    1,\n    null\n  ],\n  "a": "é",\n  "x": 0.30000000000000004\n}\n'
    )
    assert read_json(path) == {"b": [1, None], "a": "é", "x": 0.30000000000000004}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_nan_and_infinity(tmp_path: Path, value: float) -> None:
    path = tmp_path / "file.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": value})
    assert read_json(path) == 1


def test_csv_has_a_header_exact_floats_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    write_csv(
        path,
        ({"loss": value, "note": note} for value, note in [(0.1 + 0.2, None), (1e-20, "a,b")]),
        ["note", "loss"],
    )
    assert path.read_bytes() == b'note,loss\n,0.30000000000000004\n"a,b",1e-20\n'


def test_csv_refuses_an_unknown_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="extra"):
        write_csv(tmp_path / "file.csv", [{"a": 1, "extra": 2}], ["a"])
    assert list(tmp_path.iterdir()) == []


def test_the_hash_covers_all_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
