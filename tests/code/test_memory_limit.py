"""The memory limit of a container bounds what the service accepts, and images are decoded when their memory is free."""

import asyncio
import logging
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from image_samples import encode
from pooled_models import write_pooled_model
from served import application
from visiongate.images.decoding import RefusedImageError
from visiongate.serving import startup
from visiongate.serving.memory import (
    DecodingMemory,
    fit_memory,
    read_memory_limit,
    used_memory,
    warn_if_short,
)
from visiongate.serving.web.problems import Problem
from visiongate.settings.serving import Serving

MEBIBYTE = 2**20
# Of version 1, without a limit.
V1_UNLIMITED = "9223372036854771712"


def write_groups(folder: Path, version: int, limits: dict[str, str]) -> Path:
    """Write the files of a process and of its control groups, by their paths below the mounted one."""
    kind, controllers = ("cgroup2", "") if version == 2 else ("cgroup", "memory")
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    (folder / "cgroup").write_text(f"3:cpu,cpuacct:/other\n1:{controllers}:/pod/container\n")
    (folder / "mountinfo").write_text(
        f"33 31 0:30 / {folder}/elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n"
        f"41 31 0:38 / {folder}/mount rw,relatime shared:9 - {kind} {kind} rw,{controllers or 'nsdelegate'}\n"
    )
    for group, limit in limits.items():
        path = folder / "mount" / group
        path.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(f"{limit}\n")
    return folder


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"pod/container": "536870912"}, 536_870_912),
        ({"pod/container": "unlimited", "pod": "268435456"}, 268_435_456),
        ({"pod/container": "536870912", "pod": "268435456", "": "unlimited"}, 268_435_456),
        ({"pod/container": "unlimited"}, None),
        ({}, None),
    ],
)
def test_the_narrowest_limit_of_the_groups_counts(
    version: int, limits: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    word = "max" if version == 2 else V1_UNLIMITED
    written = {group: limit.replace("unlimited", word) for group, limit in limits.items()}
    assert read_memory_limit(write_groups(tmp_path, version, written)) == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert read_memory_limit(tmp_path) is None


def test_the_limits_fit_into_memory_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    given = Serving()
    assert fit_memory(given, None)[0] is given
    assert not caplog.records

    fitted = fit_memory(given, 256 * MEBIBYTE)[0].limits

    assert fitted.bytes == int(0.15 * 256 * MEBIBYTE)
    assert fitted.body_bytes == fitted.bytes // 2
    assert fitted.jpeg_pixels == given.limits.jpeg_pixels
    assert caplog.records[0].message == (
        "The memory limit is 256 MiB: requests may have 38 MiB at a time (serving.limits.bytes) and 19.2 MiB each "
        "(serving.limits.body_bytes), and images that are being decoded 102 MiB"
    )


@pytest.mark.parametrize(
    ("limit", "used", "warning"),
    [(None, 10**9, False), (400 * 2**20, 150 * 2**20, False), (256 * 2**20, 180 * 2**20, True)],
)
def test_a_model_that_leaves_too_little_memory_is_reported(
    limit: int | None, used: int, *, warning: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_if_short(limit, used)
    assert used_memory() > 10**7
    assert ("raise the limit to 400 MiB" in caplog.text) == warning


def test_much_memory_changes_nothing() -> None:
    assert fit_memory(Serving(), 64 * 1024 * MEBIBYTE)[0] == Serving()


def picture(width: int, height: int, kind: str, **options: object) -> bytes:
    return encode(Image.new("RGB", (width, height), (200, 30, 90)), kind, **options)


@pytest.mark.parametrize(
    ("content", "needed"),
    [
        (picture(100, 60, "PNG"), 16 * 6000),
        (picture(100, 60, "WEBP"), 16 * 6000),
        (picture(100, 60, "JPEG"), 3 * 6000),
        (picture(100, 60, "JPEG", progressive=True), 7 * 6000),
        (encode(Image.new("CMYK", (100, 60)), "JPEG"), 16 * 6000),
    ],
)
def test_an_image_that_never_fits_is_refused(content: bytes, needed: int) -> None:
    with DecodingMemory(needed).reserve(content, 6000):
        pass
    with (
        pytest.raises(Problem, match="has 6,000 pixels, and the service has memory for"),
        DecodingMemory(needed - 1).reserve(content, 6000),
    ):
        pass


def test_a_damaged_header_is_refused_before_memory_is_held() -> None:
    memory = DecodingMemory(1000)
    with pytest.raises(RefusedImageError), memory.reserve(b"\x89PNG\r\n\x1a\n", 6000):
        pass
    with pytest.raises(RefusedImageError), memory.reserve(picture(100, 60, "PNG"), 5999):
        pass


def test_images_wait_for_each_other_when_memory_is_short() -> None:
    memory, content = DecodingMemory(2 * 16 * 6000), picture(100, 60, "PNG")
    active, most, lock = 0, 0, threading.Lock()

    def decode() -> None:
        nonlocal active, most
        with memory.reserve(content, 6000):
            with lock:
                active += 1
                most = max(most, active)
            time.sleep(0.01)
            with lock:
                active -= 1

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 2


def test_a_service_with_little_memory_answers_413_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    write_pooled_model(model)
    monkeypatch.setattr(startup, "read_memory_limit", lambda: 4 * MEBIBYTE)

    async def talk() -> None:
        async with application(model) as app:
            too_many = await app.client.post("/predict", content=picture(400, 300, "PNG"))
            assert (too_many.status_code, too_many.json()["type"]) == (413, "/docs/problems#too_many_pixels")
            too_long = await app.client.post("/predict", content=bytes(400_000))
            assert (too_long.status_code, too_long.json()["type"]) == (413, "/docs/problems#body_too_large")
            assert (await app.client.post("/predict", content=picture(40, 30, "PNG"))).status_code == 200

    asyncio.run(talk())
