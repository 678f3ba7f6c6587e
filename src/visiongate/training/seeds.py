"""Independent streams of random numbers, so that an epoch can be repeated without the previous epochs."""

import zlib

import numpy as np
import torch


def seed_for(seed: int, purpose: str, *indices: int) -> int:
    """Derive the seed of a stream.

    Args:
        seed: ``training.seed``.
        purpose: The use of the random numbers.
        indices: Epoch, process or the like.
    """
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *indices]).generate_state(
        1, np.uint64
    )
    # torch takes 63 bits.
    return int(words[0] >> np.uint64(1))


def generator_for(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """Return a generator of a stream, on the CPU."""
    return torch.Generator().manual_seed(seed_for(seed, purpose, *indices))
