"""Small pixel arrays that are divided into folds."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from visiongate.records.manifest import write_manifest
from visiongate.records.transform import Transform, write_transform

FOLDS, FOLD_IMAGES = 3, 24
SPLIT_OF_FOLD = {0: "test", 1: "val", 2: "train"}
CLASSES = ["above", "below"]


def write_folds(folder: Path, size: int = 8) -> None:
    """Write square gray images in two classes, which differ by the brighter half, in `FOLDS` folds of `FOLD_IMAGES`."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    manifests = []
    for fold, split in SPLIT_OF_FOLD.items():
        labels = np.arange(FOLD_IMAGES) % 2
        images = generator.integers(0, 120, (FOLD_IMAGES, size, size, 1), dtype=np.uint8)
        images[labels == 0, : size // 2] += 60
        images[labels == 1, size // 2 :] += 60
        np.save(folder / f"{split}.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
        manifests.append(_manifest(split, fold, images, labels.tolist()))
    write_manifest(folder, pa.concat_tables(manifests))
    write_transform(
        folder, Transform(size, "L", "stretch", [0.35], [0.15], CLASSES, "cross_validation", FOLDS)
    )


def _manifest(split: str, fold: int, images: np.ndarray, labels: list[int]) -> pa.Table:
    count = len(labels)
    columns = {
        "split": pa.array([split] * count),
        "row": pa.array(range(count)),
        "label": pa.array(labels),
        "path": pa.array([f"{CLASSES[label]}/{fold}-{row}.png" for row, label in enumerate(labels)]),
        "sha256": pa.array([hashlib.sha256(image.tobytes()).hexdigest() for image in images]),
        "group": pa.nulls(count, pa.string()),
        "fold": pa.array([fold] * count, pa.int32()),
        "width": pa.array([images.shape[2]] * count, pa.int32()),
        "height": pa.array([images.shape[1]] * count, pa.int32()),
        "format": ["PNG"] * count,
        "mode": ["L"] * count,
        "bytes": [images[0].nbytes] * count,
    }
    return pa.table(columns)
