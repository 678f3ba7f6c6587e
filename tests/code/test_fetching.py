"""Files from servers, buckets and mirrors: whole, once, resumed, checked, and one line when that fails."""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import fsspec
import pytest
from kagglesdk import kaggle_env
from moto.server import ThreadedMotoServer

from visiongate.errors import DataError
from visiongate.ingestion import fetching
from visiongate.ingestion.fetching import Place, fetch, file_name, without_credentials
from visiongate.settings.schema import File

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = File(sha256=SHA256, size=len(CONTENT))


@dataclass
class Site:
    """A web server that can misbehave, and what was asked of it."""

    files: dict[str, bytes]
    ranges: bool = True
    lengths: bool = True  # tell them
    chunked: bool = False  # send the body in pieces that say their length, and none of the whole
    etag: str | None = '"1"'
    status: int | None = None  # in answer to everything
    failures: int = 0  # connections dropped half-way before one is served whole
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    address: str = ""

    def gets(self) -> int:
        return sum(1 for method, _, _ in self.asked if method == "GET")


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        """Answer as Kaggle does: with the address of the file."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.site.asked.append(("POST", self.path, None))
        if self.site.status:
            self.send_error(self.site.status)
            return
        self.send_response(302)
        self.send_header("Location", f"{self.site.address}/set.zip")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, with_body: bool) -> None:
        site, path = self.site, self.path.lstrip("/").partition("?")[0]
        site.asked.append((self.command, path, self.headers.get("Range")))
        if site.status or path not in site.files:
            self.send_error(site.status or 404)
            return
        content = site.files[path]
        wanted = self.headers.get("Range")
        start, stop = 0, len(content)
        if wanted and site.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or stop) + 1, stop)
        self.protocol_version = "HTTP/1.1" if site.chunked else "HTTP/1.0"
        self.send_response(206 if wanted and site.ranges else 200)
        if wanted and site.ranges:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self._describe(stop - start)
        if not with_body:
            return
        if site.chunked:
            self._answer_in_pieces(content)
            return
        if site.failures and start + 1000 < stop:
            site.failures -= 1
            self.wfile.write(content[start : start + 1000])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content[start:stop])

    def _describe(self, length: int) -> None:
        if self.site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif self.site.lengths:
            self.send_header("Content-Length", str(length))
        if self.site.etag:
            self.send_header("ETag", self.site.etag)
        if self.site.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def _answer_in_pieces(self, content: bytes) -> None:
        site, self.close_connection = self.site, True
        with contextlib.suppress(OSError):  # fsspec asks, and leaves once it knows that no length is told
            for start in range(0, len(content), 10_000):
                piece = content[start : start + 10_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if site.failures and start >= 30_000 and site.gets() > 2:
                    site.failures -= 1
                    time.sleep(0.2)  # for what was sent to be read and written
                    return
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(fetching, "CHUNK", 10_000)
    found = Site({"set.zip": CONTENT, "deep/a/1.png": b"one", "deep/b/2.png": b"two"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": found}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    fsspec.filesystem("http").clear_instance_cache()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "downloads", None, tmp_path, 10**6)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def left_behind(place: Place) -> list[str]:
    return sorted(path.name for path in place.downloads.rglob("*") if path.is_file())


# A file by http


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"1"', None])
def test_a_file_comes_whole(site: Site, place: Place, ranges: bool, etag: str | None) -> None:  # noqa: FBT001
    site.ranges, site.etag = ranges, etag
    files = fetch(f"{site.address}/set.zip", {}, place)
    assert list(files) == ["set.zip"]
    assert files["set.zip"].read_bytes() == CONTENT
    assert left_behind(place) == [".set.zip.json", "set.zip"]


def test_files_that_are_named_come_from_below_the_address(site: Site, place: Place) -> None:
    files = fetch(site.address, {"set.zip": KNOWN, "deep/a/1.png": File(sha256=None, size=3)}, place)
    assert files["set.zip"].read_bytes() == CONTENT
    assert files["deep/a/1.png"].read_bytes() == b"one"


def test_a_file_that_is_here_is_not_fetched_again(site: Site, place: Place) -> None:
    url = f"{site.address}/set.zip"
    fetch(url, {}, place)
    before = site.gets()
    fetch(url, {}, place)
    assert site.gets() == before
    site.files["set.zip"], site.etag = CONTENT[::-1], '"2"'
    assert fetch(url, {}, place)["set.zip"].read_bytes() == CONTENT[::-1]


def test_a_file_whose_checksum_is_right_needs_no_server(site: Site, place: Place) -> None:
    fetch(site.address, {"set.zip": KNOWN}, place)
    asked = len(site.asked)
    fetch(site.address, {"set.zip": KNOWN}, place)
    assert len(site.asked) == asked


def test_a_dropped_connection_is_taken_up_where_it_broke(
    site: Site, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    site.failures = 2
    assert fetch(site.address, {"set.zip": KNOWN}, place)["set.zip"].read_bytes() == CONTENT
    assert "trying again" in capsys.readouterr().err
    starts = [wanted for method, _, wanted in site.asked if method == "GET" and wanted]
    assert len(starts) <= len(CONTENT) // 10_000 + 4


def test_a_file_of_unknown_length_starts_anew_after_a_dropped_connection(site: Site, place: Place) -> None:
    site.chunked, site.failures = True, 1
    assert fetch(f"{site.address}/set.zip", {}, place)["set.zip"].read_bytes() == CONTENT
    assert site.failures == 0
    assert left_behind(place) == [".set.zip.json", "set.zip"]


def test_a_part_of_the_same_file_is_resumed(site: Site, place: Place) -> None:
    _interrupt(site, place)
    before = site.gets()
    assert fetch(f"{site.address}/set.zip", {}, place)["set.zip"].read_bytes() == CONTENT
    assert site.gets() - before <= len(CONTENT) // 10_000 - 3


def test_a_part_of_another_file_is_thrown_away(site: Site, place: Place) -> None:
    _interrupt(site, place)
    site.files["set.zip"], site.etag = bytes(len(CONTENT)), '"2"'
    assert fetch(f"{site.address}/set.zip", {}, place)["set.zip"].read_bytes() == bytes(len(CONTENT))


def _interrupt(site: Site, place: Place) -> None:
    """Leave a part of several chunks, as a killed process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "_read_chunks", _some_chunks(fetching._read_chunks))  # noqa: SLF001
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{site.address}/set.zip", {}, place)
    assert left_behind(place) == [".set.zip.part", ".set.zip.part.json"]


