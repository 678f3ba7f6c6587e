"""Whether the service keeps its memory: mixed requests, good and hostile, and many exchanges of its model.

Run ``make bench BENCH=endurance ARGS='--requests 100000 --reloads 200'``. It needs the model of the pipeline (`dvc pull`).
"""

import argparse
import http.client
import io
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import onnx
from PIL import Image

MODEL = Path("models/model.onnx")
CLIENTS = 4
# Of the requests, before memory is first read.
WARM_UP = 0.1
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


def main() -> None:
    """Send the requests, and print the memory before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--reloads", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        versions = _make_versions(Path(folder))
        served = Path(folder) / "served.onnx"
        shutil.copy(versions[0], served)
        process, port = _start(served)
        try:
            _measure(process, port, options, (served, versions))
        finally:
            process.terminate()
            process.wait()


def _measure(
    process: subprocess.Popen[bytes],
    port: int,
    options: argparse.Namespace,
    files: tuple[Path, list[Path]],
) -> None:
    load = _Load(port, options.requests)
    load.start()
    load.wait(WARM_UP)
    before, seen = _memory(process), set()
    for number in range(1, options.reloads + 1):
        load.wait(WARM_UP + (1 - WARM_UP) * number / options.reloads)
        _exchange(files[0], files[1][number % len(files[1])])
        seen.add(_reload(port))
    load.join()
    after = _memory(process)
    print(f"{sum(load.statuses.values()):,} requests: {dict(sorted(load.statuses.items(), key=str))}")
    print(f"{options.reloads} reloads of {len(seen)} versions")
    print(
        f"memory: {before / 1e6:.1f} MB after the first tenth, {after / 1e6:.1f} MB at the end: {after / before - 1:+.1%}"
    )


def _make_versions(folder: Path) -> list[Path]:
    """Write the model several times with different bytes."""
    model, versions = onnx.load(MODEL), []
    for number in range(3):
        model.doc_string = f"version {number}"
        versions.append(folder / f"{number}.onnx")
        onnx.save(model, versions[-1])
    return versions


def _start(model: Path) -> tuple[subprocess.Popen[bytes], int]:
    environment = {
        **os.environ,
        "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{model.with_name('log.sqlite')}",
        "LOG_LEVEL": "ERROR",
    }
    port = 8765
    command = [sys.executable, "-m", "visiongate", "serve", str(model), "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == http.client.OK:
                return process, port
        except ConnectionError:
            pass
        time.sleep(0.1)


class _Load:
    """Threads that send the requests, each over its own connection."""

    def __init__(self, port: int, count: int) -> None:
        self.statuses: Counter[int | str] = Counter()
        self._port, self._count, self._sent = port, count, 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def wait(self, share: float) -> None:
        """Wait until a share of the requests is sent."""
        while self._sent < share * self._count:
            time.sleep(0.01)

    def _run(self, seed: int) -> None:
        generator, requests = random.Random(seed), _requests()  # noqa: S311 - not for secrets
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        while self._take():
            method, path, body, headers = generator.choice(requests)
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                response.read()
                status: int | str = response.status
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status = type(error).__name__
            with self._lock:
                self.statuses[status] += 1

    def _take(self) -> bool:
        with self._lock:
            self._sent += 1
            return self._sent <= self._count


def _requests() -> list[tuple[str, str, bytes, dict[str, str]]]:
    """Return good and hostile requests."""
    small, photo = _encode((8, 8)), _encode((640, 480))
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        + small
        + b"\r\n--x--\r\n"
    )
    parts = b'--x\r\nContent-Disposition: form-data; name="y"\r\n\r\nz\r\n' * 500
    return [
        *[("POST", "/predict", small, {})] * 6,
        ("POST", "/predict", photo, {}),
        ("POST", "/predict?explain=true", small, {}),
        ("POST", "/predict", form, MULTIPART),
        ("POST", "/predict", form[:-30], MULTIPART),
        ("POST", "/predict", parts, MULTIPART),
        ("POST", "/predict", photo[: len(photo) // 2], {}),
        ("POST", "/predict", bytes(range(256)) * 20, {}),
        ("POST", "/feedback", b'{"prediction_id": "x", "label": "1"}', {"Content-Type": "application/json"}),
        ("GET", f"/{'x' * 2000}", b"", {}),
        ("GET", "/metrics", b"", {}),
        ("GET", "/", b"", {}),
    ]


def _encode(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).save(buffer, "PNG")
    return buffer.getvalue()


def _exchange(served: Path, version: Path) -> None:
    temporary = served.with_suffix(".new")
    shutil.copy(version, temporary)
    temporary.replace(served)


def _reload(port: int) -> bytes:
    """Load the exchanged file; return the service's description of its versions."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/admin/reload", headers={"Sec-Fetch-Site": "none"})
    body = connection.getresponse().read()
    connection.close()
    found = re.search(rb'"sha256":"(\w+)"', body)
    if not found:
        raise SystemExit(body.decode())
    return found[1]


def _memory(process: subprocess.Popen[bytes]) -> int:
    """Return the resident memory, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    if not found:
        raise SystemExit(status)
    return 1024 * int(found[1])


if __name__ == "__main__":
    main()
