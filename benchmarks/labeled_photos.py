"""Photos with labels, and their features by the backbone of `visiongate correct`."""

import random
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt

from visiongate.commands.features import BACKBONE
from visiongate.correction.embeddings import Embeddings
from visiongate.errors import DataError
from visiongate.images.extensions import claimed_format
from visiongate.images.preprocessing import to_pixels
from visiongate.models.backbone import load_backbone
from visiongate.models.embedding import Embedder
from visiongate.models.feature_graph import feature_graph
from visiongate.records.transform import Transform

SIDE = 224


@dataclass(frozen=True, slots=True)
class Photos:
    """N photos of K classes, with their features, N×D."""

    features: Embeddings
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def read_photos(archive: Path, count: int) -> Photos:
    """Read random photos from a zip archive with a folder per class, and compute their features through the cache."""
    pixels, names = [], []
    with zipfile.ZipFile(archive) as opened:
        found = sorted(name for name in opened.namelist() if claimed_format(name))
        for name in random.Random(0).sample(found, len(found)):  # noqa: S311 - not for secrets
            if len(names) == count:
                break
            try:
                pixels.append(to_pixels(opened.read(name), SIDE, "RGB", "center-crop"))
            except DataError:
                continue
            names.append(PurePosixPath(name).parent.name)
    classes, labels = np.unique(names, return_inverse=True)
    transform = Transform(SIDE, "RGB", "center-crop", [0.5] * 3, [0.25] * 3, list(classes))
    embed = Embedder(feature_graph(load_backbone(BACKBONE, transform).graph))
    return Photos(embed(np.stack(pixels)), labels.astype(np.int64), tuple(classes.tolist()))