def _some_chunks(read: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    def some(*arguments: object) -> Iterator[bytes]:
        for count, chunk in enumerate(read(*arguments)):
            yield chunk
            if count == 4:
                raise KeyboardInterrupt

    return some


# What goes wrong


def test_a_wrong_checksum_is_told_and_the_file_removed(site: Site, place: Place) -> None:
    site.files["set.zip"] = bytes(len(CONTENT))
    told = refusal(lambda: fetch(site.address, {"set.zip": KNOWN}, place))
    assert told.startswith(
        f"set.zip: its sha256 is {hashlib.sha256(bytes(len(CONTENT))).hexdigest()}, expected {SHA256}"
    )
    assert not [name for name in left_behind(place) if not name.endswith(".json")]


def test_a_wrong_size_is_told(site: Site, place: Place) -> None:
    site.files["set.zip"] = CONTENT[:-1]
    told = refusal(lambda: fetch(site.address, {"set.zip": KNOWN}, place))
    assert told.startswith("set.zip: 102,399 bytes, expected 102,400")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, "there is no such file; is the address right?"),
        (401, "access refused: are there credentials for it"),
        (403, "access refused: are there credentials for it"),
        (410, "the server answers 410"),
    ],
)
def test_a_final_answer_is_told_at_once(site: Site, place: Place, status: int, told: str) -> None:
    site.status = status
    assert told in refusal(lambda: fetch(f"{site.address}/set.zip", {}, place))
    assert len(site.asked) <= 2
    assert left_behind(place) == []


def test_a_server_that_is_down_is_asked_a_few_times(site: Site, place: Place) -> None:
    site.status = 503
    told = refusal(lambda: fetch(f"{site.address}/set.zip", {}, place))
    assert told.endswith("try again; or give a copy: -S dataset.path=/path/to/it, or VISIONGATE_MIRROR")
    assert 3 <= len(site.asked) <= 6


