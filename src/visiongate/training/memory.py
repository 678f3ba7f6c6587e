"""Reuse freed memory, and explain an out-of-memory error."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from visiongate.errors import TrainingError

# Parameters of mallopt in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Freed blocks up to this size, in bytes, stay in the process.
MAX_KEPT_BYTES = 1 << 30
# torch reports a lack of memory on a CPU as a RuntimeError, recognizable by its text alone.
OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator")


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of any size; other C libraries are left alone.

    By default, each large tensor of each step is new memory that the kernel fills with zeros, which takes up to half of a step
    on a CPU.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAX_KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, MAX_KEPT_BYTES)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of Python or torch reports a lack of memory."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY)


@contextmanager
def explain_out_of_memory(batch_size: int, accumulation: int) -> Iterator[None]:
    """Turn an out-of-memory error within the block into advice.

    Raises:
        TrainingError: The block ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory: lower model.batch_size (now {batch_size}) and raise training.accumulation (now {accumulation}) by "
            "the same factor, or lower transformation.size, or choose a smaller model"
        ) from error
