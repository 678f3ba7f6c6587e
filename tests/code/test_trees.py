"""Folders and archives: what is read, in which order, and the zoo of what is refused."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import stat
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.ingestion import trees
from visiongate.ingestion.trees import Tree, list_files, open_tree
from visiongate.settings.schema import Limits

LIMITS = Limits(max_files=100, max_file_bytes=10**6, max_total_bytes=10**7, max_ratio=200, max_pixels=10**6)
FILES = {"b/2.png": b"two" * 100, "a/é.png": b"", "a/1.png": bytes(range(256)) * 3, "a/deep/er/0": b"zero"}
Build = Callable[[Path, dict[str, bytes]], Path]


def as_folder(place: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (place / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "tree" / name).write_bytes(content)
    return place / "tree"


def as_zip(place: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place / "tree.zip", "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return place / "tree.zip"


def as_tar(place: Path, files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(place / "tree.tar", "w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return place / "tree.tar"


def compressed(compress: Callable[[bytes], bytes]) -> Build:
    def build(place: Path, files: dict[str, bytes]) -> Path:
        path = as_tar(place, files)
        path.write_bytes(compress(path.read_bytes()))
        return path

    return build


BUILDS: dict[str, Build] = {
    "folder": as_folder,
    "zip": as_zip,
    "zip stored": lambda place, files: as_zip(place, files, zipfile.ZIP_STORED),
    "zip bzip2": lambda place, files: as_zip(place, files, zipfile.ZIP_BZIP2),
    "zip lzma": lambda place, files: as_zip(place, files, zipfile.ZIP_LZMA),
    "tar": as_tar,
    "tar ustar": lambda place, files: as_tar(place, files, tarfile.USTAR_FORMAT),
    "tar gnu": lambda place, files: as_tar(place, files, tarfile.GNU_FORMAT),
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


# What is read


@every_build
def test_files_come_in_the_order_of_their_paths(tmp_path: Path, build: Build) -> None:
    found = read_all(build(tmp_path, FILES))
    assert list(found.items()) == sorted(FILES.items())


@every_build
def test_files_are_read_in_any_order(tmp_path: Path, build: Build) -> None:
    with open_tree(build(tmp_path, FILES), LIMITS) as tree:
        assert [tree.read(path) for path in reversed(tree.paths)] == [
            FILES[path] for path in reversed(tree.paths)
        ]


@every_build
def test_hidden_and_excluded_files_are_left_out_and_counted(tmp_path: Path, build: Build) -> None:
    junk = [".DS_Store", "a/.hidden", "__MACOSX/a/._1.png", "a/Thumbs.db", "b/desktop.ini"]
    path = build(tmp_path, FILES | dict.fromkeys(junk, b"junk") | {"c/x.txt": b"", "c/d/y.txt": b""})
    with open_tree(path, LIMITS, ["c/*.txt"]) as tree:
        assert tree.paths == sorted(FILES)
        assert tree.ignored["excluded"] == 2
        # A hidden folder in a folder is not even looked into, and counts once.
        assert tree.ignored["hidden"] == len(junk)


def test_an_empty_folder_or_zip_has_no_paths(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    assert read_all(tmp_path / "tree") == read_all(as_zip(tmp_path, {})) == {}


def test_folders_in_archives_are_no_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("a")
        archive.writestr("a/1", b"1")
    assert read_all(tmp_path / "x.zip") == {"a/1": b"1"}
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(as_folder(tmp_path, FILES), ".")
    assert read_all(tmp_path / "x.tar") == FILES


def test_an_archive_is_known_by_its_content(tmp_path: Path) -> None:
    assert read_all(as_tar(tmp_path, FILES).rename(tmp_path / "x.zip")) == FILES
    assert read_all(as_zip(tmp_path, FILES).rename(tmp_path / "x.tar.gz")) == FILES


def test_zip64_is_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
        archive.open("a", "w", force_zip64=True) as file,
    ):
        file.write(b"content")
    assert read_all(tmp_path / "x.zip") == {"a": b"content"}


def test_the_root_of_a_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(as_folder(tmp_path, FILES))
    assert read_all(tmp_path / "link") == FILES


def test_a_name_that_is_no_text_is_written_in_escapes(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/tree/\xff.png")).write_bytes(b"x")
    assert read_all(tmp_path / "tree") == {"\\xff.png": b"x"}


def test_files_from_anywhere_make_a_tree(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, FILES)
    tree = list_files(
        "set", {"z": folder / "b/2.png", "a": folder / "a/1.png", ".a": folder / "b/2.png"}, LIMITS
    )
    assert (tree.paths, tree.ignored["hidden"]) == (["a", "z"], 1)
    assert tree.read("z") == FILES["b/2.png"]
    with pytest.raises(DataError, match=r"set: 2 files, over dataset\.limits\.max_files = 1"):
        list_files(
            "set",
            {"z": folder / "b/2.png", "a": folder / "a/1.png"},
            LIMITS.model_copy(update={"max_files": 1}),
        )
    (folder / "b/2.png").unlink()
    with pytest.raises(DataError, match="set: z: cannot be read: No such file"):
        tree.read("z")


# What is refused: folders


def test_a_link_below_a_folder_is_refused(tmp_path: Path) -> None:
    (as_folder(tmp_path, FILES) / "a/link.png").symlink_to("/etc/hostname")
    assert refusal(tmp_path / "tree") == "tree: a/link.png: a link: put a copy in its place, or exclude it"
    assert list(read_all(tmp_path / "tree", exclude=("a/link*",))) == sorted(FILES)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (as_folder(tmp_path, FILES) / "a/loop").symlink_to("..")
    assert "a/loop: a link" in refusal(tmp_path / "tree")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(as_folder(tmp_path, FILES) / "a/pipe.png")
    assert "a/pipe.png: neither a file nor a folder" in refusal(tmp_path / "tree")
    assert "pipe.png: neither a file nor a folder" in refusal(tmp_path / "tree/a/pipe.png")


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    with open_tree(as_folder(tmp_path, FILES), LIMITS) as tree:
        (tmp_path / "tree/b/2.png").unlink()
        with pytest.raises(DataError, match=r"tree: b/2\.png: cannot be read: No such file or directory"):
            tree.read("b/2.png")


def test_a_file_that_vanishes_while_its_folder_is_listed_is_named(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, {"a/1.png": b"one"})

    class Deleting(tuple[str, ...]):
        """Patterns: they are looked at between listing a folder and measuring its files."""

        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            if asked:
                (folder / "a/1.png").unlink()
            asked.append("the folder, and then the file")
            return super().__iter__()

    asked: list[str] = []
    with pytest.raises(DataError, match=r"tree: a/1\.png: cannot be read: No such file"):
        read_all(folder, exclude=Deleting())


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: cannot be read: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    (as_folder(tmp_path, FILES) / "a").chmod(0)
    assert "a: cannot be read: Permission denied" in refusal(tmp_path / "tree")
    (tmp_path / "tree/a").chmod(0o755)


# What is refused: limits


@every_build
@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("max_files", 3, "4 files, over dataset.limits.max_files = 3"),
        ("max_file_bytes", 700, "768 bytes in a/1.png, over dataset.limits.max_file_bytes = 700"),
        ("max_total_bytes", 1000, "over dataset.limits.max_total_bytes = 1,000"),
    ],
)
def test_a_source_over_a_limit_is_refused(
    tmp_path: Path, build: Build, limit: str, value: int, told: str
) -> None:
    limits = LIMITS.model_copy(update={limit: value})
    assert told in refusal(build(tmp_path, FILES), limits)


@every_archive
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "FREE_BYTES", 10_000)
    path = build(tmp_path, {"a/zeros": bytes(900_000)})
    grows = path.stat().st_size * 100 < 900_000
    limits = LIMITS.model_copy(update={"max_ratio": 100.0})
    if grows:
        assert "a decompression bomb: over dataset.limits.max_ratio = 100" in refusal(path, limits)
    else:
        assert len(read_all(path, limits)["a/zeros"]) == 900_000


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_bomb_stops_before_it_fills_the_disk(
    tmp_path: Path, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "CHUNK", 4096)
    as_tar(tmp_path, {"a": b"x"})
    limits = LIMITS.model_copy(update={"max_total_bytes": 20_000})
    content = (tmp_path / "tree.tar").read_bytes()[:1024] + bytes(10**6)
    (tmp_path / "tree.tar").write_bytes(compress(content))
    assert "over dataset.limits.max_total_bytes = 20,000" in refusal(tmp_path / "tree.tar", limits)


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": bytes(5000), "b": bytes(5000)})
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)  # the second entry's data is the first's
    path.write_bytes(content)
    assert "overlaps another entry: a decompression bomb" in refusal(path)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 10**9
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    assert "a header of 1,000,000,000 bytes: it is refused" in refusal(tmp_path / "x.tar")


# What is refused: names and kinds

ESCAPES = ["/etc/passwd", "../x", "a/../../x", "C:/x", "a\\..\\x", "\\\\host\\x"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("build", [as_zip, as_tar])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, build: Build, name: str) -> None:
    assert f"{name!r}: a path that could lead out of the archive" in refusal(
        build(tmp_path, {"a": b"", name: b"x"})
    )


def test_a_zero_in_a_name_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"aXb.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"aXb.png", b"a\0b.png"))
    assert "a path that could lead out" in refusal(path)


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("a/link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    assert "x.tar: a/link: a link, a device or no plain file: it is refused" in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "x.zip: a/link: a link or a device: it is refused" in refusal(tmp_path / "x.zip")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": b"x"})
    content = bytearray(path.read_bytes())
    for start, offset in ((content.index(b"PK\x03\x04"), 6), (content.index(b"PK\x01\x02"), 8)):
        content[start + offset] |= 1
    path.write_bytes(content)
    assert "a: encrypted: unpack the archive and give the folder" in refusal(path)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 93  # Zstandard
    path.write_bytes(content)
    assert "a: compressed by a method that Python does not know" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@every_archive
def test_a_name_twice_is_refused(tmp_path: Path, build: Build) -> None:
    path = build(tmp_path, {"a/1": b"x", "./a//1": b"y"})
    assert "a/1: there twice" in refusal(path)


@every_archive
@pytest.mark.parametrize("name", ["a/inner.zip", "a/INNER.TAR", "a/x.tar.gz", "a/x.7z", "train.rar"])
def test_an_archive_within_an_archive_is_refused(tmp_path: Path, build: Build, name: str) -> None:
    assert f"{name}: an archive within an archive" in refusal(build(tmp_path, {"a/1": b"x", name: b"y"}))


def test_an_archive_in_a_folder_is_a_file_like_any_other(tmp_path: Path) -> None:
    assert read_all(as_folder(tmp_path, {"a/inner.zip": b"PK"})) == {"a/inner.zip": b"PK"}


# What is damaged


@pytest.mark.parametrize("content", [b"", b"x", b"\x89PNG\r\n" + bytes(600), b"GIF89a" * 200])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert refusal(tmp_path / "x.zip") == "x.zip: neither a folder, a zip nor a tar"


def test_a_compressed_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"text" * 1000))
    assert refusal(tmp_path / "x.gz") == "x.gz: compressed, but no tar"


def test_a_wrong_checksum_in_a_zip_is_noticed(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a": b"content"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    assert "tree.zip: a: damaged or cut short: Bad CRC-32" in refusal(path)


@every_archive
def test_a_cut_or_altered_archive_is_refused_or_read(tmp_path: Path, build: Build) -> None:
    generator = random.Random(0)  # noqa: S311 - damage, not secrets
    original = build(tmp_path, FILES)
    content = original.read_bytes()
    path = tmp_path / "damaged"
    started = time.monotonic()
    for _ in range(150):
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


# Archives that are not what they say


def lying_zip(place: Path, method: int, told: int = 100) -> Path:
    """Make a zip with an entry of 200 MB that says it has a hundred bytes, with their checksum."""
    path = place / "lies.zip"
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("a/1.png", "w") as entry:
        for _ in range(200):
            entry.write(bytes(2**20))
    content = bytearray(path.read_bytes())
    directory = content.find(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 16, zlib.crc32(bytes(told)))
    struct.pack_into("<I", content, directory + 24, told)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_that_is_larger_than_it_says_is_refused_before_it_fills_the_memory(
    tmp_path: Path, method: int
) -> None:
    path = lying_zip(tmp_path, method)
    tracemalloc.start()
    assert "a/1.png: damaged or cut short: more than the 100 bytes that it says it has" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_stored_entry_that_is_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a/1.png": b"content"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, 3)
    path.write_bytes(content)
    assert "more than the 3 bytes that it says it has" in refusal(path)


def test_a_compressed_entry_counts_as_what_it_takes_in_the_archive(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a/1.png": bytes(2000)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, 3)
    path.write_bytes(content)
    assert "max_file_bytes = 1,000" in refusal(path, LIMITS.model_copy(update={"max_file_bytes": 1000}))


def test_the_root_of_a_zip_is_no_escape(tmp_path: Path) -> None:
    assert read_all(as_zip(tmp_path, {"./": b"", "./a/1": b"one"})) == {"a/1": b"one"}


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_that_is_cut_off_anywhere_loses_no_file_silently(tmp_path: Path, kind: int) -> None:
    content = as_tar(tmp_path, FILES, kind).read_bytes()
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    path = tmp_path / "cut.tar"
    for length in range(512, len(content), 512):
        path.write_bytes(content[:length])
        if length <= end:
            assert "cut short" in refusal(path)
        else:
            assert read_all(path) == FILES


def test_a_tar_that_goes_on_after_its_end_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path, FILES)
    content = path.read_bytes()
    path.write_bytes(content + content)
    assert "files after its end; were several archives joined?" in refusal(path)
    path.write_bytes(content[:1024] + bytes(512) + content[1536:])  # a header that was wiped out
    assert "files after its end" in refusal(path)


def extended(name: str, value: str) -> bytes:
    """Return an extended header of a tar that has one record."""
    return tarfile.TarInfo.create_pax_global_header({name: value})


@pytest.mark.parametrize(("name", "value"), [("size", "-2048"), ("size", "0"), ("comment", "1" * 60_000)])
def test_an_extended_header_that_misleads_is_refused(tmp_path: Path, name: str, value: str) -> None:
    path = as_tar(tmp_path, FILES)
    path.write_bytes(extended(name, value) + path.read_bytes())
    started = time.monotonic()
    assert "tree.tar: at byte 0: a header that misleads: it is refused" in refusal(path)
    assert time.monotonic() - started < 1


def test_a_size_in_a_name_misleads_nobody(tmp_path: Path) -> None:
    files = {"a/ 12 size=3 é.png": b"one"}  # a name that needs an extended header
    assert read_all(as_tar(tmp_path, files)) == files


def test_a_long_row_of_extended_headers_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path, FILES)
    path.write_bytes(extended("comment", "x") * 3000 + path.read_bytes())
    assert "damaged or cut short: maximum recursion depth" in refusal(path)


def test_two_names_that_are_written_alike_are_refused(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, {"a/\\xff.png": b"one"})
    Path(os.fsdecode(os.fsencode(folder / "a") + b"/\xff.png")).write_bytes(b"two")
    assert "there twice" in refusal(folder)


def test_a_disk_without_room_to_decompress_is_no_damage(tmp_path: Path) -> None:
    files = {"a/1": random.Random(0).randbytes(10**6)}  # noqa: S311 - content, not secrets
    path = compressed(gzip.compress)(tmp_path, files)
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "unlimited = resource.getrlimit(resource.RLIMIT_FSIZE); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1])); "
        "import errno, visiongate.ingestion.trees as trees; errno.ENOSPC = errno.EFBIG; "
        "from visiongate.settings.schema import Limits; from pathlib import Path\n"
        f"try: trees.open_tree(Path({str(path)!r}), Limits.model_validate({LIMITS.model_dump()!r})).__enter__()\n"
        "except trees.DataError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)"  # who measures coverage writes at the end
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert "tree.tar: the archive: no room in " in told
    assert "set TMPDIR" in told


def test_what_the_caller_does_wrong_is_not_laid_on_the_archive(tmp_path: Path) -> None:
    def use(tree: Tree) -> None:
        raise OSError(28, "No space left on device", tree.name)

    with pytest.raises(OSError, match="No space left"), open_tree(as_zip(tmp_path, FILES), LIMITS) as tree:
        use(tree)
