"""Rendering: each image is in its row, and errors leave no files behind."""

import errno
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visiongate.engine.pieces import LocalEngine
from visiongate.errors import DataError
from visiongate.images.decoding import DEFAULT_OPTIONS, DecodeOptions
from visiongate.images.pixels import Histogram, channel_statistics, level_statistics, load_split
from visiongate.images.preprocessing import to_pixels
from visiongate.images.table import write_shards
from visiongate.records.manifest import STORED_COLUMNS, read_manifest
from visiongate.settings.transformation import Split, Transformation
from visiongate.transformation.rendering import Rendering, build_manifest, write_splits

CLASSES = ["cat", "dog"]
SPLIT = Split(method="auto", train=0.7, val=0.15, test=0.15, seed=0)


def settings(**changes: Any) -> Transformation:  # noqa: ANN401 - fields
    return Transformation(**{"size": 4, "mode": "RGB", "resize": "stretch", "split": SPLIT} | changes)


def png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def render(
    folder: Path,
    splits: list[str],
    images: Iterable[bytes],
    options: DecodeOptions = DEFAULT_OPTIONS,
    labels: list[str] | None = None,
    **changes: Any,  # noqa: ANN401 - fields
) -> Histogram:
    """Write an image table and render it."""
    rows = (table_row(index, image) for index, image in enumerate(images))
    with TemporaryDirectory() as table:
        write_shards(Path(table), rows)
        rendering = Rendering(settings(**changes), options)
        return write_splits(LocalEngine(), Path(table), folder, manifest_of(splits, labels), rendering)


def table_row(index: int, image: bytes) -> dict[str, Any]:
    named = {"label": "cat", "path": f"image-{index:06d}.png", "split": None, "group": None}
    return named | {"image": image, "sha256": f"{index:064d}"}


def manifest_of(splits: list[str], labels: list[str] | None = None) -> pa.Table:
    columns = {
        "label": labels or ["cat"] * len(splits),
        "path": [f"image-{index:06d}.png" for index in range(len(splits))],
        "sha256": ["0" * 64] * len(splits),
        "group": pa.array([None] * len(splits), pa.string()),
    }
    return build_manifest(pa.table(columns), splits, CLASSES)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_images_are_numbered_within_their_split() -> None:
    manifest = manifest_of(["train", "test", "train", "val", "train"], ["dog", "cat", "cat", "dog", "dog"])
    assert manifest.column_names == ["split", "row", "label", "path", "sha256", "group", "fold"]
    assert manifest.column("row").to_pylist() == [0, 0, 1, 0, 2]
    assert manifest.column("label").to_pylist() == [1, 0, 0, 1, 1]


def test_images_are_written_to_their_split(tmp_path: Path) -> None:
    images = [png(10), png(20, (6, 5)), png(30), png(40)]
    levels = render(tmp_path, ["train", "test", "train", "val"], images, labels=["cat", "dog", "dog", "cat"])
    train = load_split(tmp_path, "train")
    assert train.images.dtype == np.uint8
    assert train.images.shape == (2, 4, 4, 3)
    assert [image[0, 0, 0] for image in train.images] == [10, 30]
    assert train.labels.tolist() == [0, 1]
    assert train.labels.dtype == np.int64
    assert level_statistics(levels) == channel_statistics(train.images)
    tested = read_manifest(tmp_path, "test")
    assert tested.column("path").to_pylist() == ["image-000001.png"]
    assert tested.select(STORED_COLUMNS).to_pylist() == [
        {"width": 6, "height": 5, "format": "PNG", "mode": "RGB", "bytes": len(images[1])}
    ]


@pytest.mark.parametrize("resize", ["stretch", "center-crop", "letterbox"])
def test_many_images_equal_those_decoded_alone(tmp_path: Path, resize: str) -> None:
    images = [png(n % 251, (5 + n % 7, 5 + n % 3)) for n in range(300)]
    splits = [("train", "val", "test")[n % 3] for n in range(300)]
    render(tmp_path, splits, images, resize=resize)
    found = {split: iter(load_split(tmp_path, split).images) for split in set(splits)}
    for split, image in zip(splits, images, strict=True):
        assert (next(found[split]) == to_pixels(image, 4, "RGB", resize)).all()


def test_outputs_are_reproducible_and_stale_files_are_removed(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for name in ("val.npy", ".train.npy.x1y2.npy", ".manifest.parquet.z.parquet"):
            (folder / name).write_bytes(b"stale")
        render(folder, ["train"], [png(5)])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == {"train.npy", "train_labels.npy", "manifest.parquet"}


def test_the_first_damaged_image_is_named(tmp_path: Path) -> None:
    images = [png(1)] * 150 + [b"text"] * 100
    with pytest.raises(DataError, match=r"^image-000150\.png: "):
        render(tmp_path, ["train"] * 250, images)
    assert not list(tmp_path.iterdir())


def test_an_image_over_the_limit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image-000000\.png: 4 × 4 pixels"):
        render(tmp_path, ["train"], [png(1)], DecodeOptions(max_pixels=15))


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_images_must_match_the_manifest(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"has {count} images, the manifest 2"):
        render(tmp_path, ["train"] * 2, [png(1)] * count)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as error:
        render(tmp_path, ["train"], [png(1)])
    assert error.value.filename == str(tmp_path / "train.npy")
    assert not list(tmp_path.iterdir())


SLOW = """
import sys
from pathlib import Path
sys.path[:0] = {paths}
import test_rendering as here
images = [here.png(n % 251, (300, 300)) for n in range(60)] * 20
print("ready", flush=True)
here.render(Path({folder!r}), ["train", "val"] * 600, images, size=64)
"""


@pytest.mark.slow
def test_a_run_after_a_killed_one_gives_the_same_files(tmp_path: Path) -> None:
    paths = [path for path in sys.path if path]
    for folder, delays in (("killed", (0.02, 0.1, 0.3)), ("whole", ())):
        command = [sys.executable, "-c", SLOW.format(paths=paths, folder=str(tmp_path / folder))]
        for delay in delays:
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(delay)
                process.kill()
        subprocess.run(command, check=True, capture_output=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


PEAK = """
import sys
from pathlib import Path
sys.path[:0] = {paths}
import test_rendering as here
image = here.png(7, (64, 64))
images = (image for _ in range({count}))
here.render(Path({folder!r}), ["train"] * {count}, images, size=128)
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_arrays(tmp_path: Path) -> None:
    paths = [path for path in sys.path if path]
    peaks = []
    for count in (500, 6000):
        script = PEAK.format(paths=paths, folder=str(tmp_path / str(count)), count=count)
        result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        peaks.append(int(result.stdout) / 1024)
    assert peaks[1] - peaks[0] < 110
