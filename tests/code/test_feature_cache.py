"""The cache of features: shared, limited, and never trusted."""

import hashlib
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from visiongate.models.feature_cache import FeatureCache
from visiongate.user_cache import DEFAULT_LIMIT, FOLDER, LIMIT, cache_folder, cache_limit

BACKBONE = "ab" * 32
SIZE = 8


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    monkeypatch.delenv(LIMIT, raising=False)
    return tmp_path / "cache" / "features"


def vectors(count: int, start: int = 0, size: int = SIZE) -> dict[bytes, np.ndarray]:
    numbers = range(start, start + count)
    return {
        hashlib.sha256(str(number).encode()).digest(): np.full(size, number, np.float32) for number in numbers
    }


def same(found: dict[bytes, np.ndarray], expected: dict[bytes, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], expected[key]) for key in expected
    )


def test_features_come_back_bit_by_bit_and_unknown_images_are_missing() -> None:
    known, unknown = vectors(1200), vectors(3, start=5000)
    cache = FeatureCache(BACKBONE, SIZE)
    assert cache.read(list(known)) == {}
    cache.write(known)
    assert same(FeatureCache(BACKBONE, SIZE).read([*known, *unknown]), known)
    assert FeatureCache("cd" * 32, SIZE).read(list(known)) == {}


@pytest.mark.parametrize("content", [b"\0" * 36, b"", b"\0" * 16, "text", 7, None])
def test_a_changed_value_is_missing_and_is_replaced(folder: Path, content: object) -> None:
    known = vectors(3)
    cache, damaged = FeatureCache(BACKBONE, SIZE), next(iter(known))
    cache.write(known)
    with sqlite3.connect(folder / f"{BACKBONE}.sqlite") as database:
        database.execute("UPDATE features SET content = ? WHERE image = ?", (content, damaged))
    assert same(cache.read(list(known)), {key: value for key, value in known.items() if key != damaged})
    cache.write({damaged: known[damaged]})
    assert same(cache.read(list(known)), known)


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_database_is_replaced(folder: Path, content: bytes) -> None:
    cache, known = FeatureCache(BACKBONE, SIZE), vectors(3)
    cache.write(known)
    (folder / f"{BACKBONE}.sqlite").write_bytes(content)
    assert cache.read(list(known)) == {}
    cache.write(known)
    assert same(cache.read(list(known)), known)


def test_the_cache_may_be_deleted_at_any_time(folder: Path) -> None:
    cache, known = FeatureCache(BACKBONE, SIZE), vectors(3)
    cache.write(known)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert cache.read(list(known)) == {}
    cache.write(known)
    assert same(cache.read(list(known)), known)


def test_a_folder_that_cannot_be_written_to_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    cache, known = FeatureCache(BACKBONE, SIZE), vectors(3)
    cache.write(known)
    assert cache.read(list(known)) == {}
    assert "features are not cached" in caplog.text


def _write(start: int) -> None:
    for part in range(4):
        FeatureCache(BACKBONE, SIZE).write(vectors(50, start + 50 * part))


def test_several_processes_write_at_once() -> None:
    with ProcessPoolExecutor(3) as pool:
        list(pool.map(_write, [0, 100, 1000]))
    expected = vectors(300) | vectors(200, 1000)
    assert same(FeatureCache(BACKBONE, SIZE).read(list(expected)), expected)


def test_the_least_recently_used_backbone_is_deleted_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "1")
    old, recent, new = (FeatureCache(name * 32, 1000) for name in ("aa", "bb", "cc"))
    known = vectors(100, size=1000)
    for cache in (old, recent):
        cache.write(known)
    assert same(old.read(list(known)), known)
    new.write(known)
    assert recent.read(list(known)) == {}
    assert same(old.read(list(known)), known)
    assert same(new.read(list(known)), known)
    # One backbone alone may exceed the limit, too.
    many = vectors(600, size=1000)
    new.write(many)
    assert 0 < len(new.read(list(many))) < 600
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000


def test_the_cache_can_be_disabled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, "0")
    cache, known = FeatureCache(BACKBONE, SIZE), vectors(3)
    cache.write(known)
    assert cache.read(list(known)) == {}
    assert not folder.exists()


def test_folder_and_limit_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER)
    monkeypatch.setenv(LIMIT, "much")
    assert cache_folder().name == "visiongate"
    assert cache_limit() == DEFAULT_LIMIT * 10**6
