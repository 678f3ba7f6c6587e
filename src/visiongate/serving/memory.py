"""Accept no more than the memory of the container holds: a process that exceeds it is killed, with all of its requests.

Of the limit, `REQUESTS` is for the bytes of requests and `DECODING` for images that are being decoded; the rest is for the
process, its models and the buffers of connections. An image is decoded when its memory is free, and refused if it never can be.
"""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Final

from PIL import Image

from visiongate.cores import PROCESS, find_control_groups, read_control
from visiongate.images.decoding import DecodeOptions, load_stored
from visiongate.serving.web.problems import Problem
from visiongate.settings.serving import Serving

# Shares of the memory limit.
REQUESTS: Final = 0.15
DECODING: Final = 0.4
# Of images that wait to be stored, which few services do.
IMAGES: Final = 0.05
# Parsing a form copies it twice, one form at a time.
COPIES: Final = 2
MEBIBYTE: Final = 2**20
# Version 1 has no word for "unlimited", but a number near the largest one.
UNLIMITED: Final = 2**60
# Bytes for each pixel, at most, as measured. libjpeg-turbo decodes a sequential JPEG at a reduced scale; of a progressive one,
# it keeps all coefficients. Pillow keeps a copy in another mode, and one that is upright.
SEQUENTIAL, PROGRESSIVE, OTHER = 3, 7, 16
logger = logging.getLogger(__name__)


def read_memory_limit(process: Path = PROCESS) -> int | None:
    """Return the bytes that this process and others of its control group may use; None if they are not limited.

    The kernel's documents: cgroup-v2, ``memory.max``; cgroup-v1/memory, ``memory.limit_in_bytes``.

    Args:
        process: Folder with the ``cgroup`` and ``mountinfo`` of this process.
    """
    texts = [
        read_control(group / name).strip()
        for group in find_control_groups("memory", process)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    limits = [int(text) for text in texts if text.isdigit()]
    return min((limit for limit in limits if limit < UNLIMITED), default=None)


def fit_memory(settings: Serving, limit: int | None) -> tuple[Serving, "DecodingMemory"]:
    """Return settings whose limits fit into memory, and the memory for decoding; log what was chosen.

    Args:
        settings: Of the service.
        limit: Bytes that the process may use; None if it is not limited.
    """
    if limit is None:
        return settings, DecodingMemory(None)
    limits, decoding = settings.limits, int(DECODING * limit)
    total = min(limits.bytes, int(REQUESTS * limit))
    body = min(limits.body_bytes, total // COPIES)
    fitted = limits.model_copy(update={"bytes": total, "body_bytes": body})
    images = settings.log.images
    images = images.model_copy(update={"queue_bytes": min(images.queue_bytes, int(IMAGES * limit))})
    log = settings.log.model_copy(update={"images": images})
    logger.info(
        "The memory limit is %d MiB: requests may have %d MiB at a time (serving.limits.bytes) and %.1f MiB each "
        "(serving.limits.body_bytes), and images that are being decoded %d MiB",
        *(limit // MEBIBYTE, total // MEBIBYTE, body / MEBIBYTE, decoding // MEBIBYTE),
    )
    return settings.model_copy(update={"limits": fitted, "log": log}), DecodingMemory(decoding)


def warn_if_short(limit: int | None, used: int) -> None:
    """Warn if a process without requests already needs the memory that is meant for them.

    Args:
        limit: Bytes that the process may use; None if it is not limited.
        used: Bytes that it uses.
    """
    rest = 1 - REQUESTS - DECODING
    if limit is not None and used > rest * limit:
        logger.warning(
            "The process needs %d MiB before the first request, and its memory limit is %d MiB: the kernel may kill it "
            "under load; raise the limit to %d MiB",
            *(each // MEBIBYTE for each in (used, limit, int(used / rest))),
        )


def used_memory() -> int:
    """Return the most bytes that this process has used, as the kernel counts them for the limit."""
    # Linux counts in kibibytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True, slots=True)
class _Header:
    """What the memory of an image depends on."""

    pixels: int
    bytes_per_pixel: int


class DecodingMemory:
    """The memory for images that are being decoded. Its methods are called in threads.

    Args:
        size: Bytes; None for as much as there is.
    """

    def __init__(self, size: int | None) -> None:
        self._size, self._used = size, 0
        self._changed = Condition()

    @contextmanager
    def reserve(self, encoded: bytes, max_pixels: int) -> Iterator[None]:
        """Hold the memory that decoding an image needs at most; wait until it is free.

        Args:
            encoded: The bytes of the file.
            max_pixels: Largest allowed product of width and height.

        Raises:
            Problem: The image needs more than there is.
            RefusedImageError: Its header is damaged, or it has too many pixels.
        """
        if self._size is None:
            yield
            return
        wanted = self._measure(encoded, max_pixels)
        with self._changed:
            self._changed.wait_for(lambda: self._used + wanted <= (self._size or 0))
            self._used += wanted
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()

    def _measure(self, encoded: bytes, max_pixels: int) -> int:
        found: list[_Header] = []

        def look(image: Image.Image) -> bool:
            found.append(_Header(image.width * image.height, _bytes_per_pixel(image)))
            return False

        load_stored(encoded, DecodeOptions(max_pixels=max_pixels), look)
        [header] = found
        wanted = header.pixels * header.bytes_per_pixel
        if wanted > (self._size or 0):
            largest = (self._size or 0) // header.bytes_per_pixel
            raise Problem(
                "too_many_pixels",
                f"the image has {header.pixels:,} pixels, and the service has memory for {largest:,}; scale it down",
            )
        return wanted


def _bytes_per_pixel(image: Image.Image) -> int:
    if image.format not in {"JPEG", "MPO"} or image.mode not in {"L", "RGB"}:
        return OTHER
    return PROGRESSIVE if image.info.get("progressive") else SEQUENTIAL