@pytest.mark.usefixtures("site")
def test_no_server_at_all_is_told(place: Place) -> None:
    told = refusal(lambda: fetch("http://127.0.0.1:9/set.zip", {}, place))
    assert told.startswith("http://127.0.0.1:9/set.zip: ")
    assert "VISIONGATE_MIRROR" in told


def test_secrets_in_an_address_are_told_to_nobody(site: Site, place: Place) -> None:
    site.status = 404
    told = refusal(
        lambda: fetch(f"{site.address.replace('//', '//user:secret@')}/set.zip?signature=secret", {}, place)
    )
    assert "secret" not in told
    site.status = None
    fetch(f"{site.address}/set.zip?signature=secret", {}, place)
    assert "secret" not in (place.downloads / ".set.zip.json").read_text()
    assert without_credentials("s3://key:secret@bucket/a") == "s3://bucket/a"


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    site: Site, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: _Usage(1000))
    told = refusal(lambda: fetch(f"{site.address}/set.zip", {}, place))
    assert "1,000 bytes are free, 102,400 are needed: free some space and run again" in told
    assert site.gets() == 0


@dataclass
class _Usage:
    free: int


def test_a_disk_that_fills_up_leaves_nothing_half_written(site: Site, place: Place) -> None:
    # RLIMIT_FSIZE stands in for the disk: writing past it fails, with EFBIG, which the child turns into the disk's ENOSPC.
    program = f"""
import errno, resource, signal, sys
from pathlib import Path
from visiongate.ingestion import fetching
from visiongate.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, unlimited[1]))
errno.ENOSPC = errno.EFBIG
try:
    fetching.fetch("{site.address}/set.zip", {{}}, fetching.Place(Path({str(place.downloads)!r}), None, Path("."), 10**6))
except DataError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)  # who measures coverage writes at the end
    sys.exit(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=_child()
    )
    assert "the disk is full: free some space and run again" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert left_behind(place) == []


def _child() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def test_what_has_no_end_is_cut_off(site: Site, place: Place) -> None:
    site.files["set.zip"], site.ranges = bytes(2 * 10**6), False
    told = refusal(lambda: fetch(f"{site.address}/set.zip", {}, place))
    assert "2,000,000 bytes or more, over dataset.limits.max_total_bytes = 1,000,000" in told
    site.lengths = False
    told = refusal(lambda: fetch(f"{site.address}/set.zip", {}, place))
    assert "bytes or more, over dataset.limits.max_total_bytes = 1,000,000" in told
    assert left_behind(place) == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://[::1/set.zip", "dataset.url = 'http://[::1/set.zip': Invalid IPv6 URL"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1: names no file; for a folder, end it with a slash"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(place: Place, url: str, told: str) -> None:
    assert refusal(lambda: fetch(url, {}, place)) == told


def test_a_place_that_cannot_be_written_is_told(site: Site, place: Place) -> None:
    place.downloads.write_bytes(b"a file where a folder should be")
    told = refusal(lambda: fetch(f"{site.address}/set.zip", {}, place))
    assert told == f"{place.downloads}: cannot be read or written: File exists"


class Listing(SimpleHTTPRequestHandler):
    """Lists folders as Apache does, with links that sort and lead up."""

    def list_directory(self, path: str | os.PathLike[str]) -> io.BytesIO | None:
        listed = super().list_directory(path)
        if listed is None:
            return None
        links = b'<ul><a href="?C=N;O=D">Name</a><a href="/">Parent Directory</a><a href="../">up</a>'
        return io.BytesIO(listed.read().replace(b"<ul>", links))

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":  # http.server's is of its own page
            super().send_header(keyword, value)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
        pass


def test_a_folder_comes_from_a_page_that_lists_it(place: Place, tmp_path: Path) -> None:
    contents = {"a cat/1 é#?.png": b"one", "dog/100%.png": b"two", "dog/deep/3.png": b"three"}
    for name, content in contents.items():
        (tmp_path / "site/set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site/set" / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Listing, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    files = fetch(f"http://127.0.0.1:{server.server_address[1]}/set/", {}, place)
    server.shutdown()
    server.server_close()
    assert {name: path.read_bytes() for name, path in files.items()} == contents


def test_a_quoted_path_that_leads_elsewhere_is_refused(site: Site, place: Place) -> None:
    site.files["set/"] = b'<a href="%2e%2e%2fescaped.png">x</a>'
    told = refusal(lambda: fetch(f"{site.address}/set/", {}, place))
    assert "'../escaped.png': a path that could lead elsewhere: it is refused" in told


def test_a_library_that_is_missing_is_named(place: Place) -> None:
    told = refusal(lambda: fetch("gs://bucket/set.zip", {}, place))
    assert told.startswith("gs://bucket/set.zip: ")
    assert "gcsfs" in told


def test_an_unknown_protocol_is_named(place: Place) -> None:
    assert "nonsense" in refusal(lambda: fetch("nonsense://bucket/set.zip", {}, place))


# Buckets


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for name in ("images/a/1.png", "images/b/2.png", "images2/c/3.png", "set.zip"):
            client.put_object(Bucket="bucket", Key=name, Body=CONTENT if name == "set.zip" else name.encode())
        yield "s3://bucket"
    server.stop()


def test_a_file_comes_from_a_bucket(bucket: str, place: Place) -> None:
    assert fetch(f"{bucket}/set.zip", {}, place)["set.zip"].read_bytes() == CONTENT
    assert fetch(bucket, {"set.zip": KNOWN}, place)["set.zip"].read_bytes() == CONTENT


@pytest.mark.parametrize("prefix", ["images", "images/"])
def test_all_below_a_prefix_comes_from_a_bucket(bucket: str, place: Place, prefix: str) -> None:
    (place.downloads / "c").mkdir(parents=True)
    (place.downloads / "c/gone.png").write_bytes(b"from an earlier run")
    files = fetch(f"{bucket}/{prefix}", {}, place)
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "a/1.png": b"images/a/1.png",
        "b/2.png": b"images/b/2.png",
    }
    assert not (place.downloads / "c/gone.png").exists()


def test_what_is_not_in_a_bucket_is_told(bucket: str, place: Place) -> None:
    assert "no such file" in refusal(lambda: fetch(f"{bucket}/none.zip", {}, place))
    assert "nothing there; is the address right?" in refusal(lambda: fetch(f"{bucket}/none/", {}, place))


def test_objects_that_stand_for_folders_are_no_files(bucket: str, place: Place) -> None:
    client = boto3.client("s3")
    for name in ("marked/", "marked/a/", "marked/a/1 #+%20?é[*].png"):
        client.put_object(Bucket="bucket", Key=name, Body=b"one" if name.endswith("png") else b"")
    files = fetch(f"{bucket}/marked/", {}, place)
    assert {name: path.read_bytes() for name, path in files.items()} == {"a/1 #+%20?é[*].png": b"one"}


def test_an_object_where_a_folder_must_be_is_told(bucket: str, place: Place) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket="bucket", Key="clash/a", Body=b"one")
    client.put_object(Bucket="bucket", Key="clash/a/x.png", Body=b"two")
    assert "cannot be read or written" in refusal(lambda: fetch(f"{bucket}/clash/", {}, place))


# Mirrors


def test_a_mirror_folder_takes_the_place_of_the_server(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mirror/deep").mkdir(parents=True)
    (tmp_path / "mirror/deep/set.zip").write_bytes(CONTENT)
    mirrored = Place(place.downloads, str(tmp_path / "mirror"), place.root, 10**6)
    url = "https://example.invalid/"
    assert fetch(url, {"set.zip": KNOWN}, mirrored) == {"set.zip": tmp_path / "mirror/deep/set.zip"}
    assert fetch(f"{url}set.zip", {}, mirrored) == {"set.zip": tmp_path / "mirror/deep/set.zip"}
    assert not place.downloads.exists()
    (tmp_path / "mirror/deep/set.zip").write_bytes(CONTENT[::-1])
    assert "its sha256 is" in refusal(lambda: fetch(url, {"set.zip": KNOWN}, mirrored))
    told = refusal(lambda: fetch(f"{url}other.zip", {}, mirrored))
    assert told == f"other.zip: not in VISIONGATE_MIRROR={tmp_path}/mirror, nor in a folder below"


def test_a_name_is_no_pattern_in_a_mirror(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/a[1].zip").write_bytes(CONTENT)
    mirrored = replace(place, mirror=str(tmp_path / "mirror"))
    assert fetch("http://nowhere/a[1].zip", {}, mirrored)["a[1].zip"].read_bytes() == CONTENT
    assert "*: not in VISIONGATE_MIRROR" in refusal(lambda: fetch("http://nowhere/*", {}, mirrored))
    assert "names no file" in refusal(lambda: fetch("http://nowhere/", {}, mirrored))


def test_a_mirror_on_a_server_is_asked_by_name(site: Site, place: Place) -> None:
    mirrored = Place(place.downloads, site.address, place.root, 10**6)
    assert fetch("kaggle://owner/set", {}, mirrored)["set.zip"].read_bytes() == CONTENT


def test_a_mirror_in_a_bucket_is_searched(bucket: str, place: Place) -> None:
    mirrored = Place(place.downloads, bucket, place.root, 10**6)
    assert fetch("https://example.invalid/1.png", {}, mirrored)["1.png"].read_bytes() == b"images/a/1.png"


# Kaggle


def test_kaggle_without_an_account_is_told(place: Place) -> None:
    program = """
