"""Folders and archives: order of the files, limits, and the sources that are refused."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.ingestion import archives, limits
from visiongate.ingestion.trees import list_files, open_tree
from visiongate.settings.dataset import Limits

LIMITS = Limits(max_files=100, max_file_bytes=10**6, max_total_bytes=10**7, max_ratio=200, max_pixels=10**6)
FILES = {"b/2.png": b"two" * 100, "a/é.png": b"", "a/1.png": bytes(range(256)) * 3, "a/deep/er/0": b"zero"}
Build = Callable[[Path, dict[str, bytes]], Path]


def as_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_bytes(content)
    return folder / "tree"


def as_zip(folder: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(folder / "tree.zip", "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / "tree.zip"


def as_tar(folder: Path, files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(folder / "tree.tar", "w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return folder / "tree.tar"


def compressed(compress: Callable[[bytes], bytes]) -> Build:
    def build(folder: Path, files: dict[str, bytes]) -> Path:
        path = as_tar(folder, files)
        path.write_bytes(compress(path.read_bytes()))
        return path

    return build


BUILDS: dict[str, Build] = {
    "folder": as_folder,
    "zip": as_zip,
    "zip stored": lambda folder, files: as_zip(folder, files, zipfile.ZIP_STORED),
    "zip bzip2": lambda folder, files: as_zip(folder, files, zipfile.ZIP_BZIP2),
    "zip lzma": lambda folder, files: as_zip(folder, files, zipfile.ZIP_LZMA),
    "tar": as_tar,
    "tar ustar": lambda folder, files: as_tar(folder, files, tarfile.USTAR_FORMAT),
    "tar gnu": lambda folder, files: as_tar(folder, files, tarfile.GNU_FORMAT),
    "tar gz": compressed(gzip.compress),
    "tar bz2": compressed(bz2.compress),
    "tar xz": compressed(lzma.compress),
}
ARCHIVES = {name: build for name, build in BUILDS.items() if name != "folder"}
every_build = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
every_archive = pytest.mark.parametrize("build", ARCHIVES.values(), ids=ARCHIVES)


def read_all(path: Path, limits: Limits = LIMITS, exclude: tuple[str, ...] = ()) -> dict[str, bytes]:
    with open_tree(path, limits, exclude) as tree:
        return {name: tree.read(name) for name in tree.paths}


def refusal(path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(DataError) as error:
        read_all(path, limits)
    assert "\n" not in str(error.value)
    return str(error.value)


# Reading


@every_build
def test_files_are_sorted_by_path(tmp_path: Path, build: Build) -> None:
    found = read_all(build(tmp_path, FILES))
    assert list(found.items()) == sorted(FILES.items())


@every_build
def test_files_are_read_in_any_order(tmp_path: Path, build: Build) -> None:
    with open_tree(build(tmp_path, FILES), LIMITS) as tree:
        assert [tree.read(path) for path in reversed(tree.paths)] == [
            FILES[path] for path in reversed(tree.paths)
        ]


@every_build
def test_hidden_and_excluded_files_are_ignored_and_counted(tmp_path: Path, build: Build) -> None:
    junk = [".DS_Store", "a/.hidden", "__MACOSX/a/._1.png", "a/Thumbs.db", "b/desktop.ini"]
    path = build(tmp_path, FILES | dict.fromkeys(junk, b"junk") | {"c/x.txt": b"", "c/d/y.txt": b""})
    with open_tree(path, LIMITS, ["c/*.txt"]) as tree:
        assert tree.paths == sorted(FILES)
        assert tree.ignored["excluded"] == 2
        # A hidden folder counts once.
        assert tree.ignored["hidden"] == len(junk)


def test_an_empty_folder_or_zip_has_no_paths(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    assert read_all(tmp_path / "tree") == read_all(as_zip(tmp_path, {})) == {}


def test_folder_entries_are_skipped(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("a")
        archive.writestr("a/1", b"1")
    assert read_all(tmp_path / "x.zip") == {"a/1": b"1"}
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(as_folder(tmp_path, FILES), ".")
    assert read_all(tmp_path / "x.tar") == FILES


def test_an_archive_is_recognized_by_its_content(tmp_path: Path) -> None:
    assert read_all(as_tar(tmp_path, FILES).rename(tmp_path / "x.zip")) == FILES
    assert read_all(as_zip(tmp_path, FILES).rename(tmp_path / "x.tar.gz")) == FILES


def test_zip64_is_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
        archive.open("a", "w", force_zip64=True) as file,
    ):
        file.write(b"content")
    assert read_all(tmp_path / "x.zip") == {"a": b"content"}


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(as_folder(tmp_path, FILES))
    assert read_all(tmp_path / "link") == FILES


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/tree/\xff.png")).write_bytes(b"x")
    assert read_all(tmp_path / "tree") == {"\\xff.png": b"x"}


def test_files_in_any_places_form_a_tree(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, FILES)
    tree = list_files(
        "set", {"z": folder / "b/2.png", "a": folder / "a/1.png", ".a": folder / "b/2.png"}, LIMITS
    )
    assert (tree.paths, tree.ignored["hidden"]) == (["a", "z"], 1)
    assert tree.read("z") == FILES["b/2.png"]
    with pytest.raises(DataError, match="max_files"):
        list_files(
            "set",
            {"z": folder / "b/2.png", "a": folder / "a/1.png"},
            LIMITS.model_copy(update={"max_files": 1}),
        )


# Refused folders


def test_a_link_below_a_folder_is_refused(tmp_path: Path) -> None:
    (as_folder(tmp_path, FILES) / "a/link.png").symlink_to("/etc/hostname")
    assert refusal(tmp_path / "tree").startswith("tree: a/link.png: a link")
    assert list(read_all(tmp_path / "tree", exclude=("a/link*",))) == sorted(FILES)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (as_folder(tmp_path, FILES) / "a/loop").symlink_to("..")
    assert "a/loop" in refusal(tmp_path / "tree")


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(as_folder(tmp_path, FILES) / "a/pipe.png")
    assert "a/pipe.png" in refusal(tmp_path / "tree")


# Limits


@every_build
@pytest.mark.parametrize(
    ("limit", "value"), [("max_files", 3), ("max_file_bytes", 700), ("max_total_bytes", 1000)]
)
def test_a_source_over_a_limit_is_refused(tmp_path: Path, build: Build, limit: str, value: int) -> None:
    assert limit in refusal(build(tmp_path, FILES), LIMITS.model_copy(update={limit: value}))


@every_archive
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MIN_CHECKED_BYTES", 10_000)
    path = build(tmp_path, {"a/zeros": bytes(900_000)})
    grows = path.stat().st_size * 100 < 900_000
    strict = LIMITS.model_copy(update={"max_ratio": 100.0})
    if grows:
        assert "max_ratio" in refusal(path, strict)
    else:
        assert len(read_all(path, strict)["a/zeros"]) == 900_000


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_bomb_does_not_fill_the_disk(
    tmp_path: Path, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "CHUNK", 4096)
    as_tar(tmp_path, {"a": b"x"})
    content = (tmp_path / "tree.tar").read_bytes()[:1024] + bytes(10**6)
    (tmp_path / "tree.tar").write_bytes(compress(content))
    strict = LIMITS.model_copy(update={"max_total_bytes": 20_000})
    assert "max_" in refusal(tmp_path / "tree.tar", strict)


# Refused names and types

ESCAPES = ["/etc/passwd", "../x", "a/../../x", "C:/x", "a\\..\\x", "\\\\host\\x"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("build", [as_zip, as_tar])
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path: Path, build: Build, name: str) -> None:
    assert repr(name) in refusal(build(tmp_path, {"a": b"", name: b"x"}))


def test_a_null_byte_in_a_name_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"aXb.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"aXb.png", b"a\0b.png"))
    assert "lead out" in refusal(path)


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("a/link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    assert "x.tar: a/link: " in refusal(tmp_path / "x.tar")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": b"x"})
    content = bytearray(path.read_bytes())
    for start, offset in ((content.index(b"PK\x03\x04"), 6), (content.index(b"PK\x01\x02"), 8)):
        content[start + offset] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": b"x"})
    content = bytearray(path.read_bytes())
    zstandard = 93
    content[content.index(b"PK\x01\x02") + 10] = zstandard
    path.write_bytes(content)
    assert "compression" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@every_archive
def test_a_duplicate_path_is_refused(tmp_path: Path, build: Build) -> None:
    path = build(tmp_path, {"a/1": b"x", "./a//1": b"y"})
    assert "a/1: the archive holds this path twice" in refusal(path)


@every_archive
@pytest.mark.parametrize("name", ["a/inner.zip", "a/INNER.TAR", "a/x.tar.gz", "a/x.7z", "train.rar"])
def test_an_archive_within_an_archive_is_refused(tmp_path: Path, build: Build, name: str) -> None:
    assert f"{name}: an archive within an archive" in refusal(build(tmp_path, {"a/1": b"x", name: b"y"}))


def test_an_archive_in_a_folder_is_a_plain_file(tmp_path: Path) -> None:
    assert read_all(as_folder(tmp_path, {"a/inner.zip": b"PK"})) == {"a/inner.zip": b"PK"}


# Damaged archives


@pytest.mark.parametrize("content", [b"", b"x", b"\x89PNG\r\n" + bytes(600), b"GIF89a" * 200])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert refusal(tmp_path / "x.zip").startswith("x.zip: ")


def test_a_compressed_file_other_than_a_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"text" * 1000))
    assert refusal(tmp_path / "x.gz").startswith("x.gz: not a folder")


def test_a_wrong_checksum_in_a_zip_is_an_error(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": b"content"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    assert "Bad CRC-32" in refusal(path)


@every_archive
def test_a_damaged_archive_is_refused_or_read(tmp_path: Path, build: Build) -> None:
    generator = random.Random(0)  # noqa: S311 - damage, not secrets
    original = build(tmp_path, FILES)
    content = original.read_bytes()
    path = tmp_path / "damaged"
    started = time.monotonic()
    for _ in range(60):
        damaged = bytearray(
            content[: generator.randrange(len(content))] if generator.random() < 0.5 else content
        )
        for _ in range(generator.randrange(4)):
            if damaged:
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(DataError), open_tree(path, LIMITS) as tree:
            assert all(len(tree.read(name)) <= LIMITS.max_file_bytes for name in tree.paths)
    assert time.monotonic() - started < 60


def test_an_entry_that_is_larger_than_it_claims_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/1.png", "w") as entry,
    ):
        for _ in range(50):
            entry.write(bytes(2**20))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, 100)
    (tmp_path / "x.zip").write_bytes(content)
    tracemalloc.start()
    assert "a/1.png" in refusal(tmp_path / "x.zip")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_zip_may_hold_its_own_root(tmp_path: Path) -> None:
    assert read_all(as_zip(tmp_path, {"./": b"", "./a/1": b"one"})) == {"a/1": b"one"}


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_a_truncated_tar_is_refused(tmp_path: Path, kind: int) -> None:
    content = as_tar(tmp_path, FILES, kind).read_bytes()
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    path = tmp_path / "cut.tar"
    for length in range(512, len(content), 512):
        path.write_bytes(content[:length])
        if length <= end:
            assert "cut.tar" in refusal(path)
        else:
            assert read_all(path) == FILES
