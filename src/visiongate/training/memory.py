"""Keeping freed memory in the process, and saying what to do when memory runs out."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from visiongate.errors import TrainingError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 1 << 30  # bytes: blocks up to this size, and so much of what is free
# How torch says it: a GPU's error has a type of its own, a CPU's is told from others by its text alone.
OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator")


def keep_freed_memory() -> None:
    """Have the C library reuse freed blocks of any size, rather than give them back and ask for them again.

    By default each large tensor of each step is fresh memory, which the kernel fills with zeros page by page: up to half of a
    step's time on a CPU. Nothing happens where the C library is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


@contextmanager
def memory_explained(batch_size: int, accumulation: int) -> Iterator[None]:
    """Run the block; where memory runs out, say which setting to lower.

    Raises:
        TrainingError: It did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        raise TrainingError(
            f"out of memory: lower model.batch_size (now {batch_size}) and raise training.accumulation (now {accumulation}) as "
            "much, or lower transformation.size, or choose a smaller model"
        ) from error
