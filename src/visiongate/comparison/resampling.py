"""Bootstrap samples, drawn in chunks that bound the memory."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# Of a table in memory: 8 MB, which fits into the processor's cache.
MAX_CELLS = 1_000_000


def split_samples(samples: int, size: int) -> Iterator[int]:
    """Yield the sizes of chunks of at most ``size`` samples, and at least one."""
    size = max(1, size)
    yield from (min(size, samples - start) for start in range(0, samples, size))


def draw_counts(
    generator: np.random.Generator, groups: int, draws: int, samples: int
) -> npt.NDArray[np.int64]:
    """Return how often each group is drawn with replacement, groups × samples."""
    cells = generator.integers(groups, size=(draws, samples)) * samples + np.arange(samples)
    return np.bincount(cells.ravel(), minlength=groups * samples).reshape(groups, samples)
