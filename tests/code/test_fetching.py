"""Fetching: files come complete, once, resumed and checked; each failure is one line."""

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
from visiongate.ingestion import download
from visiongate.ingestion.download import without_credentials
from visiongate.ingestion.fetching import DownloadOptions, fetch, file_name
from visiongate.settings.dataset import PublishedFile

CONTENT = bytes(range(256)) * 400
SOURCE = Path(__file__).parents[2] / "src"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = PublishedFile(sha256=SHA256, size=len(CONTENT))


@dataclass
class Site:
    """A web server that can misbehave, and the requests that it received."""

    files: dict[str, bytes]
    ranges: bool = True
    # Whether to state the length.
    lengths: bool = True
    # Whether to use chunked encoding, without a total length.
    chunked: bool = False
    etag: str | None = '"1"'
    # The status of every response.
    status: int | None = None
    # Connections to drop before one is served completely.
    failures: int = 0
    # Method, path and range.
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""

    def gets(self) -> int:
        return sum(1 for method, _, _ in self.requests if method == "GET")


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        """Respond as Kaggle does: with the URL of the file."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.site.requests.append(("POST", self.path, None))
        if self.site.status:
            self.send_error(self.site.status)
            return
        self.send_response(302)
        self.send_header("Location", f"{self.site.address}/set.zip")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, with_body: bool) -> None:
        site, path = self.site, self.path.lstrip("/").partition("?")[0]
        site.requests.append((self.command, path, self.headers.get("Range")))
        if site.status or path not in site.files:
            self.send_error(site.status or 404)
            return
        content = site.files[path]
        requested = self.headers.get("Range")
        start, stop = 0, len(content)
        if requested and site.ranges:
            first, _, last = requested.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or stop) + 1, stop)
        self.protocol_version = "HTTP/1.1" if site.chunked else "HTTP/1.0"
        self.send_response(206 if requested and site.ranges else 200)
        if requested and site.ranges:
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
        # fsspec closes its first request when it finds no length.
        with contextlib.suppress(OSError):
            for start in range(0, len(content), 10_000):
                piece = content[start : start + 10_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if site.failures and start >= 30_000 and site.gets() > 2:
                    site.failures -= 1
                    # The client needs time to read and write the pieces.
                    time.sleep(0.2)
                    return
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "RETRY_DELAYS", (0.01, 0.01))
    monkeypatch.setattr(download, "CHUNK", 10_000)
    found = Site({"set.zip": CONTENT, "deep/a/1.png": b"one", "deep/b/2.png": b"two"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": found}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    fsspec.filesystem("http").clear_instance_cache()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def downloads(tmp_path: Path) -> DownloadOptions:
    return DownloadOptions(tmp_path / "downloads", None, 10**6)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def left_behind(downloads: DownloadOptions) -> list[str]:
    return sorted(path.name for path in downloads.folder.rglob("*") if path.is_file())


# A file by http


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("etag", ['"1"', None])
def test_a_file_is_downloaded(
    site: Site,
    downloads: DownloadOptions,
    ranges: bool,  # noqa: FBT001 - a parameter of the test
    etag: str | None,
) -> None:
    site.ranges, site.etag = ranges, etag
    files = fetch(f"{site.address}/set.zip", {}, downloads)
    assert list(files) == ["set.zip"]
    assert files["set.zip"].read_bytes() == CONTENT
    assert left_behind(downloads) == [".set.zip.json", "set.zip"]


def test_named_files_are_downloaded_from_below_the_url(site: Site, downloads: DownloadOptions) -> None:
    files = fetch(
        site.address, {"set.zip": KNOWN, "deep/a/1.png": PublishedFile(sha256=None, size=3)}, downloads
    )
    assert files["set.zip"].read_bytes() == CONTENT
    assert files["deep/a/1.png"].read_bytes() == b"one"


def test_an_unchanged_file_is_not_downloaded_again(site: Site, downloads: DownloadOptions) -> None:
    url = f"{site.address}/set.zip"
    fetch(url, {}, downloads)
    before = site.gets()
    fetch(url, {}, downloads)
    assert site.gets() == before
    site.files["set.zip"], site.etag = CONTENT[::-1], '"2"'
    assert fetch(url, {}, downloads)["set.zip"].read_bytes() == CONTENT[::-1]


def test_a_file_with_the_expected_checksum_needs_no_request(site: Site, downloads: DownloadOptions) -> None:
    fetch(site.address, {"set.zip": KNOWN}, downloads)
    requests = len(site.requests)
    fetch(site.address, {"set.zip": KNOWN}, downloads)
    assert len(site.requests) == requests


def test_a_damaged_local_file_is_downloaded_again(site: Site, downloads: DownloadOptions) -> None:
    target = fetch(site.address, {"set.zip": KNOWN}, downloads)["set.zip"]
    target.write_bytes(bytes(len(CONTENT)))
    assert fetch(site.address, {"set.zip": KNOWN}, downloads)["set.zip"].read_bytes() == CONTENT


def test_a_dropped_connection_is_resumed(site: Site, downloads: DownloadOptions) -> None:
    site.failures = 2
    assert fetch(site.address, {"set.zip": KNOWN}, downloads)["set.zip"].read_bytes() == CONTENT
    starts = [requested for method, _, requested in site.requests if method == "GET" and requested]
    assert len(starts) <= len(CONTENT) // 10_000 + 4


def test_a_file_of_unknown_length_restarts_after_a_dropped_connection(
    site: Site, downloads: DownloadOptions
) -> None:
    site.chunked, site.failures = True, 1
    assert fetch(f"{site.address}/set.zip", {}, downloads)["set.zip"].read_bytes() == CONTENT
    assert site.failures == 0
    assert left_behind(downloads) == [".set.zip.json", "set.zip"]


def test_an_interrupted_download_is_resumed(site: Site, downloads: DownloadOptions) -> None:
    _interrupt(site, downloads)
    before = site.gets()
    assert fetch(f"{site.address}/set.zip", {}, downloads)["set.zip"].read_bytes() == CONTENT
    assert site.gets() - before <= len(CONTENT) // 10_000 - 3


def test_a_partial_file_of_another_version_is_discarded(site: Site, downloads: DownloadOptions) -> None:
    _interrupt(site, downloads)
    site.files["set.zip"], site.etag = bytes(len(CONTENT)), '"2"'
    assert fetch(f"{site.address}/set.zip", {}, downloads)["set.zip"].read_bytes() == bytes(len(CONTENT))


def _interrupt(site: Site, downloads: DownloadOptions) -> None:
    """Leave a partial file of several chunks, as a killed process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_read_chunks", _some_chunks(download._read_chunks))  # noqa: SLF001
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{site.address}/set.zip", {}, downloads)
    assert left_behind(downloads) == [".set.zip.json", ".set.zip.part"]


