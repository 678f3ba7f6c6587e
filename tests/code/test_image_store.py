"""Images that are stored behind the answers: what is kept, what is deleted first, and that no fault reaches who answers."""

import hashlib
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from s3_server import CREDENTIALS, s3_client, serve_s3
from visiongate.errors import DataError
from visiongate.monitoring import image_store as module
from visiongate.monitoring.image_store import ImageStore
from visiongate.monitoring.kept_images import EncodedImage, open_kept_images
from visiongate.settings.serving import KeptImages as Settings
from waiting import wait_until

OpenStore = Callable[..., ImageStore]
DAY_SECONDS = 86_400


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(module, "PRUNE_SOON_SECONDS", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def open_store(folder: Path) -> Iterator[OpenStore]:
    stores = []

    def start(labeled: Callable[[], frozenset[str]] = frozenset, **changes: object) -> ImageStore:
        settings = Settings(keep="all", folder=str(changes.pop("folder", folder)), **changes)  # type: ignore[arg-type]
        stores.append(ImageStore(settings, labeled))
        stores[-1].start()
        return stores[-1]

    yield start
    for store in stores:
        store.close(1.0)


def image(content: bytes) -> EncodedImage:
    return EncodedImage(hashlib.sha256(content).hexdigest(), "png", content)


def settle(store: ImageStore) -> None:
    wait_until(lambda: not store.waiting_bytes)


def stored(folder: Path) -> set[bytes]:
    contents = set()
    # A hidden file is still being written.
    for path in folder.glob("*/[!.]*.png"):
        # The store may delete it meanwhile.
        with suppress(FileNotFoundError):
            contents.add(path.read_bytes())
    return contents


def make_old(folder: Path, given: EncodedImage, days: float) -> None:
    """Write a file as if it had been sent some days ago."""
    path = folder / given.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(given.content)
    before = time.time() - days * DAY_SECONDS
    os.utime(path, (before, before))


def test_images_are_stored_as_they_came_once_each(folder: Path, open_store: OpenStore) -> None:
    store = open_store()
    given = [image(b"one"), image(b"two"), image(b"one")]
    assert [store.put(each) for each in given] == [True] * 3
    settle(store)
    assert (store.stored, store.fault) == (3, None)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        each.name for each in given
    }
    assert stored(folder) == {b"one", b"two"}
    assert open_kept_images(str(folder)).read(given[0].sha256, "png") == b"one"


def test_an_image_that_comes_again_is_young_again(folder: Path, open_store: OpenStore) -> None:
    make_old(folder, image(b"one"), days=9.9)
    store = open_store(days=10)
    store.put(image(b"one"))
    settle(store)
    assert time.time() - (folder / image(b"one").name).stat().st_mtime < 60


def test_images_are_deleted_by_age(folder: Path, open_store: OpenStore) -> None:
    make_old(folder, image(b"old"), days=11)
    make_old(folder, image(b"young"), days=9)
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("kept")
    open_store(days=10)
    wait_until(lambda: stored(folder) == {b"young"})
    assert (folder / "notes" / "mine.txt").exists()


def test_too_many_images_lose_the_oldest_and_those_with_feedback_last(
    folder: Path, open_store: OpenStore
) -> None:
    given = [image(bytes([number]) * 100) for number in range(10)]
    for number, each in enumerate(given):
        make_old(folder, each, days=10 - number)
    labeled = frozenset(each.sha256 for each in given[:2])
    store = open_store(lambda: labeled, max_bytes=500)
    kept = {each.content for each in (*given[:2], *given[8:])}
    # Five images would fit, but four are left, so that the next image leads to no further look.
    wait_until(lambda: stored(folder) == kept)
    store.put(image(b"x" * 250))
    wait_until(lambda: stored(folder) == {given[0].content, given[1].content, b"x" * 250})
    store.close()
    # If all others are gone, those with feedback are deleted, too.
    open_store(lambda: labeled, max_bytes=150)
    wait_until(lambda: stored(folder) == {given[1].content})


