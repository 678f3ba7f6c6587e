"""Folders of random images that resemble photographs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, classes: Mapping[str, int]) -> None:
    """Write PNG files of large soft blobs, with the given number for each class."""
    seed = 0
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            seed += 1
            coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)
            image.save(folder / name / f"plant{index:03d}.png")
