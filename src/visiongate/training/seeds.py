"""Seeds of independent streams of random numbers, so that one epoch can be repeated without those before it."""

import zlib

import numpy as np
import torch


def seed_for(seed: int, purpose: str, *places: int) -> int:
    """Derive the seed of one stream from ``training.seed``.

    Args:
        seed: The setting.
        purpose: What is drawn.
        places: Epoch, process or the like, from 0.
    """
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *places]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))  # torch takes 63 bits


def generator_for(seed: int, purpose: str, *places: int) -> torch.Generator:
    """Make a generator of one stream, on the CPU."""
    return torch.Generator().manual_seed(seed_for(seed, purpose, *places))