def test_without_the_log_too_many_images_stay_until_it_is_back(
    folder: Path, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    given = [image(bytes([number]) * 100) for number in range(4)]
    for number, each in enumerate(given):
        make_old(folder, each, days=4 - number)
    broken = [True]

    def find_labeled() -> frozenset[str]:
        if broken[0]:
            raise OSError("the log is away")
        return frozenset({given[0].sha256})

    store = open_store(find_labeled, max_bytes=200)
    wait_until(lambda: "the log is away" in caplog.text)
    store.put(image(b"new"))
    settle(store)
    assert len(stored(folder)) == 5
    broken[0] = False
    wait_until(lambda: stored(folder) == {given[0].content, b"new"})
    assert caplog.text.count("the log is away") == 1


def test_memory_is_bounded(folder: Path, open_store: OpenStore) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("in the way")
    store = open_store(queue_bytes=1000)
    accepted = [store.put(image(bytes([number]) * 300)) for number in range(5)]
    assert accepted == [True, True, True, False, False]
    wait_until(lambda: store.fault)
    assert not store.put(image(b"y" * 300))
    assert store.waiting_bytes == 900
    assert sum(store.dropped.values()) == 3
    assert store.dropped["unavailable"] > 0
    folder.unlink()
    settle(store)
    assert len(stored(folder)) == 3


def test_a_full_disk_is_survived(
    folder: Path, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        store = open_store()
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(40_000))
        store.put(image(b"x" * 30_000))
        store.put(image(b"z" * 1000))
        wait_until(lambda: store.fault)
        assert "No space left on device" in str(store.fault)
        time.sleep(0.1)
        assert caplog.text.count("answers go on") == 1
        ballast.unlink()
        settle(store)
        assert (store.fault, stored(folder)) == (None, {b"x" * 30_000, b"z" * 1000})
        store.close()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_end_is_bounded_and_counts_what_is_lost(
    folder: Path, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("in the way")
    store = open_store()
    store.put(image(b"one"))
    wait_until(lambda: store.fault)
    store.close(0.5)
    assert not store.put(image(b"two"))
    assert store.dropped["closed"] == 2
    assert "1 were not stored before the end" in caplog.text


def test_what_waits_is_stored_before_the_end(folder: Path, open_store: OpenStore) -> None:
    store = open_store()
    for number in range(100):
        store.put(image(b"%d" % number))
    store.close()
    assert (len(stored(folder)), store.stored, sum(store.dropped.values())) == (100, 100, 0)


def test_a_bucket_without_its_package_is_an_error_at_the_start() -> None:
    with pytest.raises(DataError, match=r"serving\.log\.images\.folder = 'nowhere://a'"):
        ImageStore(Settings(keep="all", folder="nowhere://a"), frozenset)


@pytest.mark.slow
def test_a_bucket_that_is_away_for_a_while(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "visiongate")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    given = [image(b"%d" % number) for number in range(40)]
    store = open_store(folder="s3://pictures/kept", days=10)
    store.put(given[0])
    wait_until(lambda: store.fault)
    with serve_s3(port):
        s3_client(endpoint).create_bucket(Bucket="pictures")
        for each in given[1:]:
            assert store.put(each)
        settle(store)
        images = open_kept_images("s3://pictures/kept")
        assert {each.sha256 for each in images.files()} == {each.sha256 for each in given}
        assert all(abs(time.time() - each.seen_at) < 60 for each in images.files())
        assert images.find(given[7].sha256) == "png"
        assert images.read(given[7].sha256, "png") == b"7"
        store.close()
        # Another process with another limit.
        labeled = frozenset({given[0].sha256})
        open_store(lambda: labeled, folder="s3://pictures/kept", max_bytes=10)
        wait_until(lambda: sum(each.bytes for each in images.files()) <= 10)
        assert images.find(given[0].sha256) == "png"
    assert caplog.text.count("answers go on") == 1
    assert "they are stored again; 0 were lost so far" in caplog.text
