"""How long ``dvc push`` and ``dvc pull`` take on S3's protocol: the image table's shards against a file an image.

The server is moto's, on loopback. Both repositories hold the same images; `benchmarks/data.py` calls this.
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from s3_server import CREDENTIALS, s3_client, serve_s3
from visiongate.images.table import write_shards

IMAGE_BYTES = 2000
FOLDERS = 100


def measure_transfer(images: int) -> dict[str, dict[str, float]]:
    """Push and pull the same images in both forms.

    Args:
        images: How many, of `IMAGE_BYTES` random bytes each.

    Returns:
        Seconds of ``push`` and ``pull``, and the number of ``files``, for ``shards`` and ``files``.
    """
    with tempfile.TemporaryDirectory() as folder, serve_s3() as endpoint:
        return {
            "shards": _measure(Path(folder, "shards"), endpoint, write_as_shards, images),
            "files": _measure(Path(folder, "files"), endpoint, write_as_files, images),
        }


def write_as_shards(directory: Path, images: int) -> None:
    """Write the images as an image table."""
    rows = (
        {
            "image": image,
            "label": path.split("/")[0],
            "path": path,
            "split": None,
            "group": None,
            "sha256": hashlib.sha256(image).hexdigest(),
        }
        for path, image in _images(images)
    )
    write_shards(directory, rows)


def write_as_files(directory: Path, images: int) -> None:
    """Write the images as files in folders."""
    for path, image in _images(images):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(image)


def _images(count: int) -> Iterator[tuple[str, bytes]]:
    generator = random.Random(0)  # noqa: S311 - bytes to move, not to hide
    for index in range(count):
        yield f"{index * FOLDERS // count:03d}/{index:06d}.jpg", generator.randbytes(IMAGE_BYTES)


def _measure(
    folder: Path, endpoint: str, write: Callable[[Path, int], None], images: int
) -> dict[str, float]:
    folder.mkdir()
    bucket = f"bucket-{folder.name}"
    s3_client(endpoint).create_bucket(Bucket=bucket)
    dvc = [sys.executable, "-m", "dvc"]
    environment = {**os.environ, **CREDENTIALS, "DVC_NO_ANALYTICS": "1"}

    def run(*arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run([*dvc, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start

    run("init", "--no-scm")
    run("remote", "add", "--default", "s3", f"s3://{bucket}/store")
    run("remote", "modify", "s3", "endpointurl", endpoint)
    write(folder / "data", images)
    run("add", "data")
    push = run("push")
    files = sum(path.is_file() for path in (folder / "data").rglob("*"))
    shutil.rmtree(folder / ".dvc/cache")
    shutil.rmtree(folder / "data")
    pull = run("pull")
    found = sum(path.is_file() for path in (folder / "data").rglob("*"))
    if found != files:
        raise RuntimeError(f"{files} files were pushed, {found} came back")
    return {"files": files, "push": push, "pull": pull}
