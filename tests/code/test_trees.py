"""Folders and archives: order of the files, limits, and the sources that are refused."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shlex
import socket
import struct
import subprocess
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visiongate.errors import DataError
from visiongate.ingestion import archives, limits
from visiongate.ingestion.names import decode_name, is_undecoded, suggest_encodings
from visiongate.ingestion.opening import check_path
from visiongate.ingestion.trees import list_files, open_tree
from visiongate.settings.dataset import Dataset, Limits
from visiongate.settings.grammar import parse_setting
from visiongate.settings.loading import load_settings

ROOT = Path(__file__).parents[2]
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


def dataset(**changes: Any) -> Dataset:  # noqa: ANN401 - whatever the settings take
    known = load_settings(ROOT / "params.yaml").dataset
    return known.model_copy(update={"limits": LIMITS, **changes})


def read_all(path: Path, limits: Limits = LIMITS, **changes: Any) -> dict[str, bytes]:  # noqa: ANN401 - as above
    with open_tree(path, dataset(limits=limits, **changes)) as tree:
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
    with open_tree(build(tmp_path, FILES), dataset()) as tree:
        assert [tree.read(path) for path in reversed(tree.paths)] == [
            FILES[path] for path in reversed(tree.paths)
        ]


@every_build
def test_hidden_and_excluded_files_are_ignored_and_counted(tmp_path: Path, build: Build) -> None:
    junk = [".DS_Store", "a/.hidden", "__MACOSX/a/._1.png", "a/Thumbs.db", "b/desktop.ini"]
    path = build(tmp_path, FILES | dict.fromkeys(junk, b"junk") | {"c/x.txt": b"", "c/d/y.txt": b""})
    with open_tree(path, dataset(exclude=["c/*.txt"])) as tree:
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
        "set", {"z": folder / "b/2.png", "a": folder / "a/1.png", ".a": folder / "b/2.png"}, dataset()
    )
    assert (tree.paths, tree.ignored["hidden"]) == (["a", "z"], 1)
    assert tree.read("z") == FILES["b/2.png"]
    with pytest.raises(DataError, match="max_files"):
        list_files(
            "set",
            {"z": folder / "b/2.png", "a": folder / "a/1.png"},
            dataset(limits=LIMITS.model_copy(update={"max_files": 1})),
        )


# Refused folders


def test_a_link_out_of_the_folder_needs_permission(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, FILES)
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/9.png").write_bytes(b"nine")
    (folder / "a/link.png").symlink_to(tmp_path / "pool/9.png")
    message = refusal(folder)
    assert message.startswith("tree: a/link.png: links that lead out of the folder")
    assert f"\"dataset.links=['{tmp_path / 'pool'}']\"" in message
    assert "or add them to dataset.exclude" in message
    assert list(read_all(folder, exclude=["a/link*"])) == sorted(FILES)
    assert read_all(folder, links=[str(tmp_path / "pool")])["a/link.png"] == b"nine"


@pytest.mark.parametrize("name", ["My Pets (2026)", "Jo's $5"])
def test_the_printed_command_removes_links_to_nothing(tmp_path: Path, name: str) -> None:
    folder = as_folder(tmp_path, FILES).rename(tmp_path / name)
    (folder / "a/link.png").symlink_to("nowhere")
    command = refusal(folder).partition("remove them: ")[2]
    subprocess.run(["sh", "-c", command], check=True)
    assert list(read_all(folder)) == sorted(FILES)
    (tmp_path / "out $1 'x'").mkdir()
    (folder / "a/link").symlink_to(tmp_path / "out $1 'x'")
    (override,) = shlex.split(refusal(folder).partition("allow it with ")[2].partition(", replace")[0])
    assert read_all(folder, links=parse_setting(override)[1])


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, FILES)
    (folder / "c").mkdir()
    (folder / "c/file.png").symlink_to("../b/2.png")
    (folder / "d").symlink_to("a")
    found = read_all(folder)
    assert found["c/file.png"] == FILES["b/2.png"]
    assert found["d/1.png"] == FILES["a/1.png"]


@pytest.mark.parametrize(
    ("target", "problem"),
    [("..", "in a circle"), ("loop", "in a circle"), ("nowhere", "links to nothing; remove them: find ")],
)
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, target: str, problem: str) -> None:
    folder = as_folder(tmp_path, FILES)
    for name in ("loop", "other", "third", "fourth"):
        (folder / "a" / name).symlink_to(target)
    message = refusal(folder)
    assert problem in message
    assert "and 1 more" in message
    assert "dataset.exclude" not in message
    with pytest.raises(DataError, match="a/"):
        check_path(folder)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_or_socket_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(as_folder(tmp_path, FILES))
    if kind == "pipe":
        os.mkfifo("a/x.png")
    else:
        # A path relative to the current folder, because a socket's may have 107 bytes only.
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("a/x.png")
    assert "a/x.png: pipes, sockets or devices; remove them: find " in refusal(tmp_path / "tree")
    with pytest.raises(DataError, match="pipes"):
        check_path(tmp_path / "tree")


def test_a_missing_path_names_what_there_is(tmp_path: Path) -> None:
    as_folder(tmp_path, FILES)
    with pytest.raises(DataError) as error:
        check_path(tmp_path / "photos/2026")
    assert "choose the images with `visiongate use PATH`" in str(error.value)
    assert f"{tmp_path} holds tree" in str(error.value)
    check_path(tmp_path / "tree")


def test_a_path_below_the_home_folder_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(as_folder(tmp_path, FILES).parent))
    with pytest.raises(DataError, match=rf"does not expand ~; write '{tmp_path}/tree'"):
        check_path(Path("~/tree"))


def test_an_unusual_path_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "My Pets [2026], a=b #1 & 'Jo\"s' größe 猫"
    as_folder(tmp_path, FILES).rename(folder)
    check_path(folder)
    assert read_all(folder) == dict(sorted(FILES.items()))


# Names


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    files = {"a\\1.png": b"one", "b\\c\\2.png": b"two"}
    folder = tmp_path / "tree"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert read_all(folder) == {"a/1.png": b"one", "b/c/2.png": b"two"}
    assert read_all(as_zip(tmp_path, files | {"d\\": b""})) == {"a/1.png": b"one", "b/c/2.png": b"two"}
    (folder / "..\\x").write_bytes(b"")
    assert "lead out" in refusal(folder)


def as_zip_of_bytes(folder: Path, files: dict[bytes, bytes], extra: bytes = b"") -> Path:
    """Make a zip whose names are not marked as UTF-8."""
    with zipfile.ZipFile(folder / "tree.zip", "w") as archive:
        for index, (name, content) in enumerate(files.items()):
            info = zipfile.ZipInfo("x" * (len(name) - 1) + str(index))
            info.extra = extra
            archive.writestr(info, content)
    content = (folder / "tree.zip").read_bytes()
    for index, name in enumerate(files):
        content = content.replace(b"x" * (len(name) - 1) + str(index).encode(), name)
    (folder / "tree.zip").write_bytes(content)
    return folder / "tree.zip"


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "狗/1.png"), ("cp866", "кошка/1.png"), ("shift_jis", "表/1.png")]
)
def test_names_in_a_given_encoding_are_decoded(tmp_path: Path, encoding: str, name: str) -> None:
    raw = name.encode(encoding)
    paths = [
        as_zip_of_bytes(tmp_path, {raw: b"x"}),
        as_tar(tmp_path, {os.fsdecode(raw): b"x"}, tarfile.GNU_FORMAT),
    ]
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "tree") + b"/" + raw))
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"x")
    for path in [*paths, tmp_path / "tree"]:
        assert read_all(path, encoding=encoding) == {name: b"x"}
        with open_tree(path, dataset()) as tree:
            assert is_undecoded(tree.paths[0])


def test_the_unicode_field_of_a_zip_has_precedence(tmp_path: Path) -> None:
    raw, name = "кошка/1.png".encode("cp866"), "кошка/1.png".encode()
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + name
    path = as_zip_of_bytes(tmp_path, {raw: b"x"}, struct.pack("<HH", 0x7075, len(field)) + field)
    assert read_all(path) == {"кошка/1.png": b"x"}


def test_utf8_names_need_no_mark(tmp_path: Path) -> None:
    assert read_all(as_zip_of_bytes(tmp_path, {"größe/1.png".encode(): b"x"})) == {"größe/1.png": b"x"}


def test_candidate_encodings_are_suggested() -> None:
    suggestion = suggest_encodings([decode_name("кошка".encode("cp866"), None)])
    assert "cp866: кошка" in suggestion
    assert "gbk: 狗" in suggest_encodings([decode_name("狗".encode("gbk"), None)])


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
    assert repr(name.replace("\\", "/")) in refusal(build(tmp_path, {"a": b"", name: b"x"}))


def test_a_null_byte_in_a_name_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"aXb.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"aXb.png", b"a\0b.png"))
    assert "lead out" in refusal(path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "nowhere", "a/link"])
def test_links_out_of_a_tar_and_devices_are_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("a/link")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    assert "x.tar: a/link: " in refusal(tmp_path / "x.tar")
    assert read_all(tmp_path / "x.tar", exclude=["a/*"]) == {}


def test_links_within_a_tar_are_followed(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, FILES)
    (folder / "c").mkdir()
    (folder / "c/file.png").symlink_to("../b/2.png")
    (folder / "c/hard.png").hardlink_to(folder / "b/2.png")
    (folder / "d").symlink_to("a")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(folder, "tree")
    found = read_all(tmp_path / "x.tar")
    assert found["tree/c/file.png"] == found["tree/c/hard.png"] == FILES["b/2.png"]
    assert found["tree/d/1.png"] == FILES["a/1.png"]


@pytest.mark.parametrize(("target", "allowed"), [("../b/2.png", True), ("/etc/hostname", False)])
def test_links_within_a_zip_are_followed(tmp_path: Path, target: str, allowed: bool) -> None:  # noqa: FBT001 - a case
    path = as_zip(tmp_path, FILES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("c/link.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    if allowed:
        assert read_all(path)["c/link.png"] == FILES["b/2.png"]
    else:
        assert "c/link.png" in refusal(path)


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


def test_an_archive_beside_images_is_a_plain_file(tmp_path: Path) -> None:
    files = {"a/inner.zip": b"PK", "a/1.jpg": b"an image"}
    assert read_all(as_folder(tmp_path, files)) == files


def test_the_archives_of_a_folder_without_images_are_folders(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, {"labels.csv": b"image,label", "b/note": b"x"})
    as_zip(tmp_path, FILES).rename(folder / "a.zip")
    as_tar(tmp_path, FILES).rename(folder / "b.tar")

    found = read_all(folder)

    assert found == {
        "labels.csv": b"image,label",
        "b/note": b"x",
        **{f"{name}/{path}": content for name in ("a", "b.tar") for path, content in FILES.items()},
    }
    assert list(found) == sorted(found)
    with open_tree(folder, dataset(exclude=["a/*"])) as tree:
        assert not any(path.startswith("a/") for path in tree.paths)
    few = LIMITS.model_copy(update={"max_files": 2 * len(FILES) + 1})
    assert "dataset.limits.max_files" in refusal(folder, few)
    (folder / "bad.tar.gz").write_bytes(b"no archive")
    assert "bad.tar.gz: not a folder, a zip" in refusal(folder)


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
        with contextlib.suppress(DataError), open_tree(path, dataset()) as tree:
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