def _some_chunks(read: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    def some(*arguments: object) -> Iterator[bytes]:
        for count, chunk in enumerate(read(*arguments)):
            yield chunk
            if count == 4:
                raise KeyboardInterrupt

    return some


# Errors


@pytest.mark.parametrize("content", [bytes(len(CONTENT)), CONTENT[:-1]], ids=["checksum", "size"])
def test_a_file_that_differs_from_the_expected_one_is_removed(
    site: Site, downloads: DownloadOptions, content: bytes
) -> None:
    site.files["set.zip"] = content
    assert refusal(lambda: fetch(site.address, {"set.zip": KNOWN}, downloads)).startswith("set.zip: ")
    assert left_behind(downloads) == [".set.zip.json"]


@pytest.mark.parametrize(
    ("status", "message"), [(404, "no such file"), (401, "credentials"), (403, "credentials"), (410, "410")]
)
def test_a_permanent_error_is_not_retried(
    site: Site, downloads: DownloadOptions, status: int, message: str
) -> None:
    site.status = status
    assert message in refusal(lambda: fetch(f"{site.address}/set.zip", {}, downloads))
    assert len(site.requests) <= 2
    assert left_behind(downloads) == []


def test_a_server_error_is_retried(site: Site, downloads: DownloadOptions) -> None:
    site.status = 503
    assert "VISIONGATE_MIRROR" in refusal(lambda: fetch(f"{site.address}/set.zip", {}, downloads))
    assert 3 <= len(site.requests) <= 6


@pytest.mark.usefixtures("site")
def test_an_unreachable_server_is_an_error(downloads: DownloadOptions) -> None:
    message = refusal(lambda: fetch("http://127.0.0.1:9/set.zip", {}, downloads))
    assert message.startswith("http://127.0.0.1:9/set.zip: ")


def test_secrets_in_a_url_are_neither_shown_nor_stored(site: Site, downloads: DownloadOptions) -> None:
    site.status = 404
    message = refusal(
        lambda: fetch(
            f"{site.address.replace('//', '//user:secret@')}/set.zip?signature=secret", {}, downloads
        )
    )
    assert "secret" not in message
    site.status = None
    fetch(f"{site.address}/set.zip?signature=secret", {}, downloads)
    assert "secret" not in (downloads.folder / ".set.zip.json").read_text()
    assert without_credentials("s3://key:secret@bucket/a") == "s3://bucket/a"


def test_a_full_disk_keeps_the_partial_file(
    site: Site, downloads: DownloadOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_nothing(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_download", write_nothing)
    with pytest.raises(OSError, match="No space left"):
        fetch(f"{site.address}/set.zip", {}, downloads)
    assert site.gets() == 0


def test_a_file_over_the_size_limit_is_refused(site: Site, downloads: DownloadOptions) -> None:
    site.files["set.zip"], site.ranges = bytes(2 * 10**6), False
    message = refusal(lambda: fetch(f"{site.address}/set.zip", {}, downloads))
    assert "max_total_bytes" in message
    site.lengths = False
    message = refusal(lambda: fetch(f"{site.address}/set.zip", {}, downloads))
    assert "max_total_bytes" in message
    assert left_behind(downloads) == [".set.zip.json"]


def test_a_url_without_a_file_name_is_refused(downloads: DownloadOptions) -> None:
    assert "slash" in refusal(lambda: fetch("http://127.0.0.1:1", {}, downloads))


class Listing(SimpleHTTPRequestHandler):
    """A server that lists folders as Apache does, with links for sorting and to the parent."""

    def list_directory(self, path: str | os.PathLike[str]) -> io.BytesIO | None:
        listed = super().list_directory(path)
        if listed is None:
            return None
        links = b'<ul><a href="?C=N;O=D">Name</a><a href="/">Parent Directory</a><a href="../">up</a>'
        return io.BytesIO(listed.read().replace(b"<ul>", links))

    def send_header(self, keyword: str, value: str) -> None:
        # The length that http.server states is that of its own page.
        if keyword != "Content-Length":
            super().send_header(keyword, value)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
        pass


def test_a_folder_is_downloaded_from_a_listing(downloads: DownloadOptions, tmp_path: Path) -> None:
    contents = {"a cat/1 é#?.png": b"one", "dog/100%.png": b"two", "dog/deep/3.png": b"three"}
    for name, content in contents.items():
        (tmp_path / "site/set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site/set" / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Listing, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    files = fetch(f"http://127.0.0.1:{server.server_address[1]}/set/", {}, downloads)
    server.shutdown()
    server.server_close()
    assert {name: path.read_bytes() for name, path in files.items()} == contents


def test_a_listed_path_that_leads_out_of_the_folder_is_refused(
    site: Site, downloads: DownloadOptions
) -> None:
    site.files["set/"] = b'<a href="%2e%2e%2fescaped.png">x</a>'
    message = refusal(lambda: fetch(f"{site.address}/set/", {}, downloads))
    assert "'../escaped.png'" in message


def test_a_missing_package_is_named(downloads: DownloadOptions) -> None:
    message = refusal(lambda: fetch("gs://bucket/set.zip", {}, downloads))
    assert "gcsfs" in message


def test_an_unknown_protocol_is_named(downloads: DownloadOptions) -> None:
    assert "nonsense" in refusal(lambda: fetch("nonsense://bucket/set.zip", {}, downloads))


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


def test_a_file_is_downloaded_from_a_bucket(bucket: str, downloads: DownloadOptions) -> None:
    assert fetch(f"{bucket}/set.zip", {}, downloads)["set.zip"].read_bytes() == CONTENT
    assert fetch(bucket, {"set.zip": KNOWN}, downloads)["set.zip"].read_bytes() == CONTENT


@pytest.mark.parametrize("prefix", ["images", "images/"])
def test_a_prefix_is_downloaded_from_a_bucket(bucket: str, downloads: DownloadOptions, prefix: str) -> None:
    (downloads.folder / "c").mkdir(parents=True)
    (downloads.folder / "c/gone.png").write_bytes(b"from an earlier run")
    files = fetch(f"{bucket}/{prefix}", {}, downloads)
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "a/1.png": b"images/a/1.png",
        "b/2.png": b"images/b/2.png",
    }
    assert not (downloads.folder / "c/gone.png").exists()


def test_a_missing_object_is_an_error(bucket: str, downloads: DownloadOptions) -> None:
    assert "no such file" in refusal(lambda: fetch(f"{bucket}/none.zip", {}, downloads))
    assert "no files" in refusal(lambda: fetch(f"{bucket}/none/", {}, downloads))


def test_folder_markers_in_a_bucket_are_skipped(bucket: str, downloads: DownloadOptions) -> None:
    client = boto3.client("s3")
    for name in ("marked/", "marked/a/", "marked/a/1 #+%20?é[*].png"):
        client.put_object(Bucket="bucket", Key=name, Body=b"one" if name.endswith("png") else b"")
    files = fetch(f"{bucket}/marked/", {}, downloads)
    assert {name: path.read_bytes() for name, path in files.items()} == {"a/1 #+%20?é[*].png": b"one"}


# Mirrors


def test_a_mirror_directory_replaces_the_server(downloads: DownloadOptions, tmp_path: Path) -> None:
    (tmp_path / "mirror/deep").mkdir(parents=True)
    (tmp_path / "mirror/deep/set.zip").write_bytes(CONTENT)
    mirrored = replace(downloads, mirror=str(tmp_path / "mirror"))
    url = "https://example.invalid/"
    assert fetch(url, {"set.zip": KNOWN}, mirrored) == {"set.zip": tmp_path / "mirror/deep/set.zip"}
    assert fetch(f"{url}set.zip", {}, mirrored) == {"set.zip": tmp_path / "mirror/deep/set.zip"}
    assert not downloads.folder.exists()
    (tmp_path / "mirror/deep/set.zip").write_bytes(CONTENT[::-1])
    assert "sha256" in refusal(lambda: fetch(url, {"set.zip": KNOWN}, mirrored))
    assert refusal(lambda: fetch(f"{url}other.zip", {}, mirrored)).startswith("other.zip: ")


def test_a_file_name_is_not_a_pattern_in_a_mirror(downloads: DownloadOptions, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/a[1].zip").write_bytes(CONTENT)
    mirrored = replace(downloads, mirror=str(tmp_path / "mirror"))
    assert fetch("http://nowhere/a[1].zip", {}, mirrored)["a[1].zip"].read_bytes() == CONTENT
    assert "VISIONGATE_MIRROR" in refusal(lambda: fetch("http://nowhere/*", {}, mirrored))
    assert "names no file" in refusal(lambda: fetch("http://nowhere/", {}, mirrored))


def test_a_mirror_url_replaces_the_server(site: Site, downloads: DownloadOptions) -> None:
    mirrored = replace(downloads, mirror=site.address)
    assert fetch("kaggle://owner/set", {}, mirrored)["set.zip"].read_bytes() == CONTENT


# Kaggle


def test_kaggle_without_an_account_is_an_error(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from visiongate.ingestion.kaggle_download import download_from_kaggle
from visiongate.errors import DataError
try:
    download_from_kaggle("kaggle://owner/set", Path("set.zip"))
except DataError as error:
    sys.exit(str(error))
"""
    known = {key: value for key, value in os.environ.items() if not key.startswith("KAGGLE")}
    places = {"HOME": str(tmp_path), "KAGGLE_CONFIG_DIR": str(tmp_path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=known | places,
    )
    assert done.stdout == ""
    assert "KAGGLE_USERNAME" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def kaggle(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A local server in place of Kaggle, and credentials."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_USERNAME", "user")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, site.address)  # noqa: SLF001 - there is no public way
    return site


def test_kaggle_is_downloaded_once(kaggle: Site, downloads: DownloadOptions) -> None:
    for _ in range(2):
        files = fetch("kaggle://owner/set", {}, downloads)
        assert {name: path.read_bytes() for name, path in files.items()} == {"set.zip": CONTENT}
    assert [method for method, _, _ in kaggle.requests].count("POST") == 1
    assert left_behind(downloads) == [".set.zip.complete", "set.zip"]


def test_a_dropped_connection_to_kaggle_is_resumed(kaggle: Site, downloads: DownloadOptions) -> None:
    kaggle.failures = 1
    assert fetch("kaggle://owner/set", {}, downloads)["set.zip"].read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_an_error_of_kaggle_is_one_line(kaggle: Site, downloads: DownloadOptions, status: int) -> None:
    kaggle.status = status
    assert refusal(lambda: fetch("kaggle://owner/set", {}, downloads)).startswith(
        f"kaggle://owner/set: {status}"
    )
    assert left_behind(downloads) == []


@pytest.mark.parametrize("slug", ["owner", "owner/", "owner/set/versions/1", "owner/..", "owner/a b"])
def test_an_invalid_kaggle_url_is_refused(downloads: DownloadOptions, slug: str) -> None:
    assert "kaggle://OWNER/DATASET" in refusal(lambda: fetch(f"kaggle://{slug}", {}, downloads))


def test_file_names_of_urls() -> None:
    assert file_name("https://example.org/a/b%20c.zip?x=1") == "b c.zip"
    assert file_name("kaggle://owner/dataset") == "dataset.zip"
    assert file_name("s3://bucket/prefix/") == "prefix"


def test_gzip_files_stay_compressed(site: Site, downloads: DownloadOptions) -> None:
    site.files["x.gz"] = gzip.compress(CONTENT)
    assert fetch(f"{site.address}/x.gz", {}, downloads)["x.gz"].read_bytes() == site.files["x.gz"]