import sys
from pathlib import Path
from visiongate.ingestion import fetching
from visiongate.errors import DataError
try:
    fetching.fetch("kaggle://owner/set", {}, fetching.Place(Path("downloads"), None, Path("."), 10**6))
except DataError as error:
    sys.exit(str(error))
"""
    place.root.mkdir(exist_ok=True)
    known = {key: value for key, value in _child().items() if not key.startswith("KAGGLE")}
    environment = known | {"HOME": str(place.root), "KAGGLE_CONFIG_DIR": str(place.root)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=place.root,
        env=environment,
    )
    assert done.stdout == ""
    assert done.stderr == (
        "kaggle://owner/set: Kaggle asks for an account: set KAGGLE_USERNAME and KAGGLE_KEY, in the environment or in .env "
        "(https://www.kaggle.com/settings gives them)\n"
    )


@pytest.fixture
def kaggle(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Kaggle's own client, with an account, at another address."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_USERNAME", "user")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, site.address)  # noqa: SLF001 - its only way
    return site


def test_kaggle_gives_a_set_once(kaggle: Site, place: Place) -> None:
    for _ in range(2):
        files = fetch("kaggle://owner/set", {}, place)
        assert {name: path.read_bytes() for name, path in files.items()} == {"set.zip": CONTENT}
    assert [method for method, _, _ in kaggle.asked].count("POST") == 1
    assert left_behind(place) == [".set.zip.json", "set.zip"]


def test_kaggle_is_taken_up_where_it_broke(kaggle: Site, place: Place) -> None:
    kaggle.failures = 1
    assert fetch("kaggle://owner/set", {}, place)["set.zip"].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "Kaggle refuses these credentials (status 401): set KAGGLE_USERNAME"),
        (403, "Kaggle refuses these credentials (status 403): set KAGGLE_USERNAME"),
        (404, "Kaggle has no such data set"),
        (500, "try again; or give a copy"),
    ],
)
def test_what_kaggle_refuses_is_told(kaggle: Site, place: Place, status: int, told: str) -> None:
    kaggle.status = status
    assert told in refusal(lambda: fetch("kaggle://owner/set", {}, place))
    assert left_behind(place) == []


@pytest.mark.parametrize("slug", ["owner", "owner/", "owner/set/versions/1", "owner/..", "owner/a b"])
def test_an_address_that_is_none_of_kaggles_is_told(place: Place, slug: str) -> None:
    assert "not kaggle://OWNER/DATASET" in refusal(lambda: fetch(f"kaggle://{slug}", {}, place))


def test_names_follow_from_addresses() -> None:
    assert file_name("https://example.org/a/b%20c.zip?x=1") == "b c.zip"
    assert file_name("kaggle://owner/dataset") == "dataset.zip"
    assert file_name("s3://bucket/prefix/") == "prefix"


def test_errors_of_the_disk_are_known_by_number() -> None:
    assert "the disk is full" in str(fetching._explain("x", OSError(errno.ENOSPC, "")))  # noqa: SLF001


def test_gzip_is_not_undone_on_the_way(site: Site, place: Place) -> None:
    site.files["x.gz"] = gzip.compress(CONTENT)
    assert fetch(f"{site.address}/x.gz", {}, place)["x.gz"].read_bytes() == site.files["x.gz"]
